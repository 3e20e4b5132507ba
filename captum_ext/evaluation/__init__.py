"""A data set's worth of scores: run, keep, compare."""

from .explanations import random_attribution as random_attribution
from .results import Evaluation as Evaluation
from .results import load as load
from .run import evaluate as evaluate
from .store import IncompleteRun as IncompleteRun
from .stored_attributions import attribute_dataset as attribute_dataset

__all__ = ["Evaluation", "IncompleteRun", "attribute_dataset", "evaluate", "load", "random_attribution"]
