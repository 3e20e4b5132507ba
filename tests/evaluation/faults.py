"""What goes wrong in the tests of engines: metrics that kill, hang or fail where a test asks them to."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import captum_ext


def _here(inputs, row):
    """Whether an example is in this batch: by its contents, for a metric does not know numbers."""
    return bool((inputs == row).all(dim=1).any())


def die_at(attributions, inputs, row, times, notes):
    """Kills its process at one example, the first `times` times; `notes` is a folder that counts."""
    if _here(inputs, row) and _count(notes) < times:
        (Path(notes) / f"{os.getpid()}-{time.time_ns()}").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return (attributions * inputs).mean(1)


def hang_at(attributions, inputs, row, times, notes):
    """Stops its process at one example, the first `times` times."""
    if _here(inputs, row) and _count(notes) < times:
        (Path(notes) / f"{os.getpid()}-{time.time_ns()}").touch()
        time.sleep(600)
    return (attributions * inputs).mean(1)


def _count(notes):
    return len(list(Path(notes).iterdir()))


SCRIPT = """
import json, sys, time
import torch
from captum.attr import GradientShap, Saliency
from captum_ext import evaluate, metrics, random_attribution

options = json.loads(sys.argv[1])
seconds, n = options.pop("seconds", 0), options.pop("n", 24)


class Net(torch.nn.Module):  # of the script: no other process could import it
    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.layers = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Softplus(), torch.nn.Linear(8, 3)).double()

    def forward(self, x):
        return self.layers(x)


def paced(attributions, inputs):
    time.sleep(seconds)
    return (attributions * inputs).mean(1)


rows = torch.randn(n, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
result = evaluate(
    lambda: Net(),
    [(x, i % 3) for i, x in enumerate(rows)],
    {
        "saliency": Saliency,
        "random": random_attribution,
        "product": lambda model: lambda x, target: x * Saliency(model).attribute(x, target=target),
    },
    {"paced": paced, "deletion": metrics.deletion},
    **{"batch_size": 1, "max_restarts": 1000, **options},
)
print("finished", len(result.dataset.example), flush=True)
"""


def driver(folder, environment=(), **options):
    """Another interpreter that runs a script without a `__main__` guard.

    Takes the options of `evaluate`, the `seconds` that a batch lasts and the number `n` of examples.
    """
    script = Path(folder) / "script.py"
    script.write_text(SCRIPT)
    root = Path(captum_ext.__file__).parents[1]
    own = {
        **os.environ,
        "PYTHONPATH": str(root),
        "OMP_NUM_THREADS": "1",
        "PYTHONWARNINGS": "ignore",
        **dict(environment),
    }
    return subprocess.Popen(
        [sys.executable, str(script), json.dumps(options)],
        env=own,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
    )


def undisturbed(folder, **options):
    """The same run in one process that nobody disturbs."""
    process = driver(folder, threads_per_worker=1, **options)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out


def workers_of(pid):
    """The worker processes that a driver started."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(status.read_text().rsplit(")", 1)[1].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
        if parent == pid:
            found.append(int(status.parent.name))
    return found


def wait_until(condition, seconds=120.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.05)
