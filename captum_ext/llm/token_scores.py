"""Log-probabilities of the tokens of given answers after given prompts, in few and short calls of the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence

from .._core.checks import describe, shape
from .._core.target import logits_of
from .shared_prefix import argument_names, cache_argument, cache_of, common_prefix, repeated

KEEPS = ("logits_to_keep", "num_logits_to_keep")  # arguments that limit the logits to the last positions

FULL = 2048  # tokens of a call from which on more of them run no faster


@dataclass(frozen=True)
class Row:
    """The token ids `[n]` of a prompt and those `[T]` of its answer; which prompt it is; and what else it has.

    `further` are a processor's tensors beside the ids, such as the pixels of an image.
    """

    ids: Tensor
    answer: Tensor
    prompt: int
    further: Mapping[str, Tensor] = field(default_factory=dict)


class TokenScores:
    """Calls a causal language model on rows. A prefix that rows of a prompt share is computed once in each call.

    Rows are padded on their right, where no token sees the padding, so they need no attention mask, which would cost
    the fast path of causal attention.
    """

    def __init__(self, share_prefix: bool):
        self.share_prefix = share_prefix  # becomes False for a model whose cache cannot be repeated

    def __call__(self, model: nn.Module, rows: Sequence[Row]) -> list[Tensor]:
        """`[T]` for each row: the log-probability of each token of its answer."""
        found: list[Tensor] = [torch.empty(0, device="cpu")] * len(rows)
        for group in self._groups(model, rows):
            for i, scores in zip(group, self._of_group(model, [rows[i] for i in group])):
                found[i] = scores
        return found

    def _groups(self, model: nn.Module, rows: Sequence[Row]) -> list[list[int]]:
        """Rows that one call scores: those of a prompt, if they can share something, else all."""
        shares = self.share_prefix and cache_argument(model) is not None
        groups: dict[Any, list[int]] = {}
        for i, row in enumerate(rows):
            groups.setdefault(row.prompt if shares or row.further else None, []).append(i)
        return list(groups.values())

    def _of_group(self, model: nn.Module, rows: list[Row]) -> list[Tensor]:
        shared = common_prefix([row.ids for row in rows]) if self._may_share(model, rows) else 0
        cache = self._cache(model, rows[0].ids[:shared]) if shared else None
        shared = 0 if cache is None else shared
        found: dict[int, Tensor] = {}
        for part in _of_like_lengths([len(row.ids) - shared + len(row.answer) for row in rows]):
            found |= zip(part, log_probabilities(model, [rows[i] for i in part], shared, cache))
        return [found[i] for i in range(len(rows))]

    def _may_share(self, model: nn.Module, rows: list[Row]) -> bool:
        alike = len(rows) > 1 and not any(row.further for row in rows)
        return self.share_prefix and alike and cache_argument(model) is not None

    def _cache(self, model: nn.Module, prefix: Tensor) -> Any:
        name = cache_argument(model) or ""
        output = model(input_ids=prefix[None].to(device_of_ids(model)), use_cache=True, **kept_logits(model, 1))
        cache = cache_of(output, name, len(prefix))
        self.share_prefix = cache is not None
        return cache


def _of_like_lengths(lengths: list[int]) -> list[list[int]]:
    """Cuts rows into calls of `FULL` tokens or more, the longest first, where that saves padding."""
    order = sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True)
    parts = [order[:1]]
    for i in order[1:]:
        longest = lengths[parts[-1][0]]
        if len(parts[-1]) * longest >= FULL and lengths[i] < longest:
            parts.append([])
        parts[-1].append(i)
    return parts


def log_probabilities(model: nn.Module, rows: list[Row], shared: int = 0, cache: Any = None) -> list[Tensor]:
    """`[T]` for each row, in one call of the model; `cache` has the keys and values of the first `shared` tokens."""
    sequences = [torch.cat((row.ids[shared:], row.answer[:-1])) for row in rows]
    ids = torch.stack([pad(s, (0, max(map(len, sequences)) - len(s)), value=int(s[-1])) for s in sequences])
    first = torch.tensor(
        [len(row.ids) - shared - 1 for row in rows], device="cpu"
    )  # where the answer's first token is predicted
    arguments: dict[str, Any] = {"use_cache": False} if "use_cache" in argument_names(model) else {}
    if cache is not None:
        arguments = {"use_cache": True, cache_argument(model) or "": repeated(cache, len(rows))}
    arguments |= kept_logits(model, ids.shape[1] - int(first.min())) | _further(rows, ids.shape[1])
    logits = causal_logits(model(input_ids=ids.to(device_of_ids(model)), **arguments))
    first = first - (ids.shape[1] - logits.shape[1])
    if (first < 0).any():
        raise ValueError(
            f"`model` must return logits for each of its {ids.shape[1]} tokens, or for the last of them if it takes "
            f"`logits_to_keep`; got shape {shape(logits)}."
        )
    answers = pad_sequence([row.answer for row in rows], batch_first=True)
    scores = _of_answers(logits, first.to(logits.device), answers.to(logits.device)).cpu()
    return [s[: len(row.answer)] for s, row in zip(scores, rows)]


def _of_answers(logits: Tensor, first: Tensor, answers: Tensor) -> Tensor:
    """`[rows, T]`, at least float32, as half precision would lose the small differences that explanations are about."""
    place = (first[:, None] + torch.arange(answers.shape[1], device=first.device)).clamp(max=logits.shape[1] - 1)
    row = torch.arange(len(logits), device=first.device)[:, None]
    chosen = logits[row, place].to(torch.promote_types(logits.dtype, torch.float32))
    return chosen.gather(2, answers[..., None])[..., 0] - chosen.logsumexp(2)


def causal_logits(output: Any) -> Tensor:
    """`[rows, positions, words]`; a model with several heads for further tokens has the next one's first."""
    logits: Any = logits_of(output)
    if not isinstance(logits, Tensor) or logits.dim() not in (3, 4):
        got = f"shape {shape(logits)}" if isinstance(logits, Tensor) else describe(logits)
        raise TypeError(
            "`model` must return logits `[rows, tokens, words]`, or an object or a dict that has them as `logits`; got "
            f"{got}. Give a module that returns them."
        )
    return logits[:, 0] if logits.dim() == 4 else logits


def kept_logits(model: nn.Module, count: int) -> dict[str, int]:
    return {name: count for name in KEEPS if name in argument_names(model)}


def device_of_ids(model: nn.Module) -> torch.device:
    """Where the embedding is, which may be elsewhere than the rest of a model that is split over devices."""
    embedding = getattr(model, "get_input_embeddings", lambda: None)()
    parameters = (embedding if isinstance(embedding, nn.Module) else model).parameters()
    return next((p.device for p in parameters), torch.device("cpu"))


def _further(rows: list[Row], length: int) -> dict[str, Tensor]:
    """What the rows have beside their ids, together. A tensor with an entry per token gets zeros for the answer's."""
    tokens = len(rows[0].ids)

    def part(value: Tensor) -> Tensor:
        return pad(value, (0, length - tokens)) if value.shape == (1, tokens) else value

    return {name: torch.cat([part(row.further[name]) for row in rows]) for name in rows[0].further}
