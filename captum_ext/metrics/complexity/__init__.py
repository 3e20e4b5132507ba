"""On how many features an explanation relies."""
