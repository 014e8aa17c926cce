-- Steps that begin and end sessions. Those that look at all sessions of a group, and change some, take turns by an
-- advisory lock of the group, before any lock of a row; all others lock one row and wait for nothing else then.

-- The first number is 'SESS', which tells these locks from those of others; groups whose hashes collide share a turn.
CREATE FUNCTION lockstep_session_take_turn(p_group text) RETURNS void LANGUAGE sql AS $$
  SELECT pg_advisory_xact_lock(1397052243, hashtext(p_group))
$$;

-- Of two groups, always in the same order: two sessions that change places would wait for each other.
CREATE FUNCTION lockstep_session_take_turns(p_one text, p_other text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM lockstep_session_take_turn(CASE WHEN hashtext(p_one) < hashtext(p_other) THEN p_one ELSE p_other END);
  PERFORM lockstep_session_take_turn(CASE WHEN hashtext(p_one) < hashtext(p_other) THEN p_other ELSE p_one END);
END $$;

-- What a step that is sent again has made before; null when nothing.
CREATE FUNCTION lockstep_session_made(p_id text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  record text;
BEGIN
  SELECT lockstep_session_record(s, clock_timestamp()) INTO record
    FROM lockstep_session s WHERE s.id = p_id AND lockstep_session_end(s) > clock_timestamp();
  IF NOT FOUND THEN
    SELECT lockstep_session_record(s, clock_timestamp()) INTO record
      FROM lockstep_session_alias a JOIN lockstep_session s ON s.row_id = a.session_row
      WHERE a.id = p_id AND a.ends_at > clock_timestamp() AND lockstep_session_end(s) > clock_timestamp();
  END IF;
  RETURN record;
END $$;

-- Ends live sessions of a group, in this order, and tells those who watch them. Returns their ids.
CREATE FUNCTION lockstep_session_drop(p_rows bigint[], p_group text) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
  doomed bigint;
  ended lockstep_session%ROWTYPE;
  ids text[] := '{}';
BEGIN
  FOREACH doomed IN ARRAY p_rows LOOP
    DELETE FROM lockstep_session s
      WHERE s.row_id = doomed AND s.group_id = p_group AND lockstep_session_end(s) > clock_timestamp()
      RETURNING s.* INTO ended;
    CONTINUE WHEN NOT FOUND;
    ids := ids || ended.id;
    IF ended.watched_as IS NOT NULL THEN PERFORM pg_notify('lockstep_session', ended.watched_as); END IF;
  END LOOP;
  RETURN ids;
END $$;

-- Deletes sessions of a user that have run out, and names each to one caller only.
CREATE FUNCTION lockstep_session_sweep(p_group text) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
  ids text[];
BEGIN
  WITH ended AS (
    DELETE FROM lockstep_session WHERE row_id = ANY (ARRAY(
      SELECT s.row_id FROM lockstep_session s
      WHERE s.group_id = p_group AND s.principal IS NOT NULL AND lockstep_session_end(s) <= clock_timestamp()
      FOR UPDATE SKIP LOCKED
    )) RETURNING id
  )
  SELECT coalesce(array_agg(id), '{}') INTO ids FROM ended;
  RETURN ids;
END $$;

-- Sees to it that there is room for one more of the group, by live sessions alone. Where there is none, nothing is
-- changed.
--   p_leaving    the row that the new session takes over, which therefore needs no room
CREATE FUNCTION lockstep_session_make_room(
  p_group text, p_leaving bigint, p_limit integer, p_policy text,
  OUT has_room boolean, OUT evicted text[], OUT expired text[]
) LANGUAGE plpgsql AS $$
DECLARE
  others bigint[] := ARRAY(SELECT s.row_id FROM lockstep_session s
    WHERE s.group_id = p_group AND s.principal IS NOT NULL AND s.row_id IS DISTINCT FROM p_leaving
      AND lockstep_session_end(s) > clock_timestamp()
    ORDER BY s.created_at, s.row_id);
  excess integer := cardinality(others) + 1 - p_limit;
BEGIN
  IF current_setting('transaction_isolation') = 'repeatable read' THEN
    RAISE EXCEPTION 'A limit of sessions cannot be kept at isolation repeatable read, which counts by a snapshot older than '
      'the turn; set default_transaction_isolation to read committed' USING ERRCODE = 'feature_not_supported';
  END IF;
  has_room := excess <= 0 OR p_policy = 'evict-oldest';
  IF NOT has_room THEN RETURN; END IF;
  evicted := lockstep_session_drop(others[:excess], p_group);
  expired := lockstep_session_sweep(p_group);
END $$;

--   p_limit      null: as many as there may be
--   outcome      created · refused
CREATE FUNCTION lockstep_session_create(
  p_id text, p_group text, p_idle_ms double precision, p_absolute_ms double precision, p_principal text, p_meta text,
  p_names text[], p_values text[], p_limit integer, p_policy text,
  OUT outcome text, OUT record text, OUT evicted text, OUT expired text
) LANGUAGE plpgsql SET lock_timeout = '700ms' AS $$
DECLARE
  room record;
  made lockstep_session%ROWTYPE;
  now_at timestamptz;
BEGIN
  outcome := 'created';
  IF p_limit IS NOT NULL AND p_principal IS NOT NULL THEN
    PERFORM lockstep_session_take_turn(p_group);
    record := lockstep_session_made(p_id);
    IF record IS NOT NULL THEN RETURN; END IF;
    room := lockstep_session_make_room(p_group, NULL, p_limit, p_policy);
    IF NOT room.has_room THEN
      outcome := 'refused';
      RETURN;
    END IF;
    evicted := array_to_json(room.evicted);
    expired := array_to_json(room.expired);
  END IF;
  LOOP
    record := lockstep_session_made(p_id);
    IF record IS NOT NULL THEN RETURN; END IF;
    now_at := clock_timestamp();
    INSERT INTO lockstep_session
      (version, created_at, issued_at, last_access_at, expires_at, due_at, idle_ms, id, group_id, principal, meta)
      VALUES (1, now_at, now_at, now_at, lockstep_session_after(now_at, p_absolute_ms),
        lockstep_session_after(now_at, least(p_idle_ms, p_absolute_ms)), p_idle_ms, p_id, p_group, p_principal, p_meta)
      ON CONFLICT (id) DO NOTHING RETURNING * INTO made;
    EXIT WHEN FOUND;
    -- The same request was under way, or what it made has run out.
    DELETE FROM lockstep_session s WHERE s.id = p_id AND lockstep_session_end(s) <= clock_timestamp();
  END LOOP;
  INSERT INTO lockstep_session_attribute (session_row, name, value, revision)
    SELECT made.row_id, item.name, item.value, 1 FROM unnest(p_names, p_values) AS item (name, value);
  record := lockstep_session_record(made, now_at);
END $$;

-- Gives a session a new id, in its own row: see there.
--   p_manner     login · reset · renew
--   outcome      replaced · renewed · refused · gone
CREATE FUNCTION lockstep_session_replace(
  p_from text, p_from_group text, p_id text, p_group text, p_idle_ms double precision, p_absolute_ms double precision,
  p_principal text, p_meta text, p_manner text, p_grace_ms double precision, p_limit integer, p_policy text,
  OUT outcome text, OUT record text, OUT evicted text, OUT expired text
) LANGUAGE plpgsql SET lock_timeout = '700ms' AS $$
DECLARE
  kept lockstep_session%ROWTYPE;
  room record;
  now_at timestamptz;
  is_limited boolean := p_limit IS NOT NULL AND p_principal IS NOT NULL AND p_manner <> 'renew';
BEGIN
  IF is_limited THEN PERFORM lockstep_session_take_turns(p_from_group, p_group); END IF;
  kept := lockstep_session_lock(p_from, p_from_group);
  IF kept.id IS DISTINCT FROM p_from THEN
    -- Sent twice, perhaps; the lock has waited for the first one.
    record := lockstep_session_made(p_id);
    outcome := CASE
      WHEN record IS NOT NULL THEN 'replaced'
      WHEN kept.row_id IS NULL THEN 'gone'
      WHEN p_manner = 'renew' THEN 'renewed'
    END;
    IF outcome IS NOT NULL THEN RETURN; END IF;
  END IF;
  outcome := 'replaced';
  now_at := clock_timestamp();

  IF p_manner = 'renew' THEN
    -- Who renews the new id has come with it.
    UPDATE lockstep_session_alias a SET
      ends_at = least(a.ends_at, lockstep_session_after(now_at, a.grace_ms)), grace_ms = NULL
      WHERE a.session_row = kept.row_id AND a.grace_ms IS NOT NULL;
    DELETE FROM lockstep_session_alias a WHERE a.session_row = kept.row_id AND a.ends_at <= now_at;
    INSERT INTO lockstep_session_alias (id, session_row, ends_at, grace_ms)
      VALUES (p_from, kept.row_id, lockstep_session_after(now_at, kept.idle_ms), p_grace_ms);
    UPDATE lockstep_session s SET id = p_id, issued_at = now_at, is_unused = true
      WHERE s.row_id = kept.row_id RETURNING s.* INTO kept;
    record := lockstep_session_record(kept, now_at);
    RETURN;
  END IF;

  IF is_limited THEN
    room := lockstep_session_make_room(p_group, kept.row_id, p_limit, p_policy);
    IF NOT room.has_room THEN
      outcome := 'refused';
      RETURN;
    END IF;
    evicted := array_to_json(room.evicted);
    expired := array_to_json(room.expired);
  END IF;
  IF p_manner = 'reset' THEN DELETE FROM lockstep_session_attribute a WHERE a.session_row = kept.row_id; END IF;
  DELETE FROM lockstep_session_alias a WHERE a.session_row = kept.row_id;
  IF kept.watched_as IS NOT NULL THEN PERFORM pg_notify('lockstep_session', kept.watched_as); END IF;
  UPDATE lockstep_session s SET
    id = p_id, group_id = p_group, principal = p_principal, meta = p_meta, version = s.version + 1, saves = '{}',
    is_unused = false, watched_as = NULL, created_at = now_at, issued_at = now_at, last_access_at = now_at,
    expires_at = lockstep_session_after(now_at, p_absolute_ms), idle_ms = p_idle_ms,
    due_at = lockstep_session_after(now_at, least(p_idle_ms, p_absolute_ms))
    WHERE s.row_id = kept.row_id RETURNING s.* INTO kept;
  record := lockstep_session_record(kept, now_at);
END $$;

--   p_ids        null: all of the group
CREATE FUNCTION lockstep_session_remove(p_group text, p_ids text[], p_except text)
RETURNS text LANGUAGE plpgsql SET lock_timeout = '700ms' AS $$
DECLARE
  spared lockstep_session%ROWTYPE;
  doomed lockstep_session%ROWTYPE;
  each_id text;
  rows bigint[] := '{}';
BEGIN
  PERFORM lockstep_session_take_turn(p_group);
  IF p_except IS NOT NULL THEN spared := lockstep_session_lock(p_except, p_group); END IF;
  IF p_ids IS NULL THEN
    rows := ARRAY(SELECT s.row_id FROM lockstep_session s WHERE s.group_id = p_group ORDER BY s.row_id);
  ELSE
    FOREACH each_id IN ARRAY p_ids LOOP
      doomed := lockstep_session_lock(each_id, p_group);
      IF doomed.row_id IS NOT NULL THEN rows := rows || doomed.row_id; END IF;
    END LOOP;
  END IF;
  IF spared.row_id IS NOT NULL THEN rows := array_remove(rows, spared.row_id); END IF;
  RETURN array_to_json(lockstep_session_drop(rows, p_group));
END $$;

CREATE FUNCTION lockstep_session_list(p_group text, p_most integer, OUT sessions text, OUT expired text)
LANGUAGE plpgsql SET lock_timeout = '700ms' AS $$
BEGIN
  expired := array_to_json(lockstep_session_sweep(p_group));
  sessions := (SELECT coalesce(json_agg(lockstep_session_head(newest.session) ORDER BY newest.place), '[]') FROM (
    SELECT s AS session, row_number() OVER (ORDER BY s.created_at DESC, s.row_id DESC) AS place
    FROM lockstep_session s
    WHERE s.group_id = p_group AND s.principal IS NOT NULL AND lockstep_session_end(s) > clock_timestamp()
  ) AS newest WHERE newest.place <= p_most);
END $$;

-- The name by which the end of a session is announced from now on; null when it is not there.
CREATE FUNCTION lockstep_session_watch(p_id text, p_group text)
RETURNS text LANGUAGE plpgsql SET lock_timeout = '700ms' AS $$
DECLARE
  kept lockstep_session%ROWTYPE := lockstep_session_lock(p_id, p_group);
BEGIN
  IF kept.row_id IS NOT NULL AND kept.watched_as IS NULL THEN
    kept.watched_as := kept.id;
    UPDATE lockstep_session s SET watched_as = kept.id WHERE s.row_id = kept.row_id;
  END IF;
  RETURN kept.watched_as;
END $$;

-- Deletes what has run out among those that are due, and moves the others on. Passes over what others have in hand.
--   seen         how many were due
--   expired      those of somebody that were deleted
CREATE FUNCTION lockstep_session_purge(p_limit integer, OUT seen integer, OUT expired text)
LANGUAGE plpgsql SET lock_timeout = '700ms' AS $$
DECLARE
  now_at timestamptz := clock_timestamp();
  due bigint[] := ARRAY(SELECT s.row_id FROM lockstep_session s WHERE s.due_at <= now_at
    ORDER BY s.due_at LIMIT p_limit FOR UPDATE SKIP LOCKED);
BEGIN
  seen := cardinality(due);
  WITH ended AS (
    DELETE FROM lockstep_session s WHERE s.row_id = ANY (due) AND lockstep_session_end(s) <= now_at
    RETURNING s.principal, lockstep_session_head(s) AS head
  )
  SELECT coalesce(json_agg(ended.head), '[]') INTO expired FROM ended WHERE ended.principal IS NOT NULL;
  UPDATE lockstep_session s SET due_at = lockstep_session_end(s) WHERE s.row_id = ANY (due);
END $$;
