"""Segmentation and detection as numbers per row: means over a mask, and the similarity of detections."""

from __future__ import annotations

import pickle
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from captum.attr import (
    FeatureAblation,
    GradientShap,
    InputXGradient,
    IntegratedGradients,
    KernelShap,
    LayerGradCam,
    Lime,
    Occlusion,
    Saliency,
)
from torch import nn
from torch.testing import assert_close

from captum_ext import evaluate, metrics
from captum_ext.evaluation.fingerprint import described
from captum_ext.outputs import DetectionSimilarity, MeanOverMask

from .calls import METRICS, Setting, cases_of, takes, tiny

B, CLASSES, SIDE = 4, 3, 4
softmax = partial(torch.softmax, dim=1)


def normal(*size, seed=0):
    return torch.randn(size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def network(convolution=nn.Conv2d):
    """`[rows, 2, ...] -> [rows, 3, ...]`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(convolution(2, 5, 3, padding=1), nn.Tanh(), convolution(5, CLASSES, 3, padding=1)).double()


NET = network().eval()
X = normal(B, 2, SIDE, SIDE)
MASK = normal(B, SIDE, SIDE, seed=1) > 0
TARGET = torch.arange(B) % CLASSES


# ---- means over a mask


def mean_by_hand(output, mask):
    return torch.stack([torch.stack([of_class[m].mean() for of_class in out]) for out, m in zip(output, mask)])


@pytest.mark.parametrize("axis", [False, True], ids=["without an axis of channels", "with one"])
@pytest.mark.parametrize("positions", [(6,), (4, 4), (3, 3, 3)], ids=["series", "images", "volumes"])
def test_it_is_the_mean_of_each_class_over_the_mask(positions, axis):
    model = network({1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[len(positions)])
    x, mask = normal(B, 2, *positions), normal(B, *positions, seed=1) > 0
    mask[..., 0] = True
    wanted = mean_by_hand(model(x), mask)
    given = mask[:, None] if axis else mask
    assert_close(MeanOverMask(model)(x, given), wanted)
    assert_close(MeanOverMask(model)(x, given.long()), wanted)
    assert_close(MeanOverMask(model, activation=softmax)(x, given), mean_by_hand(model(x).softmax(1), mask))


def test_weights_count_in_proportion_and_one_mask_may_serve_all_rows():
    weights = normal(1, SIDE, SIDE).sigmoid()
    wanted = (NET(X) * weights[:, None]).sum((2, 3)) / weights.sum()
    assert_close(MeanOverMask(NET)(X, weights), wanted)


def test_it_takes_what_the_model_takes_and_logits_of_an_object():
    def model(x, other, scale):
        return SimpleNamespace(logits=NET(x + other) * scale)

    assert_close(MeanOverMask(model)(X, 2 * X, 5.0, MASK), mean_by_hand(5 * NET(3 * X), MASK))


def test_no_position_is_nan_and_what_is_outside_may_be_infinite():
    mask = MASK.clone()
    mask[2] = False
    assert MeanOverMask(NET)(X, mask).isnan().all(1).tolist() == [False, False, True, False]
    broken = MeanOverMask(lambda x: NET(x).masked_fill(~MASK[:, None], -torch.inf))
    assert_close(broken(X, MASK), mean_by_hand(NET(X), MASK))


def test_small_types_are_averaged_in_float32():
    ones = torch.full((1, 1, 300, 300), 3.0, dtype=torch.float16)
    mean = MeanOverMask(nn.Identity())(ones, torch.ones(1, 300, 300, dtype=torch.bool))
    assert (mean.dtype, float(mean)) == (torch.float32, 3.0)


def test_a_pointwise_model_has_the_attributions_and_the_deletion_of_a_sum():
    """Each position of the mask has a share of the mean; all others have none."""
    model = MeanOverMask(lambda x: torch.cat((x, 2 * x), 1))
    x = normal(B, 1, SIDE, SIDE)
    psi = 2 * x * MASK[:, None] / MASK.sum((1, 2)).reshape(-1, 1, 1, 1)
    given = {"target": 1, "additional_forward_args": MASK}
    assert_close(InputXGradient(model).attribute(x, **given), psi)
    assert_close(FeatureAblation(model).attribute(x, **given), psi)
    assert_close(metrics.completeness(model, x, psi, **given), torch.zeros(B).double(), atol=1e-12, rtol=0)
    curve = psi.sum((1, 2, 3))[:, None] - psi.flatten(1).sort(1, descending=True).values.cumsum(1)
    assert_close(metrics.deletion_curve(model, x, psi, n_steps=SIDE**2 + 1, **given)[:, 1:], curve)


METHODS = {
    "Saliency": (Saliency, {}),
    "InputXGradient": (InputXGradient, {}),
    "IntegratedGradients": (IntegratedGradients, {"n_steps": 5, "internal_batch_size": 3}),
    "GradientShap": (GradientShap, {"baselines": torch.zeros_like(X[:1]), "n_samples": 2, "stdevs": 0.0}),
    "FeatureAblation": (FeatureAblation, {"perturbations_per_eval": 3}),
    "Occlusion": (Occlusion, {"sliding_window_shapes": (2, 2, 2)}),
    "KernelShap": (KernelShap, {"n_samples": 5, "feature_mask": (torch.arange(16) % 3).reshape(1, 1, 4, 4)}),
    "LayerGradCam": (partial(LayerGradCam, layer=NET[0]), {}),
}


@pytest.mark.parametrize(("method", "own"), METHODS.values(), ids=METHODS)
def test_every_method_of_captums_explains_each_example_by_its_own_mask(method, own):
    def explained(rows):
        torch.manual_seed(0)
        model = MeanOverMask(NET)
        return method(model).attribute(X[rows], target=TARGET[rows], additional_forward_args=(MASK[rows],), **own)

    if method in (GradientShap, KernelShap):  # which draw for the batch
        assert explained(slice(B)).isfinite().all()
        return
    assert_close(explained(slice(B)), torch.cat([explained(slice(b, b + 1)) for b in range(B)]))


# ---- the similarity of detections

IMAGES = torch.zeros(3, 1, 8, 8)
BOX = torch.tensor([1.0, 2.0, 5.0, 6.0])


def always(**found):
    """A detector that finds the same in every image."""
    return DetectionSimilarity(lambda images: [found for _ in images])


def rows_of(value):
    return value.expand(len(IMAGES), *value.shape)


@pytest.mark.parametrize(
    "classes",
    [{"labels": torch.tensor([2])}, {"probabilities": torch.tensor([[0.1, 0.2, 0.7]])}],
    ids=["label", "probabilities"],
)
def test_a_detector_that_returns_one_fixed_box_has_similarity_1(classes):
    (wanted,) = classes.values()
    f = always(boxes=BOX[None], **classes)
    assert_close(f(IMAGES, rows_of(BOX), rows_of(wanted[0])), torch.ones(3))
    scored = always(boxes=BOX[None], scores=torch.tensor([0.25]), **classes)
    assert_close(scored(IMAGES, rows_of(BOX), rows_of(wanted[0])), torch.full((3,), 0.25))


def test_nothing_found_is_0():
    f = always(boxes=torch.empty(0, 4), labels=torch.empty(0, dtype=torch.long), scores=torch.empty(0))
    assert f(IMAGES, rows_of(BOX), torch.tensor([0, 1, 2])).tolist() == [0, 0, 0]
    f = always(boxes=torch.empty(0, 4), probabilities=torch.empty(0, 3))
    assert f(IMAGES, rows_of(BOX), torch.tensor([0, 1, 2])).tolist() == [0, 0, 0]


@pytest.mark.parametrize("step", [0.0, 1.0, 3.5, 4.0, 9.0])
def test_a_box_that_is_moved_by_a_part_of_its_width_overlaps_in_closed_form(step):
    moved = BOX + step * torch.tensor([1.0, 0.0, 1.0, 0.0])
    f = always(boxes=moved[None], labels=torch.tensor([1]))
    wanted = max(4 - step, 0) / min(4 + step, 8)
    assert_close(f(IMAGES, rows_of(BOX), torch.tensor([1, 1, 1])), torch.full((3,), wanted))
    assert f(IMAGES, rows_of(BOX), torch.tensor([0, 2, 3])).tolist() == [0, 0, 0]


def detections(seed, n, classes=3):
    """In a random image, in float64."""
    corners, sizes = normal(n, 2, seed=seed), normal(n, 2, seed=seed + 1).abs()
    return {
        "boxes": torch.cat((corners, corners + sizes), 1),
        "probabilities": normal(n, classes, seed=seed + 2).softmax(1),
        "scores": normal(n, seed=seed + 3).sigmoid(),
    }


def similarity_by_hand(found, box, wanted):
    best = 0.0
    for (x1, y1, x2, y2), p, score in zip(found["boxes"].tolist(), found["probabilities"], found["scores"].tolist()):
        left, top, right, bottom = box.tolist()
        common = max(0, min(x2, right) - max(x1, left)) * max(0, min(y2, bottom) - max(y1, top))
        union = (x2 - x1) * (y2 - y1) + (right - left) * (bottom - top) - common
        cosine = float(torch.nn.functional.cosine_similarity(p, wanted, dim=0))
        best = max(best, common / union * cosine * score)
    return best


def test_it_is_the_best_product_of_overlap_cosine_and_score():
    found = [detections(10 * b, n) for b, n in enumerate((1, 4, 7))]
    given = detections(100, 3)
    boxes, wanted = given["boxes"], given["probabilities"]
    by_hand = [similarity_by_hand(*row) for row in zip(found, boxes, wanted)]
    assert len(set(by_hand)) == 3
    f = DetectionSimilarity(lambda images: found)
    assert_close(f(IMAGES, boxes, wanted), torch.tensor(by_hand).double())
    labels = torch.tensor([2, 0, 1])
    by_hand = [similarity_by_hand(*row) for row in zip(found, boxes, torch.eye(3).double()[labels])]
    assert_close(f(IMAGES, boxes, labels), torch.tensor(by_hand).double())
    of_labels = DetectionSimilarity(
        lambda images: [d | {"probabilities": torch.eye(3).double()[:1]} for d in found[:1]]
    )
    as_labels = DetectionSimilarity(
        lambda images: [{"boxes": d["boxes"], "scores": d["scores"], "labels": torch.tensor([0])} for d in found[:1]]
    )
    assert_close(as_labels(IMAGES[:1], boxes[:1], wanted[:1]), of_labels(IMAGES[:1], boxes[:1], wanted[:1]))


def test_no_class_at_all_is_like_none_and_nan_stays_nan():
    box = {"boxes": BOX[None]}
    assert always(**box, probabilities=torch.zeros(1, 3))(IMAGES, rows_of(BOX), torch.tensor([0, 1, 2])).sum() == 0
    f = always(boxes=BOX[None] * torch.nan, labels=torch.tensor([0]))
    assert f(IMAGES, rows_of(BOX), torch.zeros(3).long()).isnan().all()


class Spotter(nn.Module):
    """Finds the brightest place of each image, softly: a box around the mean place of the light, if there is light."""

    def forward(self, images):
        light = images.clamp(min=0).sum(1)  # [rows, H, W]
        total = light.sum((1, 2))
        place = torch.arange(images.shape[-1], dtype=images.dtype, device=images.device)
        y, x = (light.sum(axis) @ place / total.where(total > 0, 1) for axis in (2, 1))
        boxes = torch.stack((x - 1, y - 1, x + 2, y + 2), 1)
        scores = torch.stack((total, torch.ones_like(total)), 1).softmax(1)
        return [
            {"boxes": b[None], "probabilities": s[None], "scores": s[:1]} if t > 1 else nothing(b, s)
            for b, s, t in zip(boxes, scores, total)
        ]


def nothing(box, shares):
    return {"boxes": box[None][:0], "probabilities": shares[None][:0], "scores": shares[:0]}


def test_it_has_the_gradient_of_a_detector_that_has_one_and_0_where_nothing_is_found():
    f = DetectionSimilarity(Spotter())
    images = normal(3, 1, 4, 4).abs() + 0.1
    images[2] /= 100
    boxes = torch.tensor([[0.0, 0.0, 3.0, 3.0]]).double().expand(3, -1)
    given = (boxes, torch.tensor([0, 1, 0]))
    assert torch.autograd.gradcheck(lambda x: f(x, *given), images.requires_grad_())
    phi = InputXGradient(f).attribute(images, additional_forward_args=given)
    assert phi.flatten(1).any(1).tolist() == [True, True, False]


# ---- what goes for both


class Points(nn.Module):
    """Functions of the setting's network at six positions: `[rows, 3, 6]`."""

    def __init__(self, net):
        super().__init__()
        self.hidden, self.net = net.hidden, net

    def forward(self, x):
        out = self.net(x)
        return torch.stack([out / (1 + place + out.abs()) for place in range(6)], 2)


class Finder(nn.Module):
    """A box from the setting's network, and another beside it."""

    def __init__(self, net):
        super().__init__()
        self.hidden, self.net = net.hidden, net

    def forward(self, x):
        out = self.net(x)
        first = out[:, :2].sigmoid()
        boxes = torch.cat((first, first + 1), 1)
        return [
            {"boxes": torch.stack((b, b + 0.5)), "probabilities": o.softmax(0).expand(2, -1), "scores": o[1:].sigmoid()}
            for b, o in zip(boxes, out)
        ]


def squashed(output):
    """A probability that is the same to the last bit wherever in a tensor it is, unlike `sigmoid`."""
    return 0.5 + 0.5 * output / (1 + output.abs())


def of_mask(s: Setting) -> Setting:
    place = torch.arange(6) + s.example[:, None]
    f = MeanOverMask(Points(s.module)).eval()
    return replace(s, model=f, module=f, layer="model.hidden", own={"additional_forward_args": place % 3 > 0})


def of_box(s: Setting) -> Setting:
    boxes = torch.tensor([0.2, 0.3, 1.4, 1.5]).double() + s.example[:, None] / 50
    own = {"additional_forward_args": (boxes, s.example % 3), "target": None, "threshold": 0.3}
    f = DetectionSimilarity(Finder(s.module)).eval()
    return replace(s, model=f, module=f, layer="detector.hidden", own=own)


SEVERAL = {
    "random_logit",
    "consistency",
    "impact_coverage",
    "road_accuracy",
    "unfaithfulness",
}  # need several outputs, or a target
CALLING = [name for name, metric in METRICS.items() if cases_of(metric)[0].calls_a_model]


@pytest.mark.filterwarnings("ignore:All scores are NaN")
@pytest.mark.parametrize("setting", [of_mask, of_box])
@pytest.mark.parametrize("name", CALLING)
def test_every_metric_scores_it_and_a_mask_or_box_goes_with_its_example(name, setting):
    metric = METRICS[name]
    whole = setting(tiny(3))
    if setting is of_box and name in SEVERAL:
        pytest.skip("asks for several outputs")
    own = {"activation": squashed} if takes(metric, "activation") and name not in SEVERAL else {}
    together = whole.call(metric, **own)
    assert len(together) == 3
    parts = [setting(replace(tiny(3)[b : b + 1], everyone=whole.everyone)) for b in range(3)]
    alone = torch.cat([part.call(metric, **own) for part in parts])
    assert_close(together, alone, equal_nan=True, rtol=1e-9, atol=1e-9)
    assert not together.isnan().all()


def test_evaluate_takes_the_mask_as_an_example_s_own_argument():
    data = [(x.float(), int(t), m) for x, t, m in zip(X, TARGET, MASK)]
    model = MeanOverMask(network().float().eval())
    methods = {"gradient": InputXGradient, "ablation": FeatureAblation}
    result = evaluate(model, data, methods, {"deletion": metrics.deletion}, batch_size=3, devices=["cpu"])
    given = {"target": TARGET, "additional_forward_args": MASK}
    phi = {name: method(model).attribute(X.float(), **given) for name, method in methods.items()}
    wanted = metrics.deletion(model, X.float(), phi, **given)
    for name in phi:
        found = torch.as_tensor(result.dataset["deletion"].sel(attribution=name).values)
        assert_close(found, wanted[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", [KernelShap, Lime])
def test_a_mask_keeps_its_rows_in_captums_methods_that_take_a_bare_tensor_apart(method):
    """They hand on the rows of an argument that is not in a tuple, each as if it were the argument of an example."""
    seen = []

    def model(x, mask):
        seen.append(tuple(mask.shape[1:]))
        return NET(x).mean((2, 3))

    explain = partial(method(model).attribute, n_samples=3)
    data = [(x, 0, m) for x, m in zip(X, MASK)]
    evaluate(model, data, {"explain": lambda f: explain}, {"sparseness": metrics.sparseness}, devices=["cpu"])
    given = {"target": 0, "additional_forward_args": MASK, "n_perturb_samples": 1}
    metrics.sensitivity_max(explain, X, **given)
    assert set(seen) == {(SIDE, SIDE)}


def test_evaluate_takes_the_box_and_the_class_as_an_example_s_own_arguments():
    images = normal(3, 1, 4, 4).abs().float()
    boxes, labels = torch.tensor([[0.0, 0.0, 3.0, 3.0], [0.0, 1.0, 2.0, 3.0], [1.0, 1.0, 4.0, 4.0]]), [0, 1, 0]
    data = [(x, None, (b, c)) for x, b, c in zip(images, boxes, labels)]
    f = DetectionSimilarity(Spotter())
    result = evaluate(
        f, data, {"ablation": FeatureAblation}, {"deletion": metrics.deletion}, target=None, devices=["cpu"]
    )
    given = {"additional_forward_args": (boxes, torch.tensor(labels))}
    wanted = metrics.deletion(f, images, FeatureAblation(f).attribute(images, **given), **given)
    assert_close(torch.as_tensor(result.dataset["deletion"].values[0]), wanted)


@pytest.mark.parametrize("f", [MeanOverMask(NET), DetectionSimilarity(Spotter())], ids=["mask", "box"])
def test_it_can_be_sent_to_a_process_and_has_the_parameters_and_the_mode_of_the_model(f):
    assert f.training == isinstance(f, DetectionSimilarity)
    copy = pickle.loads(pickle.dumps(f))
    assert described(copy) == described(f)
    assert len(list(copy.parameters())) == (4 if isinstance(f, MeanOverMask) else 0)


def test_a_run_tells_activations_and_functions_apart():
    told = [
        MeanOverMask(NET),
        MeanOverMask(NET, activation=softmax),
        MeanOverMask(NET, activation=partial(torch.softmax, dim=2)),
        MeanOverMask(NET, activation=torch.sigmoid),
        MeanOverMask(torch.sin),
        MeanOverMask(torch.cos),
        DetectionSimilarity(torch.cos),
    ]
    assert len({str(described(f)) for f in told}) == len(told)
