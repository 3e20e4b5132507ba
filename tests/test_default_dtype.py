"""Scores do not depend on `torch.set_default_dtype`: the tensors that the caller gives have types of their own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch.testing import assert_close

from captum_ext.metrics import pointing_game

from .calls import METRICS, cases_of, tiny

CASES = [case for metric in METRICS.values() for case in cases_of(metric)]


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_the_score_is_the_same_under_another_default(case):
    score, given = case(tiny()), case.of(tiny())
    for dtype in (torch.float64, torch.bfloat16):
        with default_dtype(dtype):
            assert_close(case.metric(**given), score, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_a_distance_from_the_truth_is_exact_under_a_small_default(dtype):
    """299 positions away; the square of that is infinite in float16 and rounded in bfloat16."""
    phi, truth = torch.zeros(1, 1, 1, 300), torch.zeros(1, 1, 1, 300, dtype=torch.bool)
    phi[..., 0], truth[..., -1] = 1.0, True
    with default_dtype(dtype):
        scores = [float(pointing_game(phi, phi, truth_mask=truth, tolerance=reach)) for reach in (298, 299)]
    assert scores == [0, 1]
