-- One row per session. Times are those of the database's clock. Whoever changes a session, its attributes or its renewed
-- ids has locked its row first.
--   row_id       what attributes and renewed ids hang on. It outlives every change of the id: a login and a renewal change
--                the row in place, so that who deletes by group at the same time waits, looks again and finds it. A new
--                row beside a deleted one would be none that his statement sees, and would survive it
--   due_at       not before then can it have run out. Moved on by the reaper alone, so that noting a use touches no index
--   is_unused    its id was given out by a renewal, and nobody has come with it yet
--   watched_as   the name by which processes wait for its end; null while none does
--   saves        names of the latest saves, oldest first
CREATE TABLE lockstep_session (
  row_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  version bigint NOT NULL,
  created_at timestamptz NOT NULL,
  issued_at timestamptz NOT NULL,
  last_access_at timestamptz NOT NULL,
  expires_at timestamptz NOT NULL,
  due_at timestamptz NOT NULL,
  idle_ms double precision NOT NULL,
  is_unused boolean NOT NULL DEFAULT false,
  id text COLLATE "C" NOT NULL UNIQUE,
  group_id text COLLATE "C" NOT NULL,
  principal text,
  meta text NOT NULL,
  watched_as text COLLATE "C",
  saves text[] NOT NULL DEFAULT '{}'
) WITH (fillfactor = 70);
CREATE INDEX lockstep_session_group ON lockstep_session (group_id);
CREATE INDEX lockstep_session_due ON lockstep_session (due_at);

-- Attributes have rows of their own, because a row is written as a whole: of a session of 64 KB that keeps them in one
-- jsonb, a change of one attribute writes all of it again, to the table and to the log. Here it writes that attribute,
-- and the narrow row of the session.
CREATE TABLE lockstep_session_attribute (
  session_row bigint NOT NULL REFERENCES lockstep_session ON DELETE CASCADE,
  revision bigint NOT NULL,
  name text COLLATE "C" NOT NULL,
  value text NOT NULL,
  PRIMARY KEY (session_row, name)
) WITH (fillfactor = 70);

-- Renewed ids that still lead to their session.
--   grace_ms     how long, from the first use of the successor; null when it was used
CREATE TABLE lockstep_session_alias (
  id text COLLATE "C" PRIMARY KEY,
  session_row bigint NOT NULL REFERENCES lockstep_session ON DELETE CASCADE,
  ends_at timestamptz NOT NULL,
  grace_ms double precision
);
CREATE INDEX lockstep_session_alias_session ON lockstep_session_alias (session_row);

CREATE FUNCTION lockstep_session_after(at timestamptz, ms double precision) RETURNS timestamptz LANGUAGE sql STABLE AS $$
  SELECT at + ms * interval '1 millisecond'
$$;

CREATE FUNCTION lockstep_session_ms(at timestamptz) RETURNS bigint LANGUAGE sql STABLE AS $$
  SELECT floor(extract(epoch FROM at) * 1000)::bigint
$$;

-- When it runs out, if nobody comes.
CREATE FUNCTION lockstep_session_end(s lockstep_session) RETURNS timestamptz LANGUAGE sql STABLE AS $$
  SELECT least(s.last_access_at + s.idle_ms * interval '1 millisecond', s.expires_at)
$$;

CREATE FUNCTION lockstep_session_head(s lockstep_session) RETURNS json LANGUAGE sql STABLE AS $$
  SELECT json_build_object(
    'key', json_build_object('id', s.id, 'group', s.group_id),
    'createdAt', lockstep_session_ms(s.created_at), 'issuedAt', lockstep_session_ms(s.issued_at),
    'lastAccessAt', lockstep_session_ms(s.last_access_at), 'expiresAt', lockstep_session_ms(s.expires_at),
    'idleMs', s.idle_ms, 'principal', s.principal, 'meta', s.meta)
$$;

-- Head, version, attributes and when it was read. Stable, so that it sees what the statement around sees: attributes of another
-- version than that of the row are never read. Call it in the statement that reads the row, or while it is locked.
CREATE FUNCTION lockstep_session_record(s lockstep_session, read_at timestamptz) RETURNS text LANGUAGE plpgsql STABLE AS $$
DECLARE
  attributes json;
BEGIN
  SELECT json_agg(json_build_array(a.name, a.value, a.revision)) INTO attributes
    FROM lockstep_session_attribute a WHERE a.session_row = s.row_id;
  RETURN json_build_array(lockstep_session_head(s), s.version, coalesce(attributes, '[]'),
    lockstep_session_ms(read_at));
END $$;

-- The live session of an id, or of its successor, locked; all null when there is none.
CREATE FUNCTION lockstep_session_lock(p_id text, p_group text) RETURNS lockstep_session LANGUAGE plpgsql AS $$
DECLARE
  kept lockstep_session%ROWTYPE;
  target bigint;
BEGIN
  SELECT s.* INTO kept FROM lockstep_session s WHERE s.id = p_id AND s.group_id = p_group FOR UPDATE;
  IF NOT FOUND THEN
    -- After the one above, which has waited for a renewal that was under way.
    SELECT a.session_row INTO target FROM lockstep_session_alias a WHERE a.id = p_id AND a.ends_at > clock_timestamp();
    SELECT s.* INTO kept FROM lockstep_session s WHERE s.row_id = target AND s.group_id = p_group FOR UPDATE;
    -- A login meanwhile has taken the row, and has left nothing that leads to it.
    PERFORM FROM lockstep_session_alias a WHERE a.id = p_id AND a.session_row = target;
    IF NOT FOUND THEN RETURN NULL; END IF;
  END IF;
  IF kept.row_id IS NULL OR lockstep_session_end(kept) <= clock_timestamp() THEN RETURN NULL; END IF;
  RETURN kept;
END $$;

-- Reads, and notes the use where that is due: one that needs no note takes no lock and writes nothing.
--   p_touch_after_ms  null: only looks
CREATE FUNCTION lockstep_session_load(p_id text, p_group text, p_touch_after_ms double precision)
RETURNS text LANGUAGE plpgsql SET lock_timeout = '700ms' AS $$
DECLARE
  hit record;
  kept lockstep_session%ROWTYPE;
  now_at timestamptz;
  is_renewed boolean;
  is_due boolean;
  is_first boolean;
BEGIN
  LOOP
    is_renewed := false;
    SELECT s AS session, lockstep_session_record(s, clock_timestamp()) AS record INTO hit
      FROM lockstep_session s WHERE s.id = p_id AND s.group_id = p_group;
    IF NOT FOUND THEN
      is_renewed := true;
      SELECT s AS session, lockstep_session_record(s, clock_timestamp()) AS record INTO hit
        FROM lockstep_session_alias a JOIN lockstep_session s ON s.row_id = a.session_row
        WHERE a.id = p_id AND a.ends_at > clock_timestamp() AND s.group_id = p_group;
      IF NOT FOUND THEN RETURN NULL; END IF;
    END IF;
    kept := hit.session;
    now_at := clock_timestamp();
    IF lockstep_session_end(kept) <= now_at THEN RETURN NULL; END IF;
    is_due := coalesce(lockstep_session_after(kept.last_access_at, p_touch_after_ms) <= now_at, false);
    is_first := p_touch_after_ms IS NOT NULL AND kept.is_unused AND NOT is_renewed;
    IF NOT is_due AND NOT is_first THEN RETURN hit.record; END IF;

    UPDATE lockstep_session s SET
      last_access_at = CASE WHEN is_due THEN greatest(s.last_access_at, now_at) ELSE s.last_access_at END,
      is_unused = s.is_unused AND NOT is_first
      WHERE s.row_id = kept.row_id AND s.id = kept.id AND lockstep_session_end(s) > now_at;
    -- Renewed, replaced or ended meanwhile: who comes with this id may not be the one who owns the row by now.
    CONTINUE WHEN NOT FOUND;
    IF is_first THEN
      UPDATE lockstep_session_alias a SET
        ends_at = least(a.ends_at, lockstep_session_after(now_at, a.grace_ms)), grace_ms = NULL
        WHERE a.session_row = kept.row_id AND a.grace_ms IS NOT NULL;
    ELSIF is_renewed THEN
      -- The client never got the answer; it stays logged in as long as it comes.
      UPDATE lockstep_session_alias a SET ends_at = lockstep_session_after(now_at, kept.idle_ms)
        WHERE a.id = p_id AND a.session_row = kept.row_id AND a.grace_ms IS NOT NULL;
    END IF;
    -- Again, because others may have saved while this one waited; now the row is locked.
    RETURN (SELECT lockstep_session_record(s, clock_timestamp()) FROM lockstep_session s WHERE s.row_id = kept.row_id);
  END LOOP;
END $$;

-- Writes what has changed, once per name of a save.
--   outcome      saved · conflict · gone
CREATE FUNCTION lockstep_session_save(
  p_id text, p_group text, p_names text[], p_values text[], p_removed text[], p_expected_name text,
  p_expected_revision bigint, p_save text, OUT outcome text, OUT version text, OUT revisions text
) LANGUAGE plpgsql SET lock_timeout = '700ms' AS $$
DECLARE
  kept lockstep_session%ROWTYPE;
BEGIN
  kept := lockstep_session_lock(p_id, p_group);
  IF kept.row_id IS NULL THEN
    outcome := 'gone';
    RETURN;
  END IF;
  IF NOT p_save = ANY (kept.saves) THEN
    IF p_expected_name IS NOT NULL AND p_expected_revision <> coalesce((SELECT a.revision
        FROM lockstep_session_attribute a WHERE a.session_row = kept.row_id AND a.name = p_expected_name), 0) THEN
      outcome := 'conflict';
      RETURN;
    END IF;
    kept.version := kept.version + 1;
    UPDATE lockstep_session s SET version = kept.version,
      -- The last 16: as many as REMEMBERED_SAVES.
      saves = (s.saves || p_save)[cardinality(s.saves) - 14:]
      WHERE s.row_id = kept.row_id;
    INSERT INTO lockstep_session_attribute AS a (session_row, name, value, revision)
      SELECT kept.row_id, item.name, item.value, kept.version FROM unnest(p_names, p_values) AS item (name, value)
      ON CONFLICT (session_row, name) DO UPDATE SET value = excluded.value, revision = excluded.revision;
    DELETE FROM lockstep_session_attribute a WHERE a.session_row = kept.row_id AND a.name = ANY (p_removed);
  END IF;
  outcome := 'saved';
  version := kept.version;
  revisions := (SELECT coalesce(json_agg(coalesce(a.revision, 0) ORDER BY item.place), '[]')
    FROM unnest(p_names) WITH ORDINALITY AS item (name, place)
    LEFT JOIN lockstep_session_attribute a ON a.session_row = kept.row_id AND a.name = item.name);
END $$;
