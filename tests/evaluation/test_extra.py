"""The fourth part of an example: its own values for arguments of metrics, such as a mask of the truth."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from captum.attr import FeatureAblation, GradientShap, InputXGradient, IntegratedGradients
from torch.testing import assert_close
from torch.utils.data import DataLoader

from captum_ext import metrics, random_attribution
from captum_ext.evaluation.examples import Batch, Examples

from .runs import METHODS, N, Net, assert_same_scores, inputs, ones, run, scores, stored

MASKS = torch.arange(N * 4).reshape(N, 4) % 3 > 0
GROUPS = torch.stack([torch.arange(4) % (2 + i % 3) for i in range(N)])


def masked_sum(attributions, inputs, truth_mask):
    """A metric of one's own that needs what only the data can give."""
    assert truth_mask.shape == inputs.shape
    return (attributions * truth_mask).sum(1)


def masked_noise(attributions, truth_mask):
    """Draws, so it is called example by example."""
    return masked_sum(attributions, attributions, truth_mask) + torch.randn(len(attributions))


def data(**extra):
    """The small data set, each example with its own row of every tensor."""
    return [(x, i % 3, None, {name: rows[i] for name, rows in extra.items()}) for i, x in enumerate(inputs())]


OWN = {"own": masked_sum}


def test_a_value_of_the_example_reaches_the_metric_that_takes_its_name():
    maps = stored("product")["product"]
    result = run(data=data(truth_mask=MASKS), methods={"product": METHODS["product"]}, metrics=OWN)
    assert_close(scores(result, "own"), (maps * MASKS).sum(1))


@pytest.mark.parametrize("metric", [masked_sum, masked_noise, partial(metrics.deletion, n_steps=3)])
@pytest.mark.parametrize("batch_size", [1, 2, 5, N])
def test_the_batch_size_has_no_effect(metric, batch_size):
    given = {"data": data(truth_mask=MASKS, feature_mask=GROUPS), "metrics": {"it": metric}}
    assert_same_scores(run(**given, batch_size=batch_size), run(**given, batch_size=3))


def test_a_feature_mask_of_the_example_is_the_metrics_feature_mask():
    several = {
        k: partial(metrics.deletion, n_steps=4, **v) for k, v in {"own": {}, "set": {"feature_mask": None}}.items()
    }
    result = run(data=data(feature_mask=GROUPS), metrics=several)
    assert_close(
        scores(result, "own", "product"),
        metrics.deletion(
            Net().eval(),
            inputs(),
            stored("product")["product"],
            feature_mask=GROUPS,
            target=[i % 3 for i in range(N)],
            n_steps=4,
        ),
    )
    assert_same_scores(
        run(data=data(feature_mask=GROUPS), metrics={"set": several["set"]}),
        run(metrics={"set": several["set"]}),
    )  # what was set stays
    assert not torch.equal(scores(result, "own", "product"), scores(result, "set", "product"))


def test_a_metric_may_set_what_the_data_has_and_one_may_not_take_it():
    none = torch.zeros(4, dtype=torch.bool)
    result = run(
        data=data(truth_mask=MASKS, unheard_of=MASKS),
        metrics={
            "own": masked_sum,
            "set": partial(masked_sum, truth_mask=none.expand(4, 4)),
            "deletion": metrics.deletion,
        },
        batch_size=4,
    )
    assert not scores(result, "set", "product").any()
    assert scores(result, "own", "product").any()
    assert_close(
        scores(result, "deletion", "product"),
        scores(run(metrics={"deletion": metrics.deletion}), "deletion", "product"),
    )


@pytest.mark.parametrize(
    "rows",
    [
        [(x, 0) for x in inputs()],
        [(x, 0, x) for x in inputs()],
        [(x, 0, None, {"mask": m}) for x, m in zip(inputs(), MASKS)],
    ],
    ids=["no fourth part", "three parts", "another name"],
)
def test_a_metric_that_needs_what_the_data_lacks_is_refused_before_any_work(rows):
    model = Net()
    with pytest.raises(
        TypeError,
        match=r"'own' needs `truth_mask`: set it .*, or give each example its own, as \{'truth_mask': \.\.\.\}",
    ):
        run(model, data=rows, metrics=OWN)
    assert model.calls == []


def test_an_example_without_a_name_that_its_neighbours_have_is_found():
    rows = data(truth_mask=MASKS)
    rows[4] = (*rows[4][:3], {})
    with pytest.raises(ValueError, match=r"Examples 3 to 5 .*: they have different names, \['truth_mask'\] and \[\]"):
        run(data=rows, metrics=OWN)


def test_a_fourth_part_that_is_no_mapping_is_refused():
    with pytest.raises(TypeError, match=r"fourth part of `data` must be a mapping from names .*, got Tensor"):
        run(data=[(x, 0, None, x) for x in inputs()])


def test_values_are_stacked_whatever_their_form():
    extra = {"mask": MASKS[0], "pair": (MASKS[0], 2.0), "number": 3, "maps": {"a": MASKS[0]}, "nothing": None}
    batch = Examples([(x, 0, None, extra) for x in inputs()]).batch(range(3), torch.device("cpu"))
    assert batch.extra["mask"].shape == (3, 4)
    assert [t.shape for t in batch.extra["pair"]] == [(3, 4), (3,)]
    assert batch.extra["number"].tolist() == [3, 3, 3]
    assert batch.extra["maps"]["a"].shape == (3, 4)
    assert batch.extra["nothing"] is None


def test_a_batch_splits_them_with_its_rows():
    first, last = Batch([4, 5, 6], inputs(3), extra={"mask": MASKS[:3], "scale": 2.5, "pair": (MASKS[:3],)}).split(2)
    assert torch.equal(last.extra["mask"], MASKS[2:3])
    assert (first.extra["scale"], last.extra["scale"]) == (2.5, 2.5)
    assert len(first.extra["pair"][0]) == 2


def test_a_loaders_own_collate_function_may_give_them():
    def collate(rows):
        return (
            torch.stack([x for x, *_ in rows]),
            torch.tensor([t for _, t, *_ in rows]),
            None,
            {"truth_mask": MASKS[: len(rows)]},
        )

    loader = DataLoader(data(), collate_fn=collate)
    assert_close(scores(run(data=loader, methods={"ones": ones}, metrics=OWN), "own")[:3], MASKS[:3].sum(1).double())


def test_another_value_is_another_run(tmp_path):
    run(data=data(truth_mask=MASKS), metrics=OWN, methods={"random": random_attribution}, path=tmp_path / "run.h5")
    with pytest.raises((ValueError, FileExistsError)):
        run(data=data(truth_mask=~MASKS), metrics=OWN, methods={"random": random_attribution}, path=tmp_path / "run.h5")


@pytest.mark.parametrize("name", ["target", "seed", "inputs", "attributions", "max_examples_per_batch"])
def test_what_evaluate_fills_in_is_not_taken_from_the_data(name):
    with pytest.raises(ValueError, match=f"`data` must not give `{name}` in its fourth part"):
        run(data=data(**{name: [2] * len(inputs())}))


def test_large_whole_scores_keep_their_digits():
    def large(inputs, attributions):
        return 2**24 + 1 + torch.zeros(len(inputs), dtype=torch.int64)

    assert (run(metrics={"large": large}).dataset["large"].values == 2**24 + 1).all()


# ---- methods

BASELINES = inputs(seed=7)


@pytest.mark.parametrize("batch_size", [1, 3, N])
def test_a_baseline_of_the_example_reaches_the_method_that_takes_it(batch_size):
    result = run(
        data=data(baselines=BASELINES),
        methods={"ig": IntegratedGradients},
        metrics={"sum": total},
        batch_size=batch_size,
    )
    for i, x in enumerate(inputs()):
        own = IntegratedGradients(Net().eval()).attribute(x[None], BASELINES[i : i + 1], target=i % 3)
        assert_close(scores(result, "sum")[i : i + 1], total(own))


def total(attributions):
    return (attributions * torch.arange(1, 5)).sum(1)


def test_a_feature_mask_of_the_example_reaches_the_method_and_one_that_is_set_stays():
    one = torch.zeros(1, 4, dtype=torch.long)
    methods = {
        "own": FeatureAblation,
        "set": lambda model: partial(FeatureAblation(model).attribute, feature_mask=one),
        "none": InputXGradient,
    }
    result = run(data=data(feature_mask=GROUPS), methods=methods, metrics={"sum": total}, batch_size=3)
    for i, x in enumerate(inputs()):
        explain = partial(FeatureAblation(Net().eval()).attribute, x[None], target=i % 3)
        assert_close(scores(result, "sum", "own")[i : i + 1], total(explain(feature_mask=GROUPS[i : i + 1])))
        assert_close(scores(result, "sum", "set")[i : i + 1], total(explain(feature_mask=one)))
    assert_close(scores(result, "sum", "none"), scores(run(methods=methods, metrics={"sum": total}), "sum", "none"))


def test_a_mask_with_frozen_ids_does_not_reach_a_method_that_does_not_know_these():
    result = run(
        data=data(feature_mask=GROUPS, frozen=[0] * N), methods={"own": FeatureAblation}, metrics={"sum": total}
    )
    assert_close(scores(result, "sum"), scores(run(methods={"own": FeatureAblation}, metrics={"sum": total}), "sum"))


def test_an_argument_that_a_method_needs_may_be_the_examples_own():
    def needing(inputs, scale, target=None):
        return inputs * scale

    scale = 1 + torch.arange(N).double()[:, None]
    result = run(data=data(scale=scale), methods={"it": lambda model: needing}, metrics={"sum": total})
    assert_close(scores(result, "sum"), total(inputs() * scale))
    with pytest.raises(
        TypeError, match=r"'it' needs `scale`, which no batch has. .*, as \{'scale': \.\.\.\} in the fourth"
    ):
        run(data=data(other=scale), methods={"it": lambda model: needing}, metrics={"sum": total})
    with pytest.raises(TypeError, match="'shap' needs `baselines`, which no batch has"):  # they would be everyone's
        run(data=data(baselines=BASELINES), methods={"shap": GradientShap}, metrics={"sum": total})


def test_a_metric_that_explains_gives_the_method_the_same_values():
    shifted = {"sensitivity": partial(metrics.sensitivity_max, perturb_func=lambda x: x + 0.1, n_perturb_samples=1)}
    result = run(data=data(baselines=BASELINES), methods={"ig": IntegratedGradients}, metrics=shifted, batch_size=3)
    expected = shifted["sensitivity"](
        IntegratedGradients(Net().eval()), inputs(), target=[i % 3 for i in range(N)], baselines=BASELINES
    )
    assert_close(scores(result, "sensitivity"), expected)


def test_a_metric_that_explains_and_does_not_take_them_is_called_without():
    def explained(explanation_func, inputs, target):
        return explanation_func(inputs, target=target).sum(1)

    result = run(data=data(baselines=BASELINES), methods={"ig": IntegratedGradients}, metrics={"it": explained})
    assert_close(
        scores(result, "it"), scores(run(methods={"ig": IntegratedGradients}, metrics={"it": explained}), "it")
    )
