from __future__ import annotations

import inspect

import pytest

from captum_ext._core.signature import arguments_like


def model(a, b=1, c=2, max_examples_per_batch=None, *, d=3, **further):
    return a, b, c, d


@arguments_like(model)
def same(a, **rest):
    return a, rest


@arguments_like(model, without=("c",), after={"placed": "max_examples_per_batch"}, d=4)
def changed(needed, b=5, share=0.5, placed=0, *, own=6, **rest):
    return needed, b, share, placed, own, rest


def signature_of(function):
    return str(inspect.signature(function)).replace("'", "")


def test_the_signature_is_that_of_the_model():
    assert inspect.signature(same) == inspect.signature(model)
    assert same(0, 5, d=4) == (0, {"b": 5, "c": 2, "max_examples_per_batch": None, "d": 4})


def test_own_arguments_stand_where_the_package_has_their_kind():
    assert (
        signature_of(changed)
        == "(a, needed, b=5, share=0.5, max_examples_per_batch=None, placed=0, *, d=4, own=6, **further)"
    )


def test_the_model_comes_first():
    @arguments_like(model)
    def of_a_model(forward_func, **rest): ...

    assert signature_of(of_a_model).startswith("(forward_func, a, b=1")


def test_the_function_gets_all_arguments_by_name_with_defaults_filled_in():
    assert changed(0, 1) == (1, 5, 0.5, 0, 6, {"a": 0, "max_examples_per_batch": None, "d": 4})
    assert changed(0, 1, 9, 0.7, 3, d=5, extra=7) == (
        1,
        9,
        0.7,
        0,
        6,
        {"a": 0, "max_examples_per_batch": 3, "d": 5, "extra": 7},
    )


@pytest.mark.parametrize("wrong", [{"c": 1}, {"e": 1}, {}])
def test_an_argument_that_does_not_fit_is_named_with_the_function(wrong):
    @arguments_like(lambda a, b=1, c=2: None, without=("c",))
    def narrow(a, **rest): ...

    with pytest.raises(TypeError, match=rf"narrow\(\): .*'{next(iter(wrong), 'a')}'"):
        narrow(**({"a": 0, **wrong} if wrong else {}))
