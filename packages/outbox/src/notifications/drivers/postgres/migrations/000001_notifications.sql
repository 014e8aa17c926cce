-- One row per notification, from its transaction's commit until its retention is over.
--   endpoint_id  a registered endpoint, or 'url:…' for one that stands for `url`
--   attempts     of the current schedule, those that never ended included
--   epoch        goes up with every claim, and never down
--   due_at       of one that is claimed: when its lease ends
--   log          what came of the latest attempts, JSON
CREATE TABLE lockstep_notification (
  id text PRIMARY KEY,
  endpoint_id text NOT NULL,
  url text,
  type text NOT NULL,
  body text NOT NULL,
  state text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'delivered', 'exhausted', 'cancelled')),
  reason text,
  attempts integer NOT NULL DEFAULT 0,
  epoch bigint NOT NULL DEFAULT 0,
  is_claimed boolean NOT NULL DEFAULT false,
  due_at timestamptz NOT NULL,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  finished_at timestamptz,
  log text NOT NULL DEFAULT '[]'
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
-- Who sends looks here and nowhere else.
CREATE INDEX lockstep_notification_due ON lockstep_notification (endpoint_id, due_at) WHERE state = 'pending';
CREATE INDEX lockstep_notification_finished ON lockstep_notification (state, finished_at) WHERE state <> 'pending';
CREATE INDEX lockstep_notification_sent ON lockstep_notification (endpoint_id, created_at);

-- Version 0: nobody registered it; the row remembers how its URL behaves.
CREATE TABLE lockstep_notification_endpoint (
  id text PRIMARY KEY,
  url text NOT NULL,
  secrets text NOT NULL,
  version integer NOT NULL,
  disabled_at timestamptz,
  disabled_reason text,
  failing_since timestamptz,
  last_failed_at timestamptz,
  paused_until timestamptz
);

CREATE TABLE lockstep_webhook_receipt (
  receiver text NOT NULL,
  id_hash text NOT NULL,
  received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (receiver, id_hash)
);
CREATE INDEX lockstep_webhook_receipt_age ON lockstep_webhook_receipt (received_at);
