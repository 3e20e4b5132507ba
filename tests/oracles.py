"""The metrics once more, as naive loops over examples, draws and steps: slow, obvious, and nothing of the package in
them.

An example is a tuple of tensors without the batch axis. A feature is a list of places `(tensor, flat index)`; an
example is a list of features. Everything is in Python floats.
"""

from __future__ import annotations

import math
from fractions import Fraction

import torch
from scipy import stats


class Recorder:
    """A model that remembers the rows it was called with."""

    def __init__(self, model):
        self.model, self.calls = model, []

    def __call__(self, *rows):
        self.calls.append(tuple(r.clone() if isinstance(r, torch.Tensor) else r for r in rows))
        return self.model(*rows)

    @property
    def sizes(self):
        return [len(call[0]) for call in self.calls]

    @property
    def rows(self):
        return sum(self.sizes)


class RecordingPerturbation:
    """A `perturb_func` that remembers what it was given and returned."""

    def __init__(self, size=0.3):
        self.size, self.given, self.returned = size, [], []

    def __call__(self, rows):
        self.given.append(rows)
        moved = tuple(r + self.size * torch.randn_like(r) for r in tensors_of(rows))
        self.returned.append(moved)
        return moved if isinstance(rows, tuple) else moved[0]

    def draws(self, batch):
        draws = [[] for _ in range(batch)]
        for moved in self.returned:
            copies = len(moved[0]) // batch
            for row in range(len(moved[0])):
                draws[row // copies].append(tuple(t[row] for t in moved))
        return draws


def identified(model):
    """The model with one more argument, the number of the example that a row is a copy of, which it ignores."""
    return lambda *arguments: model(*arguments[:-1])


def tensors_of(value):
    return value if isinstance(value, tuple) else (value,)


def example_of(tensors, b):
    """Example `b` of a tensor or tuple; a tensor with one row serves every example."""
    return tuple(t[b if len(t) > 1 else 0] for t in tensors_of(tensors))


def features_of(x, feature_mask=None, positions=False, frozen=()):
    """The features of every example: groups by ascending id but for the frozen, else elements, else positions (the
    channels of a place together).
    """
    x = tensors_of(x)
    return [_features_of_example(example_of(x, b), feature_mask, b, positions, frozen) for b in range(len(x[0]))]


def _features_of_example(example, feature_mask, b, positions, frozen):
    groups = {}
    for t, tensor in enumerate(example):
        for flat, place in enumerate(_places(tensor.shape)):
            if feature_mask is not None:
                name = _id_at(tensors_of(feature_mask)[t], b, place)
            elif positions:
                name = (t, place[1:])
            else:
                name = (t, place)
            groups.setdefault(name, []).append((t, flat))
    return [groups[name] for name in sorted(groups) if name not in frozen]


def _places(shape):
    if not shape:
        return [()]
    return [(i, *rest) for i in range(shape[0]) for rest in _places(shape[1:])]


def _id_at(mask, b, place):
    """The group id of a place of example `b`: axes of size 1 are shared, axes missing on the left too."""
    whole = (b, *place)
    index = whole[len(whole) - mask.dim() :]
    return int(mask[tuple(i if size > 1 else 0 for i, size in zip(index, mask.shape))])


def elements(example, shapes=None):
    """`{place: value}` of a tuple; a map with fewer elements than its shape repeats over the channels."""
    values = {}
    for t, tensor in enumerate(example):
        shape = tensor.shape if shapes is None else shapes[t]
        for flat, value in enumerate(tensor.expand(shape).reshape(-1).tolist()):
            values[t, flat] = value
    return values


def without(example, removed, baseline):
    """A copy of the example, the places of the features `removed` replaced. `baseline`: an example, or one number a
    tensor.
    """
    copies = [tensor.clone().reshape(-1) for tensor in example]
    for feature in removed:
        for t, flat in feature:
            b = baseline[t]
            copies[t][flat] = b.expand(example[t].shape).reshape(-1)[flat] if isinstance(b, torch.Tensor) else b
    return tuple(c.reshape(tensor.shape) for c, tensor in zip(copies, example))


def score(model, example, *arguments):
    return float(model(*(t[None] for t in example), *arguments)[0])


def attribution_of(feature, phi, aggregate, one_channel=False):
    """The sum or mean of a feature's attribution. `phi` is an example; with one channel a place counts once, not once a
    channel.
    """
    if one_channel:
        feature = sorted({(t, flat % phi[t].numel()) for t, flat in feature})
    values = [float(phi[t].reshape(-1)[flat]) for t, flat in feature]
    return math.fsum(values) / (len(values) if aggregate == "mean" else 1)


def order(scores, mode):
    """Feature numbers from the most to the least relevant, equal ones by number; for LeRF that turned around."""
    most_first = sorted(range(len(scores)), key=lambda i: -scores[i])
    return most_first if mode == "morf" else most_first[::-1]


def grid(start, stop, n_steps):
    """Exact fractions; `start` and `stop` as they are written, so that 0.1 is a tenth."""
    start, stop = Fraction(str(start)), Fraction(str(stop))
    return [start + (stop - start) * Fraction(i, n_steps - 1) for i in range(n_steps)]


def removal_curve(model, x, phi, baseline, features, mode="morf", fractions=(), aggregate="mean", one_channel=False):
    """Deletion: `[[a value per fraction] per example]`. `baseline`: a number or number/tensor per input tensor, with 1
    or B rows.
    """
    curves = []
    for b, features_b in enumerate(features):
        example, phi_b, baseline_b = example_of(x, b), example_of(phi, b), _baseline_of(baseline, b)
        ranking = order([attribution_of(s, phi_b, aggregate, one_channel) for s in features_b], mode)
        counts = [round(s * len(features_b)) for s in fractions]
        curves.append(
            [score(model, without(example, [features_b[i] for i in ranking[:k]], baseline_b)) for k in counts]
        )
    return curves


def reveal_curve(model, x, phi, baseline, features, mode="morf", fractions=(), aggregate="mean", one_channel=False):
    """Insertion: all but the shown features are hidden; at fraction `s` the number hidden is that of deletion at `1 -
    s`.
    """
    curves = []
    for b, features_b in enumerate(features):
        example, phi_b, baseline_b = example_of(x, b), example_of(phi, b), _baseline_of(baseline, b)
        ranking = order([attribution_of(s, phi_b, aggregate, one_channel) for s in features_b], mode)
        shown = [len(features_b) - round((1 - s) * len(features_b)) for s in fractions]
        curves.append([score(model, without(example, [features_b[i] for i in ranking[k:]], baseline_b)) for k in shown])
    return curves


def _baseline_of(baseline, b):
    return [v[b if len(v) > 1 else 0] if isinstance(v, torch.Tensor) else v for v in tensors_of(baseline)]


def trapezoid(values, fractions):
    fractions = [float(s) for s in fractions]
    total = sum((values[i] + values[i + 1]) / 2 * (fractions[i + 1] - fractions[i]) for i in range(len(values) - 1))
    return total / (fractions[-1] - fractions[0])


def removed_features(row, example, features):
    """Which features a row lacks: those with all places changed. None may be changed in part."""
    removed = []
    for number, feature in enumerate(features):
        changed = [float(row[t].reshape(-1)[flat]) != float(example[t].reshape(-1)[flat]) for t, flat in feature]
        assert all(changed) or not any(changed), "a feature was replaced in part"
        if all(changed):
            removed.append(number)
    return tuple(removed)


def drawn_subsets(calls, x, features):
    """`{example: {size: [subset, ...]}}` of what an `identified` model was shown; the last argument is the example."""
    drawn = {b: {} for b in range(len(features))}
    for *rows, example in calls:
        for i, b in enumerate(example.tolist()):
            subset = removed_features([r[i] for r in rows], example_of(x, b), features[b])
            drawn[b].setdefault(len(subset), []).append(subset)
    return drawn


def sensitivity_n(
    model, x, phi, baseline, features, drawn, n, aggregate="sum", one_channel=False, correlation="pearson"
):
    """A correlation per example, over the subsets of `n[b]` features that were drawn."""
    scores = []
    for b, features_b in enumerate(features):
        example, phi_b, baseline_b = example_of(x, b), example_of(phi, b), _baseline_of(baseline, b)
        totals = [attribution_of(s, phi_b, aggregate, one_channel) for s in features_b]
        f_x = score(model, example)
        explained, observed = [], []
        for subset in drawn[b][n[b]]:
            explained.append(math.fsum(totals[i] for i in subset))
            observed.append(f_x - score(model, without(example, [features_b[i] for i in subset], baseline_b)))
        constant = len(set(explained)) == 1 or len(set(observed)) == 1
        function = {"pearson": stats.pearsonr, "spearman": stats.spearmanr, "kendall": stats.kendalltau}[correlation]
        scores.append(math.nan if constant else float(function(explained, observed)[0]))
    return scores


def infidelity(model, x, phi, draws, normalize=False):
    """`draws[b]`: the `(perturbation, perturbed)` examples of example `b`, tuples of tensors."""
    scores = []
    for b, draws_b in enumerate(draws):
        example = example_of(x, b)
        phi_b = elements(example_of(phi, b), [t.shape for t in example])
        f_x = score(model, example)
        explained, observed = [], []
        for perturbation, perturbed in draws_b:
            moved = elements(perturbation)
            explained.append(math.fsum(moved[place] * phi_b[place] for place in moved))
            observed.append(f_x - score(model, perturbed))
        beta = 1.0
        if normalize:
            square = math.fsum(e * e for e in explained)
            beta = math.fsum(e * d for e, d in zip(explained, observed)) / (square or 1.0)
        scores.append(math.fsum((beta * e - d) ** 2 for e, d in zip(explained, observed)) / len(explained))
    return scores


def sensitivity_max(explain, x, draws, norm_ord=2):
    """`draws[b]`: the perturbed copies of example `b`. `explain`: a batch of one example to a tuple of tensors."""
    scores = []
    for b, draws_b in enumerate(draws):
        before = list(elements(_explained(explain, example_of(x, b))).values())
        largest = 0.0
        for perturbed in draws_b:
            after = elements(_explained(explain, perturbed)).values()
            largest = max(largest, norm([p - q for p, q in zip(after, before)], norm_ord))
        scores.append(largest / (norm(before, norm_ord) or 1.0))
    return scores


def _explained(explain, example):
    return tuple(t[0] for t in tensors_of(explain(*(t[None] for t in example))))


def norm(values, norm_ord=2):
    if norm_ord == math.inf:
        return max(abs(v) for v in values)
    return math.fsum(abs(v) ** norm_ord for v in values) ** (1 / norm_ord)


def differ(a, b):
    """Where two tensors differ, which may hold no nan: that differs from everything, and so shows nothing."""
    assert not a.isnan().any()
    assert not b.isnan().any()
    return a != b


def chi_square_p(counts):
    """The chance of counts as uneven as these, or more, if all are equally likely."""
    return float(stats.chisquare(counts).pvalue)
