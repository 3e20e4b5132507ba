"""The formulas of docstrings, which are LaTeX, as text for a terminal."""

from __future__ import annotations

import re

SYMBOLS = {
    "alpha": "α", "beta": "β", "gamma": "γ", "epsilon": "ε", "varepsilon": "ε", "mu": "μ", "phi": "φ", "pi": "π",
    "psi": "ψ", "rho": "ρ", "sigma": "σ", "tau": "τ", "lambda": "λ", "theta": "θ", "delta": "δ", "Delta": "Δ",
    "eta": "η", "omega": "ω", "sum": "Σ", "prod": "Π", "int": "∫", "partial": "∂", "nabla": "∇", "sqrt": "√",
    "cap": "∩", "cup": "∪", "cdot": "·", "times": "×", "odot": "⊙", "setminus": "∖", "in": "∈", "notin": "∉",
    "ge": "≥", "geq": "≥", "le": "≤", "leq": "≤", "ne": "≠", "neq": "≠", "sim": "~", "approx": "≈", "to": "→",
    "infty": "∞", "pm": "±", "langle": "⟨", "rangle": "⟩", "lVert": "‖", "rVert": "‖", "lvert": "|", "rvert": "|",
    "triangle": "△", "top": "ᵀ", "dots": "…", "ldots": "…", "ln": "ln", "log": "log", "exp": "exp", "max": "max",
    "min": "min", "Pr": "Pr", "mid": "|", "ell": "ℓ", "emptyset": "∅", "subseteq": "⊆", "quad": "  ", "qquad": "    ",
    "lceil": "⌈", "rceil": "⌉", "lfloor": "⌊", "rfloor": "⌋", "forall": "∀", "lim": "lim", "cos": "cos", "arg": "arg",
}  # fmt: skip
ACCENTS = {"hat": "\u0302", "bar": "\u0304", "tilde": "\u0303"}
FONTS = ("operatorname", "text", "mathrm", "mathbb", "mathbf", "mathcal", "mathit")
ARGUMENT = r"\s*(\{[^{}]*\}|\\[A-Za-z]+|[^\s{}\\])"  # in braces, a command, or a character
DISPLAYED = re.compile(r"^( *)\.\. math:: *(.*(?:\n\1 +\S.*)*)", re.MULTILINE)
NOTHING = "\ue003"  # ends a command that stands before it
INLINE = re.compile(r":math:`([^`]*)`")
ROLE = re.compile(r":[a-z:]+:(?=`)")


def as_text(docstring: str) -> str:
    """The docstring with each `.. math::` and `:math:` in characters, and names without their roles."""
    shown = DISPLAYED.sub(lambda found: f"{found[1]}    {_text_of(found[2])}", docstring)
    return ROLE.sub("", INLINE.sub(lambda found: _text_of(found[1]), shown))


def _text_of(latex: str) -> str:
    text = " ".join(latex.replace("\\\n", " ").split())
    text = re.sub(r"\\(?:[bB]igg?[lrm]?|left|right|limits|displaystyle)(?![A-Za-z])", "", text)
    text = (
        re.sub(r"\\[,;:! ]|~", " ", text)
        .replace("\\|", "‖")
        .replace("\\{", "\ue000")
        .replace("\\}", "\ue001")
        .replace("\\_", "\ue002")
    )
    before = None
    while before != text:  # from the innermost braces outwards
        before, text = text, _innermost(text)
    text = re.sub(r"\\([A-Za-z]+)", lambda found: SYMBOLS.get(found[1], found[1]), text)
    text = text.replace("{", "").replace("}", "").replace("&", "").replace("\\\\", ";")
    text = text.replace("\ue000", "{").replace("\ue001", "}").replace("\ue002", "_").replace(NOTHING, "")
    return re.sub(r"(?<=[(⟨]) | (?=[),⟩])", "", re.sub(r"  +", " ", text)).strip()


def _innermost(text: str) -> str:
    text = re.sub(r"\\[dt]?frac" + ARGUMENT + ARGUMENT, _fraction, text)
    text = re.sub(r"\\sqrt" + ARGUMENT, lambda found: f"√{_grouped(found[1])}", text)
    text = re.sub(rf"\\({'|'.join(FONTS)})(?![A-Za-z])" + ARGUMENT, lambda found: _bare(found[2]), text)
    text = re.sub(rf"\\({'|'.join(ACCENTS)})(?![A-Za-z])" + ARGUMENT, _accented, text)
    return re.sub(r"([_^])(\{[^{}]*\})", lambda found: found[1] + _grouped(found[2]), text)


def _fraction(found: re.Match[str]) -> str:
    above, below = _grouped(found[1]), _grouped(found[2])
    return f"{above} / {below}" if "(" in above + below else f"{above}/{below}"


def _bare(argument: str) -> str:
    return NOTHING + argument.strip("{}") + (" " if argument[:1] == "\\" else "")


def _grouped(argument: str) -> str:
    """In round brackets, unless it is a letter, a number, a command or in brackets."""
    inner = argument[1:-1].strip() if argument[:1] == "{" else argument
    return inner if re.fullmatch(rf"\w|\d+|\\[A-Za-z]+|{NOTHING}\w+|\([^()]*\)", inner) else f"({inner})"


def _accented(found: re.Match[str]) -> str:
    """The accent stands behind the letter that it belongs to."""
    inner = re.sub(r"\\([A-Za-z]+)", lambda name: SYMBOLS.get(name[1], name[1]), found[2].strip("{}"))
    return f"{inner[:1]}{ACCENTS[found[1]]}{inner[1:]}"
