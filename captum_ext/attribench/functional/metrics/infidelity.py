"""Infidelity, and the generators of its perturbations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from captum_ext import metrics
from captum_ext.baselines import gaussian_noise
from captum_ext.feature_masks import superpixels

from ...._core.checks import check_count
from ...data import AttributionsDataset
from ...result import InfidelityResult
from ._plan import CPU, Plan, Seeds, check_names, computed
from ._scores import ACTIVATIONS, Outputs, Scores, activation_names, each, takes_all_methods


class PerturbationGenerator:
    """Perturbations I of `samples`, one for each call; the model sees x - I.

    A subclass overrides `_generate_perturbation_vectors`. Draw from `streams`, a numpy generator for each sample, and
    the perturbations belong to the sample, whatever its batch.
    """

    samples: Tensor

    def __init__(self) -> None:
        self.rng = np.random.default_rng()
        self.streams: list[np.random.Generator] = []

    def set_samples(self, samples: Tensor) -> None:
        self.samples, self.streams = samples, []

    def set_seeds(self, seeds: Seeds) -> None:
        """One for each sample; without, they come from `torch.manual_seed`."""
        self.streams = [np.random.default_rng(seed) for seed in seeds]

    def generate_perturbation(self) -> Tensor:
        if not hasattr(self, "samples"):
            raise ValueError("There are no samples to perturb yet: call `set_samples` first.")
        if not self.streams:
            self.set_seeds(torch.randint(2**62, (len(self.samples),)).tolist())
        return self._generate_perturbation_vectors()

    def _generate_perturbation_vectors(self) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} must override _generate_perturbation_vectors().")


class GaussianPerturbationGenerator(PerturbationGenerator):
    """Gaussian noise of standard deviation `sd`."""

    def __init__(self, sd: float):
        super().__init__()
        self.sd = sd

    def _generate_perturbation_vectors(self) -> Tensor:
        seeds = [int(stream.integers(2**62)) for stream in self.streams]
        return torch.as_tensor(gaussian_noise(self.samples, std=self.sd, seed=seeds))


class NoisyBaselinePerturbationGenerator(GaussianPerturbationGenerator):
    """The whole sample but for Gaussian noise of standard deviation `sd` around 0, which the model then sees."""

    def _generate_perturbation_vectors(self) -> Tensor:
        return self.samples - super()._generate_perturbation_vectors()


class SquarePerturbationGenerator(PerturbationGenerator):
    """A square of `square_size` pixels a side, anywhere in the image, set to 0.

    Every image draws its own (in AttriBench a batch shares it, it never touches the far borders, and on oblong images
    it may lie outside).
    """

    def __init__(self, square_size: int):
        super().__init__()
        self.square_size = square_size

    def _generate_perturbation_vectors(self) -> Tensor:
        *_, height, width = self.samples.shape
        size, side = self.square_size, min(height, width)
        if not 1 <= size <= side:
            raise ValueError(f"`square_size` must be from 1 to the side of the images, {side}; got {size}.")
        inside = torch.zeros_like(self.samples[:, :1], dtype=torch.bool)
        for image, stream in zip(inside, self.streams):
            top, left = (int(stream.integers(side - size + 1)) for side in (height, width))
            image[:, top : top + size, left : left + size] = True
        return self.samples * inside


class SegmentRemovalPerturbationGenerator(PerturbationGenerator):
    """`num_segments` of each image's superpixels (SLIC, about 100 an image) set to 0."""

    def __init__(self, num_segments: int):
        super().__init__()
        self.num_segments = num_segments

    def set_samples(self, samples: Tensor) -> None:
        super().set_samples(samples)
        self.segmented_images = torch.as_tensor(superpixels(samples, slic_zero=True))
        fewest = min(len(image.unique()) for image in self.segmented_images)
        if not 1 <= self.num_segments <= fewest:
            wanted = f"from 1 to the number of segments of an image, {fewest}"
            raise ValueError(f"`num_segments` must be {wanted}; got {self.num_segments}.")

    def _generate_perturbation_vectors(self) -> Tensor:
        segmented = zip(self.segmented_images, self.streams)
        return self.samples * torch.stack([_any_of(image, self.num_segments, stream) for image, stream in segmented])


def _any_of(segments: Tensor, number: int, stream: np.random.Generator) -> Tensor:
    drawn = stream.choice(segments.unique().cpu().numpy(), size=number, replace=False)
    return torch.isin(segments, torch.as_tensor(drawn, device=segments.device))


@computed
def infidelity(
    model: nn.Module,
    attributions_dataset: AttributionsDataset,
    batch_size: int,
    activation_fns: str | Sequence[str],
    perturbation_generators: Mapping[str, PerturbationGenerator],
    num_perturbations: int,
    device: torch.device | None = CPU,
    *,
    value_range: tuple[float, float] | None = None,
    seed: int = 0,
    show_progress: bool = False,
) -> Plan[InfidelityResult]:
    """Mean squared difference of what the attributions say perturbations do and what they do.

    It is `captum_ext.metrics.infidelity`, normalised. Perturbed samples are kept within `value_range`, by default from
    the least to the largest value of the data set (AttriBench: of the batch, so that its scores depend on the batch
    size).

    Args:
        batch_size: samples scored together, and the most rows of a call of the model.
        activation_fns: one or several of `"linear"`, `"softmax"`, `"sigmoid"`; they share the perturbations and the
            model's evaluations.
        perturbation_generators: name -> generator.
        num_perturbations: of each sample.
        device: the model is copied there if it is elsewhere.
        value_range: the least and the largest value that a sample may have.
        seed: of the perturbations, by sample. A generator of your own that draws from elsewhere depends on the batch.
    """
    check_names("perturbation_generators", perturbation_generators, PerturbationGenerator)
    check_count("num_perturbations", num_perturbations)
    activations, data = activation_names(activation_fns), attributions_dataset
    limits = value_range or _range_of_values(data)
    score = partial(_infidelities, activations=activations, num_perturbations=num_perturbations, value_range=limits)
    scores = {name: partial(score, generator=generator) for name, generator in perturbation_generators.items()}
    result = InfidelityResult(data.method_names, list(scores), activations, data.num_samples)
    return Plan(data, scores, result, "perturbation_generator")


def _range_of_values(dataset: AttributionsDataset) -> tuple[float, float]:
    ranges = np.array([[float(end) for end in dataset.sample(row).aminmax()] for row in range(dataset.num_samples)])
    return float(np.nanmin(ranges)), float(np.nanmax(ranges))


@takes_all_methods(metrics.infidelity)
def _infidelities(
    forward_func: Outputs,
    inputs: Tensor,
    attributions: Any,
    target: Tensor,
    seed: Seeds,
    *,
    generator: PerturbationGenerator,
    activations: Sequence[str],
    num_perturbations: int,
    value_range: tuple[float, float],
) -> Scores:
    """Every activation gets a copy of the batch, all with the same perturbations, and the model sees one of them."""
    batch, copies = len(inputs), len(activations)
    copied = partial(_copied, copies=copies)
    generator.set_samples(inputs)
    generator.set_seeds(seed)

    def outputs(rows: Tensor) -> Tensor:
        if copies > 1 and len(rows) != batch * copies:  # halved, and so no longer copy beside copy
            raise torch.cuda.OutOfMemoryError("Out of memory: choose a smaller `batch_size`.")
        output = forward_func(rows[:batch])
        return torch.cat([ACTIVATIONS[name](output) for name in activations])

    def perturb(rows: Tensor) -> tuple[Tensor, Tensor]:
        perturbed = (inputs - generator.generate_perturbation()).clamp(*value_range)
        return copied(inputs - perturbed), copied(perturbed)

    score = partial(metrics.infidelity, outputs, perturb, normalize=True, n_perturb_samples=num_perturbations)
    rows = copied(inputs), each(copied, attributions)
    scores = score(*rows, target=copied(target), max_examples_per_batch=batch * copies)
    return each(lambda s: s.reshape(copies, batch).T, scores)


def _copied(tensor: Tensor, copies: int) -> Tensor:
    return tensor.repeat(copies, *[1] * (tensor.dim() - 1))
