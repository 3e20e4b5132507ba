"""AttriBench's metrics: from an `AttributionsDataset` to a result, for every masker, activation, method and sample."""

from .deletion import deletion, insertion, irof
from .impact_coverage import impact_coverage
from .infidelity import infidelity
from .max_sensitivity import max_sensitivity
from .minimal_subset import minimal_subset
from .parameter_randomization import parameter_randomization
from .sensitivity_n import sensitivity_n

__all__ = [
    "deletion",
    "impact_coverage",
    "infidelity",
    "insertion",
    "irof",
    "max_sensitivity",
    "minimal_subset",
    "parameter_randomization",
    "sensitivity_n",
]
