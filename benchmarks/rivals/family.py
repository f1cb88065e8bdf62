"""The libraries that share TorchIO's data model: adapters, and operations that all of them have."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import workloads as w
from ..checks.data import SIDE
from ..checks.tensors import PATCH, VOLUME
from . import Op, by_size, noise

#: Names of label maps.
LABELS = ("label", "seg")
LPI, RAW = np.array(w.LPI, float), np.array(w.RAW, float)


def around(centre: float, **half: float) -> dict[str, tuple[float, float]]:
    """Ranges, of half-widths, which mean the same in all versions: single numbers do not."""
    return {name: (float(centre - h), float(centre + h)) for name, h in half.items()}


AFFINE = {
    **around(1, scales=w.AFFINE["scales"]),
    **around(0, degrees=w.AFFINE["degrees"], translation=w.AFFINE["translation"]),
}
MOTION = w.MOTION | around(0, degrees=w.MOTION["degrees"], translation=w.MOTION["translation"])
STILL: dict[str, Any] = {"scales": (1, 1), "translation": (0, 0)}
SMALL = {**STILL, **around(0, degrees=10, translation=3)}
LARGER = {**STILL, **around(0, degrees=20, translation=3)}


class Family:
    """Operations on images, subjects and files; a library overrides what it does in another way.

    Args:
        tio: The library, in the words of TorchIO 1.
    """

    #: What holds batches of images, and the method of an aggregator that returns the volume.
    together, finish = "SubjectsBatch", "get_output"
    #: The library's own batch, of a tensor (B, C, I, J, K), an affine and a name.
    batch: Callable[..., Any]

    def __init__(self, tio: Any) -> None:
        self.tio = tio
        self.steps: dict[str, Any] = {
            "affine": tio.RandomAffine(**AFFINE),
            "elastic": tio.RandomElasticDeformation(**w.ELASTIC),
            "affine_elastic": tio.RandomAffineElasticDeformation(
                affine_kwargs=AFFINE, elastic_kwargs=w.ELASTIC
            ),
            "random_flip": tio.RandomFlip(**w.RANDOM_FLIP),
            "bias_field": tio.RandomBiasField(**w.BIAS_FIELD),
            "gamma": tio.RandomGamma(**w.GAMMA),
            "noise": tio.RandomNoise(**w.NOISE),
        }
        self.steps["pipe6"] = tio.Compose([self.steps[name] for name in w.PIPE6])
        self.turn = tio.RandomAffine(**SMALL)
        self.bend = tio.RandomElasticDeformation(max_displacement=1)
        self.flip = tio.RandomFlip(flip_probability=1)
        self.grid = [tio.ToCanonical(), tio.Resample(1), tio.CropOrPad(w.PREP6_SHAPE)]

    def image(self, x: Tensor, affine: Any = None, name: str = "image") -> Any:
        """An image (C, I, J, K); a label map, where its name says so."""
        kind = self.tio.LabelMap if name in LABELS else self.tio.ScalarImage
        return kind(x, affine=affine)

    def subject(self, affine: Any = None, **images: Tensor) -> Any:
        """Images of the same affine."""
        return self.tio.Subject(**{n: self.image(x, affine, n) for n, x in images.items()})

    def subjects(self, voxels: list[Tensor]) -> list[Any]:
        """Return a subject of each image, numbered."""
        return [self.tio.Subject(image=self.image(x), n=n) for n, x in enumerate(voxels)]

    def run(self, step: Any) -> Op:
        """Operation on a batch of images."""
        return step

    def of(self, step: Any, *given: str, made: tuple[str, ...] = (), affine: Any = None) -> Op:
        """Operation on batches of these names, which returns those of `made`, or the same."""

        def op(*xs: Tensor) -> Any:
            images = {n: self.batch(x, affine, n) for n, x in zip(given, xs, strict=True)}
            moved = step(getattr(self.tio, self.together)(images))
            found = tuple(getattr(moved, name).data for name in made or given)
            return found if len(found) > 1 else found[0]

        return op

    def raw(self, steps: Any) -> Op:
        """Operation on the raw subject, which returns its image."""
        return lambda image, label: steps(self.subject(RAW, image=image, label=label)).image.data

    def original(self, image: Tensor, label: Tensor) -> Tensor:
        """The raw subject on its grid again; resampling has no inverse."""
        given = self.subject(RAW, image=image, label=label)
        prepared = self.tio.Compose(self.grid)(given)
        return self.tio.Resample(given.image)(prepared.image).data

    def world(self, step: Any) -> Op:
        """Operation on an image and its affine."""

        def op(x: Tensor, affine: np.ndarray) -> tuple[Tensor, Any]:
            image = step(self.image(x, affine))
            found = image.affine
            return image.data, found if isinstance(found, np.ndarray) else found.data

        return op

    def spacing(self, one: Tensor, a: np.ndarray, two: Tensor, b: np.ndarray) -> Any:
        """Two images, each with its affine."""
        step = self.tio.RandomAffine(**{**STILL, "degrees": (-40, 40)})
        moved = step(self.tio.Subject(one=self.image(one, a), two=self.image(two, b)))
        return moved.one.data, moved.two.data

    def undone(self, *steps: Any) -> Op:
        """Operation that moves an image, and moves it back."""

        def op(x: Tensor) -> tuple[Tensor, Tensor]:
            moved = self.tio.Compose(steps)(self.subject(image=x))
            return moved.image.data, moved.apply_inverse_transform().image.data

        return op

    def replayed(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """An image that is moved, and moved again by the history of it."""
        given = self.subject(image=x)
        moved = self.tio.Compose([self.turn, self.tio.RandomFlip()])(given)
        return moved.image.data, moved.get_composed_history()(given).image.data

    def points(self, x: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        """Points of an image, in voxels."""
        cloud = self.tio.Points(places, axes="IJK", affine=np.eye(4))
        moved = self.turn(self.tio.Subject(image=self.image(x), cloud=cloud))
        return moved.image.data, moved["cloud"].data

    def read(self, path: Any) -> tuple[Any, Any]:
        """Read voxels and spacing of a file."""
        image = self.tio.ScalarImage(path)
        return image.data, image.spacing

    def rotation(self, degrees: Any, **kwargs: Any) -> Any:
        """A rotation by given angles about the axes of the world."""
        return self.tio.Affine(scales=1, degrees=degrees, translation=0, **kwargs)

    def patches(self, kind: str, subject: Any, number: int, *args: Any) -> Iterable[Any]:
        """Random patches of a subject, by a sampler of this kind."""
        return getattr(self.tio, f"{kind}Sampler")(subject, *args)(subject, number)

    def sampled(self, kind: str, *args: Any) -> Op:
        """Operation that cuts a patch out of a map, which is a label map as well."""

        def op(x: Tensor) -> Tensor:
            given = self.subject(map=x, seg=x.byte())
            return next(iter(self.patches(kind, given, 1, SIDE, *args))).map.data

        return op

    def from_volume(self, number: int) -> Op:
        """Patches of one volume, augmented once."""

        def op(image: Tensor, label: Tensor) -> Tensor:
            volume = self.steps["pipe6"](self.subject(image=image, label=label))
            patches = self.patches("Uniform", volume, number, w.training_patch(image.shape[1:]))
            return torch.stack([patch.image.data for patch in patches]).to(image.device)

        return op

    def queue(self, voxels: list[Tensor]) -> Any:
        """Patches of several subjects."""
        subjects = self.subjects(voxels)
        how = {"max_length": 12, "patches_per_volume": 4}
        patches = self.tio.Queue(subjects, self.tio.UniformSampler(subjects[0], 4), **how)
        return (patch.image.data for patch in patches)

    def landmarks(self, learn: Callable[[list[Any]], Any], xs: list[Tensor]) -> list[Tensor]:
        """Images that are standardized by what is learnt from them."""
        images = [self.image(x) for x in xs]
        step = self.tio.HistogramStandardization(learn(images))
        return [step(self.tio.Subject(image=image)).image.data for image in images]

    def load(self, order: Any, size: int, **more: Any) -> dict[int, Tensor]:
        """Samples by number, from a loader in this order."""
        subjects = self.subjects([noise(1, 8, 8, 8)] * 4)
        torch.manual_seed(3)
        found: dict[int, Tensor] = {}
        loader = self.tio.SubjectsLoader(subjects, batch_size=size, sampler=list(order), **more)
        for batch in loader:
            found.update(zip(batch.metadata["n"], self.turn(batch).image.data, strict=True))
        return found

    def aggregator(self, size: w.Triple) -> Any:
        """Return an aggregator for a volume of this size, with Hann weights."""
        return self.tio.PatchAggregator(size, overlap_mode="hann")

    def place(self, corners: Tensor) -> Any:
        """Return places of patches in the form that an aggregator takes."""
        return corners

    def piece(self, batch: Any) -> tuple[Tensor, Any]:
        """Patches that a loader of a grid gives, and where they lie."""
        return batch.image.data, batch.metadata["patch_location"]

    def stitched(self, size: Iterable[int], patches: Iterable[tuple[Tensor, Any]]) -> Tensor:
        """The volume (1, C, I, J, K) that is made of batches of patches."""
        i, j, k = size
        aggregator = self.aggregator((i, j, k))
        for batch, where in patches:
            aggregator.add_batch(batch, where)
        return getattr(aggregator, self.finish)()[None].to(batch.device)

    def aggregate(self, patches: Tensor, corners: Tensor) -> Tensor:
        """The volume of patches that a network hands out, some at once."""
        some = zip(patches.split(w.AT_ONCE), corners.split(w.AT_ONCE), strict=True)
        size = corners[:, 3:].amax(0).tolist()
        return self.stitched(size, ((batch, self.place(where)) for batch, where in some))

    def infer_hann(self, x: Tensor) -> Tensor:
        """The volume of patches that a loader cuts out of it on the CPU."""
        volume, size = self.subject(image=x[0].cpu()), x.shape[2:]
        sampler = self.tio.GridSampler(volume, *w.patch_and_overlap(size))
        loader = self.tio.SubjectsLoader(sampler, batch_size=w.AT_ONCE)
        pieces = map(self.piece, loader)
        return self.stitched(size, ((batch.to(x.device), where) for batch, where in pieces))

    def window(self, x: Tensor) -> Op:
        """The middle of a volume that is moved and bent."""
        cut = self.tio.Crop(cropping=(VOLUME - PATCH) // 2)
        return lambda: self.tio.Compose([self.turn, self.bend, cut])(x)

    def ops(self) -> dict[str, Any]:
        """Return the operations that all of them offer."""
        tio, steps, run, of = self.tio, self.steps, self.run, self.of
        turn, bend, flip, grid = self.turn, self.bend, self.flip, self.grid
        move, normal = tio.RandomAffine(**LARGER), tio.ZNormalization(masking_method="label")
        synthesis = tio.RandomLabelsToImage(**w.LABELS_TO_IMAGE, image_key="made")
        both = tio.RandomAffineElasticDeformation(affine_kwargs=LARGER, elastic_kwargs=w.ELASTIC)
        prepared = [*grid, normal, steps["affine"], steps["elastic"]]
        return {
            **{name: run(step) for name, step in steps.items()},
            "flip": run(tio.RandomFlip(**w.FLIP)),
            "motion": run(tio.RandomMotion(**MOTION)),
            "spike": run(tio.RandomSpike(**w.SPIKE)),
            "blur": run(tio.RandomBlur(**w.BLUR)),
            "anisotropy": run(tio.RandomAnisotropy(**w.ANISOTROPY)),
            "ghosting": by_size(lambda size: run(tio.RandomGhosting(**w.ghosting(size)))),
            "swap": by_size(lambda size: run(tio.RandomSwap(**w.swap(size)))),
            "with_labels": of(steps["affine_elastic"], "image", "label"),
            "labels_to_image": of(synthesis, "seg", made=("made",)),
            "resample": run(tio.Resample(w.SPACING)),
            "crop_or_pad": by_size(lambda size: run(tio.CropOrPad(w.crop_or_pad(size)))),
            "to_canonical": of(grid[0], "image", affine=LPI),
            "z_normalization": run(tio.ZNormalization()),
            "remap_labels": of(tio.RemapLabels(w.REMAPPING), "seg"),
            "largest_component": of(tio.KeepLargestComponent(), "seg"),
            "prep6": self.raw(tio.Compose(prepared)),
            "infer_original": self.original,
            "one_patch": self.from_volume(1),
            "four_patches": self.from_volume(4),
            "aggregate": self.aggregate,
            "infer_hann": self.infer_hann,
            "batch": turn,
            "seeds": self.load,
            "device": run(tio.Compose([turn, bend, tio.RandomNoise()])),
            "grad_image": run(tio.Compose([turn, tio.RandomGamma(**w.GAMMA)])),
            "compile": run(tio.Compose([turn, tio.RandomNoise()])),
            "spacing": self.spacing,
            "millimetres": self.world(self.rotation((45, 0, 0), default_pad_value=0)),
            "anatomy": self.world(tio.Flip(axes=("LR",))),
            "regrid": self.world(tio.Compose(grid[:2])),
            "fused": {
                "all": run(tio.Compose([move, move, flip, bend])),
                "affines composed": run(tio.Compose([move, move])),
                "an affine with an elastic step in one class": run(both),
            },
            "replay": self.replayed,
            "inverse": {
                "affines": self.undone(turn, flip),
                "elastic_ones": self.undone(turn, flip, bend),
            },
            "planes": lambda x: self.rotation((0, 0, 30))(x[..., None])[..., 0],
            "dtypes": lambda x: turn(self.image(x, name="label")).data,
            "types": dict.fromkeys(("numpy", "SimpleITK", "NiBabel", "dict"), turn),
            "files": self.read,
            "samplers": {
                "uniform": self.sampled("Uniform"),
                "weighted": self.sampled("Weighted", "map"),
                "label": self.sampled("Label", "seg", {0: 0, 1: 1}),
            },
            "queue": self.queue,
            "windows": {"elastic_ones": self.window},
        }
