from __future__ import annotations

import gc
import weakref
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
import torch

from captum_ext._core.sharing import forget, remember, shared, shared_as, sharing, wanted

CALLS = []


@shared
def made(*args, **kwargs):
    CALLS.append((args, kwargs))
    return object()


@dataclass(frozen=True)
class Setting:
    number: float


def module():
    return torch.nn.Linear(1, 1)


x, model = torch.ones(3), module()
SAME = {
    "the same tensor": (x, x),
    "the same model": (model, model),
    "equal settings": (("morf", 33, None, 0.5), ("morf", 33, None, 0.5)),
    "targets made anew": (torch.tensor([1, 2]), torch.tensor([1, 2])),
    "targets as lists": ([1, (2, 3)], [1, (2, 3)]),
    "seeds of numpy": (np.int64(3), np.int64(3)),
    "mappings of the same tensors": ({"a": x, "b": (x, x)}, {"a": x, "b": (x, x)}),
    "partials of equal settings": (partial(torch.softmax, dim=1), partial(torch.softmax, dim=1)),
    "equal records": (Setting(0.5), Setting(0.5)),
    "methods of the same object": (model.forward, model.forward),
}
OTHER = {
    "tensors of the same values": (torch.ones(3), torch.ones(3)),
    "integer tensors with more axes": (torch.ones(2, 2).long(), torch.ones(2, 2).long()),
    "models": (module(), module()),
    "functions": (lambda: 0, lambda: 0),
    "settings": (33, 32),
    "types of a setting": (1, True),
    "targets": (torch.tensor([1, 2]), torch.tensor([1, 3])),
    "types of a target": (torch.tensor([1, 2]), torch.tensor([1, 2]).int()),
    "a tensor and a tuple of it": (x, (x,)),
    "names of a mapping": ({"a": x}, {"b": x}),
    "an order of a mapping": ({"a": x, "b": model}, {"b": model, "a": x}),
    "partials of other settings": (partial(torch.softmax, dim=1), partial(torch.softmax, dim=0)),
    "records": (Setting(0.5), Setting(0.25)),
    "arrays": (np.ones(2), np.ones(2)),
    "tensors without values": (torch.ones(1, device="meta").long(), torch.ones(1, device="meta").long()),
}


@pytest.mark.parametrize(("one", "other"), SAME.values(), ids=SAME)
def test_equal_calls_give_the_same_object_and_run_once(one, other):
    with sharing():
        assert made(one, key=one) is made(other, key=other)


@pytest.mark.parametrize(("one", "other"), OTHER.values(), ids=OTHER)
def test_calls_that_differ_give_different_objects(one, other):
    with sharing():
        assert made(one) is not made(other)
        assert made(key=one) is not made(key=other)
        assert made(one) is made(one)


def test_outside_nothing_is_shared():
    assert made(x) is not made(x)
    with sharing():
        inside = made(x)
    assert made(x) is not inside
    with sharing():
        assert made(x) is not inside


def test_an_inner_one_starts_anew_and_leaves_the_outer_one_as_it_was():
    with sharing():
        outer = made(x)
        with sharing():
            assert made(x) is not outer
        assert made(x) is outer


def test_what_was_forgotten_is_made_anew():
    with sharing():
        before = made(x)
        forget()
        assert made(x) is not before
    forget()  # with nothing shared it does nothing


def test_a_tensor_is_kept_alive_only_while_it_is_open():
    """Another tensor in its place would be taken for it."""
    tensor = torch.ones(5)
    alive = weakref.ref(tensor)
    with sharing():
        shared(lambda value: 0)(tensor)
        del tensor
        assert alive() is not None
    gc.collect()
    assert alive() is None


def test_an_error_is_not_shared():
    failures = []

    @shared
    def failing():
        failures.append(1)
        raise ValueError("once more")

    with sharing():
        for _ in range(2):
            with pytest.raises(ValueError, match="once more"):
                failing()
    assert len(failures) == 2


def test_the_function_keeps_its_name():
    assert made.__name__ == "made"


def test_what_was_made_elsewhere_is_remembered():
    remember(("key", x), "lost")  # with nothing shared it does nothing
    with sharing():
        remember(("key", x), "given")
        assert shared_as(("key", x), object) == "given"
        assert shared_as(("key", torch.ones(3)), object) != "given"


def test_measures_are_those_of_the_block_and_of_a_kind():
    assert wanted(Setting) == []
    with sharing([Setting(1), "else", Setting(2), Setting(1)]):
        assert wanted(Setting) == [Setting(1), Setting(2)]
        with sharing():
            assert wanted(Setting) == []
        assert wanted(str) == ["else"]
    assert wanted(Setting) == []
