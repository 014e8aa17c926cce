-- One row per operation. Times are those of the database's clock. `expires_at` is null while only an owner or an operator
-- may end it.
CREATE TABLE lockstep_idempotency (
  id text COLLATE "C" PRIMARY KEY,
  state "char" NOT NULL CHECK (state IN ('I', 'P', 'C', 'R', 'U')),
  fingerprint text COLLATE "C",
  owner text COLLATE "C" NOT NULL,
  fence bigint NOT NULL,
  operation text NOT NULL,
  policy "char" NOT NULL CHECK (policy IN ('U', 'R')),
  past smallint NOT NULL,
  is_awaited boolean NOT NULL DEFAULT false,
  lease_until timestamptz,
  uncertain_since timestamptz,
  expires_at timestamptz,
  response text,
  steps jsonb
);
CREATE INDEX lockstep_idempotency_expiry ON lockstep_idempotency (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX lockstep_idempotency_open ON lockstep_idempotency (state, lease_until) WHERE state IN ('P', 'U');
