"""A small run for these tests: a model that notes its calls, a data set, methods and metrics, all in float64."""

from __future__ import annotations

import os
import random
import time
from contextlib import contextmanager
from functools import partial

import numpy as np
import pytest
import torch
from captum.attr import InputXGradient, Saliency
from torch import nn

from captum_ext import evaluate, metrics, random_attribution
from captum_ext.evaluation.store import ShardStore

N, SEED = 8, 5


class Net(nn.Module):
    """`[rows, 4] -> [rows, 3]`; dropout, so that a forgotten `eval()` shows."""

    def __init__(self, outputs=3):
        super().__init__()
        torch.manual_seed(3)
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.Softplus(), nn.Dropout(0.5), nn.Linear(8, outputs)).double()
        self.calls = []

    def forward(self, x):
        self.calls.append(len(x))
        return self.layers(x)

    @property
    def rows(self):
        return sum(self.calls)


def net():
    """Makes the model and leaves the global generator as it is."""
    with torch.random.fork_rng():
        return Net()


def inputs(n=N, features=4, seed=1):
    return torch.randn(n, features, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def examples(n=N):
    return [(x, i % 3) for i, x in enumerate(inputs(n))]


TARGETS = torch.arange(N) % 3


def shrunk(x):
    """A perturbation that draws nothing."""
    change = 0.1 * x * torch.arange(1, x.shape[1] + 1)
    return change, x - change


def drawn_from_all(x):
    """A perturbation that draws from every global generator."""
    noise = torch.randn_like(x) * np.random.uniform(0.5, 1.5) * random.uniform(0.5, 1.5)
    return 0.1 * noise, x - 0.1 * noise


def global_states():
    """What the global generators of torch, numpy and Python would give next."""
    kind, keys, *rest = np.random.get_state()
    return torch.get_rng_state().tolist(), (kind, keys.tolist(), *rest), random.getstate()


METHODS = {"saliency": Saliency, "product": InputXGradient, "random": random_attribution}
METRICS = {
    "infidelity": partial(metrics.infidelity, perturb_func=shrunk, n_perturb_samples=3),
    "sensitivity_n": partial(metrics.sensitivity_n, n=2, n_perturb_samples=5),
    "sizes": partial(metrics.sensitivity_n, n=[1, 3], n_perturb_samples=3),
    "deletion": metrics.deletion,
    "insertion": partial(metrics.insertion, mode="lerf"),
    "deletion_curve": partial(metrics.deletion_curve, n_steps=5),
    "insertion_curve": partial(metrics.insertion_curve, n_steps=3),
    "sensitivity_max": partial(metrics.sensitivity_max, n_perturb_samples=3),
}
FEW_METRICS = {name: METRICS[name] for name in ("deletion", "sensitivity_n")}


def run(model=None, data=None, methods=METHODS, metrics=FEW_METRICS, **options):
    """The whole small run, but for what a test changes."""
    options = {"batch_size": 3, "seed": SEED, **options}
    return evaluate(
        Net() if model is None else model, examples() if data is None else data, methods, metrics, **options
    )


def scores(evaluation, metric, method=None):
    """A metric's scores as a tensor: of one method, or of the only one."""
    variable = evaluation.dataset[metric]
    return torch.as_tensor(variable.values[0] if method is None else variable.sel(attribution=method).values)


def assert_same_scores(a, b, rtol=1e-9):
    """Every metric of both, but for the last bits: a batch of another size may be summed in another order."""
    assert list(a.dataset.data_vars) == list(b.dataset.data_vars)
    for name in a.dataset.data_vars:
        x, y = (torch.as_tensor(e.dataset[name].values) for e in (a, b))
        torch.testing.assert_close(x, y, rtol=rtol, atol=1e-12, equal_nan=True, msg=lambda m, name=name: f"{name}: {m}")


def stored(*names):
    """The attributions of these methods, computed beforehand."""
    model = Net().eval()
    return {name: METHODS[name](model).attribute(inputs(), target=TARGETS) for name in names}


def ones(model):
    """An explanation that calls no model."""
    return lambda inputs, target=None: torch.ones_like(inputs)


def mean_of_attributions(attributions, inputs):
    """A metric of one's own: no card, and no model call."""
    return (attributions * inputs).mean(1)


# ---- interruptions


class Killed(BaseException):
    """Not an `Exception`, so that nobody handles it."""


@contextmanager
def killed_at(shard, moment):
    """What runs inside is killed before or after it writes that shard."""
    write = ShardStore.write

    def write_or_die(store, number, arrays):
        if number != shard:
            return write(store, number, arrays)
        if moment == "after":
            write(store, number, arrays)
        raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ShardStore, "write", write_or_die)
        with pytest.raises(Killed):
            yield


def paced(attributions, inputs):
    """A metric that takes its time where it is asked to, so that there is some in which to be killed."""
    time.sleep(float(os.environ.get("SECONDS_PER_BATCH", "0")))
    return (attributions * inputs).mean(1)
