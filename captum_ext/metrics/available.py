"""What metrics there are."""

from __future__ import annotations

import sys

from .._core.catalogue import Catalogue, catalogue


def available() -> Catalogue:
    """Every metric: its name, family, first sentence, better side, range, cost in model rows, what it needs, and its paper.

    A list that shows itself by family; `pandas.DataFrame(available())` is a table.

    Example:
        >>> deletion = next(entry for entry in available() if entry.name == "deletion")
        >>> deletion.family, deletion.better, deletion.needs
        ('removal curves', 'lower', ('model', 'attributions'))
    """
    exported = sys.modules[__name__.rpartition(".")[0]]
    return catalogue({name: getattr(exported, name) for name in exported.__all__})
