"""The activations of a layer as the inputs of metrics: attributions of Captum's `Layer*` methods are scored there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ._core.arguments import InputsType, TensorOrTuple, Tensors, as_args, as_tuple, bare_if_single, of_rows, same_values
from ._core.checks import check_flag, check_function, check_real, shape
from ._core.guard import copied, replaced, tensors_in
from ._core.layers import as_layer, value_seen
from ._core.training import warn_of_training

__all__ = ["AtLayer", "at_layer"]


def at_layer(
    model: Callable[..., Any],
    layer: str | nn.Module,
    inputs: InputsType,
    additional_forward_args: Any = None,
    *,
    attribute_to_layer_input: bool = False,
) -> tuple[AtLayer, TensorOrTuple]:
    r"""Makes the model a function of a layer's activations, and gives these activations.

    .. math:: z = h(x), \qquad f(z') = g(z', x)

    where :math:`h` is the model up to the layer and :math:`g` the whole model, run from the inputs `x`, in which the
    output of the layer is replaced by :math:`z'`. So what reaches the output around the layer, as in a residual model,
    is that of `x`. Every metric that removes, changes or perturbs inputs works on `z` with `f` as its model: it scores
    attributions of Captum's `Layer*` methods where they live.

    Metrics evaluate many copies of each example, and `f` is told which example each copy belongs to: it takes the
    number of the example after the activations. Metrics that call the model know these numbers when they are given `z`
    itself. For some of its rows, and for explanations of `f`, give them as `additional_forward_args`, as in
    ``f(z[2:4], f.rows[2:4])``.

    Args:
        model: a module, or a function that calls one.
        layer: a part of the model, or its name. It must be called once in a call of the model, and its output must be
            a tensor, or a tuple with tensors, whose first axis are the examples.
        inputs: of the model, a tensor or a tuple of tensors.
        additional_forward_args: of the model; tensors with a row per example go with the copies, as in Captum.
        attribute_to_layer_input: whether the activations are the layer's input, as in Captum, instead of its output.

    Returns:
        `f`, a module, and `z`, a tensor or, for a layer with several, a tuple of tensors. Each call of `f` costs a call
        of the whole model.

    Raises:
        ValueError, TypeError: a `layer` that the model does not call once, or whose activations do not have a row for
            each example; activations of another shape, or of unknown examples, in calls of `f`.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
        >>> x = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
        >>> f, z = at_layer(model, "1", x)
        >>> bool((f(z) == model(x)).all()), z.shape, f(torch.zeros(1, 3), f.rows[:1]).shape
        (True, torch.Size([2, 3]), torch.Size([1, 1]))
    """
    f = AtLayer(model, layer, inputs, additional_forward_args, attribute_to_layer_input)
    return f, f.inputs


class AtLayer(nn.Module):
    """A model as a function of a layer's activations, see `at_layer`.

    `inputs` are the activations for the original inputs, and `rows` the numbers of their examples.
    """

    def __init__(
        self,
        model: Callable[..., Any],
        layer: str | nn.Module,
        inputs: InputsType,
        additional_forward_args: Any = None,
        attribute_to_layer_input: bool = False,
    ):
        super().__init__()
        check_function("model", model, "a module, or a function that calls one")
        warn_of_training(model, "`model`")
        self.model = model
        self.training = getattr(model, "training", False)  # a new module would be in training mode
        self._layer = [as_layer(layer, model, "model")]  # in a list, so that its parameters keep their one name
        self._of_input = check_flag("attribute_to_layer_input", attribute_to_layer_input)
        x = as_tuple(inputs)
        self.rows = torch.arange(len(x[0]), device="cpu")
        self._given = self._kept(*x, *as_args(additional_forward_args, len(x[0])))
        self._activations = self._of_layer(self.rows)
        self._check_examples_first()

    def forward(self, *given: Tensor) -> Any:
        z, rows = given[: len(self._activations)], given[len(self._activations) :]
        calls = []

        def instead(seen: Any) -> Any:
            calls.append(1)
            _check_shapes(z, tensors_in(seen))
            activations = iter(z)
            return replaced(lambda _: next(activations).clone(), seen)  # cloned, as the model may write into it

        with value_seen(self._layer[0], self._of_input, instead):
            output = self._of_model(self._numbers(z, rows))
        _check_called_once(len(calls))
        return output

    @property
    def inputs(self) -> TensorOrTuple:
        return bare_if_single(self._activations)

    @property
    def arguments(self) -> dict[str, Any]:
        """What metrics that call the model need to know of `inputs`."""
        return {"additional_forward_args": self.rows}

    def extra_repr(self) -> str:
        """The place of the layer in the model is in it, by which `evaluate` tells one run from another."""
        modules = self.model.named_modules() if isinstance(self.model, nn.Module) else ()
        name = next((name for name, module in modules if module is self._layer[0]), type(self._layer[0]).__name__)
        return f"layer={name!r}, attribute_to_layer_input={self._of_input}"

    def _kept(self, *values: Any) -> list[str]:
        """Keeps what the model is called with, tensors as buffers, which go where the model goes."""
        names = [f"given{i}" for i in range(len(values))]
        for name, value in zip(names, values):
            self.register_buffer(name, value) if isinstance(value, Tensor) else setattr(self, name, value)
        return names

    def _of_model(self, rows: Tensor) -> Any:
        """The output for the original inputs of examples, of which the model gets copies."""
        originals = ((value, of_rows(value, rows, len(self.rows))) for value in map(self.__getattr__, self._given))
        return self.model(*(replaced(copied, value) if of is value else of for value, of in originals))

    def _of_layer(self, rows: Tensor) -> Tensors:
        """The activations for the original inputs of examples."""
        seen: list[Tensors] = []

        def note(value: Any) -> None:  # cloned, because the next layer may write into it
            seen.append(tuple(t.detach().clone() for t in tensors_in(value)))

        with value_seen(self._layer[0], self._of_input, note), torch.no_grad():
            self._of_model(rows)
        _check_called_once(len(seen))
        if not seen[0] or not all(t.dim() > 0 and len(t) == len(rows) for t in seen[0]):
            raise ValueError(
                f"`layer` must have activations with a row for each of the {len(rows)} examples of `inputs`, got "
                f"{list(map(shape, seen[0])) or 'no tensor'}. Take a layer whose first axis are the examples."
            )
        check_real("`layer` must return", *seen[0])
        return seen[0]

    def _check_examples_first(self) -> None:
        """Refuses a first axis that is as long as the batch by chance, where another one is as long, too."""
        if any(len(self.rows) in shape(t)[1:] for t in self._activations):
            self._of_layer(self.rows[:1])

    def _numbers(self, z: Tensors, given: Tensors) -> Tensor:
        """`[rows]`: the number of each row's example."""
        if not given and len(self.rows) == 1:
            return torch.zeros(len(z[0]), dtype=torch.long, device="cpu")
        if not given and same_values(z, self._activations):
            return self.rows
        rows = given[0] if len(given) == 1 else None
        if not isinstance(rows, Tensor) or rows.dtype != torch.long or shape(rows) != (len(z[0]),):
            raise ValueError(
                f"`additional_forward_args` must say which of the {len(self.rows)} examples each of the {len(z[0])} "
                "rows of activations belongs to: give `f.rows` for all of `z`, or f.rows[2:4] for z[2:4]."
            )
        if not rows.is_meta and ((rows < 0) | (rows >= len(self.rows))).any():
            raise ValueError(
                f"`additional_forward_args` must be numbers of the {len(self.rows)} examples, from 0, as `f.rows` are; "
                f"got {int(rows.min())} to {int(rows.max())}."
            )
        return rows


def _check_called_once(times: int) -> None:
    if times != 1:
        raise ValueError(f"`layer` must be called once in a call of `model`, but it was called {times} times.")


def _check_shapes(given: Sequence[Tensor], seen: Sequence[Tensor]) -> None:
    if list(map(shape, given)) != list(map(shape, seen)):
        raise ValueError(
            f"The activations of `layer` must keep the shapes that it has for these examples, "
            f"{list(map(shape, seen))}, got {list(map(shape, given))}."
        )
