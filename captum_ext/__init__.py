"""Which explanation of a PyTorch model may be trusted: the metrics half of Captum."""

__version__ = "0.1.0"
__all__ = ["__version__"]
