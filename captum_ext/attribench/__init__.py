"""AttriBench's interface on this package's metrics: change `attribench` to `captum_ext.attribench` in an import and go on.

Names, parameters, defaults and files are those of AttriBench 0.1.9. So are the numbers, except where the docstrings say otherwise and why:
what is drawn at random is seeded and belongs to the example, scores do not depend on the batch size, and what is undefined or missing is NaN.
"""

from ._attribution_method import AttributionMethod as AttributionMethod
from ._method_factory import MethodFactory as MethodFactory
from ._model_factory import BasicModelFactory as BasicModelFactory
from ._model_factory import ModelFactory as ModelFactory

__all__ = ["AttributionMethod", "BasicModelFactory", "MethodFactory", "ModelFactory"]
