"""Draws a small picture for each family of metrics, with the metrics themselves on tiny models."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl
import torch
from matplotlib.figure import Figure

from captum_ext import metrics

mpl.rcParams.update(
    {"svg.hashsalt": "captum_ext", "font.size": 8, "axes.spines.top": False, "axes.spines.right": False}
)

F = 12
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#999999"


def example() -> tuple[Callable[..., Any], Any, dict[str, Any]]:
    """Returns a nearly linear model, an input, and a good, a fair and a random explanation of it."""
    draw = torch.Generator().manual_seed(0)
    w = -torch.randn(F, generator=draw)
    x = 0.3 + torch.rand(1, F, generator=draw)
    noise = torch.randn(2, 1, F, generator=draw)
    maps = {"good": w * x, "fair": w * x + 0.7 * noise[0], "random": noise[1]}
    return (lambda rows: torch.tanh(rows @ w / 2) + rows @ w / 2), x, maps


def gradient_of(f: Callable[..., Any], x: Any) -> Any:
    """Returns the gradient of the first output."""
    with torch.enable_grad():
        rows = x.detach().clone().requires_grad_()
        return torch.autograd.grad(f(rows)[:, 0].sum(), rows)[0]


def removal(ax: Any) -> None:
    f, x, maps = example()
    for (name, curve), color in zip(metrics.deletion_curve(f, x, maps, n_steps=F + 1).items(), (BLUE, ORANGE, GREY)):
        ax.plot(torch.linspace(0, 1, F + 1), curve[0], color=color, label=name)
    ax.set(xlabel="share of features replaced, most relevant first", ylabel="output")
    ax.legend(frameon=False)


def random_subsets(ax: Any) -> None:
    f, x, maps = example()
    draw = torch.Generator().manual_seed(1)
    removed = torch.stack([torch.randperm(F, generator=draw) < 4 for _ in range(60)])
    drop = f(x) - f(torch.where(removed, 0, x))
    for name, color in (("good", BLUE), ("random", GREY)):
        r = metrics.sensitivity_n(f, x, maps[name], n=4, n_perturb_samples=400, seed=0)
        ax.scatter((maps[name] * removed).sum(1), drop, s=8, color=color, label=f"{name}: {float(r):.2f}")
    ax.set(xlabel="attribution of a random set of 4 features", ylabel="drop of the output")
    ax.legend(frameon=False)


def infidelity(ax: Any) -> None:
    f, x, _ = example()
    gradient = gradient_of(lambda rows: f(rows)[:, None], x)
    draw = torch.Generator().manual_seed(1)
    step = 0.3 * torch.randn(60, F, generator=draw)
    change = f(x) - f(x - step)
    ax.axline((0, 0), slope=1, color=GREY, lw=0.8)
    for name, phi, color in (("gradient", gradient, BLUE), ("half of it", gradient / 2, ORANGE)):
        ax.scatter((phi * step).sum(1), change, s=8, color=color, label=name)
    ax.set(xlabel="change that the attributions say", ylabel="change of the output")
    ax.legend(frameon=False)


def robustness(ax: Any) -> None:
    x = torch.linspace(-1, 1, 201)[:, None]
    for name, explain, color in (
        ("smooth", lambda x: 1 + 0.3 * x**2, BLUE),
        ("rough", lambda x: 1 + 0.3 * torch.sin(9 * x), ORANGE),
    ):
        worst = metrics.sensitivity_max(explain, torch.zeros(1, 1), perturb_radius=0.3, n_perturb_samples=50, seed=0)
        ax.plot(x, explain(x), color=color, label=f"{name}: {float(worst):.2f}")
    ax.axvspan(-0.3, 0.3, color=GREY, alpha=0.25, lw=0)
    ax.set(xlabel="input; shaded: the ball around it", ylabel="explanation")
    ax.legend(frameon=False)


def randomisation(ax: Any) -> None:
    draw = torch.Generator().manual_seed(0)
    layers = [torch.nn.Linear(n, m) for n, m in ((100, 40), (40, 40), (40, 3))]
    for parameter in (p for layer in layers for p in layer.parameters()):
        parameter.data = torch.randn(parameter.shape, generator=draw) / parameter.shape[-1] ** 0.5
    model = torch.nn.Sequential(layers[0], torch.nn.Tanh(), layers[1], torch.nn.Tanh(), layers[2])
    x = torch.randn(8, 100, generator=draw)
    for name, method, color in (
        ("gradient", lambda f: partial(gradient_of, f), BLUE),
        ("edges of the input", lambda f: lambda x: x.diff(dim=1), ORANGE),
    ):
        alike = metrics.parameter_randomization_curve(model, method, x).mean(0)
        ax.plot(range(len(layers) + 1), [1.0, *alike], marker="o", color=color, label=name)
    ax.set(xlabel="layers made random, from the last on", ylabel="likeness", xticks=range(4), ylim=(-0.15, 1.15))
    ax.legend(frameon=False)


def axioms(ax: Any) -> None:
    f, x, maps = example()
    change = float(f(x) - f(0 * x))
    sums = {name: float(phi.sum()) for name, phi in maps.items()}
    ax.barh(range(3), sums.values(), color=(BLUE, ORANGE, GREY), height=0.5)
    ax.axvline(change, color="black", lw=1)
    ax.set(yticks=range(3), yticklabels=sums, xlabel="sum of the attributions; line: the change of the output")


def complexity(ax: Any) -> None:
    places = torch.arange(1, F + 1)
    for name, phi, color in (("few features", 2.0 ** (-places), BLUE), ("all features", 1 - places / 40, ORANGE)):
        shares = phi / phi.sum()
        score = float(metrics.sparseness(shares[None], shares[None]))
        ax.plot(places, shares, marker="o", ms=3, color=color, label=f"{name}: sparseness {score:.2f}")
    ax.set(xlabel="features, the most important first", ylabel="share of the attribution")
    ax.legend(frameon=False)


def localisation(ax: Any) -> None:
    row, column = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    phi = torch.exp(-((row - 14) ** 2 + (column - 19) ** 2) / 60) + 0.2 * torch.exp(
        -((row - 26) ** 2 + (column - 6) ** 2) / 20
    )
    truth = torch.zeros(1, 1, 32, 32, dtype=torch.bool)
    truth[..., 8:22, 12:26] = True
    share = float(metrics.relevance_mass_accuracy(phi[None, None], phi[None, None], truth))
    ax.imshow(phi, cmap="magma")
    ax.add_patch(mpl.patches.Rectangle((11.5, 7.5), 14, 14, fill=False, edgecolor="white"))
    ax.set(xticks=[], yticks=[], xlabel=f"{share:.0%} of the mass lies in the box")


def agreement(ax: Any) -> None:
    _, x, maps = example()
    a, b = maps["good"], maps["fair"]
    r = float(metrics.rank_correlation(x, a, b))
    ax.scatter(a[0].abs().argsort().argsort(), b[0].abs().argsort().argsort(), s=12, color=BLUE)
    ax.set(xlabel="rank in one explanation", ylabel="rank in another", title=f"rank correlation {r:.2f}")


PANELS = {"effects": [random_subsets, infidelity]}  # for families that need more than one panel


def draw(family: str, file: Path) -> None:
    """Writes the picture of a family as SVG, with the same bytes each time."""
    panels = PANELS.get(family) or [globals()[family]]
    figure = Figure(figsize=(4 * len(panels), 2.4), layout="constrained")
    for panel, ax in zip(panels, figure.subplots(1, len(panels), squeeze=False)[0]):
        panel(ax)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, metadata={"Date": None})
