"""What replaces removed features: `baselines=` functions of the inputs, which also mask by themselves."""

from ._masker import Masker as Masker
from .tabular_masker import TabularMasker as TabularMasker

__all__ = ["Masker", "TabularMasker"]
