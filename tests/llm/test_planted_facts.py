"""The planted-fact model of `benchmarks/planted_facts.py`: what it is taught, and that its table can be made."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path

import pytest
import torch

from captum_ext.demo import facts as of_facts

FILE = Path(__file__).parents[2] / "benchmarks" / "planted_facts.py"
METHODS = ("FeatureAblation", "LayerIntegratedGradients from the mean word", "random")


@cache
def planted_facts():
    specification = importlib.util.spec_from_file_location("planted_facts", FILE)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_every_answer_of_an_exercise_is_in_its_facts():
    p, draw = of_facts, torch.Generator().manual_seed(0)
    for facts, asked in p.drawn(20, 3, draw):
        words = p.exercise(facts, draw).split()
        assert " ".join(words).startswith(" ".join(p.sentences(facts)))
        rest = torch.arange(3 * p.OF_FACT, len(words)).reshape(3, p.OF_QUESTION).tolist()
        assert {(words[row[2]], words[row[-1]]) for row in rest} <= set(facts)
        assert 0 <= asked < 3


def test_the_first_layer_sees_as_many_words_as_a_fact_has():
    p = of_facts
    layer = p.new_model().eval()
    ids = torch.arange(12)[None]
    other = ids.clone()
    other[0, 0] = 20
    first, changed = (layer(x, output_hidden_states=True).hidden_states[1][0] for x in (ids, other))
    assert (first != changed).any(1).nonzero().flatten().tolist() == list(range(p.OF_FACT))


@pytest.mark.filterwarnings("ignore")
def test_the_table_has_a_row_for_every_method_and_pools_the_prompts_of_all_models(monkeypatch):
    p = planted_facts()
    methods = p.methods_of
    monkeypatch.setattr(p, "methods_of", lambda texts: {name: methods(texts)[name] for name in METHODS})
    evaluations = []
    for seed in (0, 1):
        model, words = p.trained(seed, steps=2)
        evaluations.append(p.evaluated(model, words, p.drawn(2, p.FACTS, torch.Generator().manual_seed(seed))))
    pooled = p.pooled(evaluations)
    assert pooled.dataset.sizes["example"] == 4
    table = p.table(pooled)
    assert list(table.index) == list(METHODS)
    assert list(table.columns) == list(p.METRICS)
    assert not table.isna().any().any()


def test_accuracy_is_the_share_of_right_answers():
    p = planted_facts()
    model, words = p.trained(0, steps=0)
    assert p.accuracy(model, words, p.drawn(200, p.FACTS, torch.Generator().manual_seed(0))) < 0.5
