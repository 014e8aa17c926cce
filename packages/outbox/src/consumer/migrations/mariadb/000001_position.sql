-- The last message of a strict key that took effect at a consumer; written in the transaction of that effect.
-- touched_at, in UTC, decides when it is forgotten; it lies in the future while a dead letter may still be replayed.
CREATE TABLE IF NOT EXISTS lockstep_outbox_position (
  consumer varchar(64) CHARACTER SET ascii COLLATE ascii_nopad_bin NOT NULL,
  topic varchar(64) CHARACTER SET ascii COLLATE ascii_nopad_bin NOT NULL,
  `key` varchar(256) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL,
  generation bigint NOT NULL,
  last bigint NOT NULL,
  touched_at datetime(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6)),
  PRIMARY KEY (consumer, topic, `key`)
) ENGINE = InnoDB;
