-- name: lock
-- One change after the other; class 4 is theirs.
SELECT pg_advisory_xact_lock(4, hashtext($1));

-- name: one
SELECT value FROM secrets WHERE name = $1;

-- name: kept
SELECT name, value FROM secrets WHERE starts_with(name, $1);

-- name: keep
INSERT INTO secrets (name, value, at) VALUES ($1, $2, $3)
ON CONFLICT (name) DO UPDATE SET value = excluded.value, at = excluded.at;

-- name: forget
DELETE FROM secrets WHERE name = $1;
