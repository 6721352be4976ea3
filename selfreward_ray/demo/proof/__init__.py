"""The proof that the loop improves a model, with several seeds and controls. Open `prove.py` first."""
