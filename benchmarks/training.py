"""Training with augmentation, from end to end: ``python -m benchmarks.training``.

A small U-Net learns tissues from random patches of synthetic heads in memory, augmented by pipe6 of
the comparison of libraries. Each contender has a process of its own; 'none' cuts patches and does
nothing else. ``first_batch_s`` is the time from the making of a source, with its caches and
workers, to its first batch. Sources that prepare several batches at once are measured in whole
rounds of them. Batches are checked before anything counts.
"""

from __future__ import annotations

import math
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from itertools import chain, pairwise, product, repeat
from multiprocessing import get_context
from statistics import fmean, median
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import torchio_gpu as tio

from . import machine, records
from .failure import FailureError
from .markdown import number, table
from .rivals.torchio_gpu import STEPS
from .workloads import PIPE6

SUITE = "training"
BOTH = ("image", "label")
#: Brightness of background and three tissues, and what lies between them in a field in [0, 1].
LEVELS, BORDERS = (0.0, 0.4, 0.7, 1.0), (0.38, 0.5, 0.62)
#: Heads, and how often a list of them is repeated for those who begin an epoch with empty hands.
SUBJECTS, EPOCH = 4, 16
#: Patches of a batch, and patches that are cut out of a volume once it is prepared.
BATCH, PER_VOLUME = 2, 4
#: Channels of the first level of the network, its levels, and the least steps before the clock.
WIDTH, DEPTH, WARMUP = 8, 4, 4
Pair = tuple[Tensor, Tensor]
#: Batches without end, [B, 1, I, J, K] on the device, and how many are prepared at once.
Source = tuple[Iterator[Pair], int]


@dataclass(frozen=True)
class Setup:
    """Sizes in voxels, and lengths: after so many steps or seconds no round begins."""

    device: str
    threads: int
    shape: tuple[int, ...] = (193, 229, 193)
    patch: int = 96
    steps: int = 30
    seconds: float = 45.0


QUICK = {"shape": (48, 56, 48), "patch": 32, "steps": 4, "seconds": 1.0}


def heads(setup: Setup) -> list[Pair]:
    """Return images, [1, I, J, K] float32, and label maps, uint8: no head is like another."""
    random = torch.Generator().manual_seed(0)
    i, j, k = (torch.linspace(-1.1, 1.1, n).square() for n in setup.shape)
    inside = i[:, None, None] + j[:, None] + k <= 1
    found = []
    for _ in range(SUBJECTS):
        fields = torch.rand(1, 2, *(max(3, n // 16) for n in setup.shape), generator=random)
        fields = F.interpolate(fields, setup.shape, mode="trilinear", align_corners=True)
        label = torch.bucketize(fields[0, 0], torch.tensor(BORDERS)) * inside
        image = torch.tensor(LEVELS)[label] * (0.9 + 0.2 * fields[0, 1])
        found.append((image[None], label[None].byte()))
    return found


class Coarser(nn.Module):
    """Add what layers make of the input at half the resolution."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return x + F.interpolate(self.layers(F.max_pool3d(x, 2)), scale_factor=2)


def unet(width: int, levels: int, classes: int) -> nn.Module:
    """Return a 3D U-Net: logits of images of one channel, the width doubled at each level."""

    def block(*widths: int) -> nn.Module:
        convolutions = (nn.Conv3d(a, b, 3, padding=1) for a, b in pairwise(widths))
        layers = ((each, nn.GroupNorm(4, each.out_channels), nn.ReLU()) for each in convolutions)
        return nn.Sequential(*chain.from_iterable(layers))

    inner: list[nn.Module] = []
    for n in reversed(range(levels - 1)):
        fine, coarse = width * 2**n, width * 2 ** (n + 1)
        down, narrow = block(fine, coarse, coarse), nn.Conv3d(coarse, fine, 1)
        inner = [Coarser(down, *inner, narrow), block(fine, fine)]
    return nn.Sequential(block(1, width), *inner, nn.Conv3d(width, classes, 1))


def check(pairs: list[Pair], setup: Setup, augmented: bool) -> float:
    """Return the mean correlation of images with their labels; raise FailureError where wrong."""
    image, label = (torch.cat(each) for each in zip(*pairs, strict=True))
    for name, x in zip(BOTH, (image, label), strict=True):
        if x.shape != (len(pairs) * BATCH, 1, *[setup.patch] * 3):
            raise FailureError(f"the shape of its {name} batches is wrong: {tuple(x.shape)}")
    if (found := label.unique().tolist()) != list(range(len(LEVELS))):
        raise FailureError(f"its labels are {found}, expected 0 to {len(LEVELS) - 1}")
    if augmented and (share := (image[label == 0] == 0).float().mean()) > 0.5:
        raise FailureError(f"it is not augmented: no noise in {share:.0%} of the background")
    bright = torch.tensor(LEVELS, device=label.device)[label.long()]
    fit = correlation(image, bright)
    if not fit > 0.6:  # nor NaN; 0.85 by pipe6, 0 of other places
        raise FailureError(f"its images do not fit their labels: correlation {fit:.2f}")
    for axis, by in product((2, 3, 4), (-2, 2)):
        inner = [x.narrow(axis, 2, setup.patch - 4) for x in (image, bright, bright.roll(by, axis))]
        if correlation(inner[0], inner[2]) > correlation(inner[0], inner[1]):
            raise FailureError(f"its labels fit better moved by {by} voxels along axis {axis - 2}")
    return fit


def correlation(x: Tensor, y: Tensor) -> float:
    """Return the mean over samples of the correlation of voxels."""
    x, y = (each.flatten(1) - each.flatten(1).mean(1, keepdim=True) for each in (x, y))
    return float(F.cosine_similarity(x, y).mean())


def ours(setup: Setup, heads: list[Pair], names: Sequence[str] = PIPE6) -> Source:
    """A DeviceQueue, which computes the voxels of patches alone."""
    subjects = [tio.Subject(image=tio.ScalarImage(x), label=tio.LabelMap(y)) for x, y in heads]
    steps, sampler = tio.Compose([STEPS[n] for n in names]), tio.UniformSampler(setup.patch)
    about: dict[str, Any] = {"device": setup.device, "seed": 0}
    queue = tio.DeviceQueue(subjects, sampler, steps, BATCH, PER_VOLUME, **about)
    return ((batch.image.data, batch.label.data) for batch in again(queue)), 1


def ours_patches(setup: Setup, heads: list[Pair]) -> Source:
    """A Queue of patches and a loader; batches are augmented on the device."""
    subjects = [tio.Subject(image=tio.ScalarImage(x), label=tio.LabelMap(y)) for x, y in heads]
    steps, sampler = tio.Compose([STEPS[n] for n in PIPE6]), tio.UniformSampler(setup.patch)
    sizes = BATCH * PER_VOLUME, PER_VOLUME, setup.threads
    queue = tio.Queue(subjects * EPOCH, sampler, *sizes, seed=0)
    loader = tio.SubjectsLoader(queue, BATCH, pin_memory=setup.device == "cuda")
    made = (steps(batch.to(setup.device, non_blocking=True)) for batch in again(loader))
    return ((batch.image.data, batch.label.data) for batch in made), PER_VOLUME


def torchio1(setup: Setup, heads: list[Pair]) -> Source:
    """A Queue whose workers augment volumes; as short as will do, since it is filled as a whole."""
    import SimpleITK as sitk
    import torchio

    from .rivals import torchio1 as peer

    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)  # in workers, of which a core has one
    pairs = ((torchio.ScalarImage(tensor=x), torchio.LabelMap(tensor=y)) for x, y in heads)
    subjects = [torchio.Subject(image=image, label=label) for image, label in pairs] * EPOCH
    dataset = torchio.SubjectsDataset(subjects, transform=peer.STEPS["pipe6"])
    sampler, pin = torchio.UniformSampler(setup.patch), setup.device == "cuda"
    sizes = BATCH * PER_VOLUME, PER_VOLUME, sampler
    queue = torchio.Queue(dataset, *sizes, num_workers=setup.threads)
    loader = torchio.SubjectsLoader(queue, batch_size=BATCH, num_workers=0, pin_memory=pin)
    voxels = ([batch[name][torchio.DATA] for name in BOTH] for batch in again(loader))
    volumes = math.lcm(setup.threads, BATCH)  # when workers and queue are where they were
    return (on_device(setup, pair) for pair in voxels), volumes * PER_VOLUME // BATCH


def monai(setup: Setup, heads: list[Pair], cut_first: bool, workers: bool = True) -> Source:
    """A CacheDataset and a loader; without workers volumes are kept and augmented on the device."""
    from monai import data
    from monai import transforms as m

    from .rivals.monai import VOLUMES

    steps, size = [VOLUMES[name] for name in PIPE6], [setup.patch] * 3
    cut = m.RandSpatialCropSamplesd(BOTH, size, PER_VOLUME, random_size=False)
    place = m.EnsureTyped(BOTH, device=torch.device("cpu" if workers else setup.device))
    order = m.Compose([place, cut, *steps] if cut_first else [place, *steps, cut])
    volumes = [dict(zip(BOTH, pair, strict=True)) for pair in heads] * EPOCH
    dataset = data.CacheDataset(volumes, order, progress=False)
    about: dict[str, Any] = {"shuffle": True, "num_workers": 0}
    if workers:
        pin = setup.device == "cuda"
        about |= {"num_workers": setup.threads, "persistent_workers": True, "pin_memory": pin}
    loader = again((data.DataLoader if workers else data.ThreadDataLoader)(dataset, **about))

    def batches() -> Iterator[Pair]:
        while True:  # all patches of a volume, of which a batch takes one
            found = [next(loader) for _ in range(BATCH)]
            moved = [on_device(setup, [volume[name] for name in BOTH]) for volume in found]
            for n in range(PER_VOLUME):
                image, label = zip(*((pair[0][n], pair[1][n]) for pair in moved), strict=True)
                yield torch.stack(image), torch.stack(label)

    at_once = math.lcm(setup.threads if workers else 1, BATCH)
    return batches(), at_once * PER_VOLUME // BATCH


def on_device(setup: Setup, pair: Sequence[Tensor]) -> Pair:
    image, label = (x.to(setup.device, non_blocking=True) for x in pair)
    return image, label


def again(loader: Any) -> Iterator[Any]:
    """Return epoch after epoch."""
    return chain.from_iterable(repeat(loader))


#: Title, what is augmented, and source.
CONTENDERS: dict[str, tuple[str, str, Callable[[Setup, list[Pair]], Source]]] = {
    "none": ("none", "", partial(ours, names=())),
    "torchio_gpu": ("torchio_gpu", "volume", ours),
    "torchio_gpu_patches": ("torchio_gpu", "patch", ours_patches),
    "torchio1": ("TorchIO", "volume", torchio1),
    "monai": ("MONAI", "volume", partial(monai, cut_first=False)),
    "monai_patches": ("MONAI", "patch", partial(monai, cut_first=True)),
    "monai_device": ("MONAI", "patch, cached", partial(monai, cut_first=True, workers=False)),
}


def measure(source: Callable[[], Source], setup: Setup, augmented: bool) -> dict[str, Any]:
    """Train: first steps whose batches are checked, then whole rounds that are timed."""
    torch.manual_seed(0)
    layout = torch.channels_last_3d  # of the weights, and so of all but the input: faster
    model = unet(WIDTH, DEPTH, len(LEVELS)).to(setup.device, memory_format=layout)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)

    def step(image: Tensor, label: Tensor) -> Tensor:
        loss = F.cross_entropy(model(image), label[:, 0].long())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach()

    start = perf_counter()
    batches, round_ = source()
    seen = [next(batches)]
    seen[0][0].sum().item()  # waits for a GPU
    first_batch = perf_counter() - start
    warmup = round_ * math.ceil(WARMUP / round_)
    seen += (next(batches) for _ in range(warmup - 1))
    correlation = check(seen, setup, augmented)
    losses, waits, ahead = [step(*seen.pop(0)) for _ in range(warmup)], [], deque[Any]()
    losses[-1].item()  # waits for a GPU
    start = perf_counter()
    while True:
        ended = len(waits) >= setup.steps or perf_counter() - start >= setup.seconds
        if ended and waits and len(waits) % round_ == 0:
            break
        called = perf_counter()
        image, label = next(batches)
        waits.append(1000 * (perf_counter() - called))
        losses.append(step(image, label))
        if setup.device == "cuda":  # the host is at most two steps ahead
            ahead.append(torch.cuda.Event())
            ahead[-1].record()
            if len(ahead) > 2:
                ahead.popleft().synchronize()
    values = [loss.item() for loss in losses]
    wall = perf_counter() - start
    if not all(map(math.isfinite, values)):
        raise FailureError("a loss is not finite")
    found = {"wall_s": wall, "steps_per_s": len(waits) / wall, "first_batch_s": first_batch}
    found |= {"wait_ms": median(waits), "mean_wait_ms": fmean(waits), "correlation": correlation}
    found |= {"first_loss": values[0], "last_loss": fmean(values[-4:])}  # of one it says little
    rounded = {name: float(f"{value:.4g}") for name, value in found.items()}
    return {"steps": len(waits), "round": round_, "warmup": warmup, **rounded}


def alone(name: str, setup: Setup) -> dict[str, Any]:
    """Measure a contender, in a process of its own."""
    torch.set_num_threads(setup.threads)
    title, augments, make = CONTENDERS[name]
    found = measure(partial(make, setup, heads(setup)), setup, bool(augments))
    return {"version": machine.version(title.lower()), **found}


def run(setup: Setup, names: Sequence[str]) -> records.Result:
    """Measure contenders; those that cannot be have a row that says why."""
    rows = []
    for name in names:
        row = {"contender": name, "title": CONTENDERS[name][0], "augments": CONTENDERS[name][1]}
        try:
            with ProcessPoolExecutor(1, get_context("spawn")) as pool:
                row |= pool.submit(alone, name, setup).result()
        except Exception as error:
            row["failure"] = str(FailureError.of(error))
        rows.append(row)
        print(name, row.get("failure") or row["steps_per_s"], file=sys.stderr, flush=True)
    stamp = records.stamp(SUITE, setup.device, setup.threads)
    return {**stamp, "setup": asdict(setup), "rows": rows}


def text(result: records.Result) -> str:
    """Return a table of contenders, losses included, and what a reader must know about it."""
    rows = {row["contender"]: row for row in result["rows"]}
    rates = {name: row["steps_per_s"] for name, row in rows.items() if "failure" not in row}
    lines, mine = [], ["torchio_gpu", "torchio_gpu_patches"]
    for name, rate in rates.items():
        row, shown = rows[name], number(rate)
        alike = mine[: 1 + row["augments"].startswith("patch")]
        if name not in ("none", *mine) and rate > min(rates.get(n, math.inf) for n in alike):
            shown = f"**{shown}**"
        title = f"{row['title'].partition(',')[0]} {row['version']}" if row["augments"] else "none"
        share = f"{100 * rate / rates['none']:.0f} %" if "none" in rates else "-"
        wait = f"{number(row['wait_ms'])} ({number(row['mean_wait_ms'])})"
        first, loss = (number(row[key]) for key in ("first_batch_s", "last_loss"))
        lines.append([title, row["augments"], shown, share, wait, first, str(row["steps"]), loss])
    head = ["augmented by", "augments", "steps/s", "of none", "wait, ms (mean)", "first batch, s"]
    shape, patch = "x".join(map(str, result["setup"]["shape"])), result["setup"]["patch"]
    notes = [
        records.origin(result),
        f"3D U-Net, float32, Adam; batches of {BATCH} random patches of {patch}³ of {SUBJECTS} "
        f"synthetic heads of {shape} voxels. Of augmented volumes torchio_gpu computes the patch "
        f"alone; others cut {PER_VOLUME} patches of each.",
        "of none: share of the rate without augmentation; wait: for a batch, median and mean; "
        "loss: mean of the last four steps; bold: ahead of torchio_gpu, or of its row alike.",
        *(f"{row['title']}: {row['failure']}." for row in rows.values() if "failure" in row),
    ]
    made = table([*head, "steps", "loss"], lines)
    return "\n".join([made, "", *(f"- {note}" for note in notes)])


def chosen(device: str, contenders: Sequence[str], seconds: float, quick: bool) -> records.Result:
    """Measure some contenders, by default those that suit the device."""
    on_cpu = [name for name in CONTENDERS if name != "monai_device"]
    names = contenders or (on_cpu if device == "cpu" else list(CONTENDERS))
    changed: dict[str, Any] = {**(QUICK if quick else {})}
    changed |= {"seconds": seconds} if seconds else {}
    return run(Setup(device, machine.threads(), **changed), names)


main = records.command(
    __doc__,
    chosen,
    text,
    device={},
    contenders={"nargs": "+", "choices": CONTENDERS, "default": [], "help": "default: by device"},
    seconds={"type": float, "default": 0.0, "help": "of each, but for a round it began"},
    quick={"action": "store_true", "help": "a few steps on tiny heads"},
)

if __name__ == "__main__":
    main(None)
