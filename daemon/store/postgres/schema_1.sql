-- Schema 1. What the numbers and states mean stands in ../sqlite/schema_*.sql; here is what is different.
--
-- Times are microseconds since 1970, by the server's clock. Ids are the 63-bit numbers behind `evt_…` and `dlv_…`, which
-- rise with time: so a day is a range of ids, and what has many rows is partitioned by the day of its event. Retention
-- drops whole days.
--
-- Text that comes from outside is written as rows.bound says (PostgreSQL keeps neither NUL nor lone surrogates), and
-- compared byte by byte. Bodies are bytes.
--
-- Nothing that every batch changes is one row: two nodes that commit at the same time would wait for each other. Counts
-- have a row for each node, and readers add them up.

-- What all nodes know together: one row.
CREATE TABLE cluster (
    is_the_row boolean PRIMARY KEY DEFAULT true CHECK (is_the_row),
    revision   bigint   NOT NULL DEFAULT 0,   -- rises with each hold, release, pause, token, breaker
    view       bigint   NOT NULL DEFAULT 0,   -- rises when a node joins or is gone
    members    bigint[] NOT NULL DEFAULT '{}'
);
INSERT INTO cluster DEFAULT VALUES;

CREATE TABLE nodes (
    id         bigint PRIMARY KEY,
    name       text     NOT NULL,
    version    text     NOT NULL,
    rules      text     NOT NULL,             -- hash of the rule set that is live there
    address    text     NOT NULL,             -- where it listens, for people
    started_at bigint   NOT NULL,
    seen_at    bigint   NOT NULL,
    view       bigint   NOT NULL,             -- what it knew of `cluster` when it was seen last
    revision   bigint   NOT NULL,
    is_leader  boolean  NOT NULL,
    is_leaving boolean  NOT NULL,             -- it stops, and begins nothing more
    over       text     NOT NULL,             -- JSON: lanes in which it runs more yet than its share
    slot       smallint NOT NULL UNIQUE       -- the low bits of its ids
);

CREATE TABLE lanes (
    id            integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name          text COLLATE "C" NOT NULL UNIQUE,
    is_held       boolean NOT NULL DEFAULT false,
    reason        text    NOT NULL DEFAULT '',
    failing_since bigint,
    told          integer NOT NULL DEFAULT 0,
    -- Its circuit breaker: open until a probe is answered. NULL: closed.
    tries_at      bigint,
    pauses        integer NOT NULL DEFAULT 1, -- how many pauses of the first length the last one was
    probe_token   bigint                      -- the claim that is the probe, while it runs and its lease is good
);

-- What the breakers' windows count: answers and failures by lane, node and step of the window.
CREATE TABLE breaker_counts (
    lane_id  integer NOT NULL,
    node_id  bigint  NOT NULL,
    step     bigint  NOT NULL,                -- microseconds since 1970 divided by the step's length
    answers  integer NOT NULL,
    failures integer NOT NULL,
    PRIMARY KEY (lane_id, node_id, step)
);

CREATE TABLE steps (
    id          integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    digest      text COLLATE "C" NOT NULL,
    rule        text COLLATE "C" NOT NULL,
    destination text COLLATE "C" NOT NULL,
    lane_id     integer NOT NULL,
    UNIQUE (digest, rule, destination, lane_id)
);
CREATE INDEX steps_of_rule ON steps (rule);
CREATE INDEX steps_of_destination ON steps (destination);

CREATE TABLE rule_sets (
    id      integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    version text COLLATE "C" NOT NULL UNIQUE
);
CREATE TABLE went_live (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    rule_set_id integer NOT NULL,
    at          bigint  NOT NULL
);
CREATE TABLE texts (
    digest text COLLATE "C" PRIMARY KEY,
    text   bytea NOT NULL
);

-- Not partitioned: a unique key cannot span partitions.
CREATE TABLE dedupe (
    digest   bytea PRIMARY KEY,
    event_id bigint NOT NULL,
    content  bigint NOT NULL
) WITH (fillfactor = 90);
-- For retention. Not BRIN: new rows take the room of old ones, and its summaries never shrink, so after one round it would
-- find every page.
CREATE INDEX dedupe_by_event ON dedupe (event_id);

CREATE TABLE requests (
    id            bigint NOT NULL PRIMARY KEY,
    last_event_id bigint NOT NULL,
    content_type  text   NOT NULL,
    client_ip     text   NOT NULL,
    headers       text   NOT NULL,            -- JSON
    query         text   NOT NULL,            -- JSON
    digest        bytea  NOT NULL,
    body          bytea  NOT NULL,
    document      text                        -- JSON
) PARTITION BY RANGE (id);

CREATE TABLE events (
    id          bigint  NOT NULL PRIMARY KEY,
    request_id  bigint  NOT NULL,
    rule_set_id integer NOT NULL,
    source      text COLLATE "C" NOT NULL,
    type        text COLLATE "C" NOT NULL,
    sender_id   text COLLATE "C",
    key         text COLLATE "C" NOT NULL,
    tenant      text COLLATE "C",
    subject     text COLLATE "C",
    occurred_at bigint,
    received_at bigint  NOT NULL,
    pointer     text,                         -- JSON
    matched     text[],
    is_unrouted boolean NOT NULL,
    duplicates  integer NOT NULL DEFAULT 0,
    conflicts   integer NOT NULL DEFAULT 0
) PARTITION BY RANGE (id);
CREATE INDEX events_unrouted ON events (source, id) WHERE is_unrouted;
CREATE INDEX events_unrouted_by_id ON events (id) WHERE is_unrouted;

-- The queue: every delivery that has not ended, and no other. It is claimed, changed and emptied all the time, so it is
-- small and by itself (RELIABILITY, PostgreSQL queues). What ends moves to `deliveries`.
CREATE TABLE queue (
    id            bigint   PRIMARY KEY,
    event_id      bigint   NOT NULL,
    step_id       integer  NOT NULL,
    lane_id       integer  NOT NULL,
    state         smallint NOT NULL,          -- 0 pending, 1 running, 7 pending behind an earlier one of its order
    due_at        bigint   NOT NULL,
    attempts      integer  NOT NULL DEFAULT 0,
    crashes       integer  NOT NULL DEFAULT 0,
    replay_of     bigint,
    order_key     text,                       -- JSON
    previous      text,                       -- JSON
    previous_from bigint,
    why           text     NOT NULL DEFAULT '',
    part_of       bigint,
    parts_of      bigint,
    is_digest     boolean  NOT NULL DEFAULT false,
    stands_for    integer  NOT NULL DEFAULT 0,
    is_replay     boolean  NOT NULL DEFAULT false,
    -- Only here, while it lasts.
    token         bigint,
    lease_until   bigint,
    node_id       bigint,                     -- who runs it
    order_queue   bigint,                     -- 64 bits of a digest of lane and order
    place         bigint
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000,
        autovacuum_vacuum_cost_delay = 0, autovacuum_analyze_scale_factor = 0.2,
        -- To give room back it would lock everybody out; the next backlog wants it again.
        vacuum_truncate = off);
CREATE INDEX queue_pending ON queue (lane_id, due_at, id) WHERE state = 0;
CREATE INDEX queue_running ON queue (lease_until) WHERE state = 1;
CREATE INDEX queue_running_in_lane ON queue (lane_id) WHERE state = 1;
CREATE INDEX queue_behind ON queue (lane_id) WHERE state = 7;
CREATE INDEX queue_of_event ON queue (event_id);
CREATE UNIQUE INDEX queue_in_order ON queue (order_queue, place) WHERE order_queue IS NOT NULL;
CREATE INDEX queue_of_parts ON queue (parts_of) WHERE parts_of IS NOT NULL;
CREATE INDEX queue_of_previous ON queue (previous_from) WHERE previous_from IS NOT NULL;

-- Deliveries that have ended, suppressed and collected ones too. By the day of their event, so that all of a day goes at
-- once.
CREATE TABLE deliveries (
    id            bigint   NOT NULL,
    event_id      bigint   NOT NULL,
    step_id       integer  NOT NULL,
    lane_id       integer  NOT NULL,
    state         smallint NOT NULL,
    due_at        bigint   NOT NULL,          -- when it ended
    attempts      integer  NOT NULL,
    crashes       integer  NOT NULL,
    replay_of     bigint,
    order_key     text,
    previous      text,
    previous_from bigint,
    why           text     NOT NULL,
    part_of       bigint,
    parts_of      bigint,
    is_digest     boolean  NOT NULL,
    stands_for    integer  NOT NULL,
    is_replay     boolean  NOT NULL,
    PRIMARY KEY (event_id, id)
) PARTITION BY RANGE (event_id);
CREATE INDEX deliveries_by_id ON deliveries (id);
CREATE INDEX deliveries_apart ON deliveries (state, id) WHERE state >= 3;
CREATE INDEX deliveries_dead ON deliveries (event_id) WHERE state = 3;
CREATE INDEX deliveries_of_whole ON deliveries (part_of) WHERE part_of IS NOT NULL;
CREATE INDEX deliveries_of_parts ON deliveries (parts_of) WHERE parts_of IS NOT NULL;
CREATE INDEX deliveries_of_previous ON deliveries (previous_from) WHERE previous_from IS NOT NULL;

CREATE VIEW all_deliveries AS
SELECT id, event_id, step_id, lane_id, state, due_at, attempts, crashes, replay_of, order_key, previous, previous_from,
    why, part_of, parts_of, is_digest, stands_for, is_replay FROM queue
UNION ALL
SELECT id, event_id, step_id, lane_id, state, due_at, attempts, crashes, replay_of, order_key, previous, previous_from,
    why, part_of, parts_of, is_digest, stands_for, is_replay FROM deliveries;

CREATE TABLE attempts (
    event_id    bigint  NOT NULL,             -- its delivery's
    delivery_id bigint  NOT NULL,
    position    integer NOT NULL,
    number      integer NOT NULL,
    started_at  bigint  NOT NULL,
    duration    bigint  NOT NULL,
    outcome     text    NOT NULL,
    status      integer,
    note        text    NOT NULL,
    answer      text    NOT NULL,
    decision    text    NOT NULL,
    PRIMARY KEY (event_id, delivery_id, position)
) PARTITION BY RANGE (event_id);

CREATE TABLE changed (
    memory     text COLLATE "C" PRIMARY KEY,
    value      text   NOT NULL,
    touched_at bigint NOT NULL,
    event_id   bigint
);
CREATE INDEX changed_by_touch ON changed (touched_at);
CREATE INDEX changed_by_event ON changed (event_id) WHERE event_id IS NOT NULL;
CREATE TABLE once (
    memory   text COLLATE "C" PRIMARY KEY,
    until_at bigint NOT NULL,
    first    bigint NOT NULL,
    summary  bigint
);
CREATE INDEX once_by_end ON once (until_at);
CREATE INDEX once_by_summary ON once (summary) WHERE summary IS NOT NULL;
CREATE TABLE digests (
    memory        text COLLATE "C" PRIMARY KEY,
    delivery_id   bigint  NOT NULL UNIQUE,
    flush_on_stop boolean NOT NULL,
    members       integer NOT NULL,
    size          bigint  NOT NULL
);

-- Counted by each node for itself.
CREATE TABLE counters (
    name    text   NOT NULL,
    node_id bigint NOT NULL,
    value   bigint NOT NULL,
    PRIMARY KEY (name, node_id)
) WITH (fillfactor = 50);
CREATE TABLE source_hours (
    source    text COLLATE "C" NOT NULL,
    hour      integer NOT NULL,
    node_id   bigint  NOT NULL,
    events    bigint  NOT NULL,
    last_id   bigint  NOT NULL,
    last_type text    NOT NULL,
    PRIMARY KEY (source, hour, node_id)
) WITH (fillfactor = 70);
CREATE TABLE rule_hours (
    rule    text COLLATE "C" NOT NULL,
    hour    integer NOT NULL,
    node_id bigint  NOT NULL,
    events  bigint  NOT NULL,
    last_id bigint  NOT NULL,
    PRIMARY KEY (rule, hour, node_id)
) WITH (fillfactor = 70);
CREATE TABLE lane_hours (
    lane_id   integer NOT NULL,
    hour      integer NOT NULL,
    node_id   bigint  NOT NULL,
    delivered bigint  NOT NULL,
    failed    bigint  NOT NULL,
    PRIMARY KEY (lane_id, hour, node_id)
) WITH (fillfactor = 70);
CREATE TABLE rules_counted (since bigint NOT NULL);

CREATE TABLE rejections (
    source    text COLLATE "C" NOT NULL,
    reason    text COLLATE "C" NOT NULL,
    hour      integer NOT NULL,
    first_at  bigint  NOT NULL,
    last_at   bigint  NOT NULL,
    count     bigint  NOT NULL,
    detail    text    NOT NULL,
    client_ip text    NOT NULL,
    PRIMARY KEY (source, reason, hour)
);
CREATE INDEX rejections_by_time ON rejections (last_at);

CREATE TABLE audit (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at      bigint  NOT NULL,
    who     text    NOT NULL,
    what    text COLLATE "C" NOT NULL,
    subject text    NOT NULL,
    count   bigint  NOT NULL,
    counts  text    NOT NULL,                 -- JSON
    reason  text    NOT NULL,
    day     integer
);
CREATE UNIQUE INDEX audit_of_days ON audit (what, day) WHERE day IS NOT NULL;
CREATE TABLE facts (
    name  text COLLATE "C" PRIMARY KEY,
    value text   NOT NULL,                    -- JSON
    at    bigint NOT NULL
);
CREATE TABLE deletions (
    audit_id  bigint PRIMARY KEY,
    criteria  text   NOT NULL,                -- JSON
    up_to     bigint NOT NULL,
    after     bigint NOT NULL,
    left_over bigint NOT NULL
);
CREATE TABLE pauses (
    source text COLLATE "C" PRIMARY KEY,
    since  bigint NOT NULL,
    reason text   NOT NULL
);
CREATE TABLE tokens (
    name         text COLLATE "C" PRIMARY KEY,
    digest       text   NOT NULL,
    scope        text   NOT NULL,
    created_at   bigint NOT NULL,
    expires_at   bigint,
    last_used_at bigint
);
-- What senders brought themselves, and what all nodes must share beside: the key that sessions are signed with.
CREATE TABLE secrets (
    name  text COLLATE "C" PRIMARY KEY,
    value bytea  NOT NULL,
    at    bigint NOT NULL
);
