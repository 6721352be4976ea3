"""New prompts: asking a model for them, and the filters of Self-Instruct (paper, section 2.2)."""
