"""Methods whose maps are shuffled or changed: in every form, and the same wherever they are computed."""

from __future__ import annotations

import inspect
import pickle
from functools import partial

import pytest
import torch
from captum.attr import GradientShap, InputXGradient, IntegratedGradients, KernelShap, Occlusion, Saliency
from torch.testing import assert_close

from captum_ext import attribute_dataset, changed_attribution, evaluate, metrics, shuffled_attribution
from captum_ext.evaluation.methods import draws_at_random

from .runs import N, Net, inputs, run, scores

exactly = partial(assert_close, rtol=0, atol=0)
closely = partial(assert_close, rtol=1e-9, atol=1e-12)


def maps_of(method, **options):
    """What the metrics get, as a metric: a method's attributions."""
    return scores(run(methods={"it": method}, metrics={"maps": lambda attributions: attributions}, **options), "maps")


def product(model):
    def explain(inputs, target):
        return InputXGradient(model).attribute(inputs, target=target)

    return explain


NET = Net().eval()
FORMS = {
    "a class": InputXGradient,
    "a function that makes an object": lambda model: InputXGradient(model),
    "a function that makes a function": product,
    "a ready object": InputXGradient(NET),
    "its attribute": InputXGradient(NET).attribute,
    "with arguments set": partial(IntegratedGradients(NET).attribute, n_steps=7),
    "a class with arguments set": lambda model: partial(IntegratedGradients(model).attribute, n_steps=7),
}


@pytest.mark.parametrize("method", FORMS.values(), ids=FORMS)
def test_a_shuffled_map_has_the_same_values_at_other_places(method):
    plain, shuffled = maps_of(method), maps_of(shuffled_attribution(method))
    exactly(shuffled.sort(1).values, plain.sort(1).values)
    assert (shuffled != plain).any(1).double().mean() > 0.5  # one of 24 orders of 4 values is the given one


@pytest.mark.parametrize("method", FORMS.values(), ids=FORMS)
def test_a_change_is_applied_to_the_maps(method):
    exactly(maps_of(changed_attribution(method, torch.square)), maps_of(method) ** 2)
    twice = changed_attribution(changed_attribution(method, torch.square), torch.neg)
    exactly(maps_of(twice), -(maps_of(method) ** 2))


def test_the_order_depends_on_the_example_and_the_seed_alone():
    shuffled = maps_of(shuffled_attribution(InputXGradient), batch_size=8)
    closely(maps_of(shuffled_attribution(InputXGradient), batch_size=3), shuffled)
    closely(maps_of(shuffled_attribution(InputXGradient(NET)), batch_size=1), shuffled)
    assert not torch.allclose(maps_of(shuffled_attribution(InputXGradient, seed=1)), shuffled)
    orders = [tuple(row.tolist()) for row in maps_of(shuffled_attribution(torch.arange(4.0).expand(N, 4)))]
    assert len(set(orders)) > 3  # each example has its own


STORED = torch.randn(N, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_stored_attributions_are_shuffled_by_their_index(tmp_path):
    shuffled = shuffled_attribution(STORED)
    exactly(shuffled.sort(1).values, STORED.sort(1).values)
    exactly(shuffled_attribution(STORED[:3]), shuffled[:3])
    exactly(shuffled_attribution(STORED.numpy()), shuffled)
    pair = shuffled_attribution((STORED, STORED[:, :2]))
    exactly(pair[1].sort(1).values, STORED[:, :2].sort(1).values)
    path = tmp_path / "maps.h5"
    attribute_dataset(NET, [(x, 1) for x in inputs()], {"product": InputXGradient}, path)
    ordered = maps_of(path, data=data()).sort(1).values
    lazy = shuffled_attribution(path)
    assert lazy.shape == ordered.shape
    exactly(lazy[[*range(N)]].sort(1).values, ordered)
    exactly(lazy[[4, 2]], lazy[[*range(N)]][[4, 2]])
    exactly(maps_of(shuffled_attribution(str(path)), data=data()).sort(1).values, ordered)


def data():
    return [(x, 1) for x in inputs()]


def test_maps_of_a_tuple_keep_their_values_to_themselves():
    pair = (torch.arange(6.0).reshape(1, 2, 3), torch.arange(10.0, 14.0)[None])
    first, second = shuffled_attribution(Pair())(pair)
    assert sorted(first.flatten().tolist()) == list(range(6))
    assert sorted(second.flatten().tolist()) == [10, 11, 12, 13]


class Pair:
    def attribute(self, inputs):
        return inputs


def test_a_changed_method_has_the_arguments_of_the_method_and_can_be_sent_away():
    method = shuffled_attribution(IntegratedGradients(NET))
    assert inspect.signature(method) == inspect.signature(IntegratedGradients(NET).attribute)
    assert draws_at_random(shuffled_attribution(GradientShap(NET)))
    assert not draws_at_random(method)
    x = inputs()
    exactly(pickle.loads(pickle.dumps(method))(x, target=0), method(x, target=0))
    made = pickle.loads(pickle.dumps(changed_attribution(Saliency, torch.neg)))(NET)
    exactly(made(x, target=0), -Saliency(NET).attribute(x, target=0))


def test_copies_within_a_method_stay_within_the_limit():
    model = Net()
    run(model, methods={"it": shuffled_attribution(IntegratedGradients)}, max_examples_per_batch=5)
    assert max(model.calls) <= 5


def test_metrics_that_make_explanations_take_changed_methods():
    result = run(
        methods={"it": changed_attribution(Saliency, partial(torch.mul, other=3)), "plain": Saliency},
        metrics={
            "sensitivity": partial(metrics.sensitivity_max, n_perturb_samples=3),
            "random": metrics.parameter_randomization,
        },
    )
    for name in ("sensitivity", "random"):
        three, plain = result.dataset[name].values
        assert_close(three, plain)


def test_what_cannot_be_changed_is_refused():
    with pytest.raises(ValueError, match="`seed` must be at least 0, got -1"):
        shuffled_attribution(Saliency, seed=-1)
    with pytest.raises(TypeError, match="`change` must be a function of maps, got int 3"):
        changed_attribution(Saliency, 3)
    with pytest.raises(ValueError, match="is not a file of attributions"):
        shuffled_attribution("nowhere.h5")
    with pytest.raises(TypeError, match=r"`method` must be a Captum class or object, .*, got int 3"):
        shuffled_attribution(3)
    with pytest.raises(TypeError, match="Method 'it' needs `sliding_window_shapes`, which no batch has"):
        maps_of(shuffled_attribution(Occlusion))


@pytest.mark.parametrize("method", [Saliency, STORED, "in a file"], ids=["explained", "in memory", "in a file"])
@pytest.mark.parametrize(
    ("change", "error"), [(torch.sum, ValueError), (lambda m: m[:1], ValueError), (torch.Tensor.tolist, TypeError)]
)
def test_a_change_that_returns_no_row_for_each_map_is_refused(method, change, error, tmp_path):
    if isinstance(method, str):
        method = tmp_path / "maps.h5"
        attribute_dataset(NET, data(), {"product": InputXGradient}, method)
    with pytest.raises(error, match=r"`change` must return a (row for each of the|tensor of maps, got a list)"):
        maps_of(changed_attribution(method, change), data=data())


class Scaled(torch.nn.Module):
    def forward(self, x, scale):
        return x.sum(1) * scale.squeeze(1)


def test_a_further_argument_keeps_its_rows_where_captum_takes_a_bare_tensor_apart():
    """KernelShap asks for one row at a time, with the further arguments of that row."""
    x, scale = torch.rand(4, 5, generator=torch.Generator().manual_seed(0)), torch.arange(1.0, 5.0)[:, None]
    data = [(row, None, own) for row, own in zip(x, scale)]
    result = evaluate(
        Scaled(), data, {"it": shuffled_attribution(KernelShap)}, {"c": metrics.completeness}, target=None
    )
    assert abs(result.dataset["c"].values).max() < 1e-4
