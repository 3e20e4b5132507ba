"""AttriBench's computations on many devices: a worker process for each, on `captum_ext.evaluate`."""

from . import metrics as metrics
from ._computations import ComputeAttributions, SelectSamples, TrainAdversarialPatches

__all__ = ["ComputeAttributions", "SelectSamples", "TrainAdversarialPatches", "metrics"]
