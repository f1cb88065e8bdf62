"""``torchio-gpu demo``: a small network learns tissue from augmented crops of one real brain.

Everything that a training script does is here, once: subjects from files, a loader, augmentation
of the batch on the device inside the step, and a network that learns from it.
"""

from __future__ import annotations

import json
import platform
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, product, repeat
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from rich.progress import Progress
from torch import Tensor, nn

import torchio_gpu as tio

from .datasets import mni152
from .plot import new_figure, plot_gallery

CLASSES = 3  # neither, grey matter, white matter
BEFORE = 5  # a label that is drawn pink
BRAIN = slice(14, 183), slice(14, 221), slice(0, 170)  # of the template's voxels, with a margin
CENTRE = 98, 117, 76  # voxel in the middle of the brain; the borders are as far away or further


def run(
    output: str | Path, device: str | None = None, steps: int = 60, seed: int = 0, size: int = 48
) -> dict[str, Any]:
    """Train on augmented crops of the MNI152 brain for a few steps, and show what was done.

    Leaves in ``output``, and writes nowhere else:

    - ``subjects/``: eight crops of the brain, image and tissue labels, as files;
    - ``loss.png``: the loss of each step;
    - ``gallery.png``: every augmentation by itself, and the pipeline that was trained with;
    - ``report.json``: what is returned.

    Args:
        output: Folder, made if it is missing.
        device: Where to augment and train; by default the GPU if there is one, else the CPU.
        steps: Training steps.
        seed: Decides the network, the order of subjects and all augmentation. torch's own
            generator is left as it was.
        size: Side of the crops in voxels of 1 mm: a multiple of 4, from 16 to 76.

    Returns:
        ``losses`` of the steps; ``milliseconds``: median over the steps after the first of
        ``loading`` (reading, batching, moving to the device), ``augmentation`` and ``model_step``;
        ``batch_shape``; ``passes`` over the voxels that the augmentation takes; ``device``,
        ``versions`` and the ``seconds`` that it all took.

    Raises:
        ImportError: nilearn or matplotlib is not installed.
        ValueError: The device is not there, or ``steps`` or ``size`` is not as above.
    """
    started = time.perf_counter()
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    if size % 4 or not 16 <= size <= min(CENTRE):
        raise ValueError(f"size must be a multiple of 4 from 16 to {min(CENTRE)}, got {size}")
    place = find_device(device)
    # Made before the work, which would be lost without matplotlib.
    curve = new_figure(5, 3, layout="constrained")
    output = Path(output)
    (output / "subjects").mkdir(parents=True, exist_ok=True)

    with torch.random.fork_rng(devices=[]), Progress() as progress:
        torch.manual_seed(seed)
        brain = mni152()
        octants = progress.track(product((0, 1), repeat=3), 8, description="cropping")
        crops = [save_crop(brain, output / "subjects", size, octant) for octant in octants]
        augment = pipeline(size)
        report = train(crops, augment, place, steps, seed, progress)
        axes = curve.add_subplot(xlabel="step", ylabel="cross-entropy per voxel")
        axes.plot(range(1, steps + 1), report["losses"], marker=".", color="#0072b2")
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        curve.savefig(output / "loss.png")
        head = tio.Subject(t1=brain.t1[BRAIN], seg=brain.seg[BRAIN]).to(place)
        rows = progress.track(gallery(head, augment, seed), len(SHOWN) + 4, description="gallery")
        plot_gallery(rows, output / "gallery.png", window=(0, 1.1), indices=(70, 100, 80))

    report |= {"passes": augment.explain().splitlines(), **machine(place)}
    report["seconds"] = round(time.perf_counter() - started, 1)
    (output / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return report


def find_device(name: str | None) -> torch.device:
    """The device of that name, or by default the GPU if there is one; ValueError if it is none."""
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:  # torch raises either, as it is built
        raise ValueError(
            f"device must be one that torch can use here, such as 'cpu', got {name!r}"
        ) from error


def save_crop(brain: tio.Subject, folder: Path, size: int, octant: tuple[int, ...]) -> tio.Subject:
    """Write one of the eight cubes about the middle of the brain; return it, not yet read."""
    box = tuple(
        slice(middle - (1 - far) * size, middle + far * size)
        for middle, far in zip(CENTRE, octant, strict=True)
    )
    name = "sub-" + "".join(pair[far] for pair, far in zip(("LR", "PA", "IS"), octant, strict=True))
    paths = {kind: folder / f"{name}_{kind}.nii.gz" for kind in ("t1", "seg")}
    for kind, path in paths.items():
        brain[kind][box].save(path)
    return tio.Subject(t1=tio.ScalarImage(paths["t1"]), seg=tio.LabelMap(paths["seg"]), name=name)


def pipeline(size: int) -> tio.Compose:
    """The augmentation to train with, for crops of ``size`` mm."""
    return tio.Compose(
        [
            tio.RandomAffine(scales=0.1, degrees=15, translation=5, p=0.8),
            tio.RandomElasticDeformation(max_displacement=size / 16, p=0.5),  # too little to fold
            tio.RandomFlip(axes=("LR",)),
            tio.RandomBiasField(p=0.5),
            tio.RandomGamma(p=0.5),
            tio.RandomNoise(std=(0, 0.1), p=0.5),
        ]
    )


#: For the gallery: every augmentation, as strong as it takes to see it.
SHOWN: tuple[tio.Transform, ...] = (
    tio.RandomAffine(scales=(0.75, 0.9), degrees=(10, 20)),
    tio.RandomElasticDeformation(num_control_points=6, max_displacement=20, locked_borders=0),
    tio.RandomAffineElasticDeformation(
        affine_kwargs={"scales": (0.75, 0.9), "degrees": (10, 20)},
        elastic_kwargs={"num_control_points": 6, "max_displacement": 20},
    ),
    # The template is the same on the left and on the right: only this flip can be seen.
    tio.RandomFlip(axes=("AP",), flip_probability=1),
    tio.RandomBiasField(coefficients=0.5),
    tio.RandomGamma(log_gamma=(0.6, 0.8)),
    tio.RandomNoise(std=(0.15, 0.15)),
    tio.RandomNoise(std=(0.15, 0.15), rician=True),
    tio.RandomMotion(degrees=5, num_transforms=8, axes=("AP",), output="magnitude"),
    tio.RandomGhosting(num_ghosts=(3, 3), axes=("AP",), intensity=(0.7, 0.8)),
    tio.RandomSpike(intensity=(1, 1.5)),
    tio.RandomBlur(std=(2, 4)),
    tio.RandomAnisotropy(axes=("IS",), downsampling=(8, 8), image_interpolation="nearest"),
    tio.RandomAnisotropy(axes=("IS",), downsampling=(8, 8), antialias=True),
    tio.RandomSwap(patch_size=25, num_iterations=20),
    # Grey matter brighter than white and the rest dark, as in FLAIR: a contrast that T1 never has.
    tio.RandomLabelsToImage(
        image_key="t1", mean=(0, 0.8, 0.5), default_std=0.05, ignore_background=True
    ),
)


def gallery(
    head: tio.Subject, augment: tio.Transform, seed: int
) -> Iterator[tuple[str, tio.Subject]]:
    """A head as it is, after each augmentation, and after three draws of a pipeline, with titles.

    The label map ``before`` of each is where its tissue was, for contours under the new ones.
    """
    before = tio.LabelMap((head.seg.data > 0) * BEFORE, affine=head.seg.affine)

    def shown(head: tio.Subject) -> tio.Subject:
        return tio.Subject(t1=head.t1, before=before, seg=head.seg)

    yield "Original. Grey matter yellow, white matter blue; pink: where they were", head
    for transform in SHOWN:
        torch.manual_seed(seed)
        yield repr(transform), shown(transform(head))
    for draw in (1, 2, 3):
        yield f"The pipeline of the training, draw {draw}", shown(augment(head))


class UNet(nn.Module):
    """A small 3D U-Net: three scales, two convolutions at each."""

    def __init__(self, classes: int, width: int = 8) -> None:
        super().__init__()
        w = width
        self.down = nn.ModuleList([_block(1, w), _block(w, 2 * w), _block(2 * w, 4 * w)])
        self.up = nn.ModuleList([_block(6 * w, 2 * w), _block(3 * w, w)])
        self.head = nn.Conv3d(w, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [B, classes, I, J, K] of images [B, 1, I, J, K] whose sides divide by 4."""
        passed: list[Tensor] = []
        for block in self.down:
            x = block(F.max_pool3d(x, 2) if passed else x)
            passed.append(x)
        passed.pop()
        for block in self.up:
            x = block(torch.cat([F.interpolate(x, scale_factor=2), passed.pop()], 1))
        return self.head(x)


def _block(before: int, after: int) -> nn.Module:
    layers: list[nn.Module] = []
    for channels in (before, after):
        layers += [nn.Conv3d(channels, after, 3, padding=1), nn.GroupNorm(4, after), nn.ReLU()]
    return nn.Sequential(*layers)


def train(
    subjects: list[tio.Subject],
    augment: tio.Transform,
    device: torch.device,
    steps: int,
    seed: int,
    progress: Progress,
) -> dict[str, Any]:
    """Train a network to find the tissues; losses, milliseconds and shape of the batch."""
    loader = tio.SubjectsLoader(
        tio.SubjectsDataset(subjects), batch_size=2, shuffle=True, seed=seed, num_workers=0
    )
    layout = torch.channels_last_3d  # twice as fast on a CPU
    model = UNet(CLASSES).to(device, memory_format=layout)  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    batches = chain.from_iterable(repeat(loader))  # each pass is an epoch, with its own seeds
    times: dict[str, list[float]] = defaultdict(list)
    losses: list[float] = []
    bar = progress.add_task("training", total=steps)
    for _ in range(steps):
        with _timed(times["loading"], device):
            batch = next(batches).to(device)
        with _timed(times["augmentation"], device):
            batch = augment(batch)
        with _timed(times["model_step"], device):
            logits = model(batch.t1.data.contiguous(memory_format=layout))
            loss = F.cross_entropy(logits, batch.seg.data[:, 0].long())
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        losses.append(loss.item())
        progress.update(bar, advance=1, description=f"training, loss {losses[-1]:.2f}")
    steady = {part: values[1:] or values for part, values in times.items()}  # the first warms up
    return {
        "losses": losses,
        "milliseconds": {part: round(median(values), 3) for part, values in steady.items()},
        "batch_shape": list(batch.t1.shape),
    }


@contextmanager
def _timed(milliseconds: list[float], device: torch.device) -> Iterator[None]:
    """Append the time that the block took, its work on the device included."""

    def now() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter()

    start = now()
    yield
    milliseconds.append((now() - start) * 1000)


def machine(device: torch.device) -> dict[str, Any]:
    """What a number must not travel without: the device by name, and versions."""
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
