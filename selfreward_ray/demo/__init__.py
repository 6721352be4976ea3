"""A world of prompts that a program can check: a source, a scorer, and a proof that the loop improves a model in it."""
