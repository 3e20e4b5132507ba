"""Two estimators of sensitivity-n at equal rows, on EfficientNet-Lite0 and eight photographs with their crops."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from kept import kept, markdown
from torch import Tensor, nn

from captum_ext import baselines, feature_masks, metrics
from captum_ext.demo import pictures as demo

GRADIENT = 3  # a forward and a backward pass of about twice the work, in model rows
PHOTOGRAPHS = 8
SHARES = (1.0, 0.7)  # of the side of a photograph's middle square that a crop has
OUTPUTS = ("logits", "softmax")
SIZES = (0.1, 0.3, 0.5)
PATCH = 16
ROWS = 50  # that an estimate may take


@dataclass(frozen=True)
class Setting:
    side: int = 160
    truth: int = 500  # draws
    repeats: int = 5

    def name(self, photograph: int, crop: int) -> str:
        of_run = f"{self.side} pixels, truth of {self.truth} draws, {self.repeats} repeats"
        return f"photograph {photograph}, crop {crop}, {of_run}"


class OfClass:
    """The logit and the probability of a class, `[rows, 2]`. Rows that were computed once are looked up afterwards."""

    def __init__(self, model: nn.Module, target: int):
        self.model, self.target = model, target
        self.known: dict[bytes, Tensor] = {}

    def __call__(self, images: Tensor) -> Tensor:
        if images.requires_grad:
            return self._outputs(images)
        keys = [blake2b(row.numpy().tobytes()).digest() for row in images]
        new = {key: i for i, key in enumerate(keys) if key not in self.known}
        if new:
            self.known.update(zip(new, self._outputs(images[list(new.values())])))
        return torch.stack([self.known[key] for key in keys])

    def _outputs(self, images: Tensor) -> Tensor:
        logits = self.model(images.contiguous(memory_format=torch.channels_last))
        return torch.stack([logits[:, self.target], logits.softmax(1)[:, self.target]], 1)


@cache
def photographs() -> list[Any]:
    import skimage.data
    from sklearn.datasets import load_sample_images

    images = [getattr(skimage.data, name)() for name in demo.PHOTOGRAPHS]
    images += [skimage.data.stereo_motorcycle()[0], skimage.data.camera(), *load_sample_images().images]
    return [image if image.ndim == 3 else image[..., None].repeat(3, 2) for image in images]


def cropped(photograph: int, share: float, side: int) -> Tensor:
    """`[1, 3, side, side]`: the middle, scaled as the network was trained."""
    from skimage.transform import resize

    square = demo.middle_square(photographs()[photograph])
    margin = round(len(square) * (1 - share) / 2)
    square = square[margin : len(square) - margin, margin : len(square) - margin]
    pixels = torch.from_numpy(resize(square, (side, side), anti_aliasing=True))
    return ((pixels * 255 - 127) / 128).float().permute(2, 0, 1)[None]


def measured(model: nn.Module, image: Tensor, setting: Setting) -> pd.DataFrame:
    """A line for each method, output, size and estimate; `seed` 0 is the truth's."""
    target = model(image).argmax(1)
    maps = {name: demo.explain(model, method, image, target) for name, method in demo.explanation_methods().items()}
    of_class = OfClass(model, int(target))
    return pd.concat(list(_estimates(of_class, image, maps, setting)), ignore_index=True)


def _estimates(f: OfClass, image: Tensor, maps: dict[str, Tensor], setting: Setting) -> Iterator[pd.DataFrame]:
    masks = {"feature_mask": partial(feature_masks.patches, size=PATCH), "baselines": baselines.channel_mean}
    of_kind = {"sample": 0, "regression": GRADIENT}
    for seed in range(setting.repeats + 1):
        for kind, gradient in of_kind.items():
            draws = ROWS - gradient if seed else setting.truth
            for target, output in enumerate(OUTPUTS):
                call: dict[str, Any] = {**masks, "target": target, "seed": seed, "max_examples_per_batch": 16}
                estimate = metrics.with_stderr(metrics.sensitivity_n)
                found = estimate(f, image, maps, list(SIZES), n_perturb_samples=draws, estimator=kind, **call)
                yield from (
                    pd.DataFrame({name: values[method][0] for name, values in found._asdict().items()}).assign(
                        n=SIZES, method=method, output=output, estimator=kind, seed=seed
                    )
                    for method in maps
                )


# ---- what the tables say


KEYS = ["photograph", "crop", "method", "output", "n"]


def errors(found: pd.DataFrame) -> pd.DataFrame:
    """Squared errors. The truth is the regression's of many draws; what these add on average is taken off."""
    truth = found[(found.seed == 0) & (found.estimator == "regression")].set_index(KEYS)[["score", "stderr"]]
    drawn = found[found.seed > 0].join(truth.add_suffix("_of_truth"), on=KEYS)
    drawn["error"] = drawn.score - drawn.score_of_truth
    drawn["square"] = drawn.error**2 - drawn.stderr_of_truth**2
    drawn["held"] = drawn.error.abs() <= 1.96 * np.hypot(drawn.stderr, drawn.stderr_of_truth)
    return drawn


def ratio(errors: pd.DataFrame) -> float:
    """How many times smaller the mean squared error of the regression is."""
    of_kind = errors.groupby("estimator").square.mean()
    return float(of_kind["sample"] / of_kind["regression"])


def interval(errors: pd.DataFrame, statistic: Callable[[pd.DataFrame], float]) -> tuple[float, float]:
    """Of 95 %, by resampling photographs, each with all of its crops."""
    of_photograph = dict(list(errors.groupby("photograph")))
    draw, numbers = np.random.default_rng(0), list(of_photograph)
    resampled = [pd.concat([of_photograph[i] for i in draw.choice(numbers, len(numbers))]) for _ in range(200)]
    low, high = np.quantile([statistic(table) for table in resampled], [0.025, 0.975])
    return float(low), float(high)


def difference_of_truths(found: pd.DataFrame) -> float:
    """Of the two estimators with the truth's many draws, on average: their limits are the same."""
    truths = found[found.seed == 0].pivot(index=KEYS, columns="estimator", values="score")
    return float((truths["regression"] - truths["sample"]).mean())


def table(found: pd.DataFrame) -> pd.DataFrame:
    drawn = errors(found)
    lines = []
    for (output, n), part in drawn.groupby(["output", "n"]):
        of_kind = dict(iter(part.groupby("estimator")))
        low, high = interval(part, ratio)
        enough = {kind: of[of.n_eff >= 12] for kind, of in of_kind.items()}
        lines.append(
            {
                "output": output,
                "n": f"{n:.0%}",
                "MSE, sample": f"{of_kind['sample'].square.mean():.4f}",
                "MSE, regression": f"{of_kind['regression'].square.mean():.4f}",
                "times smaller": f"{ratio(part):.1f} [{low:.1f}, {high:.1f}]",
                **{f"95 % intervals that hold, {kind}": f"{of.held.mean():.3f}" for kind, of in enough.items()},
                "n_eff >= 12": f"{(part.n_eff >= 12).mean():.0%}",
            }
        )
    return pd.DataFrame(lines)


def truths(found: pd.DataFrame) -> pd.DataFrame:
    """The mean score of each method. Where those of gradients are near 0, a gradient cannot predict the drops."""
    known = found[(found.seed == 0) & (found.estimator == "regression")]
    labels = known.output + ", n = " + known.n.map("{:.0%}".format)
    means = known.assign(label=labels).pivot_table(index="method", columns="label", values="score", sort=False)
    return means.map("{:+.2f}".format).reset_index()


def run(folder: Path, setting: Setting, shares: tuple[float, ...] = SHARES, photographs: int = PHOTOGRAPHS) -> None:
    """First the photographs themselves, then a crop of each, so that an interrupted run has all photographs."""
    warnings.filterwarnings("ignore", module="captum")
    warnings.filterwarnings("ignore", message=".*draws carry the variance.*")
    parts: list[pd.DataFrame] = []
    for crop, share in enumerate(shares):
        for number in range(photographs):
            make = partial(_measured_crop, number, share, setting)
            part = kept(folder, setting.name(number, crop), make)
            parts.append(part.assign(photograph=number, crop=crop))
            print(f"photograph {number}, crop {crop}: done", flush=True)
    report(pd.concat(parts), setting)


def report(found: pd.DataFrame, setting: Setting) -> None:
    images = found.groupby(["photograph", "crop"]).ngroups
    patches = (-(-setting.side // PATCH)) ** 2
    print(
        f"EfficientNet-Lite0, {images} images of {setting.side} x {setting.side} pixels, "
        f"{found.photograph.nunique()} photographs, {patches} patches of {PATCH}, {found.method.nunique()} methods; "
        f"{ROWS} rows an estimate, {setting.repeats} repeats, truth of {setting.truth} draws"
    )
    print(f"difference of the truths of both estimators: {difference_of_truths(found):+.4f} on average\n")
    print(f"{markdown(table(found))}\n\nscores\n{markdown(truths(found))}")


@cache
def network() -> nn.Module:
    return demo.network().requires_grad_(False)


def _measured_crop(number: int, share: float, setting: Setting) -> pd.DataFrame:
    return measured(network(), cropped(number, share, setting.side), setting)
