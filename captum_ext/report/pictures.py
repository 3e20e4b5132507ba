"""Inputs and attributions as small pictures within the page."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from PIL import Image

from ..evaluation.statistics import Floats

LONGEST_SIDE = 224  # pixels; larger pictures are made smaller
SMALL_SIDE = 80  # up to here a picture is shown in squares, not smoothed
STRIPE = 12  # pixels: the height of a picture of a vector
OUTLIERS = 0.02  # this share of the sum of a map's absolute values lies beyond the ends of the colour scale


@dataclass(frozen=True)
class Picture:
    uri: str
    width: int
    height: int
    text: str  # for those who cannot see it

    @property
    def in_squares(self) -> bool:
        return max(self.width, self.height) <= SMALL_SIDE


def can_be_shown(values: Floats) -> bool:
    """Vectors `[F]`, grey images `[H, W]` or `[1, H, W]` and colour images `[3, H, W]`."""
    return values.size > 0 and (values.ndim in (1, 2) or (values.ndim == 3 and values.shape[0] in (1, 3)))


def of_input(values: Floats, text: str) -> Picture | None:
    """Values outside [0, 1] are stretched to it; a vector is a stripe of grey."""
    if not can_be_shown(values):
        return None
    pixels = _stretched(np.nan_to_num(values))
    pixels = np.moveaxis(pixels, 0, -1) if pixels.ndim == 3 else _as_image(pixels)
    pixels = pixels[..., 0] if pixels.shape[-1] == 1 and pixels.ndim == 3 else pixels
    return _picture(_small(Image.fromarray(np.round(255 * pixels).astype(np.uint8))), text)


def of_attribution(values: Floats, text: str) -> Picture | None:
    """The sum over channels, purple where it is positive and orange where negative, each map on a scale of its own."""
    total = values.sum(0) if values.ndim == 3 else values
    if total.ndim not in (1, 2) or total.size == 0:
        return None
    total = _as_image(np.nan_to_num(total, posinf=0.0, neginf=0.0))
    total = np.asarray(_small(Image.fromarray(total.astype(np.float32))), np.float64)
    levels = np.clip(total / (largest(total) or 1), -1, 1)
    picture = Image.fromarray(np.round(127.5 * (levels + 1)).astype(np.uint8))
    picture.putpalette((255 * colormaps["PuOr"](np.arange(256))[:, :3]).round().astype(np.uint8).tobytes())
    return _picture(picture, text)


def largest(total: Floats) -> float:
    """The absolute value at which all but a share of the absolute sum is reached, as Captum scales maps."""
    values = np.sort(np.abs(total), axis=None)
    return float(values[np.searchsorted(values.cumsum(), (1 - OUTLIERS) * values.sum()).clip(max=len(values) - 1)])


def _as_image(values: Floats) -> Floats:
    return np.repeat(values[None], max(1, min(STRIPE, len(values))), 0) if values.ndim == 1 else values


def _stretched(values: Floats) -> Floats:
    low, high = values.min(), values.max()
    return (values - low) / max(high - low, 1e-12) if low < 0 or high > 1 else values


def _small(image: Image.Image) -> Image.Image:
    factor = min(1, LONGEST_SIDE / max(image.size))
    width, height = (max(1, round(side * factor)) for side in image.size)
    return image if factor == 1 else image.resize((width, height), Image.Resampling.BOX)


def _picture(image: Image.Image, text: str) -> Picture:
    file = io.BytesIO()
    image.save(file, "png", optimize=True)
    return Picture(f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}", *image.size, text=text)
