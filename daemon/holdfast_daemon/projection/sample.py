"""A history of runs that never were: for measuring what a long one costs."""

from __future__ import annotations

from pathlib import Path

from holdfast.core.model import Instant
from holdfast_daemon.projection.rows import utc
from holdfast_daemon.projection.store import Store

SPACING = 0.05
"""Seconds between the runs, back from now."""

_INSERT = """
INSERT INTO runs BY NAME
WITH numbered AS (SELECT range AS n, $2::TIMESTAMP - to_milliseconds(((range + 1) * $3)::BIGINT) AS made FROM range($1))
SELECT
    array_to_string([
        substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', (epoch_ms(made) // (32 ** i)::BIGINT % 32)::BIGINT + 1, 1)
        FOR i IN [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]
    ], '') || upper(substr(md5(n::VARCHAR), 1, 16)) AS id,
    ['send-welcome', 'charge-card', 'resize-image', 'index-doc', 'nightly-etl'][n % 5 + 1] AS task,
    ['emails', 'billing', 'images', 'search', 'etl'][n % 5 + 1] AS queue,
    5 AS priority,
    CASE WHEN n % 100 = 7 THEN 'dead' WHEN n % 250 = 3 THEN 'cancelled' ELSE 'completed' END AS state,
    made AS created_at,
    made + to_milliseconds(5) AS started_at,
    made + to_milliseconds((50 + hash(n) % 3000)::BIGINT) AS finished_at,
    made + to_milliseconds((50 + hash(n) % 3000)::BIGINT) AS moved_at,
    1 + n % 3 AS attempt,
    n % 9 AS steps,
    'w-' || (n % 16) AS worker,
    'sdk' AS source,
    []::VARCHAR[] AS tags,
    CASE WHEN n % 100 = 7 THEN 'TimeoutError' ELSE '' END AS error_type,
    CASE WHEN n % 100 = 7 THEN 'no answer from hook ' || (n % 977) ELSE '' END AS error,
    CASE WHEN n % 100 = 7 THEN 'attempts used up' ELSE '' END AS reason,
    '/call#1' AS last_key,
    '\\x80'::BLOB AS payload,
    0 AS first,
    {empty}
FROM numbered ORDER BY made
"""

_EMPTY = (
    "parent", "parent_key", "traceback", "paused", "waits", "doing", "origin", "origin_how", "origin_key", "code",
    "ending", "metadata", "hook",
)  # fmt: skip


def fill(data: Path, project: str, count: int, now: Instant) -> None:
    """Put so many ended runs into a project's history, before a daemon opens it.

    Args:
        data: the daemon's data directory.
    """
    store = Store.open(data / f"history-{project}.duckdb")
    try:
        store.load(
            _INSERT.format(empty=", ".join(f"'' AS {name}" for name in _EMPTY)), [count, utc(now), SPACING * 1000]
        )
    finally:
        store.close()
