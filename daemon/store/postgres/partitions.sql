-- Tables of a day each. See partitions.py, and prune.py for how they go.

-- name: lock
-- The same as for migrations: whoever changes tables does it alone.
SELECT pg_advisory_xact_lock(5, hashtext($1));

-- name: attached
SELECT parent.relname AS parent, pg_get_expr(child.relpartbound, child.oid) AS bounds
FROM pg_class AS parent
JOIN pg_inherits ON pg_inherits.inhparent = parent.oid
JOIN pg_class AS child ON child.oid = pg_inherits.inhrelid
WHERE parent.relnamespace = to_regnamespace(current_schema()) AND parent.relname = ANY ($1::text[])
    AND NOT coalesce((to_jsonb(pg_inherits) ->> 'inhdetachpending')::boolean, false);
