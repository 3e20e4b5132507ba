"""AttriBench's computations on many devices: a worker process for each, on `captum_ext.evaluate`."""

from . import metrics as metrics
from ._compute_attributions import ComputeAttributions as ComputeAttributions
from ._select_samples import SelectSamples as SelectSamples
from ._train_adversarial_patches import TrainAdversarialPatches as TrainAdversarialPatches

__all__ = ["ComputeAttributions", "SelectSamples", "TrainAdversarialPatches", "metrics"]
