"""How the model judges replies: rubrics, reading verdicts, averaging them (paper, section 2.2)."""
