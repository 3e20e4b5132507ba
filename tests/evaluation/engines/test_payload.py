"""What goes to another process: whole, private, and nobody else's."""

from __future__ import annotations

import os
import pickle
import socket
import stat
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from captum_ext.evaluation.engines import Resources, elastic, errors, payload
from captum_ext.evaluation.engines.process import started
from captum_ext.evaluation.job import Job, manifest_of
from captum_ext.evaluation.store import ShardStore

from ..runs import METHODS, METRICS, Net, examples


def job():
    return Job(model=Net(), data=examples(), methods=METHODS, metrics=METRICS, batch_size=2)


def test_a_job_comes_back_as_it_was():
    content = payload.packed(replace(job(), metrics={"of a lambda": lambda attributions: attributions.sum(1)}))
    again = payload.unpacked(content, payload.digest_of(content))
    assert list(again.methods) == list(METHODS)
    assert again.metrics["of a lambda"](torch.ones(2, 3)).tolist() == [3, 3]


def test_a_model_that_a_function_made_goes_as_the_function():
    content = payload.packed(replace(job(), maker=Net))
    assert payload.unpacked(content, payload.digest_of(content)).model is Net


def test_a_module_is_taken_as_it_was_sent():
    """Also a graph, whose code is numbered otherwise when it is made again."""
    sent = replace(job(), model=torch.fx.symbolic_trace(torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU())))
    content = payload.packed(sent)
    again = payload.made_again(payload.unpacked(content, payload.digest_of(content)), manifest_of(sent, 8, 2))
    assert torch.equal(again.model(torch.ones(1, 4)), sent.model(torch.ones(1, 4)))


def test_a_model_that_a_function_makes_otherwise_each_time_is_refused():
    of_random_weights = partial(torch.nn.Linear, 4, 3)
    sent = replace(job(), model=of_random_weights(), maker=lambda: of_random_weights())
    content = payload.packed(sent)
    settings = {"manifest": manifest_of(sent, 8, 2), "sys_path": sys.path, "cwd": os.getcwd()}
    with pytest.raises(ValueError, match="made another model in a worker than at first: its weights differ"):
        started(content, payload.digest_of(content), "cpu", settings)


class Trap:
    def __reduce__(self):
        return pytest.fail, ("it was unpickled",)


def test_what_is_not_the_digests_is_never_unpickled():
    with pytest.raises(ValueError, match="is not what was handed over: its digest differs"):
        payload.unpacked(pickle.dumps(Trap()), payload.digest_of(b"the job"))


def test_the_folder_is_the_users_alone_the_digest_is_not_in_it_and_no_port_is_opened(tmp_path, monkeypatch):
    """Seen at the moment when the workers would start. The job has no name there that a kill could leave behind."""
    seen = {}

    class NoAgent:
        def __init__(self, folder, digest, resources):
            files = [f for f in Path(folder).rglob("*") if f.is_file()]
            seen.update(
                mode=stat.S_IMODE(Path(folder).stat().st_mode),
                digest=any(digest.encode() in f.read_bytes() for f in files),
                files={f.name for f in files},
            )

        def run(self):
            return self

        def is_failed(self):
            return False

    monkeypatch.setattr(elastic, "agent_of", NoAgent)
    store = ShardStore(tmp_path / "parts", {"examples": 8, "shard_size": 2})
    elastic.Elastic().run(job(), [0], store, Resources([torch.device("cpu")] * 2))
    assert seen == {"mode": 0o700, "digest": False, "files": {"settings.json"}}


def test_the_agents_meeting_opens_no_port(tmp_path, monkeypatch):
    monkeypatch.setattr(socket.socket, "bind", lambda *_: pytest.fail("a port was opened"))
    agent = elastic.agent_of(tmp_path, "0", Resources([torch.device("cpu")] * 2))
    handler = agent.get_worker_group().spec.rdzv_handler
    met = handler.next_rendezvous()
    assert (met.rank, met.world_size) == (0, 1)
    assert met.bootstrap_store_info.master_addr == "127.0.0.1"
    assert (handler.is_closed(), handler.num_nodes_waiting(), handler.shutdown()) == (False, 0, True)


@pytest.mark.parametrize(
    "error",
    [ValueError("a value"), KeyError("a key"), OSError(28, "No space"), UnicodeDecodeError("utf8", b"x", 0, 1, "why")],
    ids=lambda e: type(e).__name__,
)
def test_an_error_comes_back_as_text(error):
    error.add_note("where")
    again = errors.again(errors.noted(error))
    assert type(again) is (RuntimeError if isinstance(error, UnicodeDecodeError) else type(error))
    assert str(again).endswith(str(error))
    assert again.__notes__[0] == "where"
    assert getattr(again, "errno", None) == getattr(error, "errno", None)


def test_an_error_of_ones_own_kind_comes_back_as_the_built_in_kind_below_it():
    class Mine(ArithmeticError):
        pass

    assert type(errors.again(errors.noted(Mine("mine")))) is ArithmeticError
