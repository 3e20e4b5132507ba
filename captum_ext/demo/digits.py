"""The second part of the demo: as many handwritten digits as it takes until the best explanation is certain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from captum_ext import evaluate, metrics, random_attribution

EXAMPLES = 300


def digits() -> tuple[Tensor, Tensor]:
    """`[1797, 1, 8, 8]` in 0 ... 1, and the digits."""
    from sklearn.datasets import load_digits

    data = load_digits()
    return torch.tensor(data.images / 16, dtype=torch.float32)[:, None], torch.tensor(data.target)


def trained(images: Tensor, labels: Tensor, steps: int = 300) -> nn.Module:
    """A small convolutional network."""
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Linear(256, 64), nn.ReLU(), nn.Linear(64, 10)),
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(steps):
        rows = torch.randint(len(images), (128,))
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images[rows]), labels[rows]).backward()
        optimizer.step()
    return model.eval()


def explanation_methods() -> dict[str, Any]:
    from captum.attr import DeepLift, GuidedBackprop, InputXGradient, IntegratedGradients, Occlusion, Saliency

    def occlusion(model: nn.Module) -> Any:
        return lambda inputs, target: Occlusion(model).attribute(inputs, (1, 2, 2), strides=1, target=target)

    return {
        "Saliency": Saliency,
        "InputXGradient": InputXGradient,
        "IntegratedGradients": IntegratedGradients,
        "DeepLift": DeepLift,
        "GuidedBackprop": GuidedBackprop,
        "Occlusion": occlusion,
        "random": random_attribution,
    }


def main(output: Path) -> None:
    images, labels = digits()
    held_out, of_training = slice(EXAMPLES), slice(EXAMPLES, None)
    methods, scored = explanation_methods(), {"deletion": metrics.deletion, "insertion": metrics.insertion}
    print(
        f"\n2. {len(methods)} explanations of a digit classifier, by {len(scored)} scores, until it is certain which "
        f"is the best on a typical digit, within 5 % of its lead over random. {EXAMPLES} digits are at hand."
    )
    model = trained(images[of_training], labels[of_training])
    with torch.no_grad():
        right = (model(images[held_out]).argmax(1) == labels[held_out]).float().mean()
    print(f"The classifier reads {right:.1%} of the held-out digits correctly.", flush=True)
    data = torch.utils.data.TensorDataset(images[held_out], labels[held_out])
    options: dict[str, Any] = {"batch_size": 10, "shard_size": 10, "show_progress": False}
    result = evaluate(model, data, methods, scored, until="best", path=output / "digits.h5", **options)
    print(result)
