"""Makes the gallery of `captum_ext.plots`: runs the code of each figure, and writes it beside its picture.

`python docs/plot_gallery.py FOLDER` writes the pictures alone.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl
import torch
from captum.attr import InputXGradient, IntegratedGradients, Occlusion, Saliency
from matplotlib import pyplot as plt

from captum_ext import Evaluation, evaluate, metrics, plots, random_attribution

SIDE, EXAMPLES = 12, 40
PAPER = (
    'with plt.rc_context({"font.size": 7}):\n    figure, ax = plt.subplots(figsize=(3.3, %s), layout="constrained")\n'
)

# Name -> (what it answers, the code that draws it on `ax`)
FIGURES: dict[str, tuple[str, str]] = {
    "curves": (
        "How does the output fall while features are removed? The interval is that of the tables, a bootstrap over "
        "examples, so it stays where the output can be.",
        'ax = plots.curves(result, "deletion curve")',
    ),
    "distributions": (
        "How much do examples differ? Violins, quartiles and medians of the single scores, the best median on top.",
        'ax = plots.distributions(result, "deletion")',
    ),
    "examples": (
        "What does one example score, and how sure is that number? Bars are intervals over the metric's random draws, "
        "with `stderr=True`.",
        'ax = plots.examples(result, "sensitivity-n", n_examples=8)',
    ),
    "significance": (
        "Which method beats the control, on which metric, and by how much? Stars are corrected for all cells.",
        "ax = plots.significance(result)",
    ),
    "ranks": ("Which method is the best on an example, on average?", "ax = plots.ranks(result)"),
    "metric_correlation": (
        "Do the metrics agree about the order of the methods?",
        "ax = plots.metric_correlation(result)",
    ),
    "method_correlation": (
        "Do two methods do well on the same examples?",
        'ax = plots.method_correlation(result, "deletion")',
    ),
    "convergence": ("Would more examples change the picture?", 'ax = plots.convergence(result, "insertion")'),
    "maps": (
        "What do the explanations look like? `names` stand beside the images.",
        'axes = plots.maps(images[:3], {name: values[:3] for name, values in maps.items()}, names=["up", "down", "up"])'
        "\nax = axes[0, 0]",
    ),
    "paper_curves": (
        "At the width of a column, 3.3 inches: give axes of that size, and a smaller font.",
        PAPER % "2.2" + '    plots.curves(result, "deletion curve", ax=ax)',
    ),
    "paper_distributions": ("", PAPER % "1.8" + '    plots.distributions(result, "deletion", ax=ax)'),
    "paper_significance": ("", PAPER % "2.2" + "    plots.significance(result, ax=ax)"),
}


def experiment() -> tuple[Evaluation, torch.Tensor, dict[str, Any]]:
    """Small images with a bright spot above or below, a model that tells these apart, and maps of five methods."""
    torch.manual_seed(0)
    row, column = torch.meshgrid(torch.arange(float(SIDE)), torch.arange(float(SIDE)), indexing="ij")
    places = torch.rand(EXAMPLES, 2) * torch.tensor([3.0, SIDE - 4]) + 2
    targets = torch.arange(EXAMPLES) % 2
    places[:, 0] += targets * (SIDE / 2 - 1)
    spots = torch.exp(-((row - places[:, :1, None]) ** 2 + (column - places[:, 1:, None]) ** 2) / 4)
    images = (0.8 * spots + 0.2 * torch.rand(EXAMPLES, SIDE, SIDE))[:, None]
    model = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(SIDE**2, 16), torch.nn.Tanh(), torch.nn.Linear(16, 2)
    )
    optimiser = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(60):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(model(images), targets).backward()
        optimiser.step()
    methods = {
        "Saliency": Saliency,
        "InputXGradient": InputXGradient,
        "IntegratedGradients": IntegratedGradients,
        "Occlusion": lambda net: partial(Occlusion(net).attribute, sliding_window_shapes=(1, 3, 3)),
        "random": random_attribution,
    }
    softmax = partial(torch.softmax, dim=1)
    chosen = {
        "deletion": partial(metrics.deletion, n_steps=13, activation=softmax),
        "insertion": partial(metrics.insertion, n_steps=13, activation=softmax),
        "sensitivity-n": partial(metrics.sensitivity_n, n=20, n_perturb_samples=30),
        "sparseness": metrics.sparseness,
        "deletion curve": partial(metrics.deletion_curve, n_steps=13, activation=softmax),
    }
    result = evaluate(model, list(zip(images, targets.tolist())), methods, chosen, stderr=True)
    maps = {name: values[0] for name, values in result.kept.rows(list(methods)).items()} if result.kept else {}
    numbers = result.kept.numbers if result.kept else []
    return result, images[numbers], {name: rows.values for name, rows in maps.items()}


def draw(folder: Path) -> None:
    """Writes the picture of each figure."""
    mpl.use("agg")
    folder.mkdir(parents=True, exist_ok=True)
    names = dict(zip(("result", "images", "maps"), experiment())) | {"plots": plots, "plt": plt}
    for name, (_, code) in FIGURES.items():
        with mpl.rc_context({"svg.hashsalt": "captum_ext"}):
            exec(code, names)
            names["ax"].figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
            plt.close("all")


def page() -> str:
    """The gallery as reStructuredText, with each figure's code beside it."""
    head = "Figures\n=======\n\nEach picture comes from the code above it, run when this page was built on a small "
    head += "network for 40 images\n(``docs/plot_gallery.py``). `result` is what `captum_ext.evaluate` returned.\n\n"
    return head + "".join(_entry(name, *entry) for name, entry in FIGURES.items())


def _entry(name: str, question: str, code: str) -> str:
    heading = name if name.startswith("paper") else f":func:`~captum_ext.plots.{name}`"
    title = "In a paper" if name == "paper_curves" else heading
    head = "" if name in ("paper_distributions", "paper_significance") else f"{title}\n{'-' * len(title)}\n\n"
    block = "".join(f"   {line}\n" for line in code.splitlines())
    said = f"{question.replace('`', '``')}\n\n" if question else ""
    return f"{head}{said}.. code-block:: python\n\n{block}\n.. image:: figures/plots/{name}.svg\n   :alt: {name}\n\n"


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
