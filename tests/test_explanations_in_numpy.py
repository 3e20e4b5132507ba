"""Explanations in numpy's arrays, as lime, shap and grad-cam packages give them, are taken wherever tensors are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from captum_ext import attribute_dataset, evaluate, metrics

from .calls import METRICS, tiny

x = torch.arange(1.0, 25.0).reshape(3, 8)
phi = x.cos()

FORMS = {
    "float32": lambda a: a,
    "float64": lambda a: a.astype(np.float64),
    "negative strides": lambda a: a[:, ::-1].copy()[:, ::-1],
    "transposed": lambda a: np.asfortranarray(a),
    "read-only": lambda a: np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape),
    "another byte order": lambda a: a.astype(">f4"),
    "long doubles": lambda a: a.astype(np.longdouble),
    "not contiguous": lambda a: np.repeat(a, 2, axis=1)[:, ::2],
}
FORM = pytest.mark.parametrize("form", FORMS)
TAKING = ("attributions", "reference_attributions", "other_attributions")


def as_form(form: str, maps: torch.Tensor) -> np.ndarray:
    return FORMS[form](maps.numpy())


def explain(rows: torch.Tensor, target: Any = None) -> torch.Tensor:
    return rows.detach().cos()


def model(rows: torch.Tensor) -> torch.Tensor:
    return rows * torch.linspace(0.5, 1, rows.shape[1])


@FORM
def test_metrics_take_them(form):
    for given in (lambda m: m, lambda m: (m,), lambda m: {"a": m, "b": (m,)}):
        scores = metrics.deletion(model, x, given(as_form(form, phi)), target=0)
        expected = metrics.deletion(model, x, given(phi), target=0)
        assert_close(scores, expected, check_dtype=False)


def arrays(value: Any) -> Any:
    """The same attributions or explanation in arrays."""
    if isinstance(value, torch.Tensor):
        return value.detach().numpy()
    if isinstance(value, (tuple, list)):
        return tuple(map(arrays, value))
    if isinstance(value, dict):
        return {name: arrays(v) for name, v in value.items()}
    function = value.attribute if hasattr(value, "attribute") else value
    return lambda *args, **kwargs: arrays(function(*args, **kwargs))


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_takes_them(name):
    """In place of each argument that is an explanation or makes one."""
    setting, metric = tiny(), METRICS[name]
    given = setting.of(metric)
    changed = {name: arrays(given[name]) for name in (*TAKING, "explanation_func") if name in given}
    if "explanation_factory" in given:
        changed["explanation_factory"] = lambda module: arrays(given["explanation_factory"](module))
    assert changed
    scores, expected = (setting.call(metric, **changes) for changes in (changed, {}))
    assert_close(scores, expected, equal_nan=True)


@FORM
def test_explanations_may_return_them(form):
    expected = metrics.sensitivity_max(explain, x, seed=0)
    for function in (lambda r: as_form(form, explain(r)), lambda r: (as_form(form, explain(r)),)):
        assert_close(metrics.sensitivity_max(function, x, seed=0), expected, check_dtype=False)


def of_method(method: Any, data: Any = None) -> torch.Tensor:
    data = [(row, 0) for row in x] if data is None else data
    return evaluate(model, data, {"it": method}, {"d": metrics.deletion}, batch_size=2).dataset["d"].values[0]


@FORM
def test_evaluate_takes_them_from_methods_and_as_stored_attributions(form):
    expected = of_method(lambda m: explain)
    np.testing.assert_allclose(of_method(lambda m: lambda r, target=None: as_form(form, explain(r))), expected, 1e-6)
    np.testing.assert_allclose(of_method(as_form(form, phi)), expected, 1e-6)
    np.testing.assert_allclose(of_method((as_form(form, phi),)), expected, 1e-6)


@pytest.mark.parametrize("kind", [np.float64, ">f4"])
def test_they_are_stored(tmp_path, kind):
    path = str(tmp_path / "maps.h5")
    method = {"it": lambda m: lambda r, **_: explain(r).numpy().astype(kind)}
    attribute_dataset(model, [(row, 0) for row in x], method, path, batch_size=2)
    np.testing.assert_allclose(of_method(path), of_method(phi), 1e-6)


def test_bfloat16_is_stored_as_the_float32_that_holds_it(tmp_path):
    path, halves = str(tmp_path / "maps.h5"), x.bfloat16()
    attribute_dataset(model, [(row, 0) for row in halves], {"it": lambda m: lambda r, **_: r}, path)
    assert (of_method(path, [(row.float(), 0) for row in halves]) == of_method(halves.float())).all()


NO_EXPLANATIONS = {
    "NoneType": None, "float 1.0": 1.0, "str 'map'": "map", "dict": {"a": phi}, "float64": np.float64(1),
    "ndarray of object": np.array([None] * 3), "ndarray of <U1": np.array(["a"] * 3), "a tuple of nothing": (),
    "a list of nothing": [], "a list of ndarray": [phi.numpy(), phi.numpy()], "a list of float": [1.0, 2.0, 3.0],
    "a tuple of NoneType, Tensor": (phi, None), "MaskedArray of float32": np.ma.masked_array(phi.numpy(), phi > 0),
}  # fmt: skip


@pytest.mark.parametrize("what", NO_EXPLANATIONS)
def test_what_is_no_explanation_is_refused_by_name(what):
    value = NO_EXPLANATIONS[what]
    match = f"must return a tensor or a tuple of tensors, got {what}"
    with pytest.raises(TypeError, match=f"`explanation_func` {match}"):
        metrics.sensitivity_max(lambda r: value, x)
    with pytest.raises(TypeError, match=f"Method 'it' {match}"):
        of_method(lambda m: lambda r: value)


@pytest.mark.parametrize("what", [w for w in NO_EXPLANATIONS if w != "dict"])
def test_what_is_no_attribution_is_refused_by_name(what):
    with pytest.raises(TypeError, match=f"`attributions` must be a tensor or a tuple of tensors, got {what}"):
        metrics.deletion(model, x, NO_EXPLANATIONS[what], target=0)
    if what != "str 'map'":
        with pytest.raises(TypeError, match="Method 'it' must be a Captum class or object"):
            of_method(NO_EXPLANATIONS[what])


@pytest.mark.parametrize("rows", [np.zeros(()), np.zeros((1, 8)), torch.zeros(5, 8), (phi, phi[:1])])
def test_an_explanation_has_a_row_for_each_row(rows):
    with pytest.raises(ValueError, match="`explanation_func` must return a row for each of its 3 input rows"):
        metrics.sensitivity_max(lambda r: rows, x)
    with pytest.raises(ValueError, match="Method 'it' must return a row for each of its 2 input rows"):
        of_method(lambda m: lambda r: rows)
