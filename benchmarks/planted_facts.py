"""Which of Captum's methods finds the fact that a language model's answer depends on.

Run `python benchmarks/planted_facts.py`, about two minutes on one core. A Llama of two layers learns to answer from the
prompt, "ann lives in rome . bob lives in oslo . where does bob live ? in oslo", so it is known which fact an answer
depends on. Each method is scored by metrics that do not know that fact, and by the share of prompts in which that fact
has the largest attribution. Intervals are of 95 %.
"""

from __future__ import annotations

import argparse
import platform
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import captum
import pandas as pd
import torch
import transformers
from captum.attr import (
    FeatureAblation,
    KernelShap,
    LayerGradientXActivation,
    LayerIntegratedGradients,
    Lime,
    ShapleyValues,
    ShapleyValueSampling,
    TextTemplateInput,
    TextTokenInput,
)
from scipy.stats import binomtest
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor

from captum_ext import Evaluation, evaluate, llm, metrics, random_attribution

NAMES = ["ann", "bob", "eve", "tom", "kim", "leo", "mia", "sam", "zoe", "max", "ida", "ben"]
CITIES = ["rome", "oslo", "paris", "cairo", "lima", "delhi", "tokyo", "quito", "seoul", "minsk", "bern", "kyiv"]
VOCABULARY = ["<pad>", "<s>", *["lives", "in", ".", "where", "does", "live", "?"], *NAMES, *CITIES]
FACTS, OF_FACT = 4, 5  # facts a prompt, tokens a fact
Fact = tuple[str, str]


def tokenizer() -> Any:
    """One token a word."""
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(VOCABULARY)}, unk_token="<pad>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 1)])
    return transformers.PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", pad_token="<pad>")


def drawn(count: int, n_facts: int, draw: torch.Generator) -> list[tuple[list[Fact], int]]:
    """Facts about different persons in different cities, and the number of the one that is asked for."""
    names, cities = (torch.rand(count, len(of), generator=draw).argsort(1)[:, :n_facts] for of in (NAMES, CITIES))
    asked = torch.randint(n_facts, (count,), generator=draw).tolist()
    facts = [[(NAMES[n], CITIES[c]) for n, c in zip(*row)] for row in zip(names.tolist(), cities.tolist())]
    return list(zip(facts, asked))


def sentences(facts: list[Fact]) -> list[str]:
    return [f"{name} lives in {city} ." for name, city in facts]


def question(name: str) -> str:
    return f"where does {name} live ?"


def model_that_looks_back() -> transformers.LlamaForCausalLM:
    """A Llama whose first layer begins by looking one to four words back, and its second by matching equal words.

    From a plain random start so small a model did not learn the task in some thousand steps.
    """
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    special = {"bos_token_id": 1, "eos_token_id": None, "pad_token_id": 0, "vocab_size": len(VOCABULARY)}
    config = transformers.LlamaConfig(**sizes, **special, attention_bias=True, initializer_range=0.1)
    model = transformers.LlamaForCausalLM(config)
    first, second = (layer.self_attn for layer in model.model.layers)
    turned = model.model.rotary_emb.inv_freq * torch.arange(1, 5)[:, None]  # [heads, pairs of a head's coordinates]
    with torch.no_grad():
        first.q_proj.weight.zero_()
        first.k_proj.weight.zero_()
        first.k_proj.bias.copy_(9 * torch.cat((turned.cos() ** 0, turned * 0), 1).flatten())
        first.q_proj.bias.copy_(9 * torch.cat((turned.cos(), -turned.sin()), 1).flatten())
        second.k_proj.weight.copy_(second.q_proj.weight)  # so that equal words attend to each other
    return model


def train(model: Any, words: Any, steps: int, draw: torch.Generator) -> None:
    """On prompts of two to four facts; only the answer is learnt."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(steps):
        examples = drawn(64, 2 + step % 3, draw)
        texts = [" ".join([*sentences(f), question(f[i][0]), "in", f[i][1]]) for f, i in examples]
        ids = torch.tensor(words(texts)["input_ids"])
        labels = torch.full_like(ids, -100)
        labels[:, -2:] = ids[:, -2:]
        optimizer.zero_grad()
        model(ids, labels=labels).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    model.eval().requires_grad_(False)


@torch.no_grad()
def accuracy(model: Any, words: Any, examples: list[tuple[list[Fact], int]]) -> float:
    """The share of questions that the model answers by the right city, when it goes on by itself."""
    texts = [" ".join([*sentences(f), question(f[i][0]), "in"]) for f, i in examples]
    said = model(torch.tensor(words(texts)["input_ids"])).logits[:, -1].argmax(-1)
    right = [VOCABULARY.index(f[i][1]) for f, i in examples]
    return (said == torch.tensor(right)).float().mean().item()


class OfFacts:
    """A method for single tokens as one for facts: the sum over each fact's tokens."""

    def __init__(self, of_tokens: Callable[[Any], Callable[..., Tensor]], texts: list[str]):
        self.of_tokens, self.texts = of_tokens, texts

    def __call__(self, f: llm.LogProbability) -> Callable[..., Tensor]:
        inputs = [TextTokenInput(text, f.tokenizer, skip_tokens=[1]) for text in self.texts]
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
    return {
        "FeatureAblation": llm.method(FeatureAblation),
        "FeatureAblation, Captum's default path": llm.method(FeatureAblation, **default),
        "ShapleyValues": llm.method(ShapleyValues),
        "ShapleyValueSampling, 5 orders": llm.method(ShapleyValueSampling, n_samples=5),
        "Lime, 50 rows": llm.method(Lime, n_samples=50),
        "KernelShap, 50 rows": llm.method(KernelShap, n_samples=50),
        "LayerIntegratedGradients": OfFacts(llm.method(LayerIntegratedGradients, **embedding, n_steps=20), texts),
        "LayerGradientXActivation": OfFacts(llm.method(LayerGradientXActivation, **embedding), texts),
        "random": random_attribution,
    }


METRICS = {
    "deletion": metrics.deletion,
    "LDS": metrics.linear_datamodeling_score,
    "sensitivity-1": partial(metrics.sensitivity_n, n=1),
    "finds the fact": metrics.relevance_rank_accuracy,
}


def evaluated(model: Any, words: Any, examples: list[tuple[list[Fact], int]]) -> Evaluation:
    template = " ".join(["{}"] * FACTS)
    inputs = [TextTemplateInput(f"{template} {question(f[i][0])}", sentences(f)) for f, i in examples]
    texts = [" ".join([*sentences(f), question(f[i][0])]) for f, i in examples]
    f = llm.LogProbability(model, words, inputs, [f"in {facts[i][1]}" for facts, i in examples])
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=100)
    parser.add_argument("--steps", type=int, default=300)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", module="captum")
    torch.manual_seed(0)
    draw, words, model = torch.Generator().manual_seed(0), tokenizer(), model_that_looks_back()
    train(model, words, chosen.steps, draw)
    print(
        f"captum {captum.__version__}, torch {torch.__version__}, transformers {transformers.__version__}, "
        f"Python {platform.python_version()}"
    )
    share = accuracy(model, words, drawn(1000, FACTS, draw))
    print(f"answers {share:.1%} of 1000 new questions; {chosen.prompts} prompts of {FACTS} facts", flush=True)
    if share < 0.95:
        raise SystemExit("The model has not learnt its task: the fact that was asked for is no known truth.")
    print(table(evaluated(model, words, drawn(chosen.prompts, FACTS, draw))).to_string())


if __name__ == "__main__":
    main()
