"""Fidelity of graph explanations, as PyTorch Geometric defines it: of the model's predictions, and of labels."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from torch.testing import assert_close

from captum_ext import evaluate
from captum_ext.metrics import characterization_score, comprehensiveness, negative_fidelity, positive_fidelity

from ...graphs import CLASSES, MASKS, NODES, GraphNet, graphs, maps, ordered_by_hand, without_by_hand

BATCH = 12
LABELS = torch.arange(BATCH) % CLASSES


def fidelities_by_hand(model, inputs, mask, phi, k, labels=None):
    """`[2, B]`: fid+ and fid- of single graphs, in the words of PyTorch Geometric's documentation."""
    found = torch.zeros(2, BATCH, dtype=torch.float64)
    for b in range(BATCH):
        order = ordered_by_hand(phi, mask, b)
        predicted = int(model(*(t[b : b + 1] for t in inputs)).argmax())
        for i, removed in enumerate((order[:k], order[k:])):
            then = int(model(*without_by_hand(inputs, mask, b, removed)).argmax())
            if labels is None:
                found[i, b] = 1 - (then == predicted)
            else:
                found[i, b] = abs((predicted == int(labels[b])) - (then == int(labels[b])))
    return found


@pytest.mark.parametrize("labels", [None, LABELS], ids=["model", "phenomenon"])
@pytest.mark.parametrize("kind", MASKS)
def test_on_a_message_passing_network_both_are_the_naive_loop(kind, labels):
    model, inputs = GraphNet().eval(), graphs(BATCH)
    mask, phi = MASKS[kind](*inputs), maps(inputs)
    wanted = fidelities_by_hand(model, inputs, mask, phi, 2, labels)
    given = {"feature_mask": mask, "frozen": -1, "shares": 2, "target": labels}
    for score, by_hand in zip((positive_fidelity, negative_fidelity), wanted):
        assert 0 < by_hand.mean() < 1
        assert_close(score(model, inputs, phi, **given), by_hand)
        assert_close(score(model, inputs, {"a": phi}, max_examples_per_batch=5, **given)["a"], by_hand)


def test_with_the_prediction_as_label_it_is_the_fidelity_of_the_model():
    model, inputs = GraphNet().eval(), graphs(BATCH)
    given = {"feature_mask": MASKS["edges"](*inputs), "frozen": -1, "shares": [1, 3]}
    for score in (positive_fidelity, negative_fidelity, characterization_score):
        of_model = score(model, inputs, maps(inputs), **given)
        assert_close(score(model, inputs, maps(inputs), target=model(*inputs).argmax(1), **given), of_model)
        assert len(of_model.unique()) > 1


def test_it_is_the_size_of_the_drop_of_whether_the_prediction_is_the_label():
    model, inputs = GraphNet().eval(), graphs(BATCH)
    given = {"feature_mask": MASKS["nodes"](*inputs), "frozen": -1, "shares": 2, "target": LABELS}

    def one_hot(output):
        return torch.nn.functional.one_hot(output.argmax(1), CLASSES).double()

    drop = comprehensiveness(model, inputs, maps(inputs), activation=one_hot, **given)
    assert {-1, 1} <= set(drop.tolist())
    assert_close(positive_fidelity(model, inputs, maps(inputs), **given), drop.abs())


def test_edges_that_decide_alone_have_the_best_scores_and_edges_that_do_not_the_worst():
    _, adjacency = graphs(BATCH)
    x = torch.zeros(BATCH, NODES, 1, dtype=torch.float64)
    adjacency[:, 0, 1] = adjacency[:, 1, 0] = 1

    def model(x, adjacency):  # class 1 where nodes 0 and 1 are linked
        return torch.stack((0.5 * torch.ones(len(x)).double(), adjacency[:, 0, 1]), 1)

    truth = torch.zeros_like(adjacency)
    truth[:, 0, 1] = truth[:, 1, 0] = 1
    methods = {"truth": (x, truth), "rest": (x, -truth)}
    given = {"feature_mask": MASKS["edges"](x, adjacency), "frozen": -1, "shares": 1}
    for score, best in ((positive_fidelity, 1), (negative_fidelity, 0), (characterization_score, 1)):
        scores = score(model, (x, adjacency), methods, **given)
        assert (scores["truth"] == best).all()
        assert (scores["rest"] == 1 - best).all()


@pytest.mark.parametrize("weight", [0.5, 0.2])
def test_the_characterization_score_is_a_harmonic_mean_which_over_a_data_set_is_below_that_of_the_means(weight):
    model, inputs = GraphNet().eval(), graphs(BATCH)
    given = {"feature_mask": MASKS["nodes"](*inputs), "frozen": -1, "shares": [1, 2, 3, 4]}
    scores = characterization_score(model, inputs, maps(inputs), weight=weight, **given)
    positive, negative = (f(model, inputs, maps(inputs), **given) for f in (positive_fidelity, negative_fidelity))
    assert len(scores.unique()) > 3
    for score, p, n in zip(scores.tolist(), positive.tolist(), negative.tolist()):
        wanted = 0 if p == 0 or n == 1 else 1 / (weight / p + (1 - weight) / (1 - n))
        assert score == pytest.approx(wanted)
    of_means = 1 / (weight / positive.mean() + (1 - weight) / (1 - negative.mean()))
    assert scores.mean() < of_means


def test_the_harmonic_mean_has_the_values_of_pytorch_geometrics_test():
    """Its fid+ 1, .6, .5, 1 and fid- 0, .2, .5, 1 at the weights .2 and .8 give 1, .75, .5 and 0."""
    x, phi, sizes = torch.ones(1, 20), torch.arange(20, 0, -1.0)[None], list(range(1, 11))
    for positive, negative, wanted in ((1, 0, 1), (0.6, 0.2, 0.75), (0.5, 0.5, 0.5), (1, 1, 0)):

        def model(rows, positive=positive, negative=negative):
            """Says class 1 for a share of the sizes 1 to 10 where the first features are gone, or alone there."""
            first, others = rows[:, :10].sum(1), rows[:, 10:].sum(1)
            gone = (others == 10) & (first < 10) & (10 - first <= 10 * positive)
            alone = (others == 0) & (first <= 10 * negative)
            return torch.stack((0.5 * torch.ones(len(rows)), (gone | alone).float()), 1)

        score = characterization_score(model, x, phi, shares=sizes, weight=0.2)
        assert float(score) == pytest.approx(wanted)


def test_an_output_that_is_nan_has_no_prediction():
    model, (x, adjacency) = GraphNet().eval(), graphs(BATCH)
    x[3] = math.nan
    for target in (None, LABELS):
        for score in (positive_fidelity, negative_fidelity, characterization_score):
            given = {"feature_mask": MASKS["edges"](x, adjacency), "frozen": -1, "target": target}
            scores = score(model, (x, adjacency), maps((x.nan_to_num(), adjacency)), **given)
            assert scores.isnan().tolist() == [b == 3 for b in range(BATCH)]


def test_evaluate_asks_for_the_fidelity_of_the_model_by_its_predictions():
    model, (x, adjacency) = GraphNet().eval(), graphs(BATCH)
    rows, mask = torch.cat((x, adjacency), 2), torch.cat(MASKS["edges"](x, adjacency), 2)
    phi = torch.cat(maps((x, adjacency)), 2)

    def of_rows(rows):
        return model(rows[..., :2], rows[..., 2:])

    data = [(row, int(label), None, {"feature_mask": own}) for row, label, own in zip(rows, LABELS, mask)]
    score = partial(positive_fidelity, frozen=-1, shares=2)
    for target, labels in (("predicted", None), ("data", LABELS)):
        result = evaluate(of_rows, data, {"phi": phi}, {"fidelity": score}, target=target, devices=["cpu"])
        wanted = score(of_rows, rows, phi, feature_mask=mask, target=labels)
        assert_close(torch.as_tensor(result.dataset["fidelity"].values[0]), wanted)
