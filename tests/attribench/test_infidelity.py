"""Infidelity: recorded scores from recorded perturbations, its generators, and what must not change the scores."""

from __future__ import annotations

import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from captum_ext.attribench.data import AttributionsDataset
from captum_ext.attribench.functional.metrics import infidelity
from captum_ext.attribench.functional.metrics.infidelity import (
    GaussianPerturbationGenerator,
    NoisyBaselinePerturbationGenerator,
    PerturbationGenerator,
    SegmentRemovalPerturbationGenerator,
    SquarePerturbationGenerator,
    _range_of_values,
)

from .conftest import fail_above_two_rows

GENERATORS = {
    "gaussian": lambda: GaussianPerturbationGenerator(0.2),
    "noisy_baseline": lambda: NoisyBaselinePerturbationGenerator(0.2),
    "square": lambda: SquarePerturbationGenerator(3),
    "segment": lambda: SegmentRemovalPerturbationGenerator(4),
}


class Recorded(PerturbationGenerator):
    """Gives recorded perturbations, one after another."""

    def __init__(self, perturbations):
        super().__init__()
        self.perturbations = iter(perturbations)

    def _generate_perturbation_vectors(self):
        return next(self.perturbations)


def perturbations(reference, case, name):
    """`[draw, sample, ...]`, as the notes of the reference data say that they were made."""
    data, spec = reference.golden.data(case["model"]), case["call"]["perturbation_generators"][name]
    x, draws = torch.tensor(data["samples"]), torch.tensor(reference.golden.array(case["draws"][name]))
    if name == "gaussian":
        return draws * spec["sd"]
    if name == "noisy_baseline":
        return x - draws * spec["sd"]
    if name == "segment":
        segments = torch.tensor(data["segments"])
        return torch.stack([x * (segments[..., None] == ids[:, None, None, None]).any(-1) for ids in draws])
    inside = torch.zeros(len(draws), 1, *x.shape[1:])
    for image, (top, left) in zip(inside, draws.tolist()):
        image[:, :, top : top + spec["square_size"], left : left + spec["square_size"]] = 1
    return x * inside


@pytest.mark.parametrize("name", ["cnn/feature", "cnn/pixel", "gray/pixel", "mlp"])
def test_recorded_perturbations_give_the_recorded_scores(reference, name):
    (case,) = (c for c in reference.golden.cases("infidelity") if c["id"] == f"infidelity/{name}")
    call = case["call"]
    generators = {g: Recorded(perturbations(reference, case, g)) for g in call["perturbation_generators"]}
    model, dataset = reference.golden.model(case["model"]), reference.dataset(case)
    result = infidelity(
        model, dataset, call["batch_size"], call["activation_fns"], generators, call["num_perturbations"]
    )
    for row, wanted in reference.golden.rows(case["results"]).items():
        generator, activation = row.split("|")
        table, higher_is_better = result.get_df(generator, activation)
        assert not higher_is_better
        assert list(table) == case["methods"]
        assert_allclose(table.to_numpy().T, wanted, rtol=1e-3, atol=1e-6, err_msg=row)


def test_the_recorded_range_of_the_batch_is_the_one_of_the_data_set(reference):
    for case in reference.golden.cases("infidelity"):
        assert_allclose(_range_of_values(reference.dataset(case)), case["clamp"], rtol=1e-6)


@pytest.mark.parametrize("name", GENERATORS)
def test_scores_depend_on_the_seed_and_not_on_the_batch_size_or_the_other_activations(name, cnn, dataset):
    def run(batch_size, activations, seed=0):
        result = infidelity(cnn, dataset, batch_size, activations, {"g": GENERATORS[name]()}, 4, seed=seed)
        return result.tree.get(method="b", perturbation_generator="g", activation_fn="softmax")

    assert_allclose(run(2, ["linear", "softmax"]), run(5, "softmax"), rtol=1e-3, atol=1e-7)
    assert (run(5, "softmax") != run(5, "softmax", seed=1)).any()


def test_a_call_of_the_model_has_the_batch_and_activations_share_it(cnn, dataset, rows):
    infidelity(cnn, dataset, 2, ["linear", "softmax", "sigmoid"], {"g": GENERATORS["gaussian"]()}, 3)
    assert rows.calls == [2] * 4 + [2] * 4 + [1] * 4


def test_a_gradient_explains_a_linear_model_perfectly_and_zero_scores_what_the_output_moves():
    x, model, labels = torch.randn(4, 6), torch.nn.Linear(6, 2), torch.tensor([0, 1, 0, 1])
    maps = {
        "gradient": model.weight.detach()[labels],
        "scaled": 7 * model.weight.detach()[labels],
        "zero": torch.zeros(4, 6),
    }
    dataset = AttributionsDataset(x, labels, attributions=maps)
    noise = torch.randn(5, 4, 6)
    result = infidelity(model, dataset, 4, ["linear"], {"g": Recorded(noise)}, 5, value_range=(-99, 99))
    table, _ = result.get_df("g", "linear")
    assert_allclose(table[["gradient", "scaled"]], 0, atol=1e-8)
    assert_allclose(table["zero"], ((noise * maps["gradient"]).sum(-1) ** 2).mean(0), rtol=1e-4)


@pytest.mark.parametrize("name", GENERATORS)
def test_a_perturbation_belongs_to_the_sample_and_not_to_its_batch(name, images):
    together, alone = GENERATORS[name](), GENERATORS[name]()
    together.set_samples(images)
    together.set_seeds(range(5))
    alone.set_samples(images[3:4])
    alone.set_seeds([3])
    drawn = [together.generate_perturbation() for _ in range(3)]
    for perturbation in drawn:
        assert_array_equal(perturbation[3:4], alone.generate_perturbation())
    assert (drawn[0] != drawn[1]).any()


def test_gaussian_noise_has_its_width_and_a_noisy_baseline_leaves_only_noise():
    samples = torch.full((50, 200), 5.0)
    gaussian, noisy = GaussianPerturbationGenerator(0.3), NoisyBaselinePerturbationGenerator(0.3)
    for generator, wanted in ((gaussian, 0.0), (noisy, 5.0)):
        generator.set_samples(samples)
        perturbation = generator.generate_perturbation()
        assert abs(perturbation.mean() - wanted) < 0.02
        assert abs(perturbation.std() - 0.3) < 0.01


def test_squares_lie_anywhere_in_oblong_images_and_are_whole():
    generator = SquarePerturbationGenerator(2)
    generator.set_samples(torch.ones(400, 1, 3, 5))
    inside = generator.generate_perturbation()[:, 0] != 0
    corners = {tuple(image.nonzero()[0].tolist()) for image in inside}
    assert (inside.sum((1, 2)) == 4).all()
    assert corners == {(top, left) for top in range(2) for left in range(4)}


def test_as_many_segments_are_removed_as_asked_for(images):
    generator = SegmentRemovalPerturbationGenerator(4)
    generator.set_samples(images + 1)
    perturbation = generator.generate_perturbation()
    for removed, image, segments in zip(perturbation, images, generator.segmented_images):
        inside = (removed != 0).all(0)
        assert len(segments[0][inside].unique()) == 4
        assert_array_equal(inside, torch.isin(segments[0], segments[0][inside].unique()))
        assert_array_equal(removed[:, inside], (image + 1)[:, inside])


@pytest.mark.parametrize(
    ("generator", "message"),
    [
        (SquarePerturbationGenerator(9), "`square_size` must be from 1 to the side of the images, 8; got 9"),
        (
            SegmentRemovalPerturbationGenerator(99),
            "`num_segments` must be from 1 to the number of segments of an image, .*; got 99",
        ),
    ],
)
def test_what_images_are_too_small_for_is_refused_by_name(cnn, dataset, generator, message):
    with pytest.raises(ValueError, match=message):
        infidelity(cnn, dataset, 5, ["linear"], {"g": generator}, 2)


def test_a_batch_that_is_too_large_for_the_memory_is_halved(cnn, dataset):
    arguments = (dataset, 4, "linear", {"g": GENERATORS["gaussian"]()}, 3)
    wanted, _ = infidelity(cnn, *arguments).get_df("g", "linear")
    cnn.register_forward_pre_hook(fail_above_two_rows)
    with pytest.warns(UserWarning, match="Out of memory"):
        found = infidelity(cnn, *arguments)
    assert_allclose(found.get_df("g", "linear")[0], wanted, rtol=1e-3)


@pytest.mark.filterwarnings("ignore:Out of memory")
def test_with_several_activations_it_is_said_that_the_batch_is_too_large(cnn, dataset):
    cnn.register_forward_pre_hook(fail_above_two_rows)
    with pytest.raises(torch.cuda.OutOfMemoryError, match="choose a smaller `batch_size`"):
        infidelity(cnn, dataset, 4, ["linear", "softmax"], {"g": GENERATORS["gaussian"]()}, 3)


def test_arguments_that_do_not_fit_are_refused_by_name(cnn, dataset):
    good = {"g": GENERATORS["gaussian"]()}
    with pytest.raises(TypeError, match=r"`perturbation_generators\['g'\]` must be a PerturbationGenerator, got float"):
        infidelity(cnn, dataset, 5, ["linear"], {"g": 0.2}, 2)
    with pytest.raises(ValueError, match="`num_perturbations` must be at least 1, got 0"):
        infidelity(cnn, dataset, 5, ["linear"], good, 0)
    with pytest.raises(ValueError, match="`activation_fns` must be among"):
        infidelity(cnn, dataset, 5, ["relu"], good, 2)
    with pytest.raises(ValueError, match="call `set_samples` first"):
        GaussianPerturbationGenerator(1.0).generate_perturbation()


def test_a_generator_of_ones_own_has_one_method_to_override(cnn, dataset, images):
    class Half(PerturbationGenerator):
        def _generate_perturbation_vectors(self):
            return self.samples / 2

    result = infidelity(cnn, dataset, 2, "linear", {"half": Half()}, 3)
    assert (dataset.maps("a", [0, 1, 2, 3, 4]) * images).flatten(1).sum(1).abs().min() > 0
    assert_allclose(result.get_df("half", "linear")[0]["a"], 0, atol=1e-6)  # one perturbation, which beta fits exactly
