from __future__ import annotations

import warnings
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from captum_ext._core.forward import Batches, Forward, whole
from captum_ext.metrics import deletion, deletion_curve, infidelity, insertion, sensitivity_max, sensitivity_n

from ..conftest import smooth_model
from ..oracles import Recorder

exactly = partial(assert_close, rtol=0, atol=0)


def normal(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def halve(rows):
    return (rows / 2, rows / 2) if isinstance(rows, torch.Tensor) else (tuple(r / 2 for r in rows),) * 2


# Every metric as a function of a model: the explanation of the last is the model itself.
METRICS = {
    "deletion": lambda model, x, phi, **kw: deletion(model, x, phi, n_steps=9, **kw),
    "insertion": lambda model, x, phi, **kw: insertion(model, x, phi, n_steps=9, **kw),
    "infidelity": lambda model, x, phi, **kw: infidelity(model, halve, x, phi, **kw),
    "sensitivity_n": lambda model, x, phi, **kw: sensitivity_n(
        model, x, phi, [2, 3], n_perturb_samples=9, seed=0, **kw
    ),
}
EACH = pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)


def stream(x, sizes):
    """The rows of `x` in blocks of these sizes."""
    start = 0
    for size in sizes:
        block = slice(start, start := start + size)
        yield tuple(t[block] for t in x), torch.arange(len(x[0]))[block]


# ---------------------------------------------------------------- batches


@given(sizes=st.lists(st.integers(0, 12), min_size=1, max_size=6), limit=st.integers(1, 9))
def test_any_stream_is_cut_into_full_batches_with_the_rows_in_order(sizes, limit):
    x = normal(sum(sizes), 2), normal(sum(sizes), 3, seed=1)
    batches = list(Batches(limit, 4).full(stream(x, sizes)))
    assert [len(example) for _, example in batches[:-1]] == [limit] * (len(batches) - 1)
    assert all(0 < len(example) <= limit for _, example in batches)
    assert sum(len(example) for _, example in batches) == sum(sizes)
    if batches:
        rows, example = zip(*batches)
        exactly(torch.cat(example), torch.arange(sum(sizes)))
        for got, tensor in zip(zip(*rows), x):
            exactly(torch.cat(got), tensor)


@pytest.mark.parametrize(("batch", "limit"), [(1, 64), (64, 64), (65, 65), (300, 300)])
def test_without_a_limit_an_explanation_gets_the_batch_or_64_rows(batch, limit):
    assert Batches(None, batch).limit == limit


@pytest.mark.parametrize(
    ("limit", "error"), [(0, ValueError), (-3, ValueError), (2.0, TypeError), ("4", TypeError), (True, TypeError)]
)
def test_a_limit_must_be_a_positive_integer(limit, error):
    with pytest.raises(error, match="`max_examples_per_batch` must be"):
        Batches(limit, 4)


@EACH
@pytest.mark.parametrize("limit", [1, 2, 3, 5, 64])
def test_no_metric_exceeds_the_limit_and_only_its_last_call_is_short(metric, limit, x, phi, smooth):
    model = Recorder(smooth)
    score = metric(model, x, phi, max_examples_per_batch=limit)
    assert all(size == limit for size in model.sizes[:-1])
    assert model.sizes[-1] <= limit
    assert_close(score, metric(smooth, x, phi), rtol=1e-12, atol=1e-12)


@EACH
def test_the_whole_example_is_evaluated_once(metric, x, phi, smooth):
    model = Recorder(smooth)
    metric(model, x, {"a": phi, "b": -phi}, max_examples_per_batch=4)
    rows = torch.cat([call[0] for call in model.calls])
    assert [int((rows == e).all(1).sum()) for e in x] == [1, 1, 1]


# ---------------------------------------------------------------- out of memory


class Small:
    """A model that runs out of memory above some number of rows."""

    def __init__(self, model, capacity):
        self.model, self.capacity, self.failures, self.sizes = model, capacity, 0, []

    def __call__(self, rows, *args):
        if len(rows) > self.capacity:
            self.failures += 1
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
        self.sizes.append(len(rows))
        return self.model(rows, *args)


@EACH
def test_where_memory_runs_out_the_batch_is_halved_with_one_warning_and_the_same_result(metric, x, phi, smooth):
    model = Small(smooth, 10)
    with pytest.warns(
        UserWarning, match="Out of memory: going on with batches of 8 rows.*`max_examples_per_batch`"
    ) as w:
        score = metric(model, x, phi, max_examples_per_batch=16)
    assert len(w) == 1
    assert model.failures == 1
    assert set(model.sizes[:-1]) == {8}
    assert_close(score, metric(smooth, x, phi), rtol=1e-12, atol=1e-12)


@EACH
@pytest.mark.parametrize("capacity", [1, 2, 3])
def test_it_is_halved_until_it_fits_and_each_size_is_tried_in_vain_few_times(metric, capacity, x, phi, smooth):
    model = Small(smooth, capacity)
    with pytest.warns(UserWarning, match="Out of memory") as w:
        score = metric(model, x, phi, max_examples_per_batch=16)
    limits = [int(str(warning.message).split("batches of ")[1].split()[0]) for warning in w]
    assert limits == [size for size in (8, 4, 2, 1) if 2 * size > capacity]
    assert max(model.sizes) <= capacity
    assert_close(score, metric(smooth, x, phi), rtol=1e-12, atol=1e-12)


def test_an_explanation_that_runs_out_of_memory_is_halved_too(x):
    explain = Small(torch.sin, 4)
    with pytest.warns(UserWarning, match="batches of 4 rows"):
        score = sensitivity_max(explain, x, max_examples_per_batch=8, seed=0)
    exactly(score, sensitivity_max(torch.sin, x, seed=0))


@pytest.mark.filterwarnings("ignore:Out of memory")
def test_a_single_row_that_does_not_fit_is_an_error(x, phi, smooth):
    with pytest.raises(torch.cuda.OutOfMemoryError):
        deletion(Small(smooth, 0), x, phi)


def test_other_errors_of_the_model_pass_through_at_once(x, phi):
    calls = []

    def broken(rows):
        calls.append(len(rows))
        raise RuntimeError("out of ideas")

    with pytest.raises(RuntimeError, match="out of ideas"):
        deletion(broken, x, phi)
    assert len(calls) == 1


# ---------------------------------------------------------------- rows: layout and type


@EACH
@pytest.mark.parametrize("baselines", [None, "tensor", "row"])
def test_rows_keep_channels_last(metric, baselines):
    channels_last = {"memory_format": torch.channels_last}
    x = normal(2, 3, 4, 5).contiguous(**channels_last)
    phi = normal(2, 3, 4, 5, seed=1)
    seen = []

    def model(rows):
        seen.append(rows.is_contiguous(**channels_last))
        return rows.flatten(1).sum(1)

    keywords = {}
    if metric is not METRICS["infidelity"] and baselines:
        keywords["baselines"] = normal(2 if baselines == "tensor" else 1, 3, 4, 5, seed=2).contiguous(**channels_last)
    metric(model, x, phi, max_examples_per_batch=7, **keywords)
    assert len(seen) > 1
    assert all(seen)


def test_the_layout_changes_no_value():
    x, phi = normal(2, 3, 4, 5), normal(2, 3, 4, 5, seed=1)
    for metric in METRICS.values():
        in_other_layout = (t.contiguous(memory_format=torch.channels_last) for t in (x, phi))
        exactly(metric(smooth_model, *in_other_layout), metric(smooth_model, x, phi))


@EACH
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_type_runs_and_comes_back(metric, dtype, x, phi):
    seen = set()

    def model(rows):
        seen.add(rows.dtype)
        return torch.tanh(rows / 4).sum(1)

    score = metric(model, x.to(dtype), phi.to(dtype))
    assert seen == {dtype}
    assert score.dtype == torch.promote_types(dtype, torch.float32)
    assert score.isfinite().all()
    assert_close(score.double(), metric(model, x, phi), rtol=0.05, atol=0.05)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_explanations_of_every_type_run_and_come_back(dtype, x):
    score = sensitivity_max(torch.sin, x.to(dtype), perturb_radius=0.5, seed=0)
    assert score.dtype == torch.promote_types(dtype, torch.float32)
    assert (score > 0).all()


def test_integer_inputs_are_left_integers():
    ids = torch.tensor([[3, 1, 4], [1, 5, 9]])
    model = Recorder(lambda rows: torch.sin(rows.double()).sum(1))
    curve = deletion_curve(model, ids, normal(2, 3), baselines=7, n_steps=4)
    assert {call[0].dtype for call in model.calls} == {torch.int64}
    exactly(curve[:, -1], torch.sin(torch.full((2, 3), 7.0).double()).sum(1))


def test_no_gradients_are_kept(x, phi):
    seen = []

    def model(rows):
        seen.append((torch.is_grad_enabled(), rows.requires_grad))
        return rows.sum(1)

    for metric in METRICS.values():
        assert not metric(model, x.requires_grad_(), phi).requires_grad
    assert set(seen) == {(False, False)}


# ---------------------------------------------------------------- additional_forward_args


@EACH
@pytest.mark.parametrize("limit", [None, 2, 5])
def test_arguments_with_a_row_per_example_follow_the_rows_and_others_are_passed_as_they_are(metric, limit, x, phi):
    example, own, for_two = torch.arange(3), normal(3, 2, seed=1), normal(2, 3, seed=2)
    number, settings = torch.tensor(2.5), {"a": for_two}
    seen = []

    def model(rows, e, o, t, n, nothing, s, text):
        assert torch.equal(t, for_two)
        assert torch.equal(n, number)
        assert torch.equal(s["a"], for_two)
        assert not {id(t), id(n), id(s["a"])} & {id(for_two), id(number), id(own)}  # copies, as a model may write
        assert (nothing, text) == (None, "three")
        assert len(e) == len(o) == len(rows)
        exactly(o, own[e])
        seen.append((rows, e))
        return smooth_model(rows, o) * (1 + e)

    args = (example, own, for_two, number, None, settings, "three")
    score = metric(model, x, phi, additional_forward_args=args, max_examples_per_batch=limit)
    assert sum(len(e) for _, e in seen) == sum(len(rows) for rows, _ in seen) > 3
    if metric is not METRICS["sensitivity_n"]:  # which draws for an example by its place
        for b in range(3):
            alone = metric(
                lambda rows, b=b: smooth_model(rows, own[b].expand(len(rows), 2)) * (1 + b),
                x[b : b + 1],
                phi[b : b + 1],
            )
            assert_close(score[b], alone[0], rtol=1e-12, atol=1e-12)


def test_an_argument_need_not_be_in_a_tuple(x, phi):
    exactly(
        deletion(lambda rows, s: s["scale"] * rows.sum(1), x, phi, additional_forward_args={"scale": 2.0}),
        deletion(lambda rows: 2.0 * rows.sum(1), x, phi),
    )


def test_several_inputs_come_before_the_other_arguments():
    a, b = normal(2, 3), normal(2, 2, 2, seed=1)
    model = Recorder(lambda a, b, scale: smooth_model(a, b) * scale)
    deletion(model, (a, b), (a, b), additional_forward_args=3.0)
    assert all((x.shape[1:], y.shape[1:], s) == ((3,), (2, 2), 3.0) for x, y, s in model.calls)


# ---------------------------------------------------------------- the score of a row


def scores(output, target=None, **keywords):
    x = (torch.arange(3.0).double()[:, None],)
    return Forward(output, x, target, **keywords)([whole(x)], 3)


@pytest.mark.parametrize(
    ("target", "wanted"),
    [
        (1, [1, 11, 21]),
        (-1, [2, 12, 22]),
        ((0,), [0, 10, 20]),
        (torch.tensor(2), [2, 12, 22]),
        (torch.tensor([2]), [2, 12, 22]),
        (torch.tensor([2, 0, 1]), [2, 10, 21]),
        ([2, 0, 1], [2, 10, 21]),
        ([(2,), (0,), (1,)], [2, 10, 21]),
    ],
)
@pytest.mark.parametrize("limit", [None, 1, 2])
def test_every_form_of_target_picks_its_output(target, wanted, limit):
    output = scores(lambda rows: 10 * rows + torch.arange(3), target, max_examples_per_batch=limit)
    assert output.tolist() == wanted


def test_a_tuple_picks_from_several_axes():
    def output(rows):
        return (100 * rows)[..., None] + torch.arange(6.0).reshape(1, 2, 3)

    assert scores(output, (1, 2)).tolist() == [5, 105, 205]
    assert scores(output, [(1, 2), (0, 0), (1, 0)]).tolist() == [5, 100, 203]


@pytest.mark.parametrize("shape", [(-1,), (-1, 1), (-1, 1, 1)])
def test_one_value_per_row_needs_no_target(shape):
    assert scores(lambda rows: rows.reshape(shape)).tolist() == [0, 1, 2]


def test_the_activation_sees_the_whole_output():
    output = scores(lambda rows: torch.cat([rows, rows], 1), 0, activation=partial(torch.softmax, dim=1))
    exactly(output, torch.full((3,), 0.5).double())


@pytest.mark.parametrize(
    ("output", "target", "error", "words"),
    [
        (lambda rows: rows.expand(-1, 4), None, ValueError, r"`target` is missing.*\(3, 4\)"),
        (lambda rows: rows.expand(-1, 4), 4, ValueError, "`target` is out of range"),
        (lambda rows: rows.expand(-1, 4), (0, 0), ValueError, "`target` has 2 indices"),
        (lambda rows: rows[:, 0], 0, ValueError, "for one value per row leave `target` out"),
        (lambda rows: rows.expand(-1, 4), [0, 1], ValueError, "one entry for each of the 3 examples, got 2"),
        (lambda rows: rows.expand(-1, 4), torch.tensor([0, 1]), ValueError, r"one element or shape \(3,\)"),
        (lambda rows: rows.expand(-1, 4), torch.tensor(0.5), TypeError, "`target` holds class indices"),
        (lambda rows: rows.sum(), None, ValueError, "one row for each of its 3 input rows"),
        (lambda rows: [rows], None, TypeError, "`forward_func` must return a tensor"),
        ("model", None, TypeError, "`forward_func` must be a model or a function"),
    ],
)
def test_a_wrong_output_or_target_is_named(output, target, error, words):
    with pytest.raises(error, match=words):
        scores(output, target)


def test_an_activation_that_is_none_is_named():
    with pytest.raises(TypeError, match="`activation` must be a function"):
        scores(lambda rows: rows, activation="softmax")


# ---------------------------------------------------------------- training mode


@pytest.mark.parametrize("layer", [nn.Dropout(), nn.BatchNorm1d(6)])
def test_a_model_in_training_mode_is_warned_of_and_left_so(layer, x, phi):
    model = nn.Sequential(layer, nn.Linear(6, 1)).double()
    with pytest.warns(UserWarning, match="training mode"):
        deletion(model, x, phi)
    assert all(m.training for m in model.modules())
    model.eval()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        deletion(model, x, phi)


def test_rows_that_the_model_wrote_into_are_not_tried_again_where_memory_runs_out(x, phi):
    def model(rows):
        rows += 1
        if len(rows) > 10:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
        return rows.sum(1)

    with pytest.raises(torch.cuda.OutOfMemoryError):
        deletion(model, x, phi, max_examples_per_batch=16)
    exactly(deletion(model, x, phi, max_examples_per_batch=8), deletion(lambda rows: (rows + 1).sum(1), x, phi))
