"""The second type of device refuses what a GPU refuses, and notes what makes the host wait for a GPU."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

from . import second_device

pytestmark = pytest.mark.skipif(not second_device.IS_THERE, reason="PyTorch has no Python for a type of device")


@pytest.fixture
def there():
    return torch.tensor([[1.0, 2.0], [3.0, 4.0]]).to("sim")


MIXED = {
    "a sum": lambda t: t + torch.ones(2, 2),
    "a sum with one number of the device": lambda t: torch.ones(2, 2) + t[0, 0],
    "a matrix product": lambda t: t @ torch.ones(2, 2),
    "cat": lambda t: torch.cat((t, torch.ones(1, 2))),
    "where": lambda t: torch.where(torch.ones(2, 2, dtype=torch.bool), t, 0),
    "rows of the host by numbers of the device": lambda t: torch.ones(5)[t.long()],
    "the other device": lambda t: t + t.to("sim:1"),
    "a generator of the host": lambda t: torch.rand(2, device="sim", generator=torch.Generator()),
}


@pytest.mark.parametrize("mixes", MIXED.values(), ids=MIXED)
def test_tensors_of_several_devices_are_refused(mixes, there):
    with pytest.raises(RuntimeError):
        mixes(there)


def test_numpy_gets_no_values(there):
    with pytest.raises(TypeError):
        there.numpy()


def test_a_single_number_of_the_host_and_rows_by_numbers_of_the_host_are_taken(there):
    assert (there + torch.tensor(1.0)).tolist() == [[2, 3], [4, 5]]
    assert there[torch.tensor([1])].tolist() == [[3, 4]]


WAITING = {
    "item": lambda t: t[0, 0].item(),
    "tolist": lambda t: t.tolist(),
    "bool": lambda t: bool((t > 0).all()),
    "cpu": lambda t: t.cpu(),
    "to the host without waiting": lambda t: t.to("cpu", non_blocking=True),  # which would have no values yet
    "from the host": lambda t: torch.ones(3).to(t.device),
    "rows by numbers of the host": lambda t: t[torch.tensor([1])],
    "rows by a mask": lambda t: t[t[0] > 0],
    "nonzero": lambda t: t.nonzero(),
    "unique": lambda t: t.unique(),
    "equal": lambda t: torch.equal(t, t),
}
NOT_WAITING = {
    "a sum": lambda t: (t + 1).sum(),
    "a new tensor": lambda t: torch.zeros(3, device=t.device),
    "from the host without waiting": lambda t: torch.ones(3).to(t.device, non_blocking=True),
    "rows by numbers": lambda t: t[torch.zeros(1, dtype=torch.long, device=t.device)],
    "another type": lambda t: t.double(),
}


@pytest.mark.parametrize("waits", WAITING.values(), ids=WAITING)
def test_the_host_waits(waits, there):
    with second_device.waits() as found:
        waits(there)
    assert found.total() == 1


@pytest.mark.parametrize("goes_on", NOT_WAITING.values(), ids=NOT_WAITING)
def test_the_host_goes_on(goes_on, there):
    with second_device.waits() as found:
        goes_on(there)
    assert not found


def test_a_model_goes_there_is_copied_and_pickled_and_has_gradients(there):
    net = nn.Linear(2, 1)
    expected = torch.autograd.grad(net(there.cpu()).sum(), net.weight)[0]
    net = pickle.loads(pickle.dumps(copy.deepcopy(net.to("sim"))))
    assert [type(p) for p in net.parameters()] == [second_device.OnDevice] * 2
    assert torch.autograd.grad(net(there).sum(), net.weight)[0].tolist() == expected.tolist()


def test_the_device_draws_from_a_generator_of_its_own():
    def drawn():
        torch.sim.manual_seed(3)
        return torch.rand(2, device="sim").tolist()

    state, first = torch.get_rng_state(), drawn()
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(2)
    assert drawn() == first
