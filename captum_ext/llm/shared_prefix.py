"""The keys and values of a prefix that all rows of a batch share, computed once and repeated over the rows."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

CACHES = ("cache", "past_key_values")  # the argument's name from transformers 5.24 on, and before


def argument_names(model: nn.Module) -> Collection[str]:
    """The names of the arguments that the model takes, seen through the wrapper of an adapter."""
    inner = getattr(model, "get_base_model", lambda: model)()
    return inspect.signature(inner.forward).parameters


def cache_argument(model: nn.Module) -> str | None:
    """What the model calls its cache, as an argument and in its output; None if it has none."""
    return next((name for name in CACHES if name in argument_names(model)), None)


def common_prefix(sequences: Sequence[Tensor]) -> int:
    """How many leading tokens are the same in all sequences. At least one token of each is left over."""
    shortest = min(map(len, sequences)) - 1
    leading = torch.stack([s[:shortest] for s in sequences])
    return int((leading == leading[:1]).all(0).long().cumprod(0).sum())


def cache_of(output: Any, name: str, length: int) -> Any:
    """The cache in a model's output for one row; None if it is of a kind that cannot be repeated over rows.

    It can if it has the keys and values of all `length` tokens, and nothing else. Sliding windows keep fewer, and
    recurrent models keep a state.
    """
    cache = output.get(name) if isinstance(output, Mapping) else getattr(output, name, None)
    pairs = _pairs(cache)
    whole = [t.dim() == 4 and t.shape[0] == 1 and t.shape[2] == length for pair in pairs for t in pair]
    return cache if pairs and all(whole) else None


def repeated(cache: Any, rows: int) -> Any:
    """A copy of the cache for so many rows. The cache itself is left as it is."""
    if isinstance(cache, (tuple, list)):
        return tuple(tuple(t.expand(rows, -1, -1, -1) for t in pair) for pair in cache)
    cache = copy.deepcopy(cache)
    for layer in cache.layers:
        layer.keys, layer.values = (t.expand(rows, -1, -1, -1) for t in (layer.keys, layer.values))
    return cache


def _pairs(cache: Any) -> list[tuple[Tensor, ...]]:
    """The keys and values of each layer; nothing if a layer has anything else."""
    if isinstance(cache, (tuple, list)):
        layers = [tuple(layer) if isinstance(layer, (tuple, list)) else () for layer in cache]
        return layers if all(len(pair) == 2 and _are_tensors(pair) for pair in layers) else []
    layers = [_pair(layer) for layer in getattr(cache, "layers", [])]
    return layers if all(layers) else []


def _pair(layer: Any) -> tuple[Tensor, ...]:
    state = {name for name, v in vars(layer).items() if isinstance(v, (Tensor, list, dict))}
    plain = state == {"keys", "values"} and not getattr(layer, "is_sliding", False)
    return (layer.keys, layer.values) if plain and _are_tensors((layer.keys, layer.values)) else ()


def _are_tensors(values: Collection[Any]) -> bool:
    return all(isinstance(v, Tensor) for v in values)
