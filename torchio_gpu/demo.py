"""``torchio-gpu demo``: a small network learns the tissues of one real brain, and then finds them.

Everything that a training script does is here, once: subjects from files, a loader, augmentation
of the batch on the device inside the step, a network that learns from it, and its prediction of
the whole volume by patches. With ``patches``, a queue that keeps volumes on the device stands in
for the loader and the augmentation of its batches.
"""

from __future__ import annotations

import json
import platform
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
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
BEFORE, DIFFERENT = 5, 3  # labels that are drawn pink and orange
TISSUES = {"grey": 1, "white": 2}
OVERLAPS = "hann", "crop"  # what to do where patches overlap
BRAIN = slice(14, 183), slice(14, 221), slice(0, 170)  # of the template's voxels, with a margin
DRAWN = 70, 100, 80  # voxel of it through which planes are drawn
CENTRE = 98, 117, 76  # voxel in the middle of the brain; the borders are as far away or further


def run(
    output: str | Path,
    device: str | None = None,
    steps: int = 60,
    seed: int = 0,
    size: int = 48,
    patches: bool = False,
) -> dict[str, Any]:
    """Train on augmented pieces of the MNI152 brain for a few steps, and show what was done.

    Leaves in ``output``, and writes nowhere else:

    - ``subjects/``: eight crops of the brain, or all of it, image and tissue labels, as files;
    - ``loss.png``: the loss of each step;
    - ``prediction.png``: the tissues of the head, and as the network finds them by patches;
    - ``gallery.png``: every augmentation by itself, and the pipeline that was trained with;
    - ``report.json``: what is returned.

    The head that is predicted is the one that was learnt from: this shows how patches are put
    together, not how good the network is on other heads.

    Args:
        output: Folder, made if it is missing.
        device: Where to augment and train; by default the GPU if there is one, else the CPU.
        steps: Training steps.
        seed: Decides the network, the order of subjects, the places of patches and all
            augmentation. torch's own generator is left as it was.
        size: Side of crops and patches in voxels of 1 mm: a multiple of 4, from 16 to 76.
        patches: Learn from patches all over the head, streamed by a :class:`DeviceQueue`, instead
            of eight crops about the middle of the brain, which never show what is around it.

    Returns:
        ``losses`` of the steps; ``milliseconds``: median over the steps after the first of
        ``loading`` (reading, batching, moving to the device) and ``augmentation``, or of
        ``patches`` (both in one), and of ``model_step``; ``batch_shape``; ``passes`` over the
        voxels that the augmentation takes; ``dice`` of the prediction by what was done where
        patches overlap and by tissue; ``differing``, the share of voxels at which that matters;
        ``device``, ``versions`` and the ``seconds`` that it all took.

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
        # The network of the crops goes wrong where there is nothing, which it never saw.
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
    return save(brain, box, folder, name)


def save(brain: tio.Subject, box: tuple[slice, ...], folder: Path, name: str) -> tio.Subject:
    """Write the voxels of a box, image and labels; return them as a subject, not yet read."""
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


def network(device: torch.device) -> nn.Module:
    """A network that was not trained yet."""
    layout = torch.channels_last_3d  # of the weights, and so of all but the input: twice as fast
    model: nn.Module = UNet(CLASSES).to(device, memory_format=layout)  # type: ignore[call-overload]
    return model


def patch_queue(
    head: tio.Subject, augment: tio.Transform, device: torch.device, seed: int, size: int
) -> tio.DeviceQueue:
    """Augmented patches of two heads, which are the same one, in batches of one of each."""
    # As many about each tissue as about what is neither, which is most of the head.
    sampler = tio.LabelSampler(size, "seg", dict.fromkeys(range(CLASSES), 1))
    return tio.DeviceQueue([head] * 2, sampler, augment, 2, 8, device=device, seed=seed)


def train(
    model: nn.Module,
    source: Iterable[tio.SubjectsBatch],
    augment: tio.Transform | None,
    steps: int,
    progress: Progress,
) -> dict[str, Any]:
    """Train a network to find the tissues; losses, milliseconds and shape of the batch.

    Args:
        model: The network; batches are moved to where it is.
        source: Batches, those of another epoch each time that it is iterated over.
        augment: What to do to batches; None if that is done.
        steps: How many batches to learn from.
        progress: Where to show a bar.
    """
    device = next(model.parameters()).device
    optimizer = torch.optim.Adam(model.parameters())
    # So few steps end well only if the last ones are small.
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-2, total_steps=steps)
    batches = chain.from_iterable(repeat(source))  # each pass is an epoch, with its own seeds
    times: dict[str, list[float]] = defaultdict(list)
    losses: list[float] = []
    bar = progress.add_task("training", total=steps)
    for _ in range(steps):
        with _timed(times["patches" if augment is None else "loading"], device):
            batch = next(batches).to(device)
        if augment is not None:
            with _timed(times["augmentation"], device):
                batch = augment(batch)
        with _timed(times["model_step"], device):
            loss = F.cross_entropy(model(batch.t1.data), batch.seg.data[:, 0].long())
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
        losses.append(loss.item())
        progress.update(bar, advance=1, description=f"training, loss {losses[-1]:.2f}")
    steady = {part: values[1:] or values for part, values in times.items()}  # the first warms up
    return {
        "losses": losses,
        "milliseconds": {part: round(median(values), 3) for part, values in steady.items()},
        "batch_shape": list(batch.t1.shape),
    }


def predict(model: nn.Module, head: tio.Subject, size: int, overlap_mode: str) -> tio.LabelMap:
    """The tissue that the network finds likeliest at each voxel of a head, by patches."""
    tissue = tio.predict_by_patches(
        model.eval(),
        head,
        patch_size=size,
        patch_overlap=size // 4,
        overlap_mode=overlap_mode,
        reduction=lambda slab: slab.argmax(0, keepdim=True).to(torch.uint8),
    )
    return tio.LabelMap(tissue, affine=head.t1.affine)


def compare(found: dict[str, tio.LabelMap], truth: tio.LabelMap) -> dict[str, Any]:
    """``dice`` of each prediction, by tissue, and the share of voxels ``differing`` among them."""
    dice: dict[str, dict[str, float]] = {overlap: {} for overlap in found}
    for (overlap, labels), (tissue, label) in product(found.items(), TISSUES.items()):
        here, there = labels.data == label, truth.data == label
        shared, both = (here & there).sum(), here.sum() + there.sum()
        dice[overlap][tissue] = round((2 * shared / both).item(), 4)
    differing = (found["hann"].data != found["crop"].data).double().mean()
    return {"dice": dice, "differing": round(differing.item(), 4)}


def prediction(
    head: tio.Subject, found: dict[str, tio.LabelMap], report: dict[str, Any], learnt: str
) -> dict[str, tio.Subject]:
    """A head with its tissues, the true ones and those found, by what to write above each.

    Args:
        head: The head.
        found: Its tissues as they were predicted, by what was done where patches overlap.
        report: What :func:`compare` says of them.
        learnt: What the network learnt from.
    """
    hann, crop = (
        ", ".join(f"{tissue} {dice:.2f}" for tissue, dice in report["dice"][overlap].items())
        for overlap in OVERLAPS
    )
    different = (found["hann"].data != found["crop"].data) * DIFFERENT
    return {
        "Original. Grey matter yellow, white matter blue": head,
        f"Found after learning from {learnt}; overlapping patches weighted (hann). Dice: {hann}": (
            tio.Subject(found=found["hann"])
        ),
        "The same, as contours": tio.Subject(t1=head.t1, found=found["hann"]),
        "Its tissues": tio.Subject(seg=head.seg),
        f"The same network, only the middle of each patch kept (crop). Dice: {crop}": (
            tio.Subject(found=found["crop"])
        ),
        f"Where the two differ: {report['differing']:.1%} of the voxels": (
            tio.Subject(different=tio.LabelMap(different, affine=head.seg.affine))
        ),
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
