"""The widgets: a virtual table, one line of text, a pane of lines. None takes the focus; keys go to the screen."""
