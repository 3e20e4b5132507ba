"""A metric of AttriBench's in terms of `captum_ext.evaluate`: which methods, which metrics, and the result that their scores fill."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch.utils.data import Subset

from captum_ext import Evaluation, evaluate

from ...data import AttributionsDataset, MethodView
from ...masking import Masker
from ...result import MetricResult

Function = TypeVar("Function", bound=Callable[..., Any])
Result = TypeVar("Result", bound=MetricResult)
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Plan(Generic[Result]):
    """`metrics` has a name for each entry of the result's `level` (such as a masker); each gives `[B, activations * points]`."""

    dataset: Any  # an `AttributionsDataset`, or something else with `samples_dataset` and `num_samples` where `methods` are given
    metrics: Mapping[str, Callable[..., Any]]
    result: Result
    level: str | None = None
    methods: Mapping[str, Any] | None = None  # by default the data set's attributions

    def run(self, model: Any, batch_size: int, device: torch.device | str | None, **options: Any) -> Result:
        """Evaluates; `model` may be a function without arguments, and `options` are those of `captum_ext.evaluate`."""
        methods = self.methods or {name: MethodView(self.dataset, name) for name in self.dataset.method_names}
        metrics = {self._variable(name): metric for name, metric in self.metrics.items()}
        samples = Subset(self.dataset.samples_dataset, range(self.dataset.num_samples))
        if "devices" not in options:
            options["device"] = device or CPU
        options = {"batch_size": batch_size, "max_examples_per_batch": batch_size, **options}
        return self.filled(evaluate(model, samples, methods, metrics, **options))

    def filled(self, evaluation: Evaluation) -> Result:
        """The result with the scores of an evaluation."""
        tree = self.result.tree
        for key in tree.combinations():
            names = dict(zip(tree.level_names, key))
            metric = names[self.level] if self.level else next(iter(self.metrics))
            scores = evaluation.dataset[self._variable(metric)].sel(attribution=names["method"]).to_numpy()
            activations = tree.levels.get("activation_fn", [""])
            under_each = scores.reshape(len(scores), len(activations), -1)
            under_one = under_each[:, activations.index(names.get("activation_fn", ""))]
            tree.write(slice(None), under_one.reshape(tree.shape), **names)
        return self.result

    def _variable(self, name: str) -> str:
        return f"{self.level}:{name}" if self.level else name


def takes_all_methods(metric: Callable[..., Any]) -> Callable[[Function], Function]:
    """For a metric that, like one of the package's, takes the attributions of all methods at once; its values lie on an axis of its own."""

    def marked(function: Function) -> Function:
        function.card = dataclasses.replace(getattr(metric, "card"), axis=None)  # type: ignore[attr-defined]  # noqa: B009
        return function

    return marked


def check_maskers(maskers: Mapping[str, Masker], dataset: AttributionsDataset, attributions: bool = True) -> None:
    """Maskers by name, that mask the features which the attributions are of."""
    check_names("maskers", maskers, Masker)
    sample = dataset.sample(0)[None]
    for masker in maskers.values():
        masker.check(sample, dataset.maps(dataset.method_names[0], 0)[None] if attributions else None)


def check_names(name: str, values: Mapping[str, Any], kind: type) -> None:
    """A mapping from names to things of a kind."""
    if not isinstance(values, Mapping) or not values:
        raise TypeError(f"`{name}` must be a mapping from names, with at least one; got {values!r}.")
    for key, value in values.items():
        if not isinstance(value, kind):
            raise TypeError(f"`{name}[{key!r}]` must be a {kind.__name__}, got {type(value).__name__}.")


def check_whole(name: str, value: Any, least: int = 1) -> None:
    if isinstance(value, bool) or not hasattr(value, "__index__") or value < least:
        raise ValueError(f"`{name}` must be an integer of at least {least}, got {value!r}.")
