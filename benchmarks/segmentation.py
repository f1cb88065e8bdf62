"""Does augmentation help? A toy segmentation: ``python -m benchmarks.segmentation``.

A small 3D U-Net learns the tissues of a few synthetic heads of one contrast, and is asked for those
of other heads, of that contrast and of contrasts and artifacts that it has not seen. It is trained
without augmentation, with TorchIO's and with ours, the same transforms with the same arguments, and
with a recipe that adds random contrasts to ours: for as many steps, and for as long.

Each training has one thread, on which TorchIO, too, augments: its workers would need more cores.
Seconds are those of the process on its core, whatever else the machine does. Contenders take turns,
and see the same heads of a seed in the same order, from the same weights. The recipe was committed
before these seeds were run, its rate and length chosen by how well heads are learned, not others.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import chain, product
from multiprocessing import get_context
from time import process_time
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch
from torch import Tensor
from torch.nn import functional as F

import torchio_gpu as tio

from . import machine, records
from .markdown import table
from .training import unet

SUITE = "segmentation"
SETUP = {"size": 32, "subjects": 4, "held_out": 8, "steps": 450, "seconds": 30.0, "seeds": 5}
QUICK = {"size": 24, "subjects": 4, "held_out": 1, "steps": 2, "seconds": 0.2, "seeds": 2}
BATCH, RATE = 2, 1e-2
#: Mean intensity of air, scalp and skull, grey matter, white matter, ventricles and nuclei.
SEEN = (0.0, 0.45, 0.55, 0.8, 0.2, 0.58)
MEANS = {"other means": (0, 0.3, 0.65, 0.75, 0.4, 0.5), "inverted": (0, 0.3, 0.6, 0.4, 0.9, 0.5)}
CONDITIONS = ("seen contrast", *MEANS, "bias field", "noise", "thick slices")
#: Centre and half axes of what there are two of, in halves of the head.
PAIRED = {4: ((0.17, 0.05, 0.1), (0.15, 0.34, 0.24)), 5: ((0.36, -0.2, -0.1), (0.17, 0.24, 0.2))}
CONTENDERS = ("no augmentation", "TorchIO", "torchio_gpu", "torchio_gpu, random contrasts")
PAIRS = (("torchio_gpu", "TorchIO"), ("torchio_gpu", "no augmentation"), CONTENDERS[:1:-1])
Batches = Iterator[tuple[Tensor, Tensor]]


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
    paint = tio.LabelsToImage("label", MEANS.get(condition, SEEN), 6 * [0.04], "image", seed=seeds)
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


def batches(contender: str, x: Tensor, labels: Tensor, seed: int) -> Batches:
    """Return augmented batches of random heads, without end."""
    torch.manual_seed(seed)  # of the augmentation
    order = torch.Generator().manual_seed(seed)
    library: Any = tio
    if contender == "TorchIO":
        import torchio as library
    steps = recipe(library)[-1:] if contender == "no augmentation" else recipe(library)
    if contender == CONTENDERS[-1]:
        contrast = tio.RandomLabelsToImage("label", range(len(SEEN)), "image", p=0.5)
        steps = [contrast, tio.RandomHistogramShift(p=0.5), *steps]
    pipeline = library.Compose(steps)
    while True:
        n = torch.randint(len(x), (BATCH,), generator=order)
        if library is tio:
            maps = tio.ImagesBatch(labels[n], kind=tio.LABEL)
            batch = pipeline(tio.SubjectsBatch({"image": tio.ImagesBatch(x[n]), "label": maps}))
            yield batch.image.data, batch.label.data
        else:
            image, label = library.ScalarImage, library.LabelMap
            pairs = ((image(tensor=x[m]), label(tensor=labels[m])) for m in n)
            made = [pipeline(library.Subject(image=a, label=b)) for a, b in pairs]
            voxels, maps = zip(*((y.image.data, y.label.data) for y in made), strict=True)
            yield torch.stack(voxels), torch.stack(maps)


def train(made: Batches, seed: int, unit: str, limit: float) -> tuple[Any, dict[str, Any]]:
    """Train for so many steps or seconds; return how many of both it was, too."""
    torch.manual_seed(seed)
    network = unet(8, 3, len(SEEN)).to(memory_format=torch.channels_last_3d)
    optimizer = torch.optim.Adam(network.parameters())
    next(made)  # caches are filled, and kernels compiled, before the clock starts
    done, start = {"steps": 0, "seconds": 0.0}, process_time()
    while (share := done[unit] / limit) < 1:
        image, label = next(made)
        optimizer.param_groups[0]["lr"] = RATE * (1 - share)
        logits, label = network(image), label[:, 0].long()
        true, found = F.one_hot(label, len(SEEN)).movedim(-1, 1), logits.softmax(1)
        overlap = 2 * (true * found).sum((0, 2, 3, 4)) / (true + found).sum((0, 2, 3, 4))
        loss = F.cross_entropy(logits, label) + 1 - overlap.mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        done = {"steps": done["steps"] + 1, "seconds": round(process_time() - start, 2)}
    return network, done


@torch.no_grad()
def dice(network: Callable[[Tensor], Tensor], x: Tensor, labels: Tensor) -> float:
    """Return the mean Dice of all tissues of all heads."""
    found = torch.cat([network(tio.ZNormalization()(each[None])) for each in x]).argmax(1)
    both = torch.stack([found, labels[:, 0]])[..., None] == torch.arange(1, len(SEEN))
    found, true = both.flatten(2, 4).float()  # [B, voxels, tissues]
    return round(float((2 * (found * true).sum(1) / (found + true).sum(1)).mean()), 4)


def measure(setup: dict[str, Any], task: tuple[int, str]) -> list[dict[str, Any]]:
    """Train all contenders with a seed, one after another; return the Dice of each condition."""
    torch.set_num_threads(1)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    (seed, unit), known = task, setup["subjects"]
    labels = label_maps(setup["size"], known + setup["held_out"], seed)
    x = images(labels[:known], CONDITIONS[0], seed)
    tests = {name: images(labels[known:], name, 1000 + seed) for name in CONDITIONS}
    rows = []
    for contender in CONTENDERS:
        network, done = train(batches(contender, x, labels[:known], seed), seed, unit, setup[unit])
        found = {name: dice(network, test, labels[known:]) for name, test in tests.items()}
        rows.append({"seed": seed, "contender": contender, "equal": unit, **done, "dice": found})
        print(*rows[-1].values(), file=sys.stderr, flush=True)
    return rows


def run(setup: dict[str, Any]) -> records.Result:
    """Measure all seeds, as many at a time as there are cores."""
    result = {**records.stamp(SUITE, "cpu", 1), "setup": setup}
    tasks = product(range(100, 100 + setup["seeds"]), ("steps", "seconds"))
    with ProcessPoolExecutor(machine.threads(), get_context("spawn")) as pool:
        rows = chain.from_iterable(pool.map(partial(measure, setup), tasks))
        return {**result, "rows": list(rows)}


def text(result: records.Result) -> str:
    """Return what was found, and tables of Dice and of differences by seed."""
    setup, parts, found = result["setup"], [], []
    for unit in ("steps", "seconds"):
        scores, steps = {}, {}
        for name in CONTENDERS:
            rows = [r for r in result["rows"] if (r["equal"], r["contender"]) == (unit, name)]
            dice = np.array([[row["dice"][each] for each in CONDITIONS] for row in rows])
            scores[name] = np.c_[dice, dice[:, 1:].mean(1)]  # [seeds, columns]
            steps[name] = f"{np.mean([row['steps'] for row in rows]):.0f}"
        lines = [[name, steps[name], *_spreads(x, "")] for name, x in scores.items()]
        for a, b in PAIRS:
            lines.append([f"{a} - {b}", "", *_spreads(scores[a] - scores[b], "+")])
            found.append(f"{lines[-1][0]} {lines[-1][-1]} after {setup[unit]:g} {unit}")
        head = [f"Dice after {setup[unit]:g} {unit}", "steps", *CONDITIONS, "all unseen"]
        parts.append(table(head, lines))
    about = (
        f"{setup['subjects']} heads of {setup['size']}³ voxels and one contrast to learn from, "
        f"{setup['held_out']} other heads of each condition; mean and standard deviation over "
        f"{setup['seeds']} seeds. Each training has one thread, and seconds are those of the CPU. "
        "Random contrasts are RandomLabelsToImage, which TorchIO has too, and RandomHistogramShift."
    )
    sentence = f"Found, in Dice on what was not seen: {'; '.join(found)}."
    return "\n\n".join([sentence, *parts, about, records.origin(result)])


def _spreads(scores: np.ndarray, sign: str) -> list[str]:
    spread = zip(scores.mean(0), scores.std(0, ddof=1), strict=True)
    return [f"{mean:{sign}.3f} ± {std:.3f}" for mean, std in spread]


quick = {"action": "store_true", "help": "a few steps on tiny heads"}
main = records.command(__doc__, lambda quick: run(QUICK if quick else SETUP), text, quick=quick)

if __name__ == "__main__":
    main(None)
