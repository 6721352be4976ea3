"""New prompts: few-shot proposals by a model, and the filters of Self-Instruct (paper, section 2.2)."""
