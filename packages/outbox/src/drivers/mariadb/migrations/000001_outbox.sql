-- Positions come from a sequence and not from AUTO_INCREMENT, which would need an index of its own on the hot table and
-- let the inserts of lists wait for each other. They rise in the order of the inserts, and may have gaps.
CREATE SEQUENCE IF NOT EXISTS lockstep_outbox_ticket START WITH 1 INCREMENT BY 1 CACHE 1000;

-- One index on the hot table, its primary key. Times are those of the database's clock, in UTC.
CREATE TABLE IF NOT EXISTS lockstep_outbox (
  shard smallint NOT NULL,
  id bigint NOT NULL,
  message_id binary(16) NOT NULL,
  topic varchar(64) CHARACTER SET ascii COLLATE ascii_nopad_bin NOT NULL,
  message_key varchar(256),
  payload longtext NOT NULL,
  headers longtext NOT NULL,
  awaits_ack boolean NOT NULL,
  published_at datetime(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6)),
  PRIMARY KEY (shard, id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

-- A row a message and consumer, until it is acknowledged. The consumer '' stands for a topic that has none.
CREATE TABLE IF NOT EXISTS lockstep_outbox_inflight (
  consumer varchar(64) CHARACTER SET ascii COLLATE ascii_nopad_bin NOT NULL,
  message_id binary(16) NOT NULL,
  topic varchar(64) CHARACTER SET ascii COLLATE ascii_nopad_bin NOT NULL,
  message_key varchar(256),
  payload longtext NOT NULL,
  headers longtext NOT NULL,
  awaits_ack boolean NOT NULL,
  published_at datetime(6) NOT NULL,
  deliveries integer NOT NULL,
  redeliver_at datetime(6) NOT NULL,
  PRIMARY KEY (consumer, message_id),
  KEY lockstep_outbox_inflight_overdue (redeliver_at)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS lockstep_outbox_dead (
  message_id binary(16) NOT NULL,
  consumer varchar(64) CHARACTER SET ascii COLLATE ascii_nopad_bin NOT NULL,
  topic varchar(64) CHARACTER SET ascii COLLATE ascii_nopad_bin NOT NULL,
  message_key varchar(256),
  payload longtext NOT NULL,
  headers longtext NOT NULL,
  published_at datetime(6) NOT NULL,
  failed_at datetime(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6)),
  error text NOT NULL,
  PRIMARY KEY (message_id, consumer)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS lockstep_outbox_subscription (
  topic varchar(64) CHARACTER SET ascii COLLATE ascii_nopad_bin NOT NULL,
  consumer varchar(64) CHARACTER SET ascii COLLATE ascii_nopad_bin NOT NULL,
  subscribed_at datetime(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6)),
  PRIMARY KEY (topic, consumer)
) ENGINE = InnoDB;

-- One row, for its lock: who routes messages shares it, who changes subscriptions has it alone. A table cannot be locked
-- within a transaction here.
CREATE TABLE IF NOT EXISTS lockstep_outbox_gate (
  id tinyint NOT NULL PRIMARY KEY
) ENGINE = InnoDB;
INSERT INTO lockstep_outbox_gate (id) VALUES (1) ON DUPLICATE KEY UPDATE id = 1;

-- What has a delay stands here until it is due, so that it is never at the head of a shard.
CREATE TABLE IF NOT EXISTS lockstep_outbox_delayed (
  due_at datetime(6) NOT NULL,
  message_id binary(16) NOT NULL,
  shard smallint NOT NULL,
  topic varchar(64) CHARACTER SET ascii COLLATE ascii_nopad_bin NOT NULL,
  message_key varchar(256),
  payload longtext NOT NULL,
  headers longtext NOT NULL,
  awaits_ack boolean NOT NULL,
  PRIMARY KEY (due_at, message_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

-- The last sequence drawn for a key. A row that was forgotten begins anew with a later generation.
CREATE TABLE IF NOT EXISTS lockstep_outbox_sequence (
  topic varchar(64) CHARACTER SET ascii COLLATE ascii_nopad_bin NOT NULL,
  message_key varchar(256) NOT NULL,
  generation bigint NOT NULL,
  n bigint NOT NULL,
  touched_at datetime(6) NOT NULL,
  PRIMARY KEY (topic, message_key)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

-- The first sequence of a key that a consumer is given, where the key was older than its subscription.
CREATE TABLE IF NOT EXISTS lockstep_outbox_start (
  topic varchar(64) CHARACTER SET ascii COLLATE ascii_nopad_bin NOT NULL,
  message_key varchar(256) NOT NULL,
  consumer varchar(64) CHARACTER SET ascii COLLATE ascii_nopad_bin NOT NULL,
  sequence varchar(40) CHARACTER SET ascii COLLATE ascii_nopad_bin NOT NULL,
  PRIMARY KEY (topic, message_key, consumer)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;
