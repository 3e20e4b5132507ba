"""Every form in which a method may be given, and attributions that are stored."""

from __future__ import annotations

from functools import partial

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from captum.attr import (
    DeepLift,
    GradientShap,
    InputXGradient,
    IntegratedGradients,
    KernelShap,
    LayerGradCam,
    LayerGradientShap,
    Lime,
    NoiseTunnel,
    Saliency,
    ShapleyValueSampling,
)
from torch.testing import assert_close

from captum_ext import attribute_dataset, evaluate, metrics, random_attribution
from captum_ext.evaluation.attribute import _export
from captum_ext.evaluation.methods import draws_at_random
from captum_ext.evaluation.store import ShardStore

from .runs import (
    FEW_METRICS,
    METHODS,
    TARGETS,
    N,
    Net,
    assert_same_scores,
    examples,
    inputs,
    killed_at,
    mean_of_attributions,
    run,
    scores,
)


def maps_of(method, model=None, **options):
    """What the metrics get, as a metric: a method's attributions."""
    result = run(model, methods={"it": method}, metrics={"maps": lambda attributions: attributions}, **options)
    return scores(result, "maps")


def saliency_by_hand(inputs, target, model):
    x = inputs.detach().requires_grad_()
    return torch.autograd.grad(model(x).gather(1, target[:, None]).sum(), x)[0].abs()


FORMS = {
    "a class": lambda model: Saliency,
    "a class with some arguments set": lambda model: partial(Saliency),
    "a function that makes the object": lambda model: lambda m: Saliency(m),
    "a function that gives the bound attribute": lambda model: lambda m: Saliency(m).attribute,
    "a function that gives a function": lambda model: lambda m: partial(saliency_by_hand, model=m),
    "a ready object": lambda model: Saliency(model),
    "its bound attribute": lambda model: Saliency(model).attribute,
    "its attribute with some arguments set": lambda model: partial(Saliency(model).attribute, abs=True),
    "a stored tensor": lambda model: saliency(),
    "a stored tuple": lambda model: (saliency(),),
    "a stored array": lambda model: saliency().numpy(),
}


def saliency():
    return saliency_by_hand(inputs(), TARGETS, Net().eval())


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_method_explains_alike(form):
    model = Net()
    result = run(model, methods={"it": FORMS[form](model)}, metrics=FEW_METRICS)
    assert_same_scores(result, run(methods={"it": saliency()}, metrics=FEW_METRICS), rtol=1e-9)


def test_a_path_is_a_stored_tensor(tmp_path):
    attribute_dataset(Net(), examples(), {"it": Saliency}, tmp_path / "maps.h5", batch_size=3)
    for path in (tmp_path / "maps.h5", str(tmp_path / "maps.h5")):
        result = run(methods={"it": path}, metrics=FEW_METRICS)
        assert_same_scores(result, run(methods={"it": saliency()}, metrics=FEW_METRICS), rtol=1e-12)


def test_a_class_with_arguments_set_gets_them():
    local = maps_of(partial(IntegratedGradients, multiply_by_inputs=False))
    assert_close(maps_of(IntegratedGradients), local * inputs())


def test_arguments_of_a_bound_attribute_reach_it():
    model = Net()
    signed = maps_of(partial(Saliency(model).attribute, abs=False), model)
    assert_close(signed.abs(), saliency())
    assert (signed < 0).any()


def test_a_target_that_a_partial_sets_is_kept():
    model = Net()
    of_one = maps_of(partial(Saliency(model).attribute, target=1), model)
    assert_close(of_one, saliency_by_hand(inputs(), torch.ones(N, dtype=torch.long), Net().eval()))


def test_a_function_gets_only_the_arguments_that_it_takes():
    assert_close(maps_of(lambda model: lambda inputs: 2 * inputs), 2 * inputs())


def test_a_function_of_any_arguments_gets_all():
    seen = []

    def explain(x, **arguments):
        seen.append(set(arguments))
        return x

    maps_of(lambda model: explain, data=[(x, 0) for x in inputs()])
    assert seen[0] == {"target"}


def test_an_explanation_may_return_a_list_for_several_inputs():
    data = [((x, 2 * x), 0) for x in inputs()]
    result = run(
        lambda x, y: x + y,
        data,
        {"it": lambda model: lambda inputs: list(inputs)},
        {"second": lambda attributions: attributions[1]},
    )
    assert_close(scores(result, "second"), 2 * inputs())


def test_attributions_come_without_a_graph():
    result = run(methods={"it": lambda model: lambda x: model(x)[:, :1] * x}, metrics={"graph": has_graph})
    assert not scores(result, "graph").any()


def has_graph(attributions):
    return torch.full((len(attributions),), float(attributions.requires_grad))


def test_stored_attributions_come_without_a_graph_too():
    result = run(methods={"it": inputs().requires_grad_()}, metrics={"graph": has_graph})
    assert not scores(result, "graph").any()


# ---- the random control


def test_a_table_of_pandas_is_a_stored_array():
    table = pd.DataFrame(inputs().numpy(), index=range(N, 0, -1))
    assert_close(maps_of(table, batch_size=3), inputs(), rtol=0, atol=0)


def test_a_metric_gets_a_tensor_whether_it_was_stored_or_not(tmp_path):
    attribute_dataset(Net(), examples(), {"it": Saliency}, tmp_path / "maps.h5")
    for method in (tmp_path / "maps.h5", (inputs(),), Saliency):
        assert run(methods={"it": method}, metrics={"kind": is_tensor}).dataset["kind"].values.all()


def is_tensor(attributions, inputs):
    return torch.full((len(inputs),), isinstance(attributions, torch.Tensor))


@pytest.mark.parametrize("several", [False, True])
def test_a_run_with_an_array_in_a_file_resumes_unless_the_file_changes(several, tmp_path):
    with h5py.File(tmp_path / "maps.h5", "w") as file:
        file["maps"] = inputs().numpy()
        method = (file["maps"],) if several else file["maps"]
        first = run(methods={"it": method}, path=tmp_path / "run.h5")
        assert_same_scores(run(methods={"it": method}, path=tmp_path / "run.h5"), first, rtol=0)
        file["maps"][N - 1] = 0
        with pytest.raises((ValueError, FileExistsError), match=r"methods\.it|run\.h5 exists"):
            run(methods={"it": method}, path=tmp_path / "run.h5")


def test_the_control_is_standard_normal_noise():
    maps = random_attribution()(torch.arange(20_000.0).reshape(20, 1000))
    assert abs(maps.mean()) < 0.03
    assert abs(maps.std() - 1) < 0.03


def test_the_control_depends_on_the_example_and_the_seed_alone():
    explain, x = random_attribution(), inputs()
    assert_close(explain(x)[3:5], explain(x[3:5]), rtol=0, atol=0)
    assert_close(explain(x.flip(0)), explain(x).flip(0), rtol=0, atol=0)
    assert_close(random_attribution("another model")(x, target=2), explain(x), rtol=0, atol=0)
    assert (random_attribution(seed=1)(x) != explain(x)).all()
    assert (explain(x)[0] != explain(x)[1]).all()


def test_several_controls_differ_by_their_seed():
    result = run(
        methods={"a": random_attribution, "b": partial(random_attribution, seed=1)},
        metrics={"own": mean_of_attributions},
    )
    assert (scores(result, "own", "a") != scores(result, "own", "b")).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_control_has_shape_and_type_of_the_inputs(dtype):
    one, several = inputs().to(dtype), (inputs().to(dtype), torch.ones(N, 1, 2, 2, dtype=dtype))
    assert random_attribution()(one).dtype == dtype
    assert [m.shape for m in random_attribution()(several)] == [t.shape for t in several]
    strided = torch.ones(2, 3, 4, 4).to(memory_format=torch.channels_last)
    assert_close(random_attribution()(strided), random_attribution()(strided.contiguous()))


def test_the_control_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    random_attribution()(inputs())
    assert torch.equal(torch.get_rng_state(), before)


# ---- which methods of Captum's draw

DRAWING = {
    "GradientShap": lambda m: GradientShap(m).attribute,
    "with arguments": lambda m: partial(GradientShap(m).attribute, n_samples=2),
    "a layer's": lambda m: LayerGradientShap(m, m.layers[0]).attribute,
    "NoiseTunnel": lambda m: NoiseTunnel(Saliency(m)).attribute,
    "Lime": lambda m: Lime(m).attribute,
    "KernelShap": lambda m: KernelShap(m).attribute,
    "ShapleyValueSampling": lambda m: ShapleyValueSampling(m).attribute,
}


@pytest.mark.parametrize("method", DRAWING)
def test_methods_that_draw_are_known(method):
    assert draws_at_random(DRAWING[method](Net()))


@pytest.mark.parametrize("method", [Saliency, InputXGradient, IntegratedGradients, DeepLift])
def test_methods_that_draw_nothing_explain_whole_batches(method):
    assert not draws_at_random(method(Net()).attribute)


# ---- attribute_dataset


def test_attributions_of_every_method_are_read_back_as_they_were(tmp_path):
    attribute_dataset(Net(), examples(), METHODS, tmp_path / "maps.h5", batch_size=3)
    for name, method in METHODS.items():
        stored = maps_of_path(tmp_path / "maps.h5", name)
        assert_close(stored, maps_of(method), rtol=1e-12, atol=1e-14)
        assert stored.dtype == torch.float64


def maps_of_path(path, name):
    return scores(run(methods={name: path}, metrics={"maps": lambda attributions: attributions}), "maps")


def test_attributions_of_several_tensors_are_stored_one_by_one(tmp_path):
    data = [((x, x[:2]), 0) for x in inputs()]
    attribute_dataset(lambda x, y: x, data, {"it": lambda m: lambda t: (t[0] + 1, t[1] - 1)}, tmp_path / "maps.h5")
    result = run(lambda x, y: x, data, {"it": tmp_path / "maps.h5"}, {"second": lambda attributions: attributions[1]})
    assert_close(scores(result, "second"), inputs()[:, :2] - 1)


@pytest.mark.parametrize("name", ["integrated/gradients", "%2F", "σ ≥ 0", "a.b"])
def test_any_name_of_a_method_is_stored(name, tmp_path):
    attribute_dataset(Net(), examples(), {name: Saliency, "other": InputXGradient}, tmp_path / "maps.h5")
    assert_close(maps_of_path(tmp_path / "maps.h5", name), saliency(), rtol=1e-9, atol=1e-12)


def test_the_only_method_of_a_file_may_have_another_name(tmp_path):
    attribute_dataset(Net(), examples(), {"saliency": Saliency}, tmp_path / "maps.h5")
    assert_close(maps_of_path(tmp_path / "maps.h5", "renamed"), saliency(), rtol=1e-9, atol=1e-12)


def test_a_method_that_the_file_does_not_have_is_refused_with_those_it_has(tmp_path):
    attribute_dataset(Net(), examples(), METHODS, tmp_path / "maps.h5")
    with pytest.raises(
        ValueError, match=r"'ig' is not in .*maps.h5, which has 'product', 'random', 'saliency'; name it like"
    ):
        maps_of_path(tmp_path / "maps.h5", "ig")


def test_stored_attributions_do_not_depend_on_the_batch_size(tmp_path):
    drawing = {"it": lambda model: NoiseTunnel(Saliency(model))}
    for size in (1, 3, N):
        attribute_dataset(Net(), examples(), drawing, tmp_path / f"{size}.h5", batch_size=size)
    first, *others = (maps_of_path(tmp_path / f"{size}.h5", "it") for size in (1, 3, N))
    for other in others:
        assert_close(other, first, rtol=1e-12, atol=1e-14)


def test_a_file_of_attributions_is_plain_hdf5_and_alone_in_its_folder(tmp_path):
    attribute_dataset(Net(), examples(), {"it": Saliency}, tmp_path / "maps.h5")
    with h5py.File(tmp_path / "maps.h5") as file:
        np.testing.assert_allclose(file["it/0"][:], saliency(), rtol=1e-9)
    assert [f.name for f in tmp_path.iterdir()] == ["maps.h5"]


def test_attributions_go_on_where_they_were_interrupted(tmp_path):
    path, model = tmp_path / "maps.h5", Net()
    with killed_at(1, "before"):
        attribute_dataset(model, examples(), {"it": Saliency}, path, batch_size=3)
    assert not path.exists()
    model.calls.clear()
    attribute_dataset(model, examples(), {"it": Saliency}, path, batch_size=3)
    assert model.calls == [3, 3, 2]  # the finished shard verifies the run
    assert_close(maps_of_path(path, "it"), saliency(), rtol=1e-9, atol=1e-12)


def test_other_attributions_do_not_go_on_there(tmp_path):
    path = tmp_path / "maps.h5"
    with killed_at(1, "before"):
        attribute_dataset(Net(), examples(), {"it": Saliency}, path, batch_size=3)
    with pytest.raises(ValueError, match="`path` holds another run"):
        attribute_dataset(Net(), examples(), {"it": InputXGradient}, path, batch_size=3)


def test_an_existing_file_is_refused_before_any_explanation(tmp_path):
    (tmp_path / "maps.h5").write_text("mine")
    model = Net()
    with pytest.raises(FileExistsError, match=r"`path` .*maps.h5 exists already"):
        attribute_dataset(model, examples(), METHODS, tmp_path / "maps.h5")
    assert model.calls == []
    assert (tmp_path / "maps.h5").read_text() == "mine"


def test_a_failing_method_is_named_and_leaves_no_file(tmp_path):
    def failing(model):
        return lambda inputs: inputs.reshape(7)

    with pytest.raises(RuntimeError, match="method 'bad', examples 0 to 7"):
        attribute_dataset(Net(), examples(), {"bad": failing}, tmp_path / "maps.h5")
    assert not (tmp_path / "maps.h5").exists()


def test_attributing_shows_progress_when_asked(tmp_path, capsys):
    attribute_dataset(Net(), examples(), {"it": Saliency}, tmp_path / "maps.h5", show_progress=True)
    assert f"{N} of {N} examples" in capsys.readouterr().err


# ---- attributions that do not fit

FOREIGN = {
    "text": lambda path: path.write_text("no HDF5"),
    "empty": lambda path: path.touch(),
    "foreign": lambda path: h5py.File(path, "w").close(),
    "a result": lambda path: run(metrics=FEW_METRICS).save(path),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_file_that_attribute_dataset_did_not_write_is_refused(kind, tmp_path):
    FOREIGN[kind](tmp_path / "maps.h5")
    model = Net()
    with pytest.raises(
        ValueError, match=r"Method 'it': .*maps.h5 is not a file of attributions that attribute_dataset wrote"
    ):
        run(model, methods={"it": tmp_path / "maps.h5"})
    assert model.calls == []


def test_a_path_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"Method 'it': .*none.h5 is not a file .*No such file"):
        run(methods={"it": tmp_path / "none.h5"})


def test_a_truncated_file_of_attributions_is_refused(tmp_path):
    path = tmp_path / "maps.h5"
    attribute_dataset(Net(), examples(), {"it": Saliency}, path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"Method 'it': .*is not a file of attributions"):
        run(methods={"it": path})


@pytest.mark.parametrize("rows", [N - 1, N + 1])
def test_attributions_of_another_number_of_examples_are_refused_before_any_work(rows):
    model = Net()
    with pytest.raises(ValueError, match=f"method 'it' have {rows} rows, but `data` has {N} examples"):
        run(model, methods={"saliency": Saliency, "it": inputs(rows)})
    assert model.calls == []


def test_attributions_of_another_shape_are_refused_by_the_metric():
    with pytest.raises(ValueError, match=r"must have the shape of `inputs` \(3, 4\), got \(3, 5\)[\s\S]*method 'it'"):
        run(methods={"it": inputs(N, 5)}, metrics={"deletion": metrics.deletion})


@pytest.mark.parametrize("method", [5, None, 1.5, object()])
def test_what_is_no_method_is_refused(method):
    with pytest.raises(
        TypeError, match="Method 'it' must be a Captum class or object, a function of the model, a tensor or a path"
    ):
        run(methods={"it": method})


HINTS = {
    "a class that needs more": (
        GradientShap,
        TypeError,
        r"Method 'it' needs `baselines`, which no batch has. Set it: `lambda model: partial\(GradientShap\(model\)",
    ),
    "an object that needs more": (GradientShap(Net()), TypeError, "Method 'it' needs `baselines`"),
    "a function that needs more": (
        lambda model: lambda inputs, target, steps: inputs,
        TypeError,
        "Method 'it' needs `steps`, which no batch has. Set it: .*partial\\(function, steps=...\\)",
    ),
    "a name": (
        "IntegratedGradients",
        ValueError,
        "Method 'it': there is no file 'IntegratedGradients'. .* give its class, such as captum.attr",
    ),
    "a function that gives a class": (lambda model: Saliency, TypeError, "'it' must make .*, got the class Saliency"),
}


@pytest.mark.parametrize(("method", "error", "match"), HINTS.values(), ids=HINTS)
def test_what_a_method_lacks_is_said(method, error, match):
    with pytest.raises(error, match=match):
        run(methods={"it": method})


class OfWords(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.out = torch.nn.Embedding(9, 4), torch.nn.Linear(4, 3)

    def forward(self, ids):
        return self.out(self.embedding(ids).mean(1))


@pytest.mark.parametrize("method", [Saliency, IntegratedGradients, InputXGradient, DeepLift])
@pytest.mark.filterwarnings("ignore")  # Captum's, of integers
def test_gradients_of_token_ids_are_refused_with_a_hint(method):
    data = [(torch.arange(i, i + 5) % 9, 0) for i in range(3)]
    wanted = "Method 'it' needs gradients, which `inputs` of type torch.int64 do not have. Explain the embeddings"
    with pytest.raises(TypeError, match=wanted):
        evaluate(OfWords().eval(), data, {"it": method}, {"sparseness": metrics.sparseness}, devices=["cpu"])


def test_a_function_that_makes_no_explanation_is_refused():
    with pytest.raises(
        TypeError, match=r"Method 'it' must make an explanation of the model, .*got int.*`lambda model: function`"
    ):
        run(methods={"it": lambda model: 3})
    with pytest.raises(TypeError, match=r"Method 'it' must make an explanation of the model, .*got Net"):
        run(methods={"it": lambda inputs: inputs})


@pytest.mark.parametrize(
    "method", [LayerGradCam, saliency_by_hand], ids=["needs a layer", "of inputs, not of the model"]
)
def test_a_method_that_cannot_be_made_is_named(method):
    with pytest.raises(TypeError, match="'it'"):
        run(methods={"it": method})


def test_stored_attributions_have_no_sensitivity_and_say_so():
    result = run(
        methods={"it": saliency(), "live": Saliency}, metrics={"s": metrics.sensitivity_max}, on_error="record"
    )
    assert scores(result, "s", "it").isnan().all()
    assert scores(result, "s", "live").isfinite().all()
    assert {(f["attribution"], f["metric"]) for f in result.failures} == {("it", "s")}
    assert result.failures[0]["error"] == "stored attributions cannot be computed for other inputs"


# ---- examples of several sizes


@pytest.mark.parametrize("sizes", [(3, 3, 1), (3, 1, 3), (1, 3, 3), (3, 3, 5)])
def test_attributions_of_another_shape_are_refused_where_they_come(tmp_path, sizes):
    """HDF5 would repeat a single value, or fail after all work."""
    seen = []

    def noted(model):
        return lambda x, **_: seen.append(len(x)) or x

    data = [(torch.rand(size), 0) for size in (*sizes, 3, 3)]
    with pytest.raises(ValueError, match=r"`data` must give attributions of one shape.*method 'x'.*in example"):
        attribute_dataset(lambda x: x.sum(1), data, {"x": noted}, tmp_path / "maps.h5", batch_size=1)
    assert len(seen) <= 3
    assert not (tmp_path / "maps.h5").exists()


def test_shards_of_several_processes_may_not_differ_in_shape_either(tmp_path):
    """Each process knows only the shapes that it has seen: those of all are compared when the file is written."""
    store = ShardStore(tmp_path / "parts", {"examples": 2, "shard_size": 1})
    for shard, size in enumerate((3, 1)):
        arrays = {"0.0": np.ones((1, 1, size)), "failures": np.array("[]"), "data": np.array('["digest"]')}
        store.write(shard, arrays)
    with pytest.raises(
        ValueError, match=r"`data` must .* have shape \(3,\) in the first examples, but \(1,\) in example 1"
    ):
        _export(store, ["x"], tmp_path / "maps.h5")
    assert not (tmp_path / "maps.h5").exists()
