"""One bar for the whole job, from the store."""

from __future__ import annotations

import io
import time

import pytest

from captum_ext.evaluation import progress
from captum_ext.evaluation.progress import Progress
from captum_ext.evaluation.store import ShardStore

from .runs import run


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def store(tmp_path):
    return ShardStore(tmp_path / "parts", {"examples": 10, "shard_size": 4})


def seen(store, file, monkeypatch):
    monkeypatch.setattr(progress, "LOOKS_EVERY", 0.02)
    with Progress(store, True, file):
        for shard in range(3):
            store.write(shard, {})
            time.sleep(0.15)
    return file.getvalue()


def test_a_terminal_has_a_bar_of_examples_whoever_writes_the_shards(store, monkeypatch):
    text = seen(store, Terminal(), monkeypatch)
    assert "10/10" in text
    assert "example/s" in text
    assert "4/10" in text


def test_elsewhere_it_is_an_estimate_after_the_first_batch_a_line_at_the_end_and_one_now_and_then(store, monkeypatch):
    first, last = seen(store, io.StringIO(), monkeypatch).splitlines()
    assert first.startswith("evaluate: 4 of 10 examples, ")
    assert first.endswith(" min left")
    assert last.startswith("evaluate: 10 of 10 examples, ")


def test_lines_say_what_is_left(store, monkeypatch):
    monkeypatch.setattr(progress, "WRITES_EVERY", 0.0)
    lines = seen(store, io.StringIO(), monkeypatch).splitlines()
    assert any(line.startswith("evaluate: 4 of 10 examples, ") and line.endswith(" min left") for line in lines)
    assert lines[-1].startswith("evaluate: 10 of 10")
    assert not lines[-1].endswith("left")


def test_what_was_there_does_not_count_for_the_rate(store, monkeypatch):
    for shard in range(3):
        store.write(shard, {})
    with Progress(store, True, file := io.StringIO()):
        pass
    assert file.getvalue() == "evaluate: 10 of 10 examples, 0 a second\n"


def test_an_error_ends_the_bar(store):
    with pytest.raises(ArithmeticError), Progress(store, True, io.StringIO()) as shown:
        raise ArithmeticError
    assert not shown.thread.is_alive()


def test_only_the_first_member_shows_progress(monkeypatch, tmp_path, capsys):
    for number in range(2):
        monkeypatch.setenv("SLURM_ARRAY_TASK_ID", str(number))
        monkeypatch.setenv("SLURM_ARRAY_TASK_COUNT", "2")
        run(path=tmp_path / f"{number}.h5", show_progress=True)
    assert capsys.readouterr().err.count("evaluate: 8 of 8") == 1
