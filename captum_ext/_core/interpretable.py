"""Captum's `InterpretableInput` and `LLMAttributionResult` as tensors. Both are recognised by what they have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor
from typing_extensions import TypeIs

from .checks import check_count, describe, shape


class InterpretableInput(Protocol):
    """A prompt with features that may be absent, as Captum's class of this name."""

    def to_tensor(self) -> Tensor:
        """`[1, F]`, a column for each feature."""

    def to_model_input(self, *args: Any, **kwargs: Any) -> Any:
        """The prompt without its absent features, as the model takes it."""


class LLMAttributionResult(Protocol):
    """Attributions of an answer and of its tokens, as Captum's class of this name."""

    seq_attr: Tensor
    token_attr: Tensor | None


def is_interpretable(value: Any) -> TypeIs[InterpretableInput]:
    """Whether this is an input such as Captum's `TextTokenInput`."""
    return hasattr(value, "to_model_input") and hasattr(value, "to_tensor")


def presence(inp: Any) -> Tensor:
    """`[1, F]`: ones, as all features of the input are present."""
    return torch.ones(1, inp.to_tensor().shape[1], device="cpu")


def as_present(inputs: Tensor | tuple[Tensor, ...] | InterpretableInput) -> Tensor | tuple[Tensor, ...]:
    """Returns the presence of a prompt's features, and other inputs as they are."""
    return presence(inputs) if is_interpretable(inputs) else inputs


def with_known_features(inputs: Any, feature_mask: Any, frozen: Any) -> tuple[Any, Any]:
    """The `feature_mask` and the `frozen` ids as given, or else as the inputs know them.

    `captum_ext.llm.LogProbability.inputs` does, whose rows may have columns that are no features.
    """
    known = getattr(inputs, "known_features", (None, None)) if isinstance(inputs, Tensor) else (None, None)
    return tuple(value if given is None else given for given, value in zip((feature_mask, frozen), known))


def is_result(value: Any) -> TypeIs[LLMAttributionResult]:
    """Whether this is a result such as Captum's `LLMAttributionResult`."""
    return hasattr(value, "seq_attr") and hasattr(value, "token_attr")


def attribution_of(result: Any, inp: Any, target: int = 0, name: str = "attributions") -> Tensor:
    """`[F]`: the attribution of each feature of the input; of the whole answer for 0, of its k-th token for k."""
    values = _of_target(result, target, name)
    if inp is None:  # from LLMGradientAttribution, which has no groups
        return values
    groups = torch.as_tensor(groups_of(inp), device=values.device)
    if list(result.input_tokens) != list(inp.values):
        raise ValueError(
            f"`{name}` must explain the prompt that is given: its features are {result.input_tokens}, but those of the "
            f"prompt are {inp.values}."
        )
    explained = getattr(result, "inp", None)
    if explained is not None and groups_of(explained) != groups_of(inp):
        raise ValueError(
            f"`{name}` must explain the prompt that is given: its `mask` makes the groups {groups_of(explained)}, but "
            f"that of the prompt {groups_of(inp)}."
        )
    first = torch.stack([(groups == g).nonzero()[0, 0] for g in range(int(groups.max()) + 1)])
    return values[first]


def map_of(result: Any, inputs: Any, target: Any, name: str) -> Tensor:
    """`[1, F]`: the same for one prompt; `inputs` are the input or a tensor, and `target` has any of Captum's forms."""
    targets = torch.as_tensor(0 if target is None else target).reshape(-1).tolist()
    if len(targets) != 1:
        raise ValueError(
            f"`{name}` is a result for one prompt, but `target` has {len(targets)} entries. For several prompts give "
            "`f.attributions(results)` of a captum_ext.llm.LogProbability."
        )
    inp = inputs if is_interpretable(inputs) else getattr(result, "inp", None)  # Captum 0.7's have none
    return attribution_of(result, inp, targets[0], name)[None]


def _of_target(result: Any, target: int, name: str) -> Tensor:
    if not is_result(result):
        raise TypeError(f"`{name}` must be a result of Captum's LLMAttribution, got {describe(result)}.")
    if check_count("target", target, least=0) == 0:
        return result.seq_attr.detach()
    if result.token_attr is None:
        raise ValueError(
            f"`{name}` has values of the whole answer alone, as those of Lime and KernelShap, so `target` must be 0; "
            f"got {target}."
        )
    if target > len(result.token_attr):
        raise ValueError(f"`target` must be at most {len(result.token_attr)}, the answer's tokens; got {target}.")
    return result.token_attr[target - 1].detach()


def is_alike(inp: Any, other: Any) -> bool:
    """Whether two inputs have the same features and the same prompt."""
    if inp is other:
        return True
    named = list(inp.values) == list(other.values) and groups_of(inp) == groups_of(other)
    return named and _same(inp.to_model_input(), other.to_model_input())


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(_same(a[name], b[name]) for name in a)
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.shape == b.shape and bool((a.cpu() == b.cpu()).all())
    return bool(a == b)


def groups_of(inp: Any) -> list[int]:
    """The feature that each value of a result belongs to: `TextTemplateInput` with a mask repeats those of a group."""
    grouped = getattr(inp, "mask", None) is not None and hasattr(inp, "formatted_mask")
    return inp.formatted_mask if grouped else list(range(inp.n_itp_features))


def checked_presence(present: Any, features: int) -> Tensor:
    """Returns `[rows, F]` on the CPU after checking that it says of every feature whether it is there."""
    if not isinstance(present, Tensor) or present.dim() != 2 or present.shape[1] != features:
        got = shape(present) if isinstance(present, Tensor) else describe(present)
        raise ValueError(f"`inputs` must have shape (rows, {features}), a column for each feature; got {got}.")
    if ((present != 0) & (present != 1)).any():
        raise ValueError(
            "`inputs` must be 1 where a feature of the prompt is present and 0 where it is absent. Noise and baselines "
            "other than 0 have no meaning here; what replaces an absent feature is set in the InterpretableInput."
        )
    return present.detach().cpu()
