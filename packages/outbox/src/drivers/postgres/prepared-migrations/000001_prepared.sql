-- Half messages: in no outbox before they are committed. Decided ones stay for a while, so that whoever comes late learns it.
CREATE TABLE lockstep_outbox_prepared (
  id uuid PRIMARY KEY,
  state text NOT NULL,
  shard smallint NOT NULL,
  awaits_ack boolean NOT NULL,
  delay_ms bigint NOT NULL,
  topic text NOT NULL,
  key text,
  payload text NOT NULL,
  headers text NOT NULL,
  checker text NOT NULL,
  checks integer NOT NULL DEFAULT 0,
  max_checks integer NOT NULL,
  check_every_ms bigint NOT NULL,
  prepared_at timestamptz NOT NULL,
  next_check_at timestamptz NOT NULL,
  deadline_at timestamptz NOT NULL,
  old_at timestamptz NOT NULL,
  decided_at timestamptz
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
CREATE INDEX lockstep_outbox_prepared_due ON lockstep_outbox_prepared (next_check_at) WHERE state = 'prepared';
CREATE INDEX lockstep_outbox_prepared_undecided ON lockstep_outbox_prepared (id) WHERE state = 'undecided';
CREATE INDEX lockstep_outbox_prepared_decided ON lockstep_outbox_prepared (decided_at) WHERE decided_at IS NOT NULL;

-- Tombstones: 'commit' is written in the local transaction, 'rollback' by whoever checks first.
CREATE TABLE lockstep_outbox_decision (
  gid uuid PRIMARY KEY,
  decision text NOT NULL,
  decided_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX lockstep_outbox_decision_decided ON lockstep_outbox_decision (decided_at);
