"""Which output of the model is explained for an example: that of its label, the predicted one, or the only one."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .._core.checks import check_integer, describe, shape

Label = int | tuple[int, ...] | None
TARGETS = ("data", "predicted", None)
PREDICTED = "predicted"  # the name of the predicted classes in a shard

CALL = "evaluate(model, data, ...)"
WITHOUT = "evaluate(model, data, ..., target=None)"
OF_PREDICTION = 'evaluate(model, data, ..., target="predicted")'


def check_target(target: Any) -> None:
    if target is not None and not (isinstance(target, str) and target in TARGETS):
        raise ValueError(
            f"`target` must be 'data', 'predicted' or None, got {describe(target)}. Indices of outputs, such as 0 for "
            f"all examples, are given with the data:{_lines(_with('0'))}"
        )


# ---- labels of a data set


def label_of(value: Any, example: int) -> Label:
    """The index of the output that is explained for an example, or a tuple of indices for outputs with several axes."""
    if value is None or (isinstance(value, tuple) and value and all(map(_is_index, value))):
        return value if value is None else tuple(map(operator.index, value))
    if isinstance(value, (Tensor, np.ndarray, np.generic)) and int(np.prod(value.shape)) == 1:
        value = value.item()  # also of shape (1,)
    if not _is_index(value):
        raise _no_index(value, example)
    if value < 0:
        raise ValueError(
            f"`target` must be at least 0, but `data` gives {value} for example {example}. Leave out examples without "
            "a label, or number the classes from 0:"
            + _lines(
                "data = [row for row in data if row[1] >= 0]  # -1: no label", _with("int(y > 0)") + "  # -1 and 1"
            )
        )
    return check_integer(f"`target` must be the index of an output, also for example {example} of `data`", value)


def labels_of_batch(target: Any, examples: Sequence[int]) -> Any:
    """What a `collate_fn` gives as target, in one of Captum's forms: one for all examples, or one for each."""
    if isinstance(target, Tensor) and target.dim() > 0 and target.numel() > 1:
        target = list(target.cpu())
    if not isinstance(target, list):
        return label_of(target, examples[0])
    if len(target) != len(examples):
        raise ValueError(
            f"`target` must have one label for each of the {len(examples)} examples that the `collate_fn` of `data` "
            f"was given, got {len(target)}."
        )
    return stacked_labels([label_of(t, i) for t, i in zip(target, examples)])


def stacked_labels(labels: Sequence[Label]) -> Any:
    """The labels of a batch in one of Captum's forms."""
    if labels[0] is None:
        return None
    return list(labels) if isinstance(labels[0], tuple) else torch.tensor(labels)


def _is_index(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _no_index(value: Any, example: int) -> TypeError:
    return TypeError(
        f"`target` must be the index of an output, an integer, but `data` gives {_described(value)} for example "
        f"{example}. {_mending(value)}"
    )


def _described(value: Any) -> str:
    if isinstance(value, (Tensor, np.ndarray)):
        return f"{type(value).__name__} of shape {tuple(value.shape)} and type {value.dtype}"
    return describe(value)


def _mending(value: Any) -> str:
    if isinstance(value, (bool, np.bool_)):
        return f"For a class:{_lines(_with('int(y)'))}"
    if isinstance(value, (float, np.floating)):
        return (
            "For a class give an integer; for a value that the model is to predict, explain its only output:"
            + _lines(f"{_with('int(y)')}  # y is a class", f"{WITHOUT}  # y is a value")
        )
    if isinstance(value, str):
        return f"With `classes`, the list of all names:{_lines(_with('classes.index(y)'))}"
    if not isinstance(value, (Tensor, np.ndarray, list)):
        return f"To explain the class that the model predicts, or its only output:{_lines(OF_PREDICTION, WITHOUT)}"
    flags = np.asarray(value.cpu() if isinstance(value, Tensor) else value)
    if flags.dtype.kind in "biuf" and np.count_nonzero(flags) == 1 and flags.max() == 1:
        return f"For one-hot labels:{_lines(_with('int(torch.as_tensor(y).argmax())'))}"
    return "For several labels, make a call for each one and join the results with `merge`:" + _lines(
        _with("0"), f"{CALL}  # and so on for every label"
    )


def _with(label: str) -> str:
    return f"data = [(x, {label}, *rest) for x, y, *rest in data]"


def _lines(first: str, second: str = CALL) -> str:
    return f"\n    {first}\n    {second}"


# ---- labels beside the model's outputs


def predicted(outputs: Tensor, examples: Sequence[int]) -> Tensor | None:
    """`[rows]`: the class with the largest of the outputs `[rows, classes]`; None where each row has one output."""
    if outputs.numel() == len(outputs):
        return None
    if outputs.dim() != 2:
        raise ValueError(
            "`target` 'predicted' needs a model that returns `[rows, classes]`, so that there is a prediction; got "
            f"{shape(outputs)}. Give indices with the data:{_lines(_with('(0, 0)'))}"
        )
    if undefined := outputs.isnan().any(1).nonzero().flatten().tolist():
        raise ValueError(
            "`target` 'predicted' is undefined where an output of the model is NaN, as for example "
            f"{examples[undefined[0]]} of `data`. Leave it out."
        )
    return outputs.argmax(1)


def classes_of(output: Any) -> int:
    """How many classes there are in outputs `[rows, classes]`; 0 for those of another form."""
    return output.shape[1] if isinstance(output, Tensor) and output.dim() == 2 else 0


def check_output(output: Any, rows: int) -> Tensor:
    """Checks what the model returns, so that an error of Captum or torch about it becomes one that names the cause."""
    if not isinstance(output, Tensor):
        hint = " Give `lambda *inputs: model(*inputs).logits`, in evaluation mode." if hasattr(output, "logits") else ""
        raise TypeError(f"`model` must return a tensor, got {describe(output)}.{hint}")
    if output.dim() == 0 or len(output) != rows:
        raise ValueError(f"`model` must return one row for each of its {rows} input rows, got shape {shape(output)}.")
    return output


def check_fits(target: Any, asked: str | None, row: tuple[int, ...], examples: Sequence[int]) -> None:
    """Checks that the targets of a batch are outputs of a model that returns the shape `row` for each input row."""
    if target is None:
        if int(np.prod(row)) != 1:
            raise ValueError(_missing(asked, row))
        return
    each = target.tolist() if isinstance(target, Tensor) else target if isinstance(target, list) else [target]
    for label, example in zip(each, examples):
        indices = label if isinstance(label, tuple) else (label,)
        if len(indices) != len(row):
            raise ValueError(_other_axes(len(indices), row))
        if not all(-size <= i < size for i, size in zip(indices, row)):
            raise ValueError(_out_of_range(label, example, row))


def _missing(asked: str | None, row: tuple[int, ...]) -> str:
    cause = "`data` gives none" if asked == "data" else "target=None explains a model with one output"
    return (
        f"`target` is missing: {cause}, and the model returns shape {row} for each row, more than one value. Explain "
        f"the predicted class, or one class:{_lines(OF_PREDICTION, 'data = [(x, 0) for x in data]  # the first class')}"
    )


def _other_axes(indices: int, row: tuple[int, ...]) -> str:
    if not row:
        return (
            "`target` must be left out, as the model returns one number for each row, but `data` gives an index. "
            f"Explain that number:{_lines(WITHOUT, '# or give None in place of each label')}"
        )
    return (
        f"`target` must have {len(row)} indices, as the model returns shape {row} for each row, but `data` gives "
        f"{indices}. For example:{_lines(_with('(' + ', '.join(['y'] + ['0'] * (len(row) - 1)) + ')'))}"
    )


def _out_of_range(label: Any, example: int, row: tuple[int, ...]) -> str:
    start = f"`target` is out of range: `data` gives {label} for example {example}, but the model returns "
    if row == (1,):
        return f"{start}one output for each row, whose index is 0. Explain that output, whatever the label:" + _lines(
            WITHOUT, "# or, to keep only its examples: data = [row for row in data if row[1] == 1]"
        )
    if len(row) == 1:
        return (
            f"{start}{row[0]} outputs for each row, 0 to {row[0] - 1}. If the labels count from 1, or to explain the "
            f"predicted class:{_lines(_with('y - 1'), OF_PREDICTION)}"
        )
    return f"{start}shape {row} for each row. Give indices within it, or leave out the example."
