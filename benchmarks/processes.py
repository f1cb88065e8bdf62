"""Imports, workers of loaders and cohorts beside others: ``python -m benchmarks.processes``.

Numbers come from fresh processes of one thread each. The import of a library begins after that of
torch and includes what the library defers to the first transform. Memory is the largest
proportional set size of one of two workers of a DataLoader that serve patches of 64³ augmented by
pipe6. A cohort is brought to RAS+, 1 mm, a cube, mean 0 and SD 1, and written by two workers, whose
start counts: a Cohort, TorchIO in a pool of processes, MONAI's PersistentDataset, uncompressed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from functools import partial
from importlib import import_module
from multiprocessing import Pool
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import nibabel as nib
import numpy as np
import torch
from torch.utils.data import DataLoader

from . import machine, records
from .contenders import interpreters
from .markdown import table

SUITE = "processes"
#: By library, an import of what its package may defer.
LIBRARIES = {
    "torchio_gpu": "from torchio_gpu import RandomAffine",
    "torchio1": "from torchio import RandomAffine",
    "torchio2": "from torchio import Affine",
    "monai": "from monai.transforms import RandAffined",
}
#: Mean difference allowed between prepared volumes, in SD: TorchIO rounds resampled integers.
TOLERANCE = 0.01
CALL = "from benchmarks.processes import *; print(json.dumps({}))"


def write(folder: Path, count: int, size: int) -> None:
    """Write volumes of smooth waves in noise."""
    random, shape = np.random.default_rng(0), (size, size, size - 1)
    for n in range(count):
        waves = np.sin(np.indices(shape).T @ random.uniform(0.05, 0.2, 3)).T
        voxels = (1000 * waves + random.normal(0, 20, shape)).astype(np.int16)
        # a whole number of mm from first to last plane: libraries that resample from the first
        # voxel and those that keep the centre agree on the grid
        image = nib.Nifti1Image(voxels, np.diag([-1, -1, 1.5, 1]))
        nib.save(image, folder / f"{n:04}.nii.gz")


def ask(python: str, code: str) -> Any:
    """Return the JSON that code prints last in a fresh process of one thread."""
    command = [python, "-W", "ignore", "-c", f"import json, time; {code}"]
    # installed libraries have compiled modules: a checkout must be allowed to keep its own
    env = {"OMP_NUM_THREADS": "1", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1"}
    env["PYTHONDONTWRITEBYTECODE"] = ""
    done = subprocess.check_output(command, cwd=machine.ROOT, env={**os.environ, **env})
    return json.loads(done.splitlines()[-1])


def imports(library: str, python: str) -> dict[str, Any]:
    """Return the name of a library, and the times of its import and of that of torch."""
    package = LIBRARIES[library].split()[1].partition(".")[0]
    steps = ("t = []", "import torch", LIBRARIES[library])
    code = "; ".join(f"{step}; t.append(time.perf_counter())" for step in steps)
    code += f"; import {package} as p; print(json.dumps([p.__version__, *t]))"
    found = [ask(python, code) for _ in range(6)][1:]  # the first reads from the disk
    times = (round(median(f[n + 1] - f[n] for f in found), 2) for n in (1, 2))
    names = ("torch imported in s", "the library in s")
    return {"library": f"{package} {found[0][0]}", **dict(zip(names, times, strict=True))}


def serve(library: str, _: Any) -> int:
    """Augment a patch, unless the library is 'torch', the floor; return MB of this process."""
    x = torch.rand(1, 1, 64, 64, 64)
    if library != "torch":
        x = import_module(f"benchmarks.rivals.{library}").OPS["pipe6"](x)
    rollup = Path("/proc/self/smaps_rollup").read_text(encoding="utf-8")
    return round(int(rollup.partition("\nPss:")[2].split()[0]) / 1024)


def memory(library: str) -> dict[str, int]:
    """Return the memory of a worker that serves patches."""
    numbers: Any = range(16)
    loader = DataLoader(numbers, num_workers=2, collate_fn=partial(serve, library))
    return {"MB of a worker": max(loader)}


def preparation(library: str, size: int) -> Any:
    """Return the transform that a cohort is prepared with."""
    if library == "monai":
        m = import_module("monai.transforms")
        read = m.LoadImaged("t1", ensure_channel_first=True)
        steps = [read, m.Orientationd("t1", "RAS", labels=None), m.Spacingd("t1", (1, 1, 1))]
        return m.Compose([*steps, m.ResizeWithPadOrCropd("t1", size), m.NormalizeIntensityd("t1")])
    tio = import_module(library.rstrip("12"))
    canonical = tio.Reorient() if library == "torchio2" else tio.ToCanonical()
    return tio.Compose([canonical, tio.Resample(1), tio.CropOrPad(size), tio.ZNormalization()])


def prepare(fit: Any, out: Path, file: Path) -> None:
    """Prepare a volume and write it, with TorchIO."""
    tio = import_module("torchio")
    fit(tio.Subject(t1=tio.ScalarImage(file))).t1.save(out / file.name)


def cohort(library: str, folder: Path, size: int) -> dict[str, float]:
    """Prepare and write all volumes; compare the first with that of this library."""
    files, out = sorted(folder.glob("*.nii.gz")), folder / library
    fit, package = preparation(library, size), import_module(library.rstrip("12"))
    out.mkdir()
    begun = time.time()
    if library == "torchio_gpu":
        cases = package.Cohort.from_pattern(folder, {"t1": "{id}.nii.gz"})
        package.preprocess(fit, cases, out, workers=2, progress=False)
    elif library == "monai":
        data = package.data.PersistentDataset([{"t1": str(file)} for file in files], fit, out)
        list(DataLoader(data, num_workers=2, collate_fn=len))
    else:
        with Pool(2) as pool:
            pool.map(partial(prepare, fit, out), files, chunksize=1)
    rate = 60 * len(files) / (time.time() - begun)
    made = sorted([*out.rglob("*.nii.gz"), *out.rglob("*.pt")])
    x = data[0]["t1"] if library == "monai" else nib.load(made[0]).dataobj
    np.save(folder / library, np.asarray(x).reshape(size, size, size))
    off = np.abs(np.load(folder / f"{library}.npy") - np.load(folder / "torchio_gpu.npy")).mean()
    if off > TOLERANCE or len(made) < len(files):
        raise RuntimeError(f"{library} wrote {len(made)} volumes, which differ by {off:.2g} SD")
    first = min(file.stat().st_mtime for file in made) - begun
    return {"volumes a minute": round(rate, 1), "the first after s": round(first, 1)}


def run(volumes: int, size: int) -> dict[str, Any]:
    """Measure every library that has an interpreter; this one is the first."""
    here = dict.fromkeys(("torchio_gpu", "torchio1", "monai"), sys.executable)
    pythons = {name: p for name, p in {**here, **interpreters()}.items() if name in LIBRARIES}
    rows = [{"library": "torch alone", **ask(sys.executable, CALL.format("memory('torch')"))}]
    with TemporaryDirectory() as folder:
        write(Path(folder), volumes, size)
        for name, python in pythons.items():
            rows.append(imports(name, python))
            for call in (f"memory({name!r})", f"cohort({name!r}, Path({folder!r}), {size})"):
                rows[-1] |= ask(python, CALL.format(call))
    return {**records.stamp(SUITE, "cpu", 1), "volumes": volumes, "size": size, "rows": rows}


def text(result: dict[str, Any]) -> str:
    """Return a table, and what its columns mean."""
    head = list(result["rows"][-1])
    rows = [[str(row.get(name, "-")) for name in head] for row in result["rows"]]
    said = " ".join(str(__doc__).split("\n\n")[1].split())
    said += f" Here: {result['volumes']} volumes of {result['size']}³."
    return f"{said}\n\n{table(head, rows)}\n\n- {records.origin(result)}"


main = records.command(
    __doc__,
    run,
    text,
    volumes={"type": int, "default": 100},
    size={"type": int, "default": 128, "help": "voxels along each axis"},
)

if __name__ == "__main__":
    main(None)
