"""A function of one's own under `captum_ext.metrics.metric` is a metric like the package's own."""

from __future__ import annotations

import pickle
import warnings
from functools import partial

import pytest
import torch
from captum.attr import FeatureAblation, InputXGradient, Saliency
from torch.testing import assert_close

from captum_ext import evaluate, metrics, plots

METHODS = {"Saliency": Saliency, "InputXGradient": InputXGradient}


@metrics.metric(higher_is_better=False, range=(0, 1), reference="a test")
def largest_share(inputs, attributions, power=1.0):
    size = attributions.abs().flatten(1) ** power
    return size.amax(1) / size.sum(1)


@metrics.metric(higher_is_better=None, axis=("power", lambda arguments: arguments["powers"]))
def share_curve(inputs, attributions, powers=(1.0, 2.0)):
    return torch.stack([largest_share(inputs, attributions, p) for p in powers], 1)


@metrics.metric(higher_is_better=True, takes_mappings=True)
def area(forward_func, inputs, attributions, target):
    """It takes a mapping itself, as the metric does that it calls."""
    return metrics.insertion(forward_func, inputs, attributions, target=target)


@metrics.metric(higher_is_better=True)
def drawn(inputs, attributions):
    return torch.rand(len(inputs))


@metrics.metric(higher_is_better=True)
def repeats(explanation_func, inputs, target):
    return explanation_func(inputs, target=target).flatten(1).sum(1)


@pytest.fixture
def run():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.Tanh(), torch.nn.Linear(6, 3)).double()
    inputs = torch.randn(10, 4, dtype=torch.float64)
    data = torch.utils.data.TensorDataset(inputs, model(inputs).argmax(1))
    return partial(evaluate, model, data, METHODS, batch_size=4)


def test_a_mapping_of_methods_gives_the_scores_of_single_calls():
    x = torch.randn(5, 4, dtype=torch.float64)
    phi = {"a": torch.randn_like(x), "b": torch.randn_like(x)}
    together = largest_share(x, phi, power=2.0)
    assert list(together) == ["a", "b"]
    for name, scores in together.items():
        assert_close(scores, (phi[name] ** 2).amax(1) / (phi[name] ** 2).sum(1))
        assert torch.equal(scores, largest_share(attributions=phi[name], inputs=x, power=2.0))


def test_what_takes_mappings_itself_or_no_attributions_is_left_as_it_is():
    assert not hasattr(area, "__wrapped__")
    assert not hasattr(repeats, "__wrapped__")
    assert hasattr(largest_share, "__wrapped__")


def test_it_pickles_by_its_name():
    assert pickle.loads(pickle.dumps(largest_share)) is largest_share


def test_its_card_has_what_was_said_and_says_what_was_not():
    card = largest_share.card
    assert (card.name, card.higher_is_better, card.range) == ("largest_share", False, (0, 1))
    assert (card.reference, card.family, card.rows) == ("a test", "own", "not stated")


def test_an_evaluation_ranks_it_in_its_direction_and_leaves_a_curve_out(run):
    result = run({"largest share": largest_share, "curve": share_curve, "sharper": partial(largest_share, power=3.0)})
    assert result.dataset["largest share"].attrs["higher_is_better"] is False
    assert result.dataset["largest share"].attrs["reference"] == "a test"
    assert result.dataset["curve"].power.values.tolist() == [1.0, 2.0]
    table = result.summary()
    assert set(table["metric"]) == {"largest share", "sharper"}
    for _, rows in table.groupby("metric"):
        assert rows.sort_values("mean")["rank"].tolist() == [1, 2]
    assert "largest share ↓" in repr(result)
    assert plots.curves(result, "curve").has_data()
    assert plots.ranks(result).has_data()


def test_two_workers_give_the_numbers_of_one(run):
    wanted = {"share": largest_share, "area": area, "drawn": drawn, "repeats": repeats}
    one = run(wanted, threads_per_worker=1)
    two = run(wanted, devices=["cpu", "cpu"])
    for name in wanted:
        assert one.dataset[name].equals(two.dataset[name])


def test_a_metric_that_takes_no_seed_draws_the_same_for_every_method(run):
    scores = run({"drawn": drawn}).dataset["drawn"]
    assert scores.values[0].tolist() == scores.values[1].tolist()
    assert len(set(scores.values[0].tolist())) == 10


def test_another_body_is_another_run(run, tmp_path):
    def wanted(power):
        @metrics.metric(higher_is_better=True)
        def mine(inputs, attributions):
            return attributions.abs().flatten(1).sum(1) ** power

        return {"mine": mine}

    first = run(wanted(1), path=tmp_path / "scores.h5")
    assert run(wanted(1), path=tmp_path / "scores.h5").dataset.equals(first.dataset)
    with pytest.raises(ValueError, match="holds another run"):
        run(wanted(2), path=tmp_path / "scores.h5")


@metrics.metric(higher_is_better=True)
def writes(inputs, attributions):
    attributions *= inputs.sub_(1)
    return attributions.flatten(1).sum(1)


def test_a_metric_that_writes_into_what_it_is_given_gives_each_method_the_same_and_changes_no_tensor():
    x = torch.ones(2, 4) * 3
    phi = {"a": torch.ones(2, 4), "b": torch.ones(2, 4)}
    with pytest.warns(UserWarning, match="The metric writes writes into a tensor") as caught:
        scores = writes(x, phi)
    assert len(caught) == 1
    assert {name: s.tolist() for name, s in scores.items()} == {"a": [8, 8], "b": [8, 8]}
    assert [t._version for t in (x, *phi.values())] == [0, 0, 0]


def test_evaluate_gives_every_method_and_metric_the_batch_as_the_data_has_it():
    """Whatever a model, an explanation or a metric before it wrote; and says once which of them writes."""

    class InPlace(torch.nn.Module):
        def forward(self, x):
            x -= 5
            return x.cumsum(1)

    def plain(inputs, attributions, target):
        inputs.mul_(0)
        target.add_(1)
        attributions.mul_(0)
        return inputs.sum(1)

    decorated = metrics.metric(higher_is_better=True)(plain)

    x = torch.randn(7, 4, generator=torch.Generator().manual_seed(0)) + 5
    data, noise = list(zip(x.clone(), [0, 1, 2, 3, 0, 1, 2])), x.cos()
    alone = evaluate(InPlace(), data, {"noise": noise}, {"deletion": metrics.deletion}, batch_size=3).dataset
    methods = {"ablation": FeatureAblation, "noise": noise}
    chosen = {"own": plain, "marked": decorated, "deletion": metrics.deletion, "own again": plain}
    for limit in (None, 2):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            options = {"batch_size": 3, "max_examples_per_batch": limit}
            after = evaluate(InPlace(), data, methods, chosen, **options).dataset
        assert_close(
            after["deletion"].sel(attribution="noise").values, alone["deletion"].sel(attribution="noise").values
        )
        said = sorted(str(w.message).partition(" writes into")[0] for w in caught if "writes into" in str(w.message))
        assert [s for s in said if "plain" not in s] == ["Method 'ablation'", "Metric 'own again'", "Metric 'own'"]
        assert set(said[3:]) == {"The metric plain"}
        assert all(torch.equal(row, original) for (row, _), original in zip(data, x))


def test_an_evaluation_within_inference_mode_is_that_outside():
    torch.manual_seed(0)
    model, x = torch.nn.Linear(4, 3).double(), torch.randn(5, 4, dtype=torch.float64)
    chosen = {"deletion": metrics.deletion, "share": largest_share, "repeats": repeats, "drawn": drawn}
    options = {"metrics": chosen, "batch_size": 2, "max_examples_per_batch": 2}
    outside = evaluate(model, [(row, 1) for row in x], METHODS, **options).dataset
    with torch.inference_mode():
        inside = evaluate(model, [(row * 1, 1) for row in x], METHODS, **options).dataset
    for name in chosen:
        assert_close(inside[name].values, outside[name].values)
