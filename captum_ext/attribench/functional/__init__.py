"""On one device: selecting samples, computing attributions, and (`functional.metrics`) scoring them."""

from ._samples import compute_attributions, select_samples
from ._train_adversarial_patches import train_adversarial_patches

__all__ = ["compute_attributions", "select_samples", "train_adversarial_patches"]
