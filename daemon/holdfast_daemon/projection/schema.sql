-- The projection's tables. No primary keys and no indexes: every question names a time range, and most ids are ordered by
-- time too (not those of runs with a key, so where many runs are looked for, it is also by when they were created).
-- Times are UTC. A statement ends with a semicolon at the end of a line.

CREATE TABLE IF NOT EXISTS runs (
    id          VARCHAR,
    task        VARCHAR,
    queue       VARCHAR,
    priority    BIGINT,
    state       VARCHAR,
    created_at  TIMESTAMP,
    started_at  TIMESTAMP,
    finished_at TIMESTAMP,
    took        BIGINT,                         -- start to end in microseconds, of those that have ended
    due         TIMESTAMP,
    moved_at    TIMESTAMP,                      -- when it came into its state
    ready_at    TIMESTAMP,                      -- of a delayed run: when it was to be ready first
    attempt     BIGINT,
    steps       BIGINT,
    worker      VARCHAR,                        -- that holds it, or held it last
    parent      VARCHAR,
    parent_key  VARCHAR,
    source      VARCHAR,
    tags        VARCHAR[],
    error_type  VARCHAR,
    error       VARCHAR,
    traceback   VARCHAR,
    error_value BLOB,
    pattern     VARCHAR,                        -- the error's first line with * for what varies
    place       VARCHAR,                        -- where the error was raised: file.py:88
    reason      VARCHAR,
    last_key    VARCHAR,
    payload     BLOB USING COMPRESSION zstd,
    result      BLOB USING COMPRESSION zstd,
    first       UBIGINT,                        -- sequence of its first message
    paused      VARCHAR,                        -- why it waits for an operator; empty: it does not
    waits       VARCHAR,                        -- what it is suspended on, in words
    done        DOUBLE,                         -- its progress, of `total` where that is known
    total       DOUBLE,
    doing       VARCHAR,                        -- its progress in words
    deadline    TIMESTAMP,                      -- by when it must have ended
    expires     TIMESTAMP,                      -- by when it must have started
    origin      VARCHAR,                        -- the run that it was made from
    origin_how  VARCHAR,                        -- replay, fork, fork behind or import
    origin_key  VARCHAR,                        -- of a fork: where it parts from its origin
    code        VARCHAR,                        -- fingerprint of the code that ran last
    ending      VARCHAR,                        -- while it compensates: the state that it will have
    metadata    VARCHAR,                        -- as JSON; empty: none
    hook        VARCHAR,                        -- the run that follows its ending up
    fold        BLOB                            -- of a live run: core.model.Run as msgpack, so that folding goes on
);

-- Each beginning and each end of a stretch in which a worker held a run.
CREATE TABLE IF NOT EXISTS attempts (
    run_id     VARCHAR,
    seq        UBIGINT,
    happened_at TIMESTAMP,
    attempt    BIGINT,
    what       VARCHAR,
    worker     VARCHAR,
    error_type VARCHAR,
    error      VARCHAR,
    reason     VARCHAR
);

-- Each recorded outcome of an await, and each failed try.
CREATE TABLE IF NOT EXISTS checkpoints (
    run_id     VARCHAR,
    seq        UBIGINT,
    key        VARCHAR,
    state      VARCHAR,
    attempt    BIGINT,
    started_at TIMESTAMP,
    ended_at   TIMESTAMP,
    value      BLOB,
    error_type VARCHAR,
    error      VARCHAR,
    note       VARCHAR
);

CREATE TABLE IF NOT EXISTS logs (
    run_id  VARCHAR,
    task    VARCHAR,
    attempt BIGINT,
    seq     UBIGINT,                            -- of its message in the log stream
    line    BIGINT,                             -- within that message
    written_at TIMESTAMP,
    level   BIGINT,
    stream  VARCHAR,
    text    VARCHAR,
    key     VARCHAR
);

-- What operators did, a row for each change.
CREATE TABLE IF NOT EXISTS audit (
    seq      UBIGINT,                           -- in the audit stream
    done_at  TIMESTAMP,
    who      VARCHAR,
    via      VARCHAR,
    host     VARCHAR,
    address  VARCHAR,
    action   VARCHAR,
    kind     VARCHAR,                           -- what the targets are
    targets  VARCHAR[],                         -- the first of them
    meant    BIGINT,
    accepted BIGINT,
    refused  BIGINT,
    why      VARCHAR,                           -- the first one was refused
    chosen   VARCHAR,                           -- how the targets were found, in words
    reason   VARCHAR,
    command  VARCHAR                            -- the same from a shell
);

-- How far each stream is projected; written in the transaction of the rows.
CREATE TABLE IF NOT EXISTS projection (
    stream         VARCHAR,
    last_seq       UBIGINT,
    last_time      DOUBLE,                      -- when that message was stored: tells one stream from another
    schema_version INTEGER
);
