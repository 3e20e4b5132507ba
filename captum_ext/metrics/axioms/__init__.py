"""Properties that an explanation is supposed to have exactly."""
