"""AttriBench's metrics: every masker (or perturbation generator), activation, method and sample of an `AttributionsDataset` to a result."""

from .deletion import deletion as deletion
from .deletion import insertion as insertion
from .impact_coverage import impact_coverage as impact_coverage
from .infidelity import infidelity as infidelity
from .irof import irof as irof
from .max_sensitivity import max_sensitivity as max_sensitivity
from .minimal_subset import minimal_subset as minimal_subset
from .parameter_randomization import parameter_randomization as parameter_randomization
from .sensitivity_n import sensitivity_n as sensitivity_n

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
