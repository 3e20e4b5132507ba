"""An evaluation as one page: a file that a browser shows, and that needs nothing else."""

from .page import write as write

__all__ = ["write"]
