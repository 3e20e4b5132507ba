"""Inputs and attributions as small pictures within the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape
from matplotlib import colormaps
from PIL import Image

from .._core.printing import printable
from ..evaluation.statistics import Floats

LONGEST_SIDE = 224  # pixels; larger pictures are made smaller
SMALL_SIDE = 80  # up to here a picture is shown in squares, not smoothed
LONGEST_TABLE = 40  # features; a longer vector is a series
MOST_CHANNELS = 12  # of a series
SLICES = 6  # of a volume
ROW, BAR, STRIP = 14, 120, 12  # pixels: the height of a table's line, the width of its bars, the height of a strip
SERIES_SIZE = 224, 56  # pixels
OUTLIERS = 0.02  # this share of the sum of a map's absolute values lies beyond the ends of the colour scale


@dataclass(frozen=True)
class Picture:
    """An image by its address, or a drawing in the page's colours."""

    width: int
    height: int
    text: str  # for those who cannot see it
    uri: str = ""
    drawing: Markup | None = None  # what is within its outermost tag

    @property
    def in_squares(self) -> bool:
        return max(self.width, self.height) <= SMALL_SIDE


def kind_of(values: Floats) -> str:
    """What an example's inputs are: "table" `[F]`, "series" `[T]` (longer than a table) or `[channels, T]`, "image"
    `[H, W]` or `[1 or 3, H, W]`, "volume" `[1 or 3, D, H, W]`, or "" for what has no picture.
    """
    if values.size == 0:
        return ""
    if values.ndim == 1:
        return "table" if len(values) <= LONGEST_TABLE else "series"
    if values.ndim == 2:
        return "series" if len(values) <= MOST_CHANNELS and values.shape[1] >= 3 * len(values) else "image"
    return {3: "image", 4: "volume"}.get(values.ndim, "") if values.shape[0] in (1, 3) else ""


def of_input(values: Floats, text: str, names: Sequence[str] | None = None) -> Picture | None:
    """Images out of [0, 1] are stretched to it; of a table the names and values are written, a line each."""
    kind, values = kind_of(values), np.nan_to_num(values)
    if kind == "table":
        return _lines_of_table(values, text, names)
    if kind == "series":
        return Picture(SERIES_SIZE[0], SERIES_SIZE[1], text, drawing=_series(values))
    if not kind:
        return None
    pixels = _stretched(_slices(values) if kind == "volume" else values)
    pixels = np.moveaxis(pixels, 0, -1) if pixels.ndim == 3 else pixels
    pixels = pixels[..., 0] if pixels.ndim == 3 and pixels.shape[-1] == 1 else pixels
    return _picture(_small(Image.fromarray(np.round(255 * pixels).astype(np.uint8))), text)


def of_attribution(values: Floats, text: str, of: Floats | None = None) -> Picture | None:
    """Purple where it is positive and orange where negative, each map on a scale of its own.

    Images and volumes show the sum over channels, tables bars, and a series its map under its line. `of` are the
    inputs, if they are known.
    """
    values = np.nan_to_num(values, posinf=0.0, neginf=0.0)
    kind = kind_of(values if of is None else of)
    if kind == "table" and values.ndim == 1:
        return _bars(values, text)
    if kind == "series" and values.ndim in (1, 2):
        return _series_with_map(values, text, of)
    if kind == "volume" and values.ndim == 4:
        values = _slices(values.sum(0)[None])[0]
    total = values.sum(0) if values.ndim == 3 else values
    return _picture(_coloured(total), text) if total.ndim == 2 and total.size else None


def _coloured(total: Floats) -> Image.Image:
    total = np.asarray(_small(Image.fromarray(total.astype(np.float32))), np.float64)
    picture = Image.fromarray(np.round(127.5 * (_levels(total) + 1)).astype(np.uint8))
    picture.putpalette((255 * colormaps["PuOr"](np.arange(256))[:, :3]).round().astype(np.uint8).tobytes())
    return picture


def _levels(values: Floats) -> Floats:
    return np.clip(values / (largest(values) or 1), -1, 1)


def _slices(values: Floats) -> Floats:
    """`[C, H, W]`: some slices of `[C, D, H, W]`, evenly spread, three beside each other."""
    depth = values.shape[1]
    chosen = np.unique(np.linspace(0, depth - 1, min(SLICES, depth)).round().astype(int))
    rows = [values[:, chosen[i : i + 3]] for i in range(0, len(chosen), 3)]
    wide = [np.concatenate(list(np.moveaxis(row, 1, 0)), -1) for row in rows]
    padded = [np.pad(row, ((0, 0), (0, 0), (0, wide[0].shape[-1] - row.shape[-1]))) for row in wide]
    return np.concatenate(padded, 1)


# ---- drawings in the page's colours


def _lines_of_table(values: Floats, text: str, names: Sequence[str] | None) -> Picture:
    names = [f"feature {i}" for i in range(len(values))] if names is None else names
    lines = (
        f'<text x="0" y="{ROW * i + 11}">{escape(printable(str(name)))} = {value:.3g}</text>'
        for i, (name, value) in enumerate(zip(names, values.tolist()))
    )
    letters = max(len(str(name)) for name in names) + 9
    return Picture(7 * letters, ROW * len(values), text, drawing=Markup("".join(lines)))


def _bars(values: Floats, text: str) -> Picture:
    scale = BAR / 2 / (np.abs(values).max() or 1)
    bars = (
        f'<path class="{"for" if value >= 0 else "anti"}" d="M{BAR / 2:g} {ROW * i + 2}h{scale * value:.2f}v{ROW - 4}'
        f'H{BAR / 2:g}z"><title>{value:.3g}</title></path>'
        for i, value in enumerate(values.tolist())
    )
    zero = f'<path class="zero" d="M{BAR / 2:g} 0V{ROW * len(values)}"/>'
    return Picture(BAR, ROW * len(values), text, drawing=Markup("".join(bars) + zero))


def _series(values: Floats, height: int = SERIES_SIZE[1]) -> Markup:
    """A line for each channel, all on one scale."""
    rows = np.atleast_2d(values)
    low, span = rows.min(), float(np.ptp(rows)) or 1.0
    x = np.linspace(1, SERIES_SIZE[0] - 1, rows.shape[1])
    lines = (
        '<path class="line" d="M' + "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(x, height - 2 - y)) + '"/>'
        for y in (rows - low) / span * (height - 4)
    )
    return Markup("".join(lines))


def _series_with_map(values: Floats, text: str, of: Floats | None) -> Picture:
    """The line, and under it a strip of colour for each channel of the map."""
    width, height = SERIES_SIZE
    levels = _levels(np.atleast_2d(values))
    each, wide = STRIP, width / levels.shape[1]
    line = Markup("") if of is None else _series(np.nan_to_num(of), height)
    top = 0 if of is None else height + 2
    strips = (
        f'<path class="{"for" if level >= 0 else "anti"}" fill-opacity="{abs(level):.2f}" '
        f'd="M{wide * t:.2f} {top + each * row}h{wide:.2f}v{each - 1}h-{wide:.2f}z"/>'
        for row, of_channel in enumerate(levels.tolist())
        for t, level in enumerate(of_channel)
        if abs(level) > 0.005
    )
    return Picture(width, top + each * len(levels), text, drawing=line + Markup("".join(strips)))


def largest(total: Floats) -> float:
    """The absolute value at which all but a share of the absolute sum is reached, as Captum scales maps."""
    values = np.sort(np.abs(total), axis=None)
    return float(values[np.searchsorted(values.cumsum(), (1 - OUTLIERS) * values.sum()).clip(max=len(values) - 1)])


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
    return Picture(*image.size, text, f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}")
