"""The texts of prompts, piece by piece, each with the number of its feature: what a person reads of them."""

from __future__ import annotations

import copy
import re
from typing import Any, TypeAlias

from torch import Tensor

from .._core.interpretable import groups_of

Piece: TypeAlias = tuple[str, int | None]  # None for what is no feature and always there
BEGIN, END = "\ue000", "\ue001"  # of private use, so that no text has them
VALUE = re.compile(f"{BEGIN}(\\d+) (.*?){END}", re.S)


class Prompts(list[tuple[Any, ...]]):
    """Prompts as a data set, which knows their texts and those of their answers."""

    def __init__(self, rows: list[tuple[Any, ...]], token_texts: list[list[Piece]], answer_texts: list[str]):
        super().__init__(rows)
        self.token_texts, self.answer_texts = token_texts, answer_texts


def pieces_of(inp: Any) -> list[Piece]:
    """All of a prompt's text, where the input's kind is known, and otherwise the names of its features."""
    if hasattr(inp, "itp_mask") and hasattr(inp.tokenizer, "decode"):
        return _of_tokens(inp)
    return (hasattr(inp, "format_fn") and _of_template(inp)) or list(zip(map(str, inp.values), groups_of(inp)))


def _of_tokens(inp: Any) -> list[Piece]:
    """Of a `TextTokenInput`, with the tokens that it skips."""
    ids = inp.inp_tensor[0].tolist()
    is_feature = [True] * len(ids) if inp.itp_mask is None else inp.itp_mask[0].tolist()
    columns = iter(range(len(ids)))
    return [(text, next(columns) if own else None) for text, own in zip(texts_of(inp.tokenizer, ids), is_feature)]


def texts_of(tokenizer: Any, ids: list[int]) -> list[str]:
    """The text of each token, such as " lives": what it adds to that of the token before it.

    A token that is a part of a character has no text; its name in the vocabulary takes its place.
    """
    pairs = zip([[], *([i] for i in ids)], ids)
    return [_added(tokenizer, before, token) for before, token in pairs]


def _added(tokenizer: Any, before: list[int], token: int) -> str:
    earlier = tokenizer.decode(before) if before else ""
    both = tokenizer.decode([*before, token])
    text = both.removeprefix(earlier)
    if both.startswith(earlier) and text and "\ufffd" not in text:
        return str(text)
    return str(tokenizer.convert_ids_to_tokens([token])[0])


def _of_template(inp: Any) -> list[Piece]:
    """Of a `TextTemplateInput`; empty if its template does more than to put the values in their places."""
    marked = copy.copy(inp)
    marked.values = [f"{BEGIN}{i} {value}{END}" for i, value in enumerate(inp.values)]
    try:
        text, groups = marked.to_model_input(), groups_of(inp)
    except Exception:  # of a template that is a function and takes its own values only
        return []
    if VALUE.sub(r"\2", text) != inp.to_model_input():
        return []
    parts = VALUE.split(text)  # a text between values, the number of a value, the value, ...
    fixed: list[Piece] = [(part, None) for part in parts[::3]]
    values: list[Piece] = [(value, groups[int(i)]) for i, value in zip(parts[1::3], parts[2::3])]
    pairs = [piece for pair in zip(fixed, values) for piece in pair] + fixed[-1:]
    return [piece for piece in pairs if piece != ("", None)]


def is_answer(tokenizer: Any, answer: Tensor, result: Any) -> bool:
    """Whether a result of Captum's explains this answer, as far as its tokens tell.

    Captum spells the tokens in its own way, so only letters and digits are compared, of tokens in ASCII.
    """
    tokens = list(getattr(result, "output_tokens", []))
    if not tokens or not hasattr(tokenizer, "decode"):
        return True
    pairs = [(_letters(t), _letters(tokenizer.decode([i]))) for t, i in zip(tokens, answer.tolist()) if t.isascii()]
    return len(tokens) == len(answer) and all(a == b for a, b in pairs)


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text))


def answer_text(tokenizer: Any, answer: Tensor) -> str:
    return str(tokenizer.decode(answer.tolist())).strip() if hasattr(tokenizer, "decode") else str(answer.tolist())
