"""The share shown through a map: closed forms."""

from functools import partial

import pytest
import torch
from torch.testing import assert_close

from captum_ext.metrics import share_shown

closely = partial(assert_close, rtol=1e-12, atol=1e-12, equal_nan=True)


def normal(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("ones", [1, 3, 7])
def test_a_map_of_zeros_and_ones_shows_its_share_of_ones(ones):
    phi = (torch.arange(8) < ones).double()[None]
    closely(share_shown(phi, phi), torch.tensor([ones / 8]).double())
    closely(share_shown(phi, {"scaled": 3 * phi - 5, "opposite": -phi})["scaled"], share_shown(phi, phi))
    closely(share_shown(phi, -phi), 1 - share_shown(phi, phi))


def test_a_ramp_shows_a_half_and_a_constant_map_is_nan():
    ramp = torch.stack((torch.linspace(-3, 4, 9, dtype=torch.float64), torch.full((9,), 2.0).double()))
    closely(share_shown(ramp, ramp), torch.tensor([0.5, torch.nan], dtype=torch.float64))


def test_a_map_with_one_channel_counts_once_and_a_tuple_is_scaled_together():
    x = normal(3, 2, 2, 4)
    one = normal(3, 1, 2, 4, seed=1)
    closely(share_shown(x, one), share_shown(x, one.expand(-1, 2, -1, -1)))
    parts = (one.flatten(1)[:, :3], one.flatten(1)[:, 3:])
    closely(share_shown(parts, parts), share_shown(x, one))
