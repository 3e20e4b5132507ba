"""How many features an explanation relies on."""
