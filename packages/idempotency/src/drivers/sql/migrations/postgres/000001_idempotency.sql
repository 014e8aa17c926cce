-- One row per operation. Times are those of the database's clock.
--   state        I issued · P running · C completed · R released · U uncertain
--   policy       what the end of a lease means: U uncertain · R the next one may try
--   past         what earlier claims may have left: 0 nothing · 1 what a release left open · 2 what a vanished owner did
--   is_awaited   somebody listens for the end of the claim
--   retention_ms how long the answer is kept, as whoever began it asked for
--   expires_at   null while only an owner or an operator may end it
-- The one index serves all who look for rows by time: abandoned, uncertain and expired ones.
CREATE TABLE lockstep_idempotency (
  id text COLLATE "C" PRIMARY KEY,
  state "char" NOT NULL CHECK (state IN ('I', 'P', 'C', 'R', 'U')),
  policy "char" NOT NULL CHECK (policy IN ('U', 'R')),
  past smallint NOT NULL DEFAULT 0,
  is_awaited boolean NOT NULL DEFAULT false,
  fence bigint NOT NULL,
  retention_ms double precision NOT NULL DEFAULT 0,
  lease_until timestamptz,
  uncertain_since timestamptz,
  expires_at timestamptz,
  fingerprint text COLLATE "C",
  owner text COLLATE "C" NOT NULL,
  operation text NOT NULL,
  response text,
  steps jsonb
);
CREATE INDEX lockstep_idempotency_due ON lockstep_idempotency (state, coalesce(expires_at, lease_until, uncertain_since));

-- The one valid token of a slot.
CREATE TABLE lockstep_idempotency_token (
  slot text COLLATE "C" PRIMARY KEY,
  token text COLLATE "C" NOT NULL,
  expires_at timestamptz NOT NULL
);
CREATE INDEX lockstep_idempotency_token_expiry ON lockstep_idempotency_token (expires_at);

-- Claims an operation, or says why not. A function, because each of its statements sees what was committed before it:
-- a single statement would judge a row by a snapshot that is older than its lock.
-- What needs no change is answered without a lock, so that a replay writes nothing.
CREATE FUNCTION lockstep_idempotency_begin(
  p_id text, p_fingerprint text, p_owner text, p_operation text, p_lease_ms double precision,
  p_retention_ms double precision, p_policy text, p_not_after_ms double precision, p_is_waiting boolean,
  p_requires_issue boolean,
  OUT outcome text, OUT clock_ms text, OUT left_ms text, OUT fence text, OUT response text, OUT steps text
) LANGUAGE plpgsql SET lock_timeout = '700ms' AS $$
DECLARE
  kept lockstep_idempotency%ROWTYPE;
  now_at timestamptz;
  is_late boolean;
  is_locked boolean := false;
BEGIN
  LOOP
    IF is_locked THEN
      SELECT r.* INTO kept FROM lockstep_idempotency r WHERE r.id = p_id FOR UPDATE;
    ELSE
      SELECT r.* INTO kept FROM lockstep_idempotency r WHERE r.id = p_id;
    END IF;
    now_at := clock_timestamp();
    clock_ms := extract(epoch FROM now_at) * 1000;
    is_late := coalesce(extract(epoch FROM now_at) * 1000 > p_not_after_ms, false);
    IF kept.expires_at <= now_at THEN
      -- Over is as good as gone, but for the fence.
      kept.state := NULL; kept.fingerprint := NULL; kept.past := NULL; kept.steps := NULL; kept.is_awaited := false;
    END IF;

    outcome := CASE
      WHEN kept.state IS NULL AND p_requires_issue THEN 'absent'
      WHEN kept.state IS NULL THEN CASE WHEN is_late THEN 'late' ELSE 'claim' END
      WHEN kept.fingerprint <> p_fingerprint THEN 'mismatch'
      WHEN kept.state = 'C' THEN 'completed'
      WHEN kept.owner = p_owner THEN CASE WHEN kept.state = 'R' THEN 'late' ELSE 'again' END
      WHEN kept.state = 'U' THEN 'uncertain'
      WHEN kept.state = 'P' AND kept.lease_until > now_at THEN 'busy'
      WHEN kept.state = 'P' AND kept.policy = 'U' THEN 'abandoned'
      ELSE CASE WHEN is_late THEN 'late' ELSE 'claim' END
    END;
    IF outcome = 'completed' THEN
      response := kept.response;
    ELSIF outcome = 'busy' THEN
      left_ms := extract(epoch FROM kept.lease_until - now_at) * 1000;
    END IF;
    EXIT WHEN outcome NOT IN ('claim', 'again', 'abandoned', 'busy');
    EXIT WHEN outcome = 'busy' AND (kept.is_awaited OR NOT p_is_waiting);
    IF kept.id IS NOT NULL AND NOT is_locked THEN
      is_locked := true;
      CONTINUE;
    END IF;

    IF outcome = 'busy' THEN
      UPDATE lockstep_idempotency r SET is_awaited = true WHERE r.id = p_id;
      EXIT;
    ELSIF outcome = 'abandoned' THEN
      UPDATE lockstep_idempotency r SET state = 'U', uncertain_since = now_at, lease_until = NULL WHERE r.id = p_id;
      outcome := 'uncertain';
      EXIT;
    ELSIF outcome = 'claim' THEN
      kept.past := CASE
        WHEN kept.state = 'P' THEN 2
        WHEN kept.fingerprint IS NOT NULL AND kept.past = 0 THEN 1
        ELSE coalesce(kept.past, 0)
      END;
      -- The clock keeps fences rising when the row, and the last fence with it, was deleted.
      kept.fence := greatest(coalesce(kept.fence, 0) + 1, floor(extract(epoch FROM now_at) * 1000000)::bigint);
      kept.fingerprint := p_fingerprint; kept.owner := p_owner; kept.operation := p_operation; kept.policy := p_policy;
    END IF;
    kept.lease_until := now_at + p_lease_ms * interval '1 millisecond';
    -- A running row of policy U must not vanish before somebody knows; that of policy R must outlive its lease.
    kept.expires_at := CASE WHEN kept.policy = 'R' THEN kept.lease_until + p_retention_ms * interval '1 millisecond' END;

    IF kept.id IS NULL THEN
      INSERT INTO lockstep_idempotency
        (id, state, policy, fence, lease_until, expires_at, fingerprint, owner, operation, retention_ms)
        VALUES (p_id, 'P', kept.policy, kept.fence, kept.lease_until, kept.expires_at, p_fingerprint, p_owner, p_operation,
          p_retention_ms)
        ON CONFLICT (id) DO NOTHING;
      -- Somebody was faster: his row is seen by the next statement.
      CONTINUE WHEN NOT FOUND;
    ELSE
      UPDATE lockstep_idempotency r SET
        state = 'P', policy = kept.policy, past = kept.past, is_awaited = kept.is_awaited, fence = kept.fence,
        lease_until = kept.lease_until, uncertain_since = NULL, expires_at = kept.expires_at,
        fingerprint = p_fingerprint, owner = p_owner, operation = kept.operation, response = NULL, steps = kept.steps,
        retention_ms = p_retention_ms
        WHERE r.id = p_id;
    END IF;
    outcome := CASE WHEN kept.past = 2 THEN 'recovered' ELSE 'acquired' END;
    fence := kept.fence;
    steps := kept.steps;
    EXIT;
  END LOOP;
END $$;

-- Ends a claim on behalf of its owner, from running or uncertain. Repeated, it answers as the first time.
--   p_target     C completed · R released · N released as not applied · U uncertain
CREATE FUNCTION lockstep_idempotency_settle(
  p_id text, p_owner text, p_target text, p_response text, p_retention_ms double precision
) RETURNS boolean LANGUAGE plpgsql SET lock_timeout = '700ms' AS $$
DECLARE
  target "char" := CASE WHEN p_target = 'N' THEN 'R' ELSE p_target END;
  now_at timestamptz := clock_timestamp();
  was_awaited boolean;
BEGIN
  UPDATE lockstep_idempotency r SET
    state = target,
    -- A renewal on its way or an adoption sets it running again; when that one vanishes nobody may simply begin.
    policy = CASE WHEN p_target = 'U' THEN 'U' ELSE r.policy END,
    -- This claim did nothing; what an earlier one may have done is still bound to its payload.
    fingerprint = CASE WHEN p_target = 'N' AND r.past = 0 THEN NULL ELSE r.fingerprint END,
    steps = CASE WHEN p_target = 'C' OR (p_target = 'N' AND r.past = 0) THEN NULL ELSE r.steps END,
    response = p_response,
    lease_until = NULL,
    uncertain_since = CASE WHEN p_target = 'U' THEN coalesce(r.uncertain_since, now_at) END,
    expires_at = CASE WHEN p_target <> 'U' THEN now_at + p_retention_ms * interval '1 millisecond' END
    WHERE r.id = p_id AND r.owner = p_owner AND r.state IN ('P', 'U')
      AND (r.expires_at IS NULL OR r.expires_at > now_at)
    RETURNING r.is_awaited INTO was_awaited;
  IF FOUND THEN
    IF was_awaited THEN PERFORM pg_notify('lockstep_idempotency', p_id); END IF;
    RETURN true;
  END IF;
  RETURN EXISTS (SELECT FROM lockstep_idempotency r
    WHERE r.id = p_id AND r.owner = p_owner AND r.state = target AND (r.expires_at IS NULL OR r.expires_at > now_at));
END $$;
