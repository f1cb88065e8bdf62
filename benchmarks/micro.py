"""Small pieces that calls are made of, with pytest-benchmark: ``python -m benchmarks.micro``.

Any option of pytest may follow: ``-k warp``, ``--benchmark-compare``.
"""

from __future__ import annotations

import json
import pickle
import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

import torchio_gpu as tio
from torchio_gpu import functional as F
from torchio_gpu import random

from . import machine, records
from .markdown import number, table
from .rivals.torchio_gpu import PIPE6

SUITE = "micro"
OPTIONS = (
    *("-q", "-p", "no:cacheprovider", "-o", "python_functions=bench", "-o", "addopts="),
    *("-W", "ignore:max_displacement:RuntimeWarning", "--benchmark-max-time=0.3"),
)


def pieces() -> dict[str, Callable[[], Any]]:
    """Return calls by name, on 2 volumes of 64³, or 8 of 8³ where only the host counts."""
    x, small, patches = (torch.rand(n, 1, s, s, s) for n, s in ((2, 64), (8, 8), (8, 32)))
    affine, points, seeds = np.eye(4)[None].repeat(8, 0), torch.rand(8, 3, 7, 7, 7), np.arange(8)
    affine[:, :2, :2] = [[0.9, 0.2], [-0.2, 0.9]]
    leaf, matrix = x.clone().requires_grad_(), torch.tensor(affine[:2]).float().requires_grad_()
    layout = random.Layout(tuple((position, 0, 8) for position in range(6)))
    subject = tio.Subject(t1=tio.ScalarImage(small[0]), seg=tio.LabelMap(small[0].byte()))
    volume = tio.Subject(t1=tio.ScalarImage(x[0]))
    grid, augmented = tio.GridSampler(volume, 32, 8), PIPE6(subject)

    def stitch() -> torch.Tensor:
        aggregator = tio.PatchAggregator((64, 64, 64), overlap_mode="hann")
        aggregator.add_batch(patches, [grid[n].location for n in range(8)])
        return aggregator.get_output()

    return {
        **projections(),
        "uniforms of six transforms and eight samples": partial(random.uniforms, seeds, layout),
        "seeds of a batch": partial(random.fresh_seeds, 8),
        "normals of 8": partial(random.normals, seeds, 512),
        "normals": partial(random.normals, seeds[:2], 64**3),
        "normals by torch": partial(torch.randn, 2, 64**3),
        "affine warp": partial(F.warp, x, affine[:2]),
        "affine warp, nearest": partial(F.warp, x, affine[:2], mode="nearest"),
        "affine and elastic warp": partial(F.warp, x, affine[:2], points[:2]),
        "affine and elastic warp of 8": partial(F.warp, small, affine, points),
        "affine warp and its gradient": lambda: F.warp(leaf, matrix).sum().backward(),
        "bias field": partial(F.bias_field, x, torch.full((2, 20), 0.1)),
        "gamma": partial(F.gamma, x, torch.full((2, 1), 0.1)),
        "noise": partial(F.noise, x, seeds=seeds[:2]),
        "blur": partial(F.blur, x, torch.ones(2, 3)),
        "percentile": partial(F.percentile, x, (1.0, 99.0)),
        "subject made": lambda: tio.Subject(t1=tio.ScalarImage(small[0])),
        "subject pickled": lambda: pickle.loads(pickle.dumps(subject)),
        "batch of eight subjects": partial(tio.SubjectsBatch.from_subjects, [subject] * 8),
        "batch to eight subjects": tio.SubjectsBatch.from_subjects([subject] * 8).unbatch,
        "grid of patches": partial(tio.GridSampler, volume, 32, 8),
        "random patch": partial(tio.UniformSampler(32), volume),
        "aggregation of patches, Hann": stitch,
        "RandomNoise of 8": partial(tio.RandomNoise(), small),
        "RandomAffine of 8": partial(tio.RandomAffine(), small),
        "pipe6 of 8": partial(PIPE6, small),
        "pipe6 of a subject of 8": partial(PIPE6, subject),
        "inverse of pipe6 of 8": augmented.apply_inverse_transform,
        "history composed": augmented.get_composed_history,
    }


def projections(
    size: int = 256, planes: int = 16, views: int = 180
) -> dict[str, Callable[[], Any]]:
    """Return projections of a disc and back, also by scikit-image where it is installed."""
    place = torch.linspace(-1, 1, size)
    disc = (torch.hypot(place[:, None], place) < 0.85).float()
    x = disc[None, None, :, :, None].repeat(1, 1, 1, 1, planes)
    sinogram = F.project(x, views, 1.0)
    named = f"of {planes} planes of {size}x{size}, {views} views"
    found: dict[str, Callable[[], Any]] = {
        f"projection {named}": partial(F.project, x, views, 1.0),
        f"filtered back-projection {named}": partial(
            F.filtered_back_projection, sinogram, views, x.shape[2:], 1.0
        ),
    }
    if find_spec("skimage"):
        from skimage.transform import iradon, radon

        how = {"theta": np.arange(views) * (180 / views), "circle": False}
        theirs = radon(disc.double().numpy(), **how)
        found |= {
            f"radon by scikit-image {named}": lambda: [
                radon(disc.numpy(), **how) for _ in range(planes)
            ],
            f"iradon by scikit-image {named}": lambda: [
                iradon(theirs, **how) for _ in range(planes)
            ],
        }
    return found


def pytest_generate_tests(metafunc: Any) -> None:
    """Make a benchmark of each piece."""
    metafunc.parametrize("piece", pieces().values(), ids=list(pieces()))


def bench(benchmark: Any, piece: Callable[[], Any]) -> None:
    benchmark(piece)


def run(options: Sequence[str]) -> tuple[int, dict[str, Any]]:
    """Run the pieces through pytest, and return its exit status and the result."""
    import pytest

    with TemporaryDirectory() as folder:
        file = Path(folder, "found.json")
        status = pytest.main([__file__, *OPTIONS, f"--benchmark-json={file}", *options])
        found = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    rows = []
    for each in found.get("benchmarks", []):
        us = {f"{s}_us": float(f"{1e6 * each['stats'][s]:.4g}") for s in ("median", "q1", "q3")}
        rows.append({"piece": each["param"], **us})
    return int(status), {**records.stamp(SUITE, "cpu", torch.get_num_threads()), "rows": rows}


def text(result: dict[str, Any]) -> str:
    """Return the times of all pieces as a table."""
    keys = ("median_us", "q1_us", "q3_us")
    rows = [[row["piece"], *(number(row[key]) for key in keys)] for row in result["rows"]]
    head = ("piece", "µs, median", "quartiles", "")
    return f"{table(head, rows)}\n\n- {records.origin(result)}"


def main(options: Sequence[str]) -> int:
    """Run, print a table, and keep the result of a run that leaves nothing out."""
    torch.set_num_threads(machine.threads())
    status, result = run(options)
    if result["rows"]:
        print(text(result))
    records.write(result, None if status or options else records.path(result))
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
