"""Seeds of examples, and the global generators for what draws from them: captum's methods, a user's `perturb_func`."""

from __future__ import annotations

import functools
import random
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def example_seeds(seed: int, examples: Sequence[int]) -> list[int]:
    """One seed for each example, from its place in the data set."""
    return [_mixed(seed, e) for e in examples]


@contextmanager
def seeded(seed: int, first_example: int, name: str, device: torch.device) -> Iterator[None]:
    """Torch, numpy and random start from (seed, first example of the batch, name); their states are given back."""
    states = np.random.get_state(), random.getstate()
    number = _mixed(seed, first_example, zlib.crc32(name.encode()))
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.default_generator.manual_seed(
            number
        )  # torch.manual_seed would note the stack for devices that nobody uses, a millisecond
        if device.type == "cuda":
            torch.cuda.default_generators[device.index or 0].manual_seed(number)
        np.random.seed(number % 2**32)
        random.seed(number)
        try:
            yield
        finally:
            np.random.set_state(states[0])
            random.setstate(states[1])


def generator_states(device: torch.device) -> list[Any]:
    """Of torch, numpy and random: two are equal if nothing was drawn in between."""
    torch_states = [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])]
    numpy_state: Any = np.random.get_state()
    return [*(s.numpy().tobytes() for s in torch_states), numpy_state[1].tobytes(), *numpy_state[2:], random.getstate()]


def per_example(
    perturb_func: Callable[..., Any], seed: int, examples: Sequence[int], name: str, device: torch.device
) -> Callable[..., Any]:
    """The same `perturb_func` with draws that belong to an example and its copy's number, not to the batch or the limit.

    It is called with the copies of all `examples`, an example's side by side, perhaps in several calls; here each copy draws for itself.
    """
    done = [0]

    @functools.wraps(perturb_func)
    def perturb_each(rows: Any, *extra: Any, **told: Any) -> Any:
        copies = len(_first(rows)) // len(examples)
        results = []
        for row in range(len(examples) * copies):
            example, copy = examples[row // copies], done[0] + row % copies
            with seeded(_mixed(seed, copy), example, name, device):
                own = {name: _row(value, row, len(examples) * copies) for name, value in told.items()}
                results.append(perturb_func(*(_row(a, row, len(examples) * copies) for a in (rows, *extra)), **own))
        done[0] += copies
        return _joined(results)

    return perturb_each


def _first(value: Any) -> torch.Tensor:
    return value[0] if isinstance(value, tuple) else value


def _row(value: Any, row: int, rows: int) -> Any:
    if isinstance(value, tuple):
        return tuple(_row(v, row, rows) for v in value)
    return value[row : row + 1] if isinstance(value, torch.Tensor) and value.dim() and len(value) == rows else value


def _joined(results: list[Any]) -> Any:
    if isinstance(results[0], (tuple, list)):
        return tuple(map(_joined, map(list, zip(*results))))
    return torch.cat(results)


def _mixed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)
