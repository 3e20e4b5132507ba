"""Attributions of a domain's groups, from the definition: naive loops, so that nothing of what is tested is in them."""

from __future__ import annotations

import torch
from torch import Tensor

from .domains import Domain


def tuples(value) -> tuple:
    return value if isinstance(value, tuple) else (value,)


def score(domain: Domain, *tensors: Tensor) -> Tensor:
    """`[B]`: the output that is explained."""
    arguments = () if domain.additional_forward_args is None else (domain.additional_forward_args,)
    with torch.no_grad():
        output = domain.model(*tensors, *arguments)
    if domain.target is None:
        return output.reshape(len(output))
    indices = [tuple(t) if isinstance(t, tuple) else (int(t),) for t in domain.target]
    return torch.stack([row[i] for row, i in zip(output, indices)])


def masks_of(domain: Domain) -> tuple[Tensor, ...]:
    """In the full shape of the inputs."""
    return tuple(m.expand(x.shape) for m, x in zip(tuples(domain.feature_mask), tuples(domain.inputs)))


def groups(domain: Domain) -> list[int]:
    """All ids that may be removed."""
    found = sorted({int(i) for m in tuples(domain.feature_mask) for i in m.unique()})
    return [g for g in found if g != domain.frozen]


def present(domain: Domain) -> Tensor:
    """`[B, groups]`: which of the groups each example has."""
    return torch.stack(
        [torch.stack([(m == g).flatten(1).any(1) for m in masks_of(domain)]).any(0) for g in groups(domain)], 1
    )


def without(domain: Domain, removed: list[Tensor]) -> tuple[Tensor, ...]:
    """The inputs without the groups for which `removed`, `[B]` for each id of `groups`, is true."""
    tensors, masks = tuples(domain.inputs), masks_of(domain)
    for g, of_examples in zip(groups(domain), removed):
        tensors = tuple(
            torch.where((m == g) & of_examples.reshape(-1, *[1] * (x.dim() - 1)), domain.baselines, x)
            for x, m in zip(tensors, masks)
        )
    return tensors


def spread(domain: Domain, of_groups: Tensor) -> Tensor | tuple[Tensor, ...]:
    """Attributions in the shape of the inputs: a group's value `[B, groups]` is the sum over its elements."""
    masks = masks_of(domain)
    maps = tuple(torch.zeros_like(x) for x in tuples(domain.inputs))
    for g, values in zip(groups(domain), of_groups.T):
        size = sum((m == g).flatten(1).sum(1) for m in masks).clamp(min=1)
        for a, m in zip(maps, masks):
            a += (m == g) * (values / size).reshape(-1, *[1] * (a.dim() - 1))
    return maps if isinstance(domain.inputs, tuple) else maps[0]


def left_out(domain: Domain) -> Tensor:
    """`[B, groups]`: the drop of the output without each group alone."""
    names, whole, effects = groups(domain), score(domain, *tuples(domain.inputs)), []
    for i in range(len(names)):
        removed = [torch.full((len(domain),), i == j) for j in range(len(names))]
        effects.append(whole - score(domain, *without(domain, removed)))
    return torch.stack(effects, 1)


def shapley(domain: Domain, orders: int, seed: int = 0) -> Tensor:
    """`[B, groups]`: the mean effect of adding a group, over random orders and these reversed."""
    names = groups(domain)
    draw, total = torch.Generator().manual_seed(seed), torch.zeros(len(domain), len(names))
    for _ in range(orders):
        order = torch.randperm(len(names), generator=draw).tolist()
        for one_way in (order, order[::-1]):
            removed = [torch.ones(len(domain), dtype=torch.bool) for _ in names]
            before = score(domain, *without(domain, removed))
            for i in one_way:
                removed[i] = torch.zeros(len(domain), dtype=torch.bool)
                after = score(domain, *without(domain, removed))
                total[:, i] += (after - before) / (2 * orders)
                before = after
    return total
