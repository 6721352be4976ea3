"""The demo world, whose prompts a rule checker can verify: a source, a scorer, and a proof that the loop improves a
model."""
