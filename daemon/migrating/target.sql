-- What a move writes beside the rows. `moving` and `moved_rows` are there while it is under way.

-- name: has_schema
SELECT to_regclass('events') IS NOT NULL;

-- name: is_moving
SELECT to_regclass('moving') IS NOT NULL;

-- name: begun_from
SELECT fingerprint FROM moving;

-- name: ended_with
SELECT value FROM facts WHERE name = 'moved';

-- name: make_moving
CREATE TABLE moving (fingerprint text NOT NULL);

-- name: make_moved_rows
CREATE TABLE moved_rows (name text PRIMARY KEY, rows bigint NOT NULL);

-- name: begin
INSERT INTO moving (fingerprint) VALUES ($1);

-- name: begin_rows
INSERT INTO moved_rows (name, rows) SELECT unnest($1::text[]), 0;

-- name: moved_rows
SELECT name, rows FROM moved_rows;

-- name: add_rows
-- Nothing if somebody else went on meanwhile.
UPDATE moved_rows SET rows = rows + $3 WHERE name = $1 AND rows = $2 RETURNING rows;

-- name: begin_anew
UPDATE moved_rows SET rows = 0;

-- name: begin_anew_from
UPDATE moving SET fingerprint = $1;

-- name: keep_secret
INSERT INTO secrets (name, value, at) VALUES ($1, $2, $3)
ON CONFLICT (name) DO UPDATE SET value = excluded.value, at = excluded.at;

-- name: end
INSERT INTO facts (name, value, at) VALUES ('moved', $1, $2);

-- name: drop_moved_rows
DROP TABLE moved_rows;

-- name: drop_moving
DROP TABLE moving;
