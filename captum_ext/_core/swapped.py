"""A model with copies in place of its tensors, which may be changed; afterwards it has the same objects as before."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from .checks import is_exported
from .guard import replaced

_locks: WeakKeyDictionary[nn.Module, Any] = WeakKeyDictionary()
_one_lock_per_model = threading.Lock()


def check_swappable(forward_func: nn.Module) -> None:
    """Refuses modules whose code holds their parameters, or whose layers are gone."""
    for module in forward_func.modules():
        scripted = isinstance(module, torch.jit.ScriptModule)
        if scripted or is_exported(module):
            made = "scripted, traced or frozen" if scripted else "exported"
            raise TypeError(
                "`forward_func` must be a module whose layers and parameters can be changed, "
                f"got {type(module).__name__}, which is {made}. Give the module that it was made from."
            )


@contextmanager
def swapped(model: nn.Module, and_then: Callable[[Tensor], Tensor] = lambda copied: copied) -> Iterator[None]:
    """Within the block, the model and its modules have copies in place of all their tensors.

    These are parameters, buffers and other attributes, such as an activation that a hook keeps. What is one tensor, or
    shares memory, in several places is so among the copies. Afterwards every attribute is the object that it was,
    whatever was set or written to in the block. Another thread that asks for the same model waits.

    Args:
        and_then: what else is done to each copy.
    """
    with _lock_of(model):
        before = [(module, dict(vars(module))) for module in model.modules()]
        copies = _Copies(and_then)
        try:
            for module, attributes in before:
                vars(module).update({name: replaced(copies, value) for name, value in attributes.items()})
            yield
        finally:
            for module, attributes in before:
                for name in vars(module).keys() - attributes.keys():
                    del vars(module)[name]
                vars(module).update(attributes)


@contextmanager
def own_hooks(model: nn.Module) -> Iterator[None]:
    """After the block, the model and its modules have the hooks that they had before it."""
    attributes = (attribute for module in model.modules() for attribute in vars(module).items())
    before = [(hooks, dict(hooks)) for name, hooks in attributes if "_hooks" in name and isinstance(hooks, dict)]
    try:
        yield
    finally:
        for hooks, own in before:
            if hooks.keys() != own.keys():
                hooks.clear()
                hooks.update(own)


class _Copies:
    """A copy for each tensor: the same one for the same tensor, and in shared memory where the tensors share theirs."""

    def __init__(self, and_then: Callable[[Tensor], Tensor]):
        self.and_then, self.made = and_then, dict[int, Tensor]()
        self.memo: dict[int, Any] = {}

    def __call__(self, tensor: Tensor) -> Tensor:
        if id(tensor) not in self.made:
            with torch.inference_mode(False), torch.no_grad():
                copied = self.and_then(copy.deepcopy(tensor.detach(), self.memo))
                gradients = tensor.requires_grad and tensor.is_leaf
                is_parameter = isinstance(tensor, nn.Parameter)
                self.made[id(tensor)] = (
                    nn.Parameter(copied, gradients) if is_parameter else copied.requires_grad_(gradients)
                )
        return self.made[id(tensor)]


def _lock_of(model: nn.Module) -> Any:
    with _one_lock_per_model:
        return _locks.setdefault(model, threading.RLock())
