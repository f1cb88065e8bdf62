"""Are the image and the label map of a patch of the same place, and is the patch augmented?"""

from __future__ import annotations

import torch
from torch import Tensor

from ..failure import FailureError
from .setup import CLASSES, LEVELS

#: Correlation of an image with the brightness of its labels, over the voxels of a patch. Augmented
#: by pipe6 it is 0.85 on average, rarely below 0.5; of other places it is about 0, of the mirror
#: image 0.2.
MEAN, LEAST = 0.6, 0.1
#: Labels moved by so many voxels fit less well, whatever was done to both.
MOVED = 2
#: No tissue has less of the voxels.
RAREST = 0.01
#: Share of the background that is 0 as in the heads: noise leaves none of it.
UNTOUCHED = 0.5


def check(pairs: list[tuple[Tensor, Tensor]], shape: tuple[int, ...], augmented: bool) -> float:
    """The mean correlation of images with their labels.

    Args:
        pairs: Batches of images and of label maps.
        shape: What each must be.
        augmented: Whether the images should be.

    Raises:
        FailureError: These are not what they should be.
    """
    for what, x in (("images", pairs[0][0]), ("label maps", pairs[0][1])):
        if tuple(x.shape) != shape:
            raise FailureError(f"its {what} are {tuple(x.shape)}, expected {shape}")
    image = torch.cat([image for image, _ in pairs]).float()
    label = torch.cat([label for _, label in pairs])
    if not torch.isfinite(image).all():
        raise FailureError("its images hold numbers that are not finite")
    known = torch.zeros_like(label, dtype=torch.bool)
    for n in range(CLASSES):
        known |= label == n
        share = (label == n).float().mean().item()
        if share < RAREST:
            raise FailureError(f"label {n} has {share:.2%} of its voxels, expected {RAREST:.0%}")
    if not known.all():
        raise FailureError(f"it has labels other than 0 to {CLASSES - 1}")
    untouched = (image[label == 0] == 0).float().mean().item()
    if augmented and untouched > UNTOUCHED:
        raise FailureError(f"its images are not augmented: no noise in {untouched:.0%} of voxels")
    found = correlation(image, label)
    if found.mean() < MEAN or found.min() < LEAST:
        raise FailureError(
            "its images do not fit their labels: correlations "
            f"{', '.join(f'{each:.2f}' for each in found.tolist())}, expected {MEAN} on average "
            f"and {LEAST} at least"
        )
    for axis in (2, 3, 4):
        for step in (-MOVED, MOVED):
            # What comes back at the other end is cut off.
            within = image.narrow(axis, MOVED, image.shape[axis] - 2 * MOVED)
            first = label.narrow(axis, MOVED, within.shape[axis])
            moved = label.narrow(axis, MOVED + step, within.shape[axis])
            if correlation(within, moved).mean() > correlation(within, first).mean():
                raise FailureError(
                    f"its images fit their labels better if these are moved by {step} voxels "
                    f"along axis {axis - 2}"
                )
    return float(found.mean())


def correlation(image: Tensor, label: Tensor) -> Tensor:
    """Of each patch, (B,), between its voxels and how bright their tissues are before all else."""
    levels = torch.tensor(LEVELS, device=label.device)[label.long()]
    x, y = image.flatten(1), levels.flatten(1)
    x, y = x - x.mean(1, keepdim=True), y - y.mean(1, keepdim=True)
    product: Tensor = (x * y).sum(1) / (x.norm(dim=1) * y.norm(dim=1))
    return product
