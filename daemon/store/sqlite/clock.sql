-- What is asked and written because clocks jump. See clock.py.

-- name: latest
SELECT max(coalesce((SELECT max(id) FROM events), 0), coalesce((SELECT max(id) FROM deliveries), 0));

-- name: waiting_lanes
SELECT DISTINCT lane_id FROM deliveries WHERE state = 0;

-- name: put_off_waiting
-- Lane by lane, by deliveries_pending.
UPDATE deliveries SET due_at = due_at + ? WHERE state = 0 AND lane_id = ? AND due_at > ?;

-- name: put_off_behind
-- By deliveries_apart: those that stand behind others of their order, and have a delay of their own.
UPDATE deliveries SET due_at = due_at + ? WHERE state = 7 AND due_at > ?;

-- name: put_off_windows
UPDATE once SET until_at = until_at + ? WHERE until_at > ?;

-- name: pull_in
UPDATE deliveries SET due_at = ? WHERE state = 0 AND lane_id = ? AND due_at > ?;
