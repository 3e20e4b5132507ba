"""What this package must know about Captum: its attribution objects, and which of their arguments follow the rows."""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .arguments import TensorOrTuple, Tensors, as_given, as_tuple, check_rows, flat, of_rows
from .checks import as_captum_takes, describe, is_exact, is_of_captum, missing_arguments, plain, shape
from .forward import Batches, whole
from .guard import Guard, tensors_in, versions
from .memory import ExplainedWithinMemory
from .sharing import key_of, shared_as
from .statistics import at_least_float32, score_type
from .target import as_target
from .training import model_behind

PER_EXAMPLE = ("target", "additional_forward_args", "baselines", "feature_mask", "layer_baselines", "layer_mask")


class Explanation:
    """An explanation as a function of rows that returns `[rows, elements]`, the tensors of a tuple concatenated."""

    def __init__(
        self,
        explanation_func: Any,
        inputs: TensorOrTuple,
        kwargs: dict[str, Any],
        name: str = "`explanation_func`",
        warned: set[str] | None = None,
        made_by: Any = None,
    ):
        self.function, self.name = explanation_of(explanation_func, f"{name} must be"), name
        if missing := missing_arguments(self.function, kwargs):
            raise TypeError(
                f"{name} needs `{missing[0]}`, which is missing. Give it to the metric by name, which passes it on."
            )
        if kwargs.get("return_convergence_delta"):
            raise ValueError("`return_convergence_delta` must be left out: the metric needs the attributions alone.")
        if is_of_captum(self.function):
            as_target(kwargs.get("target"), len(as_tuple(inputs)[0]))  # raises about forms that it does not take
        self.like, self.kwargs = inputs, as_captum_takes(self.function, kwargs)
        self.made_by = self.function if made_by is None else made_by  # whose equal explanations are the same
        self.guarded = Guard(self.function, f"{name} ({name_of(self.function)})", _to_keep(kwargs), warned=warned)
        self.explained = ExplainedWithinMemory(self.function)
        self.batch = len(as_tuple(inputs)[0])
        self.reference_baselines = takes_a_distribution(self.function, kwargs)
        self._check_rows()
        self.dtype = torch.float32  # of scores made from the attributions; set by each call
        self.shapes: list[tuple[int, ...]] = []  # of the attributions of one example; set by each call

    def __call__(self, rows: Tensors, example: Tensor) -> Tensor:
        return self._flat(self._parts(rows, example))

    def of_examples(self, batches: Batches) -> Tensor:
        """`[B, elements]`, of every example. Metrics share it, and it must not be written into."""

        def explained() -> Tensors:
            # Cloned, because an explanation may return the same tensor again with the values of its next call.
            parts = ([p.clone() for p in parts] for parts in batches.map(self._parts, [whole(as_tuple(self.like))]))
            return tuple(map(torch.cat, zip(*parts)))

        with torch.no_grad():
            return self._flat(self._checked(shared_as(key_of(self.made_by, self.like, self.kwargs), explained)))

    def _parts(self, rows: Tensors, example: Tensor) -> Tensors:
        """Returns the maps as they are."""
        kwargs = {name: self._of_rows(name, value, example) for name, value in self.kwargs.items()}
        before = versions(rows)
        with torch.enable_grad():
            result = self.explained(self.guarded, as_given(rows, self.like), kwargs, self.name)
        self.guarded.note(versions(rows) != before)
        parts = result if isinstance(result, tuple) else (result,)
        return self._checked(tuple(part.detach() for part in parts))

    def _checked(self, parts: Tensors) -> Tensors:
        shapes = [shape(part)[1:] for part in parts]
        if self.shapes and self.shapes != shapes:
            raise ValueError(f"{self.name} must return maps of one size, got {self.shapes} and then {shapes} per row.")
        self.dtype, self.shapes = score_type(*(p.dtype for p in parts)), shapes
        return parts

    def _flat(self, parts: Tensors) -> Tensor:
        # At least float32, as the difference of two numbers of a smaller type may overflow.
        return flat(tuple(map(at_least_float32, parts)))

    def _check_rows(self) -> None:
        """Refuses what has a row per example and would not follow the copies of the examples."""
        for name, value in self.kwargs.items():
            if name not in PER_EXAMPLE:
                self._check_shared(name, value)
            elif name != "target" and not (name.endswith("baselines") and self.reference_baselines):
                check_rows(name, value if isinstance(value, tuple) else (value,), self.batch)

    def _check_shared(self, name: str, value: Any) -> None:
        if isinstance(value, (Tensor, np.ndarray)) and value.ndim > 0 and len(value) == self.batch > 1:
            raise ValueError(
                f"`{name}` has a row for each of the {self.batch} examples, but {self.name} explains copies of them, "
                f"which only {', '.join(PER_EXAMPLE)} follow. Give it by one of these names, or, if all examples share "
                "it, set it in the function with functools.partial."
            )

    def maps(self, elements: Tensor) -> Tensors:
        """Splits `[rows, elements]` into the tensors that were concatenated."""
        parts = elements.split([math.prod(shape) for shape in self.shapes], 1)
        return tuple(part.reshape(-1, *shape) for part, shape in zip(parts, self.shapes))

    def _of_rows(self, name: str, value: Any, example: Tensor) -> Any:
        if name not in PER_EXAMPLE or (name.endswith("baselines") and self.reference_baselines):
            return value
        if name == "target":
            return _target_of_rows(value, example, self.batch)
        if isinstance(value, tuple):
            return tuple(of_rows(v, example, self.batch) for v in value)
        return of_rows(value, example, self.batch)


def _to_keep(kwargs: dict[str, Any]) -> list[Tensor]:
    """Returns the tensors that an explanation must not write into: all but those that it may differentiate."""
    named = [(name, t) for name, value in kwargs.items() for t in tensors_in(value)]
    return [t for name, t in named if name in PER_EXAMPLE or not t.requires_grad]


def _target_of_rows(target: Any, example: Tensor, batch: int) -> Any:
    """Returns the target of the copies in the form it was given in; numpy integers become Python's, as Captum needs."""
    if isinstance(target, np.ndarray):
        target = torch.as_tensor(target, device="cpu")
    if isinstance(target, Tensor):
        target = target.long() if is_exact(target) and target.dtype != torch.bool else target
        return of_rows(target, example, batch) if target.numel() > 1 else target
    if isinstance(target, list):
        if len(target) != batch:
            raise ValueError(
                f"A list as `target` must have one entry for each of the {batch} examples, got {len(target)}."
            )
        return [_plain(target[i]) for i in example.tolist()]
    return _plain(target)


def _plain(target: Any) -> Any:
    if isinstance(target, tuple):
        return tuple(_plain(t) for t in target)
    return plain(target)


def explanation_of(explanation: Any, must_be: str = "`explanation_func` must be") -> Callable[..., Any]:
    """Returns the method `attribute` of a Captum object; a function is returned as it is."""
    if isinstance(explanation, type):
        made = f"{explanation.__name__}(model)"
        raise TypeError(
            f"{must_be} a function or a Captum attribution object, got the class {explanation.__name__}. "
            f"Make an object of it, such as {made}."
        )
    if hasattr(explanation, "attribute"):
        return explanation.attribute
    if not callable(explanation):
        raise TypeError(f"{must_be} a function or a Captum attribution object, got {describe(explanation)}.")
    return explanation


def name_of(explanation: Callable[..., Any]) -> str:
    """Returns the class of the object whose `attribute` this is, or the name of a function."""
    while isinstance(explanation, functools.partial):
        explanation = explanation.func
    owner = getattr(explanation, "__self__", None)
    return getattr(explanation, "__name__", type(explanation).__name__) if owner is None else type(owner).__name__


def as_factory(explanation_factory: Any) -> Callable[[Any], Any]:
    """Returns a class or function as it is. A ready Captum object counts as what is made of the model it explains.

    A ready object sees other parameters too, as only the tensors of the model change: it stays the same object.
    """
    if is_ready(explanation_factory):
        return functools.partial(_made_of, explanation_factory)
    if not callable(explanation_factory):
        raise TypeError(
            "`explanation_factory` must be a Captum class, a Captum object, or a function that makes an explanation of "
            f"a model (`lambda model: ...`); got {describe(explanation_factory)}."
        )
    return explanation_factory


def is_ready(explanation: Any) -> bool:
    """Whether this is a Captum object, or its method `attribute`, perhaps with some arguments set."""
    while isinstance(explanation, functools.partial):
        explanation = explanation.func
    owner = getattr(explanation, "__self__", explanation)
    return hasattr(owner, "attribute") and not isinstance(owner, type)


def _made_of(ready: Any, model: Any) -> Any:
    if model_behind(ready) is not model:
        raise ValueError(
            "`explanation_factory` must explain `forward_func` itself where it is a ready object; it explains another "
            "model, or a function. Make it of the model, or give `lambda model: ...`."
        )
    return ready


def takes_a_distribution(function: Callable[..., Any], kwargs: dict[str, Any]) -> bool:
    """Whether `baselines` are a distribution for the whole batch, independent of its number of rows.

    They are for all forms of DeepLiftShap and GradientShap, and for NoiseTunnel with `draw_baseline_from_distrib`.
    """
    while isinstance(function, functools.partial):
        function = function.func
    attr = sys.modules.get("captum.attr")  # a Captum object can exist only if Captum was imported
    method = getattr(function, "__self__", None)
    if attr is None or method is None:
        return False
    if isinstance(method, attr.NoiseTunnel):
        return bool(kwargs.get("draw_baseline_from_distrib"))
    kinds = [kind + name for kind in ("", "Layer", "Neuron") for name in ("DeepLiftShap", "GradientShap")]
    return isinstance(method, tuple(getattr(attr, kind) for kind in kinds))
