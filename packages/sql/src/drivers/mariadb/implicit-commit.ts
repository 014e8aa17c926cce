import { TransactionMisuseError } from '../../sql.errors.js';
import { withoutLeadingComments } from './placeholders.js';

/** Statements before which MariaDB commits whatever is open, and those that end or suspend a transaction. */
const ENDS_TRANSACTION = [
  /^(?:create|drop)\s+(?!(?:or\s+replace\s+)?temporary\b)/i,
  /^(?:alter|rename|truncate|grant|revoke|install|uninstall|flush|reset|backup)\b/i,
  /^(?:analyze\s+(?:\w+\s+)?table|optimize|repair|check\s+(?:table|view)|cache\s+index|load\s+index)\b/i,
  /^(?:lock|unlock)\s+tables?\b/i,
  /^(?:begin|start|commit|rollback(?!\s+(?:work\s+)?to\b)|xa)\b/i,
  /^set\s+(?:.*,\s*)?(?:session\s+|local\s+|global\s+|@@(?:\w+\.)?)?(?:password\b|autocommit\b)/i,
];

/**
 * MariaDB commits what is open before it changes a table: what the block did so far would stay, whatever becomes of it.
 *
 * @throws TransactionMisuseError when the statement would end the transaction
 */
export function assertNoImplicitCommit(text: string): void {
  const statement = withoutLeadingComments(text);
  if (!ENDS_TRANSACTION.some((pattern) => pattern.test(statement))) return;
  throw new TransactionMisuseError(
    'MariaDB would commit the open transaction before this statement. Run it outside of one; a temporary table may be ' +
      'made and dropped inside.',
  );
}
