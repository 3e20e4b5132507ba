"""Every exported metric runs on tables, texts, series, several inputs and outputs with axes: arguments are found by
their names.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.testing import assert_close

import captum_ext.metrics as exported

from ..calls import LEFT_OUT, METRICS, OF_ORDERS, Setting, small_step, takes
from .domains import Domain, domain, every_domain
from .explained import masks_of

OF_CLASSES = {
    *(exported.consistency, exported.minimal_subset, exported.random_logit, exported.road_accuracy),
    *(exported.positive_fidelity, exported.negative_fidelity, exported.characterization_score),
    *(exported.impact_coverage, exported.unfaithfulness),
}
OF_IMAGES = {exported.mst_compactness}  # which refuse anything else
COSTLY = {m for m in METRICS.values() if takes(m, "explanation_factory")} | {*OF_ORDERS}
every_metric = pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)


def setting_of(some: Domain, first: int = 0, **own: Any) -> Setting:
    """What the domain knows, and sizes that suit groups of any number."""
    masks = tuple(m == m.flatten(1).amax(1).reshape(-1, *[1] * (m.dim() - 1)) for m in masks_of(some))
    example = first + torch.arange(len(some))
    sizes = {"n": 2, "k": 2, "n_steps": 4, "n_perturb_samples": 4, "order": "full", "perturb_radius": LEFT_OUT}
    given = some.arguments | {
        "target": LEFT_OUT if some.target is None else some.target,
        "truth_mask": masks if isinstance(some.inputs, tuple) else masks[0],
        "other_classes": some.target,
        "discretize": LEFT_OUT,
        "shift": (1.0, 0.0) if isinstance(some.inputs, tuple) else 1.0,  # of what goes through `layer`
        "perturb_func": small_step,
    }
    return Setting(
        some.model, some.inputs, example, some.model, some.inputs, some.classes, some.layer, sizes | given | own
    )


def scores(metric: Any, setting: Setting) -> torch.Tensor:
    own = {"perturb_func": LEFT_OUT} if takes(metric, "explanation_func") else {}
    return setting.call(metric, **own)


class Recorded:
    def __init__(self, model: Any):
        self.model, self.rows = model, []

    def __call__(self, *arguments: Any) -> torch.Tensor:
        self.rows.append(arguments[0])
        return self.model(*arguments)


def check_kept(some: Domain, rows: torch.Tensor) -> None:
    """Special tokens and padding are in every row as they were, the other tokens not in all."""
    special = (some.feature_mask == -1)[..., 0]
    kept = [[torch.equal(row[s], x[s]) for x, s in zip(some.inputs, special)] for row in rows]
    assert all(map(any, kept))
    changed = [[torch.equal(row[~s], x[~s]) for x, s in zip(some.inputs, special)] for row in rows]
    assert not all(map(any, changed))


@every_domain
@every_metric
def test_there_is_a_row_of_scores_per_example_whatever_its_neighbours(metric, name):
    """In texts no metric that takes frozen features touches special tokens and padding."""
    if metric in OF_CLASSES and domain(name).classes is None:
        pytest.skip("compares classes, and this model has none")
    if metric is exported.impact_coverage and (isinstance(domain(name).inputs, tuple) or domain(name).inputs.dim() < 3):
        pytest.skip("puts a patch at positions, and this model has none")
    rows = 2 if name == "text" else 3
    some = domain(name)[:rows]
    if metric in OF_IMAGES and (isinstance(some.inputs, tuple) or some.inputs.dim() != 4):
        with pytest.raises(ValueError, match="must be one tensor of images"):
            scores(metric, setting_of(some))
        return
    references = {"other_attributions": setting_of(some).of(METRICS["sparseness"])["attributions"]}
    setting = setting_of(some, **references)
    touches = takes(metric, "frozen") and not takes(metric, "perturb_func")  # which decides for itself
    recorded = name == "text" and touches and takes(metric, "forward_func")
    setting = replace(setting, model=Recorded(some.model)) if recorded else setting
    together = scores(metric, setting)
    assert len(together) == rows
    assert together.dtype == torch.float32
    assert together.isfinite().any()
    if recorded:
        check_kept(some, torch.cat(setting.model.rows))
    if name == "text" and metric in COSTLY:
        return
    alone = setting_of(some[rows - 1 :], rows - 1, **references, other_classes=some.target)
    rounding = 0.02 if name == "text" else 1e-3  # of gradients of a transformer in float32, which differ with the batch
    assert_close(scores(metric, alone), together[rows - 1 :], rtol=rounding, atol=1e-4, equal_nan=True)
