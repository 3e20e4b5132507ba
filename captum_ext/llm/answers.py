"""Prompts and answers in every form in which a caller may give them, as token ids."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .._core.checks import describe, is_integer, plain
from .._core.guard import frames_of_package
from .._core.interpretable import is_interpretable

POSITIONS = ("wpe", "embed_positions", "position_embeddings", "positions_embed")  # names of embeddings of positions

GREEDY = {"max_new_tokens": 25, "do_sample": False, "temperature": None, "top_p": None}  # Captum's


def as_prompts(inputs: Any) -> list[Any]:
    """A list of inputs such as Captum's `TextTokenInput`."""
    prompts = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
    if not prompts or not all(map(is_interpretable, prompts)):
        raise TypeError(
            "`inputs` must be one of Captum's interpretable inputs, such as TextTokenInput, or a list of them; got "
            f"{describe(inputs)}."
        )
    return prompts


def is_remote(model: Any) -> bool:
    """Whether this is a provider such as Captum's `RemoteLLMProvider`, in place of a model."""
    return hasattr(model, "get_logprobs")


def check_causal(model: Any) -> None:
    if not callable(getattr(model, "forward", None)) and not is_remote(model):
        raise TypeError(f"`model` must be a language model or a provider of one, got {describe(model)}.")
    if getattr(getattr(model, "config", None), "is_encoder_decoder", False):
        raise TypeError(
            f"`model` must be a causal language model, which reads the answer after the prompt; {describe(model)} has "
            "an encoder for the prompt."
        )
    if not is_remote(model) and not getattr(model, "can_generate", lambda: True)():
        raise TypeError(
            f"`model` must be a causal language model, which gives logits of the next token; {describe(model)} says by "
            "`can_generate` that it is none. Take the class for causal models, such as AutoModelForCausalLM."
        )


def learned_positions(model: Any) -> int | None:
    """How many positions the model has embeddings for; None if none are learned, as with rotary positions."""
    count = getattr(getattr(model, "config", None), "max_position_embeddings", None)
    modules = model.named_modules() if isinstance(model, nn.Module) else ()
    found = [m for name, m in modules if isinstance(m, nn.Embedding) and name.rpartition(".")[2] in POSITIONS]
    return count if any(m.num_embeddings - getattr(m, "offset", 0) == count for m in found) else None


def check_positions(positions: int | None, prompt: int, answer: int) -> None:
    """Refuses a prompt and an answer of so many tokens if the model has too few positions for them."""
    needed = prompt + answer - 1  # the last token of the answer is only predicted
    if positions is not None and needed > positions:
        raise ValueError(
            f"`inputs` and `target` must fit into the {positions} positions that the model has learned; a prompt of "
            f"{prompt} tokens and an answer of {answer} need {needed}. Shorten the prompt or the answer (for a "
            "generated one give a smaller `max_new_tokens` in `gen_args`), or take a model with more positions."
        )


def encoded(tokenizer: Any, text: str, add_special_tokens: bool) -> Tensor:
    """`[n]`: the ids of a text."""
    settings = {} if add_special_tokens else {"add_special_tokens": False}
    return torch.as_tensor(tokenizer.encode(text, **settings), dtype=torch.long, device="cpu").reshape(-1)


def as_fields(model_input: Any, tokenizer: Any, add_special_tokens: bool) -> dict[str, Tensor]:
    """What an input has for the model: `input_ids [n]`, and the further tensors of a processor.

    An attention mask is left out: causal models need none for rows without padding.
    """
    if isinstance(model_input, str):
        return {"input_ids": encoded(tokenizer, model_input, add_special_tokens)}
    if isinstance(model_input, Tensor):
        return {"input_ids": model_input.reshape(-1).cpu()}
    if not isinstance(model_input, Mapping) or "input_ids" not in model_input:
        raise TypeError(
            "An interpretable input must give the model a text, token ids, or a mapping with `input_ids`; got "
            f"{describe(model_input)}. For images set `processor_fn`."
        )
    fields = {name: value for name, value in model_input.items() if isinstance(value, Tensor)}
    if (fields.pop("attention_mask", torch.ones(1)) == 0).any():
        raise ValueError("`processor_fn` must not pad: its attention mask has zeros.")
    return {**fields, "input_ids": fields["input_ids"].reshape(-1).cpu()}


def as_answers(
    target: Any, prompts: Sequence[Any], model: Any, tokenizer: Any, gen_args: Mapping[str, Any] | None, special: bool
) -> list[Tensor]:
    """The ids `[T]` of each prompt's answer: as given, or as the model goes on if there is no target."""
    if gen_args is not None and target is not None:
        raise ValueError("`gen_args` are for generating an answer, but `target` gives one. Leave one of them out.")
    if target is None:
        return [_checked(generated(model, tokenizer, p, gen_args or GREEDY, special), None) for p in prompts]
    targets = _targets(target, len(prompts))
    if len(targets) != len(prompts):
        raise ValueError(f"`target` must have an answer for each of {len(prompts)} prompts, got {len(targets)}.")
    return [_checked(_ids(t, tokenizer), _words(model)) for t in targets]


def _targets(target: Any, prompts: int) -> list[Any]:
    """One target a prompt. A list of integers is one answer's ids; one answer serves all prompts."""
    of_ids = isinstance(target, Tensor) or not isinstance(target, (list, tuple))
    if of_ids or all(is_integer(plain(t)) or isinstance(t, bool) for t in target):
        return [target] * prompts
    return list(target)


def _ids(target: Any, tokenizer: Any) -> Tensor:
    if isinstance(target, str):
        return encoded(tokenizer, target, add_special_tokens=False)
    ids = torch.as_tensor(target) if isinstance(target, (list, tuple, Tensor)) else torch.empty(0, 0, 0)
    of_one = ids.dim() == 1 or (ids.dim() == 2 and len(ids) == 1)
    if not of_one or (len(ids) and (ids.is_floating_point() or ids.dtype == torch.bool)):
        raise TypeError(
            f"`target` must be a text, token ids, a list with one of them per prompt, or None; got {describe(target)}."
        )
    return ids.detach().cpu().long().reshape(-1)


def _words(model: Any) -> int | None:
    """How many ids the model knows, if its embedding says so."""
    embedding = getattr(model, "get_input_embeddings", lambda: None)()
    return embedding.num_embeddings if isinstance(embedding, nn.Embedding) else None


def _checked(answer: Tensor, words: int | None) -> Tensor:
    if len(answer) == 0:
        raise ValueError("`target` must have at least one token in every answer, got an empty one.")
    unknown = (answer < 0) | (answer >= (torch.inf if words is None else words))
    if unknown.any():
        raise ValueError(
            f"`target` must have ids of the model's {words or ''} tokens, from 0, got {int(answer[unknown][0])}. Leave "
            "out what stands for padding, and take the tokenizer of the model."
        )
    return answer


def generated(model: Any, tokenizer: Any, prompt: Any, gen_args: Mapping[str, Any], special: bool) -> Tensor:
    """`[T]`: how the model goes on after the whole prompt."""
    if not callable(getattr(model, "generate", None)):
        raise ValueError("`target` is missing, and the model has no `generate` to make an answer. Give a text or ids.")
    if is_remote(model):
        text = as_text(prompt.to_model_input(), tokenizer)
        return encoded(tokenizer, model.generate(text, **gen_args), add_special_tokens=False)
    given = prompt.to_model_input()
    fields = as_fields(given, tokenizer, special)
    device = next(model.parameters()).device
    ids = fields.pop("input_ids")[None].to(device)
    check_positions(learned_positions(model), ids.shape[1], gen_args.get("max_new_tokens") or 1)
    further = {name: value.to(device) for name, value in fields.items()}
    output = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **further, **gen_args)
    sequences: Tensor = getattr(output, "sequences", output)  # with `return_dict_in_generate` an object has them
    return sequences[0, ids.shape[1] :].cpu()


def as_text(model_input: Any, tokenizer: Any) -> str:
    """The text of a prompt, for a provider that takes no ids."""
    return tokenizer.decode(model_input.flatten()) if isinstance(model_input, Tensor) else model_input


def warn_of_two_beginnings(ids: Tensor, tokenizer: Any) -> None:
    """Warns where a text that begins with a special token got a second one, as texts of chat templates do."""
    begin = getattr(tokenizer, "bos_token_id", None)
    if begin is not None and ids[:2].tolist() == [begin, begin]:
        warnings.warn(
            "A prompt begins with two special tokens: its text has one already, as that of a chat template does, and "
            "the tokenizer added another. Give `add_special_tokens=False`, or take it out of the text.",
            stacklevel=frames_of_package(),
        )
