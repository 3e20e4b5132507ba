# Written by `make stubs` from the signatures at run time; do not edit.

from captum_ext._core.arguments import AttributionsType
from captum_ext._core.arguments import BaselinesType
from captum_ext._core.arguments import FeatureMaskType
from captum_ext._core.arguments import FrozenType
from captum_ext._core.arguments import InputsType
from captum_ext._core.arguments import MapsType
from captum_ext._core.arguments import Scores
from captum_ext._core.arguments import TensorOrTuple
from captum_ext._core.draws import SeedType
from captum_ext._core.estimates import Estimate as Estimate
from captum_ext._core.perturbations import default_perturb_func as default_perturb_func
from captum_ext._core.sizes import SizeType
from captum_ext._core.target import TargetType
from captum_ext.metrics.available import available as available
from captum_ext.metrics.axioms.input_invariance import input_invariance as input_invariance
from captum_ext.metrics.complexity.mst_compactness import mst_compactness as mst_compactness
from captum_ext.metrics.effects.infidelity import infidelity_perturb_func_decorator as infidelity_perturb_func_decorator
from captum_ext.metrics.localisation.auc_roc import auc_roc as auc_roc
from captum_ext.metrics.localisation.aup import aup as aup
from captum_ext.metrics.localisation.aup import aur as aur
from captum_ext.metrics.localisation.average_precision import average_precision as average_precision
from captum_ext.metrics.localisation.impact_coverage import impact_coverage as impact_coverage
from captum_ext.metrics.localisation.pointing_game import pointing_game as pointing_game
from captum_ext.metrics.localisation.relevance_mass_accuracy import attribution_localisation as attribution_localisation
from captum_ext.metrics.localisation.relevance_mass_accuracy import relevance_mass_accuracy as relevance_mass_accuracy
from captum_ext.metrics.localisation.relevance_rank_accuracy import relevance_rank_accuracy as relevance_rank_accuracy
from captum_ext.metrics.localisation.relevance_rank_accuracy import top_k_intersection as top_k_intersection
from captum_ext.metrics.metric import metric as metric
from captum_ext.metrics.randomisation._similarity import SimilarityType
from captum_ext.metrics.randomisation.efficient_mprt import efficient_mprt as efficient_mprt
from captum_ext.metrics.randomisation.random_logit import random_logit as random_logit
from captum_ext.metrics.robustness.coherency import coherency as coherency
from captum_ext.metrics.robustness.consistency import Discretize
from captum_ext.metrics.with_stderr import with_stderr as with_stderr
from collections.abc import Callable
from collections.abc import Sequence
from torch import Tensor
from torch import nn
from typing import Any

def abpc(
    forward_func: Callable[..., Any],
    inputs: InputsType,
    attributions: AttributionsType,
    baselines: BaselinesType = None,
    feature_mask: FeatureMaskType = None,
    additional_forward_args: Any = None,
    target: TargetType = None,
    start: float = 0.0,
    stop: float = 1.0,
    n_steps: int = 33,
    max_examples_per_batch: int | None = None,
    *,
    activation: Callable[[Tensor], Tensor] | None = None,
    aggregate: str = 'mean',
    frozen: FrozenType = None,
    show_progress: bool = False,
    rounding: str = 'round',
) -> Scores: ...

def aopc(
    forward_func: Callable[..., Any],
    inputs: InputsType,
    attributions: AttributionsType,
    baselines: BaselinesType = None,
    feature_mask: FeatureMaskType = None,
    additional_forward_args: Any = None,
    target: TargetType = None,
    mode: str = 'morf',
    start: float = 0.0,
    stop: float = 1.0,
    n_steps: int = 33,
    max_examples_per_batch: int | None = None,
    *,
    activation: Callable[[Tensor], Tensor] | None = None,
    aggregate: str = 'mean',
    frozen: FrozenType = None,
    show_progress: bool = False,
    rounding: str = 'round',
) -> Scores: ...

def average_drop(
    forward_func: Callable[..., Any],
    inputs: InputsType,
    attributions: AttributionsType,
    baselines: BaselinesType = None,
    additional_forward_args: Any = None,
    target: TargetType = None,
    max_examples_per_batch: int | None = None,
    *,
    activation: Callable[[Tensor], Tensor] | None = None,
    show_progress: bool = False,
) -> Scores: ...

def average_gain(
    forward_func: Callable[..., Any],
    inputs: InputsType,
    attributions: AttributionsType,
    baselines: BaselinesType = None,
    additional_forward_args: Any = None,
    target: TargetType = None,
    max_examples_per_batch: int | None = None,
    *,
    activation: Callable[[Tensor], Tensor] | None = None,
    show_progress: bool = False,
) -> Scores: ...

def characterization_score(
    forward_func: Callable[..., Any],
    inputs: InputsType,
    attributions: AttributionsType,
    baselines: BaselinesType = None,
    feature_mask: FeatureMaskType = None,
    additional_forward_args: Any = None,
    target: TargetType = None,
    max_examples_per_batch: int | None = None,
    *,
    aggregate: str = 'mean',
    frozen: FrozenType = None,
    show_progress: bool = False,
    shares: SizeType = ...,
    threshold: float | None = None,
    weight: float = 0.5,
) -> Scores: ...

def completeness(
    forward_func: Callable[..., Any],
    inputs: InputsType,
    attributions: AttributionsType,
    baselines: BaselinesType = None,
    feature_mask: FeatureMaskType = None,
    additional_forward_args: Any = None,
    target: TargetType = None,
    max_examples_per_batch: int | None = None,
    *,
    activation: Callable[[Tensor], Tensor] | None = None,
    aggregate: str = 'sum',
    frozen: FrozenType = None,
    show_progress: bool = False,
    gap: str = 'absolute',
) -> Scores: ...

def comprehensiveness(
    forward_func: Callable[..., Any],
    inputs: InputsType,
    attributions: AttributionsType,
    baselines: BaselinesType = None,
    feature_mask: FeatureMaskType = None,
    additional_forward_args: Any = None,
    target: TargetType = None,
    max_examples_per_batch: int | None = None,
    *,
    activation: Callable[[Tensor], Tensor] | None = None,
    aggregate: str = 'mean',
    frozen: FrozenType = None,
    show_progress: bool = False,
    shares: SizeType = ...,
) -> Scores: ...

def consistency(
    forward_func: Callable[..., Any],
    inputs: InputsType,
    attributions: AttributionsType,
    other_attributions: MapsType,
    other_classes: Tensor | Sequence[int],
    additional_forward_args: Any = None,
    max_examples_per_batch: int | None = None,
    *,
    activation: Callable[[Tensor], Tensor] | None = None,
    show_progress: bool = False,
    n_top: int = 3,
    discretize: Discretize | None = None,
) -> Scores: ...

def continuity(
    explanation_func: Any,
    inputs: TensorOrTuple,
    perturb_func: Callable[..., Any] = ...,
    perturb_radius: float = 0.02,
    n_perturb_samples: int = 10,
    max_examples_per_batch: int | None = None,
    *,
    search: str = 'random',
    seed: SeedType = None,
    **kwargs: Any,
) -> Tensor: ...

def cumulative_prediction_difference(
    forward_func: Callable[..., Any],
    inputs: InputsType,
    attributions: AttributionsType,
    baselines: BaselinesType = None,
    feature_mask: FeatureMaskType = None,
    additional_forward_args: Any = None,
    target: TargetType = None,
    k: SizeType = 0.2,
    mode: str = 'morf',
    max_examples_per_batch: int | None = None,
    *,
    activation: Callable[[Tensor], Tensor] | None = None,
    aggregate: str = 'mean',
    frozen: FrozenType = None,
    show_progress: bool = False,
) -> Scores: ...

def deletion(
    forward_func: Callable[..., Any],
    inputs: InputsType,
    attributions: AttributionsType,
    baselines: BaselinesType = None,
    feature_mask: FeatureMaskType = None,
    additional_forward_args: Any = None,
    target: TargetType = None,
    mode: str = 'morf',
    start: float = 0.0,
    stop: float = 1.0,
    n_steps: int = 33,
    max_examples_per_batch: int | None = None,
    *,
    activation: Callable[[Tensor], Tensor] | None = None,
    aggregate: str = 'mean',
    frozen: FrozenType = None,
    show_progress: bool = False,
    rounding: str = 'round',
) -> Scores: ...

def deletion_curve(
    forward_func: Callable[..., Any],
    inputs: InputsType,
    attributions: AttributionsType,
    baselines: BaselinesType = None,
    feature_mask: FeatureMaskType = None,
    additional_forward_args: Any = None,
    target: TargetType = None,
    mode: str = 'morf',
    start: float = 0.0,
    stop: float = 1.0,
    n_steps: int = 33,
    max_examples_per_batch: int | None = None,
    *,
    activation: Callable[[Tensor], Tensor] | None = None,
    aggregate: str = 'mean',
    frozen: FrozenType = None,
    show_progress: bool = False,
    rounding: str = 'round',
) -> Scores: ...

def effective_complexity(
    forward_func: Callable[..., Any],
    inputs: InputsType,
    attributions: AttributionsType,
    baselines: BaselinesType = None,
    feature_mask: FeatureMaskType = None,
    additional_forward_args: Any = None,
    target: TargetType = None,
    n_steps: int = 33,
    max_examples_per_batch: int | None = None,
    *,
    activation: Callable[[Tensor], Tensor] | None = None,
    aggregate: str = 'sum',
    frozen: FrozenType = None,
    show_progress: bool = False,
    tolerance: float = 0.1,
) -> Scores: ...

def energy_pointing_game(
    inputs: InputsType,
    attributions: AttributionsType,
    truth_mask: TensorOrTuple,
    *,
    sign: str = 'positive',
    feature_mask: FeatureMaskType = None,
    frozen: FrozenType = None,
) -> Scores: ...

def entropy(
    inputs: InputsType,
    attributions: AttributionsType,
    feature_mask: FeatureMaskType = None,
    *,
    aggregate: str = 'sum',
    frozen: FrozenType = None,
) -> Scores: ...

def faithfulness_correlation(
    forward_func: Callable[..., Any],
    inputs: InputsType,
    attributions: AttributionsType,
    n: SizeType = 0.1,
    baselines: BaselinesType = None,
    feature_mask: FeatureMaskType = None,
    additional_forward_args: Any = None,
    target: TargetType = None,
    n_perturb_samples: int = 100,
    max_examples_per_batch: int | None = None,
    *,
    activation: Callable[[Tensor], Tensor] | None = None,
    aggregate: str = 'sum',
    frozen: FrozenType = None,
    show_progress: bool = False,
    correlation: str = 'pearson',
    estimator: str = 'sample',
    seed: SeedType = None,
) -> Scores: ...

def faithfulness_estimate(
    forward_func: Callable[..., Any],
    inputs: InputsType,
    attributions: AttributionsType,
    baselines: BaselinesType = None,
    feature_mask: FeatureMaskType = None,
    additional_forward_args: Any = None,
    target: TargetType = None,
    max_examples_per_batch: int | None = None,
    *,
    activation: Callable[[Tensor], Tensor] | None = None,
    aggregate: str = 'sum',
    frozen: FrozenType = None,
    show_progress: bool = False,
    correlation: str = 'pearson',
) -> Scores: ...

def feature_agreement(
    inputs: InputsType,
    attributions: AttributionsType,
    reference_attributions: TensorOrTuple,
    k: SizeType,
    feature_mask: FeatureMaskType = None,
    *,
    sign: str = 'absolute_value',
    aggregate: str = 'sum',
    frozen: FrozenType = None,
) -> Scores: ...

def focus(
    inputs: InputsType,
    attributions: AttributionsType,
    truth_mask: TensorOrTuple,
    *,
    sign: str = 'positive',
    feature_mask: FeatureMaskType = None,
    frozen: FrozenType = None,
) -> Scores: ...

def increase_in_confidence(
    forward_func: Callable[..., Any],
    inputs: InputsType,
    attributions: AttributionsType,
    baselines: BaselinesType = None,
    additional_forward_args: Any = None,
    target: TargetType = None,
    max_examples_per_batch: int | None = None,
    *,
    activation: Callable[[Tensor], Tensor] | None = None,
    show_progress: bool = False,
) -> Scores: ...

def infidelity(
    forward_func: Callable[..., Any],
    perturb_func: Callable[..., Any],
    inputs: InputsType,
    attributions: AttributionsType,
    baselines: BaselinesType = None,
    additional_forward_args: Any = None,
    target: TargetType = None,
    n_perturb_samples: int = 10,
    max_examples_per_batch: int | None = None,
    normalize: bool = False,
    *,
    feature_mask: FeatureMaskType = None,
    frozen: FrozenType = None,
    seed: SeedType = None,
    show_progress: bool = False,
    aggregate: str = 'sum',
    control_variate: str | None = None,
) -> Scores: ...

def insertion(
    forward_func: Callable[..., Any],
    inputs: InputsType,
    attributions: AttributionsType,
    baselines: BaselinesType = None,
    feature_mask: FeatureMaskType = None,
    additional_forward_args: Any = None,
    target: TargetType = None,
    mode: str = 'morf',
    start: float = 0.0,
    stop: float = 1.0,
    n_steps: int = 33,
    max_examples_per_batch: int | None = None,
    *,
    activation: Callable[[Tensor], Tensor] | None = None,
    aggregate: str = 'mean',
    frozen: FrozenType = None,
    show_progress: bool = False,
    rounding: str = 'round',
) -> Scores: ...

def insertion_curve(
    forward_func: Callable[..., Any],
    inputs: InputsType,
    attributions: AttributionsType,
    baselines: BaselinesType = None,
    feature_mask: FeatureMaskType = None,
    additional_forward_args: Any = None,
    target: TargetType = None,
    mode: str = 'morf',
    start: float = 0.0,
    stop: float = 1.0,
    n_steps: int = 33,
    max_examples_per_batch: int | None = None,
    *,
    activation: Callable[[Tensor], Tensor] | None = None,
    aggregate: str = 'mean',
    frozen: FrozenType = None,
    show_progress: bool = False,
    rounding: str = 'round',
) -> Scores: ...

def irof(
    forward_func: Callable[..., Any],
    inputs: InputsType,
    attributions: AttributionsType,
    baselines: BaselinesType = None,
    feature_mask: FeatureMaskType = None,
    additional_forward_args: Any = None,
    target: TargetType = None,
    mode: str = 'morf',
    max_examples_per_batch: int | None = None,
    *,
    activation: Callable[[Tensor], Tensor] | None = None,
    aggregate: str = 'mean',
    frozen: FrozenType = None,
    show_progress: bool = False,
) -> Scores: ...

def linear_datamodeling_score(
    forward_func: Callable[..., Any],
    inputs: InputsType,
    attributions: AttributionsType,
    baselines: BaselinesType = None,
    feature_mask: FeatureMaskType = None,
    additional_forward_args: Any = None,
    target: TargetType = None,
    n_perturb_samples: int = 50,
    max_examples_per_batch: int | None = None,
    *,
    activation: Callable[[Tensor], Tensor] | None = None,
    aggregate: str = 'sum',
    frozen: FrozenType = None,
    show_progress: bool = False,
    correlation: str = 'spearman',
    seed: SeedType = None,
) -> Scores: ...

def local_lipschitz(
    explanation_func: Any,
    inputs: TensorOrTuple,
    perturb_func: Callable[..., Any] = ...,
    perturb_radius: float = 0.02,
    n_perturb_samples: int = 10,
    norm_ord: str | float = 'fro',
    max_examples_per_batch: int | None = None,
    *,
    search: str = 'random',
    seed: SeedType = None,
    **kwargs: Any,
) -> Tensor: ...

def log_odds(
    forward_func: Callable[..., Any],
    inputs: InputsType,
    attributions: AttributionsType,
    baselines: BaselinesType = None,
    feature_mask: FeatureMaskType = None,
    additional_forward_args: Any = None,
    target: TargetType = None,
    max_examples_per_batch: int | None = None,
    *,
    activation: Callable[[Tensor], Tensor] | None = None,
    aggregate: str = 'mean',
    frozen: FrozenType = None,
    show_progress: bool = False,
    shares: SizeType = ...,
) -> Scores: ...

def minimal_subset(
    forward_func: Callable[..., Any],
    inputs: InputsType,
    attributions: AttributionsType,
    baselines: BaselinesType = None,
    feature_mask: FeatureMaskType = None,
    additional_forward_args: Any = None,
    n_steps: int = 33,
    max_examples_per_batch: int | None = None,
    *,
    aggregate: str = 'mean',
    frozen: FrozenType = None,
    show_progress: bool = False,
    mode: str = 'deletion',
    threshold: float | None = None,
) -> Scores: ...

def monotonicity(
    forward_func: Callable[..., Any],
    inputs: InputsType,
    attributions: AttributionsType,
    baselines: BaselinesType = None,
    feature_mask: FeatureMaskType = None,
    additional_forward_args: Any = None,
    target: TargetType = None,
    max_examples_per_batch: int | None = None,
    *,
    activation: Callable[[Tensor], Tensor] | None = None,
    aggregate: str = 'mean',
    frozen: FrozenType = None,
    show_progress: bool = False,
) -> Scores: ...

def monotonicity_correlation(
    forward_func: Callable[..., Any],
    inputs: InputsType,
    attributions: AttributionsType,
    baselines: BaselinesType = None,
    feature_mask: FeatureMaskType = None,
    additional_forward_args: Any = None,
    target: TargetType = None,
    n_perturb_samples: int = 10,
    max_examples_per_batch: int | None = None,
    *,
    activation: Callable[[Tensor], Tensor] | None = None,
    aggregate: str = 'sum',
    frozen: FrozenType = None,
    show_progress: bool = False,
    seed: SeedType = None,
) -> Scores: ...

def mu_fidelity(
    forward_func: Callable[..., Any],
    inputs: InputsType,
    attributions: AttributionsType,
    n: SizeType = 0.2,
    baselines: BaselinesType = None,
    feature_mask: FeatureMaskType = ...,
    additional_forward_args: Any = None,
    target: TargetType = None,
    n_perturb_samples: int = 200,
    max_examples_per_batch: int | None = None,
    *,
    activation: Callable[[Tensor], Tensor] | None = None,
    aggregate: str = 'sum',
    frozen: FrozenType = None,
    show_progress: bool = False,
    correlation: str = 'spearman',
    seed: SeedType = None,
) -> Scores: ...

def negative_fidelity(
    forward_func: Callable[..., Any],
    inputs: InputsType,
    attributions: AttributionsType,
    baselines: BaselinesType = None,
    feature_mask: FeatureMaskType = None,
    additional_forward_args: Any = None,
    target: TargetType = None,
    max_examples_per_batch: int | None = None,
    *,
    aggregate: str = 'mean',
    frozen: FrozenType = None,
    show_progress: bool = False,
    shares: SizeType = ...,
    threshold: float | None = None,
) -> Scores: ...

def non_sensitivity(
    forward_func: Callable[..., Any],
    inputs: InputsType,
    attributions: AttributionsType,
    baselines: BaselinesType = None,
    feature_mask: FeatureMaskType = None,
    additional_forward_args: Any = None,
    target: TargetType = None,
    n_perturb_samples: int = 10,
    max_examples_per_batch: int | None = None,
    *,
    activation: Callable[[Tensor], Tensor] | None = None,
    aggregate: str = 'sum',
    frozen: FrozenType = None,
    show_progress: bool = False,
    seed: SeedType = None,
    tolerance: float = 1e-05,
) -> Scores: ...

def normalized_aopc(
    forward_func: Callable[..., Any],
    inputs: InputsType,
    attributions: AttributionsType,
    baselines: BaselinesType = None,
    feature_mask: FeatureMaskType = None,
    additional_forward_args: Any = None,
    target: TargetType = None,
    max_examples_per_batch: int | None = None,
    *,
    activation: Callable[[Tensor], Tensor] | None = None,
    aggregate: str = 'mean',
    frozen: FrozenType = None,
    show_progress: bool = False,
    search: str = 'beam',
) -> Scores: ...

def optimal_explanation(
    forward_func: Callable[..., Any],
    perturb_func: Callable[..., Any],
    inputs: InputsType,
    baselines: BaselinesType = None,
    feature_mask: FeatureMaskType = None,
    additional_forward_args: Any = None,
    target: TargetType = None,
    n_perturb_samples: int = 200,
    max_examples_per_batch: int | None = None,
    *,
    frozen: FrozenType = None,
    seed: SeedType = None,
    show_progress: bool = False,
) -> TensorOrTuple: ...

def oracle_normalized(
    forward_func: Callable[..., Any],
    inputs: InputsType,
    attributions: AttributionsType,
    baselines: BaselinesType = None,
    feature_mask: FeatureMaskType = None,
    additional_forward_args: Any = None,
    target: TargetType = None,
    max_examples_per_batch: int | None = None,
    *,
    activation: Callable[[Tensor], Tensor] | None = None,
    aggregate: str = 'mean',
    frozen: FrozenType = None,
    show_progress: bool = False,
    score: Callable[..., Any] = ...,
    search: str = 'greedy',
    lower: str = 'random',
    n_perturb_samples: int = 10,
    seed: SeedType = None,
) -> Scores: ...

def pairwise_rank_agreement(
    inputs: InputsType,
    attributions: AttributionsType,
    reference_attributions: TensorOrTuple,
    feature_mask: FeatureMaskType = None,
    *,
    sign: str = 'absolute_value',
    aggregate: str = 'sum',
    frozen: FrozenType = None,
) -> Scores: ...

def parameter_randomization(
    forward_func: Callable[..., Any],
    explanation_factory: Any,
    inputs: TensorOrTuple,
    max_examples_per_batch: int | None = None,
    *,
    order: str = 'top_down',
    similarity: SimilarityType = 'spearman',
    absolute: bool = False,
    weights_seed: int = 0,
    **kwargs: Any,
) -> Tensor: ...

def parameter_randomization_curve(
    forward_func: Callable[..., Any],
    explanation_factory: Any,
    inputs: TensorOrTuple,
    max_examples_per_batch: int | None = None,
    *,
    order: str = 'top_down',
    similarity: SimilarityType = 'spearman',
    absolute: bool = False,
    weights_seed: int = 0,
    **kwargs: Any,
) -> Tensor: ...

def positive_fidelity(
    forward_func: Callable[..., Any],
    inputs: InputsType,
    attributions: AttributionsType,
    baselines: BaselinesType = None,
    feature_mask: FeatureMaskType = None,
    additional_forward_args: Any = None,
    target: TargetType = None,
    max_examples_per_batch: int | None = None,
    *,
    aggregate: str = 'mean',
    frozen: FrozenType = None,
    show_progress: bool = False,
    shares: SizeType = ...,
    threshold: float | None = None,
) -> Scores: ...

def rank_agreement(
    inputs: InputsType,
    attributions: AttributionsType,
    reference_attributions: TensorOrTuple,
    k: SizeType,
    feature_mask: FeatureMaskType = None,
    *,
    sign: str = 'absolute_value',
    aggregate: str = 'sum',
    frozen: FrozenType = None,
) -> Scores: ...

def rank_correlation(
    inputs: InputsType,
    attributions: AttributionsType,
    reference_attributions: TensorOrTuple,
    feature_mask: FeatureMaskType = None,
    *,
    sign: str = 'absolute_value',
    aggregate: str = 'sum',
    frozen: FrozenType = None,
) -> Scores: ...

def relative_input_stability(
    forward_func: Callable[..., Any],
    explanation_func: Any,
    inputs: TensorOrTuple,
    perturb_func: Callable[..., Any] = ...,
    perturb_radius: float = 0.02,
    n_perturb_samples: int = 10,
    norm_ord: str | float = 'fro',
    max_examples_per_batch: int | None = None,
    *,
    search: str = 'random',
    seed: SeedType = None,
    activation: Callable[[Tensor], Tensor] | None = None,
    same_class: bool = True,
    eps_min: float = 1e-06,
    **kwargs: Any,
) -> Tensor: ...

def relative_output_stability(
    forward_func: Callable[..., Any],
    explanation_func: Any,
    inputs: TensorOrTuple,
    perturb_func: Callable[..., Any] = ...,
    perturb_radius: float = 0.02,
    n_perturb_samples: int = 10,
    norm_ord: str | float = 'fro',
    max_examples_per_batch: int | None = None,
    *,
    search: str = 'random',
    seed: SeedType = None,
    activation: Callable[[Tensor], Tensor] | None = None,
    same_class: bool = True,
    eps_min: float = 1e-06,
    **kwargs: Any,
) -> Tensor: ...

def relative_representation_stability(
    forward_func: Callable[..., Any],
    explanation_func: Any,
    inputs: TensorOrTuple,
    layer: str | nn.Module,
    perturb_func: Callable[..., Any] = ...,
    perturb_radius: float = 0.02,
    n_perturb_samples: int = 10,
    norm_ord: str | float = 'fro',
    max_examples_per_batch: int | None = None,
    *,
    search: str = 'random',
    seed: SeedType = None,
    activation: Callable[[Tensor], Tensor] | None = None,
    same_class: bool = True,
    eps_min: float = 1e-06,
    **kwargs: Any,
) -> Tensor: ...

def removal_curves(
    forward_func: Callable[..., Any],
    inputs: InputsType,
    attributions: AttributionsType,
    baselines: BaselinesType = None,
    feature_mask: FeatureMaskType = None,
    additional_forward_args: Any = None,
    target: TargetType = None,
    start: float = 0.0,
    stop: float = 1.0,
    n_steps: int = 33,
    max_examples_per_batch: int | None = None,
    *,
    activation: Callable[[Tensor], Tensor] | None = None,
    aggregate: str = 'mean',
    frozen: FrozenType = None,
    show_progress: bool = False,
    rounding: str = 'round',
) -> Scores: ...

def road(
    forward_func: Callable[..., Any],
    inputs: InputsType,
    attributions: AttributionsType,
    baselines: BaselinesType = ...,
    feature_mask: FeatureMaskType = None,
    additional_forward_args: Any = None,
    target: TargetType = None,
    mode: str = 'morf',
    start: float = 0.1,
    stop: float = 0.9,
    n_steps: int = 9,
    max_examples_per_batch: int | None = None,
    *,
    activation: Callable[[Tensor], Tensor] | None = None,
    aggregate: str = 'mean',
    frozen: FrozenType = None,
    show_progress: bool = False,
    rounding: str = 'round',
) -> Scores: ...

def road_accuracy(
    forward_func: Callable[..., Any],
    inputs: InputsType,
    attributions: AttributionsType,
    baselines: BaselinesType = ...,
    feature_mask: FeatureMaskType = None,
    additional_forward_args: Any = None,
    target: TargetType = None,
    mode: str = 'morf',
    start: float = 0.1,
    stop: float = 0.9,
    n_steps: int = 9,
    max_examples_per_batch: int | None = None,
    *,
    aggregate: str = 'mean',
    frozen: FrozenType = None,
    show_progress: bool = False,
    rounding: str = 'round',
    threshold: float | None = None,
) -> Scores: ...

def sensitivity_avg(
    explanation_func: Any,
    inputs: TensorOrTuple,
    perturb_func: Callable[..., Any] = ...,
    perturb_radius: float = 0.02,
    n_perturb_samples: int = 10,
    norm_ord: str | float = 'fro',
    max_examples_per_batch: int | None = None,
    *,
    search: str = 'random',
    seed: SeedType = None,
    **kwargs: Any,
) -> Tensor: ...

def sensitivity_max(
    explanation_func: Any,
    inputs: TensorOrTuple,
    perturb_func: Callable[..., Any] = ...,
    perturb_radius: float = 0.02,
    n_perturb_samples: int = 10,
    norm_ord: str | float = 'fro',
    max_examples_per_batch: int | None = None,
    *,
    search: str = 'random',
    seed: SeedType = None,
    **kwargs: Any,
) -> Tensor: ...

def sensitivity_n(
    forward_func: Callable[..., Any],
    inputs: InputsType,
    attributions: AttributionsType,
    n: SizeType,
    baselines: BaselinesType = None,
    feature_mask: FeatureMaskType = None,
    additional_forward_args: Any = None,
    target: TargetType = None,
    n_perturb_samples: int = 50,
    max_examples_per_batch: int | None = None,
    *,
    activation: Callable[[Tensor], Tensor] | None = None,
    aggregate: str = 'sum',
    frozen: FrozenType = None,
    show_progress: bool = False,
    correlation: str = 'pearson',
    estimator: str = 'sample',
    seed: SeedType = None,
) -> Scores: ...

def share_shown(
    inputs: InputsType,
    attributions: AttributionsType,
    feature_mask: FeatureMaskType = None,
    *,
    aggregate: str = 'sum',
    frozen: FrozenType = None,
) -> Scores: ...

def sign_agreement(
    inputs: InputsType,
    attributions: AttributionsType,
    reference_attributions: TensorOrTuple,
    k: SizeType,
    feature_mask: FeatureMaskType = None,
    *,
    sign: str = 'absolute_value',
    aggregate: str = 'sum',
    frozen: FrozenType = None,
) -> Scores: ...

def signed_rank_agreement(
    inputs: InputsType,
    attributions: AttributionsType,
    reference_attributions: TensorOrTuple,
    k: SizeType,
    feature_mask: FeatureMaskType = None,
    *,
    sign: str = 'absolute_value',
    aggregate: str = 'sum',
    frozen: FrozenType = None,
) -> Scores: ...

def smooth_mprt(
    forward_func: Callable[..., Any],
    explanation_factory: Any,
    inputs: TensorOrTuple,
    n_perturb_samples: int = 50,
    max_examples_per_batch: int | None = None,
    *,
    order: str = 'bottom_up',
    similarity: SimilarityType = 'spearman',
    absolute: bool = False,
    weights_seed: int = 0,
    noise_level: float = 0.1,
    seed: SeedType = None,
    **kwargs: Any,
) -> Tensor: ...

def smooth_mprt_curve(
    forward_func: Callable[..., Any],
    explanation_factory: Any,
    inputs: TensorOrTuple,
    n_perturb_samples: int = 50,
    max_examples_per_batch: int | None = None,
    *,
    order: str = 'bottom_up',
    similarity: SimilarityType = 'spearman',
    absolute: bool = False,
    weights_seed: int = 0,
    noise_level: float = 0.1,
    seed: SeedType = None,
    **kwargs: Any,
) -> Tensor: ...

def soft_comprehensiveness(
    forward_func: Callable[..., Any],
    inputs: InputsType,
    attributions: AttributionsType,
    baselines: BaselinesType = None,
    feature_mask: FeatureMaskType = None,
    additional_forward_args: Any = None,
    target: TargetType = None,
    n_perturb_samples: int = 10,
    max_examples_per_batch: int | None = None,
    *,
    activation: Callable[[Tensor], Tensor] | None = None,
    aggregate: str = 'mean',
    frozen: FrozenType = None,
    show_progress: bool = False,
    share: float | None = None,
    seed: SeedType = None,
) -> Scores: ...

def soft_sufficiency(
    forward_func: Callable[..., Any],
    inputs: InputsType,
    attributions: AttributionsType,
    baselines: BaselinesType = None,
    feature_mask: FeatureMaskType = None,
    additional_forward_args: Any = None,
    target: TargetType = None,
    n_perturb_samples: int = 10,
    max_examples_per_batch: int | None = None,
    *,
    activation: Callable[[Tensor], Tensor] | None = None,
    aggregate: str = 'mean',
    frozen: FrozenType = None,
    show_progress: bool = False,
    share: float | None = None,
    seed: SeedType = None,
) -> Scores: ...

def sparseness(
    inputs: InputsType,
    attributions: AttributionsType,
    feature_mask: FeatureMaskType = None,
    *,
    aggregate: str = 'sum',
    frozen: FrozenType = None,
) -> Scores: ...

def srg(
    forward_func: Callable[..., Any],
    inputs: InputsType,
    attributions: AttributionsType,
    baselines: BaselinesType = None,
    feature_mask: FeatureMaskType = None,
    additional_forward_args: Any = None,
    target: TargetType = None,
    start: float = 0.0,
    stop: float = 1.0,
    n_steps: int = 33,
    max_examples_per_batch: int | None = None,
    *,
    activation: Callable[[Tensor], Tensor] | None = None,
    aggregate: str = 'mean',
    frozen: FrozenType = None,
    show_progress: bool = False,
    rounding: str = 'round',
) -> Scores: ...

def stochastic_comprehensiveness(
    forward_func: Callable[..., Any],
    inputs: InputsType,
    attributions: AttributionsType,
    baselines: BaselinesType = None,
    feature_mask: FeatureMaskType = None,
    additional_forward_args: Any = None,
    target: TargetType = None,
    n_perturb_samples: int = 50,
    max_examples_per_batch: int | None = None,
    *,
    activation: Callable[[Tensor], Tensor] | None = None,
    aggregate: str = 'mean',
    frozen: FrozenType = None,
    show_progress: bool = False,
    shares: SizeType = ...,
    alpha: float = 0.5,
    beta: float = 1.0,
    seed: SeedType = None,
) -> Scores: ...

def stochastic_sufficiency(
    forward_func: Callable[..., Any],
    inputs: InputsType,
    attributions: AttributionsType,
    baselines: BaselinesType = None,
    feature_mask: FeatureMaskType = None,
    additional_forward_args: Any = None,
    target: TargetType = None,
    n_perturb_samples: int = 50,
    max_examples_per_batch: int | None = None,
    *,
    activation: Callable[[Tensor], Tensor] | None = None,
    aggregate: str = 'mean',
    frozen: FrozenType = None,
    show_progress: bool = False,
    shares: SizeType = ...,
    alpha: float = 0.5,
    beta: float = 1.0,
    seed: SeedType = None,
) -> Scores: ...

def sufficiency(
    forward_func: Callable[..., Any],
    inputs: InputsType,
    attributions: AttributionsType,
    baselines: BaselinesType = None,
    feature_mask: FeatureMaskType = None,
    additional_forward_args: Any = None,
    target: TargetType = None,
    max_examples_per_batch: int | None = None,
    *,
    activation: Callable[[Tensor], Tensor] | None = None,
    aggregate: str = 'mean',
    frozen: FrozenType = None,
    show_progress: bool = False,
    shares: SizeType = ...,
) -> Scores: ...

def unfaithfulness(
    forward_func: Callable[..., Any],
    inputs: InputsType,
    attributions: AttributionsType,
    baselines: BaselinesType = None,
    feature_mask: FeatureMaskType = None,
    additional_forward_args: Any = None,
    max_examples_per_batch: int | None = None,
    *,
    activation: Callable[[Tensor], Tensor] | None = None,
    aggregate: str = 'mean',
    frozen: FrozenType = None,
    show_progress: bool = False,
    shares: SizeType = ...,
) -> Scores: ...
