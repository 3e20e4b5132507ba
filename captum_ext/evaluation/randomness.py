"""Seeds of examples, also for what draws from global generators: some of Captum's methods, a user's `perturb_func`."""

from __future__ import annotations

import functools
import random
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from .._core.devices import generators_of
from .._core.estimates import generator_states
from .._core.guard import replaced


def seeds_by_index(seed: int, indices: Sequence[int]) -> list[int]:
    """One seed for each example, from its index in the data set."""
    return [_mixed(seed, i) for i in indices]


@contextmanager
def seeded(seed: int, first_example: int, name: str, device: torch.device) -> Iterator[None]:
    """The global generators of torch, numpy and Python start from (seed, first example of the batch, name).

    Afterwards they have the states that they had before, whatever was raised meanwhile.
    """
    number = _mixed(seed, first_example, zlib.crc32(name.encode()))
    of_torch = generators_of(device)
    states, of_numpy, of_python = [g.get_state() for g in of_torch], np.random.get_state(), random.getstate()
    try:
        _seed_all(number, of_torch)
        yield
    finally:
        for generator, state in zip(of_torch, states):
            generator.set_state(state)
        np.random.set_state(of_numpy)
        random.setstate(of_python)


def _seed_all(number: int, of_torch: list[torch.Generator]) -> None:
    # torch.manual_seed would take a millisecond to note the stack for devices that nobody uses
    for generator in of_torch:
        generator.manual_seed(number)
    np.random.seed(number % 2**32)
    random.seed(number)


def per_example(
    perturb_func: Callable[..., Any],
    seed: int,
    examples: Sequence[int],
    name: str,
    device: torch.device,
    drawing_nothing: set[str],
) -> Callable[..., Any]:
    """The same `perturb_func`, with draws that depend on the example and the number of its copy, not on batch or limit.

    It is called with the copies of all `examples`, those of one example side by side, perhaps in several calls; inside,
    each copy has a call of its own if it draws from global generators. If it does not, it is called as Captum calls it:
    a generator of its own may begin anew in each call. `drawing_nothing` has the names where that was seen.
    """
    done = [0]

    def drew(call: Callable[[], Any]) -> tuple[Any, bool]:
        before = generator_states(device)
        return call(), generator_states(device) != before

    def of_copies(rows: Any, *extra: Any, **named: Any) -> tuple[Any, bool]:
        all_rows = len(_first(rows))
        copies, results, drawn = all_rows // len(examples), [], False
        for row in range(all_rows):
            given = [_row(a, row, all_rows) for a in (rows, *extra)]
            own = {key: v if key == "frozen" else _row(v, row, all_rows) for key, v in named.items()}
            given, own = replaced(torch.clone, (given, own))  # as the function may write into what all copies get
            call = functools.partial(perturb_func, *given, **own)
            with seeded(_mixed(seed, done[0] + row % copies), examples[row // copies], name, device):
                result, drawn = (call(), True) if drawn else drew(call)  # to look at the generators takes time
            # Copied, because the function may return the same memory again with the values of its next call.
            results.append(replaced(torch.clone, result))
        return _joined(results), drawn

    def in_one_call(*args: Any, **named: Any) -> tuple[Any, bool]:
        args, named = replaced(torch.clone, (args, named))  # each copy has a call of its own after this one if it draws
        with seeded(seed, examples[0], name, device):
            return drew(functools.partial(perturb_func, *args, **named))

    def result_of(*args: Any, **named: Any) -> Any:
        if name not in drawing_nothing:
            result, drawn = of_copies(*args, **named)
            if drawn:
                return result
            drawing_nothing.add(name)
        result, drawn = in_one_call(*args, **named)
        return of_copies(*args, **named)[0] if drawn else result

    @functools.wraps(perturb_func)
    def perturb(rows: Any, *extra: Any, **named: Any) -> Any:
        result = result_of(rows, *extra, **named)
        done[0] += len(_first(rows)) // len(examples)
        return result

    return perturb


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
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]) >> 1
