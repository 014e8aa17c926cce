export {
  type FencedRead,
  type FencedRow,
  type FencedUpdate,
  fencedRead,
  fencedUpdate,
  type SqlValues,
} from './fenced-row.js';
export { SqlFences, type SqlFencesOptions, sqlFences } from './sql-fences.js';
export type { SqlStatements } from './sql-statements.js';
