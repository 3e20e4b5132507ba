"""`evaluate`: from a model, a data set, methods and metrics to the table of all scores, in one call."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from .._core.card import arguments_of_partial, card_of, name_of
from .._core.checks import check_count, check_flag
from .checks import FILLED_IN, check_arguments, check_numbers
from .engines.resources import Device, Workers, workers_of
from .examples import Examples
from .files import as_path
from .fingerprint import described
from .formats import FORMATS
from .job import Job, manifest_of
from .kept_run import check_own_result, kept_beside
from .model import made
from .results import Evaluation, assemble
from .store import ShardStore


@torch.inference_mode(False)
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

    Each explanation is computed once and serves all metrics; metrics of this package get all methods at once and so
    share the model's evaluations. The model runs in evaluation mode and gets its own mode back.

    While a batch is scored, the global random generators, the hooks on the model and torch's number of threads belong
    to the call, and are given back as they were. So calls in several threads of one process take turns, shard by shard.

    Args:
        model: a module, or a function without arguments that returns one.
        data: a torch data set of `(inputs, target)`, `(inputs, target, additional_forward_args)` or `(inputs, target,
            additional_forward_args, extra)`, where inputs are a tensor or a tuple; or a `DataLoader` of one, of which
            the data set, in its own order, and the `collate_fn` are used. `extra` maps names of metrics' arguments to
            the example's values, such as ``{"truth_mask": mask, "feature_mask": segments}``; these are stacked, a row
            per example. Without further arguments for the model, `additional_forward_args` is None.
        methods: name -> a Captum class, a function `model -> explanation` (a Captum object, or a function with Captum's
            arguments), a ready Captum object, or stored attributions (a tensor with a row per example, or a path that
            `attribute_dataset` wrote). `captum_ext.random_attribution` is the control.
        metrics: name -> a function of `captum_ext.metrics`, or one of your own with such arguments. Configure it by
            `functools.partial`; the same metric may be given several times with different settings. These arguments
            are filled in by name: `forward_func`, `attributions`, `explanation_func` or `explanation_factory` (the
            method as it was given, if it is made from the model), `inputs`, `target`, `additional_forward_args`,
            `seed`, `max_examples_per_batch`, and each argument whose name is in the data's `extra`. An argument that
            you set yourself is left alone; a name in `extra` that no metric takes is ignored.
        batch_size: examples explained and scored together.
        max_examples_per_batch: the most rows of a model call, in metrics and explanations.
        device: where to compute; the model's own by default. A module of the caller's is copied there, not moved.
        seed: the draws for an example depend on it and on the example's index in the data set, not on batches,
            processes or resumption. Functions that draw from global generators (a `perturb_func`, GradientShap) find
            these seeded accordingly.
        path: where to keep the run: scores go to `<path>.parts/` shard by shard, and the whole result to `path` (HDF5)
            at the end. Repeat the call to resume a run that was interrupted; the path of another run is refused, with
            what differs.
        shard_size: examples of a shard, the unit of storing and of resuming; `batch_size` by default.
        on_error: `"raise"`, or `"record"`: a method that fails on a batch leaves NaN there and its message in
            `Evaluation.failures`.
        halves: also score with two halves of the draws, which `Evaluation.reliability` needs; doubles the metrics'
            cost.
        devices: a worker process is started for each entry, as in ``["cuda:0", "cuda:1"]`` or ``["cpu", "cpu"]``; a
            device that is named twice has two. All must be of one type.
        engine: who starts the workers: `"inline"` (this process computes), `"elastic"` (torch's elastic agent), `"ray"`
            (a Ray cluster), the name of an engine that another package has registered, or an engine of your own (see
            `captum_ext.evaluation.engines`). `"auto"` is inline for one device, else elastic. With `"auto"` or
            `"elastic"` and a `path`, processes that torchrun, srun, a SLURM array or a Kubernetes Indexed Job started
            share the work, each with its `devices`.
        max_restarts: how often a machine's workers are started again, in all, after one of them died. A shard at which
            a worker died three times is set aside, and the rest finishes.
        shard_timeout: seconds after which a worker that is still at the same shard is ended and started again; by
            default it is never ended.
        threads_per_worker: threads of torch in a worker; by default 1 in worker processes, and torch's present number
            if this process computes. The last bits of scores depend on it, so a run is resumed with the same number
            only.
        show_progress: show a bar of the examples done by all workers together, or a line every half minute where there
            is no terminal.

    Returns:
        an `Evaluation`; its `dataset` is an `xarray.Dataset` with a variable for each metric, over attribution, example
        and the metric's own axis.

    Raises:
        ValueError, TypeError: an argument does not fit, an example (named by its index) cannot be loaded, or `path`
            belongs to another run.
        FileExistsError: something that is not this run's result is at `path`; raised before any work.
        IncompleteRun: examples, which it names, could not be computed, as workers died. Finished shards are kept.
        OSError: the disk is full or cannot be written to. Finished shards are kept; repeat the call to resume.

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
    check_arguments(methods, metrics, on_error, examples)
    batch_size, max_examples_per_batch, seed = check_numbers(batch_size, max_examples_per_batch, seed)
    shard_size = batch_size if shard_size is None else check_count("shard_size", shard_size)
    halves, show_progress = check_flag("halves", halves), check_flag("show_progress", show_progress)
    path = None if path is None else as_path(path)
    built = made(model)
    workers = workers_of(
        built,
        device=device,
        devices=devices,
        engine=engine,
        max_restarts=max_restarts,
        shard_timeout=shard_timeout,
        threads_per_worker=threads_per_worker,
        shared=path is not None,
    )
    job = Job(
        model=built,
        maker=None if built is model else model,
        data=data,
        methods=dict(methods),
        metrics=dict(metrics),
        batch_size=batch_size,
        max_examples_per_batch=max_examples_per_batch,
        device=workers.resources.devices[0],
        threads=workers.resources.threads,
        seed=seed,
        on_error=on_error,
        halves=halves,
    )
    manifest = manifest_of(job, len(examples), shard_size)
    if path is None:
        with tempfile.TemporaryDirectory(prefix="captum_ext-") as folder:
            return _completed(job, ShardStore(Path(folder), manifest), workers, show_progress)
    store = kept_beside(path, manifest, examples)
    check_own_result(path, store.run_id)
    result = _completed(job, store, workers, show_progress)
    if workers.write_result(path):
        FORMATS["hdf5"].save(result.dataset, path)
    return result


def _completed(job: Job, store: ShardStore, workers: Workers, show_progress: bool) -> Evaluation:
    workers.complete(job, store, show_progress)
    return Evaluation(assemble(store, {name: _variable(metric) for name, metric in job.metrics.items()}))


def _variable(metric: Callable[..., Any]) -> dict[str, Any]:
    """What the variable of a metric carries: attributes, and the metric's own axis with its coordinates."""
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
