"""A metric of AttriBench's as a plan for `captum_ext.evaluate`: which methods, which metrics, which result to fill."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, ParamSpec, TypeVar

import torch
from torch import Tensor
from torch.utils.data import Subset

from captum_ext import Evaluation, evaluate

from ...data import MethodView
from ...result import MetricResult

Arguments = ParamSpec("Arguments")
Method = Callable[[Tensor, Tensor], Tensor]
Seeds = Sequence[int]  # one for each sample
Result = TypeVar("Result", bound=MetricResult)
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Plan(Generic[Result]):
    """What to compute: metrics that give `[B, activations * points]`, by the names on a `level` such as the masker."""

    dataset: Any  # an `AttributionsDataset`; where `methods` are given, `samples_dataset` and `num_samples` are enough
    metrics: Mapping[str, Callable[..., Any]]
    result: Result
    level: str | None = None
    methods: Mapping[str, Any] | None = None  # by default the data set's attributions
    model: Any = None  # in place of the caller's
    options: Mapping[str, Any] = field(default_factory=dict)  # of `captum_ext.evaluate`, in place of the caller's

    def run(self, model: Any, batch_size: int, device: torch.device | str | None, **options: Any) -> Result:
        """Evaluates; `model` may be a function without arguments, and `options` are those of `captum_ext.evaluate`."""
        model = model if self.model is None else self.model
        methods = self.methods or {name: MethodView(self.dataset, name) for name in self.dataset.method_names}
        metrics = {self._variable(name): metric for name, metric in self.metrics.items()}
        samples = Subset(self.dataset.samples_dataset, range(self.dataset.num_samples))
        place = {} if "devices" in options else {"device": device or CPU}
        options = {"batch_size": batch_size, "max_examples_per_batch": batch_size, **place, **options, **self.options}
        return self.filled(evaluate(model, samples, methods, metrics, **options))

    def filled(self, evaluation: Evaluation) -> Result:
        """The result with the scores of an evaluation."""
        tree = self.result.tree
        for key in tree.combinations():
            names = dict(zip(tree.level_names, key))
            metric = names[self.level] if self.level else next(iter(self.metrics))
            scores = evaluation.dataset[self._variable(metric)].sel(attribution=names["method"]).to_numpy()
            activations = tree.levels.get("activation_fn", [""])
            column = activations.index(names.get("activation_fn", ""))
            under_one = scores.reshape(len(scores), len(activations), -1)[:, column]
            tree.write(slice(None), under_one.reshape(tree.shape), **names)
        return self.result

    def _variable(self, name: str) -> str:
        return f"{self.level}:{name}" if self.level else name


def computed(
    plan_of: Callable[Arguments, Plan[Result]], signature: inspect.Signature | None = None
) -> Callable[Arguments, Result]:
    """Turns a function that plans a metric into one that computes it; the plan remains as `__wrapped__`.

    `model`, `batch_size`, `device`, `seed` and `show_progress` among its arguments say how to compute the plan. They
    are read here, so the function itself need not use them.
    """
    signature = signature or inspect.signature(plan_of)
    (result,) = typing.get_args(typing.get_type_hints(plan_of)["return"])

    @functools.wraps(plan_of)
    def compute(*args: Any, **kwargs: Any) -> Result:
        given = signature.bind(*args, **kwargs)
        given.apply_defaults()
        how = given.arguments
        model, options = how.get("model", how.get("model_factory")), {k: how[k] for k in ("seed", "show_progress")}
        return plan_of(**how).run(model, how["batch_size"], how["device"], **options)  # type: ignore[call-arg]

    compute.__signature__ = signature.replace(return_annotation=result)  # type: ignore[attr-defined]
    return compute


def computed_like(
    pattern: Callable[Arguments, Any], **defaults: Any
) -> Callable[[Callable[..., Plan[Result]]], Callable[Arguments, Result]]:
    """The same for a function with the arguments of another, save for some defaults; it gets them all by name."""
    signature = inspect.signature(pattern)
    changed = [p.replace(default=defaults.get(p.name, p.default)) for p in signature.parameters.values()]
    return partial(computed, signature=signature.replace(parameters=changed))


def explanations(methods: Any) -> dict[str, Callable[[Any], Method]]:
    """Functions of the model, as `evaluate` takes them, from a mapping of ready methods or from a `MethodFactory`."""
    names = methods if isinstance(methods, Mapping) else methods.get_method_names()
    return {name: partial(_explanation, methods, name) for name in names}


def _explanation(methods: Any, name: str, model: Any) -> Method:
    """The method as a function with Captum's names of arguments."""
    method = (methods if isinstance(methods, Mapping) else methods(model))[name]

    def explain(inputs: Tensor, target: Tensor) -> Tensor:
        return method(inputs, target)

    return explain


def check_methods(argument: str, names: Any, dataset: Any) -> None:
    """The methods are those of the data set."""
    if set(names) != set(dataset.method_names):
        wanted = f"the methods of `attributions_dataset`, {dataset.method_names}"
        raise ValueError(f"`{argument}` must have {wanted}; got {list(names)}.")


def check_names(name: str, values: Mapping[str, Any], kind: type) -> None:
    """A mapping from names to things of a kind."""
    if not isinstance(values, Mapping) or not values:
        raise TypeError(f"`{name}` must be a mapping from names, with at least one; got {values!r}.")
    for key, value in values.items():
        if not isinstance(value, kind):
            raise TypeError(f"`{name}[{key!r}]` must be a {kind.__name__}, got {type(value).__name__}.")
