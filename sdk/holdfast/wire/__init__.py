"""How things look on the wire: subjects, the journal's messages, values, and the daemon's requests and replies."""
