"""Every form of Captum's `target` means the same, up to its last valid value; metrics are only tested with some."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from captum_ext._core.target import as_target, is_predicted, predicted_class, select_target
from captum_ext.metrics import deletion

B, SHAPE = 3, (4, 2)  # of an output with two axes
CLASSES = SHAPE[0]
output = torch.arange(float(B * CLASSES)).reshape(B, CLASSES)


def forms(c: int) -> dict:
    """Of one class for all examples."""
    return {
        "int": c,
        "tuple": (c,),
        "numpy integer": np.int64(c),
        "small numpy integer": np.int8(c),
        "0-d tensor": torch.tensor(c),
        "1-element tensor": torch.tensor([c]),
        "1-element matrix": torch.tensor([[c]]),
        "tensor": torch.full((B,), c),
        "int32 tensor": torch.full((B,), c, dtype=torch.int32),
        "array": np.full(B, c),
        "list": [c] * B,
        "list of numpy integers": [np.int64(c)] * B,
        "list of tuples": [(c,)] * B,
        "list of 0-d tensors": [torch.tensor(c)] * B,
    }


@pytest.mark.parametrize("c", range(-CLASSES, CLASSES))
def test_every_form_of_a_class_chooses_its_output(c):
    for name, form in forms(c).items():
        indices = as_target(form, B)
        assert indices.shape == (B, 1), name
        assert indices.dtype == torch.long, name
        assert torch.equal(select_target(output, indices, B), output[:, c]), name


def test_forms_with_a_class_per_example_choose_each_its_own():
    classes = [3, -4, 1]
    wanted = torch.stack([output[b, c] for b, c in enumerate(classes)])
    given = (classes, torch.tensor(classes), np.array(classes), [(c,) for c in classes], [np.int8(c) for c in classes])
    for form in given:
        assert torch.equal(select_target(output, as_target(form, B), B), wanted), form


def test_tuples_choose_from_an_output_with_axes_to_the_last_place_from_either_end():
    values = torch.arange(float(B * CLASSES * 2)).reshape(B, *SHAPE)
    for place in product(range(-SHAPE[0], SHAPE[0]), range(-SHAPE[1], SHAPE[1])):
        for form in (place, [place] * B, tuple(np.int64(i) for i in place)):
            assert torch.equal(select_target(values, as_target(form, B), B), values[:, place[0], place[1]]), form


@pytest.mark.parametrize("c", [-CLASSES - 1, CLASSES])
def test_one_beyond_is_refused_in_every_form(c):
    for form in forms(c).values():
        with pytest.raises(ValueError, match="`target` is out of range"):
            select_target(output, as_target(form, B), B)


def test_no_target_takes_the_one_value_of_a_row():
    assert as_target(None, B) is None
    for shape in ((B,), (B, 1), (B, 1, 1)):
        assert torch.equal(select_target(torch.arange(3.0).reshape(shape), None, B), torch.arange(3.0))


def test_every_form_goes_through_a_metric_with_its_rows_under_a_limit():
    """The door and the rows of a metric, for all forms; other metrics have one form each in the contract."""
    x = torch.arange(1.0, 1 + B * CLASSES, dtype=torch.float64).reshape(B, CLASSES)
    for c, limit in product((-CLASSES, 1, CLASSES - 1), (None, 2)):
        wanted = deletion(lambda rows: rows**2, x, x, target=c % CLASSES)
        for form in forms(c).values():
            assert_close(deletion(lambda rows: rows**2, x, x, target=form, max_examples_per_batch=limit), wanted)


def test_what_is_predicted_is_nothing_where_an_output_is_nan():
    outputs = torch.tensor([[1.0, 3.0], [2.0, torch.nan], [5.0, 5.0]])
    assert predicted_class(outputs).tolist() == [1, -1, 0]
    assert_close(is_predicted(outputs), torch.tensor([[0.0, 1], [torch.nan] * 2, [1, 0]]), equal_nan=True)
    assert is_predicted(outputs[[0, 2]].long()).dtype == torch.long
