"""AttriBench's metrics: every masker (or perturbation generator), activation, method and sample of an `AttributionsDataset` to a result."""

from .deletion import deletion as deletion
from .deletion import insertion as insertion
from .infidelity import infidelity as infidelity
from .max_sensitivity import max_sensitivity as max_sensitivity
from .sensitivity_n import sensitivity_n as sensitivity_n

__all__ = ["deletion", "infidelity", "insertion", "max_sensitivity", "sensitivity_n"]
