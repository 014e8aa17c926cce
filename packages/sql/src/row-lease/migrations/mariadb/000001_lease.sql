-- One row per leased name. Rows stay: an epoch that began again would let an old owner pass for a new one.
-- lease_until is in UTC: a clock of a time zone goes back in autumn.
CREATE TABLE IF NOT EXISTS lockstep_lease (
  name varchar(200) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL PRIMARY KEY,
  owner char(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  epoch bigint NOT NULL,
  lease_until datetime(6) NOT NULL
) ENGINE = InnoDB;
