"""Texts whose tokens are coloured by their attributions, as HTML that reads well on light and on dark pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ._core.checks import describe
from ._core.printing import printable

Floats: TypeAlias = NDArray[np.float64]
Piece: TypeAlias = tuple[str, int | None]  # a text, and the column of the map that is about it

# Purple and orange, which differ in any kind of colour vision. They lie over the page's own colour, and the strongest
# still leaves the text a contrast of 4.5 on light and on dark pages, as WCAG 2.2 asks.
FOR, AGAINST, STRONGEST = "#7b61c9", "#d08000", 0.6
JOINERS = "\u200c\u200d"  # are not seen either, but Persian and emoji need them
LEGEND = "Purple speaks for the output, orange with a dotted line against it; each text has a scale of its own."
STYLE = {
    "": "white-space:pre-wrap;overflow-wrap:anywhere;line-height:1.7;margin:0",
    " span": "border-radius:.2em;margin:0 1px;padding:.1em 0;box-decoration-break:clone",
    " .negative": "text-decoration:underline dotted",
    " .undefined": "outline:1px dashed",
}


def as_pieces(text: Any, name: str) -> list[Piece]:
    """Returns the text's pieces. A text of strings alone has a column for each of them."""
    if isinstance(text, str) or not isinstance(text, Sequence):
        raise TypeError(f"`{name}` must have a list of tokens for each text, got {describe(text)}.")
    if all(isinstance(piece, str) for piece in text):
        return [(piece, column) for column, piece in enumerate(text)]
    wrong = [piece for piece in text if not _is_piece(piece)]
    if wrong:
        raise TypeError(
            f"`{name}` must have strings alone, one for each column of the map, or pairs alone of a string and the "
            f"number of its column, None for what is no feature; got {describe(wrong[-1])}."
        )
    return list(text)


def _is_piece(piece: Any) -> bool:
    of_two = isinstance(piece, tuple) and len(piece) == 2 and isinstance(piece[0], str)
    return of_two and (piece[1] is None or isinstance(piece[1], (int, np.integer)))


def as_values(row: Any, text: Any, name: str) -> Floats:
    """`[F]`: the map of one text, `[F]` or `[F, embedding]`, after checking that it has a column for each feature."""
    values = np.asarray(row, dtype=np.float64)
    values = values.sum(-1) if values.ndim == 2 else values
    columns = [column for _, column in as_pieces(text, "tokens") if column is not None]
    of_strings = all(isinstance(piece, str) for piece in text)
    fits = values.ndim == 1 and (len(values) == len(text) if of_strings else _all_within(columns, len(values)))
    if not fits:
        wanted = f"{len(text)} columns, one for each token" if of_strings else "a column for each number in the text"
        raise ValueError(f"`{name}` must have maps with {wanted}, got one of shape {np.shape(row)}.")
    return values


def _all_within(columns: Sequence[int], count: int) -> bool:
    return all(0 <= column < count for column in columns)


def as_html(text: Any, values: Floats | None = None) -> str:
    """The pieces one after the other, each that is a feature with its colour and, on pointing at it, its number."""
    pieces = as_pieces(text, "tokens")
    apart = any(piece[:1].isspace() or piece[-1:].isspace() for piece, _ in pieces)
    largest = 0.0 if values is None else _largest(values[[c for _, c in pieces if c is not None]])
    parts = [
        escape(printable(piece, keep="\n" + JOINERS))
        if values is None or column is None
        else _coloured(piece, float(values[column]), largest)
        for piece, column in pieces
    ]
    return ("" if apart else " ").join(parts)


def _largest(values: Floats) -> float:
    return float(np.abs(values[np.isfinite(values)]).max(initial=0.0))


def _coloured(piece: str, value: float, largest: float) -> str:
    shown = escape(printable(_with_signs(piece), keep="\n" + JOINERS))
    if not np.isfinite(value):
        return f'<span class="undefined" title="undefined">{shown}</span>'
    strength = round(255 * STRONGEST * abs(value) / largest) if largest else 0
    negative = ' class="negative"' if value < 0 and strength else ""
    color = f"{FOR if value >= 0 else AGAINST}{strength:02x}"
    return f'<span{negative} style="background:{color}" title="{value:.3g}">{shown}</span>'


def _with_signs(piece: str) -> str:
    """With signs for what would have no width to be coloured: line breaks, tabs, nothing at all."""
    return piece.replace("\r\n", "\n").replace("\n", "⏎\n").replace("\t", "⇥") or "∅"


def css(selector: str) -> str:
    """The style of a text within `selector`, without its colours."""
    return "".join(f"{selector}{part}{{{style}}}" for part, style in STYLE.items())


@dataclass(frozen=True, repr=False)
class TokenTexts:
    """Texts in a notebook: each text under its number, a line for each method."""

    texts: Sequence[Any]
    values: Mapping[str, Sequence[Floats]]  # method -> `[F]` of each text

    def _repr_html_(self) -> str:
        css_class = "captum-ext-tokens"
        body = "".join(self._of_text(i, f'<p class="{css_class}" dir="auto">') for i in range(len(self.texts)))
        return f"<style>{css('.' + css_class)}</style><p><small>{LEGEND}</small></p>{body}"

    def _of_text(self, i: int, begin: str) -> str:
        lines = "".join(
            f"<div><small>{escape(printable(name))}</small>{begin}{as_html(self.texts[i], rows[i])}</p></div>"
            for name, rows in self.values.items()
        )
        return f"<div><b>{i}</b>{lines}</div>" if len(self.texts) > 1 else lines

    def __repr__(self) -> str:
        return "\n".join(
            f"{i} {printable(name)}: {self._as_line(i, rows[i])}"
            for i in range(len(self.texts))
            for name, rows in self.values.items()
        )

    def _as_line(self, i: int, values: Floats) -> str:
        pieces = [(printable(piece.strip()), c) for piece, c in as_pieces(self.texts[i], "tokens")]
        return " ".join(piece if c is None else f"{piece} ({values[c]:.2g})" for piece, c in pieces)
