"""What `holdfast bench` measures, on a whole deployment in a temporary directory."""
