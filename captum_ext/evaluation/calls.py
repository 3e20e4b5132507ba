"""Calls methods and metrics: each gets the arguments that it takes, and draws that depend on the example alone."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch

from .._core.card import arguments_of_partial
from .._core.sharing import forget, sharing
from .axes import check_scores
from .examples import Batch
from .methods import Method, explanation_arguments, joined, set_arguments
from .randomness import generator_states, per_example, seeded, seeds_by_index


class Calls:
    """Calls with whole batches, and example by example whatever draws from global generators.

    Whether a function draws shows in the generators' states after its first call.
    """

    def __init__(self, model: Any, device: torch.device, limit: int | None, seed: int):
        self.model, self.device, self.limit, self.seed = model, device, limit, seed
        self.drawing: set[tuple[str, ...]] = set()

    def attributions(self, method: Method, batch: Batch) -> Any:
        call = lambda part: method.attributions(part, self.limit)  # noqa: E731
        return self._by_draws((method.name,), self.seed, batch, call, method)

    def scores(
        self, name: str, metric: Callable[..., Any], seed: int, batch: Batch, explanation: Method | None = None
    ) -> Any:
        """Scores of one method, or of several by name, depending on whose attributions the batch has."""

        def call(part: Batch) -> Any:
            return self._metric(name, metric, seed, part, explanation)

        key = (name, explanation.name if explanation else "")
        scores = self._by_draws(key, seed, batch, call, explanation)
        check_scores(name, scores, len(batch))
        return scores

    def _by_draws(
        self, key: tuple[str, ...], seed: int, batch: Batch, call: Callable[[Batch], Any], method: Method | None
    ) -> Any:
        name, alone = "/".join(key), key in self.drawing or (method is not None and method.draws)
        if not alone:
            with seeded(seed, batch.indices[0], name, self.device):
                before = generator_states(self.device)
                result = call(batch)
                if generator_states(self.device) == before or (method is not None and method.compares_examples):
                    return result
            self.drawing.add(key)
            forget()  # no other metric shares evaluations of inputs that this one drew
            if len(batch) == 1:
                return result
        results = []
        for part in batch.split(1):
            with seeded(seed, part.indices[0], name, self.device), sharing():
                results.append(call(part))
        return joined(results)

    def _metric(
        self, name: str, metric: Callable[..., Any], seed: int, batch: Batch, explanation: Method | None
    ) -> Any:
        """Calls the metric with the arguments that it takes by name, except those that `partial` has set."""
        fixed, takes = set_arguments(metric), inspect.signature(metric).parameters
        known = {
            "forward_func": self.model,
            "inputs": batch.inputs,
            "attributions": batch.attributions,
            "target": batch.target,
            "additional_forward_args": batch.additional_forward_args,
            "seed": seeds_by_index(seed, batch.indices),
            "max_examples_per_batch": self.limit,
        }
        arguments = {k: v for k, v in {**batch.extra, **known}.items() if k in takes and v is not None}
        if explanation is not None and explanation.explain is not None:
            of_explanation = explanation_arguments(explanation.explain, batch, self.limit, self.limit or len(batch))
            explained = {"explanation_func": explanation.explain, "explanation_factory": explanation.factory}
            arguments |= {k: v for k, v in explained.items() if k in takes} | of_explanation
        arguments = {k: v for k, v in arguments.items() if k not in fixed}
        perturb_func = takes["perturb_func"].default if "perturb_func" in fixed else None
        # infidelity passes seeds on; sensitivity_max, which takes an `explanation_func`, draws as Captum does
        passes_seeds = "seed" in takes and "explanation_func" not in takes
        if perturb_func is not None and not (passes_seeds and _leaves_seed_open(perturb_func)):
            arguments["perturb_func"] = per_example(perturb_func, seed, batch.indices, name, self.device)
        return metric(**arguments)


def _leaves_seed_open(perturb_func: Callable[..., Any]) -> bool:
    """Whether its `seed` defaults to None: the metric then passes one for each copy, in one call for many rows."""
    try:
        return arguments_of_partial(perturb_func).get("seed", 0) is None
    except ValueError:  # built-ins without a signature
        return False
