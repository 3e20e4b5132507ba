"""How to call every metric: a table of valid values by the name of the argument.

A metric is called with what its signature asks for, so a metric whose arguments are all in the table needs no entry. A
call is made for a `Setting`, a model and a batch, which may have values of its own in place of the table's.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Any

import torch
from captum.attr import InputXGradient
from torch import Tensor, nn

import captum_ext.metrics as exported
from captum_ext.baselines import uniform_noise
from captum_ext.perturbations import gaussian, segment_removal, square_removal

Metric = Callable[..., Any]
LEFT_OUT = object()
METRICS: dict[str, Metric] = {
    name: getattr(exported, name) for name in exported.__all__ if hasattr(getattr(exported, name), "card")
}


# ---- what calls are made for


class Sums(nn.Linear):
    """A sum instead of a matrix product: a row's value is the same to the last bit whatever rows are beside it."""

    def forward(self, x: Tensor) -> Tensor:
        return (x[:, None] * self.weight).sum(-1) + self.bias


class Net(nn.Module):
    """`[rows, classes]`, of 12 elements a row. A further argument `[rows, 1]` is a scale; others are left alone."""

    def __init__(self, features: int = 12, classes: int = 3) -> None:
        super().__init__()
        self.hidden, self.out = Sums(features, 8), Sums(8, classes)
        draw = torch.Generator().manual_seed(0)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=draw, dtype=torch.float64) / 2

    def forward(self, x: Tensor, *further: Any) -> Tensor:
        hidden = self.hidden(x.flatten(1))
        scaled = further and isinstance(further[0], Tensor) and further[0].dim() == 2
        return self.out(torch.tanh(hidden * further[0] if scaled else hidden))


@dataclass(frozen=True)
class Setting:
    """A model and a batch. `example` numbers the examples, so that what belongs to an example goes with it wherever its
    row goes.
    """

    model: Callable[..., Any]
    inputs: Any
    example: Tensor
    module: nn.Module  # of the model; the model itself may be a function that calls it
    everyone: Any = None  # the inputs of all examples, of which `inputs` may be some
    classes: int | None = 3
    layer: str = "hidden"
    own: Mapping[str, Any] = field(default_factory=dict)  # argument -> its value, or LEFT_OUT

    def __getitem__(self, rows: Any) -> Setting:
        return replace(self, inputs=self.inputs[rows], example=self.example[rows])

    def to(self, like: Any) -> Setting:
        """In another floating point type, or on another device."""
        model = self.module.to(like)
        inputs, everyone = self.inputs.to(like), self.everyone.to(like)
        return replace(self, model=model, module=model, inputs=inputs, everyone=everyone)

    def of(self, metric: Metric, **changes: Any) -> dict[str, Any]:
        """The arguments of a plain call: what is required, and what makes a tiny call tell something."""
        given = {name: value for name, value in self.own.items() if takes(metric, name)} | changes
        values = {name: maker(self, metric) for name, maker in plain(metric).items() if name not in given} | given
        return {name: value for name, value in values.items() if value is not LEFT_OUT}

    def call(self, metric: Metric, **changes: Any) -> Any:
        return metric(**self.of(metric, **changes))


def tiny(batch: int = 5, model: Any = None) -> Setting:
    """Rows of 2 x 2 x 3 in float64: channels, height, width. Made anew, and the global generator left as it was."""
    x = torch.randn(batch, 2, 2, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    with torch.random.fork_rng(devices=[]):
        net = Net().eval()
    return Setting(model or net, x, torch.arange(batch), net, everyone=x)


# ---- values by rows: functions of the row, or of the number of the example


def tensors(value: Any) -> tuple[Tensor, ...]:
    return value if isinstance(value, tuple) else (value,)


def each(inputs: Any, function: Callable[[Tensor], Tensor]) -> Any:
    return tuple(map(function, inputs)) if isinstance(inputs, tuple) else function(inputs)


def map_of(x: Tensor) -> Tensor:
    """Attributions that have a sign, no ties, and little to do with the model."""
    place = torch.arange(x[0].numel(), device=x.device).reshape(x.shape[1:])
    return (2 * x.detach() + 5 * place).cos()


def near_map_of(x: Tensor) -> Tensor:
    """Reference attributions that agree with `map_of` in part."""
    return map_of(x) + map_of(x.cos()) / 2


def truth_of(s: Setting) -> Any:
    """Positions, other ones in each example, never all and never none."""

    def mask(x: Tensor) -> Tensor:
        shape = (1, *x.shape[2:]) if x.dim() > 2 else tuple(x.shape[1:])
        place, kind = torch.arange(math.prod(shape)), s.example.reshape(-1, 1)
        return (place % (2 + kind % 3) == kind % 2).reshape(len(x), *shape).to(x.device)

    return each(s.inputs, mask)


def groups_of(s: Setting) -> Any:
    """Groups of different sizes; each example has ids and a number of its own, and the first the ids 0 and 5."""

    def mask(x: Tensor) -> Tensor:
        kind = s.example.reshape(-1, 1)
        ids = (torch.arange(x[0].numel()) - 3).clamp(min=0) % (6 + kind % 3) * 5 + 2 * kind
        return ids.reshape(x.shape).to(x.device)

    return each(s.inputs, mask)


def patches_of(s: Setting, metric: Metric) -> dict[int, Tensor]:
    """For two classes, a single position."""
    x = tensors(s.inputs)[0]
    ramp = torch.linspace(-3, 3, x.shape[1]).reshape(-1, *[1] * (x.dim() - 2))
    return {0: ramp, 1: -ramp}


def scale_of(s: Setting) -> Tensor:
    """A further argument of the model, other for each example."""
    return (0.7 + s.example.reshape(-1, 1) % 3 / 2).to(tensors(s.inputs)[0])


def references_of(s: Setting) -> Any:
    """Of every example's attributions and their opposites, whichever examples are asked for."""
    return each(s.everyone, lambda x: torch.cat((map_of(x), -map_of(x), map_of(x.sin()), map_of(x + 1))))


def step_of(inputs: Any, seed: Any = None) -> Any:
    """Baselines that a metric with draws of its own tells a seed; without one a function of the rows."""
    if seed is None:
        return each(inputs, lambda x: (x / 4).sin())
    return uniform_noise(inputs, seed=seed)


def shrunk(inputs: Any, perturb_radius: float) -> Any:
    """A perturbation for metrics that explain perturbed inputs, which draws nothing."""
    return each(inputs, lambda x: x - perturb_radius * (x / 6 - x.cos() / 15))


def small_step(inputs: Any, *_: Any, **__: Any) -> Any:
    """One for infidelity, which draws nothing."""
    step = each(inputs, lambda x: 0.3 * (3 * x).cos() + 0.1 * x)
    pairs = zip(tensors(inputs), tensors(step))
    perturbed = tuple(x - s for x, s in pairs)
    return step, perturbed if isinstance(inputs, tuple) else perturbed[0]


@exported.infidelity_perturb_func_decorator(multiply_by_inputs=True)
def towards(inputs: Any, baselines: Any = 0.0, *, seed: Any = None) -> Any:
    """A decorated one, which draws and takes baselines."""
    noise, _ = gaussian(inputs, seed=seed)
    given = baselines if isinstance(baselines, tuple) else (baselines,) * len(tensors(inputs))
    moved = tuple(0.7 * x + 0.3 * b + n for x, b, n in zip(tensors(inputs), given, tensors(noise)))
    return moved if isinstance(inputs, tuple) else moved[0]


def sign_of_the_first(rows: Tensor) -> Tensor:
    return rows[:, :1].sign()


def probabilities(output: Tensor) -> Tensor:
    return torch.softmax(output, 1)


def flatter(output: Tensor) -> Tensor:
    return torch.softmax(output / 2, 1)


# ---- the table


Maker = Callable[[Setting, Metric], Any]


def default(metric: Metric, name: str) -> Any:
    return inspect.signature(metric).parameters[name].default


def takes(metric: Metric, name: str) -> bool:
    parameters = inspect.signature(metric).parameters
    return name in parameters or ("kwargs" in parameters and name in OF_THE_EXPLANATION)


def other_than_default(name: str, **others: Any) -> Maker:
    """A value for each of several defaults, which are told by their names."""
    return lambda s, metric: others[str(default(metric, name))]


def perturbs_alone(metric: Metric) -> bool:
    """Whether a `perturb_func` returns the perturbed inputs alone."""
    return takes(metric, "explanation_func")


def model_or_module(s: Setting, metric: Metric) -> Any:
    return s.module if takes(metric, "explanation_factory") else s.model


def factory(s: Setting, metric: Metric) -> Any:
    """A function that is no module has no parameters: then an explanation of it and of a module together."""
    if isinstance(s.model, nn.Module):
        return InputXGradient
    return lambda net: InputXGradient(lambda *args: s.model(*args) + net(*args))


def layer_of(s: Setting, metric: Metric) -> Any:
    """Its name, where the metric has a module to look it up in."""
    return s.layer if isinstance(model_or_module(s, metric), nn.Module) else s.module.get_submodule(s.layer)


@dataclass(frozen=True)
class Argument:
    """`plain`: in a plain call, where it is not left at its default. `others`: values away from that."""

    plain: Maker | None = None
    others: tuple[Maker, ...] = ()


def always(*values: Any) -> tuple[Maker, ...]:
    return tuple((lambda s, metric, value=value: value) for value in values)


OF_ORDERS = (exported.oracle_normalized, exported.normalized_aopc)  # which search among few features
SECOND_SEARCH = {exported.sensitivity_avg: "vertices", exported.oracle_normalized: "beam"}
SECOND_SEARCH |= {exported.normalized_aopc: "greedy"}
OF_THE_EXPLANATION = ("target", "additional_forward_args")  # which go through `kwargs`
ARGUMENTS: dict[str, Argument] = {
    # Captum's
    "forward_func": Argument(model_or_module),
    "explanation_func": Argument(lambda s, metric: InputXGradient(s.model)),
    "explanation_factory": Argument(factory),
    "inputs": Argument(lambda s, metric: s.inputs),
    "attributions": Argument(lambda s, metric: each(s.inputs, map_of)),
    "target": Argument(lambda s, metric: (s.example % s.classes).to(tensors(s.inputs)[0].device)),
    "baselines": Argument(
        lambda s, metric: step_of if default(metric, "baselines") is None else LEFT_OUT,
        (lambda s, metric: each(s.inputs, lambda x: (5 * x).cos() / 4), *always(0.25)),
    ),
    "feature_mask": Argument(
        lambda s, metric: groups_of(s) if metric in OF_ORDERS else LEFT_OUT,
        (lambda s, metric: groups_of(s),),
    ),
    "additional_forward_args": Argument(None, (lambda s, metric: scale_of(s),)),
    "perturb_func": Argument(
        lambda s, metric: LEFT_OUT if perturbs_alone(metric) else towards,
        (
            lambda s, metric: shrunk if perturbs_alone(metric) else segment_removal,
            lambda s, metric: shrunk if perturbs_alone(metric) else gaussian,
            lambda s, metric: shrunk if perturbs_alone(metric) else partial(square_removal, size=1),
            lambda s, metric: shrunk if perturbs_alone(metric) else small_step,
        ),
    ),
    "perturb_radius": Argument(*always(0.3), always(0.1)),
    "n_perturb_samples": Argument(*always(6), always(5)),
    "max_examples_per_batch": Argument(),
    "normalize": Argument(None, always(True)),
    "norm_ord": Argument(None, always(1, float("inf"))),
    "show_progress": Argument(),
    "kwargs": Argument(),
    # ours, of several families
    "seed": Argument(lambda s, metric: s.example * 3 + 11, (lambda s, metric: s.example + 7,)),
    "activation": Argument(  # some metrics need a probability, and one of them those of all classes
        lambda s, metric: probabilities if metric is exported.unfaithfulness else torch.sigmoid,
        (lambda s, metric: flatter if metric is exported.unfaithfulness else probabilities,),
    ),
    "aggregate": Argument(None, (other_than_default("aggregate", sum="mean", mean="sum"),)),
    "frozen": Argument(None, always([0, 5])),
    "n_steps": Argument(*always(6), always(8)),
    "start": Argument(None, always(0.25)),
    "stop": Argument(None, always(0.75)),
    "mode": Argument(None, (other_than_default("mode", morf="lerf", deletion="insertion"),)),
    "tolerance": Argument(
        other_than_default("tolerance", **{"0": 0, "0.1": 0.1, "1e-05": 0.5}),
        (other_than_default("tolerance", **{"0": 1, "0.1": 0.5, "1e-05": 0.7}),),
    ),
    "search": Argument(
        None,
        (
            lambda s, metric: "exact" if metric in OF_ORDERS else "vertices",
            lambda s, metric: SECOND_SEARCH.get(metric, "block"),
        ),
    ),
    "lower": Argument(None, always("worst")),
    "similarity": Argument(None, always("pearson")),
    "absolute": Argument(None, always(True)),
    "order": Argument(
        None, (*always("full", "independent"), other_than_default("order", top_down="bottom_up", bottom_up="top_down"))
    ),
    "weights_seed": Argument(None, always(3)),
    "n": Argument(*always(3), always(2, [1, 3, 0.5], 0.5)),
    "k": Argument(*always(3), always(0.5, [2, 0.5])),
    "sign": Argument(
        None, (other_than_default("sign", positive="absolute_value", absolute_value="positive", all="positive"),)
    ),
    # of one metric or two
    "correlation": Argument(
        None, (other_than_default("correlation", pearson="spearman", spearman="pearson"), *always("kendall"))
    ),
    "control_variate": Argument(None, always(LEFT_OUT, "gradient", LEFT_OUT, LEFT_OUT)),  # beside `gaussian`
    "estimator": Argument(None, always("regression")),
    "gap": Argument(None, always("relative", "signed")),
    "shares": Argument(None, always([1, 0.6], [2])),
    "share": Argument(None, always(0.4)),
    "weight": Argument(None, always(0.3)),
    "salient": Argument(*always(0.6), always(0.8)),  # of six positions
    "rounding": Argument(None, always("floor")),
    "alpha": Argument(None, always(0.3)),
    # such that each of both decides at some size: the top k or all others
    "beta": Argument(None, (lambda s, metric: 0.2 if metric.__name__ == "stochastic_sufficiency" else 0.1,)),
    "score": Argument(None, always(partial(exported.deletion, n_steps=4), exported.irof)),
    "truth_mask": Argument(lambda s, metric: truth_of(s)),
    "weighted": Argument(None, always(True)),
    "concept_influence": Argument(None, always(True)),
    "reference_attributions": Argument(lambda s, metric: each(s.inputs, near_map_of)),
    "other_attributions": Argument(lambda s, metric: references_of(s)),
    "other_classes": Argument(lambda s, metric: torch.arange(len(tensors(references_of(s))[0])) % s.classes),
    "discretize": Argument(*always(sign_of_the_first), always(torch.sign)),
    "n_top": Argument(None, always(1)),
    "n_classes": Argument(lambda s, metric: s.classes),
    "n_bins": Argument(None, always(5)),
    "noise_level": Argument(None, always(0.4)),
    "layer": Argument(layer_of),
    "shift": Argument(*always(0.5), always(2.0)),
    "same_class": Argument(*always(False), always(True)),
    "eps_min": Argument(None, always(2.0)),
    "patches": Argument(patches_of),
    "n_attempts": Argument(*always(4), always(3)),
    "fooled_only": Argument(*always(False)),  # not all are
    "threshold": Argument(),  # for a model with one output, where the table's has several
}
CLASH = (("search", "perturb_func"), ("estimator", "correlation"))  # options of which a metric takes one at a time


@cache
def plain(metric: Metric) -> dict[str, Maker]:
    """What a plain call says."""
    parameters = inspect.signature(metric).parameters
    names = [*parameters, *(OF_THE_EXPLANATION if "kwargs" in parameters else ())]
    unknown = [name for name in names if name not in ARGUMENTS]
    if unknown:
        raise KeyError(f"Add a row to ARGUMENTS in tests/calls.py for {', '.join(unknown)}.")
    return {name: maker for name in names if (maker := ARGUMENTS[name].plain) is not None}


@cache
def options(metric: Metric) -> dict[str, tuple[Maker, ...]]:
    """Values away from those of a plain call, for every argument that has any."""
    names = inspect.signature(metric).parameters
    further = ("additional_forward_args",) if "kwargs" in names else ()
    return {name: ARGUMENTS[name].others for name in (*names, *further) if ARGUMENTS[name].others}


def option_sets(metric: Metric) -> Iterator[dict[str, Maker]]:
    """All options together, as often as it takes to meet every value of each."""
    found = options(metric)
    for i in range(max(map(len, found.values()), default=0)):
        chosen = {name: makers[i % len(makers)] for name, makers in found.items()}
        for pair in CLASH:
            if set(pair) <= set(chosen):
                del chosen[pair[i % 2]]
        yield chosen


@dataclass(frozen=True, eq=False)
class Case:
    """A metric and the options that it is called with."""

    name: str
    metric: Metric
    options: Mapping[str, Maker] = field(default_factory=dict)

    def of(self, s: Setting, **changes: Any) -> dict[str, Any]:
        chosen = {name: maker(s, self.metric) for name, maker in self.options.items() if name not in changes}
        return s.of(self.metric, **chosen | changes)

    def __call__(self, s: Setting, **changes: Any) -> Any:
        return self.metric(**self.of(s, **changes))

    def takes(self, name: str) -> bool:
        return takes(self.metric, name)

    @property
    def calls_a_model(self) -> bool:
        return self.takes("forward_func") or self.takes("explanation_func")


def cases_of(metric: Metric) -> list[Case]:
    """A plain call, and calls with all options."""
    name = metric.__name__
    sets = enumerate(option_sets(metric), 1)
    return [Case(name, metric), *(Case(f"{name} with all options ({i})", metric, chosen) for i, chosen in sets)]
