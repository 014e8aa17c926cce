-- One row per notification, from its transaction's commit until its retention is over. Times are in UTC.
--   endpoint_id  a registered endpoint, or 'url:…' for one that stands for `url`
--   attempts     of the current schedule, those that never ended included
--   epoch        goes up with every claim, and never down
--   due_at       of one that is claimed: when its lease ends
--   log          what came of the latest attempts, JSON
CREATE TABLE IF NOT EXISTS lockstep_notification (
  id varchar(100) CHARACTER SET ascii COLLATE ascii_nopad_bin NOT NULL PRIMARY KEY,
  endpoint_id varchar(100) CHARACTER SET ascii COLLATE ascii_nopad_bin NOT NULL,
  url text,
  type varchar(128) NOT NULL,
  body mediumtext NOT NULL,
  state varchar(10) CHARACTER SET ascii COLLATE ascii_nopad_bin NOT NULL DEFAULT 'pending'
    CHECK (state IN ('pending', 'delivered', 'exhausted', 'cancelled')),
  reason text,
  attempts integer NOT NULL DEFAULT 0,
  epoch bigint NOT NULL DEFAULT 0,
  is_claimed boolean NOT NULL DEFAULT false,
  due_at datetime(6) NOT NULL,
  created_at datetime(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6)),
  finished_at datetime(6),
  log text NOT NULL DEFAULT '[]',
  KEY lockstep_notification_due (state, endpoint_id, due_at),
  KEY lockstep_notification_finished (state, finished_at),
  KEY lockstep_notification_sent (endpoint_id, created_at)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

-- Version 0: nobody registered it; the row remembers how its URL behaves.
CREATE TABLE IF NOT EXISTS lockstep_notification_endpoint (
  id varchar(100) CHARACTER SET ascii COLLATE ascii_nopad_bin NOT NULL PRIMARY KEY,
  url text NOT NULL,
  secrets text NOT NULL,
  version integer NOT NULL,
  disabled_at datetime(6),
  disabled_reason text,
  failing_since datetime(6),
  last_failed_at datetime(6),
  paused_until datetime(6)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

-- copies is what tells the first one from the others: only their insertion changes a row.
CREATE TABLE IF NOT EXISTS lockstep_webhook_receipt (
  receiver varchar(100) CHARACTER SET ascii COLLATE ascii_nopad_bin NOT NULL,
  id_hash char(64) CHARACTER SET ascii COLLATE ascii_nopad_bin NOT NULL,
  received_at datetime(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6)),
  copies integer unsigned NOT NULL DEFAULT 1,
  PRIMARY KEY (receiver, id_hash),
  KEY lockstep_webhook_receipt_age (received_at)
) ENGINE = InnoDB;
