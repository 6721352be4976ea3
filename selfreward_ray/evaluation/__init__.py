"""What is measured of a model; nothing here reaches the loop."""
