"""The recipe: every knob of a run, its text, and what may be overridden."""
