"""Metrics of models. They are only reported: nothing here affects training."""
