"""Perturbed copies: those of a `perturb_func`, called as Captum calls it, and the package's own, drawn per example."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from .arguments import (
    BaselinesType,
    FeatureMaskType,
    TensorOrTuple,
    Tensors,
    as_feature_mask,
    as_tuple,
    bare_if_single,
    baseline_values,
    of_rows,
)
from .checks import check_count, describe, shape
from .draws import SeedType, draw_seeds, example_seeds, normal, takes_seed, uniform
from .forward import Forward, Rows, copies_of, whole
from .target import TargetType

MakeCopies = Callable[[Tensors, Tensor], Any]


def draws_per_call(n_perturb_samples: int, batch: int, max_examples_per_batch: int | None) -> list[int]:
    """How many copies of every example each call of a `perturb_func` makes: all at once without a limit."""
    per_call = (
        n_perturb_samples
        if max_examples_per_batch is None
        else min(max(max_examples_per_batch // batch, 1), n_perturb_samples)
    )
    full, rest = divmod(n_perturb_samples, per_call)
    return [per_call] * full + [rest] * (rest > 0)


def call_by_call(inputs: Tensors, calls: list[int]) -> Iterator[Rows]:
    """Copies of all examples for each call, the copies of an example side by side."""
    for draws in calls:
        yield copies_of(inputs, torch.arange(len(inputs[0])).repeat_interleave(draws))


def by_example(scores: Tensor, batch: int, calls: list[int]) -> Tensor:
    """`[..., rows]`, call by call, to `[..., B, draws]`."""
    parts = scores.split([batch * draws for draws in calls], -1)
    return torch.cat([p.unflatten(-1, (batch, draws)) for p, draws in zip(parts, calls)], -1)


def in_ball(inputs: Tensors, radius: float, seeds: Tensor, size: Callable[[], int]) -> Iterator[Rows]:
    """Copies moved by uniform noise in the L-infinity ball, one per seed (`[B, draws]`), at most `size()` at a time."""
    return _moved(inputs, seeds, size, lambda seed, example: uniform(seed, inputs, -radius, radius))


def in_noise(inputs: Tensors, level: float, seeds: Tensor, size: Callable[[], int]) -> Iterator[Rows]:
    """The same by Gaussian noise, whose standard deviation is `level` times the range of the example's values in each tensor."""
    stds = tuple(level * (x.flatten(1).amax(1) - x.flatten(1).amin(1)) for x in inputs)

    def noise(seed: Tensor, example: Tensor) -> Tensors:
        standard = normal(seed, inputs, 0, 1)
        return tuple(e.mul_(s[example].reshape(-1, *[1] * (e.dim() - 1))) for e, s in zip(standard, stds))

    return _moved(inputs, seeds, size, noise)


def at_corners(inputs: Tensors, radius: float, seeds: Tensor, size: Callable[[], int]) -> Iterator[Rows]:
    """The same at random corners of the L-infinity ball."""

    def steps(seed: Tensor, example: Tensor) -> Tensors:
        return tuple(torch.where(up, radius, -radius).to(x) for up, x in zip(signs(seed, inputs), inputs))

    return _moved(inputs, seeds, size, steps)


def signs(seeds: Tensor, like: Tensors) -> tuple[Tensor, ...]:
    """A random corner for each seed: which elements go up."""
    return tuple(noise >= 0 for noise in uniform(seeds, like, -1, 1))


def default_perturb_func(inputs: TensorOrTuple, perturb_radius: float = 0.02) -> Tensors:
    r"""Moves every element by uniform noise in `[-perturb_radius, perturb_radius]`: a random point of the L-infinity ball around each row.

    Each row draws by itself, in the type and place of the inputs, from seeds that `torch.manual_seed` governs. Always a tuple, as in Captum.

    Example:
        >>> (moved,) = default_perturb_func(torch.zeros(4, 3), 0.1)
        >>> moved.shape, bool(moved.abs().max() <= 0.1)
        (torch.Size([4, 3]), True)
    """
    x = as_tuple(inputs)
    return next(in_ball(x, perturb_radius, draw_seeds(None, len(x[0]), 1), lambda: len(x[0])))[0]


def _moved(
    inputs: Tensors, seeds: Tensor, size: Callable[[], int], noise: Callable[[Tensor, Tensor], Tensors]
) -> Iterator[Rows]:
    seed, example = seeds.flatten(), torch.arange(len(seeds)).repeat_interleave(seeds.shape[1])
    start = 0
    while start < len(seed):
        rows = slice(start, start := start + size())
        copies, _ = copies_of(inputs, example[rows])
        yield tuple(x.add_(e) for x, e in zip(copies, noise(seed[rows], example[rows]))), example[rows]


def perturbed(perturb_func: Callable[..., Any], rows: Rows, *extra: Any) -> Tensors:
    """What a `perturb_func` of `sensitivity_max` makes of the rows."""
    tensors, _ = rows
    return as_copies(perturb_func(bare_if_single(tensors), *extra), tensors, "perturbed inputs")


class Perturbations:
    """The draws of a `perturb_func` of `infidelity` for a batch, what it is told in each call, and the model that sees them."""

    def __init__(
        self,
        forward_func: Callable[..., Any],
        perturb_func: Callable[..., Any],
        inputs: TensorOrTuple,
        baselines: BaselinesType = None,
        additional_forward_args: Any = None,
        target: TargetType = None,
        n_perturb_samples: int = 10,
        max_examples_per_batch: int | None = None,
        *,
        feature_mask: FeatureMaskType = None,
        seed: SeedType = None,
        show_progress: bool = False,
    ):
        check_perturb_func(perturb_func)
        self.perturb_func, self.inputs = perturb_func, as_tuple(inputs)
        self.batch = len(self.inputs[0])
        self.baselines = None if baselines is None else baseline_values(baselines, inputs)
        masks = as_feature_mask(feature_mask, inputs)
        self.feature_mask = masks if takes(perturb_func, "feature_mask") else None
        self.n, self.told = _told(perturb_func, self.inputs, check_count("n_perturb_samples", n_perturb_samples), seed)
        self.f = Forward(
            forward_func, self.inputs, target, additional_forward_args, None, max_examples_per_batch, show_progress
        )
        self.calls = draws_per_call(self.n, self.batch, max_examples_per_batch)

    def drops(self, see: Callable[[Tensors, Tensor], Any]) -> Tensor:
        """`[B, n]`: how far the output falls under each draw. `see` is shown the perturbations of every call, and of which examples."""

        def rows() -> Iterator[Rows]:
            perturbed = map(perturb, call_by_call(self.inputs, self.calls), self._keywords())
            first = [next(perturbed)]  # before the model's first call, so that a bad perturb_func costs none
            yield whole(self.inputs)
            yield first.pop()
            yield from perturbed  # map keeps nothing while the next is made

        def perturb(copies: Rows, keywords: dict[str, Any]) -> Rows:
            perturbation, perturbed = self._call(copies, keywords)
            see(perturbation, copies[1])
            return perturbed, copies[1]

        f_x, f_perturbed = self.f(rows(), self.batch * (1 + self.n)).split([self.batch, self.batch * self.n])
        return f_x[:, None] - by_example(f_perturbed, self.batch, self.calls)

    def _keywords(self) -> Iterator[dict[str, Any]]:
        """What tells the copies of each call apart."""
        parts = {name: numbers.split(self.calls, 1) for name, numbers in self.told.items()}
        for call in range(len(self.calls)):
            yield {name: part[call].reshape(-1) for name, part in parts.items()}

    def _call(self, copies: Rows, keywords: dict[str, Any]) -> tuple[Tensors, Tensors]:
        tensors, example = copies
        extra = () if self.baselines is None else (self._of_rows(self.baselines, example),)
        if self.feature_mask is not None:
            keywords["feature_mask"] = self._of_rows(self.feature_mask, example)
        result = self.perturb_func(bare_if_single(tensors), *extra, **keywords)
        if not isinstance(result, (tuple, list)) or len(result) != 2:
            raise ValueError(
                "`perturb_func` must return two things, the perturbations and the perturbed inputs; "
                f"got {describe(result)}. To return the perturbed inputs alone, decorate it with infidelity_perturb_func_decorator()."
            )
        return as_copies(result[0], tensors, "perturbations"), as_copies(result[1], tensors, "perturbed inputs")

    def _of_rows(self, values: tuple[Any, ...], example: Tensor) -> Any:
        return bare_if_single(tuple(of_rows(v, example, self.batch) for v in values))


def _told(perturb_func: Callable[..., Any], x: Tensors, n: int, seed: SeedType) -> tuple[int, dict[str, Tensor]]:
    """The number of draws, and what the `perturb_func` is told of each by keyword, `[B, n]`: a position, where there are no more than
    draws; a seed, where it takes one; else nothing.
    """
    if seed is not None:
        seed = example_seeds(seed, len(x[0]))
    positions = n_positions(perturb_func, x)
    if positions is not None and positions <= n:
        return positions, {"position": torch.arange(positions).expand(len(x[0]), -1)}
    return n, {"seed": draw_seeds(seed, len(x[0]), n)} if takes_seed(perturb_func) else {}


def n_positions(perturb_func: Callable[..., Any], x: Tensors) -> int | None:
    """How many different perturbations there are, where the function can tell: by its attribute `positions`, a function as it is."""
    settings: dict[str, Any] = {}
    while isinstance(perturb_func, functools.partial):
        settings, perturb_func = perturb_func.keywords | settings, perturb_func.func
    count = getattr(perturb_func, "positions", None)
    return None if count is None or "position" in settings else count(x, **settings)


def as_copies(value: Any, rows: Tensors, name: str) -> Tensors:
    """One tensor for each input, in its shape and floating point type."""
    tensors = (value,) if isinstance(value, Tensor) else value
    if not isinstance(tensors, (tuple, list)) or not all(isinstance(t, Tensor) for t in tensors):
        raise TypeError(f"`perturb_func` must return {name} as a tensor or a tuple of tensors, got {describe(value)}.")
    if len(tensors) != len(rows):
        raise ValueError(
            f"`perturb_func` must return {name} for each of the {len(rows)} tensors of `inputs`, got {len(tensors)}."
        )
    for t, x in zip(tensors, rows):
        if t.shape != x.shape:
            raise ValueError(
                f"`perturb_func` must return {name} of the shape it was given, {shape(x)}, got {shape(t)}."
            )
    return tuple(t.detach().to(x.dtype) if x.is_floating_point() else t.detach() for t, x in zip(tensors, rows))


def check_perturb_func(perturb_func: Any) -> None:
    if not callable(perturb_func):
        raise TypeError(f"`perturb_func` must be a function of the inputs, got {describe(perturb_func)}.")


def takes_radius(perturb_func: Callable[..., Any]) -> bool:
    """Whether a second argument by position is there to receive the radius, as in Captum."""
    try:
        parameters = inspect.signature(perturb_func).parameters.values()
    except ValueError:  # built-ins without a signature
        return False
    return sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters) > 1


def takes(perturb_func: Any, name: str) -> bool:
    """Whether an argument of this name can be given."""
    try:
        parameters = inspect.signature(perturb_func).parameters
    except (TypeError, ValueError):  # no function, or a built-in without a signature
        return False
    return name in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())
