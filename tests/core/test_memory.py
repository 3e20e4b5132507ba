"""How many rows a call gets without a limit, and how explanations go on if memory runs out."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from captum.attr import FeatureAblation, IntegratedGradients, NoiseTunnel, Saliency
from torch import nn
from torch.testing import assert_close

from captum_ext import evaluate, perturbations
from captum_ext._core import memory
from captum_ext._core.forward import Forward
from captum_ext._core.memory import is_out_of_memory, row_elements, rows_explained, rows_per_call
from captum_ext.metrics import deletion, deletion_curve, infidelity, sensitivity_max

from ..oracles import Recorder

MESSAGES = {
    "CUDA": torch.cuda.OutOfMemoryError("CUDA out of memory."),
    "CPU": RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes."),
    "MPS": RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)."),
}
each_message = pytest.mark.parametrize("error", MESSAGES.values(), ids=MESSAGES)


def first(x):
    return x.flatten(1)[:, 0]


@pytest.mark.parametrize(
    ("shape", "limit"),
    [((112, 224, 3), 6), ((224, 224, 3), 4), ((3, 32, 32), 170), ((16,), 1024), ((3, 1024, 1024), 4)],
)
def test_on_a_cpu_the_limit_depends_on_the_elements_of_a_row(shape, limit):
    for batch in (1, 3):
        assert rows_per_call(first, (torch.empty(batch, *shape),)) == limit
    halves = torch.empty(2, *shape[:-1], shape[-1] // 2), torch.empty(2, *shape[:-1], shape[-1] - shape[-1] // 2)
    assert rows_per_call(first, halves) == limit


@pytest.mark.parametrize(
    ("shape", "limit"), [((20_000,), 128), ((3, 224, 224), 111), ((3, 1024, 1024), 5), ((3, 32, 32), 170)]
)
def test_a_call_has_more_rows_where_a_linear_layer_reads_rows_whole(shape, limit):
    x = torch.empty(1, *shape)
    model = nn.Sequential(nn.Flatten(), nn.Linear(x.numel(), 2, device="meta")).to_empty(device="cpu")
    assert rows_per_call(model, (x,)) == limit
    assert rows_per_call(nn.Sequential(nn.Linear(shape[-1] + 1, 2)), (x,)) == min(limit, max(2**19 // x.numel(), 4))


def test_a_metric_calls_the_model_with_as_many_rows():
    model, x = Recorder(first), torch.rand(2, 1, 512, 512)
    deletion_curve(model, x, x, n_steps=9)
    assert model.sizes == [4, 4, 4, 4, 2]


@pytest.mark.parametrize(
    ("batch", "shape", "limit"),
    [
        (16, (3, 224, 224), 64),
        (1, (3, 1024, 1024), 5),
        (2, (1, 128, 128, 128), 8),
        (6, (3, 1024, 1024), 6),
        (99, (8,), 99),
    ],
)
def test_without_a_limit_few_copies_of_a_large_input_are_explained_at_a_time(batch, shape, limit):
    assert rows_explained((torch.empty(1, *shape).expand(batch, *shape),)) == limit


def test_an_explanation_of_a_large_input_gets_few_copies():
    sizes, x = [], torch.rand(1, 1, 2048, 2048)
    sensitivity_max(lambda inputs: sizes.append(len(inputs)) or inputs[..., :9, :9], x, n_perturb_samples=6, seed=0)
    assert sizes == [1, 4, 2]


def test_only_a_perturb_func_of_the_caller_makes_all_copies_of_large_inputs_at_once(monkeypatch):
    x, sizes, normal = torch.rand(2, 1, 8, 8), [], perturbations.normal
    monkeypatch.setattr(perturbations, "normal", lambda seeds, *rest: sizes.append(len(seeds)) or normal(seeds, *rest))
    call = {"n_perturb_samples": 5, "max_examples_per_batch": None, "seed": 0}
    small = infidelity(first, perturbations.gaussian, x, x, **call)
    monkeypatch.setattr(memory, "EXPLAINED_ELEMENTS", 4 * 64)
    assert_close(infidelity(first, perturbations.gaussian, x, x, **call), small)
    assert sizes == [10, 4, 4, 2]
    assert_close(infidelity(first, lambda x, seed=None: perturbations.gaussian(x, seed=seed), x, x, **call), small)
    assert sizes[4:] == [10]


def test_token_ids_count_as_many_elements_as_their_embedding_has():
    ids = torch.zeros(2, 128, dtype=torch.long)
    bag = nn.Sequential(nn.Embedding(9, 64), nn.Flatten())
    assert row_elements(bag, (ids,)) == 128 * 64
    assert row_elements(lambda ids: ids.sum(1), (ids,)) == 128 * 768  # nobody knows what is inside
    assert row_elements(nn.Flatten(), (ids, torch.zeros(2, 3))) == 128 + 3


def test_a_forward_func_may_say_how_large_its_rows_are():
    def prompts(present):
        return present.sum(1)

    prompts.row_elements = 2**16
    assert Forward(prompts, (torch.ones(1, 12),)).batches.limit == 8
    assert Forward(prompts, (torch.ones(1, 12),), max_examples_per_batch=7).batches.limit == 7


def test_on_another_device_a_call_has_64_rows_or_the_batch():
    for batch, limit in ((1, 64), (70, 70)):
        assert rows_per_call(first, (torch.empty(batch, 3, 224, 224, device="meta"),)) == limit
    on_meta = nn.Linear(3, 1, device="meta")
    assert rows_per_call(on_meta, (torch.empty(1, 3),)) == 64  # the model counts, not where its inputs come from


@each_message
def test_every_device_says_in_its_own_way_that_memory_ran_out(error):
    assert is_out_of_memory(error)


def test_other_errors_say_something_else():
    assert not is_out_of_memory(RuntimeError("shapes cannot be multiplied"))
    assert not is_out_of_memory(MemoryError())


class Small(nn.Module):
    """Runs out of memory with more rows than `capacity`."""

    def __init__(self, capacity, error):
        super().__init__()
        self.capacity, self.error, self.sizes = capacity, error, []

    def forward(self, x):
        if len(x) > self.capacity:
            raise self.error
        self.sizes.append(len(x))
        return (x**3).sum(1)


X = torch.rand(3, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
EXPLANATIONS = {
    "internal_batch_size": (lambda model: IntegratedGradients(model).attribute, {"n_steps": 8}),
    "perturbations_per_eval": (lambda model: FeatureAblation(model).attribute, {"perturbations_per_eval": 6}),
    "nt_samples_batch_size": (
        lambda model: NoiseTunnel(Saliency(model)).attribute,
        {"nt_samples": 5, "stdevs": 0.0},
    ),
}
each_explanation = pytest.mark.parametrize(("name", "explained"), EXPLANATIONS.items(), ids=EXPLANATIONS)


@each_explanation
@each_message
def test_an_explanation_that_runs_out_of_memory_goes_on_with_fewer_copies_inside(name, explained, error):
    make, kwargs = explained
    model = Small(3, error)
    with pytest.warns(UserWarning, match=f"Out of memory: going on with `{name}=[13]` in `explanation_func`") as said:
        score = sensitivity_max(make(model), X, n_perturb_samples=1, seed=0, **kwargs)
    assert len([w for w in said if "Out of memory" in str(w.message)]) == 1
    assert_close(score, sensitivity_max(make(Small(99, error)), X, n_perturb_samples=1, seed=0, **kwargs))
    assert 3 in model.sizes


def test_if_that_is_not_enough_the_rows_are_halved_too():
    model = Small(1, MESSAGES["CPU"])
    method, kwargs = partial(IntegratedGradients(model).attribute, internal_batch_size=3), {"n_steps": 2}
    with pytest.warns(UserWarning, match="batches of 1 rows"):
        score = sensitivity_max(method, X, n_perturb_samples=1, seed=0, **kwargs)
    assert max(model.sizes) == 1
    assert_close(score, sensitivity_max(IntegratedGradients(Small(99, None)), X, n_perturb_samples=1, seed=0, **kwargs))


def test_evaluate_goes_on_with_fewer_copies_too():
    model = Small(3, MESSAGES["CPU"])
    methods = {"ig": lambda model: partial(IntegratedGradients(model).attribute, n_steps=8)}
    with pytest.warns(UserWarning, match="going on with `internal_batch_size=3` in Method 'ig'") as said:
        found = evaluate(model, list(X), methods, {"deletion": deletion}, batch_size=3, max_examples_per_batch=None)
    assert len([w for w in said if "Out of memory: going on with `int" in str(w.message)]) == 1
    expected = evaluate(Small(99, None), list(X), methods, {"deletion": deletion}, batch_size=3)
    assert_close(torch.tensor(found.dataset["deletion"].values), torch.tensor(expected.dataset["deletion"].values))


def test_an_explanation_that_does_not_fit_at_all_is_an_error():
    with pytest.raises(RuntimeError, match="DefaultCPUAllocator"), pytest.warns(UserWarning, match="Out of memory"):
        sensitivity_max(IntegratedGradients(Small(0, MESSAGES["CPU"])), X)
