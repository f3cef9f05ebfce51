-- What is asked and written because clocks jump. See clock.py.

-- name: latest
SELECT greatest(
    (SELECT max(id) FROM events), (SELECT max(id) FROM queue), (SELECT max(id) FROM deliveries)
);

-- name: put_off_waiting
-- Those, too, that stand behind others of their order, and have a delay of their own.
UPDATE queue SET due_at = due_at + $1 WHERE state IN (0, 7) AND due_at > $2 RETURNING id;

-- name: put_off_windows
UPDATE once SET until_at = until_at + $1 WHERE until_at > $2;

-- name: pull_in
UPDATE queue SET due_at = $1 WHERE state = 0 AND due_at > $1 RETURNING id;
