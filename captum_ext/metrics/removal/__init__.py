"""Scores of the model's output while the most or the least relevant features are removed."""
