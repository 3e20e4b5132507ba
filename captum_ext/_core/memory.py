"""How many rows a call of the model gets where the caller sets no limit, and what happens if memory runs out."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from .arguments import Tensors
from .checks import explained
from .guard import frames_of_package, versions
from .home import HOME

# On a CPU a call is fast while its rows fit into the caches, and slow if it has too few of them.
ELEMENTS, FEWEST, MOST = 2**19, 4, 1024
FEWEST_WHOLE = 128  # of a model with a linear layer of all elements of a row, as each call reads all weights
ON_ACCELERATOR = 64
EXPLAINED, EXPLAINED_ELEMENTS = 64, 2**24  # the most rows and elements of perturbed copies made or explained at a time
WIDTH = 768  # of a token id inside a model whose embedding cannot be found
# What torch's errors say if a CPU, or a device without an error type of its own, has no more memory.
SIGNS_OF_NO_MEMORY = ("DefaultCPUAllocator", "out of memory")


def rows_per_call(forward_func: Any, inputs: Tensors) -> int:
    """Returns the most rows in a call of the model that metrics make without a limit.

    On a CPU it depends on the elements of a row and on the model alone, so that the last bits of scores do not depend
    on the batch.
    """
    if _device_type(forward_func, inputs) != "cpu":
        return max(len(inputs[0]), ON_ACCELERATOR)
    elements = row_elements(forward_func, inputs)
    fewest = min(FEWEST_WHOLE, EXPLAINED_ELEMENTS // elements) if _reads_rows_whole(forward_func, elements) else FEWEST
    return min(max(ELEMENTS // elements, fewest, FEWEST), MOST)


def rows_explained(inputs: Tensors) -> int:
    """Returns the most rows that an explanation gets without a limit: those of the batch, or more if rows are small."""
    return max(len(inputs[0]), min(max(rows_made(inputs), FEWEST), EXPLAINED))


def rows_made(inputs: Tensors) -> int:
    """Returns how many perturbed copies are made at a time, where no caller's function needs all at once."""
    return EXPLAINED_ELEMENTS // max(sum(x[0].numel() for x in inputs), 1)


def row_elements(forward_func: Any, inputs: Tensors) -> int:
    """Returns the number of elements of a row of inputs, where a token id counts as many as its embedding has.

    A `forward_func` whose rows are larger inside, such as prompts, says so by its own `row_elements`.
    """
    own: int | None = getattr(forward_func, "row_elements", None)
    if own is not None:
        return own
    of_ids = 1 if all(x.is_floating_point() for x in inputs) else width(forward_func, default=1)
    return sum(x[0].numel() * (1 if x.is_floating_point() else of_ids) for x in inputs)


def width(model: Any, default: int) -> int:
    """Returns the size of the model's largest embedding, or `default` for a module that has none."""
    if not isinstance(model, nn.Module):
        return WIDTH
    return max((m.embedding_dim for m in model.modules() if isinstance(m, nn.Embedding)), default=default)


def _reads_rows_whole(model: Any, elements: int) -> bool:
    """Whether a linear layer takes all elements of a row at once."""
    layers = model.modules() if isinstance(model, nn.Module) else ()
    return any(isinstance(layer, nn.Linear) and layer.in_features == elements for layer in layers)


def _device_type(forward_func: Any, inputs: Tensors) -> str:
    """Where the model computes: its parameters' device, or else that of its inputs."""
    own = next(forward_func.parameters(), None) if isinstance(forward_func, nn.Module) else None
    if own is not None:
        return own.device.type
    return (HOME.get() or inputs[0].device).type


class ExplainedWithinMemory:
    """Calls an explanation as Captum does; once memory runs out, with fewer copies of the rows at a time inside it."""

    def __init__(self, explanation: Any):
        self.explanation = explanation
        self.fewer: dict[str, int] = {}  # what was set since memory ran out

    def __call__(self, function: Callable[..., Any], inputs: Any, kwargs: dict[str, Any], name: str) -> Any:
        """Calls `function`, which calls the explanation."""
        before = versions(inputs)
        try:
            return explained(function, inputs, kwargs | self.fewer, name)
        except RuntimeError as error:
            fewer = self._still_fewer(inputs, kwargs | self.fewer)
            if not is_out_of_memory(error) or not fewer or versions(inputs) != before:
                raise
        self.fewer |= fewer
        settings = " and ".join(f"`{setting}={number}`" for setting, number in fewer.items())
        warn_of_memory(f"{settings} in {name}", "it")
        return self(function, inputs, kwargs, name)

    def _still_fewer(self, inputs: Any, kwargs: dict[str, Any]) -> dict[str, int]:
        """The arguments that the explanation takes and that can still be lowered, with the least that works."""
        rows = len(inputs[0] if isinstance(inputs, tuple) else inputs)
        least = {"internal_batch_size": rows, "nt_samples_batch_size": 1, "perturbations_per_eval": 1}
        now = {name: kwargs.get(name, p.default) for name, p in _parameters(self.explanation).items() if name in least}
        return {name: least[name] for name, value in now.items() if value is None or value > least[name]}


def _parameters(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):  # built-ins without a signature
        return {}


def is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, torch.cuda.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in SIGNS_OF_NO_MEMORY)


def warn_of_memory(smaller: str, setting: str) -> None:
    warnings.warn(
        f"Out of memory: going on with {smaller}. Set {setting} to avoid this.", stacklevel=frames_of_package()
    )
