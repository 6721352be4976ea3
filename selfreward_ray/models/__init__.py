"""Finding a model, fetching it to a node, and turning text into ids by its chat template."""
