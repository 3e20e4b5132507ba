"""Reference numbers of AttriBench 0.1.9, recorded on small models.

Tolerances are those that its notes give, no looser.
"""

from __future__ import annotations

import importlib.util
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from captum_ext import metrics
from captum_ext._core.arguments import as_attributions
from captum_ext._core.features import Features
from captum_ext._core.forward import Forward
from captum_ext._core.removals import OPPOSITE, Removals
from captum_ext._core.statistics import CORRELATIONS
from captum_ext._core.subsets import Subsets, scores_and_totals_without
from captum_ext.baselines import box_blur, channel_mean
from captum_ext.feature_masks import pixels
from captum_ext.perturbations import square_removal

FOLDER = Path(__file__).resolve().parents[2] / "shared" / "golden" / "attribench"
pytestmark = pytest.mark.skipif(
    not FOLDER.is_dir(), reason="the reference data, ../shared/golden/attribench beside the repository, is not there"
)

ACTIVATIONS = {"linear": None, "softmax": partial(torch.softmax, dim=1), "sigmoid": torch.sigmoid}
exactly = partial(assert_close, rtol=0, atol=0, check_dtype=False)
curves_agree = partial(assert_close, rtol=1e-4, atol=1e-5, check_dtype=False)
correlations_agree = partial(assert_close, rtol=0, atol=1e-4, check_dtype=False)
infidelities_agree = partial(assert_close, rtol=1e-3, atol=1e-6, check_dtype=False)


@cache
def golden():
    spec = importlib.util.spec_from_file_location("golden", FOLDER / "golden.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Golden(str(FOLDER))


@cache
def model_of(name):
    return golden().model(name)


@cache
def data_of(name):
    return golden().data(name)


def cases(*names, having=lambda case: True):
    """The recorded cases of these metrics, one test each."""
    if not FOLDER.is_dir():
        return pytest.mark.parametrize("case", [None])
    found = [c for name in names for c in golden().cases(name) if having(c)]
    return pytest.mark.parametrize("case", found, ids=[c["id"] for c in found])


def samples(case):
    return torch.tensor(data_of(case["model"])["samples"])


def target(case):
    return torch.tensor(data_of(case["model"])["labels"])


def attributions(case):
    """`{method: attributions}` of the case's level; the method "zero" is all zeros."""
    level = case["call"].get("masking_level", "pixel" if case["metric"] == "irof" else None)
    recorded = data_of(case["model"])["attributions" if level is None else f"attributions_{level}"]
    maps = {name: torch.tensor(a) for name, a in recorded.items()}
    maps["zero"] = torch.zeros_like(next(iter(maps.values())))
    return {name: maps[name] for name in case.get("methods", recorded)}


def baseline(case, masker):
    data = data_of(case["model"])
    return torch.tensor(data["baselines"][masker]) if "baselines" in data else data["maskers"][masker]["mask_value"]


def results(case):
    """`(masker or generator, activation, {method: recorded values})`, row by row."""
    for row, values in golden().rows(case["results"]).items():
        masker, activation = row.split("|")
        yield masker, ACTIVATIONS[activation], dict(zip(attributions(case), torch.tensor(values)))


# ---------------------------------------------------------------- deletion and insertion


@cases("deletion", "insertion")
def test_removal_curves_at_the_recorded_counts(case):
    x, phi = samples(case), as_attributions(attributions(case), (samples(case),))
    mode = case["call"]["mode"]
    order = mode if case["metric"] == "deletion" else OPPOSITE[mode]
    counts = torch.tensor(case["num_masked"]).expand(len(x), -1)
    for masker, activation, recorded in results(case):
        features = Features(x, phi, baseline(case, masker))
        f = Forward(model_of(case["model"]), (x,), target(case), activation=activation)
        removals = Removals(features, f, features.totals("mean"))
        curves = removals.unpack(removals.curve(counts, order))
        for method, curve in recorded.items():
            curves_agree(curves[method], curve)
        if [masker, activation] == [case["auc_of"][0], ACTIVATIONS[case["auc_of"][1]]]:
            auc, aoc = (dict(zip(recorded, torch.tensor(golden().array(case[name])))) for name in ("auc", "aoc"))
            for method, curve in curves.items():
                curves_agree(curve.mean(1), auc[method])  # theirs is the plain mean of the points
                curves_agree(curve[:, 0] - curve.mean(1), aoc[method])


@cases("deletion", "insertion")
def test_the_public_curves_agree_wherever_the_counts_do(case):
    """Theirs cut the count off, ours round: steps with the same count are compared."""
    call, x = case["call"], samples(case)
    curve_of = getattr(metrics, f"{case['metric']}_curve")
    n_features = attributions(case)["grad"][0].numel()
    grid = np.linspace(call["start"], call["stop"], call["num_steps"])
    hidden = grid if case["metric"] == "deletion" else 1 - grid
    same = torch.from_numpy(np.round(hidden * n_features) == np.array(case["num_masked"]))
    assert same.any()
    for masker, activation, recorded in results(case):
        curves = curve_of(
            model_of(case["model"]),
            x,
            attributions(case),
            baseline(case, masker),
            target=target(case),
            mode=call["mode"],
            start=call["start"],
            stop=call["stop"],
            n_steps=call["num_steps"],
            activation=activation,
        )
        for method, curve in recorded.items():
            curves_agree(curves[method][:, same], curve[:, same])


@cases("deletion", "insertion")
def test_the_public_curves_agree_everywhere_where_counts_are_cut_off(case):
    call = case["call"]
    for masker, activation, recorded in results(case):
        curves = getattr(metrics, f"{case['metric']}_curve")(
            model_of(case["model"]),
            samples(case),
            attributions(case),
            baseline(case, masker),
            target=target(case),
            mode=call["mode"],
            start=call["start"],
            stop=call["stop"],
            n_steps=call["num_steps"],
            activation=activation,
            rounding="floor",
        )
        for method, curve in recorded.items():
            curves_agree(curves[method], curve)


# ---------------------------------------------------------------- irof


def recorded_counts(case):
    """`[B, steps]`: how many segments were masked.

    Where that is not recorded, it is the fractions of the segments, cut off to integers.
    """
    if "num_segments_masked" in case:
        return torch.tensor(case["num_segments_masked"])
    shares = np.linspace(case["call"]["start"], case["call"]["stop"], case["call"]["num_steps"])
    return torch.tensor([[int(n * s) for s in shares] for n in data_of(case["model"])["num_segments"]])


@cases("irof")
def test_segment_curves_at_the_recorded_counts(case):
    """Theirs are curves, not divided by `f(x)`."""
    x, phi = samples(case), as_attributions(attributions(case), (samples(case),))
    segments = torch.tensor(data_of(case["model"])["segments"])
    for masker, activation, recorded in results(case):
        features = Features(x, phi, baseline(case, masker), segments)
        f = Forward(model_of(case["model"]), (x,), target(case), activation=activation)
        removals = Removals(features, f, features.totals("mean"))
        curves = removals.unpack(removals.curve(recorded_counts(case), case["call"]["mode"]))
        for method, curve in recorded.items():
            curves_agree(curves[method], curve)


def test_irof_is_the_area_over_the_recorded_curve_with_every_number_of_segments():
    case = next(c for c in golden().cases("irof", "cnn") if c["id"].startswith("irof_neg0"))
    x, data = samples(case), data_of("cnn")
    for masker, activation, recorded in results(case):
        scores = metrics.irof(
            model_of("cnn"),
            x,
            attributions(case),
            baseline(case, masker),
            torch.tensor(data["segments"]),
            target=target(case),
            activation=activation,
        )
        for method, curves in recorded.items():
            for score, curve, counts, n in zip(scores[method], curves, recorded_counts(case), data["num_segments"]):
                assert counts.unique().tolist() == list(range(n + 1))
                assert_close(score, 1 - torch.trapezoid(curve / curve[0], counts / n), rtol=1e-4, atol=1e-4)


# ---------------------------------------------------------------- minimal subset


@cases("minimal_subset")
def test_minimal_subset_is_the_recorded_number_where_the_prediction_is_clear(case):
    x, call, total = samples(case), case["call"], case["total_features"]
    margins = golden().array(case["margin"])
    assert total // call["num_steps"] == case["step_size"]
    mask = pixels(x) if call.get("masking_level") == "pixel" else None
    maps = {name: a.expand_as(x) if mask is not None else a for name, a in attributions(case).items()}
    for (masker, recorded), margin in zip(golden().rows(case["results"]).items(), margins):
        scores = metrics.minimal_subset(
            model_of(case["model"]),
            x,
            maps,
            baseline(case, masker),
            mask,
            n_steps=call["num_steps"] + 1,
            mode=call["mode"],
        )
        for found, wanted, m in zip(scores.values(), recorded, margin):
            clear = torch.from_numpy(m > 1e-4)
            assert clear.any()
            numbers = (found * total).round()
            exactly(numbers[clear], torch.tensor(wanted)[clear])


# ---------------------------------------------------------------- sensitivity-n


class RecordedRanks:
    """Ranks that put a recorded draw first: ordering `k * draws + j` of example `b` is `drawn[k][b or 0, j]`."""

    def __init__(self, drawn, width):
        self.drawn, self.width = drawn, width

    def __call__(self, example, ordering):
        ranks = torch.full((len(example), self.width), self.width)
        for out, b, o in zip(ranks, example.tolist(), ordering.tolist()):
            k, j = divmod(o, self.drawn[0].shape[1])
            of_examples = self.drawn[k]
            out[torch.from_numpy(of_examples[b if len(of_examples) > 1 else 0, j]).long()] = 0
        return ranks


@cases("sensitivity_n")
def test_sensitivity_n_over_the_recorded_draws(case):
    x, recorded_draws = samples(case), [golden().array(case["draws"][str(n)]) for n in case["n_range"]]
    drawn = [d if d.ndim == 3 else d[None] for d in recorded_draws]  # one set of draws for the batch, or one for each
    batch, n_sizes, draws = len(x), len(drawn), drawn[0].shape[1]
    segmented = case["call"]["segmented"]
    mask = torch.tensor(data_of(case["model"])["segments"]) if segmented else None
    methods = as_attributions(attributions(case), (x,))
    sums = golden().array(case["sum_of_attributions"]) if "sum_of_attributions" in case else None

    example = torch.arange(batch).repeat_interleave(1 + n_sizes * draws)
    ordering = torch.cat((torch.tensor([0]), torch.arange(n_sizes * draws))).repeat(batch)
    count = torch.cat((torch.tensor([0]), torch.ones(n_sizes * draws, dtype=torch.long))).repeat(batch)
    for masker, activation, recorded in results(case):
        features = Features(x, methods, baseline(case, masker), mask)
        f = Forward(model_of(case["model"]), (x,), target(case), activation=activation)
        phi = features.totals("mean" if segmented else "sum")
        rows = Subsets(example, ordering, count, RecordedRanks(drawn, features.width))
        f_rows, phi_rows = scores_and_totals_without(rows, features, f, phi)
        f_x, f_drawn = f_rows.reshape(batch, -1).split([1, n_sizes * draws], 1)
        observed = (f_x - f_drawn).reshape(batch, n_sizes, draws)
        explained = phi_rows.reshape(-1, batch, 1 + n_sizes * draws)[..., 1:].reshape(-1, batch, n_sizes, draws)

        if sums is not None:  # [method, step, sample, subset]
            curves_agree(explained.transpose(1, 2), torch.tensor(sums))
            differences = golden().rows(case["output_differences"])[masker]
            which = [a for a in ("linear", "softmax") if ACTIVATIONS[a] is activation]
            wanted = torch.tensor(differences[("linear", "softmax").index(which[0])])
            curves_agree(observed.transpose(0, 1), wanted)
        nothing = torch.zeros(1, 1, dtype=torch.float64)
        valid = torch.ones(batch, n_sizes, draws, dtype=torch.bool)
        scores = dict(zip(methods.names, CORRELATIONS["pearson"](explained, observed, valid, nothing, nothing)))
        for method, wanted in recorded.items():
            if method == "zero":  # theirs defines the correlation of a constant as 0
                assert (wanted == 0).all()
                assert scores[method].isnan().all()
            else:
                correlations_agree(scores[method], wanted)


# ---------------------------------------------------------------- infidelity


def perturbations(case, generator):
    """`[perturbation, sample, ...]`: the recorded perturbations, before the perturbed inputs are clamped."""
    x, settings = samples(case), case["call"]["perturbation_generators"][generator]
    drawn = torch.tensor(golden().array(case["draws"][generator]))
    if generator == "gaussian":
        return drawn * settings["sd"]
    if generator == "noisy_baseline":
        return x - drawn * settings["sd"]
    removed = torch.zeros(len(drawn), *x.shape, dtype=torch.bool)
    segments = torch.tensor(data_of(case["model"])["segments"]) if generator == "segment" else None
    for j, of_draw in enumerate(drawn):
        if generator == "square":
            (row, column), side = of_draw.tolist(), settings["square_size"]
            removed[j, ..., row : row + side, column : column + side] = True
        else:
            for b, ids in enumerate(of_draw):
                removed[j, b] = torch.isin(segments[b], ids)
    return torch.where(removed, x, 0)


@cases("infidelity")
def test_normalised_infidelity_of_the_recorded_perturbations(case):
    x, methods = samples(case), attributions(case)
    for generator, activation, recorded in results(case):
        moved = perturbations(case, generator)

        def perturb_func(copies, moved=moved):
            moved = moved.transpose(0, 1).reshape(copies.shape)  # an example's copies side by side
            perturbed = (copies - moved).clamp(*case["clamp"])
            return copies - perturbed, perturbed

        def model(rows, activation=activation):
            output = model_of(case["model"])(rows)
            return output if activation is None else activation(output)

        scores = metrics.infidelity(
            model, perturb_func, x, methods, target=target(case), n_perturb_samples=len(moved), normalize=True
        )
        for method, wanted in recorded.items():
            infidelities_agree(scores[method], wanted)


@cases("infidelity", having=lambda case: "square" in case["call"]["perturbation_generators"])
def test_squares_at_the_recorded_places_give_the_recorded_scores(case):
    x, size = samples(case), case["call"]["perturbation_generators"]["square"]["square_size"]
    corners = torch.tensor(golden().array(case["draws"]["square"]))  # [draw, (row, column)], the same for all samples
    places = corners[:, 0] * (x.shape[-1] - size + 1) + corners[:, 1]

    def perturb_func(copies):
        _, perturbed = square_removal(copies, size=size, position=places.repeat(len(x)))
        perturbed = perturbed.clamp(*case["clamp"])
        return copies - perturbed, perturbed

    moved, _ = square_removal(x.repeat_interleave(len(places), 0), size=size, position=places.repeat(len(x)))
    assert_close(moved.unflatten(0, (len(x), -1)).transpose(0, 1), perturbations(case, "square"))
    for generator, activation, recorded in results(case):
        if generator != "square":
            continue

        def model(rows, activation=activation):
            output = model_of(case["model"])(rows)
            return output if activation is None else activation(output)

        scores = metrics.infidelity(
            model,
            perturb_func,
            x,
            attributions(case),
            target=target(case),
            n_perturb_samples=len(places),
            normalize=True,
        )
        for method, wanted in recorded.items():
            infidelities_agree(scores[method], wanted)


# ---------------------------------------------------------------- baselines and models


@pytest.mark.parametrize("name", ["cnn", "gray"])
def test_blurred_and_mean_baselines_are_the_recorded_ones(name):
    data = data_of(name)
    x = torch.tensor(data["samples"])
    blurred = box_blur(x, data["maskers"]["blur"]["kernel_size"])
    curves_agree(blurred, torch.tensor(data["baselines"]["blur"]))
    curves_agree(channel_mean(x), torch.tensor(data["baselines"]["average"]))


@pytest.mark.parametrize("name", ["cnn", "gray", "mlp"])
def test_the_recorded_models_give_the_recorded_logits(name):
    data = data_of(name)
    with torch.no_grad():
        curves_agree(model_of(name)(torch.tensor(data["samples"])), torch.tensor(data["logits"]))


@pytest.mark.parametrize("name", ["cnn", "gray"])
def test_segments_have_the_recorded_mean_attributions(name):
    data = data_of(name)
    x, maps = torch.tensor(data["samples"]), {m: torch.tensor(a) for m, a in data["attributions_pixel"].items()}
    features = Features(x, as_attributions(maps, (x,)), None, torch.tensor(data["segments"]))
    assert features.counts.tolist() == data["num_segments"]
    for totals, method in zip(features.totals("mean"), maps):
        for b, count in enumerate(data["num_segments"]):
            curves_agree(totals[b, :count], torch.tensor(data["segment_attributions"][method][b, :count]))


def test_pixels_as_feature_mask_give_the_recorded_pixel_curves():
    case = next(c for c in golden().cases("deletion", "cnn") if c["id"].endswith("pixel/morf/g3"))
    x, (masker, activation, recorded) = samples(case), next(results(case))
    for method, wanted in recorded.items():
        curve = metrics.deletion_curve(
            model_of("cnn"),
            x,
            attributions(case)[method].expand_as(x),
            baseline(case, masker),
            pixels(x),
            target=target(case),
            start=1.0,
            stop=0.0,
            n_steps=9,
            activation=activation,
        )
        curves_agree(curve, wanted)
