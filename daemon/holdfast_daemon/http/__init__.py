"""The daemon's HTTP interface: trigger a task, look at a run, ask whether it is well."""
