"""The models of these tests have learnt something, and the transformer computes what its authors' package does."""

from __future__ import annotations

import torch
from torch.testing import assert_close

from .domains import domain, every_domain, sentences
from .explained import left_out, score, shapley, tuples, without


def test_the_models_know_more_than_the_commonest_answer():
    assert domain("table").facts["accuracy"] > 0.9
    assert domain("two inputs").facts["explained"] > 0.4
    assert domain("series").facts["explained"] > 0.6
    segmentation = domain("segmentation").facts
    assert segmentation["accuracy"] > segmentation["always the same"] + 0.15


def test_the_transformer_finds_the_topic_of_every_sentence():
    text = domain("text")
    with torch.no_grad():
        found = text.model(text.inputs, text.additional_forward_args).argmax(1)
    assert found.tolist() == text.target.tolist()


def test_the_transformers_sentences_are_those_of_its_authors_package():
    text = domain("text")
    attention = text.additional_forward_args
    with torch.no_grad():
        from_ids = sentences(text.facts["bert"], attention, input_ids=text.facts["token_ids"])
        from_embeddings = sentences(text.facts["bert"], attention, inputs_embeds=text.inputs)
    assert torch.equal(from_ids, from_embeddings)
    encoded = [  # by sentence-transformers 6.2
        [0.070305, 0.07075, 0.04671, 0.032728, -0.160394, 0.02367],
        [-0.074475, -0.023441, 0.059076, -0.004268, -0.07958, -0.009075],
    ]
    assert_close(from_ids[:2, :6], torch.tensor(encoded), rtol=0, atol=2e-5)


@every_domain
def test_shapley_values_of_these_tests_add_up(name):
    some = domain(name)[:3]
    whole, empty = (
        score(some, *tuples(some.inputs)),
        score(some, *without(some, [torch.ones(3, dtype=torch.bool)] * 99)),
    )
    assert_close(shapley(some, 1).sum(1), whole - empty, rtol=1e-4, atol=1e-4)
    assert left_out(some).shape == shapley(some, 1).shape
