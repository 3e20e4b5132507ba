"""Random numbers that belong to an example: they do not depend on its batch, the limit, the device or the process.

Each example has a seed, and each of its draws has a seed made from it. All numbers are drawn on the CPU and then moved.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .arguments import Tensors, as_sequence
from .checks import check_count, check_floating
from .devices import sent

SeedType = None | int | Sequence[int] | Tensor


def example_seeds(seed: SeedType, batch: int) -> list[int]:
    """Returns one seed per example: those given, or made from one number and the example's place in the batch."""
    if seed is None:
        seed = int(torch.randint(2**62, (), device="cpu"))  # so that torch.manual_seed makes it repeatable
    seeds, single = as_sequence("seed", seed)
    seeds = [check_count("seed", s, least=0, most=math.inf) for s in seeds]
    if single:
        return [_of_64_bits([seeds[0], b]) for b in range(batch)]
    if len(seeds) != batch:
        raise ValueError(f"`seed` must be an integer or have one for each of the {batch} examples, got {len(seeds)}.")
    return [s if s < 2**64 else _of_64_bits([s]) for s in seeds]


def _of_64_bits(numbers: list[int]) -> int:
    """Makes one number of less than 64 bits, which a generator takes, of numbers of any size."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]) >> 1


def draw_seeds(seed: SeedType, batch: int, draws: int) -> Tensor:
    """`[B, draws]`: a seed for each draw of each example. More draws begin with those of fewer draws."""
    streams = generators(example_seeds(seed, batch))
    return torch.stack([torch.randint(2**62, (draws,), generator=g, device="cpu") for g in streams])


def generators(seeds: Iterable[int]) -> Iterator[torch.Generator]:
    """Yields a generator for each seed, to draw from before the next one is asked for.

    It is always the same one with another seed, as a new one for each of many small draws takes longer than the draws.
    """
    return map(torch.Generator("cpu").manual_seed, seeds)


def uniform(seeds: Tensor, like: Tensors, low: float, high: float) -> Tensors:
    """Draws uniform noise, a row for each of `seeds`, in the shape and type and on the device of the tensors `like`."""
    return tuple(_like(x, e.mul_(high - low).add_(low)) for e, x in zip(_noise(seeds, like, Tensor.uniform_), like))


def normal(seeds: Tensor, like: Tensors, mean: float, std: float) -> Tensors:
    """Draws Gaussian noise, a row for each of `seeds`."""
    return tuple(_like(x, e.mul_(std).add_(mean)) for e, x in zip(_noise(seeds, like, Tensor.normal_), like))


def _like(x: Tensor, noise: Tensor) -> Tensor:
    return sent(noise.to(x.dtype), x.device)


def _noise_type(x: Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def _noise(seeds: Tensor, like: Tensors, draw: Callable[..., Tensor]) -> Tensors:
    """Draws on the CPU, a row for each seed. The tensors of a row are drawn one after the other from one generator."""
    check_floating(like, "noise is drawn in their type")
    noise = tuple(torch.empty(len(seeds), *x.shape[1:], dtype=_noise_type(x), device="cpu") for x in like)
    for g, *row in zip(generators(seeds.tolist()), *noise):
        for e in row:
            draw(e, generator=g)
    return noise


def takes_seed(function: Any) -> bool:
    """Whether a function has an argument `seed` that defaults to None, so that a seed per row is passed to it."""
    try:
        parameter = inspect.signature(function).parameters.get("seed")
    except (TypeError, ValueError):  # no function, or a built-in without a signature
        return False
    return parameter is not None and parameter.default is None
