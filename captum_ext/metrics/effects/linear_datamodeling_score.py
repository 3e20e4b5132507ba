"""The linear datamodeling score (Park et al. 2023), as ContextCite takes it for the parts of a prompt."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..._core.arguments import Scores
from ..._core.card import metric
from ..._core.checks import check_choice, check_count
from ..._core.devices import sent
from ..._core.draws import SeedType, draw_seeds, generators
from ..._core.estimates import of_correlation
from ..._core.setting import Setting
from ..._core.sharing import shared_by_seed
from ..._core.signature import arguments_like
from ..._core.statistics import CORRELATIONS, rounding_of_outputs
from ..._core.subsets import Subsets, scores_and_totals_without


@metric(
    higher_is_better=True,
    range=(-1, 1),
    rows="B n_perturb_samples",
    reference="Park et al. 2023, arXiv:2303.14186",
)
@arguments_like(Setting)
def linear_datamodeling_score(
    n_perturb_samples: int = 50, *, correlation: str = "spearman", seed: SeedType = None, **setting: Any
) -> Scores:
    r"""Rank correlation, over random subsets of the features, of the kept attributions' sum and the output.

    .. math:: \operatorname{corr}_{S}\Bigl(\sum_{i \in S} \phi_i,\; f(x_S)\Bigr)

    where each feature is in `S`, and so kept, with probability 1/2, and the others are replaced. It asks whether the
    attributions predict which subsets of the features give a high output. A feature is a group of `feature_mask`, or
    without one an element (a position, if attributions have one channel). If an example has at most `n_perturb_samples`
    subsets, each is taken once and the score is exact.

    Park et al. score training examples, whose subsets train a model; Cohen-Wang et al. (ContextCite) score the sources
    of a prompt by the logit of an answer's probability: `captum_ext.llm.LogProbability` with ``attr_target="logit"``.

    Args:
        attributions: in the shape of `inputs`, or with one channel, or a mapping name -> attributions. The methods of a
            mapping share the subsets and the model's evaluations; if one of them has one channel, the features of all
            are positions.
        n_perturb_samples: the number of subsets.
        baselines: what replaces a feature: any of Captum's forms, or a function of the inputs. Default 0.
        feature_mask: as in Captum, or a function of the inputs such as those of `captum_ext.feature_masks`; ids need
            not be consecutive and may differ between examples.
        frozen: ids of `feature_mask` that do not count as features, such as special tokens or padding: they are never
            removed, drawn or ranked.
        activation: applied to the model's whole output before the target is picked, such as
            ``partial(torch.softmax, dim=1)``.
        aggregate: a group's attribution is the `"sum"` of its elements' attributions, as the formula has it, or their
            `"mean"`, for maps that repeat one value over a group.
        correlation: `"spearman"`, `"kendall"` (:math:`\tau_b`, which allows for ties) or `"pearson"`.
        seed: an int, or one per example; None follows `torch.manual_seed`. The draws depend on nothing else.

    Returns:
        `[B]` from -1 to 1, or a mapping name -> `[B]`. Higher is better, chance is 0. NaN where one side of the
        correlation is constant. At most `B n_perturb_samples` model rows.

    Raises:
        ValueError, TypeError: arguments that do not fit each other, NaN attributions, a missing `target`.

    Reference: Park et al. 2023, "TRAK: Attributing Model Behavior at Scale", arXiv:2303.14186; Cohen-Wang et al. 2024,
    "ContextCite: Attributing Model Generation to Context", arXiv:2409.00729.

    Example:
        >>> w = torch.tensor([1.0, -2.0, 3.0, 0.5])
        >>> x = torch.tensor([[1.0, 1.0, 2.0, 3.0]])
        >>> linear_datamodeling_score(lambda x: x @ w, x, {"exact": w * x, "opposite": -w * x})
        {'exact': tensor([1.]), 'opposite': tensor([-1.])}
    """
    check_choice("correlation", correlation, CORRELATIONS)
    draws = check_count("n_perturb_samples", n_perturb_samples)
    given, subsets, f_rows, removed = _drawn(draws, seed=seed, **setting)
    place, valid = subsets.place.to(f_rows.device), subsets.valid.to(f_rows.device)
    kept = -removed[:, place]  # [methods, B, draws]; less the sum of all attributions, which is the same in each draw
    resolution = given.totals.rounding(), rounding_of_outputs(f_rows[place], given.f.dtype)
    scores = CORRELATIONS[correlation](kept, f_rows[place], valid, *(r[..., 0] for r in resolution))
    exact = subsets.exact.to(f_rows.device)
    noise = partial(of_correlation, correlation, scores, kept, f_rows[place])
    return given.unpack(scores, lambda: noise().defined(scores, exact))


@shared_by_seed
def _drawn(draws: int, *, seed: SeedType, **setting: Any) -> tuple[Any, ...]:
    """The subsets, and the score and the removed features' attributions of every row."""
    given = Setting(**setting)
    counts, device = given.x.counts, given.x.inputs[0].device
    subsets = _Halves(counts, draw_seeds(seed, len(counts), draws), device)
    return given, subsets, *scores_and_totals_without(subsets.rows, given.x, given.f, given.totals)


class _Halves:
    """Subsets that lack each feature with probability 1/2, or every subset once where there are no more than draws.

    `place[b, j]` is the row of draw `j`, and `valid` says whether there is one.
    """

    def __init__(self, counts: Tensor, seeds: Tensor, device: torch.device):
        self.counts, self.seeds, self.device = counts, seeds, device
        batch, draws = seeds.shape
        existing = 2 ** counts.clamp(max=62)
        self.exact = existing <= draws
        self.valid = torch.arange(draws, device="cpu") < torch.where(self.exact, existing, draws)[:, None]
        self.place = (self.valid.flatten().cumsum(0) - 1).clamp(min=0).reshape(batch, draws)
        example, draw = self.valid.nonzero(as_tuple=True)
        keeps_all = self.exact[example] & (draw == existing[example] - 1)  # the last of all subsets
        self.rows = Subsets(example, draw, (~keeps_all).long(), self._ranks)

    def _ranks(self, example: Tensor, draw: Tensor) -> Tensor:
        """`[rows, F]`: 0 for the features that a row lacks, 1 for the others."""
        kept = torch.ones(len(example), int(self.counts.max()), dtype=torch.uint8, device="cpu")
        exact = self.exact[example]
        kept[exact] = self._every(example[exact], draw[exact])
        streams = generators(self.seeds[example[~exact], draw[~exact]].tolist())
        for row, count, g in zip((~exact).nonzero()[:, 0].tolist(), self.counts[example[~exact]].tolist(), streams):
            kept[row, :count].random_(2, generator=g)
        return sent(kept, self.device)

    def _every(self, example: Tensor, number: Tensor) -> Tensor:
        """`[rows, F]`: the bits of a subset's number, and 1 where the example has no feature."""
        place = torch.arange(int(self.counts.max()), device="cpu")
        bits = number[:, None] >> place.clamp(max=62) & 1
        return bits.masked_fill_(place >= self.counts[example, None], 1).to(torch.uint8)
