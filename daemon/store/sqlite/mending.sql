-- How a store is made whole that was put together from what could be read of a damaged one: every row that refers to
-- another finds it, and nothing waits for what will not come. See daemon/backup/mending.py.

-- name: harmed
-- Events that cannot be delivered as they were, and why.
CREATE TEMP TABLE harmed (event_id INTEGER PRIMARY KEY, why TEXT NOT NULL);

-- name: harm_bodies
-- Those of a request.
INSERT OR IGNORE INTO harmed SELECT id, 'its body was damaged on the disk' FROM events WHERE request_id = ?;

-- name: add_rule_sets
INSERT INTO rule_sets (id, version)
SELECT rule_set_id, 'lost-' || rule_set_id FROM (
    SELECT rule_set_id FROM events UNION SELECT rule_set_id FROM went_live
) WHERE rule_set_id NOT IN (SELECT id FROM rule_sets);

-- name: text
SELECT text FROM texts WHERE digest = ?;

-- name: lanes_of_steps
-- Lanes whose names are lost, each with a step of it.
SELECT lane_id, digest, destination FROM steps WHERE lane_id NOT IN (SELECT id FROM lanes) GROUP BY lane_id;

-- name: add_lane
INSERT OR IGNORE INTO lanes (id, name) VALUES (?, ?);

-- name: add_lanes
-- Held, because no configuration knows them.
INSERT INTO lanes (id, name, is_held, reason)
SELECT lane_id, 'lost-' || lane_id, 1, 'its name was lost by damage on the disk' FROM (
    SELECT lane_id FROM steps UNION SELECT lane_id FROM deliveries
) WHERE lane_id NOT IN (SELECT id FROM lanes);

-- name: harm_steps
INSERT OR IGNORE INTO harmed
SELECT event_id, 'what was to be done with it was lost by damage on the disk: replay it by the rules of now'
FROM deliveries WHERE step_id NOT IN (SELECT id FROM steps) AND state IN (0, 1, 7);

-- name: add_steps
INSERT INTO steps (id, digest, rule, destination, lane_id)
SELECT d.step_id, 'lost-' || d.step_id, 'lost', l.name, d.lane_id FROM deliveries AS d JOIN lanes AS l ON l.id = d.lane_id
WHERE d.step_id NOT IN (SELECT id FROM steps) GROUP BY d.step_id;

-- name: add_events_of_deliveries
-- An id holds when it was made: see ids.py.
INSERT INTO events (id, request_id, rule_set_id, source, type, key, received_at, is_unrouted)
SELECT event_id, coalesce(
        (SELECT id FROM requests WHERE id <= event_id AND last_event_id >= event_id ORDER BY id DESC LIMIT 1), event_id
    ), (SELECT id FROM rule_sets WHERE version = 'lost'), 'lost', 'lost', printf('lost-%x', event_id),
    (event_id >> 21) * 1000 + 1577836800000000, 0
FROM deliveries WHERE event_id NOT IN (SELECT id FROM events) GROUP BY event_id;

-- name: add_events_of_requests
-- Bodies that no event refers to any more.
INSERT INTO events (id, request_id, rule_set_id, source, type, key, received_at, is_unrouted)
SELECT r.id, r.id, (SELECT id FROM rule_sets WHERE version = 'lost'), 'lost', 'lost', printf('lost-%x', r.id),
    (r.id >> 21) * 1000 + 1577836800000000, 0
FROM requests AS r WHERE NOT EXISTS (
    SELECT 1 FROM events AS e WHERE e.id BETWEEN r.id AND r.last_event_id AND e.request_id = r.id
) AND NOT EXISTS (SELECT 1 FROM events AS e WHERE e.id = r.id);

-- name: add_lost_rule_set
INSERT OR IGNORE INTO rule_sets (version) VALUES ('lost');

-- name: remove_lost_rule_set
DELETE FROM rule_sets WHERE version = 'lost' AND id NOT IN (SELECT rule_set_id FROM events);

-- name: harm_events
INSERT OR REPLACE INTO harmed
SELECT id, 'what is known of its event was lost by damage on the disk' FROM events WHERE source = 'lost' AND type = 'lost';

-- name: harm_requests
INSERT OR REPLACE INTO harmed
SELECT id, 'its body was lost by damage on the disk' FROM events WHERE request_id NOT IN (SELECT id FROM requests);

-- name: add_requests
INSERT INTO requests (id, last_event_id, content_type, client_ip, headers, query, digest, body)
SELECT request_id, max(id), '', '', '{}', '{}', zeroblob(32), x'' FROM events
WHERE request_id NOT IN (SELECT id FROM requests) GROUP BY request_id;

-- name: drop_attempts
DELETE FROM attempts WHERE delivery_id NOT IN (SELECT id FROM deliveries);

-- name: count_attempts
-- A delivery's next attempt must find its place free.
UPDATE deliveries SET attempts = a.places - crashes
FROM (SELECT delivery_id, max(position) + 1 AS places FROM attempts GROUP BY delivery_id) AS a
WHERE a.delivery_id = deliveries.id AND a.places > attempts + crashes;

-- name: note_harm
-- Why each of them is a dead letter now.
INSERT OR REPLACE INTO attempts (delivery_id, position, number, started_at, duration, outcome, note, answer, decision)
SELECT d.id, d.attempts + d.crashes, d.attempts + 1, ?, 0, 'permanent', h.why, '', 'not tried'
FROM deliveries AS d JOIN harmed AS h ON h.event_id = d.event_id WHERE d.state IN (0, 1, 7);

-- name: forget_keys_of_harmed
-- Of those that had not been acted on: what the sender repeats is taken then.
INSERT OR IGNORE INTO forgotten SELECT h.event_id FROM harmed AS h
WHERE EXISTS (SELECT 1 FROM deliveries AS d WHERE d.event_id = h.event_id AND d.state IN (0, 1, 7))
    OR NOT EXISTS (SELECT 1 FROM deliveries AS d WHERE d.event_id = h.event_id);

-- name: end_harmed
UPDATE deliveries SET state = 3, due_at = ?, token = NULL, lease_until = NULL, attempts = attempts + 1
WHERE state IN (0, 1, 7) AND event_id IN (SELECT event_id FROM harmed);

-- name: route_harmed
-- No rule should be asked of what is not as it was.
UPDATE events SET is_unrouted = 0 WHERE is_unrouted = 1 AND id IN (SELECT event_id FROM harmed);

-- name: give_back
-- Nobody could answer for these.
UPDATE deliveries SET state = 0, lease_until = NULL WHERE state = 1 AND (token IS NULL OR lease_until IS NULL);

-- name: drop_extras
DELETE FROM delivery_extras WHERE delivery_id NOT IN (SELECT id FROM deliveries);

-- name: part_digests
-- Collected by what is not there any more: each is sent for itself.
UPDATE deliveries SET state = 0 WHERE state = 6 AND NOT EXISTS (
    SELECT 1 FROM delivery_extras AS x JOIN deliveries AS whole ON whole.id = x.part_of WHERE x.delivery_id = deliveries.id
);

-- name: add_extras
INSERT OR IGNORE INTO delivery_extras (delivery_id, why, parts_of, is_digest, stands_for, is_replay)
SELECT x.part_of, '', x.part_of, 1, count(*), 0 FROM delivery_extras AS x JOIN deliveries AS d ON d.id = x.delivery_id
WHERE d.state = 6 AND x.part_of NOT IN (SELECT delivery_id FROM delivery_extras) GROUP BY x.part_of;

-- name: drop_digests
DELETE FROM digests WHERE delivery_id NOT IN (SELECT id FROM deliveries WHERE state = 0);

-- name: drop_summaries
UPDATE once SET summary = NULL WHERE summary IS NOT NULL AND summary NOT IN (SELECT id FROM deliveries);

-- name: drop_places
DELETE FROM ordered WHERE delivery_id NOT IN (SELECT id FROM deliveries WHERE state IN (0, 1, 7));

-- name: free_unordered
UPDATE deliveries SET state = 0 WHERE state = 7 AND id NOT IN (SELECT delivery_id FROM ordered);

-- name: free_heads
UPDATE deliveries SET state = 0 WHERE state = 7 AND id IN (
    SELECT delivery_id FROM ordered AS o
    WHERE NOT EXISTS (SELECT 1 FROM ordered AS before WHERE before.queue = o.queue AND before.place < o.place)
);

-- name: events_without_deliveries
-- Rules matched them, and nothing is known of what came of it.
SELECT id FROM events WHERE matched IS NOT NULL AND id NOT IN (SELECT event_id FROM deliveries) ORDER BY id;

-- name: add_audit
INSERT OR IGNORE INTO audit (id, at, who, what, subject, count, counts, reason)
SELECT audit_id, ?, 'daemon', 'events.delete', '', 0, '{}', 'who asked was lost by damage on the disk' FROM deletions;

-- name: keys_without_events
SELECT digest, event_id FROM dedupe WHERE event_id NOT IN (SELECT id FROM events);

-- name: forgotten
CREATE TEMP TABLE forgotten (event_id INTEGER PRIMARY KEY);

-- name: drop_key
DELETE FROM dedupe WHERE digest = ?;

-- name: drop_forgotten_keys
DELETE FROM dedupe WHERE event_id IN (SELECT event_id FROM forgotten);

-- name: events_with_keys
-- Newest first: a key stands for the last event that had it.
SELECT id, source, key FROM events
WHERE id NOT IN (SELECT event_id FROM forgotten) AND NOT (source = 'lost' AND type = 'lost') ORDER BY id DESC;

-- name: has_key
SELECT 1 FROM dedupe WHERE digest = ?;

-- name: content_of
SELECT e.pointer, r.digest, r.body, r.content_type, r.document
FROM events AS e JOIN requests AS r ON r.id = e.request_id WHERE e.id = ?;

-- name: add_key
INSERT OR IGNORE INTO dedupe (digest, event_id, content) VALUES (?, ?, ?);

-- name: add_source_hours
INSERT OR IGNORE INTO source_hours (source, hour, events, last_id, last_type)
SELECT source, hour, events, last_id, type FROM (
    SELECT source, received_at / 3600000000 AS hour, count(*) AS events, max(id) AS last_id, type FROM events
    WHERE NOT (source = 'lost' AND type = 'lost') GROUP BY 1, 2
);

-- name: add_rule_hours
INSERT OR IGNORE INTO rule_hours (rule, hour, events, last_id)
SELECT m.value, e.received_at / 3600000000, count(DISTINCT e.id), max(e.id)
FROM events AS e, json_each(e.matched) AS m GROUP BY 1, 2;

-- name: set_counter
INSERT INTO counters (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value;

-- name: duplicates
SELECT coalesce(sum(duplicates), 0) FROM events;

-- name: rejected
SELECT coalesce(sum(count), 0) FROM rejections;
