"""A data set, or a loader of one, as batches of numbered examples."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.testing import assert_close
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from captum_ext import metrics, random_attribution
from captum_ext.evaluation.examples import Batch, Examples

from .runs import FEW_METRICS, TARGETS, N, Net, assert_same_scores, examples, inputs, run

CPU = torch.device("cpu")


def batch(data, indices=range(3)):
    return Examples(data).batch(indices, CPU)


# ---- what a data set may give


def test_tensors_are_stacked_and_integer_targets_become_a_tensor():
    b = batch(examples())
    assert_close(b.inputs, inputs()[:3], rtol=0, atol=0)
    assert b.target.tolist() == [0, 1, 2]
    assert b.indices == [0, 1, 2]
    assert b.additional_forward_args is None


FLIPPED = {
    "negative strides": lambda rows: rows[:, ::-1].copy()[:, ::-1],
    "another byte order": lambda rows: rows.astype(">f8"),
    "read only": lambda rows: np.frombuffer(rows.tobytes()).reshape(rows.shape),
}


@pytest.mark.parametrize("kind", FLIPPED)
def test_arrays_may_have_any_strides_and_byte_order(kind):
    rows = FLIPPED[kind](inputs().numpy())
    assert_close(batch([(x, i % 3) for i, x in enumerate(rows)]).inputs, inputs()[:3], rtol=0, atol=0)


@pytest.mark.parametrize("collate_fn", [tuple, list])
def test_a_collate_fn_may_give_arrays(collate_fn):
    loader = DataLoader(examples(), collate_fn=lambda rows: collate_fn(map(np.stack, zip(*rows))))
    assert_same_scores(run(data=loader, metrics=FEW_METRICS), run(metrics=FEW_METRICS), rtol=0)


MASKED = np.ma.masked_array(np.ones(4), [1, 0, 0, 0])


@pytest.mark.parametrize("row", [(MASKED, 0), (MASKED[1:].data, 0, MASKED), (MASKED.data, 0, None, {"m": MASKED})])
def test_what_a_masked_array_hides_is_not_shown(row):
    with pytest.raises((TypeError, ValueError), match=r"`data` .*(MaskedArray|masked array hides)"):
        batch([row] * 3)


@pytest.mark.parametrize("target", ["data", "predicted"])
def test_inputs_of_another_type_than_the_models_are_named(target):
    data = [(x, y) for (x, y) in zip(inputs().float().numpy(), TARGETS)]
    wanted = r"`data` gives inputs of type torch.float32, but the model has .* torch.float64.*\n    data = \[\("
    with pytest.raises(TypeError, match=wanted):
        run(data=data, target=target)


@pytest.mark.parametrize("dtype", [torch.int16, torch.uint8, torch.float32])
def test_numbers_of_tokens_that_an_embedding_does_not_take_become_int64(dtype):
    model = torch.nn.Sequential(torch.nn.EmbeddingBag(9, 2))
    data = [(torch.zeros(4, dtype=dtype), 0)] * 3
    wanted = rf"`data` gives inputs of type {dtype}, but the model looks up .*\.to\(torch.int64\)"
    with pytest.raises(TypeError, match=f"(?s){wanted}"):
        run(model, data=data, methods={"ids": torch.zeros(3, 4)}, metrics={"deletion": metrics.deletion})


def test_tuple_targets_become_a_list():
    assert batch([(x, (i, 0)) for i, x in enumerate(inputs())]).target == [(0, 0), (1, 0), (2, 0)]


@pytest.mark.parametrize("kind", [tuple, list])
def test_several_inputs_become_a_tuple(kind):
    b = batch([(kind((x, x[:2])), 0) for x in inputs()])
    assert isinstance(b.inputs, tuple)
    assert [t.shape for t in b.inputs] == [(3, 4), (3, 2)]


def test_further_arguments_are_stacked_one_by_one():
    b = batch([(x, 0, (x[:1], 2.0)) for x in inputs()])
    assert [t.shape for t in b.additional_forward_args] == [(3, 1), (3,)]


def test_numpy_arrays_are_taken_as_tensors():
    assert_close(batch([(x.numpy(), np.int64(1)) for x in inputs()]).inputs, inputs()[:3])


def test_nothing_of_a_batch_requires_gradients():
    x = inputs().requires_grad_()
    b = batch([((row, row), 0, row) for row in x])
    assert not any(t.requires_grad for t in (*b.inputs, b.additional_forward_args))


class Counting(Dataset):
    def __init__(self):
        self.asked = []

    def __len__(self):
        return N

    def __getitem__(self, index):
        self.asked.append(index)
        return examples()[index]


def test_every_example_is_loaded_once():
    data = Counting()
    run(data=data)
    assert data.asked == list(range(N))


# ---- loaders

LOADERS = {
    "plain": lambda: DataLoader(examples()),
    "of other batches": lambda: DataLoader(examples(), batch_size=5, drop_last=True),
    "shuffled": lambda: DataLoader(examples(), shuffle=True),
    "of a tensor data set": lambda: DataLoader(TensorDataset(inputs(), TARGETS), batch_size=2),
    "of a subset": lambda: DataLoader(Subset(examples(), range(N))),
    "with its own collate function": lambda: DataLoader(examples(), collate_fn=stacked),
}


def stacked(rows):
    return [torch.stack([x for x, _ in rows]), torch.tensor([t for _, t in rows])]


@pytest.mark.parametrize("loader", LOADERS)
def test_a_loader_gives_the_scores_of_its_data_set_in_the_data_sets_order(loader):
    assert_same_scores(run(data=LOADERS[loader]()), run(), rtol=0)


def test_a_loaders_collate_function_makes_the_batches():
    doubled = DataLoader(examples(), collate_fn=lambda rows: (2 * stacked(rows)[0], stacked(rows)[1]))
    assert_same_scores(run(data=doubled), run(data=[(2 * x, t) for x, t in examples()]))


def test_a_collate_function_may_give_inputs_as_a_list_and_no_target():
    b = batch(DataLoader(inputs(), collate_fn=lambda rows: [[torch.stack(rows), torch.stack(rows)]]))
    assert isinstance(b.inputs, tuple)
    assert b.target is None
    assert batch(DataLoader(inputs(), collate_fn=torch.stack)).inputs.shape == (3, 4)


@pytest.mark.parametrize("sampler", [SubsetRandomSampler(range(3)), WeightedRandomSampler([1.0] * N, N)])
def test_a_sampler_of_ones_own_is_refused(sampler):
    with pytest.raises(ValueError, match=r"sampler of its own; give a torch\.utils\.data\.Subset"):
        Examples(DataLoader(examples(), sampler=sampler))


def test_a_batch_sampler_of_ones_own_is_refused_too():
    first = DataLoader(examples(), batch_sampler=BatchSampler(SequentialSampler(range(3)), 2, False))
    with pytest.raises(ValueError, match="sampler of its own"):
        Examples(first)


class Stream(IterableDataset):
    def __iter__(self):
        return iter(examples())


@pytest.mark.parametrize(
    "data", [iter(examples()), Stream(), 5, None], ids=["iterator", "iterable data set", "number", "None"]
)
def test_what_has_no_length_is_refused(data):
    with pytest.raises(
        TypeError, match=r"`data` must be a torch data set with a length, .*an iterable has to be made a list"
    ):
        Examples(data)


def test_a_loader_of_an_iterable_is_refused_as_such():
    with pytest.raises(TypeError, match="must be a torch data set with a length"):
        Examples(DataLoader(Stream()))


def test_an_empty_data_set_is_refused():
    with pytest.raises(ValueError, match="`data` has no examples"):
        Examples([])


# ---- what goes wrong while loading


class Failing(Dataset):
    def __init__(self, index=4):
        self.index = index

    def __len__(self):
        return N

    def __getitem__(self, index):
        if index == self.index:
            raise OSError("unreadable")
        return examples()[index]


@pytest.mark.parametrize("on_error", ["raise", "record"])
def test_an_example_that_cannot_be_loaded_is_named_by_its_index(on_error):
    with pytest.raises(ValueError, match=r"Example 4 of `data` could not be loaded: OSError\('unreadable'\)") as raised:
        run(data=Failing(), on_error=on_error)
    assert isinstance(raised.value.__cause__, OSError)


def test_what_was_stored_before_a_failing_example_is_kept(tmp_path):
    path, model = tmp_path / "run.h5", Net()
    with pytest.raises(ValueError, match="Example 7"):
        run(model, data=Failing(7), path=path)
    model.calls.clear()
    result = run(model, path=path, verify="off")
    assert 0 < model.rows < run_rows()
    assert_same_scores(result, run(), rtol=0)


def run_rows():
    model = Net()
    run(model)
    return model.rows


def test_examples_that_cannot_be_stacked_are_named():
    ragged = [(torch.ones(4 + (i == 4), dtype=torch.float64), 0) for i in range(N)]
    with pytest.raises(ValueError, match="3 to 5"):
        run(data=ragged, metrics=FEW_METRICS)


def test_examples_of_too_many_parts_are_refused():
    with pytest.raises(
        ValueError, match=r"must give \(inputs, target\[, additional_forward_args\[, extra\]\]\), got 5 parts"
    ):
        run(data=[(x, 0, None, {}, x) for x in inputs()])


# ---- parts of a batch


def test_a_batch_splits_whatever_has_a_row_per_example():
    whole = Batch([4, 5, 6], (inputs(3), inputs(3)), [(0,), (1,), (2,)], (torch.arange(3), 2.5, torch.tensor(1)))
    first, last = whole.split(2)
    assert (first.indices, last.indices) == ([4, 5], [6])
    assert [len(t) for t in first.inputs] == [2, 2]
    assert (first.target, last.target) == ([(0,), (1,)], [(2,)])
    assert last.additional_forward_args == (torch.tensor([2]), 2.5, torch.tensor(1))


@pytest.mark.parametrize("target", [None, 1, (1, 2), torch.tensor(1), torch.tensor([1])])
def test_what_all_examples_share_is_not_split(target):
    first, last = Batch([0, 1], inputs(2), target).split(1)
    assert first.target == target
    assert last.target == target


def test_a_batch_within_the_size_stays_whole():
    whole = Batch([0, 1], inputs(2))
    assert whole.split(2) == [whole]


# ---- data sets of other forms

ROWS = [{"input_ids": torch.arange(4), "attention_mask": torch.ones(4), "labels": 0} for _ in range(N)]
PICTURES = [{"image": x, "label": 1} for x in inputs()]


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (
            ROWS,
            r'example 0 is a dict with .*\n    data = \[\(row\["input_ids"\], row\["labels"\], row\["attention_mask"\]',
        ),
        (
            DataLoader(ROWS),
            r"example 0 is a dict with 'input_ids', 'attention_mask', 'labels'.* for row in data\.dataset\]",
        ),
        (PICTURES, r'\n    data = \[\(row\["image"\], row\["label"\]\) for row in data\]\n    evaluate'),
        (
            DataLoader(inputs(), collate_fn=lambda rows: {"x": torch.stack(rows)}),
            r"its `collate_fn` .* a dict with 'x'.*\n .*\n    evaluate\(model, DataLoader",
        ),
        ([({"input_ids": torch.arange(4)}, 0)], "inputs as a tensor .* example 0 are a dict with 'input_ids'"),
        ([([1, 2, 3], 0)], "inputs as a tensor .* example 0 are a list of int64"),
        ([("a text", 0)], "inputs as a tensor .* example 0 are str. .*tokenizer"),
        ([(None, 0)], "inputs as a tensor .* example 0 are None"),
        ([(np.array(["a", "b"]), 0)], "inputs as a tensor"),
        ([None, (inputs()[0], 0)], "example 0 is of type NoneType"),
        ([3.0, 4.0], "example 0 is of type float"),
        ("abc", "be a torch data set with a length"),
        ({"x": inputs(), "y": TARGETS}, r"got a dict with 'x', 'y'.*\n    data = list\(zip"),
        ((inputs(), TARGETS), r"got a tuple of whole arrays.*\n    data = list\(zip\(\*data\)\)"),
        ([inputs().numpy(), TARGETS.numpy()], "got a list of whole arrays"),
        ((inputs(), TARGETS.tolist()), "got a tuple of whole arrays"),
        ((inputs(), inputs()), "got a tuple of whole arrays"),
    ],
)
def test_what_is_no_data_set_of_tuples_is_refused_with_the_lines_that_mend_it(data, match):
    model = Net()
    with pytest.raises(TypeError, match=f"(?s)^`data` must .*{match}"):
        run(model, data)
    assert model.calls == []


def test_rows_of_an_array_are_inputs():
    """Not a part for each of their numbers."""
    data = inputs().numpy()[:, :2]
    assert batch(data).inputs.shape == (3, 2)
    assert batch(list(inputs()[:2]), range(2)).inputs.shape == (2, 4)


@pytest.mark.parametrize("args", ["text", ["a", "b"], ("a", 1.0), object(), np.array(["a"])])
def test_further_arguments_that_are_no_tensors_are_refused_with_a_hint(args):
    with pytest.raises(
        TypeError, match=r"`data` must give `additional_forward_args.*` as tensors .*functools\.partial"
    ):
        run(data=[(x, 0, args) for x in inputs()])


# ---- examples that differ


def other(index, row):
    """The data set with further arguments, but for one example."""
    return [row if i == index else (x, 0, torch.tensor(100.0)) for i, x in enumerate(inputs())]


X = inputs()[0]
UNEVEN = [
    ((X, 0, None), r"its `additional_forward_args` is None, not float32"),
    ((X, 0), "it has 2 parts, not 3"),
    ((X,), "it has 1 parts, not 3"),
    ((X, None, torch.tensor(100.0)), "its `target` is None, not int64"),
    ((X, (0,), torch.tensor(100.0)), "its `target` is tuple, not int64"),
    ((X, 0, torch.tensor(100)), "its `additional_forward_args` is int64, not float32"),
    ((X, 0, (torch.tensor(1.0),)), "its `additional_forward_args` is tuple, not float32"),
    ((X.float(), 0, torch.tensor(100.0)), "its `inputs` is float32, not float64"),
    (((X, X), 0, torch.tensor(100.0)), "its `inputs` is tuple, not float64"),
]


@pytest.mark.parametrize("index", [1, 4])
@pytest.mark.parametrize(("row", "why"), UNEVEN)
@pytest.mark.parametrize("batch_size", [1, 3])
def test_an_example_with_other_parts_is_refused_whatever_the_batch(index, row, why, batch_size):
    with pytest.raises(ValueError, match=f"of `data` do not fit .* example {index} differs from example 0: {why}"):
        run(lambda x, a=None: x[:, :3], other(index, row), {"random": random_attribution}, batch_size=batch_size)


def test_the_first_example_counts_like_the_others():
    with pytest.raises(ValueError, match="example 1 differs from example 0: its `additional_forward_args` is float32"):
        run(data=other(0, (X, 0, None)), batch_size=1)


@pytest.mark.parametrize(("first", "second"), [((2, 3), (2, 4)), ((2, 3, 4), (2, 3)), ((None, 1), (1, None))])
def test_tuples_of_further_arguments_have_one_length_and_form(first, second):
    rows = [(x, 0, first if i < 5 else second) for i, x in enumerate(inputs())]
    if None not in first and len(first) == len(second):
        assert batch(rows, [4, 5]).additional_forward_args[1].tolist() == [3, 4]
        return
    with pytest.raises(ValueError, match="example 5 differs from example 0: its `additional_forward_args"):
        batch(rows, [5])


def test_maps_of_another_size_are_refused_by_the_example_and_the_argument():
    rows = [(x, 0, None, {"mask": torch.ones(4 + (i == 4))}) for i, x in enumerate(inputs())]
    match = (
        r"Examples 3 to 5 of `data` .*: example 4 differs from example 3: its `extra\['mask'\]` has shape \(5,\), not"
    )
    with pytest.raises(ValueError, match=match):
        run(data=rows)


@pytest.mark.parametrize(
    "collate_fn",
    [
        lambda rows: (torch.stack([x for x, _ in rows]), None, torch.ones(len(rows)) if len(rows) > 1 else None),
        lambda rows: (torch.stack([x for x, _ in rows]), None, ["text"] * len(rows)),
        lambda rows: (torch.stack([x for x, _ in rows][:2]), None),
        lambda rows: (torch.stack([x for x, _ in rows]), None, torch.ones(len(rows)))[: 2 + (len(rows) == 1)],
    ],
    ids=["None for one", "a list", "rows are left out", "fewer parts"],
)
def test_a_collate_function_must_give_the_same_parts_and_all_rows(collate_fn):
    with pytest.raises(ValueError, match="The `collate_fn` of `data` must give "):
        run(data=DataLoader(examples(), collate_fn=collate_fn), target="predicted")


# ---- loaders that do not give every example once


@pytest.mark.parametrize(
    "options",
    [
        {"sampler": RandomSampler(range(N), num_samples=3)},
        {"sampler": RandomSampler(range(N), num_samples=3 * N)},
        {"sampler": RandomSampler(range(N), replacement=True)},
        {"sampler": SequentialSampler(range(3))},
        {"sampler": RandomSampler(range(N + 1))},
        {"sampler": range(N)},
        {"batch_size": None, "collate_fn": lambda row: row},
    ],
)
def test_a_loader_that_gives_other_examples_than_its_data_set_is_refused(options):
    with pytest.raises(ValueError, match="`data` is a loader with "):
        Examples(DataLoader(examples(), **options))


def test_a_loader_without_batches_gives_the_scores_of_its_data_set():
    for loader in (DataLoader(examples(), batch_size=None), DataLoader(examples(), None, shuffle=True)):
        assert_same_scores(run(data=loader), run(), rtol=0)
