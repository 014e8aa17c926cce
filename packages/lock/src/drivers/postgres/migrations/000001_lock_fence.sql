-- Fences of all locks. Without a cache of the session: one that draws later must draw more.
CREATE SEQUENCE lockstep_lock_fence AS bigint CACHE 1;
