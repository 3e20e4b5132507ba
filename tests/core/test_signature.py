from __future__ import annotations

import inspect

import pytest

from captum_ext._core.signature import arguments_like, arguments_of


def model(a, b=1, c=2, *, d=3):
    return a, b, c, d


@arguments_of(model)
def same(a, **rest):
    return a, rest


@arguments_like(model, without=("c",))
def changed(a, b, share=0.5, **rest):
    return a, b, share, rest


def test_the_signature_is_that_of_the_model():
    assert inspect.signature(same) == inspect.signature(model)
    assert same(0, 5, d=4) == (0, {"b": 5, "c": 2, "d": 4})


def test_arguments_are_left_out_added_by_keyword():
    assert str(inspect.signature(changed)).replace("'", "") == "(a, b=1, *, d=3, share=0.5)"
    assert changed(0) == (0, 1, 0.5, {"d": 3})
    assert changed(0, 9, share=2, d=5) == (0, 9, 2, {"d": 5})


@pytest.mark.parametrize("wrong", [{"c": 1}, {"e": 1}, {}])
def test_an_argument_that_does_not_fit_is_named_with_the_function(wrong):
    with pytest.raises(TypeError, match=rf"changed\(\): .*'{next(iter(wrong), 'a')}'"):
        changed(**({"a": 0, **wrong} if wrong else {}))
