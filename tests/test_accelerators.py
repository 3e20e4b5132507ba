"""The same scores on a GPU as on the CPU, and on the second type of device that a CPU carries."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from captum.attr import InputXGradient
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from captum_ext import attribute_dataset, evaluate, metrics
from captum_ext._core import devices, home

from . import second_device
from .calls import METRICS, cases_of, tiny
from .evaluation.runs import FEW_METRICS, METHODS, examples, net
from .forms import for_each

on_each_device = pytest.mark.parametrize("device", second_device.DEVICES)
on_the_second_type = pytest.mark.skipif(not second_device.IS_THERE, reason="PyTorch has no Python for a type of device")
every_metric = pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)


@on_each_device
@every_metric
def test_a_metric_scores_as_on_the_cpu(device, metric):
    def check(case):
        scores = case(tiny().to(device))
        assert scores.device.type == device
        assert_close(scores.cpu(), case(tiny()), rtol=1e-9, atol=1e-9, equal_nan=True)

    for_each([(case.name, case) for case in cases_of(metric)], check)


@on_each_device
@every_metric
def test_a_default_device_changes_nothing(device, metric):
    case = cases_of(metric)[0]
    arguments, expected = case.of(tiny()), case(tiny())
    with torch.device(device):
        assert_close(metric(**arguments), expected, equal_nan=True)


@on_the_second_type
@every_metric
def test_on_the_second_of_two_devices_nothing_is_put_on_the_first(metric):
    """Not even where the first is the default device. Without gradients, which PyTorch computes on one such device."""
    case = cases_of(metric)[0]
    expected, arguments = (case.of(s) | without_gradients(case) for s in (tiny(), tiny().to("sim:1")))
    with torch.device("sim:0"):
        scores = metric(**arguments)
    assert scores.device == torch.device("sim:1")
    assert_close(scores.cpu(), metric(**expected), rtol=1e-9, atol=1e-9, equal_nan=True)


def without_gradients(case):
    """An explanation that calls no model and none of Captum's code, for metrics that take one."""

    def explain(x, **_):
        return x.cos() * x

    own = {"explanation_func": explain, "explanation_factory": lambda net: explain}
    return {name: value for name, value in own.items() if case.takes(name)}


WAIT_FOR_VALUES = {  # between two calls of the model
    "impact_coverage",  # whether a patch fooled the model
    "road",  # whether the solver has come close enough
    "road_accuracy",
}
MOST_WAITS = {  # in the plain call of tests/calls.py; of others eight
    "impact_coverage": 10,
    "normalized_aopc": 42,  # each step of the search for an order depends on the one before
    "oracle_normalized": 54,
    "road": 12,
    "road_accuracy": 12,
}


@on_the_second_type
@pytest.mark.parametrize("name", METRICS)
def test_the_host_waits_a_few_times_and_never_between_two_calls_of_the_model(name):
    """It waits for the checks of what it is given, the target, and where the number of features depends on values.

    It prepares a call while the device computes the one before; nor do more copies or steps make it wait.
    """
    case = cases_of(METRICS[name])[0]
    few = waits_of(case, **({"max_examples_per_batch": 64} if case.calls_a_model else {}))
    assert few.total() <= MOST_WAITS.get(name, 8)
    if case.calls_a_model and name not in WAIT_FOR_VALUES:
        assert waits_of(case, max_examples_per_batch=8) == few


def waits_of(case, **changes):
    arguments = case.of(tiny().to("sim"), **without_gradients(case), **changes)
    with second_device.waits() as found:
        case.metric(**arguments)
    return found


@on_the_second_type
@every_metric
def test_of_a_model_in_bfloat16_scores_are_those_of_the_cpu_and_finer(metric):
    case = cases_of(metric)[0]
    expected, scores = (case(tiny().to(torch.bfloat16).to(device)) for device in ("cpu", "sim"))
    assert scores.dtype == torch.float32
    assert_close(scores.cpu(), expected, rtol=1e-6, atol=1e-6, equal_nan=True)


class WithoutFloat64(TorchDispatchMode):
    """What Apple's MPS does: refuses every tensor of float64 on the device."""

    def __init__(self, device):
        super().__init__()
        self.device = device

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        out = operation(*args, **kwargs or {})
        found = [t for t in tree_leaves(out) if isinstance(t, torch.Tensor) and t.device.type == self.device]
        assert not any(t.dtype == torch.float64 for t in found), operation
        return out


@on_each_device
@every_metric
def test_on_a_device_without_float64_statistics_are_computed_on_the_cpu(device, metric, monkeypatch):
    monkeypatch.setattr(home, "LACK_FLOAT64", [device])

    def check(case):
        setting = tiny().to(torch.float32)
        expected = case(setting)
        with WithoutFloat64(device):
            scores = case(setting.to(device))
        assert (scores.device.type, scores.dtype) == (device, expected.dtype)
        assert_close(scores.cpu(), expected, rtol=1e-3, atol=1e-4, equal_nan=True)

    cases = cases_of(metric)[: 2 if device == "sim" else None]  # which take most of the time of these tests
    for_each([(case.name, case) for case in cases], check)


def net_where_the_device_is_known():
    """A model that a worker process loads with this module, which makes the second type of device known there."""
    return net()


@on_each_device
@pytest.mark.parametrize("engine", ["inline", "elastic"])
def test_evaluate_scores_as_on_the_cpu(device, engine, tmp_path):
    run = {"data": examples(), "methods": METHODS, "metrics": FEW_METRICS, "seed": 1}
    where = {"device": device} if engine == "inline" else {"devices": [f"{device}:0", f"{device}:0"]}
    expected = evaluate(net(), **run).dataset
    result = evaluate(net_where_the_device_is_known, **run, **where, path=tmp_path / "result.h5").dataset
    for name in expected.data_vars:
        assert_close(torch.tensor(result[name].values), torch.tensor(expected[name].values), rtol=1e-9, atol=1e-9)


def moved_at_random(x):
    return x + 0.1 * torch.randn_like(x)


@on_each_device
def test_draws_on_the_device_follow_the_seed_of_the_run_and_leave_its_generator_alone(device):
    """Whatever was drawn there before, and however the examples are cut into batches."""
    generator = devices.generators_of(torch.device(device, 0))[-1]
    assert generator is not torch.default_generator
    moving = {"moving": partial(metrics.sensitivity_max, perturb_func=moved_at_random, n_perturb_samples=3)}

    def scores(seed, batch_size):
        state = generator.manual_seed(batch_size).get_state()
        run = {"methods": {"product": InputXGradient}, "metrics": moving, "batch_size": batch_size}
        found = evaluate(net(), examples(), **run, seed=seed, device=device).dataset.moving.values
        assert torch.equal(generator.get_state(), state)
        return torch.tensor(found)

    assert_close(scores(1, 3), scores(1, 8), rtol=1e-9, atol=1e-9)
    assert not torch.isclose(scores(1, 3), scores(2, 3)).any()


@on_each_device
def test_stored_attributions_are_those_of_the_cpu(device, tmp_path):
    paths = {place: tmp_path / f"{place}.h5" for place in ("cpu", device)}
    for place, path in paths.items():
        attribute_dataset(net(), examples(), METHODS, path, device=place)
    scores = [
        evaluate(net(), examples(), dict.fromkeys(METHODS, path), {"deletion": metrics.deletion}, device=device)
        for path in paths.values()
    ]
    assert_close(*(torch.tensor(s.dataset.deletion.values) for s in scores), rtol=1e-9, atol=1e-9)
