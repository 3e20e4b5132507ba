"""Properties that an explanation should have exactly."""
