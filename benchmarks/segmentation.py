"""Does augmentation help? A toy segmentation: ``python -m benchmarks.segmentation``.

A small 3D U-Net learns the tissues of a few synthetic heads of one contrast, and is asked for those
of other heads: of that contrast, and of contrasts and artifacts that it has not seen. It is trained
without augmentation, with TorchIO's and with ours, which are the same transforms with the same
arguments, and with a recipe that adds random contrasts to ours: for as many steps, and for as long.

Each training has one core and one thread, on which TorchIO, too, augments: workers would need other
cores. Seconds are those of the process on its core, so that what else the machine does is not
counted. All begin with the same weights and see the heads in the same order; contenders take turns,
seed by seed. A seed decides the heads, the weights, the order and the augmentation. The recipe was
committed before any held-out head was looked at; learning rate and number of steps were chosen by
how well the network without augmentation learns its own heads.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean, stdev
from time import process_time
from typing import Any

import SimpleITK as sitk
import torch
from torch import Tensor
from torch.nn import functional as F

import torchio_gpu as tio

from . import machine, records
from .markdown import table
from .training.network import UNet

SUITE = "segmentation"
#: Mean intensity of air, scalp and skull, grey matter, white matter, ventricles and nuclei.
SEEN = (0.0, 0.45, 0.55, 0.8, 0.2, 0.58)
#: Centre and half axes of what there are two of, in halves of the head.
PAIRED = {4: ((0.17, 0.05, 0.1), (0.15, 0.34, 0.24)), 5: ((0.36, -0.2, -0.1), (0.17, 0.24, 0.2))}
CONDITIONS = ("seen contrast", "other means", "inverted", "bias field", "noise", "thick slices")
MEANS = {
    "other means": (0.0, 0.3, 0.65, 0.75, 0.4, 0.5),
    "inverted": (0.0, 0.3, 0.6, 0.4, 0.9, 0.5),
}
CONTENDERS = {
    "none": "no augmentation",
    "torchio1": "TorchIO",
    "torchio_gpu": "torchio_gpu",
    "synthesis": "torchio_gpu, another recipe",
}
COMPARISONS = ("steps", "seconds")
PAIRS = (("torchio_gpu", "torchio1"), ("torchio_gpu", "none"), ("synthesis", "torchio_gpu"))
Batches = Iterator[tuple[Tensor, Tensor]]


#: Sizes in voxels, numbers of heads to learn from and of each condition, and lengths of training.
SETUP = {"size": 32, "subjects": 4, "held_out": 8, "batch": 2, "width": 8, "levels": 3}
SETUP |= {"rate": 1e-2, "steps": 250, "seconds": 15.0, "seeds": 5}
QUICK = {**SETUP, "size": 24, "held_out": 1, "width": 4, "steps": 2, "seconds": 0.2, "seeds": 2}
Setup = dict[str, Any]


def label_maps(size: int, count: int, seed: int) -> Tensor:
    """Return heads whose tissues differ in place, size and shape, [B, 1, I, J, K] uint8."""
    random = torch.Generator().manual_seed(seed)
    place = torch.stack(torch.meshgrid(*[torch.linspace(-1, 1, size)] * 3, indexing="ij"), -1)
    heads = torch.zeros(count, 1, size, size, size, dtype=torch.uint8)
    for (head,) in heads:
        u = torch.rand(6, 3, generator=random)
        at = (place - 0.2 * (u[0] - 0.5)) / (0.7 + 0.25 * u[1])
        waves = torch.randn(1, 3, 6, 6, 6, generator=random)
        waves = F.interpolate(waves, head.shape, mode="trilinear", align_corners=True)[0]
        radius = at.norm(dim=-1)
        for label, (largest, wave) in enumerate(((1, 0.04), (0.82, 0.05), (0.6, 0.1)), 1):
            head[radius + wave * waves[label - 1] < largest] = label
        at[..., 0].abs_()  # ventricles and nuclei come in pairs
        for label, (middle, half) in PAIRED.items():
            centre = torch.tensor(middle) + 0.1 * (u[2 * label - 6] - 0.5)
            axes = torch.tensor(half) * (0.8 + 0.4 * u[2 * label - 5].mean())
            head[((at - centre) / axes).norm(dim=-1) < 1] = label
    return heads


def images(labels: Tensor, condition: str, seed: int) -> Tensor:
    """Return images [B, 1, I, J, K] of label maps, made by the synthesis of this library."""
    random = torch.Generator().manual_seed(seed)
    seeds = torch.randint(2**62, (len(labels),), generator=random).numpy()
    means = MEANS.get(condition, SEEN)
    paint = tio.LabelsToImage("label", means, [0.04] * len(means), "image", seed=seeds)
    batch = tio.SubjectsBatch({"label": tio.ImagesBatch(labels, kind=tio.LABEL)})
    x: Tensor = tio.Blur(0.6)(paint(batch)).image.data  # partial volumes at the borders
    if condition == "bias field":
        field = torch.randn(len(x), 1, 3, 3, 3, generator=random)
        x = x * F.interpolate(0.5 * field, x.shape[2:], mode="trilinear", align_corners=True).exp()
    if condition == "noise":
        x = x + 0.15 * torch.randn(x.shape, generator=random)
    if condition == "thick slices":
        x = F.interpolate(F.avg_pool3d(x, (1, 1, 4)), x.shape[2:], mode="trilinear")
    return x


def recipe(library: Any) -> list[Any]:
    """Return the transforms that both libraries have, with the same arguments."""
    return [
        library.RandomFlip(axes=0),
        library.RandomAffine(scales=0.15, degrees=15, translation=2),
        library.RandomElasticDeformation(num_control_points=6, max_displacement=3),
        library.RandomBlur(std=(0, 1), p=0.25),
        library.RandomAnisotropy(downsampling=(1.5, 4), p=0.25),
        library.RandomBiasField(coefficients=0.5, p=0.5),
        library.RandomGamma(log_gamma=0.3),
        library.RandomNoise(std=(0, 0.15), p=0.5),
        library.ZNormalization(),
    ]


def batches(contender: str, x: Tensor, labels: Tensor, size: int, seed: int) -> Batches:
    """Return augmented batches of random heads, without end."""
    torch.manual_seed(seed)  # of the augmentation
    order = torch.Generator().manual_seed(seed)
    library: Any = tio
    if contender == "torchio1":
        import torchio as library  # type: ignore[no-redef]
    steps = recipe(library)[-1:] if contender == "none" else recipe(library)
    if contender == "synthesis":
        contrast = tio.RandomLabelsToImage("label", range(len(SEEN)), "image", p=0.5)
        steps = [contrast, tio.RandomHistogramShift(p=0.5), *steps]
    pipeline = library.Compose(steps)
    while True:
        n = torch.randint(len(x), (size,), generator=order)
        if library is tio:
            maps = tio.ImagesBatch(labels[n], kind=tio.LABEL)
            batch = pipeline(tio.SubjectsBatch({"image": tio.ImagesBatch(x[n]), "label": maps}))
            yield batch.image.data, batch.label.data
        else:
            image, label = library.ScalarImage, library.LabelMap
            made = [
                pipeline(library.Subject(image=image(tensor=a), label=label(tensor=b)))
                for a, b in zip(x[n], labels[n], strict=True)
            ]
            image, label = (
                torch.stack([y[name].data for y in made]) for name in ("image", "label")
            )
            yield image, label


def train(setup: Setup, made: Batches, seed: int, comparison: str) -> tuple[UNet, dict[str, float]]:
    """Train until all steps are done or the time is over; return what was done as well."""
    torch.manual_seed(seed)
    network = UNet(setup["width"], setup["levels"], len(SEEN))
    optimizer = torch.optim.Adam(network.parameters())
    next(made)  # caches are filled, and kernels compiled, before the clock starts
    done, start = {"steps": 0, "seconds": 0.0}, process_time()
    while (share := done[comparison] / setup[comparison]) < 1:
        image, label = next(made)
        optimizer.param_groups[0]["lr"] = setup["rate"] * (1 - share)
        logits, label = network(image), label[:, 0].long()
        true, found = one_hot(label), logits.softmax(1)
        overlap = 2 * (true * found).sum((0, 2, 3, 4)) / (true + found).sum((0, 2, 3, 4))
        loss = F.cross_entropy(logits, label) + 1 - overlap.mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        done = {"steps": done["steps"] + 1, "seconds": process_time() - start}
    return network, done


def one_hot(label: Tensor) -> Tensor:
    return F.one_hot(label, len(SEEN)).movedim(-1, 1).float()


@torch.no_grad()
def dice(network: Callable[[Tensor], Tensor], x: Tensor, labels: Tensor) -> float:
    """Return the mean Dice of all tissues of all heads."""
    made = torch.cat([network(tio.ZNormalization()(each[None])) for each in x]).argmax(1)
    found, true = (one_hot(each)[:, 1:].flatten(2) for each in (made, labels[:, 0].long()))
    return float((2 * (found * true).sum(2) / (found.sum(2) + true.sum(2))).mean())


def measure(setup: Setup, seed: int) -> list[dict[str, Any]]:
    """Train all contenders with a seed, one after another; return the Dice of each condition."""
    torch.set_num_threads(1)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    labels = label_maps(setup["size"], setup["subjects"] + setup["held_out"], seed)
    known, unknown = labels[: setup["subjects"]], labels[setup["subjects"] :]
    x = images(known, CONDITIONS[0], seed)
    tests = {name: images(unknown, name, 1000 + seed) for name in CONDITIONS}
    rows = []
    for comparison, contender in product(COMPARISONS, CONTENDERS):
        made = batches(contender, x, known, setup["batch"], seed)
        network, done = train(setup, made, seed, comparison)
        found = {name: round(dice(network, test, unknown), 4) for name, test in tests.items()}
        rows.append({"seed": seed, "contender": contender, "comparison": comparison, **done})
        rows[-1] |= {"seconds": round(done["seconds"], 2), "dice": found}
        print(*rows[-1].values(), file=sys.stderr, flush=True)
    return rows


def run(setup: Setup) -> records.Result:
    """Measure all seeds, as many at a time as there are cores."""
    result = {**records.stamp(SUITE, "cpu", 1), "setup": setup}
    with ProcessPoolExecutor(machine.threads(), get_context("spawn")) as pool:
        found = pool.map(partial(measure, setup), range(setup["seeds"]))
        return {**result, "rows": [row for rows in found for row in rows]}


def text(result: records.Result) -> str:
    """Return tables of Dice and of paired differences, for as many steps and for as long."""
    setup, seen, unseen = result["setup"], CONDITIONS[:1], CONDITIONS[1:]
    columns = {**{name: (name,) for name in CONDITIONS}, "all unseen": unseen}

    def scores(contender: str, comparison: str, conditions: Sequence[str]) -> list[float]:
        """Return the mean Dice of each seed."""
        return [
            fmean(row["dice"][name] for name in conditions)
            for row in result["rows"]
            if (row["contender"], row["comparison"]) == (contender, comparison)
        ]

    def gain(pair: tuple[str, str], comparison: str, conditions: Sequence[str]) -> str:
        ours, theirs = (scores(contender, comparison, conditions) for contender in pair)
        each = [a - b for a, b in zip(ours, theirs, strict=True)]
        return f"{fmean(each):+.3f} ± {stdev(each):.3f}"

    parts, said = [], []
    lengths = {"steps": f"{setup['steps']} steps", "seconds": f"{setup['seconds']:g} s"}
    for comparison, length in lengths.items():
        lines = []
        for contender, title in CONTENDERS.items():
            steps = [
                row["steps"]
                for row in result["rows"]
                if (row["contender"], row["comparison"]) == (contender, comparison)
            ]
            cells = [scores(contender, comparison, names) for names in columns.values()]
            spread = [f"{fmean(each):.3f} ± {stdev(each):.3f}" for each in cells]
            lines.append([title, f"{fmean(steps):.0f}", *spread])
        for pair in PAIRS:
            title = " - ".join(CONTENDERS[contender] for contender in pair)
            cells = [gain(pair, comparison, names) for names in columns.values()]
            lines.append([title, "", *cells])
        parts.append(table([f"Dice after {length}", "steps", *columns], lines))
        of = [gain(PAIRS[0], comparison, names) for names in (seen, unseen)]
        more = [gain(pair, comparison, unseen) for pair in PAIRS[1:]]
        said.append(
            f"after {length} the Dice of torchio_gpu less that of TorchIO is {of[0]} on the "
            f"contrast that was seen and {of[1]} on those unseen, where it gains {more[0]} on no "
            f"augmentation, and its recipe with random contrasts {more[1]} on torchio_gpu's other"
        )
    about = (
        f"{setup['subjects']} heads of {setup['size']}³ voxels and one contrast to learn from, "
        f"{setup['held_out']} other heads of each condition; mean and standard deviation over "
        f"{setup['seeds']} seeds, of differences over the differences by seed. One thread each, "
        "on which TorchIO and torchio_gpu augment with the same transforms and arguments. The "
        "other recipe adds RandomLabelsToImage, which TorchIO has too, and RandomHistogramShift."
    )
    sentence = "Found: " + "; ".join(said) + "."
    return "\n\n".join([sentence, *parts, about, records.origin(result)])


def main() -> None:
    """Run, print the tables, and keep the result."""
    p = argparse.ArgumentParser(prog="python -m benchmarks.segmentation", description=__doc__)
    p.add_argument("--quick", action="store_true", help="a few steps on tiny heads")
    p.add_argument("--output", type=Path, help="JSON file; by default in benchmarks/results")
    given = p.parse_args()
    result = run(QUICK if given.quick else SETUP)
    print(text(result))
    records.write(result, given.output or (None if given.quick else records.path(result)))


if __name__ == "__main__":
    main()
