"""A run that was interrupted, however often and wherever, gives what one run gives; another run is refused."""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch
import xarray as xr
from captum.attr import GradientShap, InputXGradient, IntegratedGradients, LayerActivation, NoiseTunnel, Saliency
from torch import nn
from torch.utils.data import DataLoader

from captum_ext import IncompleteRun, attribute_dataset, evaluate, load, metrics, random_attribution
from captum_ext.evaluation.store import ShardStore

from .runs import (
    FEW_METRICS,
    METRICS,
    SEED,
    N,
    Net,
    drawn_from_all,
    examples,
    inputs,
    killed_at,
    ones,
    paced,
    run,
)

METHODS = {
    "saliency": Saliency,
    "gradient shap": lambda model: partial(GradientShap(model).attribute, baselines=torch.zeros(2, 4).double()),
    "noise tunnel": lambda model: NoiseTunnel(Saliency(model)),
    "random": random_attribution,
}
DRAWN = {
    "infidelity": partial(metrics.infidelity, perturb_func=drawn_from_all, n_perturb_samples=3),
    "sensitivity_n": METRICS["sensitivity_n"],
    "curve": METRICS["deletion_curve"],
}
SHARDS = 4


def small_run(path=None, model=None, **options):
    return run(model, methods=METHODS, metrics=DRAWN, **{"batch_size": 2, "path": path, **options})


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What one run gives."""
    return small_run(tmp_path_factory.mktemp("whole") / "run.h5").dataset


def assert_is_whole(result, path, whole):
    """Bit for bit, attributes and all, in memory and in the file."""
    assert result.dataset.identical(whole)
    assert load(path).dataset.identical(whole)
    for name in whole.data_vars:
        assert result.dataset[name].values.tobytes() == whole[name].values.tobytes()


# ---- interrupted


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("shard", range(SHARDS))
def test_a_run_killed_at_any_shard_goes_on_to_the_same_scores(shard, moment, tmp_path, whole):
    path, model = tmp_path / "run.h5", Net()
    with killed_at(shard, moment):
        small_run(path)
    assert not path.exists()
    result = small_run(path, model)
    assert_is_whole(result, path, whole)
    assert model.rows * SHARDS == rows_of_all() * shards_computed(shard + (moment == "after"))


def shards_computed(done):
    """Those that are left, and two of the finished ones, by which the run is verified."""
    return SHARDS - done + (min(done, 2) if done < SHARDS else 0)


def rows_of_all():
    model = Net()
    small_run(model=model)
    return model.rows


def test_a_run_killed_at_every_shard_in_turn_goes_on_to_the_same_scores(tmp_path, whole):
    path = tmp_path / "run.h5"
    for shard in range(SHARDS):
        with killed_at(shard, "after"):
            small_run(path)
    assert_is_whole(small_run(path), path, whole)


def test_shards_may_be_lost_in_any_order(tmp_path, whole):
    path = tmp_path / "run.h5"
    small_run(path)
    for shard in (2, 0):
        (tmp_path / "run.h5.parts" / f"{shard:08d}.npz").unlink()
    assert_is_whole(small_run(path), path, whole)


@pytest.mark.parametrize("calls", [1, 7, 20])
def test_a_model_that_fails_in_the_midst_of_a_run_loses_no_shard(calls, tmp_path, whole):
    path, model = tmp_path / "run.h5", Net()

    def fail_at_last(*_):
        if len(model.calls) == calls:
            raise RuntimeError("out of order")

    handle = model.register_forward_hook(fail_at_last)
    with pytest.raises(RuntimeError, match="out of order"):
        small_run(path, model)
    handle.remove()
    assert_is_whole(small_run(path, model), path, whole)


def test_an_interrupted_run_that_recorded_failures_keeps_them(tmp_path):
    def of(path):
        return run(methods={"bad": failing, "ones": ones}, path=path, on_error="record")

    once = of(tmp_path / "once.h5")
    with killed_at(1, "after"):
        of(tmp_path / "run.h5")
    assert of(tmp_path / "run.h5").dataset.identical(once.dataset)
    assert len(once.failures) == 3


def failing(model):
    return lambda inputs: inputs.reshape(7)


# ---- processes that are killed


def killed_in_a_process(path, patch):
    """A child that kills itself (SIGKILL) where `patch` says."""

    def child():
        patch()
        run(methods={"ones": ones, "random": random_attribution}, metrics=FEW_METRICS, path=path)

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL


def kill_this_process():
    os.kill(os.getpid(), signal.SIGKILL)


def while_a_shard_is_written():
    opened = Path.open

    def half(path, mode="r", *args, **options):
        file = opened(path, mode, *args, **options)
        if mode == "wb" and path.name.startswith("00000001"):
            file.write(b"half")
            file.flush()
            kill_this_process()
        return file

    Path.open = half


def before_a_shard_gets_its_name():
    replace = os.replace
    os.replace = lambda a, b: kill_this_process() if Path(b).name == "00000001.npz" else replace(a, b)


def while_the_result_is_written():
    def half(dataset, path, **options):
        Path(path).write_bytes(b"half")
        kill_this_process()

    xr.Dataset.to_netcdf = half


MOMENTS = [while_a_shard_is_written, before_a_shard_gets_its_name, while_the_result_is_written]


@pytest.mark.filterwarnings("ignore:.*fork")
@pytest.mark.parametrize("moment", MOMENTS, ids=lambda m: m.__name__)
def test_a_killed_process_leaves_what_it_had_and_the_next_goes_on(moment, tmp_path):
    path = tmp_path / "run.h5"
    killed_in_a_process(path, moment)
    assert not path.exists()
    result = run(methods={"ones": ones, "random": random_attribution}, metrics=FEW_METRICS, path=path)
    once = run(methods={"ones": ones, "random": random_attribution}, metrics=FEW_METRICS)
    assert result.dataset.identical(once.dataset)
    assert load(path).dataset.identical(once.dataset)


@pytest.mark.filterwarnings("ignore:.*fork")
@pytest.mark.parametrize("moment", MOMENTS, ids=lambda m: m.__name__)
def test_what_a_killed_process_had_half_written_is_swept(moment, tmp_path):
    path = tmp_path / "run.h5"
    killed_in_a_process(path, moment)
    assert [*tmp_path.rglob("*.tmp")]
    run(methods={"ones": ones, "random": random_attribution}, metrics=FEW_METRICS, path=path)
    assert [*tmp_path.rglob("*.tmp")] == []


SCRIPT = """
import pathlib, sys, torch
from tests.evaluation.runs import ones, paced, run
torch.set_num_threads(1)
run(methods={"ones": ones}, metrics={"paced": paced}, batch_size=1, path=pathlib.Path(sys.argv[1]))
"""


def test_another_interpreter_killed_from_outside_is_gone_on_from_here(tmp_path):
    path = tmp_path / "run.h5"
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(path)],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "SECONDS_PER_BATCH": "0.2"},
    )
    deadline = time.monotonic() + 120
    while len(done := [*tmp_path.glob("run.h5.parts/*.npz")]) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert 2 <= len(done) < N
    before = {f: f.stat().st_mtime_ns for f in done}
    result = run(methods={"ones": ones}, metrics={"paced": paced}, batch_size=1, path=path)
    assert {f: f.stat().st_mtime_ns for f in done} == before  # kept, not computed again
    assert result.dataset.identical(run(methods={"ones": ones}, metrics={"paced": paced}, batch_size=1).dataset)


# ---- finished


def test_a_finished_run_is_read_not_run(tmp_path, whole):
    path, model = tmp_path / "run.h5", Net()
    small_run(path, model)
    model.calls.clear()
    assert_is_whole(small_run(path, model), path, whole)
    assert model.calls == []


def test_a_result_that_was_removed_is_written_again(tmp_path, whole):
    path, model = tmp_path / "run.h5", Net()
    small_run(path, model)
    path.unlink()
    model.calls.clear()
    assert_is_whole(small_run(path, model), path, whole)
    assert model.calls == []


@pytest.mark.parametrize("damage", [b"", b"not a shard"])
def test_a_damaged_shard_is_computed_again(damage, tmp_path, whole):
    path, model = tmp_path / "run.h5", Net()
    small_run(path)
    (tmp_path / "run.h5.parts" / "00000002.npz").write_bytes(damage)
    with pytest.warns(UserWarning, match=r"00000002.npz is damaged"):
        result = small_run(path, model)
    assert_is_whole(result, path, whole)
    assert model.rows * SHARDS == rows_of_all() * shards_computed(SHARDS - 1)


# ---- another run


class Taller(Net):
    pass


def another_state():
    model = Net()
    with torch.no_grad():
        model.layers[0].bias[3] += 1e-9
    return model


OTHERS = {
    "examples": ({"data": examples(7)}, "examples: 7, not 8"),
    "shard_size": ({"shard_size": 4}, "shard_size: 4, not 2"),
    "batch_size": ({"batch_size": 1, "shard_size": 2}, "batch_size: 1, not 2"),
    "limit": ({"max_examples_per_batch": 3}, "max_examples_per_batch: 3, not None"),
    "seed": ({"seed": 6}, "seed: 6, not 5"),
    "on_error": ({"on_error": "record"}, "on_error: 'record', not 'raise'"),
    "stderr": ({"stderr": True}, "stderr: True, not False"),
    "state of the model": (
        {"model": another_state()},
        r"model: 'tests.evaluation.runs.Net \w{16}', not '.*Net \w{16}'",
    ),
    "class of the model": ({"model": Taller()}, r"model: '.*Taller \w{16}', not '.*Net \w{16}'"),
    "method": (
        {"methods": {**METHODS, "saliency": InputXGradient}},
        "methods.saliency: '.*InputXGradient', not '.*Saliency'",
    ),
    "methods": (
        {"methods": {k: v for k, v in METHODS.items() if k != "random"}},
        "methods.random: None, not '.*random_attribution'",
    ),
    "metric": (
        {"metrics": {**DRAWN, "curve": metrics.deletion}},
        "metrics.curve: '.*deletion', not {'function': '.*deletion_curve', .*}",
    ),
    "metrics": ({"metrics": {**DRAWN, "more": metrics.deletion}}, "metrics.more: '.*deletion', not None"),
    "argument": (
        {"metrics": {**DRAWN, "curve": partial(metrics.deletion_curve, n_steps=6)}},
        "metrics.curve.n_steps: 6, not 5",
    ),
}


def with_default(factor):
    def own(attributions, *, factor=factor):
        return attributions.sum(1) * factor

    return own


def test_a_metric_of_ones_own_with_another_keyword_only_default_is_another_run(tmp_path):
    run(metrics={"own": with_default(1)}, path=tmp_path / "run.h5")
    with pytest.raises(ValueError, match=r"metrics\.own: "):
        run(metrics={"own": with_default(2)}, path=tmp_path / "run.h5")
    run(metrics={"own": with_default(1)}, path=tmp_path / "run.h5")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    path = tmp_path_factory.mktemp("finished") / "run.h5"
    small_run(path)
    return path


def differing_run(path, change):
    options = {"model": Net(), "methods": METHODS, "metrics": DRAWN, "batch_size": 2, "path": path, **change}
    return run(**options), options["model"]


@pytest.mark.parametrize("kind", OTHERS)
def test_another_run_is_refused_with_what_differs(kind, finished, whole):
    change, line = OTHERS[kind]
    with pytest.raises(
        ValueError, match=rf"`path` holds another run \(.*run.h5.parts\); it differs in:\n  {line}\nChoose another"
    ):
        differing_run(finished, change)
    assert_is_whole(small_run(finished), finished, whole)


def test_another_number_of_threads_is_another_run(finished):
    torch.set_num_threads(2)
    try:
        with pytest.raises(ValueError, match="threads: 2, not 1"):
            small_run(finished)
    finally:
        torch.set_num_threads(1)


@pytest.mark.parametrize("package", ["torch", "captum", "numpy"])
def test_other_versions_are_another_run(package, finished, monkeypatch):
    module = __import__(package)
    monkeypatch.setattr(module, "__version__", "0.0.1")
    with pytest.raises(ValueError, match=rf"versions.{package}: '0\.0\.1', not "):
        small_run(finished)


def test_another_run_is_refused_before_any_model_call(finished):
    model = Net()
    with pytest.raises(ValueError, match="holds another run"):
        small_run(finished, model, seed=6)
    assert model.calls == []


def partial_of(kind, model, setting):
    return {
        "an object of Captum's": lambda: IntegratedGradients(model, multiply_by_inputs=setting),
        "a bound attribute": lambda: IntegratedGradients(model, multiply_by_inputs=setting).attribute,
        "an object for a layer": lambda: LayerActivation(model, model.layers[0 if setting else 3]),
    }[kind]()


@pytest.mark.parametrize("kind", ["an object of Captum's", "a bound attribute", "an object for a layer"])
def test_a_ready_object_with_other_settings_is_another_run(kind, tmp_path):
    model = Net()
    of_one, of_other = (partial_of(kind, model, setting) for setting in (True, False))
    own = {"own": lambda attributions: attributions.mean(1)}
    run(model, methods={"it": of_one}, metrics=own, path=tmp_path / "run.h5")
    with pytest.raises(ValueError, match=r"methods\.it"):
        run(model, methods={"it": of_other}, metrics=own, path=tmp_path / "run.h5")


def test_other_stored_attributions_are_another_run(tmp_path):
    run(methods={"it": inputs()}, path=tmp_path / "run.h5")
    with pytest.raises(ValueError, match=r"methods\.it: 'Tensor.*', not 'Tensor"):
        run(methods={"it": -inputs()}, path=tmp_path / "run.h5")


@pytest.fixture
def maps(tmp_path):
    """Two files of attributions of one method."""
    for name, method in {"a": Saliency, "b": InputXGradient}.items():
        attribute_dataset(Net(), examples(), {"it": method}, tmp_path / name)
    return tmp_path / "a", tmp_path / "b"


@pytest.mark.parametrize("kind", [str, Path])
def test_another_file_of_attributions_is_another_run(kind, maps, tmp_path):
    run(methods={"it": kind(maps[0])}, path=tmp_path / "run.h5")
    with pytest.raises(ValueError, match=r"methods\.it"):
        run(methods={"it": kind(maps[1])}, path=tmp_path / "run.h5")


def test_a_file_of_attributions_with_other_contents_is_another_run(maps, tmp_path):
    run(methods={"it": maps[0]}, path=tmp_path / "run.h5")
    maps[1].replace(maps[0])
    with pytest.raises(ValueError, match=r"methods\.it"):
        run(methods={"it": maps[0]}, path=tmp_path / "run.h5")


def test_another_state_of_a_model_that_a_function_makes_is_another_run(tmp_path):
    for seed in (1, 2):
        state = Net()
        nn.init.constant_(state.layers[0].weight, seed)
        torch.save(state.state_dict(), tmp_path / "model.pt")
        if seed == 1:
            evaluate(saved(tmp_path), examples(), {"ones": ones}, FEW_METRICS, path=tmp_path / "run.h5")
    with pytest.raises(ValueError, match="model"):
        evaluate(saved(tmp_path), examples(), {"ones": ones}, FEW_METRICS, path=tmp_path / "run.h5")


def saved(folder):
    def make():
        model = Net()
        model.load_state_dict(torch.load(folder / "model.pt", weights_only=True))
        return model

    return make


def test_other_examples_are_another_run(tmp_path):
    run(path=tmp_path / "run.h5")
    with pytest.raises(ValueError, match="holds another run"):
        run(data=[(x + 1, t) for x, t in examples()], path=tmp_path / "run.h5")


def test_a_loader_and_its_data_set_are_one_run(tmp_path):
    model = Net()
    run(model, path=tmp_path / "run.h5")
    model.calls.clear()
    run(model, data=DataLoader(examples(), batch_size=5), path=tmp_path / "run.h5")
    assert model.calls == []


# ---- what is at the path


@pytest.mark.parametrize("make", ["touch", "mkdir"])
def test_a_foreign_file_at_the_path_is_refused_before_any_work(make, tmp_path):
    path, model = tmp_path / "run.h5", Net()
    getattr(path, make)()
    with pytest.raises(FileExistsError, match=r"`path` .*run.h5 exists already"):
        run(model, path=path)
    assert model.calls == []
    assert [f.name for f in tmp_path.iterdir()] == ["run.h5"]


def test_a_foreign_file_beside_an_interrupted_run_is_refused_and_kept(tmp_path):
    path, model = tmp_path / "run.h5", Net()
    with killed_at(1, "after"):
        run(path=path)
    path.write_text("mine")
    with pytest.raises(FileExistsError, match=r"`path` .*run.h5"):
        run(model, path=path)
    assert model.calls == []
    assert path.read_text() == "mine"


def test_a_foreign_folder_of_the_stores_name_is_refused_and_kept(tmp_path):
    (tmp_path / "run.h5.parts").mkdir()
    (tmp_path / "run.h5.parts" / "thesis.tmp").write_text("mine")
    with pytest.raises((FileExistsError, ValueError), match=r"run\.h5"):
        run(path=tmp_path / "run.h5")
    assert (tmp_path / "run.h5.parts" / "thesis.tmp").read_text() == "mine"


def test_a_path_in_no_folder_is_refused_before_any_work(tmp_path):
    model = Net()
    with pytest.raises(NotADirectoryError, match="is not a folder that can be written to"):
        run(model, path=tmp_path / "none" / "run.h5")
    assert model.calls == []
    assert not (tmp_path / "none").exists()


def test_a_call_that_is_refused_leaves_nothing_at_its_path(tmp_path):
    """Else the mended call would be refused as another run."""
    path = tmp_path / "run.h5"
    with pytest.raises(ValueError, match="have 7 rows"):
        run(methods={"it": inputs(7)}, path=path)
    run(methods={"it": inputs()}, path=path)


def test_a_run_that_failed_before_its_first_shard_does_not_bind_the_next(tmp_path):
    path = tmp_path / "run.h5"
    with pytest.raises(ValueError, match="`n` must be from 1"):
        run(metrics={"s": partial(metrics.sensitivity_n, n=99)}, path=path)
    run(metrics={"s": partial(metrics.sensitivity_n, n=2)}, path=path)


def test_a_path_may_be_a_string_and_relative(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load("run.h5" if run(path="run.h5") else "").dataset.attrs["seed"] == SEED


def test_two_runs_may_share_a_folder(tmp_path):
    a = run(path=tmp_path / "a.h5", seed=1)
    b = run(path=tmp_path / "b.h5", seed=2)
    assert load(tmp_path / "a.h5").dataset.identical(a.dataset)
    assert load(tmp_path / "b.h5").dataset.identical(b.dataset)


def test_a_paced_metric_is_quick_unless_asked_otherwise():
    start = time.perf_counter()
    paced(torch.ones(1, 1), torch.ones(1, 1))
    assert time.perf_counter() - start < 0.5


def test_a_finished_run_reads_each_shard_once_to_check_it_and_once_for_its_scores(tmp_path, monkeypatch):
    path, read = tmp_path / "run.h5", []
    first = small_run(path, shard_size=2)
    payload = ShardStore._payload
    monkeypatch.setattr(ShardStore, "_payload", lambda store, shard: read.append(shard) or payload(store, shard))
    again = small_run(path, shard_size=2, verify="off")
    xr.testing.assert_identical(again.dataset.drop_attrs(), first.dataset.drop_attrs())
    assert sorted(read) == sorted(2 * [*range(math.ceil(N / 2))])


@pytest.mark.filterwarnings("ignore:.*is damaged")
@pytest.mark.parametrize("damage", [Path.unlink, lambda file: file.write_bytes(file.read_bytes()[:-9])])
def test_a_shard_that_goes_after_it_was_checked_is_named(damage, tmp_path, monkeypatch):
    path, missing = tmp_path / "run.h5", ShardStore.missing
    first = small_run(path, shard_size=2)
    path.unlink()

    def then_damaged(store):
        monkeypatch.setattr(ShardStore, "missing", missing)
        found = store.missing()
        damage(store.folder / "00000001.npz")
        return found

    monkeypatch.setattr(ShardStore, "missing", then_damaged)
    with pytest.raises(IncompleteRun, match=r"1 of 4 shards are missing in .*: examples 2 to 3. Repeat the call"):
        small_run(path, shard_size=2, verify="off")
    xr.testing.assert_identical(small_run(path, shard_size=2, verify="off").dataset, first.dataset)
