-- What `Store.write` and `Store.keep` do. Many rows are given as arrays, one for each column.

-- name: insert_keys
-- Sorted: two nodes that insert the same keys wait for each other in one order. Those that are not returned are known.
INSERT INTO dedupe (digest, event_id, content)
SELECT digest, event_id, content FROM unnest($1::bytea[], $2::bigint[], $3::bigint[]) AS new (digest, event_id, content)
ORDER BY digest ON CONFLICT (digest) DO NOTHING RETURNING digest;

-- name: known_keys
SELECT digest, event_id, content FROM dedupe WHERE digest = ANY ($1::bytea[]);

-- name: lock_keys
-- Of two nodes that find a window over, one comes first; the other sees what it wrote.
SELECT digest, event_id, content FROM dedupe WHERE digest = ANY ($1::bytea[]) ORDER BY digest FOR UPDATE;

-- name: rearm_keys
-- Keys whose window is over now stand for the new event.
UPDATE dedupe SET event_id = new.event_id, content = new.content
FROM unnest($1::bytea[], $2::bigint[], $3::bigint[]) AS new (digest, event_id, content)
WHERE dedupe.digest = new.digest;

-- name: known_events
SELECT id FROM events WHERE id = ANY ($1::bigint[]);

-- name: good_claims
SELECT id, token FROM queue WHERE id = ANY ($1::bigint[]) AND state = 1;

-- name: store
-- All that plain requests are, at once: $1 to $9 requests, $10 to $23 events, $24 to $34 what waits or runs, $35 to $38
-- sources, $39 to $41 rules, $42 the hour, $43 the node.
WITH stored_requests AS (
    INSERT INTO requests (id, last_event_id, content_type, client_ip, headers, query, digest, body, document)
    SELECT * FROM unnest(
        $1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bytea[], $8::bytea[], $9::text[]
    )
), stored_events AS (
    INSERT INTO events (
        id, request_id, rule_set_id, source, type, sender_id, key, tenant, subject, occurred_at, received_at, pointer,
        matched, is_unrouted
    )
    SELECT id, request_id, rule_set_id, source, type, sender_id, key, tenant, subject, occurred_at, received_at, pointer,
        matched::text[], is_unrouted
    FROM unnest(
        $10::bigint[], $11::bigint[], $12::integer[], $13::text[], $14::text[], $15::text[], $16::text[], $17::text[],
        $18::text[], $19::bigint[], $20::bigint[], $21::text[], $22::text[], $23::boolean[]
    ) AS new (
        id, request_id, rule_set_id, source, type, sender_id, key, tenant, subject, occurred_at, received_at, pointer,
        matched, is_unrouted
    )
), counted_sources AS (
    INSERT INTO source_hours (source, hour, node_id, events, last_id, last_type)
    SELECT source, $42, $43, events, last_id, last_type
    FROM unnest($35::text[], $36::bigint[], $37::bigint[], $38::text[]) AS new (source, events, last_id, last_type)
    ON CONFLICT (source, hour, node_id) DO UPDATE SET events = source_hours.events + excluded.events,
        last_id = excluded.last_id, last_type = excluded.last_type
), counted_rules AS (
    INSERT INTO rule_hours (rule, hour, node_id, events, last_id)
    SELECT rule, $42, $43, events, last_id
    FROM unnest($39::text[], $40::bigint[], $41::bigint[]) AS new (rule, events, last_id)
    ON CONFLICT (rule, hour, node_id) DO UPDATE SET events = rule_hours.events + excluded.events,
        last_id = greatest(rule_hours.last_id, excluded.last_id)
)
INSERT INTO queue (id, event_id, step_id, lane_id, state, due_at, replay_of, is_replay, token, lease_until, node_id)
SELECT * FROM unnest(
    $24::bigint[], $25::bigint[], $26::integer[], $27::integer[], $28::smallint[], $29::bigint[], $30::bigint[],
    $31::boolean[], $32::bigint[], $33::bigint[], $34::bigint[]
);

-- name: insert_deliveries
INSERT INTO queue (id, event_id, step_id, lane_id, state, due_at, replay_of, is_replay, token, lease_until, node_id)
SELECT * FROM unnest(
    $1::bigint[], $2::bigint[], $3::integer[], $4::integer[], $5::smallint[], $6::bigint[], $7::bigint[], $8::boolean[],
    $9::bigint[], $10::bigint[], $11::bigint[]
);

-- name: add_to_rules
INSERT INTO rule_hours (rule, hour, node_id, events, last_id)
SELECT rule, $4, $5, events, last_id
FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS new (rule, events, last_id)
ON CONFLICT (rule, hour, node_id) DO UPDATE SET events = rule_hours.events + excluded.events,
    last_id = greatest(rule_hours.last_id, excluded.last_id);

-- name: count_duplicates
WITH counted AS (
    SELECT events.id, again.duplicates, again.conflicts
    FROM events JOIN unnest($1::bigint[], $2::integer[], $3::integer[]) AS again (id, duplicates, conflicts) USING (id)
    WHERE events.id = ANY ($1) ORDER BY events.id FOR UPDATE OF events
)
UPDATE events SET duplicates = events.duplicates + counted.duplicates, conflicts = events.conflicts + counted.conflicts
FROM counted WHERE events.id = counted.id AND events.id = ANY ($1);

-- name: add_to_counters
INSERT INTO counters (name, node_id, value)
SELECT name, $3, value FROM unnest($1::text[], $2::bigint[]) AS new (name, value)
ON CONFLICT (name, node_id) DO UPDATE SET value = counters.value + excluded.value;

-- name: known_lanes
SELECT id, name FROM lanes WHERE name = ANY ($1::text[]);

-- name: insert_lanes
INSERT INTO lanes (name) SELECT * FROM unnest($1::text[]) ON CONFLICT (name) DO NOTHING;

-- name: known_steps
SELECT id, digest, rule, destination, lane_id FROM steps
JOIN unnest($1::text[], $2::text[], $3::text[], $4::integer[]) AS wanted (digest, rule, destination, lane_id)
USING (digest, rule, destination, lane_id);

-- name: insert_steps
INSERT INTO steps (digest, rule, destination, lane_id)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::integer[])
ON CONFLICT (digest, rule, destination, lane_id) DO NOTHING;

-- name: known_rule_sets
SELECT id, version FROM rule_sets WHERE version = ANY ($1::text[]);

-- name: insert_rule_sets
INSERT INTO rule_sets (version) SELECT * FROM unnest($1::text[]) ON CONFLICT (version) DO NOTHING;

-- name: running
-- The deliveries of a batch of records that run, with their tokens. They stay as they are until the commit.
SELECT id, token, attempts + crashes, lane_id, event_id, order_queue FROM queue
WHERE id = ANY ($1::bigint[]) AND state = 1 ORDER BY id FOR UPDATE;

-- name: record
-- $1 to $5 results, $6 to $16 attempts, $17 to $19 lanes, $20 the hour, $21 the node. What has ended moves to `deliveries`.
WITH results AS (
    SELECT * FROM unnest($1::bigint[], $2::smallint[], $3::bigint[], $4::integer[], $5::integer[])
        AS given (id, state, due_at, tried, crashed)
), again AS (
    UPDATE queue SET state = 0, due_at = results.due_at, attempts = attempts + tried, crashes = crashes + crashed,
        token = NULL, lease_until = NULL, node_id = NULL
    FROM results WHERE queue.id = results.id AND results.state = 0
), ended AS (
    DELETE FROM queue USING results WHERE queue.id = results.id AND results.state <> 0
    RETURNING queue.*, results.state AS ended, results.due_at AS ended_at, results.tried, results.crashed
), moved AS (
    INSERT INTO deliveries (
        id, event_id, step_id, lane_id, state, due_at, attempts, crashes, replay_of, order_key, previous, previous_from,
        why, part_of, parts_of, is_digest, stands_for, is_replay
    )
    SELECT id, event_id, step_id, lane_id, ended, ended_at, attempts + tried, crashes + crashed, replay_of, order_key,
        previous, previous_from, why, part_of, parts_of, is_digest, stands_for, is_replay
    FROM ended
), counted_lanes AS (
    INSERT INTO lane_hours (lane_id, hour, node_id, delivered, failed)
    SELECT lane_id, $20, $21, delivered, failed
    FROM unnest($17::integer[], $18::bigint[], $19::bigint[]) AS tried (lane_id, delivered, failed)
    ON CONFLICT (lane_id, hour, node_id) DO UPDATE SET delivered = lane_hours.delivered + excluded.delivered,
        failed = lane_hours.failed + excluded.failed
)
INSERT INTO attempts (
    event_id, delivery_id, position, number, started_at, duration, outcome, status, note, answer, decision
)
SELECT * FROM unnest(
    $6::bigint[], $7::bigint[], $8::integer[], $9::integer[], $10::bigint[], $11::bigint[], $12::text[], $13::integer[],
    $14::text[], $15::text[], $16::text[]
);

-- name: count_rules_since
INSERT INTO rules_counted (since) SELECT $1::bigint WHERE NOT EXISTS (SELECT 1 FROM rules_counted);

-- name: one_at_a_time
-- What the nodes do together, such as starting with the same rules, is done once.
SELECT 1 FROM cluster FOR NO KEY UPDATE;

-- name: touch_tables
LOCK TABLE dedupe, requests, events, queue, deliveries, attempts IN ROW EXCLUSIVE MODE;

-- name: keep_texts
INSERT INTO texts (digest, text)
SELECT * FROM unnest($1::text[], $2::bytea[]) AS new (digest, text) ORDER BY digest ON CONFLICT (digest) DO NOTHING;

-- name: live_rule_set
SELECT rule_set_id FROM went_live ORDER BY id DESC LIMIT 1;

-- name: insert_went_live
INSERT INTO went_live (rule_set_id, at) VALUES ($1, $2);

-- name: note
INSERT INTO facts (name, value, at) VALUES ($1, $2, $3)
ON CONFLICT (name) DO UPDATE SET value = excluded.value, at = excluded.at;
