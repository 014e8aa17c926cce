-- One row per leased name. Rows stay: an epoch that began again would let an old owner pass for a new one.
CREATE TABLE lockstep_lease (
  name text PRIMARY KEY,
  owner uuid NOT NULL,
  epoch bigint NOT NULL,
  lease_until timestamptz NOT NULL
) WITH (fillfactor = 50);
