-- What is asked and written for deliveries that are more than a row: gates, orders, replays. See gates.py.

-- name: known_values
-- One row, here and below: each row that is fetched costs a round of the interpreter's lock.
SELECT json_group_array(json_array(memory, value, touched_at, event_id)) FROM changed WHERE memory IN (VALUES (?));

-- name: known_windows
SELECT json_group_array(json_array(memory, until_at, first, summary)) FROM once WHERE memory IN (VALUES (?));

-- name: known_digests
SELECT json_group_array(json_array(memory, delivery_id, flush_on_stop, members, size)) FROM digests
WHERE memory IN (VALUES (?));

-- name: keep_values
INSERT INTO changed (memory, value, touched_at, event_id) VALUES (?, ?, ?, ?)
ON CONFLICT (memory) DO UPDATE SET value = excluded.value, touched_at = excluded.touched_at, event_id = excluded.event_id;

-- name: keep_windows
INSERT INTO once (memory, until_at, first, summary) VALUES (?, ?, ?, ?)
ON CONFLICT (memory) DO UPDATE SET until_at = excluded.until_at, first = excluded.first, summary = excluded.summary;

-- name: keep_digests
INSERT INTO digests (memory, delivery_id, flush_on_stop, members, size) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (memory) DO UPDATE SET delivery_id = excluded.delivery_id, flush_on_stop = excluded.flush_on_stop,
    members = excluded.members, size = excluded.size;

-- name: forget_digests
DELETE FROM digests WHERE memory IN (VALUES (?));

-- name: insert_extras
INSERT INTO delivery_extras (
    delivery_id, order_key, previous, previous_from, why, part_of, parts_of, is_digest, stands_for, is_replay
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: count_parts
UPDATE delivery_extras SET stands_for = stands_for + c.column2
FROM (VALUES (?, ?)) AS c WHERE delivery_extras.delivery_id = c.column1;

-- name: move_summaries
UPDATE deliveries SET event_id = m.column2 FROM (VALUES (?, ?)) AS m WHERE deliveries.id = m.column1 AND state = 0;

-- name: make_due
UPDATE deliveries SET due_at = d.column2 FROM (VALUES (?, ?)) AS d WHERE deliveries.id = d.column1 AND state = 0;

-- name: last_places
-- By ordered_by_place from its end; max() with GROUP BY would walk through all that stand there.
SELECT json_group_array(json_array(queue, place)) FROM (
    SELECT q.column1 AS queue, (SELECT place FROM ordered WHERE queue = q.column1 ORDER BY place DESC LIMIT 1) AS place
    FROM (VALUES (?)) AS q
) WHERE place IS NOT NULL;

-- name: insert_ordered
INSERT INTO ordered (delivery_id, queue, place, lane_id) VALUES (?, ?, ?, ?);

-- name: queues_of
SELECT json_group_array(queue) FROM ordered WHERE delivery_id IN (VALUES (?));

-- name: delete_ordered
DELETE FROM ordered WHERE delivery_id IN (VALUES (?));

-- name: promote_heads
-- A head that stood behind becomes due, unless it has a delay of its own that is not over.
UPDATE deliveries SET state = 0, due_at = max(due_at, h.now)
FROM (
    SELECT (SELECT delivery_id FROM ordered WHERE queue = q.column1 ORDER BY place LIMIT 1) AS id, q.column2 AS now
    FROM (VALUES (?, ?)) AS q
) AS h
WHERE deliveries.id = h.id AND state = 7;

-- name: close_digests
DELETE FROM digests WHERE delivery_id IN (VALUES (?));

-- name: open_digest_of
SELECT g.delivery_id, g.members FROM delivery_extras AS x JOIN digests AS g ON g.delivery_id = x.part_of
WHERE x.delivery_id = ?;

-- name: leave_digest
UPDATE digests SET members = members - 1 WHERE delivery_id = ?;

-- name: leave_whole
UPDATE delivery_extras SET part_of = NULL WHERE delivery_id = ?;

-- name: to_replay
SELECT d.event_id, d.step_id, d.lane_id, l.name, x.order_key, x.previous, x.previous_from, x.parts_of, coalesce(x.is_digest, 0),
    coalesce(x.stands_for, 0)
FROM deliveries AS d JOIN lanes AS l ON l.id = d.lane_id LEFT JOIN delivery_extras AS x ON x.delivery_id = d.id
WHERE d.id = ?;

-- name: flush_digests
UPDATE deliveries SET due_at = ?
WHERE id IN (SELECT delivery_id FROM digests WHERE flush_on_stop = 1) AND state = 0 AND due_at > ?;

-- name: body_size
SELECT length(r.body) FROM events AS e JOIN requests AS r ON r.id = e.request_id WHERE e.id = ?;
