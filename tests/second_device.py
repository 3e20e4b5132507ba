"""A second type of device, `sim`, which a CPU carries: what a GPU refuses is refused, and what makes it wait is noted.

Its tensors keep their values in tensors of the CPU that nothing but the operations below reaches. PyTorch has the name
of a type of device to spare for backends outside of it, and makes it usable from Python.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.utils import backend_registration
from torch.utils._python_dispatch import return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map_only

TYPE = "sim"
CPU = torch.device("cpu")
aten = torch.ops.aten
COPIES = (aten.copy_.default, aten._to_copy.default)  # from one device to another
INDEXED = (aten.index.Tensor, aten.index_put_.default, aten.index_put.default)  # by tensors that may be on the CPU
DEPENDS_ON_VALUES = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}
WAITS: list[Counter[str]] = []  # a count for each `waits` that is entered


class OnDevice(Tensor):
    """A tensor on one of the devices of this type."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, values: Tensor, device: torch.device) -> OnDevice:
        return Tensor._make_wrapper_subclass(
            cls, values.shape, values.stride(), values.storage_offset(), dtype=values.dtype, device=device
        )

    def __init__(self, values: Tensor, device: torch.device) -> None:
        self.values_there = values

    def __tensor_flatten__(self) -> tuple[list[str], torch.device]:  # for `module.to`, which swaps its parameters
        return ["values_there"], self.device

    @staticmethod
    def __tensor_unflatten__(parts: dict[str, Tensor], device: torch.device, *_: Any) -> OnDevice:
        return OnDevice(parts["values_there"], device)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _loaded, (self.values_there, self.device, self.requires_grad)

    def __deepcopy__(self, memo: Any) -> OnDevice:  # torch's own copies the storage, which is empty
        copy = _loaded(self.values_there.clone(), self.device, self.requires_grad)
        copy.__dict__ |= {name: value for name, value in self.__dict__.items() if name != "values_there"}
        return memo.setdefault(id(self), copy)

    def __repr__(self, **_: Any) -> str:
        return f"{self.values_there!r} on {self.device}"

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def numpy(self, *, force: bool = False) -> Any:
        if force:
            return self.detach().cpu().numpy()
        raise TypeError(f"can't convert {self.device} device type tensor to numpy. Use Tensor.cpu() first.")

    def data_ptr(self) -> int:
        return self.values_there.data_ptr()

    @classmethod
    def __torch_dispatch__(cls, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return on_the_cpu(operation, args, kwargs or {})


def _loaded(values: Tensor, device: torch.device, requires_grad: bool) -> OnDevice:
    return OnDevice(values, device).requires_grad_(requires_grad)


def on_the_cpu(operation: Any, args: Any, kwargs: Any) -> Any:
    """Computes an operation of which some tensors are on the device, or which makes one there."""
    given = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
    target = _device_of_results(kwargs.get("device"), given)
    _refuse_mixed(operation, given)
    if WAITS and _waits(operation, args, {t.device.type for t in given} | {target.type}):
        WAITS[-1][f"{operation} at {_place()}"] += 1
    if kwargs.get("generator") is not None:
        raise RuntimeError(f"Expected a '{TYPE}' device type for generator but found 'cpu'")
    if "device" in kwargs:
        kwargs = kwargs | {"device": CPU if target.type == TYPE else target}
    values, named = tree_map_only(OnDevice, lambda t: t.values_there, (args, kwargs))
    draws = torch.Tag.nondeterministic_seeded in operation.tags and target.type == TYPE
    with _drawing(target) if draws else nullcontext():
        out = operation(*values, **named)
    if operation is aten.copy_.default:
        return args[0]
    if target.type != TYPE:
        return out
    out = tree_map_only(Tensor, lambda t: OnDevice(t, target), out)
    return return_and_correct_aliasing(operation, args, kwargs, out)


def _device_of_results(named: Any, given: list[Tensor]) -> torch.device:
    device = next(t.device for t in given if isinstance(t, OnDevice)) if named is None else torch.device(named)
    return torch.device(TYPE, device.index or 0) if device.type == TYPE else device


def _refuse_mixed(operation: Any, given: list[Tensor]) -> None:
    """As a GPU, which takes from the CPU what it copies, indices, and in element-wise operations single numbers."""
    if operation in COPIES or (operation in INDEXED and isinstance(given[0], OnDevice)):
        return
    single = torch.Tag.pointwise in operation.tags
    if len(devices := {t.device for t in given if t.dim() or isinstance(t, OnDevice) or not single}) > 1:
        raise RuntimeError(f"Expected all tensors to be on the same device, but found {devices} in {operation}.")


def _waits(operation: Any, args: Any, types: set[str]) -> bool:
    """Whether the host waits: for a value, for a size that depends on values, or for a copy from or to the device.

    A copy to the device may be told not to wait (`non_blocking`); one to the host would then have no values yet.
    """
    if operation in COPIES:
        to_device = operation is aten.copy_.default and isinstance(args[0], OnDevice)
        return len(types) > 1 and not (to_device and args[2:] == (True,))
    if operation in INDEXED:
        indices = [t for t in args[1] if t is not None]
        return any(t.dtype in (torch.bool, torch.uint8) or not isinstance(t, OnDevice) for t in indices)
    return bool(DEPENDS_ON_VALUES & set(operation.tags))


def _place() -> str:
    """Where in the package the operation is called, or else in the tests."""
    frame, places = sys._getframe(), []
    while frame := frame.f_back:
        places.append(f"{frame.f_code.co_filename}:{frame.f_lineno}")
    own = [place for place in places if "/captum_ext/" in place] or [p for p in places if "/torch/" not in p]
    return own[0].rpartition("/captum_ext/")[2]


@contextmanager
def waits() -> Iterator[Counter[str]]:
    """Counts the operations after which the host waits for the device, by their place."""
    WAITS.append(Counter())
    try:
        yield WAITS[-1]
    finally:
        WAITS.pop()


# ---- what PyTorch asks a type of device for


class Backend:
    """The module `torch.sim`: two devices, each with a generator."""

    def __init__(self) -> None:
        self.default_generators = (torch.Generator(), torch.Generator())

    def is_available(self) -> bool:
        return True

    def is_initialized(self) -> bool:
        return True

    def _is_in_bad_fork(self) -> bool:
        return False

    def device_count(self) -> int:
        return len(self.default_generators)

    def current_device(self) -> int:
        return 0

    def manual_seed_all(self, seed: int) -> None:
        for generator in self.default_generators:
            generator.manual_seed(seed)

    def manual_seed(self, seed: int) -> None:
        self.default_generators[0].manual_seed(seed)

    def get_rng_state(self, device: Any = TYPE) -> Tensor:
        return self.default_generators[torch.device(device).index or 0].get_state()

    def set_rng_state(self, state: Tensor, device: Any = TYPE) -> None:
        self.default_generators[torch.device(device).index or 0].set_state(state)


@contextmanager
def _drawing(device: torch.device) -> Iterator[None]:
    """Draws come from the device's generator in place of the CPU's."""
    own, host = torch.sim.default_generators[device.index], torch.default_generator
    of_host = host.get_state()
    host.set_state(own.get_state())
    try:
        yield
    finally:
        own.set_state(host.get_state())
        host.set_state(of_host)


def _copied(source: Tensor, target: Tensor, non_blocking: bool = False) -> Tensor:
    on_the_cpu(aten.copy_.default, (target, source), {})
    return target


def _registered() -> torch.library.Library:
    """Has to come before the first backward pass of the process, which starts a thread for each device."""
    backend_registration._setup_privateuseone_for_python_backend(TYPE, backend_module=Backend())
    library = torch.library.Library("aten", "IMPL")
    for operation in (aten.empty.memory_format, aten.empty_strided.default):
        makes = lambda *args, made_by=operation, **kwargs: on_the_cpu(made_by, args, kwargs)  # noqa: E731
        library.impl(operation.name(), makes, "PrivateUse1")
    library.impl("_copy_from", _copied, "PrivateUse1")  # what `torch.tensor(..., device="sim")` ends in
    return library


IS_THERE = (  # in newer versions of PyTorch, for one backend at a time
    hasattr(backend_registration, "_setup_privateuseone_for_python_backend")
    and torch._C._get_privateuse1_backend_name() == "privateuseone"
)
LIBRARY = _registered() if IS_THERE else None  # kernels are gone with it
DEVICES = [device for device, there in (("cuda", torch.cuda.is_available()), (TYPE, IS_THERE)) if there]
