"""Functions that make Captum's `feature_mask`, in which elements with the same number belong to one feature.

All but `words`, `tokens` and `token_map` take a tensor or a tuple of tensors; no number is used in two tensors of a
tuple.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ._core.arguments import TensorOrTuple, as_sequence, as_tuple
from ._core.checks import check_count, check_flag, check_integer, check_positive, describe, shape
from ._core.grids import grid as grid
from ._core.grids import numbered, positions

__all__ = ["grid", "patches", "pixels", "superpixels", "token_map", "tokens", "windows", "words"]


def pixels(inputs: TensorOrTuple) -> TensorOrTuple:
    """Makes each position of `(B, C, ...)`, with all its channels, a feature. The mask has shape `(1, 1, ...)`.

    Example:
        >>> pixels(torch.zeros(5, 3, 2, 2))
        tensor([[[[0, 1],
                  [2, 3]]]])
    """
    return numbered(
        inputs, lambda x: torch.arange(math.prod(positions(x)), device=x.device).reshape(1, 1, *positions(x))
    )


def patches(inputs: TensorOrTuple, size: int) -> TensorOrTuple:
    """Makes each square of `size` by `size` positions, with all its channels, a feature.

    The mask has shape `(1, 1, ...)`. For a series the square is a window, for a volume a cube. Patches at the far
    borders are smaller where `size` does not divide the side.

    Example:
        >>> patches(torch.zeros(1, 1, 3, 4), size=2)
        tensor([[[[0, 0, 1, 1],
                  [0, 0, 1, 1],
                  [2, 2, 3, 3]]]])
    """
    check_count("size", size)

    def mask(x: Tensor) -> Tensor:
        places = torch.zeros((), dtype=torch.long, device=x.device)
        for side in positions(x):
            places = places[..., None] * -(-side // size) + torch.arange(side, device=x.device) // size
        return places[None, None]

    return numbered(inputs, mask)


def superpixels(
    images: TensorOrTuple, n_segments: int = 100, compactness: float = 10.0, **slic_arguments: Any
) -> TensorOrTuple:
    """Makes the SLIC superpixels of each image `(B, C, H, W)` features, by `skimage.segmentation.slic`.

    The mask has shape `(B, 1, H, W)` and numbers from 0 in each image. An image is scaled to 0..1 by its own smallest
    and largest value first, so normalised images may be given.

    Args:
        n_segments: about how many superpixels an image gets; images differ in their number.
        compactness: as in `skimage.segmentation.slic`.
        slic_arguments: further arguments of `skimage.segmentation.slic`, such as ``slic_zero=True`` or ``sigma=1``.

    Example:
        >>> images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        >>> superpixels(images, n_segments=16).shape
        torch.Size([2, 1, 32, 32])
    """
    n_segments, compactness = check_count("n_segments", n_segments), check_positive("compactness", compactness)
    if any(x.dim() != 4 for x in as_tuple(images, "images")):
        raise ValueError(f"`images` must have shape (B, C, H, W), got {[shape(x) for x in as_tuple(images)]}.")
    if not all(x.is_meta or x.isfinite().all() for x in as_tuple(images)):
        raise ValueError("`images` must be finite, so that they have segments. Use torch.nan_to_num.")

    def segment(image: Tensor) -> Tensor:
        from skimage.segmentation import slic  # slow to import

        pixel_values = image.movedim(0, -1).double().cpu().numpy()
        least, range_ = pixel_values.min(), np.ptp(pixel_values)
        scaled = (pixel_values - least) / (range_ or 1.0)
        segments = slic(scaled, n_segments=n_segments, compactness=compactness, channel_axis=-1, **slic_arguments)
        return torch.from_numpy(np.unique(segments, return_inverse=True)[1].reshape(segments.shape))[None]

    return numbered(images, lambda x: torch.stack([segment(image) for image in x]).to(x.device))


def windows(inputs: TensorOrTuple, size: int, axis: int = -1, together: bool = True) -> TensorOrTuple:
    """Makes each window of `size` steps along the time `axis` of a series a feature.

    The last window is shorter where `size` does not divide the length.

    Args:
        axis: the time axis: -1 for series `(B, channels, time)` or `(B, time)`, 1 for `(B, time, channels)`.
        together: whether a window spans all channels; the mask then has size 1 along the other axes. With False, every
            channel has windows of its own, and the mask has the shape of one example.

    Example:
        >>> windows(torch.zeros(5, 2, 6), size=2)
        tensor([[[0, 0, 1, 1, 2, 2]]])
        >>> windows(torch.zeros(5, 2, 6), size=2, together=False)
        tensor([[[0, 0, 1, 1, 2, 2],
                 [3, 3, 4, 4, 5, 5]]])
    """
    size, together = check_count("size", size), check_flag("together", together)
    axis = check_integer("`axis` must be one of the axes of `inputs` after the examples', an integer", axis)

    def mask(x: Tensor) -> Tensor:
        if axis not in (*range(1, x.dim()), *range(1 - x.dim(), 0)):
            raise ValueError(f"`axis` must be one of `inputs` {shape(x)} after the examples', got {axis!r}.")
        along, others = [1] * x.dim(), list(shape(x[:1]))
        along[axis], others[axis] = -1, 1
        window = (torch.arange(x.shape[axis], device=x.device) // size).reshape(along)
        if together:
            return window
        channel = torch.arange(math.prod(others), device=x.device).reshape(others)
        return channel * (int(window.max()) + 1) + window

    return numbered(inputs, mask)


def words(word_ids: Sequence[Sequence[int | None]]) -> Tensor:
    """Makes each word of a text, with its tokens and their embeddings, a feature.

    The mask has shape `(B, tokens, 1)`, for inputs `(B, tokens, embedding)`. It is -1 for tokens that belong to no word
    (special tokens, padding): also pass ``frozen=-1`` to the metric, so that they are never removed.

    Args:
        word_ids: for each token of each text the number of its word, or None: `encoding.word_ids(b)` of Hugging Face's
            tokenizers. To make tokens the features, number the tokens instead.

    Example:
        >>> words([[None, 0, 1, 1, None], [None, 0, 1, None, None]])[..., 0]
        tensor([[-1,  0,  1,  1, -1],
                [-1,  0,  1, -1, -1]])
    """
    if not _is_list(word_ids) or not all(map(_is_list, word_ids)):
        raise TypeError(f"`word_ids` must have a list of numbers, or None, for each text, got {describe(word_ids)}.")
    lengths = {len(text) for text in word_ids}
    if len(lengths) != 1:
        raise ValueError(f"`word_ids` must have as many tokens for each text, got {sorted(lengths)}. Pad the texts.")
    numbers = [[-1 if word is None else check_count("word_ids", word, least=0) for word in text] for text in word_ids]
    return torch.tensor(numbers, device="cpu")[..., None]


def tokens(attention_mask: Tensor, special_tokens_mask: Tensor | None = None) -> Tensor:
    """Makes each token of a text a feature.

    The mask has shape `(B, tokens)`, for token ids; give embeddings `(B, tokens, embedding)` the mask
    ``tokens(...)[..., None]``. It is -1 for padding and for special tokens: also pass ``frozen=-1`` to the metric, so
    that they are never removed.

    Args:
        attention_mask: 1 for tokens and 0 for padding, as Hugging Face's tokenizers give it.
        special_tokens_mask: 1 for special tokens, from a tokenizer that is called with
            ``return_special_tokens_mask=True``; without it they are features as others are.

    Example:
        >>> tokens(torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]]), torch.tensor([[1, 0, 0, 1], [1, 0, 0, 0]]))
        tensor([[-1,  1,  2, -1],
                [-1,  1,  2,  3]])
    """
    _check_flags("attention_mask", attention_mask, attention_mask)
    special = torch.zeros_like(attention_mask) if special_tokens_mask is None else special_tokens_mask
    _check_flags("special_tokens_mask", special, attention_mask)
    number = torch.arange(attention_mask.shape[1], device=attention_mask.device)
    return number.where((attention_mask != 0) & (special.to(attention_mask.device) == 0), -1)


def token_map(maps: Tensor, grid: tuple[int, int], size: tuple[int, int] | None = None, prefix: int = 1) -> Tensor:
    """Puts attributions of a vision transformer's tokens where their patches are in the image: `(B, 1, height, width)`.

    Args:
        maps: `(B, prefix + patches)`, or `(B, prefix + patches, embedding)`, which is summed over the embedding.
        grid: how many patches the image has down and across.
        size: the height and width of the image; each patch's value is then repeated over its positions, as attributions
            of groups are in Captum, so give metrics ``aggregate="mean"``. By default one value a patch.
        prefix: the number of tokens before the patches, such as 1 for a class token.

    Example:
        >>> token_map(torch.tensor([[9.0, 1.0, 2.0, 3.0, 4.0]]), grid=(2, 2), size=(2, 4))
        tensor([[[[1., 1., 2., 2.],
                  [3., 3., 4., 4.]]]])
    """
    grid, size = _sides("grid", grid), None if size is None else _sides("size", size)
    if not isinstance(maps, Tensor):
        raise TypeError(f"`maps` must be a tensor, got {describe(maps)}.")
    of_tokens = maps.sum(-1) if maps.dim() == 3 else maps
    if of_tokens.dim() != 2 or of_tokens.shape[1] - check_count("prefix", prefix, least=0) != math.prod(grid):
        raise ValueError(
            f"`maps` must have shape (B, {prefix} + {grid[0]} * {grid[1]}), a column for each token, for `prefix` and "
            f"`grid`; got {shape(maps)}."
        )
    placed = of_tokens[:, prefix:].reshape(-1, 1, *grid)
    if size is None:
        return placed
    if any(side % patches for side, patches in zip(size, grid)):
        raise ValueError(f"`size` must be a multiple of `grid` {tuple(grid)}, got {tuple(size)}.")
    return placed.repeat_interleave(size[0] // grid[0], 2).repeat_interleave(size[1] // grid[1], 3)


def _check_flags(name: str, mask: Any, attention_mask: Tensor) -> None:
    if not isinstance(mask, Tensor):
        raise TypeError(f"`{name}` must be a tensor, got {describe(mask)}. Call the tokenizer for tensors.")
    if mask.dim() != 2 or mask.shape != attention_mask.shape:
        raise ValueError(
            f"`{name}` must have shape (B, tokens), as `attention_mask` {shape(attention_mask)}; got {shape(mask)}."
        )
    if not mask.is_meta and ((mask != 0) & (mask != 1)).any():
        raise ValueError(f"`{name}` must be 0 or 1, as a tokenizer gives it; got values from {mask.min()}.")


def _sides(name: str, value: Any) -> tuple[int, int]:
    sides, _ = as_sequence(name, value)
    if len(sides) != 2:
        raise ValueError(f"`{name}` must be two numbers, down and across, got {describe(value)}.")
    return check_count(name, sides[0]), check_count(name, sides[1])


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray))
