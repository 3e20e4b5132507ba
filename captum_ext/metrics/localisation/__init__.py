"""Whether an explanation points to where the evidence is known to be."""
