"""Alarms: what finished steps have written, held against the thresholds of the recipe. No Ray, no torch."""
