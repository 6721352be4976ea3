"""Whether the loop improves a model: several seeds, controls, and the figures. Open `prove.py` first."""
