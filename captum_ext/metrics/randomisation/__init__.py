"""Whether an explanation depends on the model's parameters and on the class that it explains."""
