"""Scores of a whole data set: how to compute, keep and compare them."""

from .attribute import attribute_dataset as attribute_dataset
from .changed_methods import changed_attribution as changed_attribution
from .changed_methods import shuffled_attribution as shuffled_attribution
from .methods import random_attribution as random_attribution
from .results import Evaluation as Evaluation
from .results import load as load
from .run import evaluate as evaluate
from .store import IncompleteRun as IncompleteRun

__all__ = [
    "Evaluation",
    "IncompleteRun",
    "attribute_dataset",
    "changed_attribution",
    "evaluate",
    "load",
    "random_attribution",
    "shuffled_attribution",
]
