"""The masker of tables."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..._core.checks import check_exact
from ._masker import Masker


class TabularMasker(Masker):
    """Replaces columns by a number, or by one number per column.

    Example:
        >>> masker = TabularMasker([0.0, 10.0])
        >>> masker.set_batch(torch.ones(1, 2), attributions=torch.tensor([[1.0, 2.0]]))
        >>> masker.mask_top(1)
        tensor([[ 1., 10.]])
    """

    def __init__(self, mask_value: float | Sequence[float] = 0.0):
        super().__init__()
        self.mask_value = mask_value

    def _initialize_baselines(self, samples: Tensor) -> None:
        given = torch.as_tensor(self.mask_value)
        check_exact("mask_value", given, samples)
        value = given.to(samples)
        if value.dim() and value.shape != samples.shape[1:]:
            wanted = f"a number, or one for each of the columns {tuple(samples.shape[1:])}"
            raise ValueError(f"`mask_value` must be {wanted}; got {self.mask_value}.")
        self.baseline = value.expand_as(samples)
