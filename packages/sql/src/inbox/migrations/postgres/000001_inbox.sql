-- One row per consumer and message that took effect; written in the transaction of that effect.
-- The day is the message's own, taken from its id, so that all copies of a message meet on one key.
-- received_at decides when a row is forgotten: a message may arrive long after its day.
CREATE TABLE lockstep_inbox (
  day date NOT NULL,
  consumer text NOT NULL,
  message_id uuid NOT NULL,
  received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (day, consumer, message_id)
);
