"""What every engine keeps: inline, elastic, ray, those of installed packages, and one that this file registers."""

from __future__ import annotations

import errno
import os
import re
import signal
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import pytest
import torch
from captum.attr import GradientShap

from captum_ext import IncompleteRun, load, metrics
from captum_ext.evaluation import engines
from captum_ext.evaluation.engines import Scorer, alone_in_process, engine_named

from .runs import METHODS, METRICS, N, drawn_from_all, global_states, inputs, net, ones, run

pytestmark = pytest.mark.filterwarnings("ignore")

OTHERS = [entry.name for entry in entry_points(group=engines.GROUP)]
LAST_FIRST = EntryPoint("last-first", f"{__name__}:LastFirst", engines.GROUP)
THREADS = 2  # not the number of this process
SPECIAL = 5  # the example at which something happens

METHODS = {
    **METHODS,
    "ones": ones,
    "gradient shap": lambda model: partial(GradientShap(model).attribute, baselines=torch.zeros(2, 4).double()),
}
DRAWN = {
    "sensitivity_max": METRICS["sensitivity_max"],
    "infidelity": partial(metrics.infidelity, perturb_func=drawn_from_all, n_perturb_samples=3),
}


class LastFirst:
    """The smallest engine that keeps everything: one worker, in this process."""

    in_process = True

    def run(self, job, shards, store, resources):
        scorer = Scorer(replace(job, device=resources.devices[0]))
        for shard in reversed(shards):
            store.write(shard, scorer.compute(store.edges(shard)))
        return {}


def eventful(attributions, inputs, folder, workers):
    """A metric that notes who computes which example, and fails or kills its process where a file asks for it."""
    folder, example = Path(folder), number_of(inputs)
    (folder / f"{example}-{os.getpid()}-{time.time_ns()}.seen").touch()
    while (folder / "meet").exists() and len(seen(folder)["processes"]) < workers:
        time.sleep(0.02)
    if example == SPECIAL and (folder / "fail").exists():
        raise ArithmeticError("the score of this example is not defined")
    if example == SPECIAL and (folder / "die").exists():
        (folder / f"{os.getpid()}.death").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return (attributions * inputs).mean(1)


def threads(attributions):
    return torch.full((len(attributions),), float(torch.get_num_threads()))


def number_of(batch):
    return next(i for i, row in enumerate(inputs()) if torch.equal(row, batch[0]))


def seen(folder):
    notes = [file.name.split("-") for file in Path(folder).glob("*.seen")]
    return {"examples": Counter(int(n[0]) for n in notes), "processes": {int(n[1]) for n in notes}}


@dataclass
class Story:
    """One run that fails, goes on until an example has killed its workers too often, and goes on to its end."""

    in_process: bool
    outlives: bool  # a process that an example kills
    folder: Path
    engine: Any
    error: Exception | None = None
    after_error: Any = None
    given_up: IncompleteRun | None = None
    deaths: int = 0
    before: Any = None
    result: Any = None
    last: Any = None
    outside: Any = None
    processes: Any = None

    @property
    def workers(self):
        return 1 if self.in_process else 2

    def run(self, **options):
        notes = self.folder / "notes"
        of_files = partial(eventful, folder=str(notes), workers=self.workers)
        return run(
            net,
            methods=METHODS,
            metrics={**METRICS, **DRAWN, "eventful": of_files, "threads": threads},
            engine=self.engine,
            batch_size=1,
            stderr=True,
            threads_per_worker=THREADS,
            path=self.folder / "run.h5",
            max_restarts=10,
            **{"devices": ["cpu"] * self.workers, **options},
        )

    def shards(self):
        return {int(f.stem): f.stat().st_mtime_ns for f in (self.folder / "run.h5.parts").glob("*.npz")}

    def tell(self):
        notes = self.folder / "notes"
        notes.mkdir()
        outside = states_outside()
        with asked(notes, "meet", "fail"), pytest.raises(ArithmeticError) as error:
            self.run()
        self.error, self.after_error, self.processes = error.value, self.shards(), seen(notes)["processes"]
        if self.outlives:
            with asked(notes, "die"), pytest.raises(IncompleteRun) as given_up:
                self.run(devices=["cpu"])  # each death starts all workers again, which takes seconds
            self.given_up, self.deaths = given_up.value, len([*notes.glob("*.death")])
        self.before = self.shards()
        for note in notes.glob("*.seen"):
            note.unlink()
        self.result = self.run()
        self.last = seen(notes)["examples"]
        self.outside = outside == states_outside()
        return self


class asked:
    """Files in a folder, meanwhile."""

    def __init__(self, folder, *names):
        self.files = [folder / name for name in names]

    def __enter__(self):
        for file in self.files:
            file.touch()

    def __exit__(self, *_):
        for file in self.files:
            file.unlink()


def states_outside():
    handlers = [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)]
    return global_states(), torch.get_num_threads(), handlers


@pytest.fixture(scope="module")
def registered():
    with pytest.MonkeyPatch.context() as patch:
        found = [LAST_FIRST, *entry_points(group=engines.GROUP)]
        patch.setattr(engines, "entry_points", lambda group: found if group == engines.GROUP else [])
        yield


@pytest.fixture(scope="module", params=["inline", "last-first", "elastic", "ray", *OTHERS])
def story(request, registered, tmp_path_factory):
    engine = request.param
    if engine == "ray":
        address = request.getfixturevalue("cluster").address
        from captum_ext.evaluation.engines.ray import Ray

        engine = Ray(address)
    in_process = getattr(engine_named(engine), "in_process", False)
    return Story(
        in_process, not in_process and request.param != "ray", tmp_path_factory.mktemp(request.param), engine
    ).tell()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The same run in this process, at one go."""
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "notes").mkdir()
    return Story(True, False, folder, "inline").run()


def test_the_scores_are_those_of_one_process_bit_for_bit(story, undisturbed):
    """After an error and deaths, with methods and perturbations that draw."""
    for name, variable in undisturbed.dataset.variables.items():
        assert story.result.dataset[name].values.tobytes() == variable.values.tobytes(), name
    assert load(story.folder / "run.h5").dataset.identical(story.result.dataset)


def test_an_error_of_a_metric_comes_back_as_what_it_was(story):
    assert str(story.error) == "the score of this example is not defined"
    notes = " ".join(getattr(story.error, "__notes__", ["examples 5 to 5"]))
    assert f"examples {SPECIAL} to {SPECIAL}" in notes


def test_shards_that_are_finished_are_kept_and_only_missing_ones_computed(story):
    assert SPECIAL not in story.before
    after = story.shards()
    assert len(after) == N
    assert story.after_error.items() <= after.items()
    assert story.before.items() <= after.items()
    left, computed = set(range(N)) - set(story.before), set(story.last)
    assert left <= computed
    assert len(verified := computed - left) == 2  # finished shards, by which the run is verified
    assert min(story.before) in verified


def test_what_is_given_up_is_named_and_the_rest_finishes(story):
    """The shard that kills a worker each time is tried three times, no more and no less."""
    if not story.outlives:
        pytest.skip(
            "an engine in this process cannot outlive it; actors of Ray start slowly, so theirs is a test of faults"
        )
    assert story.given_up.examples == [range(SPECIAL, SPECIAL + 1)]
    assert f"1 of {N} shards are missing" in str(story.given_up)
    assert f"examples {SPECIAL} to {SPECIAL} (killed its " in str(story.given_up)
    assert story.deaths == 3
    assert set(story.before) == set(range(N)) - {SPECIAL}


def test_there_is_a_worker_for_each_device(story):
    """They meet at the beginning, so each has computed something."""
    assert len(story.processes) == story.workers
    assert (os.getpid() in story.processes) == story.in_process


def test_each_worker_has_the_threads_that_were_asked_for(story):
    assert torch.get_num_threads() != THREADS
    assert (story.result.dataset["threads"] == THREADS).all()


def test_generators_threads_signal_handlers_and_files_are_left_as_they_were(story):
    assert story.outside
    assert sorted(f.name for f in story.folder.iterdir()) == ["notes", "run.h5", "run.h5.parts"]


# ---- one thread of a process computes at a time


class ThreadPool:
    """An engine that does not keep it: threads of one process, with a scorer each or with one for all."""

    def __init__(self, scorers, turns=False):
        self.scorers, self.turns = scorers, turns

    def run(self, job, shards, store, resources):
        made = [Scorer(job) for _ in range(self.scorers)]

        def compute(shard):
            scorer = made[shard % self.scorers]
            if self.turns:
                with alone_in_process(wait=True):
                    arrays = scorer.compute(store.edges(shard))
            else:
                arrays = scorer.compute(store.edges(shard))
            store.write(shard, arrays)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(compute, shards))
        return {}


def drawing(engine, **options):
    some = {"methods": {"gradient shap": METHODS["gradient shap"]}, "metrics": DRAWN, "threads_per_worker": 1}
    return run(**{"model": net, "batch_size": 1, "engine": engine, **some, **options}).dataset


def outcome_of(engine):
    try:
        return drawing(engine)
    except RuntimeError as error:
        return error


REFUSED = "Another thread of this process is computing a shard. .* An engine must compute one shard at a time"


@pytest.mark.parametrize("scorers", [1, 4])
def test_a_naive_pool_of_threads_is_refused_or_right(scorers):
    """If it were allowed, scores would be wrong by up to 0.8: threads draw from each other's generators."""
    before, outcome = global_states(), outcome_of(ThreadPool(scorers))
    if isinstance(outcome, RuntimeError):
        assert str(outcome).startswith("Another thread of this process is computing a shard.")
    else:
        assert outcome.identical(drawing("inline"))
    assert global_states() == before


@pytest.mark.parametrize("scorers", [1, 4])
def test_threads_that_take_turns_are_right(scorers):
    assert drawing(ThreadPool(scorers, turns=True)).identical(drawing("inline"))


@pytest.mark.parametrize("act", ["make a scorer", "compute"])
def test_a_second_thread_is_refused_while_a_shard_is_computed(act):
    begun, refusals = [], []

    class Meddling:
        def run(self, job, shards, store, resources):
            self.job, self.scorer = job, Scorer(job)
            return LastFirst().run(job, shards, store, resources)

    engine = Meddling()

    def second_thread():
        return Scorer(engine.job) if act == "make a scorer" else engine.scorer.compute(range(1))

    def metric(attributions):
        if not begun:  # a second thread that is let in gets here, too
            begun.append(True)
            with ThreadPoolExecutor(1) as pool:
                refusals.append(pool.submit(second_thread).exception())
        return attributions.mean(1)

    run(metrics={"it": metric}, methods={"ones": ones}, engine=engine)
    with pytest.raises(RuntimeError, match=REFUSED):
        raise refusals[0] or AssertionError("it was let in")


def test_calls_from_two_threads_take_turns():
    """Also while one of them makes its model, for which it seeds the global generator."""
    before = global_states()
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(drawing, "inline", seed=seed) for seed in (1, 2)]
        results = [future.result() for future in both]
    for seed, result in zip((1, 2), results):
        assert result.identical(drawing("inline", seed=seed))
    assert global_states() == before


def test_a_run_inside_a_run_is_allowed():
    inner = []

    def metric(attributions):
        inner.append(drawing("inline"))
        return attributions.mean(1)

    result, plain = (run(metrics=some, methods={"ones": ones}).dataset for some in ({"it": metric, **DRAWN}, DRAWN))
    assert all(result[name].identical(plain[name]) for name in DRAWN)
    assert inner[0].identical(drawing("inline"))


# ---- only the store counts


@pytest.mark.parametrize("answer", [{}, None, {0: "no reason"}])
def test_a_run_of_which_a_shard_is_missing_is_never_a_success(answer):
    class Idle:
        def run(self, job, shards, store, resources):
            return answer

    with pytest.raises(IncompleteRun, match="3 of 3 shards are missing"):
        run(engine=Idle())


def test_only_a_run_with_a_path_is_told_to_resume(tmp_path):
    class Idle:
        def run(self, job, shards, store, resources):
            if self.full:
                with store._disk_errors_named():
                    raise OSError(errno.ENOSPC, "full")
            return {}

    engine = Idle()
    for engine.full in (False, True):
        with pytest.raises((IncompleteRun, OSError), match=r"(R|r)epeat the call to resume"):
            run(engine=engine, path=tmp_path / "run.h5")
        with pytest.raises(
            (IncompleteRun, OSError), match="Finished shards are lost: give `path` to keep them"
        ) as error:
            run(engine=engine)
        assert "epeat" not in str(error.value)


def test_an_engine_that_says_nothing_of_itself_gets_the_safe_defaults(monkeypatch):
    """One thread a worker, and all shards, whatever a launcher says."""
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    got = []

    class Plain:
        def run(self, job, shards, store, resources):
            got.append(resources)
            return LastFirst().run(job, shards, store, resources)

    run(engine=Plain())
    assert got[0].threads == 1
    assert (got[0].rank.index, got[0].rank.count) == (0, 1)


def test_the_engine_of_the_documentation_is_right(capsys):
    """Its blocks are run as they are, but for the worker processes of the first."""
    page = Path(__file__).parents[2] / "docs" / "how-to" / "many-devices.md"
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL)
    first, *others = blocks
    assert 'devices=["cpu", "cpu"]' in first
    space = {}
    for block in (first.replace('devices=["cpu", "cpu"]', "threads_per_worker=1"), *others):
        exec(block, space)
    assert capsys.readouterr().out.endswith("True\n")
    with pytest.raises(IncompleteRun, match=r"0 to 2 \(the time was over\)"):
        run(engine=space["WithinMinutes"](-1))
