"""What is certain of a table of scores: pair by pair, and in words."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from .._core.printing import printable
from .certainty import fewest
from .decisions import Decisions
from .display import DECIDED_OF, SENTENCES, counted
from .score import GROUP, check_dataset, groups_of, methods_of
from .stop_rule import ALPHA, WITHIN, Question, Rule, control_named, questions_of_dataset, rule_of

# Attributes of a dataset that say what was decided.
UNTIL, UNFINISHED = "until", "unfinished_groups"
MOST_NAMED = 3  # open pairs in a sentence
WANTED = {"best": "the best method", "ranking": "the ranking", "control": "the comparison with the control"}


def attributes_of(decisions: Decisions, examples: int) -> dict[str, Any]:
    """What the results say of a rule and of what it has decided, of so many examples in the data set."""
    rule, open_ones = decisions.rule, [q.label for k, q in decisions.questions() if decisions.open_pairs(k)]
    return {
        UNTIL: rule.until,
        "alpha": rule.alpha,
        "within": rule.within,
        "pairs": rule.pairs,
        **({} if open_ones else {"decided_after": max(decisions.decided_at(k) for k, _ in decisions.questions())}),
        "examples_of_data": examples,
        "undecided": json.dumps(open_ones),
        SENTENCES: json.dumps(sentences(decisions, examples)),
        DECIDED_OF: json.dumps([len(rule.methods), decisions.examples]),
    }


ATTRIBUTES = (
    *(UNTIL, "alpha", "within", "pairs", "decided_after", "examples_of_data", "undecided"),
    *(SENTENCES, DECIDED_OF, UNFINISHED),
)


def decisions_of(dataset: xr.Dataset, until: Any = None, alpha: Any = None, within: Any = None) -> Decisions:
    """What these results decide; what is not given is taken from the rule that stopped them, if there was one."""
    found, arrays = opened(dataset, until, alpha, within)
    found.add(arrays)
    return found


def opened(
    dataset: xr.Dataset, until: Any = None, alpha: Any = None, within: Any = None
) -> tuple[Decisions, dict[str, np.ndarray[Any, Any]]]:
    """What is to be decided, before any score is seen, and the scores that `Decisions.add` takes."""
    check_dataset(dataset)
    about = dataset.attrs
    questions = questions_of_dataset(dataset)
    asked = _asked(about.get(UNTIL, "best"), questions) if until is None else until
    level = about.get("alpha", ALPHA) if alpha is None else alpha
    share = about.get("within", WITHIN) if within is None else within
    methods = methods_of(dataset)
    control = control_named(str(about.get("control", "random")), methods)
    rule = rule_of(asked, level, share, questions, methods, control)
    if until is None and alpha is None and within is None:
        rule = replace(rule, pairs=int(about.get("pairs", rule.pairs)))
    found = Decisions(replace(rule, groups=_groups(dataset)))
    axes = ("attribution", "example", ...)
    return found, {str(q.index): dataset[q.metric].transpose(*axes).values for q in rule.questions}


def _asked(until: Any, questions: Sequence[Question]) -> Any:
    """What was asked, of the scores that the results still have; the best method if they have none of them."""
    if not str(until).startswith("{"):
        return until
    known = {name for q in questions for name in (q.metric, q.label)}
    return {name: kind for name, kind in json.loads(until).items() if name in known} or "best"


def _groups(dataset: xr.Dataset) -> tuple[int, ...] | None:
    """The number of each example's group; those whose examples are not all there have one more, which never comes."""
    numbers = groups_of(dataset)
    if numbers is None:
        return None
    number_of = dict(zip(dataset[GROUP].values.tolist(), numbers))
    unfinished = json.loads(dataset.attrs.get(UNFINISHED, "[]"))
    every = (*numbers, *(number_of[label] for label in unfinished if label in number_of))
    return every if len({*every}) < len(every) else None  # groups of one example are none


def with_unfinished(dataset: xr.Dataset, parts: Sequence[xr.Dataset]) -> xr.Dataset:
    """Joined results, with the groups that were cut in one of the parts and got no further example from another."""

    def of(part: xr.Dataset, label: Any) -> int:
        return int((part[GROUP] == label).sum())

    cut = [(part, label) for part in parts for label in json.loads(part.attrs.get(UNFINISHED, "[]"))]
    still = dict.fromkeys(label for part, label in cut if of(part, label) == of(dataset, label))
    return dataset.assign_attrs({UNFINISHED: json.dumps([*still])} if still else {})


def table(decisions: Decisions) -> pd.DataFrame:
    """A row for each comparison: see `Evaluation.certainty`."""
    process, rule = decisions.process, decisions.rule
    questions = [rule.questions[k] for k in decisions.question]
    methods = [printable(name) for name in rule.methods]
    with np.errstate(invalid="ignore"):
        mean = decisions.difference / process.used
    return pd.DataFrame(
        {
            "metric": [printable(q.metric) for q in questions],
            "axis": [q.axis for q in questions],
            "at": [np.nan if q.at is None else q.at for q in questions],
            "method": [methods[i] for i in decisions.method],
            "other": [methods[i] for i in decisions.other],
            "within": decisions.share,
            "mean_difference": mean,
            "log_e_value": process.log_e,
            "threshold": process.thresholds,
            "decided": [{1: "better", -1: "worse", 0: ""}[side] for side in process.side.tolist()],
            "decided_at": process.decided_at,
            "contradictory": process.contradictory,
            "examples": process.used,
            "left_out": process.left_out,
        }
    )


# ---- in words


def sentences(decisions: Decisions, examples: int) -> list[str]:
    """What is decided of each score, after how many of the data set's examples, and what is not."""
    return [_sentence(decisions, k, q, examples) for k, q in decisions.questions()]


def _sentence(decisions: Decisions, k: int, question: Question, examples: int) -> str:
    name, after = printable(question.label), decisions.decided_at(k)
    against = _contradictory(decisions, k)
    if not after:
        left = decisions.open_pairs(k)
        return (
            f"{name}: {WANTED[question.until]} is not certain after {decisions.examples} of "
            f"{counted(examples, 'example')}; {counted(left, 'pair')} {'is' if left == 1 else 'are'} open"
            f"{_open_pairs(decisions, k)}.{_too_few(decisions, k)}{_without_scores(decisions, k)}{against}"
        )
    said = {"best": _best, "ranking": _ranking, "control": _control}[question.until](decisions, k)
    return f"{name}: {said} on a typical example, decided after {after} of {counted(examples, 'example')}.{against}"


def _open_pairs(decisions: Decisions, k: int) -> str:
    """Their names, if they are few; which pairs a best method lacks depends on the method."""
    rows = np.flatnonzero((decisions.question == k) & (decisions.process.decided_at == 0)).tolist()
    if decisions.rule.questions[k].until == "best" or len(rows) > MOST_NAMED:
        return ""
    return f" ({', '.join(_pair(decisions, row) for row in rows)})"


def _pair(decisions: Decisions, row: int) -> str:
    return " and ".join(_names(decisions.rule, [int(decisions.method[row]), int(decisions.other[row])]))


def _too_few(decisions: Decisions, k: int) -> str:
    """Where there were so few examples, or groups of them, that no scores could have decided it."""
    rows, noun = decisions.question == k, "example" if decisions.rule.groups is None else "group"
    least = fewest(float(decisions.process.thresholds[rows].max()), bool(decisions.process.one_sided[rows].any()))
    return f" At least {least} {noun}s are needed." if decisions.process.used[rows].max() < least else ""


def _without_scores(decisions: Decisions, k: int) -> str:
    """Methods whose pairs stay open, however many examples there are."""
    names = _names(decisions.rule, np.flatnonzero(decisions.scored[k] == 0).tolist())
    return f" No example has a score of {listed(names)}." if names else ""


def _best(decisions: Decisions, k: int) -> str:
    names = _names(decisions.rule, decisions.best(k))
    within = f" within {decisions.rule.within * 100:g} %" if decisions.rule.near_ties else ""
    return f"{listed(names)} {'is' if len(names) == 1 else 'are'} best{within}"


def _ranking(decisions: Decisions, k: int) -> str:
    wins = decisions.won(decisions.question == k).sum(1)
    if len({*wins.tolist()}) < len(wins):
        return "every pair is decided, but they are in no order"
    return " > ".join(_names(decisions.rule, np.argsort(-wins).tolist()))


def _control(decisions: Decisions, k: int) -> str:
    rule, wins = decisions.rule, decisions.won(decisions.question == k)
    control = int(decisions.other[decisions.question == k][0])
    better, worse = (_names(rule, np.flatnonzero(won).tolist()) for won in (wins[:, control], wins[control]))
    parts = [
        f"{listed(names)} {'is' if len(names) == 1 else 'are'} {side} than {printable(rule.methods[control])}"
        for names, side in ((better, "better"), (worse, "worse"))
        if names
    ]
    return " and ".join(parts)


def _contradictory(decisions: Decisions, k: int) -> str:
    rows = np.flatnonzero((decisions.question == k) & decisions.process.contradictory).tolist()
    said = ", ".join(_pair(decisions, row) for row in rows)
    return f" Contradictory, as the mean points the other way: {said}." if said else ""


def _names(rule: Rule, numbers: Sequence[int]) -> list[str]:
    return [printable(rule.methods[i]) for i in numbers]


def listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
