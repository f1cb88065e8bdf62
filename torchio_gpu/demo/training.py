"""Network of the demo, its training and its prediction."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, product, repeat
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from rich.progress import Progress
from torch import Tensor, nn

import torchio_gpu as tio

CLASSES = 3  # neither, grey matter, white matter
TISSUES = {"grey": 1, "white": 2}
OVERLAPS = "hann", "crop"  # overlap modes that are compared


class UNet(nn.Module):
    """Small 3D U-Net: three scales, two convolutions at each."""

    def __init__(self, classes: int, width: int = 8) -> None:
        super().__init__()
        w = width
        self.down = nn.ModuleList([_block(1, w), _block(w, 2 * w), _block(2 * w, 4 * w)])
        self.up = nn.ModuleList([_block(6 * w, 2 * w), _block(3 * w, w)])
        self.head = nn.Conv3d(w, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits [B, classes, I, J, K] of images [B, 1, I, J, K] whose sides divide by 4."""
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
    """Return a network that was not trained yet."""
    layout = torch.channels_last_3d  # twice as fast as the default
    model: nn.Module = UNet(CLASSES).to(device, memory_format=layout)  # type: ignore[call-overload]
    return model


def patch_queue(
    head: tio.Subject, augment: tio.Transform, device: torch.device, seed: int, size: int
) -> tio.DeviceQueue:
    """Return a queue of augmented patches of one head, two per batch."""
    # Each class is at the centre of a patch equally often, although most voxels are background.
    sampler = tio.LabelSampler(size, "seg", dict.fromkeys(range(CLASSES), 1))
    return tio.DeviceQueue([head] * 2, sampler, augment, 2, 8, device=device, seed=seed)


def train(
    model: nn.Module,
    source: Iterable[tio.SubjectsBatch],
    augment: tio.Transform | None,
    steps: int,
    progress: Progress,
) -> dict[str, Any]:
    """Train a network to predict the tissues; return losses, times in ms and shape of the batch.

    Args:
        model: The network; batches are moved to its device.
        source: Batches; each iteration is another epoch.
        augment: Transform of batches; None if they are augmented already.
        steps: Number of batches.
        progress: Display of the progress bar.
    """
    device = next(model.parameters()).device
    optimizer = torch.optim.Adam(model.parameters())
    # Few steps converge only if the last ones are small.
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
    """Return the tissue that the network finds likeliest at each voxel of a head, by patches."""
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
    """Return ``dice`` of each prediction, by tissue, and the share of ``differing`` voxels."""
    dice: dict[str, dict[str, float]] = {overlap: {} for overlap in found}
    for (overlap, labels), (tissue, label) in product(found.items(), TISSUES.items()):
        here, there = labels.data == label, truth.data == label
        shared, both = (here & there).sum(), here.sum() + there.sum()
        dice[overlap][tissue] = round((2 * shared / both).item(), 4)
    differing = (found["hann"].data != found["crop"].data).double().mean()
    return {"dice": dice, "differing": round(differing.item(), 4)}


@contextmanager
def _timed(milliseconds: list[float], device: torch.device) -> Iterator[None]:
    """Append the time of the block, including its work on the device."""

    def now() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter()

    start = now()
    yield
    milliseconds.append((now() - start) * 1000)
