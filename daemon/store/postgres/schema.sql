-- How our tables come into a database. See schema.py.

-- name: server
SELECT current_setting('server_version_num')::integer AS number, current_setting('server_version') AS version,
    current_setting('server_encoding') AS encoding;

-- name: lock
-- Advisory locks are the database's: other schemas in it have their own.
SELECT pg_advisory_xact_lock(5, hashtext($1));

-- name: rights
-- may_use is NULL where there is no such schema.
SELECT current_user::text AS role, has_database_privilege(current_database(), 'CREATE') AS may_create,
    CASE WHEN to_regnamespace(quote_ident($1)) IS NOT NULL
        THEN has_schema_privilege($1, 'USAGE') AND has_schema_privilege($1, 'CREATE') END AS may_use;

-- name: create_migrations
CREATE TABLE IF NOT EXISTS migrations (
    number      integer PRIMARY KEY,
    survived_by integer NOT NULL, -- programs that know this number go on working
    program     text    NOT NULL, -- the version that made it
    at          bigint  NOT NULL
);

-- name: other_owner
SELECT pg_get_userbyid(relowner) FROM pg_class
WHERE oid = to_regclass('migrations') AND NOT pg_has_role(relowner, 'USAGE');

-- name: newest
SELECT survived_by, program FROM migrations ORDER BY number DESC LIMIT 1;

-- name: last_number
SELECT coalesce(max(number), 0) FROM migrations;

-- name: note
INSERT INTO migrations (number, survived_by, program, at) VALUES ($1, $2, $3, $4);

-- name: running_nodes
SELECT name, version FROM nodes WHERE seen_at >= $1 AND NOT is_leaving ORDER BY name;
