-- One row per consumer and message that took effect; written in the transaction of that effect.
-- The day is the message's own, taken from its id, so that all copies of a message meet on one key.
-- received_at, in UTC, decides when a row is forgotten: a message may arrive long after its day.
-- copies is what tells the first one from the others: only their insertion changes a row.
CREATE TABLE IF NOT EXISTS lockstep_inbox (
  day date NOT NULL,
  consumer varchar(200) CHARACTER SET ascii COLLATE ascii_nopad_bin NOT NULL,
  message_id binary(16) NOT NULL,
  received_at datetime(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6)),
  copies integer unsigned NOT NULL DEFAULT 1,
  PRIMARY KEY (day, consumer, message_id)
) ENGINE = InnoDB;
