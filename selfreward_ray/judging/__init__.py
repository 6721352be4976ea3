"""LLM-as-a-judge: rubrics, reading the scores of verdicts, and averaging them (paper, section 2.2)."""
