"""How much an explanation changes when the input hardly changes."""
