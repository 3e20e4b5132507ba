"""`evaluate`: from a model, a data set, methods and metrics to the table of all scores, in one call."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from .._core.card import Card, arguments_of_partial, card_of, name_of
from .._core.checks import check_choice, check_count, check_flag
from .call_text import call_text
from .checks import FILLED_IN, check_arguments, check_first, check_methods, check_numbers
from .contents import contents_of
from .course import Course, course_of
from .engines.resources import Device, Workers, workers_of
from .examples import Examples
from .files import as_path, temporary_folder
from .fingerprint import described
from .formats import FORMATS
from .job import Job, manifest_of
from .kept_maps import examples_to_keep
from .kept_run import is_there, kept_beside, stored_at
from .labels import check_target
from .methods import with_absolute_paths
from .model import made
from .results import Evaluation, assemble, warn_of_few_draws
from .stop_rule import ALPHA, WITHIN
from .store import ShardStore
from .verification import LEVELS


@torch.inference_mode(False)
def evaluate(
    model: Any,
    data: Any,
    methods: Mapping[str, Any],
    metrics: Mapping[str, Callable[..., Any]],
    *,
    target: str | None = "data",
    batch_size: int = 16,
    max_examples_per_batch: int | None = None,
    device: torch.device | str | None = None,
    seed: int = 0,
    path: str | os.PathLike[str] | None = None,
    shard_size: int | None = None,
    on_error: str = "raise",
    stderr: bool = False,
    verify: str = "sample",
    devices: Sequence[Device] | None = None,
    engine: Any = "auto",
    max_restarts: int = 100,
    shard_timeout: float | None = None,
    threads_per_worker: int | None = None,
    show_progress: bool = False,
    until: str | Mapping[str, str] | None = None,
    alpha: float = ALPHA,
    within: float = WITHIN,
    groups: Sequence[Any] | Callable[[int], Any] | None = None,
    order: str = "given",
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
            the data set, in its own order, and the `collate_fn` are used. `extra` maps names of arguments, of metrics
            and of methods, to the example's values, such as ``{"truth_mask": mask, "feature_mask": segments}``; these
            are stacked, a row per example. Without further arguments for the model, `additional_forward_args` is None.
            All examples must have the parts of the first one, of the same types. What all share goes into the model, as
            in ``functools.partial(model, edges=edges)``: of what a `collate_fn` gives, a tensor as long as the batch is
            taken to have a row per example.
        methods: name -> a Captum class, a function `model -> explanation` (a Captum object, or a function with Captum's
            arguments), a ready Captum object, or stored attributions (a tensor with a row per example, or a path that
            `attribute_dataset` wrote). `captum_ext.random_attribution` is the control.
        metrics: name -> a function of `captum_ext.metrics`, or one of your own with such arguments. Configure it by
            `functools.partial`; the same metric may be given several times with different settings. These arguments
            are filled in by name: `forward_func`, `attributions`, `explanation_func` or `explanation_factory` (the
            method as it was given, if it is made from the model), `inputs`, `target`, `additional_forward_args`,
            `seed`, `max_examples_per_batch`, and each argument whose name is in the data's `extra`. An argument that
            you set yourself is left alone; a name in `extra` that nothing takes is ignored, and one that is filled in
            anyway, such as `target`, is refused. A method gets what it takes by name as well, such as `baselines` and
            `feature_mask`; but no mask that comes with `frozen` ids, unless it takes these too, and no `baselines` that
            it takes as a distribution for all examples, as GradientShap does.
        target: which output of the model is explained. With `"data"` it is the one that the example's target says, a
            class index or a tuple of indices. With `"predicted"` it is the class with the largest output, which costs
            a row of the model per example and is the coordinate `target` of the result; a model with one output
            explains that one. With None, the data's targets are ignored and the model must return one number per row.
        batch_size: examples explained and scored together.
        max_examples_per_batch: the most rows of a model call, in metrics and explanations.
        device: where to compute; the model's own by default. A module of the caller's is copied there, not moved.
        seed: the draws for an example depend on it and on the example's index in the data set, not on batches,
            processes or resumption. Functions that draw from global generators (a `perturb_func`, GradientShap) find
            these seeded accordingly.
        path: where to keep the run: scores go to `<path>.parts/` shard by shard, and the whole result to `path` (HDF5)
            at the end. Repeat the call to resume a run that was interrupted; the path of another run is refused, with
            what differs, see `verify`.
        shard_size: examples of a shard, the unit of storing and of resuming; `batch_size` by default.
        on_error: `"raise"`, or `"record"`: a method that fails on a batch leaves NaN there and its message in
            `Evaluation.failures`.
        stderr: keep the standard error of each score over the metric's random draws, as `metrics.with_stderr` has it,
            in a variable `"<metric> stderr"`, and `"<metric> n_eff"`, the draws that carry it. It costs no model row,
            and `Evaluation.reliability` tells from it how much of the differences between examples is noise of the
            draws. Maxima over draws, such as `sensitivity_max`, have no standard error; of these the scores of two
            halves of the draws are kept, as `"<metric>:halves"`.
        verify: how a run at `path` is shown to be this one before it is resumed. Settings, versions, the model's state
            and the first example are always compared. ``"sample"`` also computes two finished shards again (the first
            and another) and refuses the path if scores differ by more than rounding, which tells whatever has changed
            in the model, methods, metrics or what they call; and it compares the data of these and of up to eight more
            shards, by digests. It costs two shards, and a second start of the workers. ``"full"`` compares the data of
            all finished shards. ``"off"`` neither computes nor reads them. If no shard is left to do, the data are
            compared only. Of the processes that a launcher started together, one verifies and the others wait for it.
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
        until: stop at the end of the shard by which the scores have decided, on a typical example: ``"best"``, which
            method is better than every other; ``"ranking"``, which of any two is the better one; ``"control"``, which
            are better or worse than the control (the method `random_attribution`, else the one named "random"). It is
            asked of every metric with a better side, or of those in a mapping, as in ``{"deletion": "best"}`` or
            ``{"sensitivity_n (n=5)": "ranking"}``. All examples are scored if they do not decide it. What was decided
            is in :meth:`Evaluation.certainty`. A later call at the same `path` goes on with another rule, or with none.
        alpha: the largest chance that anything that was decided is wrong, over all pairs of methods and metrics asked.
        within: a method is also a best one if no other is better by more than this share of its lead over the
            control, since two methods that nearly agree are never told apart. 0 asks for strictly better, and so does
            a call without a control.
        groups: a label per example, all integers or all strings, or a function of its index, for examples that are not
            independent: crops of one photograph, frames of one film. A group counts once, with the mean of its
            differences, when all of it is scored.
        order: `"given"`, or `"shuffled"` by the seed, with groups as wholes. The coordinate `example` of the result
            then has the order of evaluation. An example's draws stay the same.

    Returns:
        an `Evaluation`; its `dataset` is an `xarray.Dataset` with a variable for each metric, over attribution, example
        and the metric's own axis, or axes.

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
    place = None if path is None else as_path(path).absolute()
    check_target(target)
    check_methods(methods)
    methods = with_absolute_paths(methods)  # before an example is loaded, which may change the working folder
    examples = Examples(data, target)
    check_arguments(metrics, on_error, examples)
    batch_size, max_examples_per_batch, seed = check_numbers(batch_size, max_examples_per_batch, seed)
    shard_size = batch_size if shard_size is None else check_count("shard_size", shard_size)
    stderr, show_progress = check_flag("stderr", stderr), check_flag("show_progress", show_progress)
    check_choice("verify", verify, LEVELS)
    course = course_of(
        until=until,
        alpha=alpha,
        within=within,
        groups=groups,
        order=order,
        examples=len(examples),
        seed=seed,
        methods=methods,
        metrics=metrics,
    )
    check_first(examples)
    built = made(model)
    workers = workers_of(
        built,
        device=device,
        devices=devices,
        engine=engine,
        max_restarts=max_restarts,
        shard_timeout=shard_timeout,
        threads_per_worker=threads_per_worker,
        shared=place is not None,
    )
    job = Job(
        model=built,
        maker=None if built is model else model,
        data=examples,
        methods=methods,
        metrics=dict(metrics),
        batch_size=batch_size,
        target=target,
        max_examples_per_batch=max_examples_per_batch,
        device=workers.resources.devices[0],
        threads=workers.resources.threads,
        seed=seed,
        on_error=on_error,
        stderr=stderr,
        kept=examples_to_keep(course.order or range(len(examples)), until is not None),
        order=course.order,
    )
    settings = {
        **{"target": target, "batch_size": batch_size, "max_examples_per_batch": max_examples_per_batch, "seed": seed},
        **{"on_error": on_error, "stderr": stderr, "until": until, "alpha": alpha, "within": within, "order": order},
    }
    call = call_text(evaluate, methods, metrics, settings)
    manifest = manifest_of(job, len(examples), shard_size)
    if place is None:
        with temporary_folder() as folder:
            store = ShardStore(folder, manifest, kept=False)
            return _completed(job, course, store, workers, show_progress, "off", call)
    store = kept_beside(place, manifest, examples)
    is_there(place, lambda: stored_at(place).attrs.get("run_id") == store.run_id)
    result = _completed(job, course, store, workers, show_progress, verify, call)
    if workers.write_result(place) and not stored_at(place).identical(result.dataset):
        FORMATS["hdf5"].save(result.dataset, place, result.kept)
    return result


def _completed(
    job: Job, course: Course, store: ShardStore, workers: Workers, show_progress: bool, verify: str, call: str
) -> Evaluation:
    store.stop_by(course.rule)
    workers.complete(job, store, show_progress, verify)
    contents = contents_of(store)
    dataset = assemble(contents, job.metrics, {name: _attributes(m) for name, m in job.metrics.items()})
    warn_of_few_draws(dataset)
    return Evaluation(course.labelled(dataset, store).assign_attrs(call=call), contents.kept)


def _attributes(metric: Callable[..., Any]) -> dict[str, Any]:
    """Of the variable of a metric."""
    card, arguments = card_of(metric), arguments_of_partial(metric)
    attributes: dict[str, Any] = {
        "metric": name_of(metric),
        "arguments": {k: described(v) for k, v in arguments.items() if k not in FILLED_IN},
    }
    if card is None:
        return attributes
    direction = card.direction(arguments)
    attributes |= {"reference": card.reference, "family": card.family, **_what_is_drawn(card, arguments)}
    return attributes | ({} if direction is None else {"higher_is_better": direction})


def _what_is_drawn(card: Card, arguments: Mapping[str, Any]) -> dict[str, str]:
    """What the numbers of a curve are, for its axis, where they are outputs of the model."""
    if card.higher_is_better is not None or not card.on_scale_of_output:
        return {}
    made_by = described(arguments.get("activation"))
    name = str(made_by.get("function") if isinstance(made_by, dict) else made_by).split(" ")[0].rpartition(".")[2]
    known = {"None": "output for the class", "log_softmax": "log-probability of the class"}
    known |= dict.fromkeys(("softmax", "Softmax", "sigmoid", "Sigmoid"), "probability of the class")
    return {"drawn": known.get(name, "output for the class, after the activation")}
