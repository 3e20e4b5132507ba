"""Metrics need memory for few copies of the batch, however many methods, draws and steps there are."""

from __future__ import annotations

import warnings
import weakref
from collections import Counter
from functools import partial

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from captum_ext import baselines, metrics

COPIES = 4
B, SHAPE = 4, (3, 160, 160)


class Peak(TorchDispatchMode):
    """Counts the bytes of all tensors that are made within the block and are alive at the same time."""

    def __init__(self):
        super().__init__()
        self.tensors, self.bytes, self.now, self.most = Counter(), {}, 0, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self._made(tensor)
        return result

    def given(self, tensors):
        for tensor in tensors:
            self.bytes[tensor.untyped_storage().data_ptr()] = 0
            self.tensors[tensor.untyped_storage().data_ptr()] = 1

    def _made(self, tensor):
        storage = tensor.untyped_storage()
        key = storage.data_ptr()
        if not self.tensors[key]:
            self.bytes[key] = storage.nbytes()
            self.now += storage.nbytes()
            self.most = max(self.most, self.now)
        self.tensors[key] += 1
        weakref.finalize(tensor, self._gone, key)

    def _gone(self, key):
        self.tensors[key] -= 1
        if not self.tensors[key]:
            self.now -= self.bytes.pop(key)


def tiles(x):
    return x.flatten(1)[:, ::999].sum(1)


def gaussian(x):
    noise = 0.1 * torch.randn_like(x)
    return noise, x - noise


def pixels(x):
    return torch.arange(x[0, 0].numel()).reshape(1, 1, *x.shape[2:])


METRICS = {
    "deletion": partial(metrics.deletion, n_steps=5),
    "deletion, least first": partial(metrics.deletion, n_steps=5, mode="lerf"),
    "deletion of pixels": partial(metrics.deletion, n_steps=5, feature_mask=pixels),
    "srg": partial(metrics.srg, n_steps=4),
    "sensitivity_n": partial(metrics.sensitivity_n, n=[0.1, 0.5, 0.9], n_perturb_samples=3, seed=0),
    "linear_datamodeling_score": partial(metrics.linear_datamodeling_score, n_perturb_samples=6, seed=0),
    "infidelity": partial(metrics.infidelity, perturb_func=gaussian, n_perturb_samples=3),
}


def copies(metric, methods, batch=B, **further):
    """The peak of the metric's memory, in copies of the batch."""
    x = torch.randn(batch, *SHAPE)
    phi = {f"method {i}": torch.randn(batch, *SHAPE) for i in range(methods)}
    of_model = further or {"forward_func": tiles, "max_examples_per_batch": batch}
    with Peak() as peak:
        peak.given((x, *phi.values(), *(t for t in further.values() if isinstance(t, torch.Tensor))))
        metric(inputs=x, attributions=phi, **of_model)
    return peak.most / (x.numel() * x.element_size())


@pytest.mark.parametrize("name", METRICS)
def test_memory_is_few_copies_of_the_batch_and_does_not_grow_with_the_methods(name):
    few, many = copies(METRICS[name], 1), copies(METRICS[name], 7)
    assert many <= COPIES + 0.01  # and numbers
    assert many <= few + 0.5


def test_infidelity_holds_nothing_beside_what_a_perturb_func_makes_and_returns():
    assert copies(partial(METRICS["infidelity"], n_perturb_samples=1), 1) <= 3.01  # copies, noise, perturbed copies


MANY = 6  # examples, of which few are looked at together
TRUTH = {"truth_mask": torch.rand(MANY, *SHAPE, generator=torch.Generator().manual_seed(0)) > 0.7}
REFERENCE = {"reference_attributions": torch.randn(MANY, *SHAPE, generator=torch.Generator().manual_seed(0))}
OF_MAPS = {
    "entropy": (metrics.entropy, {"feature_mask": None}),
    "sparseness": (metrics.sparseness, {"feature_mask": None}),
    "share_shown": (metrics.share_shown, {"feature_mask": None}),
    "auc_roc": (metrics.auc_roc, TRUTH),
    "aup": (metrics.aup, TRUTH),
    "average_precision": (metrics.average_precision, TRUTH),
    "pointing_game": (metrics.pointing_game, TRUTH),
    "relevance_mass_accuracy": (metrics.relevance_mass_accuracy, TRUTH),
    "relevance_rank_accuracy": (metrics.relevance_rank_accuracy, TRUTH),
    "top_k_intersection": (partial(metrics.top_k_intersection, k=0.1), TRUTH),
    "feature_agreement": (partial(metrics.feature_agreement, k=0.1), REFERENCE),
    "signed_rank_agreement": (partial(metrics.signed_rank_agreement, k=0.1), REFERENCE),
    "rank_correlation": (metrics.rank_correlation, REFERENCE),
    "pairwise_rank_agreement": (metrics.pairwise_rank_agreement, REFERENCE),
    "completeness": (metrics.completeness, {}),
    "soft_sufficiency": (partial(metrics.soft_sufficiency, n_perturb_samples=1), {}),
    "stochastic_sufficiency": (partial(metrics.stochastic_sufficiency, n_perturb_samples=1), {}),
}


@pytest.mark.parametrize("name", OF_MAPS)
def test_what_looks_at_maps_takes_them_method_by_method_and_few_examples_at_a_time(name):
    metric, further = OF_MAPS[name]
    few, many = (copies(metric, methods, MANY, **further) for methods in (1, 3))
    assert many <= COPIES + 0.01
    assert many <= few + 0.25


def test_ids_of_a_mask_that_no_two_examples_share_need_no_table_of_all_ids():
    x, ids = torch.randn(64, 256), torch.arange(64 * 256).reshape(64, 256)
    with Peak() as peak:
        peak.given((x, ids))
        scores = metrics.entropy(x, x, feature_mask=ids)
    assert peak.most <= 8 * ids.nbytes
    torch.testing.assert_close(scores, metrics.entropy(x, x))


@pytest.mark.parametrize("blur", [baselines.box_blur, partial(baselines.gaussian_blur, kernel_size=41)])
@pytest.mark.parametrize("shape", [(2, 3, 96, 96), (1, 1, 32, 32, 32), (1, 2, 4000)])
def test_a_blur_needs_few_copies_whatever_its_window(blur, shape):
    x = torch.randn(shape)
    with Peak() as peak:
        peak.given((x,))
        blur(x)
    assert peak.most <= 6 * x.numel() * x.element_size()


def test_the_counter_counts_what_is_alive():
    with Peak() as peak:
        a = torch.zeros(1000)
        b = a[10:] + 1
        del a, b
        torch.zeros(500)
    assert peak.most == 4 * (1000 + 990)
    assert peak.now == 0


class Seen(Exception):
    pass


def unseen(x):
    raise Seen


FEW_FEATURES = "Give a `feature_mask` of fewer and larger features"


@pytest.mark.parametrize(
    "metric",
    [
        metrics.irof,
        metrics.monotonicity,
        metrics.monotonicity_correlation,
        metrics.non_sensitivity,
        metrics.faithfulness_estimate,
        partial(metrics.cumulative_prediction_difference, k=0.9),
    ],
)
def test_a_row_for_each_of_many_features_is_warned_of_before_the_model_is_called(metric):
    x = torch.rand(1, 12_000)
    with pytest.warns(UserWarning, match=r"1[0-2],\d00 rows .* for one example.*" + FEW_FEATURES), pytest.raises(Seen):
        metric(unseen, x, x)
    x = x[:, :9000]
    with warnings.catch_warnings(record=True) as said, pytest.raises(Seen):
        metric(unseen, x, x)
    assert not said


def test_without_a_limit_a_large_input_is_not_copied_many_times():
    for shape in ((1, 3, 512, 512), (1, 1, 64, 96, 128)):
        x = torch.randn(shape)
        with Peak() as peak:
            peak.given((x,))
            metrics.deletion(tiles, x, x, n_steps=33)
        assert peak.most <= 3 * COPIES * x.numel() * x.element_size()  # 4 rows at a time, and the sort of one
