"""Models of a dense output, or of boxes, as models that metrics and `captum.attr` take: a number per row and class."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from ._core.checks import check_function, check_real, describe, is_exact, shape
from ._core.statistics import at_least_float32
from ._core.target import check_output, logits_of

__all__ = ["DetectionSimilarity", "MeanOverMask"]


class MeanOverMask(nn.Module):
    r"""A segmentation model as a classifier: the mean of each class over the positions of a mask.

    .. math:: f_c(x, m) = \frac{\sum_p m_p\, g_c(x)_p}{\sum_p m_p}

    where :math:`g(x)` is the dense output, `[rows, classes, ...]`. So `target` is a class, and the mask is the last of
    the `additional_forward_args`: with a row per example it goes with each copy of its example. The mask belongs to the
    unperturbed example, such as ``model(inputs).argmax(1) == target``: one that is made anew for each perturbed copy
    would follow what is explained.

    Gradients go through, so every method of Captum's explains it, with the same `additional_forward_args`.

    Args:
        model: returns `[rows, classes, ...]`, or an object with such `logits`.
        activation: applied to the dense output before the mean, such as ``partial(torch.softmax, dim=1)`` for the mean
            probability of a class. The `activation` of a metric comes after the mean.

    Returns:
        when called with the inputs, what else the model takes, and the mask: `[rows, classes]`, at least in float32. It
        is NaN where the mask is empty.

    Raises:
        ValueError, TypeError: when called, a mask that does not fit the output, or with values outside 0..1; an output
            without positions.

    Example:
        >>> x = torch.tensor([[[1.0, 2.0, 6.0]]])  # one row, one channel, three positions
        >>> f = MeanOverMask(lambda x: torch.cat((x, -x), 1))
        >>> f(x, torch.tensor([[True, False, True]]))
        tensor([[ 3.5000, -3.5000]])
    """

    def __init__(self, model: Callable[..., Any], *, activation: Callable[[Tensor], Tensor] | None = None):
        super().__init__()
        check_function("model", model, "a model or a function")
        if activation is not None:
            check_function("activation", activation, "a function of the model's output")
        self.model, self.activation = model, activation
        self.training = getattr(model, "training", False)  # a new module would be in training mode

    def forward(self, *args: Any) -> Tensor:
        *given, mask = args
        if not given or not isinstance(mask, Tensor):
            raise ValueError(
                "`additional_forward_args` must have the mask last, a tensor with a row per example; got "
                f"{describe(args[1:])}."
            )
        _check_mask(mask)
        output = check_output(logits_of(self.model(*given)), len(given[0]), "model")
        if self.activation is not None:
            output = check_output(self.activation(output), len(given[0]), "activation")
        weights = _as_weights(mask, output)
        values = at_least_float32(output).masked_fill(weights == 0, 0)  # also where they are infinite
        return (values * weights).flatten(2).sum(2) / weights.flatten(2).sum(2)

    def extra_repr(self) -> str:
        return _described(model=self.model, activation=self.activation)


class DetectionSimilarity(nn.Module):
    r"""A detector as a model of one number: how similar the most similar detection is to a given one (D-RISE).

    .. math:: f(x, b, p) = \max_j \; \mathrm{IoU}(b, b_j) \cdot \frac{p \cdot p_j}{\|p\| \, \|p_j\|} \cdot o_j

    over the detections in `x`, with their boxes :math:`b_j`, class probabilities :math:`p_j` and scores :math:`o_j`. It
    is 0 without any detection. The given detection is the last two of the `additional_forward_args`: the boxes
    `[B, 4]`, and the class probabilities `[B, classes]` or labels `[B]`. With a row per example they go with each copy
    of their example. There is no `target`.

    A label counts as probability 1, so for labels the cosine says whether they are equal. Where `boxes`, probabilities
    or `scores` have gradients, so has the similarity; where they have none, take methods that need none, such as
    `captum.attr.FeatureAblation`.

    Args:
        detector: returns a list with a mapping for each row: `boxes` `[n, 4]`, as x1, y1, x2, y2; `labels` `[n]`, or
            `probabilities` `[n, classes]`; and `scores` `[n]` from 0 to 1, the objectness or the confidence, which may
            be left out. So do the detectors of torchvision, and Hugging Face's `post_process_object_detection`.

    Returns:
        when called with the inputs, what else the detector takes, the boxes and the classes: `[rows]`, from 0 to 1.

    Raises:
        ValueError, TypeError: when called, boxes or classes that do not fit the rows, given boxes without area, and
            detections of another form.

    Reference: Petsiuk et al. 2021, "Black-box Explanation of Object Detectors via Saliency Maps", arXiv:2006.03204.

    Example:
        >>> def detector(images):  # finds the same in every image
        ...     found = {"boxes": torch.tensor([[0.0, 0.0, 4.0, 2.0]]), "labels": torch.tensor([7])}
        ...     return [found for image in images]
        >>> f = DetectionSimilarity(detector)
        >>> boxes = torch.tensor([[0.0, 0.0, 4.0, 2.0], [2.0, 0.0, 6.0, 2.0], [0.0, 0.0, 4.0, 2.0]])
        >>> f(torch.zeros(3, 1, 8, 8), boxes, torch.tensor([7, 7, 1]))
        tensor([1.0000, 0.3333, 0.0000])
    """

    def __init__(self, detector: Callable[..., Any]):
        super().__init__()
        check_function("detector", detector, "a model or a function")
        self.detector = detector
        self.training = getattr(detector, "training", False)

    def forward(self, *args: Any) -> Tensor:
        *given, boxes, classes = args if len(args) > 2 else (None, None)
        if not given or not (isinstance(boxes, Tensor) and isinstance(classes, Tensor)):
            raise ValueError(
                "`additional_forward_args` must end with the boxes and the classes of the detections to explain, two "
                f"tensors with a row per example; got {describe(args[1:])}."
            )
        rows = len(given[0])
        _check_wanted(boxes, classes, rows)
        found = self.detector(*given)
        if not isinstance(found, Sequence) or not all(isinstance(f, Mapping) for f in found) or len(found) != rows:
            raise ValueError(
                f"`detector` must return a list with a mapping for each of its {rows} rows, with `boxes`, `labels` or "
                f"`probabilities`, and perhaps `scores`; got {describe(found)}."
            )
        return torch.stack([_most_similar(*row) for row in zip(found, boxes, classes)])

    def extra_repr(self) -> str:
        return _described(detector=self.detector)


def _described(**functions: Any) -> str:
    """What a module's own parts do not say, by which `evaluate` tells one run from another."""
    return ", ".join(
        f"{name}={_name(f)}" for name, f in functions.items() if not isinstance(f, (nn.Module, type(None)))
    )


def _name(function: Any) -> str:
    if isinstance(function, functools.partial):
        return f"{_name(function.func)}{function.args}{function.keywords}"
    return getattr(function, "__qualname__", type(function).__name__)


def _check_mask(mask: Tensor) -> None:
    check_real("The mask must be", mask)
    if not mask.is_meta and not ((mask >= 0) & (mask <= 1)).all():
        raise ValueError(
            "The mask must say which positions count: booleans, or weights from 0 to 1. Of classes make a mask of one, "
            "`classes == 3`."
        )


def _as_weights(mask: Tensor, output: Tensor) -> Tensor:
    """`[rows or 1, 1, ...]`: the mask as numbers, with an axis for the classes."""
    if output.dim() < 3:
        raise ValueError(
            f"`model` must return `[rows, classes, ...]` with axes of positions for a mask, got {shape(output)}."
        )
    positions = shape(output)[2:]
    if shape(mask)[1:] == (1, *positions):
        mask = mask[:, 0]
    if shape(mask)[1:] != positions or len(mask) not in (1, len(output)):
        raise ValueError(
            f"The mask must have shape {(len(output), *positions)}, a row for each row of the output, or with an axis "
            f"of size 1 for its classes; got {shape(mask)}. For an output of another size than the image, give a mask "
            "of the output's size, as by torch.nn.functional.interpolate, or enlarge the output."
        )
    return mask[:, None].to(at_least_float32(output))


def _check_wanted(boxes: Tensor, classes: Tensor, rows: int) -> None:
    check_real("The boxes must be", boxes)
    check_real("The classes must be", classes)
    if shape(boxes) != (rows, 4):
        raise ValueError(f"The boxes must have shape ({rows}, 4), one for each row; got {shape(boxes)}.")
    if not boxes.is_meta and (boxes[:, 2:] <= boxes[:, :2]).any():
        raise ValueError(
            f"The boxes must be [x1, y1, x2, y2] with x1 < x2 and y1 < y2, got {boxes.tolist()}. For boxes [x, y, "
            "width, height], add the first two numbers to the last two."
        )
    if shape(classes)[:1] != (rows,) or classes.dim() != (1 if is_exact(classes) else 2):
        raise ValueError(
            f"The classes must be labels of shape ({rows},), integers, or probabilities of shape ({rows}, classes); "
            f"got {classes.dtype} of shape {shape(classes)}."
        )
    if not classes.is_meta and ((classes < 0).any() or not (is_exact(classes) or classes.any(1).all())):
        raise ValueError(f"The classes must be labels or probabilities, not below 0 and not all 0; got {classes}.")


def _most_similar(found: Mapping[str, Any], box: Tensor, wanted: Tensor) -> Tensor:
    """One number: the largest similarity of the detections in a row to the given one, and 0 without any."""
    boxes, classes, scores = _as_detections(found)
    each = _overlap(boxes, box.to(boxes)) * _agreement(classes, wanted.to(boxes.device)) * scores
    return torch.cat((each, each.new_zeros(1))).amax()


def _as_detections(found: Mapping[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
    """`[n, 4]`, `[n, classes]` or `[n]`, and `[n]`: boxes, class probabilities or labels, and scores."""
    boxes, classes = found.get("boxes"), found.get("probabilities", found.get("labels"))
    scores = found.get("scores", torch.ones(len(boxes), device=boxes.device) if isinstance(boxes, Tensor) else None)
    if not (isinstance(boxes, Tensor) and isinstance(classes, Tensor) and isinstance(scores, Tensor)):
        raise ValueError(
            "`detector` must return `boxes` and `labels` or `probabilities` for each row, as tensors; got "
            f"{', '.join(f'{name} ({type(value).__name__})' for name, value in found.items()) or 'nothing'}."
        )
    fits = classes.dim() == (1 if is_exact(classes) else 2) and shape(boxes)[1:] == (4,)
    if not fits or not shape(scores) == shape(classes)[:1] == shape(boxes)[:1]:
        raise ValueError(
            "`detector` must return `boxes` (n, 4), `labels` (n) or `probabilities` (n, classes), and `scores` (n), "
            f"got {shape(boxes)}, {shape(classes)} and {shape(scores)}. Labels are integers."
        )
    _check_values(boxes, classes, scores)
    return at_least_float32(boxes), classes, at_least_float32(scores)


def _check_values(boxes: Tensor, classes: Tensor, scores: Tensor) -> None:
    """NaN passes, and makes the similarity NaN."""
    if boxes.is_meta:
        return
    if (boxes[:, 2:] < boxes[:, :2]).any():
        raise ValueError(
            f"`detector` must return `boxes` [x1, y1, x2, y2] with x1 <= x2 and y1 <= y2, got {boxes.tolist()}. "
            "Convert them, as torchvision.ops.box_convert does."
        )
    if ((scores < 0) | (scores > 1)).any() or (classes < 0).any():
        raise ValueError(
            "`detector` must return `scores` from 0 to 1, and no negative `probabilities` or `labels`. Of logits take "
            "the softmax or the sigmoid."
        )


def _overlap(boxes: Tensor, box: Tensor) -> Tensor:
    """`[n]`: the area that each box has in common with the given one, divided by the area of both together."""
    first, last = torch.maximum(boxes[:, :2], box[:2]), torch.minimum(boxes[:, 2:], box[2:])
    common = (last - first).clamp(min=0).prod(1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1) + (box[2:] - box[:2]).prod()
    return common / (areas - common)


def _agreement(classes: Tensor, wanted: Tensor) -> Tensor:
    """`[n]`: the cosine of the class probabilities, and 0 for a detection that gives no class any."""
    if is_exact(classes) and is_exact(wanted):
        return (classes == wanted).float()
    n_classes = max(t.shape[-1] for t in (classes, wanted) if not is_exact(t))
    p, q = _as_probabilities(classes, n_classes), _as_probabilities(wanted, n_classes)
    norms = p.norm(dim=-1) * q.norm()
    return (p * q).sum(-1) / norms.where(norms > 0, 1)


def _as_probabilities(classes: Tensor, n_classes: int) -> Tensor:
    """`[..., n_classes]`: a label is a class of probability 1."""
    fits = bool((classes < n_classes).all()) if is_exact(classes) else classes.shape[-1] == n_classes
    if not fits:
        raise ValueError(
            "The classes of the detections to explain must be those of `detector`, as many and with the same numbers; "
            f"one has {n_classes} probabilities, the other {classes.tolist()}."
        )
    return at_least_float32(one_hot(classes.long(), n_classes).float() if is_exact(classes) else classes)
