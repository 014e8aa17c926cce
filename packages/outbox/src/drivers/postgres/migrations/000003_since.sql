-- Epoch milliseconds, taken while no claim was under way. A consumer is given its start in a key whose generation is not
-- later with the first message of it; where this is 0, the starts in all keys were written when the consumer subscribed.
ALTER TABLE lockstep_outbox_subscription ADD COLUMN since bigint NOT NULL DEFAULT 0;

-- Strict rows of all shards up to an id, each shard searched by its key. Sees what its caller sees.
CREATE FUNCTION lockstep_outbox_strict_until(last bigint) RETURNS TABLE (topic text, key text, headers text)
LANGUAGE sql STABLE STRICT ROWS 100 SET jit = off AS $$
  SELECT kept.topic, kept.key, kept.headers
  FROM generate_series(0, (SELECT max(shard) FROM lockstep_outbox)) one (shard) CROSS JOIN LATERAL (
    SELECT row.topic, row.key, row.headers FROM lockstep_outbox row
    WHERE row.shard = one.shard AND row.id <= last AND row.headers LIKE '%"Lockstep-Sequence":%' ORDER BY row.id OFFSET 0
  ) kept
$$;
