"""The daemon's HTTP interface: trigger tasks, publish events, take webhooks, look at runs and move them, be scraped."""
