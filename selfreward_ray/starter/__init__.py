"""A first recipe for a model, a source of seed data and a machine: `selfreward init`."""
