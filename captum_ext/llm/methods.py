"""Captum's methods for language models as methods of `evaluate`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from .._core.checks import describe
from .answers import is_remote

# One pass over prompt and answer. Captum's default feeds the prompt twice on transformers from 5.3 on, see
# `docs/how-to/language-models.md`; older versions of Captum know only the first of the two.
ONE_PASS = {"use_cached_outputs": False, "forward_in_tokens": False}


def method(attribution: Any, **settings: Any) -> Callable[[Any], Callable[..., Tensor]]:
    """Makes a method for `evaluate` out of one of Captum's classes that explain language models.

    `LLMAttribution`, `LLMGradientAttribution` or `RemoteLLMAttribution` is built on the model that the worker holds,
    and explains the answers of the `LogProbability` that is evaluated. Perturbation methods run the prompt and the
    answer in one pass, because Captum's default is wrong on transformers from 5.3 on.

    Args:
        attribution: `FeatureAblation`, `ShapleyValues`, `ShapleyValueSampling`, `Lime`, `KernelShap`; or
            `LayerIntegratedGradients`, `LayerGradientXActivation`, `LayerGradientShap` (whose gradients of a prompt
            Captum 0.9 takes at the baseline alone, in one sample), which need a `layer`. A ready `LLMAttribution` is
            taken too, and explains the model that it was made with.
        settings: of the class or of its method `attribute`, by name, such as ``n_samples=200``; a `layer` is the name
            of a module within the language model, such as ``"model.embed_tokens"``.

    Returns:
        a function of the model, as `evaluate` takes it in `methods`.

    Raises:
        TypeError: `attribution` is neither a class nor a ready object.
        ValueError: a `layer` that is missing or unknown; `perturbations_per_eval`, as Captum then takes the first row
            for all; more than one sample for LayerGradientShap, as Captum then takes wrong words of the answer.

    Example:
        >>> from captum.attr import FeatureAblation, LayerIntegratedGradients
        >>> methods = {
        ...     "ablation": method(FeatureAblation),
        ...     "LIG": method(LayerIntegratedGradients, layer="model.embed_tokens", n_steps=20),
        ... }
    """
    if not isinstance(attribution, type) and not hasattr(attribution, "attr_method"):
        raise TypeError(
            "`attribution` must be one of Captum's classes, such as FeatureAblation, or a ready LLMAttribution; got "
            f"{describe(attribution)}."
        )
    if settings.get("perturbations_per_eval", 1) != 1:
        raise ValueError(
            "`perturbations_per_eval` must be 1, as Captum takes the first of several perturbed prompts for all of "
            f"them; got {settings['perturbations_per_eval']}."
        )
    of_one_sample = _of_one_sample(attribution)
    if of_one_sample and settings.get("n_samples", 1) != 1:
        raise ValueError(
            "`n_samples` must be 1 for LayerGradientShap, as Captum explains wrong words of the answer with more; got "
            f"{settings['n_samples']}."
        )
    return partial(_explanation, attribution, of_one_sample | settings)


def _of_one_sample(attribution: Any) -> dict[str, int]:
    """One sample for LayerGradientShap: with more, Captum takes wrong words for the answer's second and later ones."""
    kind = attribution if isinstance(attribution, type) else type(attribution.attr_method)
    return {"n_samples": 1} if kind.__name__ == "LayerGradientShap" else {}


def _explanation(attribution: Any, settings: dict[str, Any], f: Any) -> Callable[..., Tensor]:
    if not hasattr(f, "interpretable_inputs"):
        raise TypeError(f"`model` must be a captum_ext.llm.LogProbability, got {describe(f)}.")
    if isinstance(attribution, type):
        own = settings.keys() & inspect.signature(attribution).parameters.keys()
        attribution = _built(attribution, {name: settings[name] for name in own}, f)
        settings = {name: value for name, value in settings.items() if name not in own}
    takes = inspect.signature(attribution.attribute).parameters
    return partial(_maps, f, attribution, {k: v for k, v in ONE_PASS.items() if k in takes} | settings)


def _maps(
    f: Any,
    attribution: Any,
    settings: dict[str, Any],
    inputs: Tensor,
    target: Any = 0,
    additional_forward_args: Any = None,
) -> Tensor:
    """`[B, F]`: the attributions of the prompts with the numbers `additional_forward_args`."""
    prompts = _numbers(additional_forward_args, len(inputs))
    targets = _numbers(target, len(inputs))
    if (inputs != 1).any():
        raise ValueError("`inputs` must be ones: Captum explains whole prompts, with all their features present.")
    maps = [_map(f, attribution, settings, *row) for row in zip(prompts, targets)]
    return torch.stack(maps).to(inputs)


def _map(f: Any, attribution: Any, settings: dict[str, Any], prompt: int, target: int) -> Tensor:
    with torch.enable_grad():
        result = attribution.attribute(f.interpretable_inputs[prompt], f.answers[prompt], **settings)
    values: Tensor = f.attribution(result, prompt, target)
    return values


def _numbers(value: Any, rows: int) -> list[int]:
    value = value[0] if isinstance(value, tuple) else value
    numbers = torch.as_tensor(0 if value is None else value).reshape(-1).tolist()
    return numbers * rows if len(numbers) == 1 else numbers


def _built(kind: Any, settings: dict[str, Any], f: Any) -> Any:
    """The object of Captum's that explains the model of `f` by a method of this class."""
    from captum import attr

    tokenizer = f.tokenizer if f.add_special_tokens else AsGiven(f.tokenizer)
    if is_remote(f.model):
        of_text = kind(attr.RemoteLLMAttribution.placeholder_model, **settings)
        return attr.RemoteLLMAttribution(of_text, tokenizer, provider=f.model, attr_target=_attr_target(f))
    if not issubclass(kind, attr.LLMGradientAttribution.SUPPORTED_METHODS):
        return attr.LLMAttribution(kind(f.model, **settings), tokenizer, attr_target=_attr_target(f))
    if f.attr_target != "log_prob":
        raise ValueError(f"`attr_target` must be 'log_prob' for {kind.__name__}, got {f.attr_target!r}.")
    settings["layer"] = _layer(f.model, settings.get("layer"))
    return attr.LLMGradientAttribution(kind(f.model, **settings), tokenizer)


def _attr_target(f: Any) -> str:
    if f.attr_target == "logit":
        raise ValueError(
            "`attr_target` must be 'log_prob' or 'prob' for Captum's LLMAttribution, got 'logit'. Give `evaluate` the "
            "class itself, such as FeatureAblation: it then explains the LogProbability."
        )
    target: str = f.attr_target
    return target


def _layer(model: nn.Module, name: Any) -> nn.Module:
    modules = dict(model.named_modules())
    if name not in modules:
        embedding = [n for n, m in modules.items() if isinstance(m, nn.Embedding)]
        raise ValueError(f"`layer` must name a module of the model, such as {embedding[:1]}; got {name!r}.")
    return modules[name]


class AsGiven:
    """A tokenizer that adds no special tokens to a text, for Captum, which has no argument for that."""

    def __init__(self, tokenizer: Any):
        self.tokenizer = tokenizer

    def encode(self, text: str, **settings: Any) -> Any:
        return self.tokenizer.encode(text, **{"add_special_tokens": False, **settings})

    def __call__(self, text: str, **settings: Any) -> Any:
        return self.tokenizer(text, **settings)

    def __getattr__(self, name: str) -> Any:
        if name == "tokenizer":  # which is not there yet while a copy is made
            raise AttributeError(name)
        return getattr(self.tokenizer, name)
