"""Deletion and insertion (Petsiuk et al. 2018), as curves and areas: insertion is deletion in the opposite order."""

from __future__ import annotations

from typing import Any

from ..._core.arguments import Scores, each
from ..._core.card import metric
from ..._core.checks import check_choice, check_fraction
from ..._core.removals import OPPOSITE, area_between, fractions, fractions_of, removals
from ..._core.setting import Setting
from ..._core.signature import arguments_like

OF_THE_CURVE = ("mode", "start", "stop", "n_steps", "rounding")  # what scores of single sizes do not take
INSIDE = "with start or stop inside 0..1"  # only the whole and the empty example are shared by all methods
ROWS = f"2 B + M B (n_steps - 2), for M methods; at most M B n_steps {INSIDE}"
ROWS_OF_BOTH = f"2 B + 2 M B (n_steps - 2), for M methods; at most 2 M B n_steps {INSIDE}"


@metric(
    higher_is_better=None,
    range=(float("-inf"), float("inf")),
    rows=ROWS,
    reference="Petsiuk et al. 2018, arXiv:1806.07421",
    axis=("fraction", lambda arguments: fractions_of(arguments).tolist()),
)
@arguments_like(Setting, aggregate="mean")
def deletion_curve(
    mode: str = "morf",
    start: float = 0.0,
    stop: float = 1.0,
    n_steps: int = 33,
    *,
    rounding: str = "round",
    **setting: Any,
) -> Scores:
    r"""The output after a growing share of the features was replaced, in the order of their relevance.

    .. math:: c(s) = f\bigl(x_{\setminus \pi(k)}\bigr), \qquad k = \operatorname{round}(s F)

    where :math:`\pi(k)` are the `k` most (`mode="morf"`) or least (`"lerf"`) relevant of the example's :math:`F`
    features and `s` runs from `start` to `stop` in `n_steps` even points. A feature is a group of `feature_mask`, or
    without one an element (a position, if attributions have one channel). Equal attributions are ordered by their
    index; LeRF is the same order reversed.

    Args:
        attributions: in the shape of `inputs`, or with one channel, or a mapping name -> attributions. The methods of a
            mapping share the evaluations of the whole and of the empty example; if one of them has one channel, the
            features of all are positions.
        baselines: what replaces a feature: any of Captum's forms, or a function of the inputs, such as those of
            `captum_ext.baselines`. Default 0.
        feature_mask: as in Captum, or a function of the inputs such as those of `captum_ext.feature_masks`; ids need
            not be consecutive and may differ between examples.
        frozen: ids of `feature_mask` that do not count as features, such as special tokens or padding: they are never
            removed, drawn or ranked.
        activation: applied to the model's whole output before the target is picked, such as
            ``partial(torch.softmax, dim=1)``.
        aggregate: whether groups are ranked by the `"mean"` or the `"sum"` of their elements' attributions.
        mode: `"morf"`, the most relevant features first, or `"lerf"`, the least relevant first.
        start, stop: the share of the features that is replaced at the first and at the last point.
        n_steps: the number of points, evenly spaced, with both ends.
        rounding: `"round"`, or `"floor"` to cut `s F` off, which repeats the numbers of features of AttriBench.

    Returns:
        `[B, n_steps]` on the scale of the output, or a mapping name -> `[B, n_steps]`. It falls early for a good
        explanation under MoRF, late under LeRF. Steps with equal `k` are evaluated once, and all methods share the
        whole and the empty example: at most `2 B + M B (n_steps - 2)` model rows for `M` methods, or `M B n_steps` if
        `start` or `stop` is neither 0 nor 1.

    Raises:
        ValueError, TypeError: arguments that do not fit each other, NaN attributions, a missing `target`, `start` or
            `stop` outside 0..1.

    Reference: Petsiuk et al. 2018, "RISE: Randomized Input Sampling for Explanation of Black-box Models",
    arXiv:1806.07421.

    Example:
        >>> w = torch.tensor([1.0, 4.0, 2.0])
        >>> deletion_curve(lambda x: x @ w, torch.ones(1, 3), w[None], n_steps=4)
        tensor([[7., 3., 1., 0.]])
    """
    check_choice("mode", mode, OPPOSITE)
    grid = fractions(start, stop, n_steps, rounding)
    x = removals(**setting)
    return x.unpack(x.curve(x.counts(grid, rounding), mode))


@metric(
    higher_is_better=None,
    range=(float("-inf"), float("inf")),
    rows=ROWS_OF_BOTH,
    reference="Petsiuk et al. 2018, arXiv:1806.07421",
    axis=("fraction", lambda arguments: fractions_of(arguments).tolist()),
    outer_axis=("order", lambda arguments: ["morf", "lerf"]),
)
@arguments_like(deletion_curve, without=("mode",))
def removal_curves(start: float, stop: float, n_steps: int, *, rounding: str, **arguments: Any) -> Scores:
    r"""Both deletion curves, most relevant first and least relevant first, with shared ends.

    .. math:: c_\pi(s) = f\bigl(x_{\setminus \pi(k)}\bigr), \qquad k = \operatorname{round}(s F)

    for the two orders :math:`\pi` of `deletion_curve`. All arguments except `mode`, and all errors, are as in
    `deletion_curve`. Many scores of this family are functions of these curves, and `evaluate` computes the curves once
    for all metrics with equal settings. There they have the axes `order` ("morf", "lerf") and `fraction`.

    Returns:
        `[B, 2, n_steps]` on the scale of the output, or a mapping name -> such curves: first the curve under MoRF,
        which falls early for a good explanation, then the one under LeRF, which falls late. At most
        `2 B + 2 M B (n_steps - 2)` model rows for `M` methods, or `2 M B n_steps` if `start` or `stop` is neither 0 nor
        1.

    Raises:
        ValueError, TypeError: as `deletion_curve`.

    Reference: Petsiuk et al. 2018, "RISE: Randomized Input Sampling for Explanation of Black-box Models",
    arXiv:1806.07421.

    Example:
        >>> w = torch.tensor([1.0, 4.0, 2.0])
        >>> removal_curves(lambda x: x @ w, torch.ones(1, 3), w[None], n_steps=4)
        tensor([[[7., 3., 1., 0.],
                 [7., 6., 4., 0.]]])
    """
    grid = fractions(start, stop, n_steps, rounding)
    x = removals(**arguments)
    return x.unpack(x.curves(x.counts(grid, rounding), "morf", "lerf"))


@metric(
    higher_is_better=None,
    range=(float("-inf"), float("inf")),
    rows=ROWS,
    reference="Petsiuk et al. 2018, arXiv:1806.07421",
    axis=("fraction", lambda arguments: fractions_of(arguments).tolist()),
)
@arguments_like(deletion_curve)
def insertion_curve(mode: str, start: float, stop: float, **arguments: Any) -> Scores:
    r"""The output while a growing share of the features is shown, by relevance, and the rest is replaced.

    .. math:: c(s) = f\bigl(x_{\setminus \bar\pi(k)}\bigr), \qquad k = \operatorname{round}((1 - s) F)

    where :math:`\bar\pi(k)` are the `k` least (`mode="morf"`: the most relevant are shown first) or most (`"lerf"`)
    relevant features. This is the deletion curve in the opposite order, from `1 - start` to `1 - stop`. Takes the same
    arguments, raises the same errors and costs the same as `deletion_curve`.

    Returns:
        `[B, n_steps]` on the scale of the output, or a mapping name -> `[B, n_steps]`. It rises early for a good
        explanation under MoRF.

    Raises:
        ValueError, TypeError: as `deletion_curve`.

    Reference: Petsiuk et al. 2018, "RISE: Randomized Input Sampling for Explanation of Black-box Models",
    arXiv:1806.07421.

    Example:
        >>> w = torch.tensor([1.0, 4.0, 2.0])
        >>> insertion_curve(lambda x: x @ w, torch.ones(1, 3), w[None], n_steps=4)
        tensor([[0., 4., 6., 7.]])
    """
    check_choice("mode", mode, OPPOSITE)
    start, stop = check_fraction("start", start), check_fraction("stop", stop)
    return deletion_curve(mode=OPPOSITE[mode], start=1 - start, stop=1 - stop, **arguments)


@metric(
    higher_is_better=False,
    range=(float("-inf"), float("inf")),
    rows=ROWS,
    reference="Petsiuk et al. 2018, arXiv:1806.07421",
    flipped_by=("mode", "lerf"),
)
@arguments_like(deletion_curve)
def deletion(**arguments: Any) -> Scores:
    r"""The area under the deletion curve: the mean output while features are replaced in the order of their relevance.

    .. math:: \frac{1}{s_1 - s_0} \int_{s_0}^{s_1} c(s) \, ds

    by the trapezoid rule over the `n_steps` points from `start` :math:`s_0` to `stop` :math:`s_1`. Takes the same
    arguments, raises the same errors and costs the same as `deletion_curve`.

    Returns:
        `[B]` on the scale of the output, or a mapping name -> `[B]`. Lower is better under MoRF, higher under LeRF.

    Raises:
        ValueError, TypeError: as `deletion_curve`.

    Reference: Petsiuk et al. 2018, "RISE: Randomized Input Sampling for Explanation of Black-box Models",
    arXiv:1806.07421.

    Example:
        >>> w = torch.tensor([1.0, 4.0, 2.0])
        >>> deletion(lambda x: x @ w, torch.ones(1, 3), {"best": w[None], "worst": -w[None]}, n_steps=4)
        {'best': tensor([2.5000]), 'worst': tensor([4.5000])}
    """
    return each(area_between(arguments), deletion_curve(**arguments))


@metric(
    higher_is_better=True,
    range=(float("-inf"), float("inf")),
    rows=ROWS,
    reference="Petsiuk et al. 2018, arXiv:1806.07421",
    flipped_by=("mode", "lerf"),
)
@arguments_like(deletion_curve)
def insertion(**arguments: Any) -> Scores:
    r"""The area under the insertion curve: the mean output while features are shown in the order of their relevance.

    .. math:: \frac{1}{s_1 - s_0} \int_{s_0}^{s_1} c(s) \, ds

    with the curve of `insertion_curve`, by the trapezoid rule over the `n_steps` points from `start` :math:`s_0` to
    `stop` :math:`s_1`. Takes the same arguments, raises the same errors and costs the same as `deletion_curve`.

    Returns:
        `[B]` on the scale of the output, or a mapping name -> `[B]`. Higher is better under MoRF, lower under LeRF.

    Raises:
        ValueError, TypeError: as `deletion_curve`.

    Reference: Petsiuk et al. 2018, "RISE: Randomized Input Sampling for Explanation of Black-box Models",
    arXiv:1806.07421.

    Example:
        >>> w = torch.tensor([1.0, 4.0, 2.0])
        >>> insertion(lambda x: x @ w, torch.ones(1, 3), {"best": w[None], "worst": -w[None]}, n_steps=4)
        {'best': tensor([4.5000]), 'worst': tensor([2.5000])}
    """
    return each(area_between(arguments), insertion_curve(**arguments))
