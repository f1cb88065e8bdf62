"""Does an operation compute what it is called? Looked at before it is timed, at a small size.

Where the result is known it is compared. Random operations are given images that show the
parameters that were drawn: coordinates, a point, ones. A contender that does something else still
counts, and so does its time; tables say what it does. Peers run this: torch and numpy alone.
"""

from __future__ import annotations

import torch

from ...failure import FailureError
from . import artifacts, fixed, intensity, prepared, spatial
from .asking import Op, Probe

#: What looks at each operation. Those whose result must be the batch are compared with it.
PROBES: dict[str, Probe] = {
    "affine": spatial.affine,
    "elastic": spatial.elastic,
    "affine_elastic": spatial.affine_elastic,
    "with_labels": spatial.with_labels,
    "flip": fixed.flip,
    "bias_field": intensity.bias_field,
    "gamma": intensity.gamma,
    "noise": intensity.additive,
    "motion": artifacts.motion,
    "ghosting": artifacts.ghosting,
    "spike": artifacts.spike,
    "blur": artifacts.blur,
    "anisotropy": artifacts.anisotropy,
    "swap": artifacts.swap,
    "labels_to_image": intensity.labels_to_image,
    "resample": fixed.resample,
    "crop_or_pad": fixed.crop_or_pad,
    "to_canonical": fixed.flip,
    "z_normalization": fixed.z_normalization,
    "rescale": fixed.rescale,
    "remap_labels": fixed.remap_labels,
    "one_hot": fixed.one_hot,
    "largest_component": fixed.largest_component,
    "percentile": fixed.percentile,
    "pipe6": intensity.pipe6,
    "prep6": prepared.prep6,
    "one_patch": intensity.patches,
    "four_patches": intensity.patches,
}
_LONGEST = 100


def remark(name: str, op: Op, device: torch.device) -> str | None:
    """What an operation does other than it should, in one line; None if nothing is seen.

    Args:
        name: Of the operation; without a probe there is nothing to be seen.
        op: What a contender offers under this name.
        device: Of what it is given.
    """
    if name not in PROBES:
        return None
    try:
        found = PROBES[name](op, device)
    except Exception as error:  # whatever a contender raises where it is not at its best
        found = f"probe failed: {FailureError.of(error)}"
    return found and found[:_LONGEST]
