"""MNI152 average brain, from the files of the nilearn package."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from ..data import LabelMap, ScalarImage, Subject


def mni152() -> Subject:
    """Load the average of 152 healthy brains at 1 mm, with tissue maps; nothing is downloaded.

    ICBM 152 nonlinear symmetric 2009a, without the skull (Fonov et al. 2011,
    doi:10.1016/j.neuroimage.2010.07.033). Left and right mirror each other exactly.

    Returns:
        A subject with four images (1, 197, 233, 189) in RAS+ and MNI coordinates:

        - ``t1``: T1-weighted MRI, float32 in [0, 1], 0 outside the brain;
        - ``grey``, ``white``: probability of grey and of white matter, float32 in [0, 1];
        - ``seg``: the likeliest tissue, uint8: 0 neither, 1 grey matter, 2 white matter.

    Raises:
        ImportError: nilearn is not installed.
    """
    folder = _folder()

    def read(name: str) -> ScalarImage:
        image = ScalarImage(folder / f"mni_icbm152_{name}_tal_nlin_sym_09a_converted.nii.gz")
        return ScalarImage(image.data / 255, affine=image.affine)  # the files hold 0..255

    t1, grey, white = read("t1"), read("gm"), read("wm")
    seg = LabelMap(_likeliest(grey.data, white.data), affine=t1.affine)
    return Subject(t1=t1, grey=grey, white=white, seg=seg)


def _likeliest(grey: Tensor, white: Tensor) -> Tensor:
    """Return 0, 1 or 2 where neither, grey or white is likeliest; the first one of a tie."""
    neither = 1 - grey - white
    seg = (grey > neither).to(torch.uint8)
    return seg.masked_fill_(white > torch.maximum(grey, neither), 2)


def _folder() -> Path:
    """Return the folder of the files of nilearn, without importing it, which would take seconds."""
    spec = find_spec("nilearn")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(
            "mni152 needs the files of the nilearn package, which is not installed: "
            'pip install "torchio-gpu[demo]"'
        )
    return Path(spec.submodule_search_locations[0], "datasets", "data")
