"""Launches, bytes and Fourier passes of transforms of volumes: ``python -m benchmarks.passes``.

Counted on ``meta`` tensors, on the path that a GPU takes: a prediction until a GPU has spoken.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

import torchio_gpu as tio

from . import records
from .counting import GPUS, INSTRUCTIONS, LAUNCH, about, counted, origin, rounded
from .markdown import number, table
from .versus.workloads import WORKLOADS

SUITE = "passes"
WORKLOAD = "W1"
GPU = GPUS[90]
#: Method, for readers of the table.
HOW = f"""\
- PREDICTION, not a measurement: no GPU was used. Counted: every operator of torch and every \
kernel of this library that a call launches for voxels on an {GPU.name}, and the bytes that each \
must move, with each of its tensors once; Fourier transforms once for each axis, with the copies \
and the scaling that torch adds. An operator takes the longest of three: its bytes at \
{GPU.bandwidth:.3g} B/s, the multiplications of a matrix product in the FMA units ({GPU.sms} x 128 \
a clock of {GPU.clock:.3g} Hz) or, in the kernel for products along an axis, {INSTRUCTIONS} \
compiled instructions for each, and {LAUNCH} µs from one launch to the next. Other kernels of \
this library count by their bytes alone. Transforms are called with the image and label map of \
{WORKLOAD}; a copy reads and writes the image."""

Result = dict[str, Any]


class Case(NamedTuple):
    """A transform and its budget, small launches on parameters included."""

    make: Callable[[], Any]
    copies: float  # predicted time, in copies of the image
    launches: int
    fourier: int = 0  # passes of Fourier transforms


_POSES: dict[str, Any] = {"degrees": [(5, 0, 0)] * 2, "translation": [(0, 3, 0)] * 2}
_POSES["times"] = (0.3, 0.7)
_BEAMS = {"probe": "convex", "angle": 60, "radius": 50}
_RATES, _FOUR = {1: (1, 2), 2: 4}, {"used_labels": range(4)}
_HISTOGRAM, _RANGE = {"image": np.linspace(0, 100, 13)}, (1, 99)

#: By name, in the order of the table. All are called with the image and the label map of W1.
CASES = {
    "Motion": Case(lambda: tio.Motion(**_POSES), 10.8, 12),
    "Motion, magnitude": Case(lambda: tio.Motion(**_POSES, output="magnitude"), 23, 20),
    "RandomMotion": Case(tio.RandomMotion, 10.8, 16),
    "Ghosting": Case(lambda: tio.Ghosting(4, 0, 0.5), 2.9, 5),
    "RandomGhosting": Case(tio.RandomGhosting, 3, 8),
    "Gibbs": Case(lambda: tio.Gibbs(0.6, 1), 2.9, 5),
    "RandomGibbs": Case(tio.RandomGibbs, 3, 8),
    "RandomWrap": Case(tio.RandomWrap, 3, 8),
    "RandomPartialFourier": Case(tio.RandomPartialFourier, 7, 14),  # two products
    "RandomChemicalShift": Case(tio.RandomChemicalShift, 17, 96),
    "RandomZipper": Case(tio.RandomZipper, 16, 190, 3),
    "RandomB0Distortion": Case(tio.RandomB0Distortion, 6, 14),
    "RandomSliceMotion": Case(tio.RandomSliceMotion, 19, 34),
    "RandomSpike": Case(tio.RandomSpike, 5.6, 16, 3),
    "RandomCoilNoise": Case(tio.RandomCoilNoise, 31, 32),
    "RandomBlur": Case(tio.RandomBlur, 8.5, 14),
    "RandomAnisotropy": Case(tio.RandomAnisotropy, 3, 10),
    "RandomAnisotropy, antialias": Case(lambda: tio.RandomAnisotropy(antialias=True), 3.4, 15),
    "RandomReconstructionKernel": Case(tio.RandomReconstructionKernel, 13, 18),
    "RandomSliceThickness": Case(tio.RandomSliceThickness, 2.9, 8),
    "RandomLowDose": Case(tio.RandomLowDose, 1030, 240),
    "RandomStreaks": Case(tio.RandomStreaks, 1040, 240),
    "RandomBeamHardening": Case(tio.RandomBeamHardening, 1880, 300),
    "RandomAcousticShadow": Case(lambda: tio.RandomAcousticShadow(_BEAMS), 10.8, 50),
    "RandomLabelAttenuation": Case(lambda: tio.RandomLabelAttenuation(_BEAMS, _RATES), 54, 165),
    "RandomLabelsToUltrasound": Case(
        lambda: tio.RandomLabelsToUltrasound(_BEAMS, **_FOUR), 465, 460
    ),
    "RandomReverberation": Case(lambda: tio.RandomReverberation(_BEAMS), 50, 176),
    "RandomAttenuation": Case(lambda: tio.RandomAttenuation(_BEAMS), 9.6, 36),
    "RandomTimeGain": Case(lambda: tio.RandomTimeGain(_BEAMS), 10.2, 46),
    "RandomSpeckle": Case(lambda: tio.RandomSpeckle(_BEAMS), 62.5, 150),
    "RandomHaze": Case(lambda: tio.RandomHaze(_BEAMS), 72, 168),
    "RandomLowField": Case(tio.RandomLowField, 14.5, 56),
    "RandomLowResolution": Case(tio.RandomLowResolution, 8.8, 17),
    "RandomHistogramShift": Case(tio.RandomHistogramShift, 3.7, 28),
    "RandomSigmoidContrast": Case(tio.RandomSigmoidContrast, 6.1, 36),
    "RandomCutout": Case(tio.RandomCutout, 1.7, 6),
    "RandomSwap": Case(tio.RandomSwap, 8, 100),
    "RandomLabelsToImage": Case(
        lambda: tio.RandomLabelsToImage(label_key="label", **_FOUR), 85, 150
    ),
    "RandomRings": Case(tio.RandomRings, 21, 215),
    "RandomSparseView": Case(tio.RandomSparseView, 970, 215),
    "RandomLimitedAngle": Case(tio.RandomLimitedAngle, 970, 215),
    "RandomMetal": Case(lambda: tio.RandomMetal("label"), 1590, 250),
    "Resample": Case(lambda: tio.Resample(2), 1.6, 7),
    "Resample, antialias": Case(lambda: tio.Resample(2, antialias=True), 9.4, 18),
    "Resample, bspline": Case(lambda: tio.Resample(1.5, "bspline"), 4.8, 13),
    "Resize": Case(lambda: tio.Resize(96), 1.8, 7),
    "CropOrPad": Case(lambda: tio.CropOrPad(144), 1.7, 3),
    "Pad, reflect": Case(lambda: tio.Pad(8, padding_mode="reflect"), 5, 7),
    "ToOrientation": Case(lambda: tio.ToOrientation("LPI"), 1.4, 3),
    "RescaleIntensity": Case(tio.RescaleIntensity, 4, 38),
    "RescaleIntensity, percentiles": Case(
        lambda: tio.RescaleIntensity(percentiles=_RANGE), 11, 110
    ),
    "ZNormalization": Case(tio.ZNormalization, 9, 72),
    "ZNormalization, masked": Case(lambda: tio.ZNormalization("label"), 15, 82),
    "HistogramStandardization": Case(lambda: tio.HistogramStandardization(_HISTOGRAM), 14, 105),
    "Mask": Case(lambda: tio.Mask("label"), 2.1, 4),
    "OneHot": Case(lambda: tio.OneHot(4), 1, 4),
    "RemapLabels": Case(lambda: tio.RemapLabels({1: 2}), 3.5, 15),
    "ErodeLabels": Case(lambda: tio.ErodeLabels(2), 53, 64),
    "DilateLabels": Case(lambda: tio.DilateLabels(2), 47, 57),
    "Contour": Case(tio.Contour, 4.6, 13),
}


def look(name: str) -> Result:
    """Count what one transform launches, and predict its time."""
    case, shape = CASES[name], WORKLOADS[WORKLOAD].shape
    image = torch.empty(shape, device="meta")
    labels = torch.empty(shape, dtype=torch.uint8, device="meta")
    images = {"image": tio.ImagesBatch(image), "label": tio.ImagesBatch(labels, kind=tio.LABEL)}
    batch, transform = tio.SubjectsBatch(images), case.make()

    def call() -> None:
        batch.streams = tio.random.Streams(np.arange(shape[0]))
        transform(batch)

    launched = counted(call)
    us = sum(each.us(GPU) for each in launched)
    return {
        "case": name,
        "launches": sum(each.launches for each in launched),
        "passes": sum(each.voxels >= image.numel() // 2 for each in launched),
        "fourier": sum(each.fourier for each in launched),
        "bytes_copies": rounded(sum(each.bytes for each in launched) / (2 * image.nbytes)),
        "predicted_us": rounded(us),
        "copies": rounded(us / GPU.moves(2 * image.nbytes)),
        "budget": {"copies": case.copies, "launches": case.launches, "fourier": case.fourier},
    }


def over_budget(row: Result) -> list[str]:
    """Return the names of what takes more than its budget."""
    return [name for name, most in row["budget"].items() if row[name] > most]


def text(result: Result) -> str:
    """Return the table and how it was made."""
    head = ["transform", "launches", "of them over volumes", "Fourier passes", "moved, copies"]
    rows = []
    for row in result["rows"]:
        most, missed = row["budget"], ", ".join(over_budget(row))
        cells = [row["case"], f"{row['launches']} (of {most['launches']})", str(row["passes"])]
        cells += [f"{row['fourier']} (of {most['fourier']})", number(row["bytes_copies"])]
        cells += [number(row["predicted_us"]), number(row["copies"])]
        rows.append([*cells, f"{most['copies']:g}: {f'**{missed} missed**' if missed else 'kept'}"])
    head += ["predicted, µs", "predicted, copies", "budget, copies"]
    return f"{table(head, rows)}\n\n{HOW}\n{origin(result)}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Count, print the table and write the result; exit with 1 if a budget is exceeded."""
    p = argparse.ArgumentParser(prog="python -m benchmarks.passes", description=__doc__)
    p.add_argument("--case", default="", help="only transforms with this in their name")
    p.add_argument("--output", type=Path, help="JSON file; of all cases, among the results")
    given = p.parse_args(arguments)
    result: Result = about(SUITE)
    result["rows"] = [look(name) for name in CASES if given.case in name]
    print(text(result))
    file = given.output or (None if given.case else records.FOLDER / f"{SUITE}.json")
    records.write(result, file)
    if missed := [row["case"] for row in result["rows"] if over_budget(row)]:
        sys.exit(f"benchmarks.passes: over budget: {', '.join(missed)}")


if __name__ == "__main__":
    main()
