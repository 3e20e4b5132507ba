"""Scores of what the model says while the most or least relevant features are removed."""
