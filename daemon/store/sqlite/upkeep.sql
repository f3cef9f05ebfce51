-- What was done, and what the daemon knows of its own upkeep. See audit.py and deleting.py.

-- name: note
INSERT INTO facts (name, value, at) VALUES (?, ?, ?)
ON CONFLICT (name) DO UPDATE SET value = excluded.value, at = excluded.at;

-- name: insert_audit
INSERT INTO audit (at, who, what, subject, count, counts, reason, day) VALUES (?, ?, ?, ?, ?, ?, ?, ?);

-- name: audit_of_day
SELECT id, counts FROM audit WHERE what = ? AND day = ?;

-- name: audit_by_id
SELECT id, counts FROM audit WHERE id = ?;

-- name: add_to_audit
UPDATE audit SET at = ?, count = count + ?, counts = ? WHERE id = ?;

-- name: delete_audit
DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE at < ? ORDER BY id LIMIT ?);
