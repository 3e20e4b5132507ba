"""The log-probability of a language model's answer, as a function of which parts of the prompt are present."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from .._core.checks import check_choice
from .._core.interpretable import attribution_of, checked_presence, is_alike, is_interpretable, is_result, presence
from .._core.memory import WIDTH, width
from .answers import (
    as_answers,
    as_fields,
    as_prompts,
    as_text,
    check_causal,
    check_positions,
    is_remote,
    learned_positions,
    warn_of_two_beginnings,
)
from .token_scores import Row, TokenScores
from .token_texts import Prompts, answer_text, is_answer, pieces_of

ATTR_TARGETS = ("log_prob", "prob", "logit")


class LogProbability(nn.Module):
    r"""How probable a language model finds given answers, by which features of the prompts are present.

    .. math:: f(z) = \Bigl(\sum_k \log p(y_k \mid h(z), y_{<k}),\; \log p(y_1 \mid h(z)),\; \dots\Bigr)

    where :math:`z \in \{0, 1\}^F` says which features are present, :math:`h(z)` is the prompt without the absent ones,
    as Captum's interpretable input makes it, and :math:`y` is the answer. So every metric that removes features scores
    attributions of Captum's `LLMAttribution` with this as its model: `target=0` is the whole answer, `target=k` its
    k-th token.

    Rows of different lengths are padded on the right, without an attention mask; only the logits of the answer are
    computed, where the model can leave out the others (`logits_to_keep`); and the tokens at which all rows of a prompt
    begin run through the model once a batch, where its cache can be repeated.

    Args:
        model: a causal language model in the style of Hugging Face's, or a `RemoteLLMProvider` of Captum's. It is used
            where it is, also if it is split over several devices.
        tokenizer: of the model.
        inputs: one of Captum's interpretable inputs (`TextTokenInput`, `TextTemplateInput`, `ImageMaskInput`), or a
            list of them, which may have different numbers of features.
        target: the answer, a text or token ids; or a list with one for each prompt. None lets the model go on after
            the whole prompt, greedily.
        attr_target: `"log_prob"`, `"prob"`, or `"logit"`: :math:`\log p - \log(1 - p)` of the whole answer, which is
            the only column then.
        share_prefix: False runs every row whole.
        add_special_tokens: False for texts that have their special tokens already, as those of chat templates.
        gen_args: arguments of the model's `generate`, in place of greedy generation of 25 tokens.

    Attributes:
        inputs: `[P, F]` ones: a row for each prompt, with all features present.
        feature_mask: `[P, F]`: the numbers of a prompt's features, and -1 where it has fewer than others. Metrics that
            get `inputs` itself take this mask, ``frozen=-1`` and the prompts' numbers from here; to parts and copies of
            it, give them.
        prompts: `[P]`: the numbers of the prompts, the `additional_forward_args` for `inputs`.
        answers: the token ids of each prompt's answer.

    Returns:
        when called with `present [rows, F]` and the number of each row's prompt `[rows]`: `[rows, 1 + T]`, NaN after
        the end of answers that are shorter than others, on the device of `present`.

    Raises:
        ValueError, TypeError: arguments that do not fit; values of `present` that are neither 0 nor 1; a prompt that
            has no tokens at all without its features, or has more than the model has learned positions for.

    Example:
        >>> from captum.attr import TextTemplateInput
        >>> class Model(torch.nn.Module):  # in place of a language model: each word makes word 0 less probable
        ...     def forward(self, input_ids):
        ...         first = -(input_ids > 2).double().cumsum(1)
        ...         return {"logits": torch.stack((first, torch.zeros_like(first)), -1)}
        >>> class Tokenizer:
        ...     def encode(self, text, add_special_tokens=True):
        ...         return [1] * add_special_tokens + [len(word) for word in text.split()]
        >>> inp = TextTemplateInput("say {} or {}", ["what", "nothing"])
        >>> f = LogProbability(Model(), Tokenizer(), inp, target=[0])
        >>> f(torch.tensor([[1.0, 1.0], [0.0, 0.0]]))
        tensor([[-3.0486, -3.0486],
                [-1.3133, -1.3133]], dtype=torch.float64)
    """

    has_gradient = False  # there is nothing between a feature that is present and one that is absent

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        inputs: Any,
        target: Any = None,
        *,
        attr_target: str = "log_prob",
        share_prefix: bool = True,
        add_special_tokens: bool = True,
        gen_args: Mapping[str, Any] | None = None,
    ):
        super().__init__()
        check_choice("attr_target", attr_target, ATTR_TARGETS)
        check_causal(model)
        self.model, self.tokenizer, self.attr_target = model, tokenizer, attr_target
        self.training = getattr(model, "training", False)  # a new module would be in training mode
        self.share_prefix, self.add_special_tokens = share_prefix, add_special_tokens
        self.interpretable_inputs = as_prompts(inputs)
        self.answers = as_answers(target, self.interpretable_inputs, model, tokenizer, gen_args, add_special_tokens)
        with torch.device("cpu"):  # where prompts are put together, whatever the default device
            counts = torch.tensor([presence(inp).shape[1] for inp in self.interpretable_inputs])
            number = torch.arange(int(counts.max())).expand(len(counts), -1)
            self.feature_mask = number.where(number < counts[:, None], -1)
            self.inputs, self.prompts = torch.ones(self.feature_mask.shape), torch.arange(len(counts))
        if len(counts) > 1:
            self.inputs.known_features = self.feature_mask, -1  # type: ignore[attr-defined]
        self._scores, self._positions = TokenScores(share_prefix), learned_positions(model)
        self.row_elements: int | None = None  # for a limit of the rows in a call; a provider gets one at a time anyway
        if not is_remote(model):
            prompts = self.prompt_ids(self.inputs)
            longest = max(len(ids) + len(answer) for ids, answer in zip(prompts, self.answers))
            self.row_elements = longest * width(model, default=WIDTH)
            for ids in prompts:
                warn_of_two_beginnings(ids, tokenizer)

    @torch.no_grad()
    def forward(self, present: Tensor, prompt: Tensor | None = None) -> Tensor:
        rows = self._presence_by_prompt(present, prompt)
        of_tokens = [self._remote(*row) for row in rows] if is_remote(self.model) else self._local(rows)
        columns = torch.stack([self._columns(scores) for scores in of_tokens])
        return columns.to(present.device)

    def prompt_ids(self, present: Tensor, prompt: Tensor | None = None) -> list[Tensor]:
        """`[n]` for each row: the token ids of the prompt without its absent features."""
        return [self._fields(*row)["input_ids"] for row in self._presence_by_prompt(present, prompt)]

    def attributions(self, result: Any, target: int = 0) -> Tensor:
        """`[1, F]`: an `LLMAttributionResult` as attributions of `inputs`; `[P, F]` of a list, one for each prompt.

        Args:
            target: 0 for the attributions of the whole answer, k for those of its k-th token. A prompt whose answer is
                shorter gets zeros, as its scores are NaN.
        """
        results = list(result) if isinstance(result, (list, tuple)) else [result]
        if len(results) != len(self.answers):
            raise ValueError(f"`result` must have one for each of {len(self.answers)} prompts, got {len(results)}.")
        return torch.stack([self.attribution(r, i, target) for i, r in enumerate(results)])

    def attribution(self, result: Any, prompt: int, target: int = 0) -> Tensor:
        """`[F]`: the result for one of the prompts, with zeros where it has fewer features than others."""
        inp, answer, width = self.interpretable_inputs[prompt], self.answers[prompt], self.inputs.shape[1]
        tokens = len(getattr(result, "output_tokens", answer))
        if tokens != len(answer):
            raise ValueError(
                f"`result` explains an answer of {tokens} tokens, but that of prompt {prompt} has {len(answer)}. "
                "Give LLMAttribution the ids in `f.answers` as its target."
            )
        if not is_answer(self.tokenizer, answer, result):
            raise ValueError(
                f"`result` explains the answer {list(result.output_tokens)}, which is not that of prompt {prompt}, "
                f"{answer_text(self.tokenizer, answer)!r}. Give LLMAttribution the ids in `f.answers` as its target."
            )
        if len(answer) < target < 1 + max(map(len, self.answers)):
            return torch.zeros(width)
        values = attribution_of(result, inp, target, "result").cpu()
        return pad(values, (0, width - len(values)))

    @property
    def data(self) -> Prompts:
        """The prompts as a data set for `evaluate` and for `Evaluation.report`; the target is the whole answer."""
        further = [{"feature_mask": mask, "frozen": -1} for mask in self.feature_mask]
        rows = [(self.inputs[i], 0, i, further[i]) for i in range(len(self.answers))]
        return Prompts(rows, self.token_texts, [answer_text(self.tokenizer, answer) for answer in self.answers])

    @property
    def token_texts(self) -> list[list[tuple[str, int | None]]]:
        """Each prompt's text in pieces, with the numbers of their features: the texts for `captum_ext.plots.tokens`."""
        return [pieces_of(inp) for inp in self.interpretable_inputs]

    @property
    def arguments(self) -> dict[str, Any]:
        """What metrics that call the model need to know of `inputs` itself."""
        if len(self.answers) == 1:
            return {}
        return {"additional_forward_args": self.prompts}

    def extra_repr(self) -> str:
        """A digest of prompts and answers is in it, by which `evaluate` tells one run from another."""
        return f"prompts={len(self.answers)}, attr_target={self.attr_target!r}, contents={self._contents}"

    @cached_property
    def _contents(self) -> str:
        sha = hashlib.sha256()
        if is_remote(self.model):
            plain = {k: v for k, v in vars(self.model).items() if isinstance(v, (str, int, float))}
            _digest(sha, f"{type(self.model).__name__} {sorted(plain.items())}")
        for inp, answer in zip(self.interpretable_inputs, self.answers):
            for present in _telling_rows(presence(inp).shape[1]):
                _digest(sha, self._seen(inp.to_model_input(present)))
            _digest(sha, answer)
        return sha.hexdigest()[:16]

    def _seen(self, model_input: Any) -> Any:
        """What the model sees of a prompt: its ids, and what else a processor makes; a provider sees the text."""
        return model_input if is_remote(self.model) else as_fields(model_input, self.tokenizer, self.add_special_tokens)

    def check_explained(self, inputs: Any, attributions: Any) -> None:
        """Refuses an input or a result of Captum's that is about another prompt or another answer."""
        if is_interpretable(inputs) and not any(is_alike(inputs, own) for own in self.interpretable_inputs):
            raise ValueError(
                "`inputs` must be the prompt that `forward_func` was made with, or one with the same features and text."
            )
        for result in attributions.values() if isinstance(attributions, Mapping) else [attributions]:
            if is_result(result):
                self._check_result(result)

    def _check_result(self, result: Any) -> None:
        inp = getattr(result, "inp", None)  # those of gradients and of Captum 0.7 have none
        if inp is not None and not any(is_alike(inp, own) for own in self.interpretable_inputs):
            raise ValueError("`attributions` must explain the prompt that `forward_func` was made with.")
        if not any(is_answer(self.tokenizer, answer, result) for answer in self.answers):
            raise ValueError(
                f"`attributions` explain the answer {list(result.output_tokens)}, which `forward_func` does not have. "
                "Give LLMAttribution the ids in `f.answers` as its target."
            )

    def _presence_by_prompt(self, present: Tensor, prompt: Tensor | None) -> list[tuple[int, Tensor]]:
        checked = checked_presence(present, self.inputs.shape[1])
        if prompt is None and len(self.answers) == 1:
            prompt = torch.zeros(len(present), dtype=torch.long, device="cpu")
        elif prompt is None and present is self.inputs:
            prompt = self.prompts
        if prompt is None or len(prompt) != len(present):
            raise ValueError(
                f"`additional_forward_args` must say which of the {len(self.answers)} prompts each row belongs to: "
                "give `f.prompts` for the rows of `f.inputs`."
            )
        counts = (self.feature_mask >= 0).sum(1)
        return [(p, row[: counts[p]]) for p, row in zip(prompt.tolist(), checked)]

    def _fields(self, prompt: int, present: Tensor) -> dict[str, Tensor]:
        inp = self.interpretable_inputs[prompt]
        fields = as_fields(inp.to_model_input(present[None]), self.tokenizer, self.add_special_tokens)
        if len(fields["input_ids"]) == 0:
            raise ValueError(
                f"Prompt {prompt} has no tokens without its features, so nothing predicts the answer. Add some text to "
                "its template that stays, or a special token at its beginning."
            )
        check_positions(self._positions, len(fields["input_ids"]), len(self.answers[prompt]))
        return fields

    def _local(self, rows: Sequence[tuple[int, Tensor]]) -> list[Tensor]:
        fields = [self._fields(*row) for row in rows]
        return self._scores(
            self.model, [Row(x.pop("input_ids"), self.answers[p], p, x) for (p, _), x in zip(rows, fields)]
        )

    def _remote(self, prompt: int, present: Tensor) -> Tensor:
        text = as_text(self.interpretable_inputs[prompt].to_model_input(present[None]), self.tokenizer)
        answer = self.answers[prompt]
        scores = self.model.get_logprobs(
            input_prompt=text, target_str=self.tokenizer.decode(answer), tokenizer=self.tokenizer
        )
        if len(scores) != len(answer):
            raise ValueError(
                f"The provider must give a log-probability for each of the answer's {len(answer)} tokens, got "
                f"{len(scores)}."
            )
        return torch.tensor(scores, device="cpu")

    def _columns(self, scores: Tensor) -> Tensor:
        """`[1 + T]`: of the whole answer and of each token; only of the whole for a logit."""
        total = scores.sum()[None]
        if self.attr_target == "logit":
            return total - (-torch.expm1(total)).log()
        columns = pad(torch.cat((total, scores)), (0, max(map(len, self.answers)) - len(scores)), value=torch.nan)
        return columns.exp() if self.attr_target == "prob" else columns


def _telling_rows(features: int) -> Iterator[Tensor]:
    """`[1, F]`: all features, none, and the halves by each binary digit of their numbers, which tell any two apart."""
    number = torch.arange(features, device="cpu")
    yield from (torch.ones(1, features, device="cpu"), torch.zeros(1, features, device="cpu"))
    yield from ((number >> digit & 1)[None].float() for digit in range((features - 1).bit_length()))


def _digest(sha: Any, value: Any) -> None:
    """Adds a text, a tensor, or the tensors of a mapping."""
    if isinstance(value, Mapping):
        for name in sorted(value):
            sha.update(str(name).encode())
            _digest(sha, value[name])
    elif isinstance(value, Tensor):
        sha.update(f"{tuple(value.shape)} {value.dtype}".encode())
        sha.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    else:
        sha.update(str(value).encode() + b"\0")
