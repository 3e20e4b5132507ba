"""Maskers of images `(B, C, H, W)`: at the level of features (one colour of a pixel), of pixels, or of segments."""

from __future__ import annotations

import torch
from torch import Tensor

from ... import baselines
from ..._core.checks import check_choice, check_exact, shape
from ._masker import Indices, Masker


class ImageMasker(Masker):
    """Attributions have the shape of the images at level `"feature"`, and one channel at level `"pixel"`."""

    def __init__(self, masking_level: str):
        check_choice("masking_level", masking_level, ("feature", "pixel"))
        super().__init__()
        self.masking_level = masking_level
        self.segmented_samples: Tensor | None = None

    def set_batch(
        self, samples: Tensor, attributions: Tensor | None = None, segmented_samples: Tensor | None = None
    ) -> None:
        """With `segmented_samples` `(B, 1, H, W)`, the number of each pixel's segment, segments are masked.

        They are ordered by their mean attribution, and the `k` of `mask_top` and `mask_bot` is a fraction of an image's
        own segments (AttriBench masks all of them where that comes to none). The `k` of `mask_rand` is a number of
        segments.
        """
        wanted = (len(samples), 1, *samples.shape[2:])
        if segmented_samples is not None and segmented_samples.shape != wanted:
            raise ValueError(f"`segmented_samples` must have shape {wanted}, got {shape(segmented_samples)}.")
        self.segmented_samples = None if segmented_samples is None else segmented_samples.long()
        super().set_batch(samples, attributions)

    def get_num_features(self) -> int:
        if self.segmented_samples is not None:
            why = "with `segmented_samples` there is no one number of features"
            raise ValueError(f"Images differ in their number of segments: {why}.")
        return super().get_num_features()

    def mask_rand(self, k: int, return_indices: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        if self.segmented_samples is None:
            return super().mask_rand(k, return_indices)
        return self._mask_random([segments.unique() for segments in self.segmented_samples], k, return_indices)

    def _count(self, k: float, features: int) -> int:
        if self.segmented_samples is None:
            return super()._count(int(k), features)
        if not 0 <= k <= 1:
            raise ValueError(f"`k` is a fraction of the segments, from 0 to 1; got {k}.")
        return int(k * features)

    def _order(self, attributions: Tensor) -> Indices:
        if self.segmented_samples is None:
            return super()._order(attributions)
        return [_segments_by_relevance(s, a) for s, a in zip(self.segmented_samples, attributions.mean(1))]

    def _features(self, samples: Tensor) -> Tensor:
        if self.segmented_samples is not None:
            return self.segmented_samples
        if self.masking_level == "feature":
            return super()._features(samples)
        return torch.arange(samples[0, 0].numel()).view(1, 1, *samples.shape[2:])

    def _at_level(self) -> str:
        return f" at level {self.masking_level!r}"

    def _check_attribution_shape(self, samples: Tensor, attributions: Tensor) -> bool:
        channels = samples.shape[1] if self.masking_level == "feature" else 1
        return attributions.shape == (len(samples), channels, *samples.shape[2:])


class ConstantImageMasker(ImageMasker):
    """Replaces by a number.

    Example:
        >>> ConstantImageMasker("pixel", 0.5)(torch.zeros(1, 1, 1, 2))
        tensor([[[[0.5000, 0.5000]]]])
    """

    def __init__(self, masking_level: str, mask_value: float = 0.0):
        super().__init__(masking_level)
        self.mask_value = mask_value

    def _initialize_baselines(self, samples: Tensor) -> None:
        check_exact("mask_value", self.mask_value, samples)
        self.baseline = torch.full_like(samples, self.mask_value)


class BlurringImageMasker(ImageMasker):
    """Replaces by the blurred image: `captum_ext.baselines.box_blur`, with `kernel_size` a fraction of the width."""

    def __init__(self, masking_level: str, kernel_size: float):
        super().__init__(masking_level)
        if not 0 < kernel_size < 1:
            raise ValueError(f"`kernel_size` is a fraction of the width, between 0 and 1; got {kernel_size}.")
        self.kernel_size = kernel_size

    def _initialize_baselines(self, samples: Tensor) -> None:
        self.baseline = torch.as_tensor(baselines.box_blur(samples, self.kernel_size))


class SampleAverageImageMasker(ImageMasker):
    """Replaces by the image's mean colour: `captum_ext.baselines.channel_mean`."""

    def __init__(self, feature_level: str):
        super().__init__(feature_level)

    def _initialize_baselines(self, samples: Tensor) -> None:
        self.baseline = torch.as_tensor(baselines.channel_mean(samples))


class RandomImageMasker(ImageMasker):
    """Replaces by Gaussian noise around 0: `captum_ext.baselines.gaussian_noise`.

    In a metric the noise belongs to the example, so methods and activations share it (AttriBench draws it anew for each
    method and batch).
    """

    def __init__(self, masking_level: str, std: float = 1):
        super().__init__(masking_level)
        self.std = std

    def _initialize_baselines(self, samples: Tensor) -> None:
        self.baseline = torch.as_tensor(baselines.gaussian_noise(samples, std=self.std, seed=self.seed))


def _segments_by_relevance(segments: Tensor, attributions: Tensor) -> Tensor:
    """The numbers of one image's segments, the least relevant first."""
    numbers, index = segments.flatten().unique(return_inverse=True)
    flat = attributions.flatten()
    means = flat.new_zeros(len(numbers)).scatter_add(0, index, flat) / index.bincount()
    return numbers[means.argsort(descending=True, stable=True).flip(0)]
