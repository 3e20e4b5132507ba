"""Graphs as inputs: node features and an adjacency matrix, a network in plain torch, and masks of nodes and edges."""

from __future__ import annotations

import torch
from torch import Tensor, nn

NODES, CHANNELS, CLASSES = 5, 2, 3
UPPER = torch.ones(NODES, NODES).triu(1).bool()
ALL_EDGES = int(UPPER.sum())


class GraphNet(nn.Module):
    """`[rows, 3]`: two rounds of messages along the edges, and the mean over the nodes."""

    def __init__(self) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(0)
        self.first, self.last = (
            nn.Parameter(torch.randn(size, generator=draw, dtype=torch.float64))
            for size in ((CHANNELS, 8), (8, CLASSES))
        )

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        messages = adjacency + torch.eye(NODES, dtype=adjacency.dtype)
        return (messages @ torch.tanh(messages @ x @ self.first) @ self.last).mean(1)


def graphs(batch: int = 4) -> tuple[Tensor, Tensor]:
    """`[B, 5, 2]` and `[B, 5, 5]`: graphs with 4 edges or more, all with other ones."""
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(batch, NODES, CHANNELS, generator=draw, dtype=torch.float64)
    upper = torch.zeros(batch, NODES, NODES, dtype=torch.float64)
    for b, own in enumerate(upper):
        present = torch.randperm(ALL_EDGES, generator=draw)[: 4 + b % 3]
        own[UPPER] = torch.zeros(ALL_EDGES, dtype=torch.float64).index_fill(0, present, 1)
    return x, upper + upper.mT


def edges(x: Tensor, adjacency: Tensor) -> tuple[Tensor, Tensor]:
    """Each present edge is a feature, the same in both directions; all else is -1."""
    ids = torch.full((NODES, NODES), -1)
    ids[UPPER] = torch.arange(ALL_EDGES)
    ids = torch.maximum(ids, ids.T)
    return torch.full_like(x, -1, dtype=torch.long), ids.where(adjacency > 0, -1)


def nodes(x: Tensor, adjacency: Tensor) -> tuple[Tensor, Tensor]:
    """The channels of each node are a feature; the edges stay."""
    return torch.arange(NODES)[None, :, None].expand_as(x), torch.full_like(adjacency, -1, dtype=torch.long)


MASKS = {"edges": edges, "nodes": nodes}


def maps(inputs: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
    """Attributions without ties; those of an edge are the same in both directions."""
    x, adjacency = inputs
    place = torch.arange(ALL_EDGES, dtype=torch.float64)
    of_edges = torch.zeros(NODES, NODES, dtype=torch.float64)
    of_edges[UPPER] = (3 * place).cos()
    return (5 * x).sin(), (of_edges + of_edges.T).expand_as(adjacency).clone()


def without_by_hand(inputs: tuple[Tensor, Tensor], mask: tuple[Tensor, Tensor], b: int, removed: list[int]):
    """One example `[1, ...]` with the features of these ids set to 0, by loops over its elements."""
    kept = [t[b : b + 1].clone() for t in inputs]
    for t, ids in zip(kept, mask):
        for place in torch.cartesian_prod(*map(torch.arange, t[0].shape)):
            if int(ids[b][tuple(place)]) in removed:
                t[0][tuple(place)] = 0
    return kept


def ordered_by_hand(phi: tuple[Tensor, ...], mask: tuple[Tensor, Tensor], b: int) -> list[int]:
    """The ids of an example, by the mean attribution of their elements, the largest first."""
    means = {}
    for feature in sorted({int(i) for ids in mask for i in ids[b].flatten()} - {-1}):
        values = torch.cat([a[b][ids[b] == feature] for a, ids in zip(phi, mask)])
        means[feature] = float(values.mean())
    return sorted(means, key=lambda feature: -means[feature])
