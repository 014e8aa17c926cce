-- Fences of all locks. Without a cache of the session: one that draws later must draw more.
CREATE SEQUENCE lockstep_lock_fence AS bigint CACHE 1;

-- From the present time in microseconds, as fences of Redis are: what was guarded by those goes on to rise.
SELECT setval('lockstep_lock_fence', (extract(epoch FROM clock_timestamp()) * 1000000)::bigint);
