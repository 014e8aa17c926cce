import { describeOrmTransactions } from './support/orm-contract.js';
import { ORM_LIBRARIES } from './support/orm-libraries.js';

describeOrmTransactions(
  ORM_LIBRARIES.filter(({ server }) => server === 'postgres'),
  'postgres',
);
