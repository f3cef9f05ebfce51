-- What was done by hand and by retention. See audit.py.

-- name: insert_audit
INSERT INTO audit (at, who, what, subject, reason, day, count, counts) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
RETURNING id;

-- name: begin_day
INSERT INTO audit (at, who, what, subject, reason, day, count, counts) VALUES ($1, $2, $3, $4, $5, $6, 0, '{}')
ON CONFLICT (what, day) WHERE day IS NOT NULL DO NOTHING;

-- name: audit_of_day
SELECT id FROM audit WHERE what = $1 AND day = $2;

-- name: counts
SELECT counts FROM audit WHERE id = $1 FOR UPDATE;

-- name: add_to_audit
UPDATE audit SET at = $2, count = count + $3, counts = $4 WHERE id = $1;
