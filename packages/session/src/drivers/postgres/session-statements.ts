// One step each, and one round trip. What they do is in functions of the database, whose plans it keeps, and whose inner
// statements see what was committed while they waited: a single statement would judge by a snapshot older than its lock.

export const LOAD = 'SELECT lockstep_session_load($1, $2, $3) AS record';

export const CREATE = `SELECT outcome, record, evicted, expired
  FROM lockstep_session_create($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`;

export const SAVE = 'SELECT outcome, version, revisions FROM lockstep_session_save($1, $2, $3, $4, $5, $6, $7, $8)';

export const REPLACE = `SELECT outcome, record, evicted, expired
  FROM lockstep_session_replace($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`;

export const LIST = 'SELECT sessions, expired FROM lockstep_session_list($1, $2)';

export const REMOVE = 'SELECT lockstep_session_remove($1, $2, $3) AS removed';

export const WATCH = 'SELECT lockstep_session_watch($1, $2) AS name';

export const PURGE = 'SELECT seen, expired FROM lockstep_session_purge($1)';
