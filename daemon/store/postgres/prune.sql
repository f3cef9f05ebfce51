-- What retention removes. See prune.py.

-- name: keep_repeats_out
-- Nothing is repeated or routed again in between, nor deleted: see operate.sql and deleting.sql.
SELECT pg_advisory_xact_lock(4, hashtext(current_schema()));

-- name: lock_parents
-- In the order in which everybody locks them. Whoever comes after us waits until we have them or give up.
LOCK TABLE ONLY requests, ONLY events, ONLY deliveries, ONLY attempts IN ACCESS EXCLUSIVE MODE;

-- name: must_stay
-- Whether anything of these events is unrouted, has work left to do, or is a dead letter that is still to be shown; or
-- was collected into such a one, or into one that is repeated by such a one. Whoever acts is looked at first: those are few.
SELECT EXISTS (SELECT 1 FROM queue WHERE event_id >= $1 AND event_id < $2)
    OR EXISTS (SELECT 1 FROM events WHERE is_unrouted AND id >= $1 AND id < $2)
    OR EXISTS (SELECT 1 FROM deliveries WHERE event_id >= $1 AND event_id < $2 AND state = 3 AND due_at >= $3)
    OR EXISTS (
        SELECT 1 FROM (
            SELECT DISTINCT parts_of FROM queue WHERE parts_of IS NOT NULL
            UNION SELECT parts_of FROM deliveries WHERE state = 3 AND due_at >= $3 AND parts_of IS NOT NULL
        ) AS acts
        WHERE EXISTS (
            SELECT 1 FROM deliveries AS part WHERE part.part_of = acts.parts_of AND part.state = 6
                AND part.event_id >= $1 AND part.event_id < $2
        )
    );

-- name: is_needed
-- A request whose first event stood before the end may have others behind it. They were made at the same time.
SELECT EXISTS (
    SELECT 1 FROM requests AS r JOIN events AS e ON e.id BETWEEN $2 AND r.last_event_id AND e.request_id = r.id
    WHERE r.id >= $1 AND r.id < $2 AND r.last_event_id >= $2
);

-- name: try_dropping
-- Two leaders that follow each other would both count what goes.
SELECT pg_try_advisory_xact_lock(6, hashtext(current_schema()));

-- name: gone
-- What was taken out of its parent, and is still there.
SELECT relname FROM pg_class WHERE relnamespace = to_regnamespace(current_schema()) AND relkind = 'r'
    AND starts_with(relname, 'gone_') ORDER BY relname;

-- name: old_events
-- A stretch of events, each with whether it must stay, as in must_stay.
SELECT id, request_id, is_unrouted
    OR EXISTS (SELECT 1 FROM queue WHERE queue.event_id = events.id)
    OR EXISTS (
        SELECT 1 FROM deliveries AS d WHERE d.event_id = events.id AND (
            (d.state = 3 AND d.due_at >= $4) OR (d.state = 6 AND (
                EXISTS (SELECT 1 FROM queue AS acts WHERE acts.parts_of = d.part_of)
                OR EXISTS (
                    SELECT 1 FROM deliveries AS acts
                    WHERE acts.parts_of = d.part_of AND acts.state = 3 AND acts.due_at >= $4
                )
            ))
        )
    ) AS must_stay
FROM events WHERE id > $1 AND id < $2 ORDER BY id LIMIT $3;

-- name: deliveries_of
SELECT id, event_id FROM deliveries WHERE event_id = ANY ($1::bigint[]) ORDER BY event_id, id LIMIT $2;

-- name: delete_deliveries
DELETE FROM deliveries USING unnest($1::bigint[], $2::bigint[]) AS given (id, event_id)
WHERE deliveries.id = given.id AND deliveries.event_id = given.event_id AND deliveries.event_id >= $3
    AND deliveries.event_id < $4
RETURNING deliveries.state;

-- name: delete_attempts
DELETE FROM attempts USING unnest($1::bigint[], $2::bigint[]) AS given (id, event_id)
WHERE attempts.delivery_id = given.id AND attempts.event_id = given.event_id AND attempts.event_id >= $3
    AND attempts.event_id < $4;

-- name: delete_events
DELETE FROM events WHERE id = ANY ($1::bigint[]) AND NOT EXISTS (SELECT 1 FROM deliveries WHERE event_id = events.id)
RETURNING id;

-- name: add_to_counters
-- Nobody's count: node 0 is none.
INSERT INTO counters (name, node_id, value) SELECT name, 0, value FROM unnest($1::text[], $2::bigint[]) AS given (name, value)
ON CONFLICT (name, node_id) DO UPDATE SET value = counters.value + excluded.value;

-- name: delete_keys
-- An array, here and below: each row is then looked up by its key, whatever the planner thinks of LIMIT.
DELETE FROM dedupe WHERE digest = ANY (ARRAY(
    SELECT digest FROM dedupe WHERE event_id < $1 ORDER BY event_id LIMIT $2 FOR UPDATE SKIP LOCKED
)) AND event_id < $1 RETURNING 1;

-- name: delete_rejections
DELETE FROM rejections WHERE (source, reason, hour) IN (SELECT source, reason, hour FROM rejections WHERE hour < $1 LIMIT $2)
RETURNING 1;

-- name: delete_hours
-- Each source's last hour stays, of all nodes: it says when the source was last heard of.
DELETE FROM source_hours WHERE (source, hour, node_id) IN (
    SELECT source, hour, node_id FROM source_hours AS h WHERE hour < $1 AND EXISTS (
        SELECT 1 FROM source_hours AS later WHERE later.source = h.source AND later.hour > h.hour
    ) LIMIT $2
) RETURNING 1;

-- name: delete_rule_hours
-- As above: a rule's last hour says when it matched last.
DELETE FROM rule_hours WHERE (rule, hour, node_id) IN (
    SELECT rule, hour, node_id FROM rule_hours AS h WHERE hour < $1 AND EXISTS (
        SELECT 1 FROM rule_hours AS later WHERE later.rule = h.rule AND later.hour > h.hour
    ) LIMIT $2
) RETURNING 1;

-- name: delete_lane_hours
-- As above: a lane's last hour says when something was tried in it last.
DELETE FROM lane_hours WHERE (lane_id, hour, node_id) IN (
    SELECT lane_id, hour, node_id FROM lane_hours AS h WHERE hour < $1
        AND EXISTS (SELECT 1 FROM lane_hours AS later WHERE later.lane_id = h.lane_id AND later.hour > h.hour)
    LIMIT $2
) RETURNING 1;

-- name: delete_windows
-- Those of `once` that are over.
DELETE FROM once WHERE memory = ANY (ARRAY(
    SELECT memory FROM once WHERE until_at <= $1 ORDER BY until_at LIMIT $2 FOR UPDATE SKIP LOCKED
)) AND until_at <= $1 RETURNING 1;

-- name: delete_values
-- Those that no `changed` asked for since.
DELETE FROM changed WHERE memory = ANY (ARRAY(
    SELECT memory FROM changed WHERE touched_at < $1 ORDER BY touched_at LIMIT $2 FOR UPDATE SKIP LOCKED
)) AND touched_at < $1 RETURNING 1;

-- name: delete_audit
DELETE FROM audit WHERE id = ANY (ARRAY(SELECT id FROM audit WHERE at < $1 ORDER BY id LIMIT $2)) RETURNING 1;
