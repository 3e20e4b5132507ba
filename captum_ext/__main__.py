"""The command `captum-ext`, also `python -m captum_ext`: the demo, results as a table or a page, and the metrics."""

from __future__ import annotations

import argparse
import difflib
import inspect
import os
import shutil
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ._core.formulas import as_text
from ._core.printing import printable
from ._version import __version__

if TYPE_CHECKING:
    from .metrics.available import Catalogue

EXAMPLES = """examples:
  captum-ext demo                              explanations of photographs and of digits: which can be trusted
  captum-ext demo --text                       the same of a language model whose answers hang on one known fact
  captum-ext show scores.h5                    the scores that `evaluate(..., path="scores.h5")` kept, in the terminal
  captum-ext report scores.h5 -o report.html   the same scores as one page for a browser
  captum-ext metrics                           the list of metrics
  captum-ext metrics deletion                  what one of them computes, and from what"""


def main(arguments: list[str] | None = None) -> int:
    """Runs the command and returns 0, or 1 after printing an error in one line; argparse exits with 2."""
    options = parser().parse_args(arguments)
    try:
        options.run(options)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        return failed("interrupted")
    except (OSError, ValueError, TypeError, ImportError) as error:
        return failed(" ".join(str(error).split()))
    return 0


def failed(why: str) -> int:
    print(f"captum-ext: {printable(why)}", file=sys.stderr)
    return 1


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        "captum-ext",
        description="Which explanation of your PyTorch model can you trust?",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=__version__)
    commands = top.add_subparsers(metavar="command", required=True)

    def command(run: Callable[[argparse.Namespace], None], text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(run.__name__, help=text, description=f"{text[0].upper()}{text[1:]}.")
        added.set_defaults(run=run)
        return added

    added = command(demo, "score explanations of photographs and digits, or of a language model's answers")
    added.add_argument("--text", action="store_true", help="of a language model, in about a minute")
    added.add_argument(
        "--output", type=Path, default=Path("demo"), metavar="FOLDER", help="where to write (default: %(default)s)"
    )
    added = command(show, "print the summary of stored results")
    added.add_argument("result", metavar="RESULT", help="what `evaluate(path=...)` or `Evaluation.save` wrote")
    added.add_argument("--metric", action="append", help="only this metric; may be given several times")
    added = command(report, "write stored results as one page for a browser")
    added.add_argument("result", metavar="RESULT", help="what `evaluate(path=...)` or `Evaluation.save` wrote")
    added.add_argument("-o", "--output", metavar="PAGE", help="where to write (default: RESULT with the ending .html)")
    added.add_argument("--attributions", metavar="FILE", help="what `attribute_dataset` wrote, to show its maps too")
    added.add_argument(
        "--examples", type=int, default=12, metavar="N", help="how many examples to show (default: %(default)s)"
    )
    added.add_argument("--baseline", default="random", metavar="METHOD", help="the control (default: %(default)s)")
    added.add_argument("--force", action="store_true", help="replace a page that is there already")
    added = command(metrics, "list the metrics, or explain one")
    added.add_argument("name", nargs="?", help="the metric to explain")
    return top


def demo(options: argparse.Namespace) -> None:
    from .demo import main

    main(options.output, options.text)


def show(options: argparse.Namespace) -> None:
    from .evaluation import display, load

    print(display.summary_text(load(options.result).dataset, metric=options.metric))


def report(options: argparse.Namespace) -> None:
    from .evaluation import load

    page = Path(options.output or Path(options.result).with_suffix(".html"))
    if page.absolute() == Path(options.result).absolute():
        raise ValueError(f"--output {page} is where the results are; choose another page.")
    load(options.result).report(
        page,
        attributions=options.attributions,
        n_examples=options.examples,
        baseline=options.baseline,
        overwrite=options.force,
    )
    print(printable(str(page)))


def metrics(options: argparse.Namespace) -> None:
    from . import metrics as exported

    known = {name: f for name, f in vars(exported).items() if hasattr(f, "card")}
    if options.name is None:
        print(catalogue(exported.available()))
        return
    name = options.name.lower().replace("-", "_")
    if name not in known:
        raise ValueError(f"no metric is named {options.name!r}. {meant(name, sorted(known))}")
    print(f"{call_of(known[name])}\n\n{as_text(inspect.getdoc(known[name]) or '')}")


def meant(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, cutoff=0.7)
    return f"Did you mean {' or '.join(near)}?" if near else "`captum-ext metrics` lists those that there are."


def catalogue(known: Catalogue) -> str:
    """A line per metric, by family: its name, an arrow to the better side, and as much of its summary as fits."""
    lines, room = [], shutil.get_terminal_size((120, 0)).columns
    longest = max(len(entry.name) for entry in known)
    for family, entries in known.families().items():
        lines.append(f"{family}:")
        for entry in entries:
            line = f"  {entry.name:{longest}} {entry.arrow} {entry.summary}"
            lines.append(line if len(line) <= room else line[: room - 1] + "…")
    return "\n".join([*lines, "\n↑ higher is better, ↓ lower is better"])


def call_of(function: Callable[..., object]) -> str:
    """The function's name and arguments, without their types."""
    signature = inspect.signature(function)
    bare = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
    call = f"{function.__name__}{signature.replace(parameters=bare, return_annotation=signature.empty)}"
    return textwrap.fill(call, 100, subsequent_indent="    ", break_long_words=False)


if __name__ == "__main__":
    sys.exit(main())
