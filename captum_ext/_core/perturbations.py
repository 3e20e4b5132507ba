"""Perturbed copies, by a `perturb_func` called as in Captum, or by this package's own draws for each example."""

from __future__ import annotations

import functools
import inspect
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from .arguments import (
    BaselinesType,
    FeatureMaskType,
    FrozenType,
    InputsType,
    TensorOrTuple,
    Tensors,
    as_baselines,
    as_feature_mask,
    as_frozen,
    as_tuple,
    bare_if_single,
    baseline_values,
    batch_limit,
    of_batch,
    of_rows,
)
from .card import arguments_of_partial, configured, of_seeds_alone, seed_set_in
from .checks import check_count, check_function, check_has_values, check_not_negative, check_real, describe, shape
from .devices import rows_at
from .draws import SeedType, draw_seeds, example_seeds, normal, takes_seed, uniform
from .features import check_some_left
from .forward import Forward, Rows, copies_of
from .guard import Guard
from .interpretable import as_present, with_known_features
from .memory import rows_made
from .sharing import shared_as
from .target import TargetType


def draws_per_call(n_perturb_samples: int, batch: int, max_examples_per_batch: int | None) -> list[int]:
    """Returns how many copies of every example each call of a `perturb_func` makes: all at once without a limit."""
    per_call = n_perturb_samples
    if max_examples_per_batch is not None:
        per_call = min(max(batch_limit(max_examples_per_batch, batch) // batch, 1), n_perturb_samples)
    full, rest = divmod(n_perturb_samples, per_call)
    return [per_call] * full + [rest] * (rest > 0)


def call_by_call(inputs: Tensors, calls: list[int]) -> Iterator[Rows]:
    """Yields copies of all examples for each call."""
    for draws in calls:
        yield copies_of(inputs, examples_of_call(len(inputs[0]), draws))


def examples_of_call(batch: int, draws: int) -> Tensor:
    """The example of each row in a call. The copies of one example follow each other, as in Captum."""
    return torch.arange(batch, device="cpu").repeat_interleave(draws)


def by_example(scores: Tensor, batch: int, calls: list[int]) -> Tensor:
    """Rearranges `[..., rows]`, which come call by call, into `[..., B, draws]`."""
    parts = scores.split([batch * draws for draws in calls], -1)
    return torch.cat([p.unflatten(-1, (batch, draws)) for p, draws in zip(parts, calls)], -1)


def in_ball(inputs: Tensors, radius: float, seeds: Tensor, size: Callable[[], int]) -> Iterator[Rows]:
    """Yields copies moved by uniform noise in the L-infinity ball, one per seed (`[B, draws]`), `size()` at a time."""
    return _moved(inputs, seeds, size, lambda seed, example: uniform(seed, inputs, -radius, radius))


def with_gaussian_noise(inputs: Tensors, level: float, seeds: Tensor, size: Callable[[], int]) -> Iterator[Rows]:
    """Yields copies with Gaussian noise, one per seed, `size()` at a time.

    The standard deviation of the noise is `level` times the range of the example's values in each tensor.
    """
    stds = tuple(level * (x.flatten(1).amax(1) - x.flatten(1).amin(1)) for x in inputs)

    def noise(seed: Tensor, example: Tensor) -> Tensors:
        standard = normal(seed, inputs, 0, 1)
        return tuple(e.mul_(rows_at(s, example).reshape(-1, *[1] * (e.dim() - 1))) for e, s in zip(standard, stds))

    return _moved(inputs, seeds, size, noise)


def at_corners(inputs: Tensors, radius: float, seeds: Tensor, size: Callable[[], int]) -> Iterator[Rows]:
    """Yields copies moved to random corners of the L-infinity ball, one per seed, `size()` at a time."""

    def steps(seed: Tensor, example: Tensor) -> Tensors:
        return tuple(step_to(up, radius, x) for up, x in zip(signs(seed, inputs), inputs))

    return _moved(inputs, seeds, size, steps)


def check_moves(inputs: Tensors, radius: float) -> None:
    """Refuses a radius that rounds to nothing in an example's type, whose explanation would count as stable."""
    moves = [((x + radius != x) | (x - radius != x) | ~x.isfinite()).flatten(1).any(1) for x in inputs if x.numel()]
    if radius == 0 or moves[0].is_meta or (moved := torch.stack([m.cpu() for m in moves]).any(0)).all():
        return
    raise ValueError(
        f"`perturb_radius` must be large enough to change `inputs` of type {inputs[0].dtype}, got {radius}, which "
        f"rounds to nothing in example {int(moved.int().argmin())}. Give a larger radius, or inputs of a finer type or "
        "smaller values."
    )


def step_to(up: Tensor, radius: float, like: Tensor) -> Tensor:
    """Returns the steps to a corner: `radius` where `up` is true, and else its opposite, in the type of `like`."""
    return torch.full_like(up, -radius, dtype=like.dtype).masked_fill_(up, radius)


def signs(seeds: Tensor, like: Tensors) -> tuple[Tensor, ...]:
    """Draws a random corner for each seed: the elements that are moved up."""
    return tuple(noise >= 0 for noise in uniform(seeds, like, -1, 1))


def default_perturb_func(inputs: TensorOrTuple, perturb_radius: float = 0.02) -> Tensors:
    r"""Moves every element by uniform noise in `[-perturb_radius, perturb_radius]`.

    So each row is moved to a random point of the L-infinity ball around it. Rows are drawn independently, from seeds
    that follow `torch.manual_seed`. The result has the type and device of the inputs and is always a tuple, as in
    Captum.

    Example:
        >>> (moved,) = default_perturb_func(torch.zeros(4, 3), 0.1)
        >>> moved.shape, bool(moved.abs().max() <= 0.1)
        (torch.Size([4, 3]), True)
    """
    x, radius = as_tuple(inputs), check_not_negative("perturb_radius", perturb_radius)
    return next(in_ball(x, radius, draw_seeds(None, len(x[0]), 1), lambda: len(x[0])))[0]


def _moved(
    inputs: Tensors, seeds: Tensor, size: Callable[[], int], noise: Callable[[Tensor, Tensor], Tensors]
) -> Iterator[Rows]:
    seed, example = seeds.flatten(), torch.arange(len(seeds), device="cpu").repeat_interleave(seeds.shape[1])
    start = 0
    while start < len(seed):
        rows = slice(start, start := start + size())
        copies, _ = copies_of(inputs, example[rows])
        yield tuple(x.add_(e) for x, e in zip(copies, noise(seed[rows], example[rows]))), example[rows]


def perturbed(perturb_func: Callable[..., Any], rows: Rows, *extra: Any) -> Tensors:
    """Returns the rows as perturbed by a `perturb_func` of the kind that `sensitivity_max` takes."""
    tensors, _ = rows
    return own(as_copies(perturb_func(bare_if_single(tensors), *extra), tensors, "perturbed inputs"))


def own(tensors: Tensors) -> Tensors:
    """Copies what a `perturb_func` returns and the model may write into: it may be a tensor that the function keeps."""
    return tuple(t.clone() for t in tensors)


class Perturbations:
    """The perturbations of a batch for `infidelity`: the calls of `perturb_func`, and the model's scores after them."""

    def __init__(
        self,
        forward_func: Callable[..., Any],
        perturb_func: Callable[..., Any],
        inputs: InputsType,
        baselines: BaselinesType = None,
        additional_forward_args: Any = None,
        target: TargetType = None,
        n_perturb_samples: int = 10,
        max_examples_per_batch: int | None = None,
        *,
        feature_mask: FeatureMaskType = None,
        frozen: FrozenType = None,
        seed: SeedType = None,
        show_progress: bool = False,
    ):
        check_perturb_func(perturb_func)
        of_model = forward_func, additional_forward_args, target, max_examples_per_batch
        self.given = of_model, perturb_func, inputs, baselines, feature_mask, frozen, n_perturb_samples, seed
        feature_mask, frozen = with_known_features(inputs, feature_mask, frozen)
        inputs = as_present(inputs)
        self.inputs = as_tuple(inputs)
        self.batch = len(self.inputs[0])
        baselines = of_batch(baselines, inputs, baseline_values)
        self.baselines = None if baselines is None else baseline_values(baselines, inputs)
        as_baselines(self.baselines, inputs)  # raises where they do not fit the inputs
        self.masks = as_feature_mask(of_batch(feature_mask, inputs, as_feature_mask), inputs)
        self.feature_mask = self.masks if takes(perturb_func, "feature_mask") else None
        _check_frozen(frozen, self.masks, self.batch)
        self.frozen = {"frozen": frozen} if frozen is not None and takes(perturb_func, "frozen") else {}
        self.perturb = Guard(perturb_func, "`perturb_func`", self.baselines, self.feature_mask)
        n = check_count("n_perturb_samples", n_perturb_samples)
        self.n, self.per_draw = _keywords_per_draw(perturb_func, self.inputs, n, seed)
        self.f = Forward(
            forward_func, self.inputs, target, additional_forward_args, None, max_examples_per_batch, show_progress
        )
        if max_examples_per_batch is None and self.per_draw and of_seeds_alone(perturb_func):
            max_examples_per_batch = max(rows_made(self.inputs), 1)
        self.calls = draws_per_call(self.n, self.batch, max_examples_per_batch)
        self.repeatable = seed is not None and of_seeds_alone(perturb_func) and not self.f.changes

    def drops(self, see: Callable[[Tensors, Tensor], Any]) -> Tensor:
        """`[B, n]`: how far the output falls under each draw, which metrics with equal draws share.

        `see` is called with the perturbations of every call and the examples that they belong to.
        """

        def perturb(draws: int, keywords: dict[str, Any]) -> Rows:
            example = examples_of_call(self.batch, draws)
            perturbation, perturbed = self._call(example, keywords)
            see(perturbation, example)
            return own(perturbed), example

        perturbed = map(perturb, self.calls, self._keywords_per_call())

        def found() -> tuple[Tensor, torch.dtype]:
            first = [next(perturbed)]  # made before the model is called, so that a bad perturb_func costs no call

            def rows() -> Iterator[Rows]:
                yield first.pop()
                yield from perturbed  # `map` keeps no batch alive while the next one is made

            f_x, f_perturbed = self.f.beside_whole(rows(), self.batch * self.n)
            return f_x[:, None] - by_example(f_perturbed, self.batch, self.calls), self.f.dtype

        drops, self.f.dtype = shared_as(("drops", self.given), found) if self.repeatable else found()
        deque(perturbed, maxlen=0)  # `see` sees them also where the drops are known
        return drops

    def _keywords_per_call(self) -> Iterator[dict[str, Any]]:
        """Yields the keyword arguments of each call that differ from copy to copy: a seed or a position per copy."""
        parts = {name: numbers.split(self.calls, 1) for name, numbers in self.per_draw.items()}
        for call in range(len(self.calls)):
            yield {name: part[call].reshape(-1) for name, part in parts.items()}

    def _call(self, example: Tensor, keywords: dict[str, Any]) -> tuple[Tensors, Tensors]:
        """The perturbations, and the perturbed inputs as they were returned."""
        tensors, _ = copies_of(self.inputs, example)
        extra = () if self.baselines is None else (self._of_rows(self.baselines, example),)
        if self.feature_mask is not None:
            keywords["feature_mask"] = self._of_rows(self.feature_mask, example)
        result = self.perturb(bare_if_single(tensors), *extra, **keywords, **self.frozen)
        if not isinstance(result, (tuple, list)) or len(result) != 2:
            raise ValueError(
                "`perturb_func` must return two things, the perturbations and the perturbed inputs; "
                f"got {describe(result)}. To return the perturbed inputs alone, decorate it with "
                "infidelity_perturb_func_decorator()."
            )
        # At least float32, as a perturbation divided by a distance may be too large for the type of the inputs.
        perturbations = as_copies(result[0], tensors, "perturbations", torch.float32)
        return perturbations, as_copies(result[1], tensors, "perturbed inputs")

    def _of_rows(self, values: tuple[Any, ...], example: Tensor) -> Any:
        return bare_if_single(tuple(of_rows(v, example, self.batch) for v in values))


def _check_frozen(frozen: FrozenType, masks: Tensors | None, batch: int) -> None:
    """Refuses ids without a mask, and those of all groups of an example."""
    ids = as_frozen(frozen, masks)
    if masks is not None and len(ids):
        left = [(~torch.isin(m, ids)).flatten(1).any(1).expand(batch) for m in masks]
        check_some_left(torch.stack(left).any(0).long().cpu())


def _keywords_per_draw(
    perturb_func: Callable[..., Any], x: Tensors, n: int, seed: SeedType
) -> tuple[int, dict[str, Tensor]]:
    """Returns the number of draws, and the keyword arguments `[B, n]` that have a value for each of them.

    Where the function has at most `n` positions, it gets each position once. Else it gets a seed, if it takes one. A
    seed that is set in one of `captum_ext.perturbations` stands for those that it makes of all copies in one call.
    """
    if seed is not None:
        seed = example_seeds(seed, len(x[0]))
    positions, own_seed = n_positions(perturb_func, x), seed_set_in(perturb_func)
    if positions is not None and positions <= n:
        return positions, {"position": torch.arange(positions, device="cpu").expand(len(x[0]), -1)}
    if own_seed is not None:
        return n, {"seed": torch.tensor(example_seeds(own_seed, len(x[0]) * n), device="cpu").unflatten(0, (-1, n))}
    return n, {"seed": draw_seeds(seed, len(x[0]), n)} if takes_seed(perturb_func) else {}


def n_positions(perturb_func: Callable[..., Any], x: Tensors) -> int | None:
    """Counts the different perturbations, by the function `perturb_func.positions`; None where that does not exist."""
    settings: dict[str, Any] = {}
    while isinstance(perturb_func, functools.partial):
        settings, perturb_func = perturb_func.keywords | settings, perturb_func.func
    count = getattr(perturb_func, "positions", None)
    return None if count is None or "position" in settings else count(x, **settings)


def gaussian_settings(perturb_func: Any) -> dict[str, Any] | None:
    """The settings of `captum_ext.perturbations.gaussian`, also in `functools.partial`; None for other functions."""
    function = configured(perturb_func)
    is_gaussian = getattr(function, "is_gaussian", False) and not hasattr(function, "__wrapped__")
    return arguments_of_partial(perturb_func) if is_gaussian else None


def as_copies(value: Any, rows: Tensors, name: str, *least: torch.dtype) -> Tensors:
    """Checks that there is a tensor of the right shape for each input, and converts to its floating point type.

    If the type of an input is smaller than `least`, it converts to that.
    """
    tensors = (value,) if isinstance(value, Tensor) else value
    if not isinstance(tensors, (tuple, list)) or not all(isinstance(t, Tensor) for t in tensors):
        raise TypeError(f"`perturb_func` must return {name} as a tensor or a tuple of tensors, got {describe(value)}.")
    if len(tensors) != len(rows):
        raise ValueError(
            f"`perturb_func` must return {name} for each of the {len(rows)} tensors of `inputs`, got {len(tensors)}."
        )
    check_real(f"`perturb_func` must return {name} of", *tensors)
    for t, x in zip(tensors, rows):
        check_has_values("perturb_func", t, x)
        if t.shape != x.shape:
            raise ValueError(
                f"`perturb_func` must return {name} of the shape it was given, {shape(x)}, got {shape(t)}."
            )
    types = (functools.reduce(torch.promote_types, least, x.dtype) for x in rows)
    moved = zip(tensors, rows, types)
    return tuple(t.detach().to(dtype) if x.is_floating_point() else t.detach() for t, x, dtype in moved)


def check_perturb_func(perturb_func: Any) -> None:
    check_function("perturb_func", perturb_func, "a function of the inputs")


def takes_radius(perturb_func: Callable[..., Any]) -> bool:
    """Whether the function has a second positional argument, which then gets the radius, as in Captum."""
    try:
        parameters = inspect.signature(perturb_func).parameters.values()
    except (TypeError, ValueError):  # built-ins without a signature
        return False
    return sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters) > 1


def takes(perturb_func: Any, name: str) -> bool:
    """Whether the function takes an argument of this name."""
    try:
        parameters = inspect.signature(perturb_func).parameters
    except (TypeError, ValueError):  # no function, or a built-in without a signature
        return False
    return name in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())
