"""The daemon's answers: questions to the history, the journal and the gauges."""
