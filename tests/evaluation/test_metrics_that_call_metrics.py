"""A metric of the caller's may call metrics of the package several times, and change the model or a tensor between."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from captum_ext import evaluate, metrics


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 2)).double().eval()


SCORED = {
    "deletion": lambda f, x, a, target: metrics.deletion(f, x, a, target=target),
    "completeness": lambda f, x, a, target: metrics.completeness(f, x, a, target=target),
    "sensitivity_n": lambda f, x, a, target: metrics.sensitivity_n(f, x, a, n=2, target=target, seed=0),
    "lds": lambda f, x, a, target: metrics.linear_datamodeling_score(f, x, a, target=target, seed=0),
    "infidelity": lambda f, x, a, target: metrics.infidelity(
        f, lambda rows: (0.1 * rows, 0.9 * rows), x, a, target=target
    ),
}
CHANGES = {
    "hook": lambda net, x, a: net[0].register_forward_hook(lambda module, given, output: output.sin()),
    "data": lambda net, x, a: net[3].weight.data[:, ::2].mul_(-1),
    "module": lambda net, x, a: net.insert(1, nn.Softplus()),
    "mode": lambda net, x, a: net.train(),
    "inputs": lambda net, x, a: x.mul_(-2),
    "attributions": lambda net, x, a: a[:, ::2].neg_(),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_its_second_call_sees_the_change(change):
    def twice(score):
        def metric(forward_func, inputs, attributions, target):
            net, x, a = copy.deepcopy(forward_func), inputs.clone(), attributions.clone()
            first = score(net, x, a, target)
            change(net, x, a)
            return torch.stack((first, score(net, x, a, target)), 1)

        return metric

    x, target = torch.randn(3, 4, dtype=torch.float64), torch.tensor([0, 1, 1])
    attributions = torch.randn(3, 4, dtype=torch.float64)
    data = [(row, int(label)) for row, label in zip(x, target)]
    for name, score in SCORED.items():
        found = evaluate(model(), data, {"map": attributions}, {"twice": twice(score)})
        expected = twice(score)(model(), x, attributions, target)
        scores = torch.tensor(found.dataset["twice"].values)[0]
        torch.testing.assert_close(scores[:, 0], expected[:, 0], equal_nan=True, msg=name)
        if change is not CHANGES["mode"]:
            torch.testing.assert_close(scores[:, 1], expected[:, 1], equal_nan=True, msg=name)
        assert not torch.equal(scores[:, 0], scores[:, 1]), name
