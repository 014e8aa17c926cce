-- What has a delay stands here until it is due, so that it is never at the head of a shard.
CREATE TABLE lockstep_outbox_delayed (
  due_at timestamptz NOT NULL,
  message_id uuid NOT NULL,
  shard smallint NOT NULL,
  topic text NOT NULL,
  key text,
  payload text NOT NULL,
  headers text NOT NULL,
  awaits_ack boolean NOT NULL,
  PRIMARY KEY (due_at, message_id)
);

-- The last sequence drawn for a key. A row that was forgotten begins anew with a later generation.
CREATE TABLE lockstep_outbox_sequence (
  topic text NOT NULL,
  key text NOT NULL,
  generation bigint NOT NULL,
  n bigint NOT NULL,
  touched_at timestamptz NOT NULL,
  PRIMARY KEY (topic, key)
) WITH (fillfactor = 70);

-- The first sequence of a key that a consumer is given, where the key was older than its subscription.
CREATE TABLE lockstep_outbox_start (
  topic text NOT NULL,
  key text NOT NULL,
  consumer text NOT NULL,
  sequence text NOT NULL,
  PRIMARY KEY (topic, key, consumer)
);
