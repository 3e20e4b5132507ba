"""The same score by this package, Quantus and torchxai, beside the closed form that says which one is right.

Run `make side-by-side TORCHXAI=PATH`, half a minute, where PATH is a checkout of
https://github.com/atriaml/torchxai. It installs Quantus in an environment of its own and calls
`python benchmarks/side_by_side.py --torchxai PATH --write`, which puts the table into
docs/concepts/published-numbers.md. A package that cannot be had is named, and its column is empty.

The model is linear, so each feature has an exact effect `psi`, and every score follows from `psi` and the map.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from captum.attr import Attribution, InputXGradient, Saliency
from scipy.stats import pearsonr, spearmanr
from torch import Tensor, nn

from captum_ext import metrics
from captum_ext.perturbations import gaussian, square_removal

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "concepts" / "published-numbers.md"
BEGIN, END = "<!-- made by `make side-by-side` -->", "<!-- /made side by side -->"
PEERS = "Quantus", "torchxai"
B, SHAPE = 4, (1, 4, 5)
F = 20
UNSEEN = 5  # of the features
DRAWS = 2000
GROUPS = torch.tensor([0] + 2 * [1] + 3 * [2] + 5 * [3] + 9 * [4]).reshape(1, *SHAPE)


class Linear(nn.Module):
    """It does not see its last features."""

    def __init__(self, positive: bool = False):
        super().__init__()
        weights = torch.randn(F, generator=torch.Generator().manual_seed(0))
        weights[-UNSEEN:] = 0
        self.weights = nn.Parameter(weights.abs() if positive else weights)

    def forward(self, rows: Tensor) -> Tensor:
        return rows.flatten(1) @ self.weights[:, None]

    @property
    def gradient(self) -> Tensor:
        return self.weights.detach().reshape(1, *SHAPE).expand(B, *SHAPE)


def drawn(seed: int) -> Tensor:
    return torch.rand(B, *SHAPE, generator=torch.Generator().manual_seed(seed))


X, PHI = drawn(1) + 0.5, drawn(2) - 0.5
NOTHING = torch.zeros_like(X)
MODEL, POSITIVE = Linear().eval(), Linear(positive=True).eval()
PSI = X * MODEL.gradient  # [B, 1, 4, 5]


# ---- the packages


@cache
def quantus() -> ModuleType | None:
    """It calls `numpy.trapz`, which the newest numpy only has by its new name."""
    vars(np).setdefault("trapz", vars(np).get("trapezoid"))
    return imported("quantus")


@cache
def torchxai() -> ModuleType | None:
    """Without its analysis of texts, which needs NLTK's word lists when it is imported."""
    texts: Any = ModuleType("texts")
    texts.attribution_text_analysis = None
    sys.modules["torchxai.metrics.diagnosis.attribution_text_analysis"] = texts
    return imported("torchxai.metrics")


def target_of_torchxai() -> Any:
    return importlib.import_module("torchxai.data_types").ExplanationTarget.from_raw_input(0)


def imported(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        print(f"{name} cannot be had: {error}")
        return None


def of_quantus(
    metric: str,
    model: nn.Module,
    phi: Tensor,
    x: Tensor = X,
    *,
    explain: Any = None,
    truth: Any = None,
    **settings: Any,
) -> Tensor:
    """With attributions and outputs as they are: neither normalised nor through a softmax."""
    fixed = {"disable_warnings": True, "normalise": False, "return_aggregate": False}
    configured = getattr(quantus(), metric)(**fixed, **settings)
    batch = {"x_batch": x.numpy(), "y_batch": np.zeros(len(x), dtype=int), "a_batch": phi.numpy()}
    truth = None if truth is None else truth.numpy()
    found = configured(model=model, **batch, s_batch=truth, explain_func=explain, device="cpu", softmax=False)
    return torch.tensor(np.array(found, dtype=float))


def of_torchxai(metric: str, model: Any, phi: Tensor, x: Tensor = X, **settings: Any) -> Any:
    function = getattr(torchxai(), metric)
    quiet = {"show_progress": False} if "show_progress" in inspect.signature(function).parameters else {}
    given = {"forward_func": model, "inputs": x, "attributions": phi, "target": target_of_torchxai()}
    return function(**given, **quiet, **settings)


def of_ours(metric: Callable[..., Any], model: nn.Module, phi: Tensor, x: Tensor = X, **settings: Any) -> Tensor:
    return metric(forward_func=model, inputs=x, attributions=phi, target=0, **settings)


# ---- closed forms


def each(of_one: Callable[[Tensor, Tensor], float], a: Tensor, b: Tensor) -> Tensor:
    return torch.tensor([of_one(*pair) for pair in zip(a.flatten(1), b.flatten(1))])


def pearson(a: Tensor, b: Tensor) -> Tensor:
    return each(lambda u, v: pearsonr(u, v)[0], a, b)


def spearman(a: Tensor, b: Tensor) -> Tensor:
    return each(lambda u, v: spearmanr(u, v)[0], a, b)


def entropy(phi: Tensor) -> Tensor:
    p = phi.abs().flatten(1) / phi.abs().flatten(1).sum(1, keepdim=True)
    return -torch.xlogy(p, p).sum(1)


def gini(phi: Tensor) -> Tensor:
    sizes = phi.abs().flatten(1)
    between = (sizes[:, :, None] - sizes[:, None]).abs().sum((1, 2))
    return between / (2 * F * sizes.sum(1))


def removed(psi: Tensor) -> Tensor:
    """`[B, F + 1]`: how far the output has fallen as the features go, the one of the largest effect first."""
    fallen = psi.flatten(1).sort(1, descending=True).values.cumsum(1)
    return torch.cat([torch.zeros(B, 1), fallen], 1)


ONE, ZERO = torch.ones(B), torch.zeros(B)


# ---- the cases


@dataclass(frozen=True)
class Case:
    """A score of a map by several packages; None for a package that has no such score."""

    score: str
    says: str
    exact: Tensor
    ours: Callable[[], Tensor]
    quantus: Callable[[], Tensor] | None = None
    torchxai: Callable[[], Tensor] | None = None
    tolerance: float = 1e-3


def of_maps_alone() -> Iterator[Case]:
    yield Case(
        "entropy",
        "$-\\sum_i p_i \\log p_i$ with $p = \\lvert\\phi\\rvert / \\sum \\lvert\\phi\\rvert$",
        entropy(PHI),
        lambda: metrics.entropy(X, PHI),
        lambda: of_quantus("Complexity", MODEL, PHI),
        lambda: torchxai().complexity_entropy(PHI),
    )
    yield Case(
        "sparseness",
        "Gini index, over all pairs of features",
        gini(PHI),
        lambda: metrics.sparseness(X, PHI),
        lambda: of_quantus("Sparseness", MODEL, PHI),
        lambda: torchxai().sparseness(PHI),
    )


def of_truth() -> Iterator[Case]:
    """On absolute values, with the first eight elements true."""
    phi, truth = PHI.abs(), (torch.arange(F) < 8).reshape(1, *SHAPE).expand(B, *SHAPE)
    mass, highest = phi.flatten(1), phi.flatten(1).sort(1).indices[:, -8:]
    above = (mass[:, :8, None] > mass[:, None, 8:]).double().mean((1, 2))
    for score, says, exact, ours, theirs in (
        (
            "relevance mass accuracy",
            "the true elements' share of the sum",
            mass[:, :8].sum(1) / mass.sum(1),
            metrics.relevance_mass_accuracy,
            "RelevanceMassAccuracy",
        ),
        (
            "relevance rank accuracy",
            "the true elements' share of the 8 highest",
            (highest < 8).double().mean(1),
            metrics.relevance_rank_accuracy,
            "RelevanceRankAccuracy",
        ),
        (
            "pointing game",
            "whether the highest element is true",
            (phi.flatten(1).argmax(1) < 8).double(),
            metrics.pointing_game,
            "PointingGame",
        ),
        (
            "area under the ROC curve",
            "how often a true element is above another",
            above,
            metrics.auc_roc,
            "AUC",
        ),
    ):
        yield Case(
            score,
            says,
            exact,
            partial(ours, X, phi, truth),
            partial(of_quantus, theirs, MODEL, phi, truth=truth, abs=False),
        )


def of_random_layers() -> Iterator[Case]:
    """Neighbouring differences of the input are the same whatever the model is."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(F, 5), nn.ReLU(), nn.Linear(5, 3)).eval()
    edges = X.diff(dim=-1, prepend=X[..., :1])

    def explain(model: Any, inputs: Any, targets: Any, **further: Any) -> Any:
        return np.diff(inputs, axis=-1, prepend=inputs[..., :1])

    def of_model(model: Any) -> Callable[..., Tensor]:
        return lambda inputs, target=None: inputs.diff(dim=-1, prepend=inputs[..., :1])

    yield Case(
        "parameter randomisation",
        "an explanation that does not ask the model",
        ONE,
        partial(metrics.parameter_randomization, model, of_model, X, target=0),
        partial(of_quantus, "MPRT", model, edges, explain=explain, abs=False, return_average_correlation=True),
    )


def of_sets() -> Iterator[Case]:
    near = {"n_perturb_samples": DRAWS}
    of_correlation = {"abs": False, "subset_size": 4, "perturb_baseline": 0.0, "nr_runs": DRAWS}
    correlation = partial(
        of_torchxai, "faithfulness_corr", MODEL, baselines=NOTHING, percent_features_perturbed=0.2, **near
    )
    for name, phi, exact, tolerance in (
        ("the effects", PSI, ONE, 1e-3),
        ("another map: $\\operatorname{corr}(\\phi, \\psi)$ at any size of sets", PHI, pearson(PHI, PSI), 0.1),
    ):
        yield Case(
            "faithfulness correlation",
            name,
            exact,
            partial(of_ours, metrics.faithfulness_correlation, MODEL, phi, n=4, seed=0, **near),
            partial(of_quantus, "FaithfulnessCorrelation", MODEL, phi, **of_correlation),
            partial(correlation, phi),
            tolerance,
        )
    of_n = {"features_in_step": 1, "n_max_percentage": 0.7, "perturb_baseline": 0.0, "abs": False}
    for name, phi in (("the effects", PSI), ("three times the effects", 3 * PSI)):
        yield Case(
            "sensitivity-n, n = 4",
            name,
            ONE,
            partial(of_ours, metrics.sensitivity_n, MODEL, phi, n=4, seed=0, **near),
            lambda phi=phi: of_quantus("SensitivityN", MODEL, phi, **of_n)[3].expand(B),
            lambda phi=phi: of_torchxai("sensitivity_n", MODEL, phi, n_features_perturbed=4, baselines=NOTHING, **near),
        )
    yield nothing_removed()


def nothing_removed() -> Case:
    """The mean squared error of a map of zeros, where one of 49 features is removed at a time."""
    x, w = torch.arange(1.0, 50).reshape(1, 1, 7, 7) / 49, torch.ones(49)

    def f(rows: Tensor) -> Tensor:
        return rows.flatten(1) @ w[:, None]

    one = partial(square_removal, size=1, multiply_by_inputs=True)
    given = {"forward_func": f, "inputs": x, "attributions": 0 * x, "target": 0, "n_perturb_samples": 49}
    return Case(
        "squared error at n = 1",
        "zeros, 49 features: the mean of $\\psi_i^2$",
        (x.flatten(1) * w).square().mean(1),
        lambda: metrics.infidelity(perturb_func=one, **given),
        None,
        partial(
            of_torchxai, "sensitivity_n", f, 0 * x, x, n_features_perturbed=1, baselines=0 * x, n_perturb_samples=49
        ),
        0.1,
    )


def of_single_features() -> Iterator[Case]:
    alone = {"features_in_step": 1, "perturb_baseline": 0.0}
    yield Case(
        "faithfulness estimate",
        "another map: $\\operatorname{corr}(\\phi, \\psi)$",
        pearson(PHI, PSI),
        partial(of_ours, metrics.faithfulness_estimate, MODEL, PHI),
        partial(of_quantus, "FaithfulnessEstimate", MODEL, PHI, abs=False, **alone),
        partial(of_torchxai, "faithfulness_estimate", MODEL, PHI, baselines=NOTHING),
    )
    yield Case(
        "monotonicity correlation",
        "another map: rank correlation of $\\lvert\\phi\\rvert$ and $\\psi^2$",
        spearman(PHI.abs(), PSI**2),
        partial(of_ours, metrics.monotonicity_correlation, MODEL, PHI),
        partial(of_quantus, "MonotonicityCorrelation", MODEL, PHI, abs=True, nr_samples=1, **alone),
        lambda: single_effects_of_torchxai(MODEL, PHI)[0],
    )
    yield Case(
        "monotonicity correlation",
        "the effects, groups of 1, 2, 3, 5 and 9 elements",
        ONE,
        partial(of_ours, metrics.monotonicity_correlation, MODEL, PSI, feature_mask=GROUPS),
        None,
        lambda: single_effects_of_torchxai(MODEL, PSI, feature_mask=GROUPS.expand(B, *SHAPE))[0],
    )
    many = torch.linspace(1, 1.5, 400).reshape(1, 1, 20, 20)
    for name, model, x, psi in (
        ("the effects", MODEL, X, PSI),
        ("the effects, 400 small ones", Sum().eval(), many, many),
    ):
        yield Case(
            "non-sensitivity",
            name,
            torch.zeros(len(x)),
            partial(of_ours, metrics.non_sensitivity, model, psi, x),
            partial(of_quantus, "NonSensitivity", model, psi, x, abs=True, **alone),
            partial(number_without_effect, model, psi, x),
        )


class Sum(nn.Module):
    def forward(self, rows: Tensor) -> Tensor:
        return rows.flatten(1).sum(1, keepdim=True)


def number_without_effect(model: nn.Module, phi: Tensor, x: Tensor) -> Any:
    return single_effects_of_torchxai(model, phi, x)[1]


def single_effects_of_torchxai(model: nn.Module, phi: Tensor, x: Tensor = X, **settings: Any) -> Any:
    """Its monotonicity correlation and the number that is its non-sensitivity."""
    once = {"baselines": torch.zeros_like(x), "n_perturbations_per_feature": 1, "return_ratio": False}
    return of_torchxai("monotonicity_corr_and_non_sens", model, phi, x, **once, **settings)


def of_removal() -> Iterator[Case]:
    psi = X * POSITIVE.gradient
    fallen = removed(psi)
    flipping = {"features_in_step": 1, "perturb_baseline": 0.0, "abs": False, "return_auc_per_sample": True}
    yield Case(
        "AOPC",
        "the effects: the mean of the $F + 1$ falls of the output",
        fallen.mean(1),
        partial(of_ours, metrics.aopc, POSITIVE, psi, n_steps=F + 1),
        None,
        lambda: of_torchxai("aopc", POSITIVE, psi, baselines=NOTHING, n_random_perms=1)[0][:, -1],
    )
    yield Case(
        "area under the deletion curve",
        "the effects: trapezoids over the share removed",
        torch.trapezoid(psi.flatten(1).sum(1, keepdim=True) - fallen, dx=1 / F),
        partial(of_ours, metrics.deletion, POSITIVE, psi, n_steps=F + 1),
        partial(of_quantus, "PixelFlipping", POSITIVE, psi, **flipping),
    )
    last = PHI.clone().flatten(1)
    last[:, 0] = last.min(1).values - 1  # the least relevant feature is the only one that lowers the output
    drops = Linear(positive=True).eval()
    drops.weights.data[0] = -1
    for name, model, phi, exact in (
        ("any map, no feature lowers the output", POSITIVE, PHI, ONE),
        ("the feature that is shown first lowers the output", drops, last.reshape(PHI.shape), ZERO),
    ):
        yield Case(
            "monotonicity",
            name,
            exact,
            partial(of_ours, metrics.monotonicity, model, phi),
            partial(of_quantus, "Monotonicity", model, phi, features_in_step=1, perturb_baseline=0.0, abs=False),
            partial(of_torchxai, "monotonicity", model, phi, baselines=NOTHING),
        )


def of_completeness() -> Iterator[Case]:
    yield Case(
        "completeness",
        "the effects: their sum is the output's change, so the gap is 0",
        ZERO,
        partial(of_ours, metrics.completeness, MODEL, PSI),
        lambda: 1 - of_quantus("Completeness", MODEL, PSI, abs=False, perturb_baseline=0.0),  # 1: it is complete
        partial(of_torchxai, "completeness", MODEL, PSI, baselines=NOTHING),
    )


def noise_of_torchxai(std: float) -> Callable[..., Any]:
    def moved(inputs: Any, baselines: Any = None, **further: Any) -> Any:
        (x,) = inputs if isinstance(inputs, tuple) else (inputs,)
        noise = std * torch.randn_like(x)
        return noise, x - noise

    return moved


def of_perturbations() -> Iterator[Case]:
    noise = {"perturb_func": partial(gaussian, std=0.1), "n_perturb_samples": DRAWS, "seed": 0}
    theirs = {"perturb_func": noise_of_torchxai(0.1), "n_perturb_samples": DRAWS, "normalize": False}
    squares = {"perturb_patch_sizes": [1], "perturb_baseline": 0.0, "n_perturb_samples": 1}
    square_of_weights = MODEL.weights.detach().square().sum().expand(B)
    yield Case(
        "infidelity",
        "the gradient",
        ZERO,
        partial(of_ours, metrics.infidelity, MODEL, MODEL.gradient, **noise),
        partial(of_quantus, "Infidelity", MODEL, MODEL.gradient, abs=False, **squares),
        partial(of_torchxai, "infidelity", MODEL, MODEL.gradient, **theirs),
    )
    yield Case(
        "infidelity",
        "twice the gradient, noise of 0.1: $0.01\\, \\lVert w \\rVert^2$",
        0.01 * square_of_weights,
        partial(of_ours, metrics.infidelity, MODEL, 2 * MODEL.gradient, **noise),
        None,
        partial(of_torchxai, "infidelity", MODEL, 2 * MODEL.gradient, **theirs),
        0.02,
    )
    one = {"perturb_func": partial(square_removal, size=1), "n_perturb_samples": F}
    yield Case(
        "infidelity",
        "twice the gradient, one element removed at a time: the mean of $\\psi_i^2$",
        PSI.flatten(1).square().mean(1),
        partial(of_ours, metrics.infidelity, MODEL, 2 * MODEL.gradient, **one),
        partial(of_quantus, "Infidelity", MODEL, 2 * MODEL.gradient, abs=False, **squares),
    )
    norm = PSI.flatten(1).norm(dim=1)
    for name, method, phi, exact in (
        ("the gradient", partial(Saliency(MODEL).attribute, target=0, abs=False), MODEL.gradient, ZERO),
        (
            "input x gradient, within 0.1: the largest is $0.1\\, \\lVert w \\rVert / \\lVert w x \\rVert$",
            partial(InputXGradient(MODEL).attribute, target=0),
            PSI,
            0.1 * square_of_weights.sqrt() / norm,
        ),
    ):
        yield Case("max-sensitivity", name, exact, *max_sensitivities(method, phi))


class Explained(Attribution):
    """An explanation for torchxai, which hands a target of its own type on. Captum's methods refuse that."""

    def __init__(self, method: Callable[[Tensor], Tensor]):
        self.method = method

    def attribute(self, inputs: Any, target: Any = None) -> Any:
        return self.method(inputs)  # a tuple for a tuple


def max_sensitivities(method: Callable[[Tensor], Tensor], phi: Tensor) -> tuple[Callable[[], Tensor], ...]:
    """Over fifty draws within a radius of 0.1."""

    def explain(model: Any, inputs: Any, targets: Any, **further: Any) -> Any:
        return method(torch.as_tensor(inputs)).detach().numpy()

    def theirs() -> Tensor:
        call = {"perturb_radius": 0.1, "n_perturb_samples": 50, "target": target_of_torchxai()}
        return torchxai().sensitivity_max_and_avg(Explained(method), X, **call)[0]

    drawn = {"perturb_radius": 0.1, "n_perturb_samples": 50, "seed": 0, "search": "vertices"}
    return (
        partial(metrics.sensitivity_max, method, X, **drawn),
        partial(of_quantus, "MaxSensitivity", MODEL, phi, explain=explain, nr_samples=50, lower_bound=0.1),
        theirs,
    )


def cases() -> Iterator[Case]:
    of_effects = (of_sets, of_single_features, of_removal, of_completeness, of_perturbations)
    for family in (of_maps_alone, of_truth, *of_effects, of_random_layers):
        yield from family()


# ---- the table


def found(of: Callable[[], Tensor] | None, package: bool = True) -> Tensor | str:
    if of is None or not package:
        return "–"
    torch.manual_seed(0)
    np.random.seed(0)
    try:
        return torch.as_tensor(of()).detach().double().flatten()
    except Exception as error:  # what a package cannot do is part of the comparison
        return f"fails: {type(error).__name__}: {str(error)[:300]}"


def agrees(value: Tensor, case: Case) -> bool:
    return bool(((value - case.exact.double()).abs() <= case.tolerance).all())


def cell(value: Tensor | str, case: Case) -> str:
    """The mean over the examples, in bold if an example is wrong."""
    if isinstance(value, str):
        return f"**{value}**" if value.startswith("fails") else value
    return f"{value.mean():.4f}" if agrees(value, case) else f"**{value.mean():.4f}**"


def line(case: Case) -> list[str]:
    values = (
        found(case.ours),
        found(case.quantus, quantus() is not None),
        found(case.torchxai, torchxai() is not None),
    )
    return [case.score, case.says, f"{case.exact.mean():.4f}", *(cell(value, case) for value in values)]


def table() -> str:
    head = [["score", "map and closed form", "exact", "captum_ext", *PEERS], ["---"] * 6]
    return "\n".join(f"| {' | '.join(row)} |" for row in [*head, *map(line, cases())])


def versions(torchxai_source: str | None) -> str:
    of_quantus = f"Quantus {version('quantus')}" if quantus() else "Quantus: cannot be had"
    of_torchxai = f"torchxai {commit(torchxai_source or '.')}" if torchxai() else "torchxai: cannot be had"
    return f"Of {of_quantus}, {of_torchxai}, torch {version('torch')}."


def commit(source: str) -> str:
    called = ["git", "-C", source, "log", "-1", "--format=%h of %cs"]
    return subprocess.run(called, capture_output=True, text=True, check=False).stdout.strip() or "of an unknown commit"


def write(text: str, page: Path = PAGE, begin: str = BEGIN, end: str = END) -> None:
    """Puts the text between two lines of a page."""
    before, rest = page.read_text().split(begin)
    page.write_text(f"{before}{begin}\n\n{text}\n\n{end}{rest.split(end)[1]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--torchxai", help="a checkout of its source")
    parser.add_argument("--write", action="store_true", help=f"put the table into {PAGE.relative_to(ROOT)}")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    if options.torchxai:
        sys.path.insert(0, str(Path(options.torchxai) / "src"))
    made = f"{table()}\n\n{versions(options.torchxai)}"
    print(made)
    if options.write:
        write(made)


if __name__ == "__main__":
    main()
