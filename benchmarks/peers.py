"""What the same work costs in this package, Captum, AttriBench, Quantus and torchxai.

Run `make benchmark-peers TORCHXAI=PATH`, where PATH is a checkout of https://github.com/atriaml/torchxai. It installs
AttriBench and Quantus in an environment of their own and calls `python benchmarks/peers.py --torchxai PATH --write`,
which puts the table into README.md. `--quick` takes under a minute. A package that cannot be had is named with the
reason.

A task has the same steps, subsets and draws in every package, and calls of the same number of rows where a package has
such a limit. Time is that of the bare forward passes (or explanations) of the rows that the task needs. Packages take
turns within one run, each paired with the bare work; the median of the pairs is shown. Where there are fewer images
than rows in a call, a package that takes the batch as it is makes smaller calls. AttriBench is measured within
its batches, so without the four processes that each of its calls starts to load the data.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from captum.attr import Saliency
from cases import CASES, Case, Setting, Work, captums_infidelity, captums_sensitivity_max, gaussian
from measuring import counted, time_ratio
from overhead import machine, table
from side_by_side import (
    Explained,
    commit,
    imported,
    of_quantus,
    of_torchxai,
    quantus,
    target_of_torchxai,
    torchxai,
    write,
)
from torch import Tensor

from captum_ext import metrics

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "README.md"
BEGIN, END = "<!-- made by `make benchmark-peers` -->", "<!-- /made by benchmark-peers -->"
RADIUS = 0.02  # of the default perturbations of `sensitivity_max`
MEMORY = 1e9  # bytes, of one mask of a perturbed image
CASE = {case.name: case for case in CASES}

# as many images as rows in a call, so that packages that take the batch as it is have such calls too; and fewer images
CNN = Setting("cnn", 32, batch=32, limit=32, draws=6, sizes=2, steps=13, methods=1)
FULL = {
    "CNN, 32 images": CNN,
    "CNN, 4 images": replace(CNN, batch=4),
    "Lite0, 8 images": replace(CNN, model="lite0", side=224, batch=8, limit=8),
}
QUICK = {"CNN, 8 images": replace(CNN, batch=8, limit=8)}
TASKS = {"cnn": ("deletion", "sensitivity_n", "infidelity", "sensitivity_max")}
TASKS["lite0"] = TASKS["cnn"][:3]


@dataclass(frozen=True)
class Way:
    """How a package does a task. `both` gives its scores and ours under the same perturbations, where it can take them,
    and `bytes` the size of its largest mask.
    """

    run: Callable[[Work], Any]
    both: Callable[[Work], tuple[Tensor, Tensor]] | None = None
    bytes: Callable[[Work], float] = lambda w: 0.0


def features(w: Work) -> int:
    return w.inputs[0].numel()


def labels(w: Work) -> Tensor:
    return torch.zeros(len(w.inputs), dtype=torch.long)


def sizes(w: Work) -> list[int]:
    """Of the subsets of sensitivity-n."""
    s = w.setting
    return [i * features(w) // (s.sizes + 1) for i in range(1, s.sizes + 1)]


# ---- perturbations that are functions of the row, so that every package has the same


def wave(x: Tensor) -> tuple[Tensor, Tensor]:
    noise = 0.1 * (3 * x).sin()
    return noise, x - noise


def ripple(x: Tensor) -> Tensor:
    return x + RADIUS * (3 * x).sin()


def ours(score: Any) -> Tensor:
    """The scores of the one method, where it has a name."""
    return next(iter(score.values())) if isinstance(score, Mapping) else score


def our_curve(w: Work, **settings: Any) -> Tensor:
    return ours(w.calls.call(metrics.deletion_curve, **settings))


def our_infidelity(w: Work) -> Tensor:
    return ours(CASE["infidelity"].run(w, perturb_func=wave))


def our_sensitivity_max(w: Work) -> Tensor:
    return ours(CASE["sensitivity_max"].run(w, perturb_func=ripple))


# ---- Captum


CAPTUM = {
    "infidelity": Way(captums_infidelity, lambda w: (captums_infidelity(w, perturb_func=wave), our_infidelity(w))),
    "sensitivity_max": Way(
        captums_sensitivity_max,
        lambda w: (captums_sensitivity_max(w, perturb_func=ripple), our_sensitivity_max(w)),
    ),
}


# ---- AttriBench


def of_attribench(module: str, name: str) -> Any:
    return getattr(importlib.import_module(f"attribench.{module}"), name)


def to_zero() -> Any:
    return of_attribench("masking.image", "ConstantImageMasker")("feature", 0.0)


def attribench_deletion(w: Work) -> Tensor:
    batch = of_attribench("functional.metrics.deletion._deletion", "_deletion_batch")
    curves = ["linear"], "morf", 0.0, 1.0, w.setting.steps
    return batch(w.inputs, labels(w), w.model, w.phi, {"zero": to_zero()}, *curves)["zero"]["linear"]


def attribench_sensitivity_n(w: Work) -> Any:
    batch = of_attribench("functional.metrics.sensitivity_n._sensitivity_n", "_sens_n_batch")
    subsets = ["linear"], np.array(sizes(w)), w.setting.draws, False
    return batch(w.inputs, labels(w), w.model, {"map": w.phi}, {"zero": to_zero()}, *subsets)


def attribench_infidelity(w: Work) -> Any:
    batch = of_attribench("functional.metrics.infidelity._infidelity", "_infidelity_batch")
    noise = {"noise": of_attribench("functional.metrics.infidelity", "GaussianPerturbationGenerator")(0.1)}
    n = w.setting.draws * w.setting.sizes
    return batch(w.model, w.inputs, labels(w), {"map": w.phi}, noise, n, ["linear"], torch.device("cpu"))


def attribench_sensitivity_max(w: Work) -> Any:
    batch = of_attribench("functional.metrics._max_sensitivity", "_max_sensitivity_batch")
    methods = {"map": lambda x, target: Saliency(w.model).attribute(x, target=target)}
    return batch(w.inputs, labels(w), {"map": w.phi}, methods, w.setting.draws, RADIUS, torch.device("cpu"))


ATTRIBENCH = {
    "deletion": Way(attribench_deletion, lambda w: (attribench_deletion(w), our_curve(w, rounding="floor"))),
    "sensitivity_n": Way(attribench_sensitivity_n),
    "infidelity": Way(attribench_infidelity),
    "sensitivity_max": Way(attribench_sensitivity_max),
}


# ---- Quantus, which takes all examples at once, up to 64


def quantus_in_order(metric: str, w: Work) -> Tensor:
    """Features are replaced in the order of relevance, by sensitivity-n too. There is no point of the whole image."""
    per_step = features(w) // (w.setting.steps - 1)
    settings = {"features_in_step": per_step, "perturb_baseline": 0.0, "abs": False}
    return of_quantus(metric, w.model, w.phi, w.inputs, **settings)


def quantus_infidelity(w: Work) -> Tensor:
    """Patches take the place of noise, as many as there are draws."""
    sixteenths, rest = divmod(w.setting.draws * w.setting.sizes, 16)
    patches = [w.setting.side // 4] * sixteenths + [w.setting.side // 2] * (rest // 4)
    settings = {"perturb_patch_sizes": patches, "n_perturb_samples": 1, "perturb_baseline": 0.0, "abs": False}
    return of_quantus("Infidelity", w.model, w.phi, w.inputs, **settings)


def quantus_sensitivity_max(w: Work, **settings: Any) -> Tensor:
    def explain(model: Any, inputs: Any, targets: Any, **further: Any) -> Any:
        return Saliency(model).attribute(torch.as_tensor(inputs), target=0).numpy()

    settings = {"explain": explain, "nr_samples": w.setting.draws, "lower_bound": RADIUS} | settings
    saliency = Saliency(w.model).attribute(w.inputs, target=0)
    return of_quantus("MaxSensitivity", w.model, saliency, w.inputs, **settings)


def rippled(arr: Any, indices: Any, **further: Any) -> Any:
    return ripple(torch.as_tensor(arr)).numpy()


QUANTUS = {
    "deletion": Way(
        partial(quantus_in_order, "PixelFlipping"),
        lambda w: (quantus_in_order("PixelFlipping", w), our_curve(w)[:, 1:]),
    ),
    "sensitivity_n": Way(partial(quantus_in_order, "SensitivityN")),
    "infidelity": Way(quantus_infidelity),
    "sensitivity_max": Way(
        quantus_sensitivity_max,
        lambda w: (quantus_sensitivity_max(w, perturb_func=rippled), our_sensitivity_max(w)),
    ),
}


# ---- torchxai


def bins(w: Work) -> int:
    return w.setting.steps - 1


def torchxai_deletion(w: Work) -> Tensor:
    """AOPC, which also removes in the opposite and in a random order, and inserts in all three. Returns mean falls."""
    limits = {"total_feature_bins": bins(w), "max_features_processed_per_batch": w.setting.limit}
    zero = torch.zeros_like(w.inputs)
    return of_torchxai("aopc", w.model, w.phi, w.inputs, baselines=zero, n_random_perms=1, **limits)[0]


def torchxai_curve(w: Work) -> tuple[Tensor, Tensor]:
    """How far the output has fallen at each point."""
    counts, curve = torch.arange(1, bins(w) + 2), our_curve(w)
    sums = torchxai_deletion(w) * counts
    return sums.diff(dim=1, prepend=0 * sums[:, :1]), curve[:, :1] - curve


def torchxai_sensitivity_n(w: Work) -> list[Any]:
    draws = {"n_perturb_samples": w.setting.draws, "max_examples_per_batch": w.setting.limit}
    given = {"baselines": torch.zeros_like(w.inputs), **draws}
    score = partial(of_torchxai, "sensitivity_n", w.model, w.phi, w.inputs, **given)
    return [score(n_features_perturbed=n) for n in sizes(w)]


def torchxai_infidelity(w: Work, perturb_func: Callable[[Tensor], Any] = gaussian) -> Tensor:
    draws = {"n_perturb_samples": w.setting.draws * w.setting.sizes, "max_examples_per_batch": w.setting.limit}
    given = {"perturb_func": of_tuples(perturb_func), "normalize": False, **draws}
    return of_torchxai("infidelity", w.model, w.phi, w.inputs, **given)


def of_tuples(perturb_func: Callable[[Tensor], Any]) -> Callable[..., Any]:
    def perturb(inputs: Any, baselines: Any = None, **further: Any) -> Any:
        (x,) = inputs if isinstance(inputs, tuple) else (inputs,)
        return perturb_func(x)

    return perturb


def torchxai_sensitivity_max(w: Work, **settings: Any) -> Tensor:
    explained = Explained(partial(Saliency(w.model).attribute, target=0))
    draws = {"n_perturb_samples": w.setting.draws, "max_examples_per_batch": w.setting.limit}
    given = {"perturb_radius": RADIUS, "target": target_of_torchxai(), **draws, **settings}
    return torchxai().sensitivity_max_and_avg(explained, w.inputs, **given)[0]


TORCHXAI = {
    "deletion": Way(torchxai_deletion, torchxai_curve, lambda w: features(w) ** 2 / bins(w)),
    "sensitivity_n": Way(torchxai_sensitivity_n, bytes=lambda w: features(w) * max(sizes(w))),
    "infidelity": Way(torchxai_infidelity, lambda w: (torchxai_infidelity(w, wave), our_infidelity(w))),
    "sensitivity_max": Way(
        torchxai_sensitivity_max,
        lambda w: (torchxai_sensitivity_max(w, perturb_func=ripple), our_sensitivity_max(w)),
    ),
}


# ---- what can be had


OURS = {name: Way(case.run) for name, case in CASE.items()}
PACKAGES = {"captum_ext": OURS, "Captum": CAPTUM, "AttriBench": ATTRIBENCH, "Quantus": QUANTUS, "torchxai": TORCHXAI}
LOADED: dict[str, tuple[str, Callable[[], Any]]] = {
    "AttriBench": ("attribench.functional", lambda: imported("attribench.functional")),
    "Quantus": ("quantus", quantus),
    "torchxai": ("torchxai.metrics", torchxai),
}


@cache
def absent(package: str) -> str:
    """Why it cannot be had; nothing if it can."""
    name, load = LOADED.get(package, ("captum_ext", lambda: metrics))
    if load() is not None:
        return ""
    try:
        importlib.import_module(name)
    except ImportError as error:
        return f"{package} cannot be had: {error}."
    return f"{package} cannot be had."


# ---- the table


@dataclass
class Cell:
    """What a package needed for a task, or why there is nothing."""

    says: str = ""
    calls: tuple[int, ...] = ()
    same: bool | None = None  # as our score; None where it cannot be compared
    times: tuple[float, ...] = ()

    def __str__(self) -> str:
        sign = {None: "", True: " =", False: " ≠"}[self.same]
        return self.says or f"{median(self.times):.2f} ({sum(self.calls):,} in {len(self.calls)}){sign}"


def first(package: str, task: str, w: Work) -> Cell:
    """Without times, which the first run, a warm-up, does not give."""
    way = PACKAGES[package].get(task)
    if way is None:
        return Cell("none")
    if absent(package):
        return Cell("cannot be had")
    if way.bytes(w) > MEMORY:
        return Cell(f"masks of {way.bytes(w) / 1e9:.1f} GB")
    try:
        return ran(way, w)
    except Exception as error:  # what a package cannot do is part of the comparison
        return Cell(f"fails: {type(error).__name__}: {str(error).splitlines()[0][:80]}")


def ran(way: Way, w: Work) -> Cell:
    with counted(w.model) as calls:
        way.run(w)
    few = replace(w.setting, batch=2, limit=2)
    return Cell("", tuple(calls), None if way.both is None else equal(*way.both(Work(few))))


def equal(theirs: Tensor, right: Tensor) -> bool:
    right = right.detach().double()
    return bool(((theirs.double() - right).abs() <= 1e-4 * right.abs().max()).all())


def line(title: str, task: str, setting: Setting, repeats: int) -> list[str]:
    w, case = Work(setting), CASE[task]
    bare = partial(case.bare, w, case.calls(setting))
    bare()
    cells = {package: first(package, task, w) for package in PACKAGES}
    for _ in range(repeats if setting.batch == setting.limit else 3 * repeats):  # since work on few images is short
        for package, cell in cells.items():
            if not cell.says:
                cell.times += (time_ratio(partial(PACKAGES[package][task].run, w), bare, 1),)
    return [work(title, case, setting), *map(str, cells.values())]


def work(title: str, case: Case, setting: Setting) -> str:
    calls = case.calls(setting)
    return f"{title}: `{case.name}`, {sum(calls):,} in {len(calls)}"


def made(settings: Mapping[str, Setting], repeats: int, source: str | None) -> str:
    tasks = [(title, task, s) for title, s in settings.items() for task in TASKS[s.model]]
    rows = [reported(line(*task, repeats)) for task in tasks]
    return f"{table(['work (rows in calls)', *PACKAGES], rows)}\n{measured(repeats, source)}"


def reported(cells: list[str]) -> list[str]:
    """What is measured so far, as the whole takes minutes."""
    print(*cells, sep=" | ", file=sys.stderr, flush=True)
    return cells


def measured(repeats: int, source: str | None) -> str:
    versions = {"Quantus": lambda: version("quantus"), "AttriBench": lambda: version("attribench")}
    versions["torchxai"] = lambda: commit(source or ".")
    peers = [absent(package) or f"{package} {found()}." for package, found in versions.items()]
    pairs = f"pairs of runs: {repeats}, for 4 images {3 * repeats}"
    return " ".join([f"{datetime.date.today()}; {pairs}; {machine()}.", *peers])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--torchxai", help="a checkout of its source")
    parser.add_argument("--quick", action="store_true", help="less work, the CNN only, one pair of runs")
    parser.add_argument("--repeats", type=int, help="pairs of runs for each ratio of times")
    parser.add_argument("--write", action="store_true", help=f"put the table into {PAGE.relative_to(ROOT)}")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    if options.torchxai:
        sys.path.insert(0, str(Path(options.torchxai) / "src"))
    repeats = options.repeats or (1 if options.quick else 3)
    text = made(QUICK if options.quick else FULL, repeats, options.torchxai)
    print(text)
    if options.write:
        write(text, PAGE, BEGIN, END)


if __name__ == "__main__":
    main()
