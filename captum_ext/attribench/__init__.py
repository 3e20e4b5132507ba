"""AttriBench's interface on this package's metrics: import from `captum_ext.attribench` in place of `attribench`.

Names, parameters, defaults and files are those of AttriBench 0.1.9. The numbers are the same too, except where a
docstring says otherwise and why: random draws are seeded and belong to the example, scores do not depend on the batch
size, and what is undefined or missing is NaN.
"""

from ._factories import AttributionMethod, BasicModelFactory, MethodFactory, ModelFactory

__all__ = ["AttributionMethod", "BasicModelFactory", "MethodFactory", "ModelFactory"]
