"""Benchmark of transforms on this machine, for volumes of a given shape."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import quantiles
from time import perf_counter
from typing import Any

import torch

from . import transforms as tr
from .data import LABEL, ImagesBatch, SubjectsBatch
from .shapes import Triple

#: Largest number of timed calls, and seconds that they may take.
CALLS, SECONDS = 20, 2.0
#: Arguments of transforms that need one.
_ARGUMENTS: dict[str, dict[str, Any]] = {
    "RandomLabelsToImage": {"label_key": "label"},
    "RandomLabelsToUltrasound": {"geometry": "convex", "label_key": "label"},
    "RandomLabelAttenuation": {"geometry": "convex", "attenuation": {1: (0.5, 2)}},
    **{
        f"Random{name}": {"geometry": "convex"}
        for name in (
            "AcousticShadow",
            "Attenuation",
            "Haze",
            "Reverberation",
            "Speckle",
            "TimeGain",
        )
    },
    "Crop": {"cropping": 1},
    "CropOrPad": {"target_shape": 96},
    "EnsureShapeMultiple": {"target_multiple": 24},
    "Pad": {"padding": 8},
    "Resample": {"target": 1.5},
    "Resize": {"target_shape": 96},
    "Clamp": {"out_min": 0.2, "out_max": 0.8},
    "Mask": {"masking_method": "label"},
    "OneHot": {"num_classes": 4},
    "RemapLabels": {"remapping": {1: 2, 2: 1}},
    "RemoveLabels": {"labels": [1]},
}
#: Not KeepLargestComponent: components of random labels are unlike those of anatomy.
_PREPROCESSING = (
    *("ToCanonical", "Crop", "CropOrPad", "EnsureShapeMultiple", "Pad", "Resample", "Resize"),
    *("Clamp", "Mask", "RescaleIntensity", "ZNormalization"),
    *("Contour", "OneHot", "RemapLabels", "RemoveLabels", "SequentialLabels"),
)


@dataclass(frozen=True)
class Cost:
    """Time of one call on a batch of images with their label maps.

    Args:
        name: The transform.
        median, low, high: Milliseconds; the last two are quartiles.
        copies: The median in units of the time of a copy of the images and label maps.
    """

    name: str
    median: float
    low: float
    high: float
    copies: float


def names() -> list[str]:
    """Return the transforms that can be measured: all random ones, and some of preprocessing."""
    random = [
        name
        for name in tr.__all__
        if name.startswith("Random") and not inspect.isabstract(getattr(tr, name))
    ]
    return ["pipeline", *random, *_PREPROCESSING]


def measure(
    shape: Triple,
    batch: int = 2,
    channels: int = 1,
    device: str | torch.device = "cpu",
    wanted: Sequence[str] | None = None,
) -> Iterator[Cost]:
    """Time transforms with their default parameters, each with p = 1.

    Args:
        shape: Voxels along I, J, K, of 1 mm.
        batch: Number of samples.
        channels: Number of channels of the image.
        device: Device of the images.
        wanted: Names out of :func:`names`; all by default. 'pipeline' is an affine and an
            elastic motion, a flip, a bias field, gamma and noise, as one pipeline.

    Yields:
        The costs, one after another.

    Raises:
        ValueError: A name is unknown.

    >>> [cost.name for cost in measure((8, 8, 8), wanted=["RandomFlip"])]
    ['RandomFlip']
    """
    known = names()
    chosen = known if wanted is None else list(wanted)
    for name in chosen:
        if name not in known:
            raise ValueError(f"transforms to measure are {', '.join(known)}; got {name!r}")
    device = torch.empty(0, device=device).device
    voxels = torch.rand(batch, channels, *shape, device=device)
    labels = (4 * voxels[:, :1]).byte()
    images = {"image": ImagesBatch(voxels), "label": ImagesBatch(labels, kind=LABEL)}
    floor = _times(lambda: (voxels.clone(), labels.clone()), device)[1]
    for name in chosen:
        step = _build(name, shape)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # warning of folding, on small volumes
            low, median, high = _times(lambda: step(SubjectsBatch(dict(images))), device)  # noqa: B023
        yield Cost(name, median, low, high, median / floor)


def _build(name: str, shape: Triple) -> Any:
    if name == "pipeline":
        steps = ("RandomAffine", "RandomElasticDeformation", "RandomFlip", "RandomBiasField")
        return tr.Compose([_build(step, shape) for step in (*steps, "RandomGamma", "RandomNoise")])
    cls = getattr(tr, name)
    given = dict(_ARGUMENTS.get(name, {}))
    if "flip_probability" in inspect.signature(cls).parameters:
        given["flip_probability"] = 1
    if name == "RandomSwap":  # two patches must find room
        given["patch_size"] = max(1, min(15, min(shape) // 2))
    return cls(**given)


def _times(call: Any, device: torch.device) -> tuple[float, float, float]:
    """Return first quartile, median and third quartile of a call, in ms, device included."""

    def once() -> float:
        start = perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return 1000 * (perf_counter() - start)

    first = min(once(), once())  # warms up
    calls = max(3, min(CALLS, int(1000 * SECONDS / max(first, 1e-3))))
    low, median, high = quantiles([once() for _ in range(calls)], n=4, method="inclusive")
    return low, median, high
