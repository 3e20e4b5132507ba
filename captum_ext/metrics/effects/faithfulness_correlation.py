"""Sensitivity-n under other defaults: faithfulness correlation (Bhatt et al. 2020), and MuFidelity for images."""

from __future__ import annotations

from typing import Any

from ..._core.arguments import Scores
from ..._core.card import card_of, metric
from ..._core.grids import grid
from ..._core.signature import arguments_like
from .sensitivity_n import ROWS, sensitivity_n

REFERENCE = "Bhatt et al. 2020, arXiv:2005.00631"
SIZES = card_of(sensitivity_n).axis  # type: ignore[union-attr]


@metric(
    higher_is_better=True,
    range=(-1, 1),
    rows=ROWS,
    reference=REFERENCE,
    axis=SIZES,
)
@arguments_like(sensitivity_n, n=0.1, n_perturb_samples=100)
def faithfulness_correlation(**arguments: Any) -> Scores:
    r"""Correlation, over random feature sets of one size, of a set's attribution and the drop of the output without it.

    .. math:: \operatorname{corr}_{|S| = n}\Bigl(\sum_{i \in S} \phi_i,\; f(x) - f(x_{\setminus S})\Bigr)

    It is `sensitivity_n` with 100 sets of a tenth of the features. Takes the same arguments, raises the same errors and
    costs the same as `sensitivity_n`.

    Quantus takes sets of 224 elements, replaces them by the input's least value and, by default, takes the output after
    a softmax. Under the same settings it gives this score.

    Returns:
        `[B]` for one `n`, `[B, len(n)]` for several, from -1 to 1, or a mapping name -> such scores. Higher is better,
        chance is 0. NaN where one side of the correlation is constant.

    Raises:
        ValueError, TypeError: as `sensitivity_n`.

    Reference: Bhatt et al. 2020, "Evaluating and Aggregating Feature-based Model Explanations", arXiv:2005.00631.

    Example:
        >>> import torch
        >>> w = torch.tensor([1.0, -2.0, 3.0, 0.5])
        >>> x = torch.tensor([[1.0, 1.0, 2.0, 3.0]])
        >>> faithfulness_correlation(lambda x: x @ w, x, w * x, n=2)
        tensor([1.])
    """
    return sensitivity_n(**arguments)


@metric(
    higher_is_better=True,
    range=(-1, 1),
    rows="B + B len(n) n_perturb_samples",
    reference=REFERENCE,
    axis=SIZES,
)
@arguments_like(
    sensitivity_n, without=("estimator",), n=0.2, feature_mask=grid, n_perturb_samples=200, correlation="spearman"
)
def mu_fidelity(**arguments: Any) -> Scores:
    r"""Rank correlation, over random sets of image cells, of a set's attribution and the drop of the output without it.

    .. math:: \operatorname{corr}^{\mathrm{rank}}_{|S| = n}\Bigl(\sum_{i \in S} \phi_i, f(x) - f(x_{\setminus S})\Bigr)

    It is `sensitivity_n` with Spearman's correlation, the cells of a 9 x 9 grid as features
    (`feature_mask=captum_ext.feature_masks.grid`), and 200 sets of a fifth of them. Takes the same arguments
    except `estimator`, raises the same errors and costs the same as the default of `sensitivity_n`. For another grid
    give ``feature_mask=partial(grid, cells=7)``, for tables ``feature_mask=None``.

    xplique's MuFidelity has these defaults, but it removes each cell at random, so that its sets vary in size, and it
    returns 0 for NaN.

    Returns:
        `[B]` for one `n`, `[B, len(n)]` for several, from -1 to 1, or a mapping name -> such scores. Higher is better,
        chance is 0. NaN where one side of the correlation is constant.

    Raises:
        ValueError, TypeError: as `sensitivity_n`; inputs without positions.

    Reference: Bhatt et al. 2020, "Evaluating and Aggregating Feature-based Model Explanations", arXiv:2005.00631.

    Example:
        >>> import torch
        >>> x = torch.rand(2, 3, 18, 18, generator=torch.Generator().manual_seed(0))
        >>> mu_fidelity(lambda x: x.sum((1, 2, 3)), x, {"inputs": x, "opposite": -x}, seed=0)
        {'inputs': tensor([1., 1.]), 'opposite': tensor([-1., -1.])}
    """
    return sensitivity_n(**arguments)
