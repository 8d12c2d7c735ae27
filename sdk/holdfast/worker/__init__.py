"""The worker: takes work items, recalls, runs user code, appends what came of it, acknowledges.

Read `attempt` first (one work item, from claim to acknowledgement), then `execution` (what the task's awaits become),
`writer` (how outcomes reach the journal), `pool` (many attempts in one process).
"""
