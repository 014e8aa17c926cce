export { PrismaStatementError } from './prisma-errors.js';
export { type PrismaTransactionLike, prismaTransaction } from './prisma-transaction.js';
