"""Who makes batches: one function for each contender.

Their transforms are those of the modules in :mod:`benchmarks.versus.peers`; other libraries are
imported where they are used. Workers, where there are some, are as many as cores, with one thread
each. Lists of heads are repeated for those who begin an epoch with empty hands, so that epochs are
long.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, repeat
from math import lcm
from typing import Any

import torch
from torch import Tensor

from ..failure import FailureError
from ..versus import workloads as w
from .setup import Setup

Pair = tuple[Tensor, Tensor]
#: How often a list of heads is repeated.
_EPOCH = 16
BOTH = ("image", "label")


@dataclass(frozen=True)
class Source:
    """Batches without end.

    Args:
        batches: Images, (B, 1, I, J, K) float32, and label maps of the same shape, on the device.
        round: How many batches are prepared at once.
    """

    batches: Iterator[Pair]
    round: int = 1


@dataclass(frozen=True)
class Contender:
    """Someone who makes batches of heads.

    Args:
        title: Name, as in tables.
        augments: What is augmented: 'volume', of which patches are cut or of which they are the
            part that is computed; 'patch', by itself, at the border of which there is nothing to
            move in from outside; or '' for nothing.
        peer: Name of the module in :mod:`benchmarks.versus.peers` that its transforms are in.
        make: A source of batches of the heads, given that module.
        devices: Where it is measured when contenders are not chosen.
    """

    title: str
    augments: str
    peer: str
    make: Callable[[Setup, list[Pair], Any], Source]
    devices: tuple[str, ...] = ("cpu", "cuda")

    def module(self) -> Any:
        """Of its transforms; raises FailureError if its library is not there."""
        try:
            return importlib.import_module(f"benchmarks.versus.peers.{self.peer}")
        except ImportError as error:
            raise FailureError(f"not installed: {error}") from error


def none(setup: Setup, heads: list[Pair], peer: Any) -> Source:
    """Random patches of heads that are kept on the device, as they are."""
    kept = [(image.to(setup.device), label.to(setup.device)) for image, label in heads]
    random = torch.Generator().manual_seed(0)

    def patch() -> Pair:
        head = int(torch.randint(len(kept), (), generator=random))
        first = [int(torch.randint(n - setup.patch + 1, (), generator=random)) for n in setup.shape]
        i, j, k = (slice(a, a + setup.patch) for a in first)
        image, label = (x[:, i, j, k] for x in kept[head])
        return image, label

    def batches() -> Iterator[Pair]:
        while True:
            images, labels = zip(*(patch() for _ in range(setup.batch)), strict=True)
            yield torch.stack(images), torch.stack(labels)

    return Source(batches())


def ours(setup: Setup, heads: list[Pair], peer: Any) -> Source:
    """A DeviceQueue: the voxels of patches are computed, each patch augmented in its own way."""
    import torchio_gpu as tio

    queue = tio.DeviceQueue(
        [tio.Subject(image=tio.ScalarImage(x), label=tio.LabelMap(y)) for x, y in heads],
        tio.UniformSampler(setup.patch),
        peer.PIPE6,
        setup.batch,
        setup.per_volume,
        device=setup.device,
        seed=0,
    )
    return Source(_tensors(chain.from_iterable(repeat(queue))))


def ours_patches(setup: Setup, heads: list[Pair], peer: Any) -> Source:
    """A Queue of patches and a loader; batches are augmented on the device."""
    import torchio_gpu as tio

    queue = tio.Queue(
        [tio.Subject(image=tio.ScalarImage(x), label=tio.LabelMap(y)) for x, y in heads] * _EPOCH,
        tio.UniformSampler(setup.patch),
        patches_per_volume=setup.per_volume,
        max_length=setup.batch * setup.per_volume,
        num_workers=setup.threads,
        seed=0,
    )
    loader = tio.SubjectsLoader(queue, setup.batch, pin_memory=setup.device == "cuda")
    moved = (batch.to(setup.device, non_blocking=True) for batch in _again(loader))
    return Source(_tensors(map(peer.PIPE6, moved)), setup.per_volume)


def torchio1(setup: Setup, heads: list[Pair], peer: Any) -> Source:
    """A Queue whose workers augment volumes; as short as will do, since it is filled as a whole."""
    import torchio as tio

    subjects = [
        tio.Subject(image=tio.ScalarImage(tensor=x), label=tio.LabelMap(tensor=y)) for x, y in heads
    ]
    queue = tio.Queue(
        tio.SubjectsDataset(subjects * _EPOCH, transform=peer.STEPS["pipe6"]),
        max_length=setup.batch * setup.per_volume,
        samples_per_volume=setup.per_volume,
        sampler=tio.UniformSampler(setup.patch),
        num_workers=setup.threads,
    )
    loader = tio.SubjectsLoader(
        queue, batch_size=setup.batch, num_workers=0, pin_memory=setup.device == "cuda"
    )
    batches = (
        tuple(batch[name][tio.DATA].to(setup.device, non_blocking=True) for name in BOTH)
        for batch in _again(loader)
    )
    volumes = lcm(setup.threads, setup.batch)  # when workers and queue are where they were
    return Source(batches, volumes * setup.per_volume // setup.batch)


def monai(augments: str, on_device: bool = False) -> Callable[[Setup, list[Pair], Any], Source]:
    """A CacheDataset, dictionary transforms, and a loader.

    Args:
        augments: 'volume' to augment before patches are cut, 'patch' to do so afterwards, which is
            what users of MONAI often do, since it is cheaper.
        on_device: Keep and augment volumes on the device in a thread, rather than in workers.
    """

    def make(setup: Setup, heads: list[Pair], peer: Any) -> Source:
        from monai import data
        from monai import transforms as m

        bias = (-peer.COEFFICIENT, peer.COEFFICIENT)
        noise = w.NOISE["std"][1]
        augment = [
            *(peer.VOLUMES[name] for name in ("affine", "elastic", "random_flip")),
            m.RandBiasFieldd("image", w.BIAS_FIELD["order"], bias, prob=1),
            m.RandAdjustContrastd("image", 1, peer.STEPS["gamma"].gamma),
            m.RandGaussianNoised("image", 1, std=noise, sample_std=True),
        ]
        size = [setup.patch] * 3
        cut = m.RandSpatialCropSamplesd(BOTH, size, setup.per_volume, random_size=False)
        order = [*augment, cut] if augments == "volume" else [cut, *augment]
        place = setup.device if on_device else "cpu"
        dataset = data.CacheDataset(
            [dict(zip(BOTH, pair, strict=True)) for pair in heads] * _EPOCH,
            m.Compose([m.EnsureTyped(BOTH, device=torch.device(place)), *order]),
            progress=False,
        )
        if on_device:
            loader: Any = data.ThreadDataLoader(dataset, batch_size=1, num_workers=0)
        else:
            loader = data.DataLoader(
                dataset,
                batch_size=1,
                num_workers=setup.threads,
                persistent_workers=True,
                pin_memory=setup.device == "cuda",
                shuffle=True,
            )

        def batches() -> Iterator[Pair]:
            found = _again(loader)  # all patches of a volume, of which a batch takes one
            while True:
                volumes = [next(found) for _ in range(setup.batch)]
                moved = [
                    [volume[name].to(setup.device, non_blocking=True) for volume in volumes]
                    for name in BOTH
                ]
                for n in range(setup.per_volume):
                    image, label = (torch.stack([x[n] for x in each]) for each in moved)
                    yield image, label

        volumes = lcm(1 if on_device else setup.threads, setup.batch)
        return Source(batches(), volumes * setup.per_volume // setup.batch)

    return make


def _again(loader: Iterable[Any]) -> Iterator[Any]:
    """Epoch after epoch."""
    return chain.from_iterable(repeat(loader))


def _tensors(batches: Iterable[Any]) -> Iterator[Pair]:
    return ((batch.image.data, batch.label.data) for batch in batches)


NONE, OURS = "none", "torchio_gpu"
CONTENDERS = {
    NONE: Contender("none", "", "torchio_gpu", none),
    OURS: Contender("torchio_gpu", "volume", "torchio_gpu", ours),
    "torchio_gpu_patches": Contender(
        "torchio_gpu, patches augmented", "patch", "torchio_gpu", ours_patches
    ),
    "torchio1": Contender("TorchIO", "volume", "torchio1", torchio1),
    "monai": Contender("MONAI", "volume", "monai", monai("volume")),
    "monai_patches": Contender("MONAI, patches augmented", "patch", "monai", monai("patch")),
    "monai_device": Contender(
        "MONAI, patches augmented on the device", "patch", "monai", monai("patch", True), ("cuda",)
    ),
}
