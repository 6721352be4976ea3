"""The recipe: the schema of all settings of a run, and its YAML text with overrides."""
