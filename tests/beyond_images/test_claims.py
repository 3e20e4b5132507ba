"""What must hold on any model and any data, and what a good explanation must show: it beats the random control, with an
interval.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache, partial

import numpy as np
import pytest
import torch
from captum.attr import Saliency
from torch.testing import assert_close

from captum_ext import evaluate, metrics, random_attribution

from .domains import DOMAINS, Domain, domain, every_domain
from .explained import groups, left_out, masks_of, present, score, shapley, spread, tuples, without

closely = partial(assert_close, rtol=1e-3, atol=2e-3)


# ---- identities


def few(name: str) -> Domain:
    """A text costs a transformer."""
    return domain(name)[: 3 if name == "text" else 6]


@every_domain
def test_leaving_groups_out_explains_single_groups_exactly(name):
    some = few(name)
    phi = spread(some, left_out(some))
    exact = metrics.sensitivity_n(some.model, attributions=phi, n=1, n_perturb_samples=50, **some.arguments)
    closely(exact, torch.ones(len(some)))
    closely(
        metrics.sensitivity_n(some.model, attributions=opposite(phi), n=1, **some.arguments), -torch.ones(len(some))
    )


def opposite(phi):
    return tuple(-a for a in phi) if isinstance(phi, tuple) else -phi


@every_domain
def test_the_first_step_of_deletion_takes_what_costs_most_and_the_last_leaves_what_is_frozen(name):
    some = few(name)
    effects, whole = left_out(some), score(some, *tuples(some.inputs))
    curve = metrics.deletion_curve(
        some.model, attributions=spread(some, effects), n_steps=2 * len(groups(some)), aggregate="sum", **some.arguments
    )
    everything = [torch.ones(len(some), dtype=torch.bool)] * len(groups(some))
    closely(curve[:, 0], whole)
    closely(curve[:, -1], score(some, *without(some, everything)))
    first = torch.stack([row[row != row[0]][0] for row in curve])
    closely(first, whole - effects.where(present(some), -torch.inf).amax(1))


@every_domain
def test_insertion_is_deletion_of_the_opposite_order(name):
    some = few(name)
    phi = random_attribution()(some.inputs)
    shown = metrics.insertion_curve(some.model, attributions=phi, n_steps=5, **some.arguments)
    closely(
        shown, metrics.deletion_curve(some.model, attributions=phi, n_steps=5, mode="lerf", **some.arguments).flip(1)
    )


def test_no_pixel_beyond_its_reach_matters_to_a_pixel_of_a_segmentation():
    """Two convolutions of 3 x 3 see 5 x 5 pixels: the others have no gradient, and removing them changes nothing."""
    some = domain("segmentation")
    here = torch.tensor([[r, c] for _, r, c in some.target])
    rows, columns = torch.meshgrid(torch.arange(8), torch.arange(8), indexing="ij")
    far = torch.stack([((rows - r).abs() > 2) | ((columns - c).abs() > 2) for r, c in here])[:, None]  # [B, 1, 8, 8]
    gradient = Saliency(some.model).attribute(some.inputs, target=some.target)
    assert gradient[far].abs().max() == 0
    assert (gradient.flatten(1) > 0).any(1).all()
    curve = metrics.deletion_curve(
        some.model, some.inputs, (~far).float(), feature_mask=far.long(), target=some.target, n_steps=3, mode="lerf"
    )
    closely(curve[:, 1], curve[:, 0])
    assert (curve[:, 2] - curve[:, 0]).abs().min() > 1e-3


@every_domain
def test_shapley_values_are_complete_and_effects_of_single_groups_rank_them(name):
    some = domain(name)[: 2 if name == "text" else 4]
    closely(
        metrics.completeness(some.model, attributions=spread(some, shapley(some, 1)), **some.arguments),
        torch.zeros(len(some)),
    )
    alone = spread(some, left_out(some))
    closely(metrics.monotonicity_correlation(some.model, attributions=alone, **some.arguments), torch.ones(len(some)))
    closely(metrics.non_sensitivity(some.model, attributions=alone, **some.arguments), torch.zeros(len(some)))


def test_the_gradient_of_a_pixels_class_lies_where_the_pixel_can_see():
    some = domain("segmentation")
    rows, columns = torch.meshgrid(torch.arange(8), torch.arange(8), indexing="ij")
    near = torch.stack([((rows - r).abs() <= 2) & ((columns - c).abs() <= 2) for _, r, c in some.target])[:, None]
    gradient = Saliency(some.model).attribute(some.inputs, target=some.target)
    maps = {"gradient": gradient, "noise": random_attribution()(some.inputs).abs()}
    mass = metrics.relevance_mass_accuracy(some.inputs, maps, near)
    closely(mass["gradient"], torch.ones(len(some)))
    assert mass["noise"].max() < 0.9
    closely(metrics.pointing_game(some.inputs, gradient, near), torch.ones(len(some)))


@pytest.mark.parametrize("name", ["table", "two inputs", "series", "segmentation"])
def test_an_explanation_by_the_input_alone_survives_random_parameters_and_gradients_do_not(name):
    some = domain(name)[:8]
    kept = {"target": some.target} if some.target is not None else {}
    alike = partial(metrics.parameter_randomization, some.model, inputs=some.inputs, **kept)
    closely(alike(explanation_factory=lambda model: lambda inputs, **_: inputs), torch.ones(8))
    assert alike(explanation_factory=lambda model: partial(Saliency(model).attribute, abs=False)).mean() < 0.9


# ---- against the random control, through evaluate


def examples(some: Domain) -> list:
    """As a data set: inputs, target (None for regression), the model's further arguments, and each example's own
    feature mask.
    """

    def row(value, b):
        if isinstance(value, tuple):
            return tuple(row(v, b) for v in value)
        return value if value is None else value[b]

    masks = tuple(m.expand(len(some), *m.shape[1:]) for m in tuples(some.feature_mask))
    masks = masks if isinstance(some.inputs, tuple) else masks[0]
    parts = (some.inputs, some.target, some.additional_forward_args)
    return [(*(row(part, b) for part in parts), {"feature_mask": row(masks, b)}) for b in range(len(some))]


def with_groups_removed(some: Domain):
    """A perturbation for infidelity: about a third of the groups of a mask that all examples share, in texts of the
    tokens.
    """
    masks = [m[:1] for m in masks_of(some)]
    if some.frozen is not None:
        masks = [torch.arange(len(masks[0][0]))[None, :, None].expand_as(masks[0])]

    @metrics.infidelity_perturb_func_decorator(multiply_by_inputs=True)
    def perturb(inputs, baselines):
        of_inputs, of_baselines = tuples(inputs), tuples(baselines)
        removed = torch.rand(len(of_inputs[0]), 1 + max(int(m.max()) for m in masks)) < 0.3
        perturbed = tuple(torch.where(removed[:, m[0]], b, x) for x, b, m in zip(of_inputs, of_baselines, masks))
        return perturbed if isinstance(inputs, tuple) else perturbed[0]

    return perturb


def shown(name: str) -> Domain:
    return domain(name)[:30]


@cache
def shapley_maps(name: str):
    return spread(shown(name), shapley(shown(name), 1 if name == "text" else 6))


@cache
def evaluated(name: str):
    """Shapley values of the groups, and noise, by one metric of each family that judges explanations."""
    some = shown(name)
    removal = {"baselines": some.baselines, "frozen": some.frozen}
    measures = {
        "deletion": partial(metrics.deletion, n_steps=6, aggregate="sum", **removal),
        "insertion": partial(metrics.insertion, n_steps=6, aggregate="sum", **removal),
        "sensitivity_n": partial(metrics.sensitivity_n, n=0.3, n_perturb_samples=15, **removal),
        "infidelity": partial(
            metrics.infidelity,
            perturb_func=with_groups_removed(some),
            baselines=some.baselines,
            n_perturb_samples=8,
            normalize=True,
        ),
    }
    methods = {
        "shapley": shapley_maps(name),
        "random": random_attribution,
    }
    return evaluate(some.model, examples(some), methods, measures, batch_size=7)


JUDGED = ("deletion", "insertion", "sensitivity_n", "infidelity")


@every_domain
@pytest.mark.parametrize("metric", JUDGED)
def test_shapley_values_beat_noise(metric, name):
    table = evaluated(name).compare(metric)
    (row,) = table.to_dict("records")
    assert row["attribution"] == "shapley"
    assert row["better"]
    assert row["pairs"] == len(shown(name))
    scores = evaluated(name).dataset[metric]
    gain = (scores.sel(attribution="shapley") - scores.sel(attribution="random")).to_numpy()
    gain = gain if scores.attrs["higher_is_better"] else -gain
    assert np.mean(gain) - 2.6 * np.std(gain, ddof=1) / len(gain) ** 0.5 > 0  # a 99 % interval of the mean difference


@every_domain
def test_evaluate_gives_the_scores_of_the_metrics_themselves(name):
    result = evaluated(name)
    few, phi = shown(name)[:7], shapley_maps(name)
    first = tuple(a[:7] for a in phi) if isinstance(phi, tuple) else phi[:7]
    scores = metrics.deletion(few.model, attributions=first, n_steps=6, aggregate="sum", **few.arguments)
    found = result.dataset["deletion"].sel(attribution="shapley").to_numpy()[:7]
    closely(torch.from_numpy(found), scores)


@every_domain
def test_gradients_are_steadier_than_noise(name):
    some = domain(name) if name != "text" else domain(name)[:8]
    data = [example[:3] for example in examples(some)]
    radius = 0.02 if name == "text" else 0.1
    measures = {"sensitivity_max": partial(metrics.sensitivity_max, n_perturb_samples=3, perturb_radius=radius)}
    result = evaluate(some.model, data, {"gradient": Saliency, "random": random_attribution}, measures)
    (row,) = result.compare().to_dict("records")
    assert row["better"]
    assert row["effect"] > 0.9


def test_every_domain_has_been_asked():
    assert set(DOMAINS) == {"table", "two inputs", "series", "segmentation", "text"}
    assert replace(domain("table")).target is not None
    assert domain("series").target is None
    assert domain("two inputs").target is None
    assert isinstance(domain("two inputs").inputs, tuple)
    assert all(len(t) == 3 for t in domain("segmentation").target)
