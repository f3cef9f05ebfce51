-- How the server, the database and our tables stand. See examination.py.

-- name: server
SELECT current_setting('server_version') AS version,
    current_setting('server_version_num')::integer AS number,
    current_setting('server_encoding') AS encoding,
    current_user::text AS role,
    current_setting('fsync') = 'on' AS fsync,
    current_setting('full_page_writes') = 'on' AS full_page_writes,
    -- Our sessions set it for themselves.
    (SELECT reset_val FROM pg_settings WHERE name = 'synchronous_commit') AS synchronous_commit,
    current_setting('synchronous_standby_names') AS synchronous_standby_names,
    current_setting('autovacuum') = 'on' AND current_setting('track_counts') = 'on' AS autovacuum,
    pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') AS sees_all,
    coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false) AS is_encrypted;

-- name: connections
SELECT count(*) FILTER (WHERE datname IS NOT NULL) AS used,
    count(*) FILTER (WHERE usename = current_user AND application_name = 'hookline') AS own,
    least(
        current_setting('max_connections')::integer
            - current_setting('superuser_reserved_connections')::integer
            -- Since PostgreSQL 16.
            - coalesce(current_setting('reserved_connections', true), '0')::integer,
        (SELECT CASE WHEN rolconnlimit >= 0 THEN rolconnlimit END FROM pg_roles WHERE rolname = current_user),
        (SELECT CASE WHEN datconnlimit >= 0 THEN datconnlimit END FROM pg_database WHERE datname = current_database())
    ) AS most
FROM pg_stat_activity;

-- name: standbys
SELECT count(*) AS standbys, count(*) FILTER (WHERE sync_state IN ('sync', 'quorum')) AS synchronous
FROM pg_stat_replication;

-- The oldest transaction of each kind that vacuum has to spare for.
-- name: holding
SELECT what, extract(epoch FROM clock_timestamp() - since)::float8 AS age_s
FROM (
    SELECT format('process %s (%s)', pid, coalesce(nullif(application_name, ''), usename, backend_type)) AS what,
        xact_start AS since
    FROM pg_stat_activity
    WHERE xact_start IS NOT NULL AND pid <> pg_backend_pid() AND backend_type = 'client backend'
        AND (datname = current_database() OR backend_xmin IS NOT NULL)
    UNION ALL
    SELECT format('the prepared transaction %s', gid), prepared
    FROM pg_prepared_xacts WHERE database = current_database()
) AS found
ORDER BY age_s DESC LIMIT 1;

-- name: slots
SELECT slot_name::text AS name, pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::bigint AS size
FROM pg_replication_slots WHERE NOT active AND restart_lsn IS NOT NULL ORDER BY size DESC LIMIT 10;

-- name: schema
SELECT CASE WHEN to_regclass('migrations') IS NOT NULL THEN 1 END AS is_there;

-- name: tables
SELECT (SELECT max(number) FROM migrations) AS schema,
    has_schema_privilege(current_user, current_schema(), 'CREATE') AS may_create,
    (SELECT pg_get_userbyid(relowner)::text FROM pg_class
     WHERE oid = to_regclass('queue') AND NOT pg_has_role(relowner, 'USAGE')) AS other_owner,
    (SELECT sum(pg_total_relation_size(oid))::bigint FROM pg_class
     WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r') AS size,
    rows.n_live_tup AS queue_rows,
    rows.n_dead_tup AS queue_dead,
    greatest(rows.last_autovacuum, rows.last_vacuum) AS vacuumed_at
FROM pg_stat_user_tables AS rows WHERE rows.relid = to_regclass('queue');
