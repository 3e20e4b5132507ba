"""Token ids, images of bytes and fingerprints: what needs noise refuses them, all else scores them as numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import captum_ext.metrics as exported
from captum_ext import baselines, perturbations, random_attribution
from captum_ext.attribench.masking import TabularMasker
from captum_ext.attribench.masking.image import ConstantImageMasker
from captum_ext.metrics import deletion, infidelity, infidelity_perturb_func_decorator, road, sensitivity_max

from .calls import METRICS, Metric, map_of, takes, tiny

TYPES = (torch.int64, torch.uint8, torch.bool)
ADDS_NOISE = {name for name, metric in METRICS.items() if takes(metric, "perturb_radius")}
REFUSED = {"input_invariance", "smooth_mprt", "smooth_mprt_curve"} | {
    "average_drop",
    "average_gain",
    "increase_in_confidence",
    "coherency",
}
every_type = pytest.mark.parametrize("dtype", TYPES, ids=str)
every_metric = pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
PHI = map_of(tiny().inputs)


def numbers(dtype: torch.dtype) -> Tensor:
    """Integers from 0 on, of which some are 0, and no two examples are equal."""
    x = tiny().inputs
    return (x > 0) if dtype == torch.bool else (40 * x).abs().to(dtype)


def explained(model: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda rows, **_: map_of(rows.double()) * model(rows)[:, :1].reshape(-1, 1, 1, 1)


def mirrored(rows: Tensor) -> Tensor:
    """A perturbation that returns what it was given in another order, as a swap of words does."""
    return rows.flip(-1)


def swapped(rows: Tensor, baselines: Any = None) -> tuple[Tensor, Tensor]:
    return rows.double() - rows.flip(-1).double(), rows.flip(-1)


def call(metric: Metric, inputs: Tensor, **changes: Any) -> Tensor:
    setting = replace(tiny(), inputs=inputs, everyone=inputs)
    given = {
        "attributions": PHI,
        "reference_attributions": PHI.flip(1),
        "other_attributions": torch.cat((PHI, -PHI)),
        "other_classes": torch.arange(2 * len(PHI)) % 3,
        "baselines": 1,
        "patches": {0: torch.zeros(2, 1, 1), 1: torch.ones(2, 1, 1)},  # values that every type has
        "explanation_func": explained(setting.module),
        "explanation_factory": explained,
        "perturb_func": mirrored if takes(metric, "explanation_func") else swapped,
    } | changes
    return setting.call(metric, **{name: value for name, value in given.items() if takes(metric, name)})


@every_metric
def test_integers_score_as_the_same_floating_point_numbers_do(metric):
    for dtype in TYPES if metric.__name__ not in REFUSED else ():
        x = numbers(dtype)
        assert_close(call(metric, x), call(metric, x.double()), rtol=1e-6, atol=1e-6, equal_nan=True, msg=str(dtype))


@every_type
@pytest.mark.parametrize("name", sorted(REFUSED | ADDS_NOISE))
def test_noise_of_ours_is_not_added_to_integers(name, dtype):
    seen: list[int] = []

    def noted(model: nn.Module) -> Callable[..., Tensor]:
        return lambda rows, **_: seen.append(len(rows)) or explained(model)(rows)

    metric, model = METRICS[name], tiny().module
    model.register_forward_hook(lambda *_: seen.append(0))
    noise = {"perturb_func": exported.default_perturb_func, "explanation_func": noted(model)}
    noise |= {"forward_func": model, "explanation_factory": noted}
    with pytest.raises(TypeError, match=r"`inputs` must be of a floating point type.*embeddings"):
        call(metric, numbers(dtype), **noise)
    assert seen == []


@every_type
@pytest.mark.parametrize("noise", [perturbations.gaussian, perturbations.noisy_baseline])
def test_infidelity_with_noise_of_ours_refuses_integers(dtype, noise):
    with pytest.raises(TypeError, match=r"`inputs` must be of a floating point type.*embeddings"):
        call(infidelity, numbers(dtype), perturb_func=noise)


def test_one_tensor_of_integers_beside_others_is_refused_too():
    both = (torch.rand(2, 3), torch.ones(2, 3).long())
    with pytest.raises(TypeError, match=r"`inputs` must be .*got \['torch.float32', 'torch.int64'\]"):
        sensitivity_max(lambda x: x, both)


@every_type
def test_removals_and_swaps_of_integers_are_perturbations(dtype):
    x = numbers(dtype)
    kinds = (
        perturbations.segment_removal,
        partial(perturbations.square_removal, size=1),
        infidelity_perturb_func_decorator(True)(lambda rows, baselines: rows.flip(-1)),
        infidelity_perturb_func_decorator(False)(lambda rows, baselines: rows.flip(-1)),
    )
    for kind in kinds:
        given = {"perturb_func": kind, "baselines": 1, "seed": 0}
        assert_close(call(infidelity, x, **given), call(infidelity, x.double(), **given), rtol=1e-6, atol=1e-6)


def test_perturbations_of_bytes_do_not_wrap():
    moved, _ = perturbations.square_removal(torch.full((1, 1, 1, 2), 3, dtype=torch.uint8), 5, size=1, position=0)
    assert moved.tolist() == [[[[-2, 0]]]]


@pytest.mark.parametrize("map_type", [torch.uint8, torch.bool, torch.int64])
def test_explanations_that_are_integers_do_not_wrap(map_type):
    x = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    score = sensitivity_max(lambda rows: rows.to(map_type), x, lambda rows: 1 - rows, n_perturb_samples=1)
    assert_close(score, torch.full((2,), 2.0).sqrt())


# ---- the random control


@every_type
def test_the_random_control_of_integers_is_noise_without_ties(dtype):
    maps = random_attribution()(numbers(dtype))
    assert maps.dtype == torch.get_default_dtype()
    assert len(maps.unique()) > 0.99 * maps.numel()
    again = random_attribution()(numbers(dtype)[2:])
    assert torch.equal(maps[2:], again)


def test_the_random_control_keeps_floating_point_types():
    for dtype in (torch.float64, torch.float32, torch.float16):
        assert random_attribution()(torch.rand(2, 3).to(dtype)).dtype == dtype


# ---- baselines


@every_type
@pytest.mark.parametrize(
    "mean", [baselines.channel_mean, baselines.box_blur, baselines.gaussian_blur, baselines.NoisyLinear(noise=0.0)]
)
def test_means_of_integers_are_rounded(dtype, mean):
    x = numbers(dtype)
    where = torch.zeros_like(x, dtype=torch.bool)
    where[..., 1] = True
    maker = mean if callable(mean) else lambda values: mean.fill(values, where)
    assert maker(x).dtype == dtype
    assert torch.equal(maker(x), maker(x.double()).round().to(dtype))
    assert len(maker(x).unique()) > 1


@every_type
def test_noise_as_a_baseline_of_integers_is_refused(dtype):
    x = numbers(dtype)
    for maker in (baselines.uniform_noise, baselines.gaussian_noise, baselines.NoisyLinear()):
        with pytest.raises(TypeError, match="`inputs` must be of a floating point type"):
            call(deletion, x, baselines=maker)
    with pytest.raises(TypeError, match="`inputs` must be of a floating point type"):
        call(road, x, baselines=baselines.NoisyLinear())


INEXACT = [
    (torch.int64, 0.5),
    (torch.int64, float("nan")),
    (torch.int64, float("inf")),
    (torch.int64, 2.0**63),
    (torch.int64, 2**70),
    (torch.uint8, -1),
    (torch.uint8, 256),
    (torch.int8, 128),
    (torch.bool, 2),
    (torch.bool, 0.5),
]
WITH_BASELINES = [m for m in METRICS.values() if takes(m, "baselines") and m.__name__ not in REFUSED]
# which hands what it is given to its `perturb_func`
ERASING = [m for m in WITH_BASELINES if m is not infidelity]


@pytest.mark.parametrize("metric", ERASING, ids=lambda m: m.__name__)
def test_a_baseline_that_the_type_of_the_inputs_cannot_hold_is_refused(metric):
    for dtype, value in INEXACT:
        forms = [value, lambda rows, value=value: torch.full(rows.shape, float(value))]
        forms += [torch.tensor(value)] if value != 2**70 else []
        for form in forms:
            with pytest.raises(
                ValueError, match=rf"`baselines` must be a value that `inputs` of type {dtype} can hold"
            ):
                call(metric, numbers(torch.uint8).to(dtype), baselines=form)


def test_the_perturbations_of_ours_refuse_such_a_baseline_too():
    x = numbers(torch.uint8)
    for removal in (partial(perturbations.square_removal, size=1), perturbations.segment_removal):
        with pytest.raises(ValueError, match=r"`baselines` must be a value that `inputs` of type torch.uint8 can hold"):
            call(infidelity, x, perturb_func=removal, baselines=-1)


class Half:
    """Fills in 0.5, in floating point numbers as most code that imputes returns."""

    def fill(self, inputs: Tensor, mask: Tensor) -> Tensor:
        return inputs.double().masked_fill(mask, 0.5)


@every_type
def test_a_fill_that_the_type_of_the_inputs_cannot_hold_is_refused(dtype):
    with pytest.raises(ValueError, match=rf"`baselines.fill` must be a value that `inputs` of type {dtype} can hold"):
        call(deletion, numbers(dtype), baselines=Half())


def test_a_byte_of_another_sign_is_not_taken_for_the_same():
    for dtype, other in ((torch.uint8, torch.int8), (torch.int8, torch.uint8)):
        value = torch.tensor(200).to(other)
        with pytest.raises(ValueError, match="`baselines` must be a value"):
            call(deletion, numbers(torch.int64).to(dtype), baselines=value)


def test_what_the_type_holds_is_taken():
    x = numbers(torch.uint8)
    for value in (0, 255, 3.0, torch.tensor(7.0), torch.tensor(7), x.flip(0), x.flip(0).double()):
        assert call(deletion, x, baselines=value).isfinite().all()
    assert call(deletion, numbers(torch.bool), baselines=1.0).isfinite().all()


def test_the_maskers_of_attribench_refuse_such_values_too():
    x = numbers(torch.uint8)
    for masker in (ConstantImageMasker("pixel", 0.5), TabularMasker(-1)):
        with pytest.raises(
            ValueError, match=r"`mask_value` must be a value that `inputs` of type torch.uint8 can hold"
        ):
            masker(x)


@pytest.mark.parametrize("dtype", [torch.int8, torch.int16, torch.uint16, torch.uint32, torch.uint64], ids=str)
def test_integers_of_every_size_score_alike(dtype):
    """Such as images of 16 bits. Torch lacks some operations for the larger unsigned types."""
    try:
        torch.ones(1, dtype=dtype).where(torch.tensor([True]), 0)
    except NotImplementedError:
        pytest.skip("this torch cannot choose between values of that type")
    x, model = numbers(torch.uint8).clamp(max=100), tiny().module

    def of_type(rows: Tensor) -> Tensor:
        return (100 * torch.softmax(model(rows.double()), 1)).to(rows.dtype)

    def scores(x: Tensor) -> list[Tensor]:
        removals = [
            call(deletion, x, forward_func=of_type, baselines=b) for b in (1, torch.tensor(7), baselines.box_blur)
        ]
        return [*removals, call(exported.minimal_subset, x, forward_func=of_type)]

    assert_close(scores(x.to(dtype)), scores(x.long()), check_dtype=False)
