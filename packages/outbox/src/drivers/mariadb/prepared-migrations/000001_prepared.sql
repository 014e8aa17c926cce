-- Half messages: in no outbox before they are committed. Decided ones stay for a while, so that whoever comes late learns it.
-- Times are UTC.
CREATE TABLE IF NOT EXISTS lockstep_outbox_prepared (
  id char(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  state varchar(11) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  shard smallint NOT NULL,
  awaits_ack boolean NOT NULL,
  delay_ms bigint NOT NULL,
  topic varchar(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  `key` varchar(256) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin,
  payload longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  headers longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  checker varchar(200) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  checks integer NOT NULL DEFAULT 0,
  max_checks integer NOT NULL,
  check_every_ms bigint NOT NULL,
  prepared_at datetime(6) NOT NULL,
  next_check_at datetime(6) NOT NULL,
  deadline_at datetime(6) NOT NULL,
  old_at datetime(6) NOT NULL,
  decided_at datetime(6),
  PRIMARY KEY (id),
  KEY lockstep_outbox_prepared_due (state, next_check_at),
  KEY lockstep_outbox_prepared_decided (decided_at)
) ENGINE = InnoDB;

-- Tombstones: 'commit' is written in the local transaction, 'rollback' by whoever checks first.
-- copies is what tells the first one from the others: only their insertion changes a row.
CREATE TABLE IF NOT EXISTS lockstep_outbox_decision (
  gid char(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  decision varchar(8) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  decided_at datetime(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6)),
  copies integer unsigned NOT NULL DEFAULT 1,
  PRIMARY KEY (gid),
  KEY lockstep_outbox_decision_decided (decided_at)
) ENGINE = InnoDB;
