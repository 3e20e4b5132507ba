"""One call: a model, a data set, methods and metrics to the table of all scores, kept as it grows."""

from __future__ import annotations

import inspect
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from .._core.card import arguments_of_partial, card_of, configured, name_of
from .engines import Engine, Resources
from .examples import Examples
from .explanations import set_arguments
from .files import check_writable, sweep
from .fingerprint import described
from .job import Job, manifest_of
from .progress import Progress
from .resources import Device, check_whole, resources_of
from .results import Evaluation, assemble, load, save_hdf5
from .store import ShardStore
from .worker import made

EXPLANATIONS = ("attributions", "explanation_func", "explanation_factory")
FILLED_IN = {"forward_func", *EXPLANATIONS, "inputs", "target", "additional_forward_args", "seed"}
ON_ERROR = ("raise", "record")


def evaluate(
    model: Any,
    data: Any,
    methods: Mapping[str, Any],
    metrics: Mapping[str, Callable[..., Any]],
    *,
    batch_size: int = 16,
    max_examples_per_batch: int | None = None,
    device: torch.device | str | None = None,
    seed: int = 0,
    path: str | os.PathLike[str] | None = None,
    shard_size: int | None = None,
    on_error: str = "raise",
    halves: bool = False,
    devices: Sequence[Device] | None = None,
    engine: Any = "auto",
    max_restarts: int = 100,
    shard_timeout: float | None = None,
    threads_per_worker: int | None = None,
    show_progress: bool = False,
) -> Evaluation:
    r"""Scores every explanation method with every metric, over a whole data set.

    Each explanation is computed once and serves all metrics; metrics of this package get all methods at once and so share the model's
    evaluations. The model runs in evaluation mode and gets its own mode back.

    Args:
        model: a module, or a function without arguments that returns one.
        data: a torch data set of `(inputs, target)`, `(inputs, target, additional_forward_args)` or `(inputs, target,
            additional_forward_args, extra)`, inputs a tensor or a tuple; or a `DataLoader` of one (its data set in order, and its
            `collate_fn`). `extra` maps names of metrics' arguments to the example's values, such as ``{"truth_mask": mask, "feature_mask":
            segments}``; these are stacked, a row per example. Without further arguments for the model, `additional_forward_args` is None.
        methods: name -> a Captum class, a function `model -> explanation` (a Captum object, or a function with Captum's arguments), a ready
            Captum object, or stored attributions (a tensor with a row per example, or a path that `attribute_dataset` wrote).
            `captum_ext.random_attribution` is the control.
        metrics: name -> a function of `captum_ext.metrics`, or one of your own with such arguments; configured by `functools.partial`,
            so one metric may come several times. Filled in by name: `forward_func`, `attributions`, `explanation_func` or
            `explanation_factory` (the method as it was given, if it is made from the model), `inputs`, `target`, `additional_forward_args`,
            `seed`, `max_examples_per_batch`, and whatever the data's `extra` has by the name of an argument; what you set yourself stays,
            and a name that no metric takes is no error.
        batch_size: examples explained and scored together.
        max_examples_per_batch: the most rows of a model call, in metrics and explanations.
        device: where to compute; the model's own by default. A module of the caller's is copied there, not moved.
        seed: every example's draws come from it and the example's place in the data set, so they do not depend on batches, processes or
            resumption. What draws from global generators (a `perturb_func`, GradientShap) is seeded for each batch.
        path: keeps the run: scores go to `<path>.parts/` shard by shard, and the whole result to `path` (HDF5) at the end. The same call
            goes on where it was interrupted; another run's path is refused, with what differs.
        shard_size: examples of a shard, the unit of storing and of resuming; `batch_size` by default.
        on_error: `"raise"`, or `"record"`: a method that fails on a batch leaves NaN there and its message in `Evaluation.failures`.
        halves: also score with two halves of the draws, which `Evaluation.reliability` needs; doubles the metrics' cost.
        devices: a worker process for each, such as ``["cuda:0", "cuda:1"]`` or ``["cpu", "cpu"]``; one named twice has two. All of one type.
        engine: who starts the workers: `"inline"` (this process), `"elastic"` (torch's elastic agent), `"ray"` (a Ray cluster), the name of
            one that another package has registered, or an engine. `"auto"`: this process for one device, else elastic. With it and a
            `path`, processes that torchrun, srun, a SLURM array or a Kubernetes Indexed Job started share the work, each with its `devices`.
        max_restarts: how often a machine's workers are started again, in all, after one of them died. A shard at which a worker died three
            times is set aside, and the rest finishes.
        shard_timeout: seconds after which a worker that is still at a shard is ended and started again; never by default.
        threads_per_worker: threads of torch in a worker: 1 in a process of its own by default, as many as now in this process. The last bits
            of scores depend on it, so a kept run goes on with the same number only.
        show_progress: a bar of the examples done, by all workers together; a line every half minute where there is no terminal.

    Returns:
        an `Evaluation`; its `dataset` is an `xarray.Dataset` with a variable per metric over attribution, example and the metric's own axis.

    Raises:
        ValueError, TypeError: arguments that do not fit, an example that cannot be loaded (named by its index), another run's `path`.
        FileExistsError: something that is not this run's is at `path`; before any work.
        IncompleteRun: workers died until they were given up on; names the examples. What is finished is kept at `path`.
        OSError: the disk is full or cannot be written to. Finished shards are kept, and the same call goes on.

    Example:
        >>> from captum.attr import InputXGradient, Saliency
        >>> from captum_ext import evaluate, metrics, random_attribution
        >>> model = torch.nn.Linear(4, 2)
        >>> data = [(torch.rand(4), 0) for _ in range(8)]
        >>> result = evaluate(
        ...     model,
        ...     data,
        ...     {"gradient x input": InputXGradient, "random": random_attribution},
        ...     {"deletion": metrics.deletion, "insertion": metrics.insertion},
        ... )
        >>> dict(result.dataset.sizes)
        {'attribution': 2, 'example': 8}
    """
    examples = Examples(data)
    _check(methods, metrics, on_error, examples)
    check_numbers(batch_size, max_examples_per_batch, seed)
    if shard_size is not None:
        check_whole("shard_size", shard_size)
    built = made(model)
    runner, resources = resources_of(
        built, device, devices, engine, max_restarts, shard_timeout, threads_per_worker, shared=path is not None
    )
    job = Job(
        built,
        data,
        dict(methods),
        dict(metrics),
        batch_size,
        max_examples_per_batch,
        resources.devices[0],
        seed,
        on_error,
        halves,
        maker=None if built is model else model,
    )
    manifest = manifest_of(job, len(examples), shard_size or batch_size, resources.threads)
    if path is None:
        with tempfile.TemporaryDirectory(prefix="captum_ext-") as folder:
            return _run(job, ShardStore(Path(folder), manifest), runner, resources, show_progress)
    path = Path(path)
    store = kept_beside(path, manifest, examples)
    _check_own_result(path, store.run_id)
    result = _run(job, store, runner, resources, show_progress)
    if resources.place.index == 0 or not path.exists():  # another member may have written it
        save_hdf5(result.dataset, path)
    return result


def kept_beside(path: Path, manifest: dict[str, Any], examples: Examples) -> ShardStore:
    """The store at `<path>.parts`. The first example stands for the data: to read all of them would be a run of its own."""
    manifest["data"] = described(examples.example(0))
    return ShardStore(path.with_name(path.name + ".parts"), manifest)


def _check_own_result(path: Path, run_id: str) -> None:
    """Nothing is at `path`, or the result of this very run, which may be written again."""
    sweep(path.parent, path.name)
    try:
        own = path.is_file() and load(path).dataset.attrs.get("run_id") == run_id
    except ValueError:
        own = False
    if not own:
        check_writable(path)


def _run(job: Job, store: ShardStore, runner: Engine, resources: Resources, show_progress: bool) -> Evaluation:
    run_to_end(job, store, runner, resources, show_progress)
    return Evaluation(assemble(store, {name: _variable(metric) for name, metric in job.metrics.items()}))


def run_to_end(job: Job, store: ShardStore, runner: Engine, resources: Resources, show_progress: bool) -> None:
    """Computes the shards that are missing, and makes sure that none is."""
    missing = store.missing()
    reasons: Mapping[int, str] = {}
    with Progress(store, show_progress and resources.place.index == 0):
        if missing:
            store.begin()  # so that a path that cannot be written to is known before any work
            reasons = runner.run(job, missing, store, resources)
    store.verify(reasons)


def _variable(metric: Callable[..., Any]) -> dict[str, Any]:
    """What a metric's variable is to carry: attributes, and its own axis with its coordinates."""
    card, arguments = card_of(metric), arguments_of_partial(metric)
    attributes: dict[str, Any] = {
        "metric": name_of(metric),
        "arguments": {k: described(v) for k, v in arguments.items() if k not in FILLED_IN},
    }
    if card is None:
        return {"attributes": attributes, "axis": None}
    direction = card.direction(arguments)
    attributes |= {"reference": card.reference} | ({} if direction is None else {"higher_is_better": direction})
    if card.axis is None:
        return {"attributes": attributes, "axis": None}
    places = card.axis[1](arguments)
    return {"attributes": attributes, "axis": (card.axis[0], None if places is None else list(places))}


def _check(methods: Any, metrics: Any, on_error: Any, examples: Examples) -> None:
    check_methods(methods)
    _check_names("metrics", metrics)
    if on_error not in ON_ERROR:
        raise ValueError(f"`on_error` must be one of {', '.join(map(repr, ON_ERROR))}, got {on_error!r}.")
    for name, metric in metrics.items():
        _check_metric(name, metric, examples)


def check_numbers(batch_size: Any, max_examples_per_batch: Any, seed: Any) -> None:
    check_whole("batch_size", batch_size)
    check_whole("seed", seed, least=0)
    if max_examples_per_batch is not None:
        check_whole("max_examples_per_batch", max_examples_per_batch)


def check_methods(methods: Any) -> None:
    _check_names("methods", methods)


def _check_names(name: str, mapping: Any) -> None:
    if not isinstance(mapping, Mapping) or not mapping or not all(isinstance(k, str) for k in mapping):
        raise TypeError(f"`{name}` must be a mapping from names to {name}, with at least one; got {mapping!r}.")


def _check_metric(name: str, metric: Any, examples: Examples) -> None:
    if not callable(metric):
        raise TypeError(f"Metric {name!r} must be a function, got {type(metric).__name__}.")
    if name in ("attribution", "example"):
        raise ValueError(f"A metric cannot be named {name!r}: that is an axis of the results.")
    try:
        parameters = inspect.signature(metric).parameters
    except ValueError as error:
        unknown = ", ".join(
            map(repr, sorted(set_arguments(metric) - {*inspect.signature(configured(metric)).parameters}))
        )
        raise TypeError(f"Metric {name!r}: {name_of(metric)} takes no argument {unknown or error}.") from error
    if not set(EXPLANATIONS) & set(parameters):
        wanted = " or ".join(f"`{e}`" for e in EXPLANATIONS)
        raise TypeError(f"Metric {name!r} must take {wanted}; it takes {', '.join(parameters)}.")
    required = {
        k for k, p in parameters.items() if p.default is p.empty and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    }
    unset = sorted(required - FILLED_IN - set_arguments(metric))
    if unset:  # only then is an example loaded at the door
        unset = sorted(set(unset) - set(examples.batch(range(1), torch.device("cpu")).extra))
    if unset:
        raise TypeError(
            f"Metric {name!r} needs {', '.join(f'`{u}`' for u in unset)}: set it with functools.partial(metric, {unset[0]}=...), "
            f"or give each example its own, as {{{unset[0]!r}: ...}} in the fourth part of `data`."
        )
