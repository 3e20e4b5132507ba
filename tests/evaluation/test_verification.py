"""A run is resumed only if what it would compute now is what it computed before: `verify`."""

from __future__ import annotations

import warnings
from collections import Counter

import h5py
import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, default_collate

from captum_ext import attribute_dataset, evaluate, load, metrics, random_attribution
from captum_ext.evaluation import verification
from captum_ext.evaluation.engines.members import MEMBERS
from captum_ext.evaluation.scorer import Scorer
from captum_ext.evaluation.verification import MORE, RECOMPUTED

from .runs import killed_at

N, SHARDS = 16, 8
FACTOR = 1.0  # which helpers below read


def factor():
    return FACTOR


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3).double()
        nn.init.constant_(self.layer.bias, 0.5)
        with torch.no_grad():
            self.layer.weight.copy_(torch.arange(12).view(3, 4) / 7)
        self.scale = 1.0
        self.register_buffer("shift", torch.zeros(3).double(), persistent=False)

    def forward(self, x, more=None):
        return self.layer(x).sin() * self.scale * factor() + self.shift


class Function:
    """A model that is no module."""

    def __call__(self, x):
        return x.double() @ torch.arange(12.0).view(4, 3).double()


def explain(inputs):
    return inputs * factor() * torch.arange(1, 5)


def method(model):
    return explain


def own(attributions, inputs):
    return (attributions * inputs).sum(1) * factor()


def example(i):
    return torch.sin(torch.arange(4) + 3.0 * i).double(), i % 3, None, {"weight": torch.tensor(1.0 * i)}


def weighted(attributions, weight):
    return attributions.sum(1) * weight


class World:
    """What a caller has, and calls `evaluate` with."""

    def __init__(self):
        self.model, self.data = Model(), [example(i) for i in range(N)]
        self.methods = {"m": method, "random": random_attribution}
        self.metrics = {"deletion": metrics.deletion, "own": own, "weighted": weighted}

    def run(self, path, data=None, **options):
        options = {"batch_size": 2, **options}
        return evaluate(self.model, data or self.data, self.methods, self.metrics, path=path, **options)


@pytest.fixture
def world(tmp_path):
    world = World()
    world.path = tmp_path / "run.h5"
    return world


def begun(world, shards=SHARDS - 2, **options):
    """The store of a run that was killed after so many shards."""
    with killed_at(shards - 1, "after"):
        world.run(world.path, **options)


@pytest.fixture
def computed(monkeypatch):
    """Counts the first examples of the shards that are computed from here on."""
    counts, compute = Counter(), Scorer.compute

    def counting(scorer, examples):
        counts[examples[0]] += 1
        return compute(scorer, examples)

    monkeypatch.setattr(Scorer, "compute", counting)
    return counts


# ---- the model, a method, a metric, a library


def of_attribute(world, patch):
    world.model.scale = 1.01


def of_buffer(world, patch):
    world.model.shift += 0.01


def of_forward(world, patch):
    patch.setattr(Model, "forward", lambda self, x: self.layer(x).sin() + 0.001 * x.sum(1, keepdim=True))


def of_forward_of_the_object(world, patch):
    world.model.forward = lambda x: world.model.layer(x).cos()


def of_hook(world, patch):
    world.model.layer.register_forward_hook(lambda module, args, output: output * 1.001)


def of_hook_before(world, patch):
    world.model.register_forward_pre_hook(lambda module, args: (args[0] + 0.01,))


def of_global(world, patch):
    patch.setattr(f"{__name__}.FACTOR", 1.001)


def of_helper(world, patch):
    patch.setattr(f"{__name__}.factor", lambda: -1.0)


def of_call(world, patch):
    patch.setattr(Model, "__call__", lambda self, x: 2 * self.forward(x))


def of_method_behind_its_factory(world, patch):
    patch.setattr(f"{__name__}.explain", lambda inputs: inputs)


def of_library(world, patch):
    patch.setattr(torch.Tensor, "sin", torch.Tensor.cos)


def of_random_numbers(world, patch):
    randn = torch.randn
    patch.setattr(torch, "randn", lambda *size, **options: randn(*size, **options).abs())


CHANGES = [
    of_attribute,
    of_buffer,
    of_forward,
    of_forward_of_the_object,
    of_hook,
    of_hook_before,
    of_global,
    of_helper,
    of_call,
    of_method_behind_its_factory,
    of_library,
    of_random_numbers,
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_that_no_digest_of_code_knows_is_refused(change, world, computed, monkeypatch):
    begun(world)
    kept = contents(world.path)
    computed.clear()
    change(world, monkeypatch)
    with pytest.raises(ValueError, match=r"`path` holds another run \(.*run\.h5\.parts\)[^$]*examples 0 to 1, "):
        world.run(world.path)
    assert sum(computed.values()) == 2
    assert contents(world.path) == kept
    assert not world.path.exists()


def contents(path):
    return {f.name: f.read_bytes() for f in path.with_name(path.name + ".parts").iterdir()}


def test_a_refusal_names_method_metric_example_both_scores_and_the_ways_out(world):
    begun(world)
    world.model.scale = 2.0
    with pytest.raises(ValueError) as error:
        world.run(world.path)
    stored = World().run(None).dataset["deletion"].values[0, :2]
    worst = int(np.abs(stored).argmax())
    line = f"metric 'deletion' of method 'm' on example {worst}: {2 * stored[worst]:.6g}, not {stored[worst]:.6g}"
    assert line in str(error.value)
    assert "'own'" not in str(error.value)
    for way in ("Undo that", "another `path`", "remove it", 'verify="off"'):
        assert way in str(error.value)


def test_a_changed_callable_that_is_no_module_is_refused(world, monkeypatch):
    world.model, world.metrics = Function(), {"deletion": metrics.deletion}
    begun(world)
    monkeypatch.setattr(Function, "__call__", lambda self, x: x.double() @ torch.ones(4, 3).double())
    with pytest.raises(ValueError, match="metric 'deletion' of method"):
        world.run(world.path)


def test_changes_of_scores_as_small_as_1e_30_are_refused(world):
    world.model.scale, world.metrics = 1e-30, {"deletion": metrics.deletion}
    begun(world)
    world.model.scale = 1.01e-30
    with pytest.raises(ValueError, match="metric 'deletion'"):
        world.run(world.path)


VALUES = 2


def several(attributions):
    return attributions[:, :1].expand(-1, VALUES)


def test_another_number_of_values_is_refused(world, monkeypatch):
    world.metrics = {"several": several}
    begun(world)
    monkeypatch.setattr(f"{__name__}.VALUES", 3)
    with pytest.raises(ValueError, match=r"'several' of method 'm': \(3,\) values an example, not \(2,\) values"):
        world.run(world.path)


# ---- the data


def with_example(at, changed):
    return lambda world: [changed(*e) if i == at else e for i, e in enumerate(world.data)]


def other_collate(examples):
    inputs, targets, _, extra = zip(*examples)
    return torch.stack(inputs) + 1, default_collate(targets), None, default_collate(list(extra))


DATA = {
    "another input": with_example(3, lambda x, t, a, e: (x + 1e-9, t, a, e)),
    "another target": with_example(3, lambda x, t, a, e: (x, (t + 1) % 3, a, e)),
    "another argument of a metric": with_example(1, lambda x, t, a, e: (x, t, a, {"weight": e["weight"] + 1})),
    "another order": lambda world: [world.data[0], *world.data[:0:-1]],
    "another collate_fn": lambda world: DataLoader(world.data, collate_fn=other_collate),
    "all further arguments": lambda world: [world.data[0]] * 2 + [(x, t, x, e) for x, t, _, e in world.data[2:]],
}


@pytest.mark.parametrize("state", ["unfinished", "finished"])
@pytest.mark.parametrize("kind", DATA)
def test_other_data_are_refused_with_their_examples(kind, state, world, computed):
    world.metrics = {"own": own}
    begun(world) if state == "unfinished" else world.run(world.path)
    computed.clear()
    with pytest.raises(ValueError, match=r"`path` holds another run .*: examples \d+ to \d+ of `data` .* are not"):
        world.run(world.path, data=DATA[kind](world))
    assert not computed


@pytest.mark.parametrize("level", ["sample", "full"])
def test_any_of_up_to_ten_finished_shards_is_compared(level, world):
    """All 8 of this run."""
    world.metrics = {"own": own}
    world.run(world.path)
    for changed in range(1, N):
        other = with_example(changed, lambda x, t, a, e: (x + 1, t, a, e))(world)
        with pytest.raises(ValueError, match=f"examples {changed // 2 * 2} to {changed // 2 * 2 + 1} of `data`"):
            world.run(world.path, data=other, verify=level)


class Counted(list):
    def __init__(self, examples):
        super().__init__(examples)
        self.read = set()

    def __getitem__(self, i):
        self.read.add(i)
        return super().__getitem__(i)


@pytest.mark.parametrize(("level", "read"), [("off", 1), ("sample", RECOMPUTED + MORE), ("full", N)])
def test_a_finished_run_reads_the_data_that_its_level_says_and_computes_nothing(level, read, world, computed):
    world.data, world.metrics = Counted(world.data), {"own": own}
    world.run(world.path, batch_size=1)
    world.data.read.clear()
    computed.clear()
    world.run(world.path, batch_size=1, verify=level)
    assert len(world.data.read) == read
    assert not computed


# ---- the same run


@pytest.mark.parametrize("shards", [1, 2, 5, SHARDS - 1])
@pytest.mark.parametrize("level", ["sample", "full"])
def test_the_same_run_goes_on_after_two_shards_were_computed_again(level, shards, world, computed):
    begun(world, shards)
    kept = contents(world.path)
    computed.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = world.run(world.path, verify=level)
    assert sum(computed.values()) == SHARDS - shards + min(shards, 2)
    assert computed[0] == 1
    assert contents(world.path).items() >= kept.items()
    assert_same_scores(result, World().run(None))
    assert load(world.path).dataset.identical(result.dataset)


def assert_same_scores(a, b):
    for name in b.dataset.data_vars:
        assert a.dataset[name].values.tobytes() == b.dataset[name].values.tobytes()


def test_without_verification_nothing_is_computed_again(world, computed):
    begun(world)
    computed.clear()
    world.model.scale = 3.0
    world.run(world.path, verify="off")
    assert sorted(computed) == [N - 4, N - 2]


def test_nothing_is_computed_again_where_nothing_is_finished_or_there_is_no_path(world, computed):
    world.run(world.path)
    world.run(None)
    assert set(computed.values()) == {2}


def test_the_folder_of_the_comparison_is_removed_also_after_an_error(world, monkeypatch):
    begun(world)
    monkeypatch.setattr(f"{__name__}.factor", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        world.run(world.path)
    assert not [f for f in world.path.with_name("run.h5.parts").iterdir() if "recomputed" in f.name]


@pytest.mark.parametrize(("dtype", "change"), [(torch.float64, 1e-14), (torch.float32, 1e-6)])
def test_rounding_is_warned_of_and_what_is_stored_stays(dtype, change, world):
    world.model = world.model.to(dtype)
    world.data = [(x.to(dtype), t, a, e) for x, t, a, e in world.data]
    begun(world)
    kept = contents(world.path)
    world.model.scale = 1 + change
    with pytest.warns(UserWarning, match="differ by rounding from what is computed now, at most in metric 'deletion'"):
        world.run(world.path)
    assert contents(world.path).items() >= kept.items()


def test_scores_of_a_half_precision_model_round_more(world):
    assert verification._rounding(torch.bfloat16) > verification._rounding(np.dtype("float32")) > 1e-6


@pytest.mark.parametrize("value", ["some", None, True, 1])
def test_another_level_is_refused(value, world):
    kind = ValueError if isinstance(value, str) else TypeError
    with pytest.raises(kind, match="`verify` must be one of 'sample', 'full', 'off'"):
        world.run(None, verify=value)


# ---- failures that are recorded


def test_a_failure_that_is_recorded_again_does_not_hinder(world, computed):
    world.methods = {"bad": lambda model: lambda inputs: inputs.reshape(7), **world.methods}
    begun(world, on_error="record")
    result = world.run(world.path, on_error="record")
    assert len(result.failures) == SHARDS
    assert np.isfinite(result.dataset["own"].values[1:]).all()


MEMORY = 0


def explain_in_memory(inputs):
    if not MEMORY:
        raise RuntimeError("out of memory")
    return inputs


def hungry(model):
    return explain_in_memory


def test_a_failure_that_comes_or_goes_is_no_other_run_but_other_scores_beside_it_are(world, monkeypatch):
    """Such as memory that was short at that time."""
    world.methods = {"m": method, "hungry": hungry}
    begun(world, on_error="record")
    monkeypatch.setattr(f"{__name__}.MEMORY", 1)
    with killed_at(SHARDS - 2, "after"), pytest.warns(UserWarning, match="other methods or metrics failed there"):
        world.run(world.path, on_error="record")
    world.model.scale = 2.0
    with pytest.raises(ValueError, match="metric 'deletion' of method 'm'"):
        world.run(world.path, on_error="record")


# ---- processes of one launch


def launch(monkeypatch, rank, ranks=3):
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", str(rank))
    monkeypatch.setenv("SLURM_ARRAY_TASK_COUNT", str(ranks))


def test_of_the_processes_of_a_launch_the_first_verifies(world, computed, monkeypatch):
    begun(world, 3)
    for rank, shards in [(1, 5), (0, 6)]:
        launch(monkeypatch, rank)
        computed.clear()
        with killed_at_count(shards):
            world.run(world.path)
        assert sum(computed.values()) == (2 + 2 if rank == 1 else 1)
    launch(monkeypatch, 2)
    computed.clear()
    world.run(world.path)
    assert sum(computed.values()) == 2


def killed_at_count(shards):
    """Inside, a run is killed after the store has so many shards."""
    from captum_ext.evaluation.store import ShardStore

    from .runs import Killed

    class Context:
        def __enter__(self):
            self.patch, write = pytest.MonkeyPatch(), ShardStore.write

            def write_or_die(store, number, arrays):
                write(store, number, arrays)
                if store.count() >= shards and "recomputed" not in store.folder.name:
                    raise Killed

            self.patch.setattr(ShardStore, "write", write_or_die)

        def __exit__(self, kind, *_):
            self.patch.undo()
            return kind is Killed

    return Context()


def test_a_rank_that_comes_again_belongs_to_a_new_launch_which_verifies(world, monkeypatch):
    for rank in (0, 1):
        launch(monkeypatch, rank)
        with killed_at_count(3 + rank):
            world.run(world.path)
    world.model.scale = 2.0
    for rank in (1, 0, 2):  # each of them finds out for itself, as none has verified
        launch(monkeypatch, rank)
        with pytest.raises(ValueError, match="metric 'deletion'"):
            world.run(world.path)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"launch": 1}'])
def test_a_damaged_list_of_ranks_is_no_list(content, world, monkeypatch, computed):
    launch(monkeypatch, 0)
    with killed_at_count(3):
        world.run(world.path)
    (world.path.with_name("run.h5.parts") / MEMBERS).write_text(content)
    launch(monkeypatch, 1)
    computed.clear()
    world.run(world.path)
    assert sum(computed.values()) == SHARDS - 3 + 2


# ---- stored attributions


def attributed(world, **options):
    attribute_dataset(world.model, world.data, world.methods, world.path, batch_size=2, **options)


def test_attributions_are_verified_like_scores(world, computed, monkeypatch):
    world.methods = {"m": lambda model: lambda inputs: inputs * factor()}
    with killed_at(2, "after"):
        attributed(world)
    computed.clear()
    monkeypatch.setattr(f"{__name__}.factor", lambda: 1.5)
    with pytest.raises(ValueError, match="attributions of method 'm', tensor 0 on example"):
        attributed(world)
    assert sum(computed.values()) == 2
    monkeypatch.undo()
    attributed(world)
    with h5py.File(world.path) as file:
        torch.testing.assert_close(torch.as_tensor(file["m/0"][:]), torch.stack([x for x, *_ in world.data]))


@pytest.mark.parametrize("level", ["off", "sample", "full"])
def test_a_file_of_attributions_of_other_data_is_not_taken_for_these(level, world):
    attributed(world)
    attributed(world, verify=level)
    world.data = with_example(5, lambda x, t, a, e: (x + 1, t, a, e))(world)
    if level == "off":
        return attributed(world, verify=level)
    with pytest.raises(ValueError, match="examples 4 to 5 of `data`"):
        attributed(world, verify=level)
