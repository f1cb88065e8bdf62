"""TorchIO 1: one subject at a time, on the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
import torchio as tio
from torch import Tensor

from .. import files as f
from .. import space as s
from .. import tensors as t
from .. import voxels as v
from ..answers import Answer, both, lacks, no, unnamed

NAME, VERSION = "TorchIO", version("torchio")
DISTRIBUTION, PACKAGE = "torchio", "torchio"
if not VERSION.startswith("1."):
    raise ImportError(f"TorchIO 1 is asked for, {VERSION} is installed")

TURN = tio.RandomAffine(scales=0, degrees=10, translation=3)


def turn(degrees: Any, **kwargs: Any) -> tio.Affine:
    """A rotation by given angles."""
    return tio.Affine(scales=1, degrees=degrees, translation=0, **kwargs)


def transforms() -> str:
    names = [n for n in dir(tio) if _is_transform(getattr(tio, n))]
    twins = sum(f"Random{name}" in names for name in names)
    return f"{len(names) - twins}, {twins} of them also with given parameters"


def _is_transform(what: Any) -> bool:
    """A class that can be made: bases are left out."""
    bases = ("Transform", "RandomTransform", "FourierTransform", "SpatialTransform")
    bases += ("IntensityTransform", "LabelTransform", "NormalizationTransform", "BoundsTransform")
    is_one = isinstance(what, type) and issubclass(what, tio.Transform)
    return is_one and what.__name__ not in bases


def batch() -> Answer:
    try:
        return t.batch(TURN)
    except Exception as error:
        return no(f"a batch is refused: {t.reason(error)}")


def device() -> Answer:
    steps = tio.Compose([TURN, tio.RandomElasticDeformation(max_displacement=2), tio.RandomNoise()])
    return t.device(steps, t.noise(1, 16, 16, 16))


def seeds() -> Answer:
    x = t.noise(1, 8, 8, 8)
    subjects = [tio.Subject(image=tio.ScalarImage(tensor=x), n=n) for n in range(4)]
    dataset = tio.SubjectsDataset(subjects, transform=TURN)

    def load(order: Any, size: int) -> dict[int, Tensor]:
        torch.manual_seed(3)
        loader = tio.SubjectsLoader(dataset, batch_size=size, sampler=list(order))
        found = {}
        for subjects in loader:
            found.update(zip(subjects["n"].tolist(), subjects["image"][tio.DATA], strict=True))
        return found

    return t.seeds(load)


def grad_image() -> Answer:
    return t.grad_image(tio.Compose([TURN, tio.RandomGamma()]))


def grad_params() -> Answer:
    return t.grad_params(lambda x, degrees: turn((0, 0, degrees))(x[0])[None])


def compile() -> Answer:
    steps = tio.Compose([TURN, tio.RandomNoise()])
    return t.compiled(lambda x: steps(x * 2) + 1, t.noise(1, 8, 8, 8))


def kernels() -> Answer:
    return lacks("its transforms run on the CPU")


def labels() -> Answer:
    def call(image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        images = {"image": tio.ScalarImage(tensor=image), "mask": tio.LabelMap(tensor=mask)}
        moved = TURN(tio.Subject(images))
        return moved.image.data, moved.mask.data

    return s.labels(call)


def spacing() -> Answer:
    def call(one: Tensor, a: np.ndarray, two: Tensor, b: np.ndarray) -> tuple[Tensor, Tensor]:
        first, second = (tio.ScalarImage(tensor=x, affine=m) for x, m in ((one, a), (two, b)))
        moved = tio.RandomAffine(scales=0, degrees=40)(tio.Subject(one=first, two=second))
        return moved.one.data, moved.two.data

    try:
        return s.spacing(call)
    except RuntimeError as error:
        if "More than one value" not in str(error):
            raise
        return no(f"refused: {t.reason(error)}")


def millimetres() -> Answer:
    step = turn((45, 0, 0), default_pad_value=0)
    return s.millimetres(lambda x, affine: step(tio.ScalarImage(tensor=x, affine=affine)).data)


def anatomy() -> Answer:
    flip = tio.Flip(axes=("LR",))
    return s.anatomy(lambda x, affine: flip(tio.ScalarImage(tensor=x, affine=affine)).data)


def fused() -> Answer:
    move = tio.RandomAffine(scales=0, degrees=20, translation=3)
    bend = tio.RandomElasticDeformation(max_displacement=2)
    flip = tio.RandomFlip(flip_probability=1)
    return s.fused(
        tio.Compose([move, move, flip, bend]),
        tio.Compose([move, move]),
        tio.RandomAffineElasticDeformation(
            affine_kwargs={"scales": 0, "degrees": 20}, elastic_kwargs={"max_displacement": 2}
        ),
    )


def replay() -> Answer:
    def call(x: Tensor) -> tuple[Tensor, Tensor]:
        subject = tio.Subject(image=tio.ScalarImage(tensor=x))
        moved = tio.Compose([TURN, tio.RandomFlip()])(subject)
        return moved.image.data, moved.get_composed_history()(subject).image.data

    return s.replay(call)


def inverse() -> Answer:
    def call(*steps: Any) -> Any:
        def undone(x: Tensor) -> tuple[Tensor, Tensor]:
            moved = tio.Compose(steps)(tio.Subject(image=tio.ScalarImage(tensor=x)))
            return moved.image.data, moved.apply_inverse_transform(warn=False).image.data

        return undone

    flip = tio.RandomFlip(flip_probability=1)
    bend = tio.RandomElasticDeformation(max_displacement=1)
    return s.inverse(call(TURN, flip), call(TURN, flip, bend))


def points() -> Answer:
    return unnamed(dir(tio), "point", "boundingbox")


def planes() -> Answer:
    return s.planes(lambda x: turn((0, 0, 30))(x[..., None])[..., 0])


def dtypes() -> Answer:
    return s.dtypes(lambda x: TURN(tio.LabelMap(tensor=x)).data)


def types() -> Answer:
    calls: dict[str, Any] = dict.fromkeys(("numpy", "SimpleITK", "NiBabel"), TURN)
    calls["dict"] = tio.RandomAffine(include=["image"])
    return f.types(calls)


def files() -> Answer:
    def read(path: Any) -> tuple[Any, Any]:
        image = tio.ScalarImage(path)
        return image.data, image.spacing

    return f.files(read)


def cache() -> Answer:
    return unnamed([*dir(tio), *dir(tio.SubjectsDataset)], "cache", "persist")


def bias() -> Answer:
    return v.bias(tio.RandomBiasField())


def motion() -> Answer:
    return v.motion(tio.RandomMotion(degrees=30, translation=5))


def ghosting() -> Answer:
    ghosts = v.ghosting(tio.RandomGhosting(num_ghosts=(4, 4), intensity=(0.8, 0.8)))
    spikes = v.spikes(tio.RandomSpike(num_spikes=1, intensity=(0.5, 0.5)))
    return both(ghosts, spikes, ("ghosts", "spikes"))


def gibbs() -> Answer:
    return unnamed(dir(tio), "gibbs")


def anisotropy() -> Answer:
    return v.anisotropy(tio.RandomAnisotropy(downsampling=(3, 3)))


def synthesis() -> Answer:
    def call(x: Tensor) -> Tensor:
        made = tio.RandomLabelsToImage(label_key="seg")(tio.Subject(seg=tio.LabelMap(tensor=x)))
        return made["image_from_labels"].data

    return v.synthesis(call)


def ct_window() -> Answer:
    scale = tio.RescaleIntensity((0, 1), in_min_max=(0, 80))
    return v.ct_window(tio.Compose([tio.Clamp(0, 80), scale]))


def dropout() -> Answer:
    return unnamed(dir(tio), "dropout", "cutout", "erasing", "rectangle")


def mixing() -> Answer:
    return unnamed(dir(tio), "mixup", "cutmix")


def regrid() -> Answer:
    def call(x: Tensor, affine: np.ndarray) -> tuple[Tensor, Any]:
        steps = tio.Compose([tio.ToCanonical(), tio.Resample(1)])
        image = steps(tio.ScalarImage(tensor=x, affine=affine))
        return image.data, image.affine

    return v.regrid(call)


def landmarks() -> Answer:
    def call(xs: list[Tensor]) -> list[Tensor]:
        with f.folder() as where:
            paths = [where / f"{number}.nii" for number in range(len(xs))]
            for x, path in zip(xs, paths, strict=True):
                tio.ScalarImage(tensor=x).save(path)
            learnt = tio.HistogramStandardization.train(paths)
        step = tio.HistogramStandardization({"image": learnt})
        return [step(tio.Subject(image=tio.ScalarImage(tensor=x))).image.data for x in xs]

    return v.landmarks(call)


def component() -> Answer:
    return v.component(lambda x: tio.KeepLargestComponent()(tio.LabelMap(tensor=x)).data)


def samplers() -> Answer:
    def of(sampler: Any) -> Any:
        def call(x: Tensor) -> Tensor:
            seg = tio.LabelMap(tensor=x.to(torch.uint8))
            subject = tio.Subject(map=tio.ScalarImage(tensor=x), seg=seg)
            return next(sampler(subject)).map.data

        return call

    kinds = {
        "uniform": tio.UniformSampler(v.SIDE),
        "weighted": tio.WeightedSampler(v.SIDE, "map"),
        "label": tio.LabelSampler(v.SIDE, "seg", label_probabilities={0: 0, 1: 1}),
    }
    return v.samplers({name: of(sampler) for name, sampler in kinds.items()})


def blending() -> Answer:
    def call(x: Tensor, size: int, overlap: int) -> Tensor:
        grid = tio.GridSampler(tio.Subject(image=tio.ScalarImage(tensor=x)), size, overlap)
        aggregator = tio.GridAggregator(grid, overlap_mode="hann")
        for batch in tio.SubjectsLoader(grid, batch_size=4):
            aggregator.add_batch(batch["image"][tio.DATA], batch[tio.LOCATION])
        return aggregator.get_output_tensor()

    return v.blending(call, "Hann weights")


def queue() -> Answer:
    voxels = [torch.full((1, 8, 8, 8), float(n)) for n in range(3)]
    dataset = tio.SubjectsDataset([tio.Subject(image=tio.ScalarImage(tensor=x)) for x in voxels])
    patches = tio.Queue(dataset, 12, 4, tio.UniformSampler(4))

    def each() -> Iterator[Tensor]:
        for batch in tio.SubjectsLoader(patches, batch_size=1):
            yield batch["image"][tio.DATA]

    return v.queue(each())


def windows() -> Answer:
    bend = tio.RandomElasticDeformation(max_displacement=2)
    steps = tio.Compose([TURN, bend, tio.Crop((t.VOLUME - t.PATCH) // 2)])
    return t.windows(lambda: t.noise(1, *(t.VOLUME,) * 3), steps)


def networks() -> Answer:
    return unnamed(dir(tio), "unet", "loss", "dice")
