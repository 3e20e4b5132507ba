"""A language model that answers from the facts of its prompt, so that it is known on which fact an answer depends.

"ann lives in rome . bob lives in oslo . where does bob live ? in oslo". It has two layers and is trained from random
weights, in some 20 seconds.
"""

from __future__ import annotations

from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors

NAMES = ["ann", "bob", "eve", "tom", "kim", "leo", "mia", "sam", "zoe", "max", "ida", "ben"]
CITIES = ["rome", "oslo", "paris", "cairo", "lima", "delhi", "tokyo", "quito", "seoul", "minsk", "bern", "kyiv"]
VOCABULARY = ["<pad>", "<s>", "<mean>", *["lives", "in", ".", "where", "does", "live", "?"], *NAMES, *CITIES]
FACTS, OF_FACT, OF_QUESTION = 4, 5, 7  # facts a prompt, tokens a fact, tokens a question and its answer
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


def answer(city: str) -> str:
    return f"in {city}"


def new_model() -> Any:
    """Two layers with random weights: the first sees five words, as many as a fact has, and the second sees all."""
    sizes: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 64, "head_dim": 16, "num_attention_heads": 2}
    special: dict[str, Any] = {
        "bos_token_id": 1,
        "eos_token_id": None,
        "pad_token_id": 0,
        "vocab_size": len(VOCABULARY),
    }
    layers: dict[str, Any] = {"num_hidden_layers": 2, "layer_types": ["sliding_attention", "full_attention"]}
    window: dict[str, Any] = {"use_sliding_window": True, "sliding_window": OF_FACT, "max_window_layers": 0}
    config = transformers.Qwen3Config(**sizes, **special, **layers, **window, num_key_value_heads=2)
    return transformers.Qwen3ForCausalLM(config)


def train(model: Any, words: Any, steps: int, draw: torch.Generator) -> None:
    """On texts of two to four facts and as many questions with their answers; only the answers are learnt.

    Questions are drawn with replacement. Were each fact asked for once, the cities not yet named would give answers
    away, and the model would learn that instead.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(steps):
        count = 2 + step % 3
        ids = torch.tensor(words([exercise(facts, draw) for facts, _ in drawn(32, count, draw)])["input_ids"])
        labels = torch.full_like(ids, -100)
        of_answers = ids[:, 1 + count * OF_FACT :].unflatten(1, (count, OF_QUESTION))[..., -2:]
        labels[:, 1 + count * OF_FACT :].unflatten(1, (count, OF_QUESTION))[..., -2:] = of_answers
        optimizer.zero_grad()
        model(ids, labels=labels).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    model.eval().requires_grad_(False)
    embedding = model.get_input_embeddings().weight
    embedding[VOCABULARY.index("<mean>")] = embedding[len(VOCABULARY) - len(NAMES + CITIES) :].mean(0)


def exercise(facts: list[Fact], draw: torch.Generator) -> str:
    """A text of facts and of as many questions about them, each with its answer."""
    asked = [facts[i] for i in torch.randint(len(facts), (len(facts),), generator=draw)]
    return " ".join([*sentences(facts), *(f"{question(name)} {answer(city)}" for name, city in asked)])


def trained(seed: int, steps: int = 1000) -> tuple[Any, Any]:
    """The model and its tokenizer."""
    words, draw = tokenizer(), torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    model = new_model()
    train(model, words, steps, draw)
    return model, words


@torch.no_grad()
def accuracy(model: Any, words: Any, examples: list[tuple[list[Fact], int]]) -> float:
    """The share of questions that the model answers by the right city, when it goes on by itself."""
    texts = [" ".join([*sentences(f), question(f[i][0]), "in"]) for f, i in examples]
    said = model(torch.tensor(words(texts)["input_ids"])).logits[:, -1].argmax(-1)
    right = [VOCABULARY.index(f[i][1]) for f, i in examples]
    return (said == torch.tensor(right)).float().mean().item()
