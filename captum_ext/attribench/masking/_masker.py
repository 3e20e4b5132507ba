"""What all maskers share: features numbered from 0, ordered by their attributions, and replaced by a baseline."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..._core.checks import shape

Seeds = int | Sequence[int] | None
Indices = Tensor | Sequence[Tensor]


class Masker:
    """Replaces features by a baseline, which a subclass sets in `_initialize_baselines(samples)`.

    A masker is a function of the inputs for the `baselines` argument of `captum_ext.metrics`. To use it by itself, call
    `set_batch` first, then `mask_top`, `mask_bot` and `mask_rand`. Equal attributions are ordered as in
    `captum_ext.metrics.deletion_curve`.
    """

    def __init__(self) -> None:
        self.baseline: Tensor | None = None
        self.samples: Tensor | None = None
        self.attributions: Tensor | None = None
        self.sorted_indices: Indices | None = None  # of each sample's features, the least relevant first
        self.seed: Seeds = None

    def __call__(self, inputs: Tensor, seed: Seeds = None) -> Tensor:
        """The baseline of the inputs. A random one follows `seed`: an int, one per example, or None for torch's."""
        self.seed = seed
        self._initialize_baselines(inputs)
        if self.baseline is None:
            raise ValueError(f"{type(self).__name__}._initialize_baselines must set `self.baseline`.")
        return self.baseline

    def set_batch(self, samples: Tensor, attributions: Tensor | None = None) -> None:
        """The samples to mask; `mask_top` and `mask_bot` need the attributions too."""
        self.check(samples, attributions)
        self.samples, self.attributions = samples, attributions
        self.sorted_indices = None if attributions is None else self._order(attributions)
        self(samples, self.seed)

    def check(self, samples: Tensor, attributions: Tensor | None) -> None:
        """A `ValueError` if the attributions are not of the features that this masker masks."""
        if attributions is not None and not self._check_attribution_shape(samples, attributions):
            misfit = f"`attributions` of shape {shape(attributions)} do not fit `samples` of shape {shape(samples)}"
            raise ValueError(f"{misfit} for {type(self).__name__}{self._at_level()}.")

    def get_num_features(self) -> int:
        return self._features(self._given()).numel()

    def mask_top(self, k: int) -> Tensor:
        """The samples without their `k` most relevant features."""
        return self._mask([order[len(order) - n :] for order, n in self._ordered(k)])

    def mask_bot(self, k: int) -> Tensor:
        """The samples without their `k` least relevant features."""
        return self._mask([order[:n] for order, n in self._ordered(k)])

    def mask_rand(self, k: int, return_indices: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        """The samples without `k` random features; every sample draws its own (in AttriBench a batch shares them)."""
        available = [torch.arange(self.get_num_features())] * len(self._given())
        return self._mask_random(available, k, return_indices)

    def _mask_random(self, available: Sequence[Tensor], k: int, return_indices: bool) -> Tensor | tuple[Tensor, Tensor]:
        Masker._count(self, k, min(map(len, available)))
        indices = torch.stack([features[torch.randperm(len(features))[:k]] for features in available])
        masked = self._mask(indices)
        return (masked, indices) if return_indices else masked

    def _ordered(self, k: int) -> list[tuple[Tensor, int]]:
        """Each sample's features, the least relevant first, and how many of them to mask."""
        if self.sorted_indices is None:
            raise ValueError("`attributions` are needed to mask by relevance: give them to `set_batch`.")
        return [(order, self._count(k, len(order))) for order in self.sorted_indices]

    def _count(self, k: int, features: int) -> int:
        if not 0 <= k <= features:
            raise ValueError(f"`k` must be from 0 to the number of features, {features}; got {k}.")
        return k

    def _order(self, attributions: Tensor) -> Indices:
        return attributions.flatten(1).argsort(dim=1, descending=True, stable=True).flip(1)

    def _mask(self, indices: Indices) -> Tensor:
        samples = self._given()
        numbers = self._features(samples).to(samples.device)  # which feature each place belongs to, [1 or B, ...]
        chosen = torch.zeros(len(samples), int(numbers.max()) + 1, dtype=torch.bool, device=samples.device)
        for row, features in zip(chosen, indices):
            row[features.to(samples.device)] = True
        mask = chosen.gather(1, numbers.flatten(1).expand(len(samples), -1)).view(-1, *numbers.shape[1:])
        return torch.where(mask, self.baseline, samples) if self.baseline is not None else samples

    def _given(self) -> Tensor:
        if self.samples is None:
            raise ValueError("There are no samples to mask yet: call `set_batch` first.")
        return self.samples

    def _features(self, samples: Tensor) -> Tensor:
        return torch.arange(samples[0].numel()).view(1, *samples.shape[1:])

    def _at_level(self) -> str:
        return ""

    def _check_attribution_shape(self, samples: Tensor, attributions: Tensor) -> bool:
        return samples.shape == attributions.shape

    def _initialize_baselines(self, samples: Tensor) -> None:
        raise NotImplementedError(f"{type(self).__name__} must override _initialize_baselines(samples).")
