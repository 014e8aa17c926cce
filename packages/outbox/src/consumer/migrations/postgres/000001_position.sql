-- The last message of a strict key that took effect at a consumer; written in the transaction of that effect.
-- touched_at decides when it is forgotten; it lies in the future while a dead letter may still be replayed.
CREATE TABLE lockstep_outbox_position (
  consumer text NOT NULL,
  topic text NOT NULL,
  key text NOT NULL,
  generation bigint NOT NULL,
  last bigint NOT NULL,
  touched_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (consumer, topic, key)
) WITH (fillfactor = 70);
