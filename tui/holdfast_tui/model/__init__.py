"""What the screens show, as plain Python."""
