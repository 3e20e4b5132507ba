"""Names as they are printed: a name of somebody else's file must not steer a terminal or turn a line round."""

from __future__ import annotations


def printable(text: str, keep: str = "") -> str:
    r"""The text with an escape, such as \u001b, in place of each character that is not seen, but for those in `keep`.

    These are control characters, line breaks, marks that change the direction of writing, and the like.
    """
    if text.isprintable():
        return text
    for c in set(text):  # a page has few different characters
        if not c.isprintable() and c not in keep:
            text = text.replace(c, _escape(ord(c)))
    return text


def _escape(code: int) -> str:
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
