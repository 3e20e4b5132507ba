"""The demo on texts: which explanation of a language model finds the fact that its answer depends on."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch

from captum_ext import Evaluation, evaluate, llm, metrics, random_attribution
from captum_ext.evaluation.display import summary_text

PROMPTS = 40
SCORES: dict[str, Any] = {
    "deletion": metrics.deletion,
    "sensitivity-1": partial(metrics.sensitivity_n, n=1),
    "finds the fact": metrics.relevance_rank_accuracy,
}


def explanation_methods() -> dict[str, Any]:
    from captum.attr import FeatureAblation, KernelShap, Lime, ShapleyValues

    return {
        "FeatureAblation": llm.method(FeatureAblation),
        "ShapleyValues": llm.method(ShapleyValues),
        "Lime": llm.method(Lime, n_samples=50),
        "KernelShap": llm.method(KernelShap, n_samples=50),
        "random": random_attribution,
    }


def main(output: Path) -> None:
    """Trains the model, explains its answers, and writes scores and report into `output`."""
    try:
        from . import facts
    except ImportError as error:
        wanted = 'pip install "captum-ext[text]"'
        raise ImportError(f"The demo on texts needs transformers and tokenizers: {wanted} ({error}).") from error
    methods = explanation_methods()
    print(
        f"{len(methods)} explanations of a language model, by {len(SCORES)} scores, on {PROMPTS} prompts of "
        f"{facts.FACTS} facts. The model is trained first; all takes about a minute.",
        flush=True,
    )
    torch.set_num_threads(1)  # the model is small
    model, words = facts.trained(seed=0)
    draw = torch.Generator().manual_seed(1000)
    share = facts.accuracy(model, words, facts.drawn(1000, facts.FACTS, draw))
    print(f"It answers {share:.1%} of 1000 new questions by the right city.", flush=True)
    output.mkdir(parents=True, exist_ok=True)
    result = scored(model, words, facts.drawn(PROMPTS, facts.FACTS, draw), methods)
    print(f"\n{summary_text(result.dataset)}\n")
    result.save(output / "text.h5", overwrite=True)
    print(f'Scores: {output / "text.h5"}. "finds the fact": the share of prompts in which the fact that was asked for')
    print("has the largest attribution. The other scores do not know it.")


def scored(model: Any, words: Any, examples: list[Any], methods: dict[str, Any]) -> Evaluation:
    """A feature is a fact, which is removed by leaving it out of the prompt."""
    from captum.attr import TextTemplateInput

    from . import facts

    template = " ".join(["{}"] * facts.FACTS)
    prompts = [
        TextTemplateInput(f"{template} {facts.question(known[i][0])}", facts.sentences(known)) for known, i in examples
    ]
    f = llm.LogProbability(model, words, prompts, [facts.answer(known[i][1]) for known, i in examples])
    truth = [torch.arange(facts.FACTS) == i for _, i in examples]
    data = [(x, target, row, {**further, "truth_mask": t}) for (x, target, row, further), t in zip(f.data, truth)]
    return evaluate(f, data, methods, SCORES, seed=0)
