"""An evaluation as one page: a single file that any browser shows, also without a network."""

from .page import write as write

__all__ = ["write"]
