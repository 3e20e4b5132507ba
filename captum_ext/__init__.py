"""Which explanation of your PyTorch model can you trust? Metrics of explanations, beside `captum.attr`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._version import __version__ as __version__

if TYPE_CHECKING:
    from .evaluation import Evaluation as Evaluation
    from .evaluation import IncompleteRun as IncompleteRun
    from .evaluation import attribute_dataset as attribute_dataset
    from .evaluation import changed_attribution as changed_attribution
    from .evaluation import evaluate as evaluate
    from .evaluation import load as load
    from .evaluation import random_attribution as random_attribution
    from .evaluation import shuffled_attribution as shuffled_attribution

__all__ = [
    "Evaluation",
    "IncompleteRun",
    "__version__",
    "attribute_dataset",
    "changed_attribution",
    "evaluate",
    "load",
    "random_attribution",
    "shuffled_attribution",
]


def __getattr__(name: str) -> Any:
    """Imports the evaluation's names when they are used, so that `import captum_ext.metrics` stays light."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import evaluation

    return getattr(evaluation, name)


def __dir__() -> list[str]:
    return [
        *__all__,
        "baselines",
        "evaluation",
        "feature_masks",
        "layers",
        "llm",
        "metrics",
        "outputs",
        "perturbations",
        "truth_masks",
    ]
