-- One row per operation. Times are those of the database's clock, in UTC.
--   state        I issued · P running · C completed · R released · U uncertain
--   policy       what the end of a lease means: U uncertain · R the next one may try
--   past         what earlier claims may have left: 0 nothing · 1 what a release left open · 2 what a vanished owner did
--   is_awaited   for databases that push; this one does not
--   retention_ms how long the answer is kept, as whoever began it asked for
--   expires_at   null while only an owner or an operator may end it
-- The one index serves all who look for rows by time: abandoned, uncertain and expired ones.
CREATE TABLE IF NOT EXISTS lockstep_idempotency (
  id varchar(100) NOT NULL PRIMARY KEY,
  state char(1) NOT NULL CHECK (state IN ('I', 'P', 'C', 'R', 'U')),
  policy char(1) NOT NULL CHECK (policy IN ('U', 'R')),
  past tinyint NOT NULL DEFAULT 0,
  is_awaited boolean NOT NULL DEFAULT false,
  fence bigint NOT NULL,
  retention_ms double NOT NULL DEFAULT 0,
  lease_until datetime(6),
  uncertain_since datetime(6),
  expires_at datetime(6),
  due_at datetime(6) AS (coalesce(expires_at, lease_until, uncertain_since)) STORED,
  fingerprint varchar(200),
  owner varchar(100) NOT NULL,
  operation text NOT NULL,
  response longtext,
  steps longtext,
  KEY lockstep_idempotency_due (state, due_at)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

-- The one valid token of a slot.
CREATE TABLE IF NOT EXISTS lockstep_idempotency_token (
  slot varchar(100) NOT NULL PRIMARY KEY,
  token varchar(200) NOT NULL,
  expires_at datetime(6) NOT NULL,
  KEY lockstep_idempotency_token_expiry (expires_at)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;
