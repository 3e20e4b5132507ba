"""On one device: selecting samples, computing attributions, and (`functional.metrics`) scoring them."""

from ._compute_attributions import compute_attributions as compute_attributions
from ._select_samples import select_samples as select_samples
from ._train_adversarial_patches import train_adversarial_patches as train_adversarial_patches

__all__ = ["compute_attributions", "select_samples", "train_adversarial_patches"]
