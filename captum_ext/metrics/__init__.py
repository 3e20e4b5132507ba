"""Metrics of explanations: each takes a batch, as in Captum, and returns a tensor with a row per example.

Scores have the promoted type of the attributions (or explanations) and the model's outputs, and at least float32.
"""

from .agreement.feature_agreement import feature_agreement as feature_agreement
from .agreement.feature_agreement import rank_agreement as rank_agreement
from .agreement.feature_agreement import sign_agreement as sign_agreement
from .agreement.feature_agreement import signed_rank_agreement as signed_rank_agreement
from .agreement.rank_correlation import pairwise_rank_agreement as pairwise_rank_agreement
from .agreement.rank_correlation import rank_correlation as rank_correlation
from .available import available as available
from .axioms.completeness import completeness as completeness
from .axioms.input_invariance import input_invariance as input_invariance
from .complexity.effective_complexity import effective_complexity as effective_complexity
from .complexity.mst_compactness import mst_compactness as mst_compactness
from .complexity.share_shown import share_shown as share_shown
from .complexity.sparseness import entropy as entropy
from .complexity.sparseness import sparseness as sparseness
from .effects.faithfulness_correlation import faithfulness_correlation as faithfulness_correlation
from .effects.faithfulness_correlation import mu_fidelity as mu_fidelity
from .effects.faithfulness_estimate import faithfulness_estimate as faithfulness_estimate
from .effects.infidelity import infidelity as infidelity
from .effects.infidelity import infidelity_perturb_func_decorator as infidelity_perturb_func_decorator
from .effects.linear_datamodeling_score import linear_datamodeling_score as linear_datamodeling_score
from .effects.optimal_explanation import optimal_explanation as optimal_explanation
from .effects.sensitivity_n import sensitivity_n as sensitivity_n
from .effects.single_effects import monotonicity_correlation as monotonicity_correlation
from .effects.single_effects import non_sensitivity as non_sensitivity
from .localisation.auc_roc import auc_roc as auc_roc
from .localisation.aup import aup as aup
from .localisation.aup import aur as aur
from .localisation.average_precision import average_precision as average_precision
from .localisation.impact_coverage import impact_coverage as impact_coverage
from .localisation.pointing_game import pointing_game as pointing_game
from .localisation.relevance_mass_accuracy import attribution_localisation as attribution_localisation
from .localisation.relevance_mass_accuracy import energy_pointing_game as energy_pointing_game
from .localisation.relevance_mass_accuracy import focus as focus
from .localisation.relevance_mass_accuracy import relevance_mass_accuracy as relevance_mass_accuracy
from .localisation.relevance_rank_accuracy import relevance_rank_accuracy as relevance_rank_accuracy
from .localisation.relevance_rank_accuracy import top_k_intersection as top_k_intersection
from .metric import metric as metric
from .randomisation.efficient_mprt import efficient_mprt as efficient_mprt
from .randomisation.parameter_randomization import parameter_randomization as parameter_randomization
from .randomisation.parameter_randomization import parameter_randomization_curve as parameter_randomization_curve
from .randomisation.random_logit import random_logit as random_logit
from .randomisation.smooth_mprt import smooth_mprt as smooth_mprt
from .randomisation.smooth_mprt import smooth_mprt_curve as smooth_mprt_curve
from .removal.aopc import aopc as aopc
from .removal.average_drop import average_drop as average_drop
from .removal.average_drop import average_gain as average_gain
from .removal.average_drop import increase_in_confidence as increase_in_confidence
from .removal.cumulative_prediction_difference import (
    cumulative_prediction_difference as cumulative_prediction_difference,
)
from .removal.deletion import deletion as deletion
from .removal.deletion import deletion_curve as deletion_curve
from .removal.deletion import insertion as insertion
from .removal.deletion import insertion_curve as insertion_curve
from .removal.deletion import removal_curves as removal_curves
from .removal.graph_fidelity import characterization_score as characterization_score
from .removal.graph_fidelity import negative_fidelity as negative_fidelity
from .removal.graph_fidelity import positive_fidelity as positive_fidelity
from .removal.irof import irof as irof
from .removal.minimal_subset import minimal_subset as minimal_subset
from .removal.monotonicity import monotonicity as monotonicity
from .removal.normalized_aopc import normalized_aopc as normalized_aopc
from .removal.oracle_normalized import oracle_normalized as oracle_normalized
from .removal.rationales import comprehensiveness as comprehensiveness
from .removal.rationales import log_odds as log_odds
from .removal.rationales import sufficiency as sufficiency
from .removal.road import road as road
from .removal.road import road_accuracy as road_accuracy
from .removal.soft_rationales import soft_comprehensiveness as soft_comprehensiveness
from .removal.soft_rationales import soft_sufficiency as soft_sufficiency
from .removal.srg import srg as abpc
from .removal.srg import srg as srg
from .removal.stochastic_rationales import stochastic_comprehensiveness as stochastic_comprehensiveness
from .removal.stochastic_rationales import stochastic_sufficiency as stochastic_sufficiency
from .removal.unfaithfulness import unfaithfulness as unfaithfulness
from .robustness.coherency import coherency as coherency
from .robustness.consistency import consistency as consistency
from .robustness.local_lipschitz import continuity as continuity
from .robustness.local_lipschitz import local_lipschitz as local_lipschitz
from .robustness.relative_stability import relative_input_stability as relative_input_stability
from .robustness.relative_stability import relative_output_stability as relative_output_stability
from .robustness.relative_stability import relative_representation_stability as relative_representation_stability
from .robustness.sensitivity_avg import sensitivity_avg as sensitivity_avg
from .robustness.sensitivity_max import default_perturb_func as default_perturb_func
from .robustness.sensitivity_max import sensitivity_max as sensitivity_max
from .with_stderr import Estimate as Estimate
from .with_stderr import with_stderr as with_stderr

__all__ = [
    "Estimate",
    "abpc",
    "aopc",
    "attribution_localisation",
    "auc_roc",
    "aup",
    "aur",
    "available",
    "average_drop",
    "average_gain",
    "average_precision",
    "characterization_score",
    "coherency",
    "completeness",
    "comprehensiveness",
    "consistency",
    "continuity",
    "cumulative_prediction_difference",
    "default_perturb_func",
    "deletion",
    "deletion_curve",
    "effective_complexity",
    "efficient_mprt",
    "energy_pointing_game",
    "entropy",
    "faithfulness_correlation",
    "faithfulness_estimate",
    "feature_agreement",
    "focus",
    "impact_coverage",
    "increase_in_confidence",
    "infidelity",
    "infidelity_perturb_func_decorator",
    "input_invariance",
    "insertion",
    "insertion_curve",
    "irof",
    "linear_datamodeling_score",
    "local_lipschitz",
    "log_odds",
    "metric",
    "minimal_subset",
    "monotonicity",
    "monotonicity_correlation",
    "mst_compactness",
    "mu_fidelity",
    "negative_fidelity",
    "non_sensitivity",
    "normalized_aopc",
    "optimal_explanation",
    "oracle_normalized",
    "pairwise_rank_agreement",
    "parameter_randomization",
    "parameter_randomization_curve",
    "pointing_game",
    "positive_fidelity",
    "random_logit",
    "rank_agreement",
    "rank_correlation",
    "relative_input_stability",
    "relative_output_stability",
    "relative_representation_stability",
    "relevance_mass_accuracy",
    "relevance_rank_accuracy",
    "removal_curves",
    "road",
    "road_accuracy",
    "sensitivity_avg",
    "sensitivity_max",
    "sensitivity_n",
    "share_shown",
    "sign_agreement",
    "signed_rank_agreement",
    "smooth_mprt",
    "smooth_mprt_curve",
    "soft_comprehensiveness",
    "soft_sufficiency",
    "sparseness",
    "srg",
    "stochastic_comprehensiveness",
    "stochastic_sufficiency",
    "sufficiency",
    "top_k_intersection",
    "unfaithfulness",
    "with_stderr",
]
