"""Attributions beside the effects that removing or changing features has on the output."""
