-- One row per guarded resource: the greatest fence it was touched under.
-- Room on the page, and no index on touched_at, so that a touch moves no index entry.
CREATE TABLE lockstep_fence (
  resource text PRIMARY KEY,
  fence bigint NOT NULL,
  touched_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50);
