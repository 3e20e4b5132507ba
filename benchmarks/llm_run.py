"""A whole run on a language model, killed and resumed. Run `python benchmarks/llm_run.py [report.html]`.

It takes two minutes of one core. 40 questions with one to five facts, seven methods and five metrics, on a Llama with
random weights. The run is done three times: once in this process; in another process, which is killed when a part of
the shards is there; and again at the same path by two workers, which finish what the killed one left. Both results have
to be equal bit for bit. The report is written with the prompts coloured by each method's attributions.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
import tempfile
import time
import warnings
from functools import partial
from pathlib import Path

import captum
import torch
import transformers
from captum.attr import (
    FeatureAblation,
    KernelShap,
    LayerGradientXActivation,
    LayerIntegratedGradients,
    Lime,
    ShapleyValueSampling,
    TextTokenInput,
)

from captum_ext import Evaluation, attribute_dataset, evaluate, llm, metrics, random_attribution
from captum_ext.demo.facts import VOCABULARY, drawn, tokenizer

PROMPTS, MOST_FACTS, KILLED_AFTER = 40, 5, 3  # shards
SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
EMBEDDING = "model.embed_tokens"
METHODS = {
    "FeatureAblation": llm.method(FeatureAblation),
    "ShapleyValueSampling": llm.method(ShapleyValueSampling, n_samples=3),
    "Lime": llm.method(Lime, n_samples=50),
    "KernelShap": llm.method(KernelShap, n_samples=50),
    "LayerIntegratedGradients": llm.method(LayerIntegratedGradients, layer=EMBEDDING, n_steps=20),
    "LayerGradientXActivation": llm.method(LayerGradientXActivation, layer=EMBEDDING),
    "random": random_attribution,
}
METRICS = {
    "deletion": partial(metrics.deletion, n_steps=8),
    "insertion": partial(metrics.insertion, n_steps=8),
    "sensitivity-1": partial(metrics.sensitivity_n, n=1),
    "LDS": partial(metrics.linear_datamodeling_score, n_perturb_samples=32),
    "comprehensiveness": metrics.comprehensiveness,
}


def model() -> llm.LogProbability:
    """Questions that differ in their numbers of facts, and so of tokens; the answers are a city or two words."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(vocab_size=len(VOCABULARY), initializer_range=0.3, **SIZES)
    llama, words = transformers.LlamaForCausalLM(config).eval(), tokenizer()
    draw = torch.Generator().manual_seed(0)
    asked = [drawn(1, 1 + i % MOST_FACTS, draw)[0] for i in range(PROMPTS)]
    texts = [
        " ".join(f"{n} lives in {c} ." for n, c in facts) + f" where does {facts[k][0]} live ?" for facts, k in asked
    ]
    answers = ["in " * (i % 2) + facts[k][1] for i, (facts, k) in enumerate(asked)]
    return llm.LogProbability(llama, words, [TextTokenInput(t, words, skip_tokens=[1]) for t in texts], answers)


def run(path: Path | None = None, **workers: object) -> Evaluation:
    f = model()
    return evaluate(f, f.data, METHODS, METRICS, batch_size=4, path=path, threads_per_worker=1, **workers)


def killed(path: Path) -> int:
    """The shards that another process had finished when it was killed."""
    other = subprocess.Popen([sys.executable, __file__, "--only", str(path)])
    while other.poll() is None and len(shards(path)) < KILLED_AFTER:
        time.sleep(0.05)
    other.kill()
    other.wait()
    return len(shards(path))


def shards(path: Path) -> list[Path]:
    return list(Path(f"{path}.parts").glob("0*.npz"))


def main(folder: Path, page: Path) -> None:
    print(
        f"captum {captum.__version__}, torch {torch.__version__}, transformers {transformers.__version__}, Python "
        f"{platform.python_version()}"
    )
    start = time.perf_counter()
    whole = run()
    print(f"{whole}\nin one process: {time.perf_counter() - start:.0f} s")
    done = killed(folder / "run.h5")
    print(f"killed with {done} of {PROMPTS // 4} shards finished")
    start = time.perf_counter()
    resumed = run(folder / "run.h5", devices=["cpu", "cpu"])
    print(f"resumed by two workers: {time.perf_counter() - start:.0f} s")
    equal = [whole.dataset[name].identical(resumed.dataset[name]) for name in METRICS]
    print(f"equal bit for bit: {sum(equal)} of {len(METRICS)} metrics")
    f = model()
    attribute_dataset(f, f.data, METHODS, folder / "maps.h5", batch_size=4)
    resumed.report(page, f.data, folder / "maps.h5")
    print(f"report: {page.stat().st_size / 1000:.0f} kB")
    if not all(equal):
        raise SystemExit("the resumed run differs from the whole one")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", nargs="?", type=Path, help="where to write the report")
    parser.add_argument("--only", type=Path, help="do nothing but the run at this path")
    chosen = parser.parse_args()
    warnings.filterwarnings("ignore", module="captum")
    torch.set_num_threads(1)
    if chosen.only is not None:
        run(chosen.only)
    else:
        with tempfile.TemporaryDirectory() as folder:
            main(Path(folder), chosen.page or Path(folder) / "report.html")
