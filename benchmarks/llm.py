"""What masks of a prompt cost a language model, beside Captum row by row. Run `python benchmarks/llm.py`.

48 masks of 12 sources after 160 tokens that all rows share, an answer of 24 tokens, a Llama of 6 layers. Rows and
tokens are counted; times are medians of turns within one run, of the processor or, on a card, of the clock. Captum's
rows run in one pass each, which is its fast path and the right one. With `--device cuda` all of it runs there, and the
card is named.
"""

from __future__ import annotations

import argparse
import platform
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial, wraps
from statistics import median
from typing import Any

import torch
import transformers
from captum.attr import FeatureAblation, LLMAttribution, TextTemplateInput
from torch import Tensor, nn

from captum_ext.llm import LogProbability

MASKS, SOURCES, SHARED, OF_SOURCE, QUESTION, ANSWER = 48, 12, 160, 12, 6, 24
SIZES = {
    "cpu": {"hidden_size": 512, "intermediate_size": 1408, "num_attention_heads": 8, "num_key_value_heads": 8},
    "cuda": {"hidden_size": 2048, "intermediate_size": 5632, "num_attention_heads": 16, "num_key_value_heads": 16},
}
WORDS = 32000


class Numbers:
    """A tokenizer of texts that are numbers already."""

    bos_token_id = 1

    def encode(self, text: str, add_special_tokens: bool = True, return_tensors: str | None = None) -> Any:
        ids = [1] * add_special_tokens + [int(word) for word in text.split()]
        return torch.tensor([ids]) if return_tensors else ids

    def decode(self, ids: Any) -> str:
        return " ".join(str(int(i)) for i in ids)


@dataclass
class Calls:
    """The rows and tokens of each call of a model."""

    shapes: list[tuple[int, int]] = field(default_factory=list)

    @property
    def rows(self) -> int:
        return sum(rows for rows, _ in self.shapes)

    @property
    def tokens(self) -> int:
        return sum(rows * tokens for rows, tokens in self.shapes)


@contextmanager
def counted(model: nn.Module) -> Iterator[Calls]:
    calls = Calls()

    forward = model.forward

    @wraps(forward)
    def noted(*args: Any, **kwargs: Any) -> Any:  # not a hook, as Captum calls `forward` itself
        rows, tokens = kwargs["input_ids"].shape
        calls.shapes.append((rows, tokens))
        return forward(*args, **kwargs)

    model.forward = noted  # type: ignore[method-assign]
    try:
        yield calls
    finally:
        del model.forward


def words(draw: random.Random, count: int) -> str:
    return " ".join(str(draw.randrange(3, WORDS)) for _ in range(count))


def prompt(draw: random.Random) -> TextTemplateInput:
    """The beginning that is always there, the sources, and a question."""
    sources = [words(draw, OF_SOURCE) for _ in range(SOURCES)]
    template = f"{words(draw, SHARED - 1)} {' '.join('{}' for _ in sources)} {words(draw, QUESTION)}"
    return TextTemplateInput(template, sources)


def captums(model: nn.Module, inp: Any, answer: Tensor, rows: Tensor, **path: Any) -> Tensor:
    attribution = LLMAttribution(FeatureAblation(model), Numbers())
    with torch.no_grad():
        return torch.cat([attribution._forward_func(row[None], inp, answer, **path) for row in rows]).cpu()


def seconds(run: Callable[[], Any], device: torch.device) -> float:
    """Of the processor, which other work on the machine hardly disturbs; of the clock where a card does the work."""
    if device.type != "cuda":
        start = time.process_time()
        run()
        return time.process_time() - start
    torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--token-by-token", action="store_true", help="also time Captum's path of a token at a time")
    chosen = parser.parse_args()
    device = torch.device(chosen.device)
    torch.manual_seed(0)
    sizes = SIZES["cuda" if device.type == "cuda" else "cpu"]
    config = transformers.LlamaConfig(**sizes, num_hidden_layers=6, vocab_size=WORDS)
    model = transformers.LlamaForCausalLM(config).to(device, getattr(torch, chosen.dtype)).eval()
    draw = random.Random(0)
    inp, answer = prompt(draw), [int(word) for word in words(draw, ANSWER).split()]
    rows = torch.randint(2, (MASKS, SOURCES), generator=torch.Generator().manual_seed(0)).float()

    shared, whole = (LogProbability(model, Numbers(), inp, answer, share_prefix=s) for s in (True, False))
    runs = {
        "Captum, a row at a time": partial(captums, model, inp, shared.answers[0], rows, forward_in_tokens=False),
        "rows in a batch": lambda: whole(rows),
        "with a shared prefix": lambda: shared(rows),
    }
    if chosen.token_by_token:
        path = {"forward_in_tokens": True, "use_cached_outputs": False}
        runs["Captum, a token at a time"] = partial(captums, model, inp, shared.answers[0], rows, **path)
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    print(
        f"{card}, {chosen.dtype}, torch {torch.__version__}, transformers {transformers.__version__}, "
        f"Python {platform.python_version()}"
    )
    table(runs, model, device, chosen.repeats)


def table(runs: dict[str, Callable[[], Tensor]], model: nn.Module, device: torch.device, repeats: int) -> None:
    values, calls = {}, {}
    for name, run in runs.items():
        with counted(model) as calls[name]:
            values[name] = run().double()
    times = [{name: seconds(run, device) for name, run in runs.items()} for _ in range(repeats)]
    first = next(iter(runs))
    print(f"{'':28}{'calls':>7}{'rows':>6}{'tokens':>8}{'share':>7}{'seconds':>9}{'faster':>8}{'difference':>12}")
    for name in runs:
        c, took = calls[name], median(t[name] for t in times)
        faster = median(t[first] / t[name] for t in times)
        gap = (values[name] - values[first]).abs().max().item()
        print(
            f"{name:28}{len(c.shapes):7}{c.rows:6}{c.tokens:8}{c.tokens / calls[first].tokens:7.2f}{took:9.3f}"
            f"{faster:7.2f}x{gap:12.1e}"
        )


if __name__ == "__main__":
    main()
