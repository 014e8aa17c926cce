-- One index on the hot table, its primary key. Vacuum by count, because its size says nothing: rows come and go.
CREATE TABLE lockstep_outbox (
  shard smallint NOT NULL,
  id bigint GENERATED ALWAYS AS IDENTITY,
  message_id uuid NOT NULL,
  topic text NOT NULL,
  key text,
  payload text NOT NULL,
  headers text NOT NULL,
  awaits_ack boolean NOT NULL,
  published_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (shard, id)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

-- A row a message and consumer, until it is acknowledged. The consumer '' stands for a topic that has none.
CREATE TABLE lockstep_outbox_inflight (
  consumer text NOT NULL,
  message_id uuid NOT NULL,
  topic text NOT NULL,
  key text,
  payload text NOT NULL,
  headers text NOT NULL,
  awaits_ack boolean NOT NULL,
  published_at timestamptz NOT NULL,
  deliveries integer NOT NULL,
  redeliver_at timestamptz NOT NULL,
  PRIMARY KEY (consumer, message_id)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
CREATE INDEX lockstep_outbox_inflight_overdue ON lockstep_outbox_inflight (redeliver_at);

CREATE TABLE lockstep_outbox_dead (
  message_id uuid NOT NULL,
  consumer text NOT NULL,
  topic text NOT NULL,
  key text,
  payload text NOT NULL,
  headers text NOT NULL,
  published_at timestamptz NOT NULL,
  failed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  error text NOT NULL,
  PRIMARY KEY (message_id, consumer)
);

CREATE TABLE lockstep_outbox_subscription (
  topic text NOT NULL,
  consumer text NOT NULL,
  subscribed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (topic, consumer)
);
