"""The demo, `captum-ext demo`: explanations of a pretrained network, of a digit classifier and of a language model."""

from __future__ import annotations

import warnings
from pathlib import Path


def main(output: Path, text: bool = False) -> None:
    """Runs the demo on pictures, or goes on with an interrupted one, or the one on texts; writes into `output`."""
    warnings.filterwarnings("ignore", module="captum")  # it sets gradients and hooks, and says so each time
    if text:
        from . import text as prompts

        prompts.main(output)
        return
    from . import digits, pictures

    pictures.main(output)
    digits.main(output)
    print("Repeat the command to resume an interrupted run; remove the folder to start again.")
