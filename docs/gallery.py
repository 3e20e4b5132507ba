"""Draws a picture for each metric: what it sees of a good and of a bad explanation, and the score that it gives them.

There is one model, one input and a pair of methods for each family. A metric is called with what its signature asks
for, so a new metric has its picture without a line here, unless it needs an argument that `GIVEN` does not have.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import matplotlib as mpl
import torch
from captum.attr import InputXGradient, IntegratedGradients
from matplotlib.figure import Figure
from torch import Tensor, nn

from captum_ext import feature_masks, metrics, perturbations

SIDE, CLASSES = 12, 3
BLUE, ORANGE = "#0072B2", "#D55E00"
Explain = Callable[..., Tensor]
Method = Callable[[Any], Explain]


# ---- the model and its input


def places() -> tuple[Tensor, Tensor]:
    row, column = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    return row, column


def disc(row: int, column: int, radius: float) -> Tensor:
    """`[1, 1, SIDE, SIDE]`"""
    rows, columns = places()
    return ((rows - row) ** 2 + (columns - column) ** 2 < radius**2)[None, None]


def the_object() -> Tensor:
    return disc(4, 7, 3)


class Net(nn.Module):
    """Sees the object, and a small disc that speaks against its class; blind to all else."""

    def __init__(self) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(0)
        self.hidden, self.out = nn.Linear(SIDE**2, 6), nn.Linear(6, CLASSES)
        seen = the_object().float().flatten() - 3 * disc(9, 3, 1.6).float().flatten()
        self.hidden.weight.data = seen * (0.05 + 0.25 * torch.rand(6, SIDE**2, generator=draw))
        self.hidden.bias.data = torch.zeros(6)
        self.out.weight.data = torch.rand(CLASSES, 6, generator=draw) * torch.tensor([[0.4], [-0.3], [0.1]])
        self.out.bias.data = torch.tensor([0.0, 0.6, 0.0])

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.hidden(x.flatten(1))
        return self.out(torch.tanh(hidden / 4) + hidden / 8)


def image(seed: int = 0) -> Tensor:
    return the_object() * 0.6 + 0.4 * torch.rand(1, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))


# ---- methods: a function of the model that returns a function of the inputs


def right(model: Any) -> Explain:
    return InputXGradient(model).attribute


def integrated(model: Any) -> Explain:
    return lambda inputs, **kwargs: IntegratedGradients(model).attribute(inputs, n_steps=32, **kwargs).float()


def gradient(model: Any) -> Explain:
    return lambda inputs, **kwargs: right(model)(inputs, **kwargs) / inputs.detach()


def elsewhere(model: Any) -> Explain:
    return lambda inputs, **kwargs: right(model)(inputs, **kwargs).roll((5, -4), (2, 3))


def spread(model: Any) -> Explain:
    """Much the same everywhere."""
    row, column = places()
    return lambda inputs, **kwargs: right(model)(inputs, **kwargs) / 20 + (3 + torch.sin(5.0 * row + column)) / 100


def jumpy(model: Any) -> Explain:
    return lambda inputs, **kwargs: right(model)(inputs, **kwargs) * (1 + torch.sin(60 * inputs.detach()))


def edges(model: Any) -> Explain:
    """Whatever the model is."""
    return lambda inputs, **kwargs: (inputs - inputs.roll(1, 3)).abs().detach() / 5


def noisy(model: Any) -> Explain:
    noise = torch.rand(1, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(3))
    return lambda inputs, **kwargs: right(model)(inputs, **kwargs) * (0.97 + 0.06 * noise)


PAIRS: dict[str, tuple[Method, Method]] = {  # of a family, or of a metric: a good and a bad method
    "agreement": (noisy, elsewhere),
    "axioms": (integrated, gradient),
    "complexity": (right, spread),
    "randomisation": (right, edges),
    "robustness": (right, jumpy),
    "input_invariance": (gradient, right),
    "consistency": (right, edges),
}


def methods_of(metric: Any) -> tuple[Method, Method]:
    by_family = PAIRS.get(metric.card.family, (right, elsewhere))
    return PAIRS.get(metric.__name__, by_family)


# ---- the arguments


@cache
def model() -> Net:
    return Net().eval()


def explained(method: Method, inputs: Tensor | None = None, net: Any = None, target: int = 0) -> Tensor:
    return method(net or model())(image() if inputs is None else inputs, target=target).detach()


def others() -> Tensor:
    return torch.cat([image(seed).roll(5 * (seed % 2), 2) for seed in range(1, 9)])


GIVEN: dict[str, Callable[[Method], Any]] = {  # argument -> its value, for a method
    "forward_func": lambda method: model(),
    "inputs": lambda method: image(),
    "attributions": explained,
    "explanation_func": lambda method: method(model()),
    "explanation_factory": lambda method: method,
    "target": lambda method: torch.tensor([0]),
    "truth_mask": lambda method: the_object(),
    "reference_attributions": lambda method: explained(right),
    "other_attributions": lambda method: explained(method, others()),
    "other_classes": lambda method: (torch.arange(8) + 1) % 2,
    "discretize": lambda method: lambda phi: (phi.sum(1, keepdim=True) > 0.5).long(),
    "perturb_func": lambda method: partial(perturbations.square_removal, size=3),
    "activation": lambda method: partial(torch.softmax, dim=1),
    "n": lambda method: 0.2,
    "k": lambda method: 0.2,
    "n_classes": lambda method: CLASSES,
    "layer": lambda method: "hidden",
    "seed": lambda method: 0,
    "perturb_radius": lambda method: 0.05,
    "feature_mask": lambda method: partial(feature_masks.patches, size=3),
    "patches": lambda method: {1: torch.full((1, 6, 6), -3.0)},
}
LEFT_AT_DEFAULT = {"activation", "feature_mask", "layer", "n", "perturb_func"}  # where they have one, but for these:
PROBABILITIES = ("average_drop", "average_gain", "increase_in_confidence", "log_odds", "unfaithfulness")
SEARCHES = {"search", "feature_mask"}  # a metric with both searches among the orders of features, so it needs few


def score(metric: Any, method: Method, **own: Any) -> Tensor:
    """The score of the method's explanation of the image, `[]`, or a curve."""
    taken = inspect.signature(metric).parameters
    required = {name for name, parameter in taken.items() if parameter.default is parameter.empty}
    missing = {name for name in required - set(GIVEN) if taken[name].kind is not taken[name].VAR_KEYWORD}
    if missing:
        raise ValueError(f"Add {', '.join(sorted(missing))}, which `{metric.__name__}` needs, to GIVEN in {__file__}.")
    wanted = (required & set(GIVEN)) | (set(taken) & (set(GIVEN) - LEFT_AT_DEFAULT)) | set(also(metric, set(taken)))
    torch.manual_seed(0)
    return metric(**{name: GIVEN[name](method) for name in wanted} | own)[0]


def also(metric: Any, taken: set[str]) -> Iterator[str]:
    """What a metric is told although it has a default."""
    if "kwargs" in taken:
        yield "target"
    if metric.__name__ in PROBABILITIES:
        yield "activation"
    if taken >= SEARCHES:
        yield "feature_mask"


# ---- the picture


def draw(name: str, file: Path) -> None:
    """Writes the picture of a metric as SVG, with the same bytes each time."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="captum")  # it sets gradients, and says so each time
        figure = picture(getattr(metrics, name))
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, metadata={"Date": None})


def picture(metric: Any) -> Figure:
    pair = methods_of(metric)
    scores = [score(metric, method) for method in pair]
    shown = list(images_of(metric, pair))
    chart = chart_of(metric) if scores[0].dim() == 0 else partial(curves, scores)
    figure = Figure(figsize=(1.7 * len(shown) + 2.6 * bool(chart), 2.15), layout="constrained")
    widths = [1.0] * len(shown) + [1.7] * bool(chart)
    axes = figure.subplots(1, len(widths), squeeze=False, width_ratios=widths)[0]
    for ax, (phi, title) in zip(axes, shown):
        show(ax, phi, title, outlined="truth_mask" in inspect.signature(metric).parameters)
    for ax, value, color in zip(axes[:: len(shown) // 2], scores, (BLUE, ORANGE)):
        if value.dim() == 0:
            ax.set_xlabel(f"{float(value):.3g}", color=color, weight="bold")
    if chart:
        chart(axes[-1], metric, pair)
    return figure


def chart_of(metric: Any) -> Any:
    if second_of(metric):
        return None
    return CHARTS.get(metric.__name__) or CHARTS.get(metric.card.family)


def second_of(metric: Any) -> Any:
    return SECOND.get(metric.__name__) or SECOND.get(metric.card.family)


def show(ax: Any, phi: Tensor, title: str, outlined: bool) -> None:
    limit = float(phi.abs().max())
    ax.imshow(phi[0, 0], cmap="PRGn", vmin=-limit, vmax=limit)
    ax.set_title(title, fontsize=8)
    ax.set(xticks=[], yticks=[])
    if outlined:
        ax.contour(the_object()[0, 0].float(), levels=[0.5], colors="black", linewidths=1)


def images_of(metric: Any, pair: tuple[Method, Method]) -> Iterator[tuple[Tensor, str]]:
    """The two maps; each beside a second map, where the metric compares two."""
    second = second_of(metric)
    for method, kind in zip(pair, ("good", "bad")):
        yield explained(method), kind
        if second:
            title, other = second
            yield other(method), title


def random_model() -> Net:
    torch.manual_seed(1)
    net = Net()
    for layer in (net.hidden, net.out):
        layer.reset_parameters()
    return net


def moved() -> Tensor:
    torch.manual_seed(0)
    return metrics.default_perturb_func(image(), 0.05)[0]


def through(method: Method) -> Tensor:
    """The image through the explanation, scaled to 0..1."""
    phi = explained(method)
    return image() * (phi - phi.min()) / (phi.max() - phi.min())


SHOWN = ("the image through it", through)
SECOND: dict[str, Any] = {  # of a family, or of a metric: the title of a second map, and how it is made
    "average_drop": SHOWN,
    "average_gain": SHOWN,
    "increase_in_confidence": SHOWN,
    "robustness": ("input moved", lambda method: explained(method, moved())),
    "randomisation": ("random model", lambda method: explained(method, net=random_model())),
    "agreement": ("the other", lambda method: explained(right)),
    "input_invariance": ("input shifted", lambda method: explained(method, image() + 1)),
    "random_logit": ("another class", lambda method: explained(method, target=1)),
    "consistency": ("of another class", lambda method: explained(method, others()[:1])),
}


def curves(scores: list[Tensor], ax: Any, metric: Any, pair: Any) -> None:
    for value, color in zip(scores, (BLUE, ORANGE)):
        for line, style in zip(value.reshape(-1, value.shape[-1]), ("-", "--")):
            ax.plot(torch.linspace(0, 1, len(line)), line, style, color=color)
    ax.set(xlabel="share of features" if metric.card.family == "removal" else "share of layers", ylabel="score")


def removal(ax: Any, metric: Any, pair: tuple[Method, Method]) -> None:
    curve = metrics.insertion_curve if metric.__name__ in SHOWING else metrics.deletion_curve
    fill = inspect.signature(metric).parameters["baselines"].default
    for method, color in zip(pair, (BLUE, ORANGE)):
        line = score(curve, method, baselines=fill)
        ax.plot(torch.linspace(0, 1, len(line)), line, color=color)
    ax.set(xlabel="share shown" if curve is metrics.insertion_curve else "share removed", ylabel="output")


SHOWING = ("insertion", "sufficiency", "stochastic_sufficiency", "soft_sufficiency")


def effects(ax: Any, metric: Any, pair: tuple[Method, Method]) -> None:
    generator = torch.Generator().manual_seed(1)
    removed = torch.rand(80, 1, SIDE, SIDE, generator=generator).argsort(-1) < 3
    with torch.no_grad():
        drop = (model()(image()) - model()(torch.where(removed, 0, image())))[:, 0]
    for method, color in zip(pair, (BLUE, ORANGE)):
        ax.scatter((explained(method) * removed).flatten(1).sum(1), drop, s=5, color=color)
    ax.set(xlabel="attribution of a random set", ylabel="drop of the output")


def completeness(ax: Any, metric: Any, pair: tuple[Method, Method]) -> None:
    with torch.no_grad():
        change = float((model()(image()) - model()(0 * image()))[0, 0])
    ax.barh(["bad", "good"], [float(explained(m).sum()) for m in reversed(pair)], color=(ORANGE, BLUE), height=0.5)
    ax.axvline(change, color="black", lw=1)
    ax.set(xlabel="sum; line: the output's change")


def complexity(ax: Any, metric: Any, pair: tuple[Method, Method]) -> None:
    for method, color in zip(pair, (BLUE, ORANGE)):
        sizes = explained(method).abs().flatten().sort(descending=True).values
        ax.plot((sizes / sizes.sum()).cumsum(0), color=color)
    ax.set(xlabel="features, the largest first", ylabel="share of the attribution")


CHARTS: dict[str, Any] = {  # of a family, or of a metric
    "removal": removal,
    "effects": effects,
    "complexity": complexity,
    "completeness": completeness,
}
mpl.rcParams.update({"svg.hashsalt": "captum_ext", "font.size": 8})
