"""Calls methods and metrics: each gets the arguments that it takes, and draws that depend on the example alone."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Collection, Iterator
from typing import Any

import torch
from torch import Tensor

from .._core.card import arguments_of_partial, configured, seed_set_in
from .._core.checks import module_of
from .._core.estimates import generator_states, with_noise
from .._core.guard import Guard, replaced
from .._core.sharing import forget, key_of, made_of, outputs_for, remember, sharing, sharing_nothing
from .._core.target import logits_of
from .axes import check_scores
from .examples import Batch
from .labels import check_fits, check_output, classes_of
from .methods import Method, accepted, explanation_arguments, joined, set_arguments
from .model import in_own_mode, other_type
from .names import HALVES, N_EFF, SCORES, STDERR
from .randomness import per_example, seeded, seeds_by_index


class Calls:
    """Calls with whole batches, and example by example whatever draws from global generators.

    Whether a function draws shows in the generators' states after its first call.
    """

    def __init__(self, model: Any, device: torch.device, limit: int | None, seed: int, stderr: bool = False):
        self.model, self.device, self.limit, self.seed, self.stderr = model, device, limit, seed, stderr
        self.drawing: set[tuple[str, ...]] = set()
        self.writers: set[str] = set()  # methods and metrics that write into what they are given, as was warned of
        self.steady: set[str] = set()  # metrics whose `perturb_func` was seen to draw nothing from global generators
        self.draws = False  # whether the model was seen to draw from global generators
        self.classes: int | None = None  # of the model's output, once known; 0 for outputs of another form

    def output(self, batch: Batch) -> Any:
        """What the model returns for the inputs of a batch."""
        inputs, args = _arguments(batch)
        with seeded(self.seed, batch.indices[0], "", self.device), torch.no_grad():
            before = generator_states(self.device)
            output = self.model(*inputs, *args)
            if generator_states(self.device) != before:
                self.draws = True
            return output

    def outputs(self, batch: Batch) -> Tensor:
        """The outputs for a batch, which its metrics share unless the model draws at random."""

        def made() -> Iterator[Tensor]:
            parts = batch.split(self.limit or len(batch))
            return (check_output(logits_of(self.output(part)), len(part)).clone() for part in parts)

        try:
            shared = outputs_for(self.model, *_arguments(batch), made)
            found = torch.cat(list(made() if shared is None else shared))
        except RuntimeError as error:
            raise (other_type(self.model, batch.inputs, error) or error) from error.__cause__
        if self.draws:
            forget()
        return found

    def attributions(self, method: Method, batch: Batch) -> Any:
        def explained(part: Batch) -> Any:
            maps = method.attributions(part, self.limit)
            one = isinstance(part.inputs, Tensor) and isinstance(maps, tuple) and len(maps) == 1
            return maps[0] if one and method.explain is None else maps  # a file does not say whether it was a tuple

        def call(part: Batch) -> Any:
            parts = part.split(self.limit or len(part))
            return joined([self._on_a_copy(f"Method {method.name!r}", explained, p) for p in parts])

        maps = self._by_draws((method.name,), self.seed, batch, call, method)
        self._share(method, batch, maps)
        return maps

    def _share(self, method: Method, batch: Batch, maps: Any) -> None:
        """Lets metrics that explain the batch themselves take the maps that it has, unless they would be drawn anew."""
        if method.explain is None or method.draws or method.compares_examples or (method.name,) in self.drawing:
            return
        arguments = explanation_arguments(method.explain, batch, self.limit, self.limit or len(batch))
        value = maps if isinstance(maps, tuple) else (maps,)
        remember(key_of(method.explain, batch.inputs, arguments), value)
        if method.factory is not None:
            remember(key_of(made_of(method.factory, self.model), batch.inputs, arguments), value)

    def scores(
        self, name: str, metric: Callable[..., Any], seed: int, batch: Batch, explanation: Method | None = None
    ) -> dict[str, Any]:
        """Scores of one method, or of several by name, depending on whose attributions the batch has.

        They are the part `SCORES` of what is returned; where the noise of draws was asked for and is known, it is in
        further parts of the same form.
        """

        def call(part: Batch) -> Any:
            if keeps_the_batch(metric):
                return self._metric(name, metric, seed, part, explanation)
            with sharing_nothing():
                found = self._on_a_copy(
                    f"Metric {name!r}", lambda own: self._metric(name, metric, seed, own, explanation), part
                )
            # Copied, because the metric may return the same memory again with the values of its next call.
            return replaced(torch.clone, found)

        key = (name, explanation.name if explanation else "")
        found: dict[str, Any] = self._by_draws(key, seed, batch, call, explanation)
        check_scores(name, found[SCORES], len(batch), several=isinstance(batch.attributions, dict))
        return found

    def _on_a_copy(self, name: str, call: Callable[[Batch], Any], batch: Batch) -> Any:
        """Calls with a copy of the batch, so that what the call writes into it reaches no other method or metric."""
        given = batch.inputs, batch.target, batch.additional_forward_args, batch.extra, batch.attributions
        return Guard(lambda *parts: call(Batch(batch.indices, *parts)), name, given, warned=self.writers)(*given)

    def _check_classes(self, batch: Batch) -> None:
        """Refuses classes that the model does not have, before a call with them; asks it for one row to know."""
        if batch.target is None or survives_bad_indices(self.device):
            return
        if self.classes is None:
            self.classes = classes_of(logits_of(self.output(batch.split(1)[0])))
        if self.classes:
            check_fits(batch.target, "data", (self.classes,), batch.indices)

    def _by_draws(
        self, key: tuple[str, ...], seed: int, batch: Batch, call: Callable[[Batch], Any], method: Method | None
    ) -> Any:
        self._check_classes(batch)
        name, alone = "/".join(key), key in self.drawing or (method is not None and method.draws)
        if not alone:
            with seeded(seed, batch.indices[0], name, self.device), in_own_mode(self.model):
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
            with seeded(seed, part.indices[0], name, self.device), sharing(), in_own_mode(self.model):
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
            arguments |= {k: v for k, v in explained.items() if k in takes}
            arguments |= {k: v for k, v in of_explanation.items() if k not in batch.extra or accepted(metric, **{k: v})}
        arguments = {k: v for k, v in arguments.items() if k not in fixed}
        perturb_func = takes["perturb_func"].default if "perturb_func" in fixed else None
        if perturb_func is not None:
            arguments |= self._of_perturbation(name, perturb_func, takes, seed, batch)
        return _with_noise(metric, arguments) if self.stderr else {SCORES: metric(**arguments)}

    def _of_perturbation(
        self, name: str, perturb_func: Callable[..., Any], takes: Collection[str], seed: int, batch: Batch
    ) -> dict[str, Any]:
        """The arguments that let the draws of a `perturb_func` depend on the example alone."""
        # infidelity passes seeds on; sensitivity_max, which takes an `explanation_func`, draws as Captum does
        passes_seeds = "seed" in takes and "explanation_func" not in takes
        if passes_seeds and (own_seed := seed_set_in(perturb_func)) is not None:
            seeds = seeds_by_index(own_seed, batch.indices)
            return {"perturb_func": functools.partial(perturb_func, seed=None), "seed": seeds}
        if passes_seeds and _leaves_seed_open(perturb_func):
            return {}
        return {"perturb_func": per_example(perturb_func, seed, batch.indices, name, self.device, self.steady)}


def _arguments(batch: Batch) -> tuple[tuple[Tensor, ...], tuple[Any, ...]]:
    """The inputs and the further arguments of the model."""
    inputs, args = batch.inputs, batch.additional_forward_args
    args = () if args is None else args if isinstance(args, tuple) else (args,)
    return inputs if isinstance(inputs, tuple) else (inputs,), args


def _with_noise(metric: Callable[..., Any], arguments: dict[str, Any]) -> dict[str, Any]:
    """The parts of a metric's scores: of a maximum, the scores of halves of the draws, else its standard error."""
    scores, noise = with_noise(metric)(**arguments)
    if noise is None:
        return {SCORES: scores}
    further = {STDERR: noise.stderr, N_EFF: noise.n_eff} if noise.halves is None else {HALVES: noise.halves}
    return {SCORES: scores, **further}


def keeps_the_batch(metric: Callable[..., Any]) -> bool:
    """Whether this is a metric of the package, which leaves model and tensors as they are.

    A function that wraps one has its names too, but is not what the module has by that name.
    """
    function = configured(metric)
    module, name = module_of(function), getattr(function, "__name__", "")
    return module.startswith("captum_ext.") and getattr(sys.modules.get(module), name, None) is function


def survives_bad_indices(device: torch.device) -> bool:
    """Whether an index out of range is an ordinary error there. On a GPU it ends all work of the process."""
    return device.type == "cpu"


def _leaves_seed_open(perturb_func: Callable[..., Any]) -> bool:
    """Whether its `seed` defaults to None: the metric then passes one for each copy, in one call for many rows."""
    try:
        return arguments_of_partial(perturb_func).get("seed", 0) is None
    except ValueError:  # built-ins without a signature
        return False
