"""Which of Captum's methods finds the fact that a language model's answer depends on.

Run `python benchmarks/planted_facts.py`, some minutes on one core. A model of two layers learns to answer from the
prompt, "ann lives in rome . bob lives in oslo . where does bob live ? in oslo", so it is known which fact an answer
depends on. Each method is scored by metrics that do not know that fact, and by the share of prompts in which that fact
has the largest attribution. A model is trained for each seed, and the prompts of all of them count together. Intervals
are of 95 %.
"""

from __future__ import annotations

import argparse
import platform
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import captum
import pandas as pd
import torch
import transformers
import xarray as xr
from captum.attr import (
    FeatureAblation,
    KernelShap,
    LayerGradientShap,
    LayerGradientXActivation,
    LayerIntegratedGradients,
    Lime,
    ShapleyValues,
    ShapleyValueSampling,
    TextTemplateInput,
    TextTokenInput,
)
from scipy.stats import binomtest
from torch import Tensor

from captum_ext import Evaluation, evaluate, llm, metrics, random_attribution
from captum_ext.demo.facts import (
    FACTS,
    OF_FACT,
    OF_QUESTION,
    VOCABULARY,
    Fact,
    accuracy,
    answer,
    drawn,
    question,
    sentences,
    trained,
)


class OfFacts:
    """A method for single tokens as one for facts: the sum over each fact's tokens. Absent tokens become `absent`."""

    def __init__(self, of_tokens: Callable[[Any], Callable[..., Tensor]], texts: list[str], absent: str):
        self.of_tokens, self.texts, self.absent = of_tokens, texts, VOCABULARY.index(absent)

    def __call__(self, f: llm.LogProbability) -> Callable[..., Tensor]:
        inputs = [TextTokenInput(text, f.tokenizer, baselines=self.absent, skip_tokens=[1]) for text in self.texts]
        explain = self.of_tokens(llm.LogProbability(f.model, f.tokenizer, inputs, f.answers))
        return partial(self.summed, explain)

    @staticmethod
    def summed(explain: Any, inputs: Tensor, target: Any = 0, additional_forward_args: Any = None) -> Tensor:
        count = inputs.shape[1]
        maps = explain(torch.ones(len(inputs), 1), target, additional_forward_args)
        return maps[:, : count * OF_FACT].unflatten(1, (count, OF_FACT)).sum(-1)


def methods_of(texts: list[str]) -> dict[str, Any]:
    embedding = {"layer": "model.embed_tokens"}
    default = {"use_cached_outputs": True, "forward_in_tokens": True}
    nothing = torch.zeros(1, FACTS * OF_FACT + OF_QUESTION - 2, dtype=torch.long)  # all tokens of a prompt are absent

    def gradients(kind: Any, absent: str = "<pad>", **settings: Any) -> OfFacts:
        return OfFacts(llm.method(kind, **embedding, **settings), texts, absent)

    return {
        "FeatureAblation": llm.method(FeatureAblation),
        "FeatureAblation, Captum's default path": llm.method(FeatureAblation, **default),
        "ShapleyValues": llm.method(ShapleyValues),
        "ShapleyValueSampling, 5 orders": llm.method(ShapleyValueSampling, n_samples=5),
        "Lime, 50 rows": llm.method(Lime, n_samples=50),
        "KernelShap, 50 rows": llm.method(KernelShap, n_samples=50),
        "LayerIntegratedGradients from zero": gradients(LayerIntegratedGradients, n_steps=20),
        "LayerIntegratedGradients from the mean word": gradients(LayerIntegratedGradients, "<mean>", n_steps=20),
        "LayerGradientShap from the mean word": gradients(LayerGradientShap, "<mean>", baselines=nothing),
        "LayerGradientXActivation": gradients(LayerGradientXActivation),
        "random": random_attribution,
    }


METRICS = {
    "deletion": metrics.deletion,
    "LDS": metrics.linear_datamodeling_score,
    "sensitivity-1": partial(metrics.sensitivity_n, n=1),
    "completeness": metrics.completeness,
    "finds the fact": metrics.relevance_rank_accuracy,
}


def evaluated(model: Any, words: Any, examples: list[tuple[list[Fact], int]]) -> Evaluation:
    template = " ".join(["{}"] * FACTS)
    inputs = [TextTemplateInput(f"{template} {question(f[i][0])}", sentences(f)) for f, i in examples]
    texts = [" ".join([*sentences(f), question(f[i][0])]) for f, i in examples]
    f = llm.LogProbability(model, words, inputs, [answer(facts[i][1]) for facts, i in examples])
    truth = [torch.arange(FACTS) == i for _, i in examples]
    data = [(x, target, p, {**further, "truth_mask": t}) for (x, target, p, further), t in zip(f.data, truth)]
    return evaluate(f, data, methods_of(texts), METRICS, seed=0)


def table(evaluation: Evaluation) -> pd.DataFrame:
    found = evaluation.summary().set_index(["attribution", "metric"])
    cells = {key: f"{row['mean']:.3f} [{row['low']:.3f}, {row['high']:.3f}]" for key, row in found.iterrows()}
    truth = evaluation.dataset["finds the fact"]
    for name in truth["attribution"].values:
        hits, of = int((truth.sel(attribution=name) == 1).sum()), truth.sizes["example"]
        low, high = binomtest(hits, of).proportion_ci()  # exact, also where all prompts agree
        cells[name, "finds the fact"] = f"{hits / of:.2f} [{low:.2f}, {high:.2f}]"
    return pd.Series(cells).unstack().loc[list(truth["attribution"].values), list(METRICS)]


def pooled(evaluations: list[Evaluation]) -> Evaluation:
    """The prompts of all models as the examples of one evaluation."""
    together = xr.concat([e.dataset for e in evaluations], "example", combine_attrs="override")
    return Evaluation(together.assign_coords(example=range(together.sizes["example"])))


def of_seed(seed: int, prompts: int, steps: int) -> Evaluation:
    began = time.process_time()
    model, words = trained(seed, steps)
    seconds, draw = time.process_time() - began, torch.Generator().manual_seed(1000 + seed)
    share = accuracy(model, words, drawn(1000, FACTS, draw))
    print(f"seed {seed}: answers {share:.1%} of 1000 new questions after {seconds:.0f} s of training", flush=True)
    if share < 0.95:
        raise SystemExit("The model has not learnt its task: the fact that was asked for is no known truth.")
    return evaluated(model, words, drawn(prompts, FACTS, draw))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=50, help="of each seed")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=3)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", module="captum")
    print(
        f"captum {captum.__version__}, torch {torch.__version__}, transformers {transformers.__version__}, "
        f"Python {platform.python_version()}"
    )
    evaluations = [of_seed(seed, chosen.prompts, chosen.steps) for seed in range(chosen.seeds)]
    print(f"{chosen.prompts * chosen.seeds} prompts of {FACTS} facts")
    print(table(pooled(evaluations)).to_string())


if __name__ == "__main__":
    main()
