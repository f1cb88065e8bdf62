"""Demo: a small network learns the tissues of one real brain, and then predicts them.

It has all parts of a training script: subjects from files, a loader, augmentation of the batch on
the device inside the step, the training of a network, and its prediction of the whole volume by
patches. With ``patches``, a queue that keeps volumes on the device replaces the loader and the
augmentation of its batches.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import Any

import torch
from rich.progress import Progress

import torchio_gpu as tio

from ..datasets import mni152
from ..plot import new_figure, plot_gallery
from .pictures import DRAWN, SHOWN, gallery, pipeline, prediction
from .training import OVERLAPS, compare, network, patch_queue, predict, train

BRAIN = slice(14, 183), slice(14, 221), slice(0, 170)  # of the template's voxels, with a margin
CENTRE = 98, 117, 76  # voxel at the centre of the brain, with 76 voxels or more on every side


def run(
    output: str | Path,
    device: str | None = None,
    steps: int = 60,
    seed: int = 0,
    size: int = 48,
    patches: bool = False,
) -> dict[str, Any]:
    """Train on augmented pieces of the MNI152 brain for a few steps, and plot the results.

    Writes to ``output``, and nowhere else:

    - ``subjects/``: eight crops of the brain, or all of it, image and tissue labels, as files;
    - ``loss.png``: the loss of each step;
    - ``prediction.png``: the true tissues of the head, and those predicted by patches;
    - ``gallery.png``: every augmentation by itself, and the pipeline of the training;
    - ``report.json``: the returned dictionary.

    The network predicts the head that it was trained on: this shows the aggregation of patches, not
    the accuracy on other heads.

    Args:
        output: Folder, made if it is missing.
        device: Device of augmentation and training; by default the GPU if there is one, else the
            CPU.
        steps: Training steps.
        seed: Seed of the network, the order of subjects, the locations of patches and all
            augmentation. The state of torch's generator is restored.
        size: Side of crops and patches in voxels of 1 mm: a multiple of 4, from 16 to 76.
        patches: Train on patches from the whole head, from a :class:`DeviceQueue`, instead of eight
            crops about the centre of the brain, which do not contain its surroundings.

    Returns:
        ``losses`` of the steps; ``milliseconds``: median over the steps after the first of
        ``loading`` (reading, batching, moving to the device) and ``augmentation``, or of
        ``patches`` (both in one), and of ``model_step``; ``batch_shape``; ``passes`` over the
        voxels that the augmentation takes; ``dice`` of the prediction by overlap
        mode and by tissue; ``differing``, the share of voxels that differ between overlap modes;
        ``device``, ``versions`` and the ``seconds`` of the whole run.

    Raises:
        ImportError: nilearn or matplotlib is not installed.
        ValueError: The device is not available, or ``steps`` or ``size`` is not as above.
    """
    started = time.perf_counter()
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    if size % 4 or not 16 <= size <= min(CENTRE):
        raise ValueError(f"size must be a multiple of 4 from 16 to {min(CENTRE)}, got {size}")
    place = find_device(device)
    # Created first: without matplotlib this fails before the training, not after.
    curve = new_figure(5, 3, layout="constrained")
    output = Path(output).expanduser()
    (output / "subjects").mkdir(parents=True, exist_ok=True)

    with torch.random.fork_rng(devices=[]), Progress() as progress:
        torch.manual_seed(seed)
        brain = mni152()
        augment = pipeline(size)
        source: Iterable[tio.SubjectsBatch]
        if patches:
            whole = save(brain, BRAIN, output / "subjects", "head")
            source = queue = patch_queue(whole, augment, place, seed, size)
            passes = queue.explain()
        else:
            octants = progress.track(product((0, 1), repeat=3), 8, description="cropping")
            crops = [save_crop(brain, output / "subjects", size, octant) for octant in octants]
            dataset = tio.SubjectsDataset(crops)
            source = tio.SubjectsLoader(dataset, 2, shuffle=True, seed=seed, num_workers=0)
            passes = augment.explain()
        model = network(place)
        report = train(model, source, None if patches else augment, steps, progress)
        axes = curve.add_subplot(xlabel="step", ylabel="cross-entropy per voxel")
        axes.plot(range(1, steps + 1), report["losses"], marker=".", color="#0072b2")
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        curve.savefig(output / "loss.png")

        head = tio.Subject(t1=brain.t1[BRAIN], seg=brain.seg[BRAIN]).to(place)
        found = {
            overlap: predict(model, head, size, overlap)
            for overlap in progress.track(OVERLAPS, description="predicting")
        }
        report |= compare(found, head.seg)
        # Crops do not contain background, where a network that was trained on them is wrong.
        learnt = "patches of all of it" if patches else "crops of its middle (see --patches)"
        compared = prediction(head, found, report, learnt)
        plot_gallery(compared, output / "prediction.png", indices=DRAWN)
        rows = progress.track(gallery(head, augment, seed), len(SHOWN) + 4, description="gallery")
        plot_gallery(rows, output / "gallery.png", window=(0, 1.1), indices=DRAWN)

    report |= {"passes": passes.splitlines(), **machine(place)}
    report["seconds"] = round(time.perf_counter() - started, 1)
    (output / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return report


def find_device(name: str | None) -> torch.device:
    """Return the device ``name``, by default the GPU if there is one; raise if unavailable."""
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:  # depends on the build of torch
        raise ValueError(
            f"device must be available to torch, such as 'cpu', got {name!r}"
        ) from error


def save_crop(brain: tio.Subject, folder: Path, size: int, octant: tuple[int, ...]) -> tio.Subject:
    """Write one of eight cubes about the centre of the brain; return it as an unread subject."""
    box = tuple(
        slice(middle - (1 - far) * size, middle + far * size)
        for middle, far in zip(CENTRE, octant, strict=True)
    )
    name = "sub-" + "".join(pair[far] for pair, far in zip(("LR", "PA", "IS"), octant, strict=True))
    return save(brain, box, folder, name)


def save(brain: tio.Subject, box: tuple[slice, ...], folder: Path, name: str) -> tio.Subject:
    """Write the voxels of a box, image and labels; return them as an unread subject."""
    paths = {kind: folder / f"{name}_{kind}.nii.gz" for kind in ("t1", "seg")}
    for kind, path in paths.items():
        brain[kind][box].save(path)
    return tio.Subject(t1=tio.ScalarImage(paths["t1"]), seg=tio.LabelMap(paths["seg"]), name=name)


def machine(device: torch.device) -> dict[str, Any]:
    """Return the name of the device and versions, to report with measurements."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        name = f"{platform.machine()} CPU, {torch.get_num_threads()} threads"
    versions = {
        "torchio_gpu": tio.__version__,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "python": platform.python_version(),
        "system": platform.platform(),
    }
    return {"device": {"type": device.type, "name": name}, "versions": versions}
