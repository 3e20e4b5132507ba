"""Attributions compared with the effect of removing or changing features on the output."""
