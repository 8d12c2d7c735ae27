"""The terminal: its driver, its frames, its clipboard, an editor in it. Private API of Textual is used here only."""
