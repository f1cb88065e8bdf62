"""TorchIO 2: batches of tensors, parameters of their own for each sample."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import numpy as np
import torch
import torchio as tio
from torch import Tensor
from torchio.transforms.intensity.histogram_standardization import compute_histogram_landmarks

from .. import files as f
from .. import space as s
from .. import tensors as t
from .. import voxels as v
from ..answers import Answer, both, lacks, no, partly, unnamed, yes

NAME, VERSION = "TorchIO", version("torchio")
DISTRIBUTION, PACKAGE = "torchio", "torchio"
if not VERSION.startswith("2."):
    raise ImportError(f"TorchIO 2 is asked for, {VERSION} is installed")

# A single number is a constant; parameters are drawn from ranges.
TURN = tio.Affine(degrees=(-10.0, 10.0), translation=(-3.0, 3.0), default_pad_value=0)
BEND = tio.ElasticDeformation(max_displacement=2)


def transforms() -> str:
    bases = (tio.Transform, tio.SpatialTransform, tio.IntensityTransform)
    classes = {c for c in (getattr(tio, name) for name in tio.__all__) if isinstance(c, type)}
    return str(sum(issubclass(c, tio.Transform) and c not in bases for c in classes))


def batched(transform: Any) -> Any:
    """A transform as a function of a tensor (B, C, I, J, K)."""

    def call(x: Tensor) -> Tensor:
        return transform(tio.ImagesBatch(x, [tio.AffineMatrix() for _ in x])).data

    return call


def batch() -> Answer:
    return t.batch(batched(TURN))


def device() -> Answer:
    steps = tio.Compose([TURN, BEND, tio.Noise()])
    return t.device(batched(steps), t.noise(2, 1, 16, 16, 16))


def seeds() -> Answer:
    x = t.noise(1, 8, 8, 8)
    subjects = [tio.Subject(image=tio.ScalarImage(x), n=n) for n in range(4)]

    def load(order: Any, size: int) -> dict[int, Tensor]:
        torch.manual_seed(3)
        loader = tio.SubjectsLoader(subjects, batch_size=size, sampler=list(order))
        found = {}
        for batch in loader:
            found.update(zip(batch.metadata["n"], TURN(batch).image.data, strict=True))
        return found

    return t.seeds(load)


def grad_image() -> Answer:
    def steps(copy: bool) -> Any:
        turn = tio.Affine(degrees=(-10.0, 10.0), copy=copy)
        gamma = tio.Gamma(log_gamma=(-0.3, 0.3), copy=copy)
        return batched(tio.Compose([turn, gamma], copy=copy))

    answer = t.grad_image(steps(copy=True), 1)
    if answer.outcome == "yes":
        return answer
    answer = t.grad_image(steps(copy=False), 1)
    return yes("with `copy=False` only") if answer.outcome == "yes" else answer


def grad_params() -> Answer:
    def call(x: Tensor, degrees: Tensor) -> Tensor:
        return batched(tio.Affine(degrees=(0.0, 0.0, degrees)))(x)

    return t.grad_params(call)


def compile() -> Answer:
    steps = tio.Compose([TURN, tio.Noise()])
    return t.compiled(lambda x: steps(x * 2) + 1, t.noise(1, 8, 8, 8))


def graphs() -> Answer:
    return unnamed(tio.__all__, "graph", "captur")


def kernels() -> Answer:
    return lacks("torch's own kernels")


def labels() -> Answer:
    def call(image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        moved = TURN(tio.Subject(image=tio.ScalarImage(image), mask=tio.LabelMap(mask)))
        return moved.image.data, moved.mask.data

    return s.labels(call)


def spacing() -> Answer:
    def call(one: Tensor, a: np.ndarray, two: Tensor, b: np.ndarray) -> tuple[Tensor, Tensor]:
        first, second = tio.ScalarImage(one, affine=a), tio.ScalarImage(two, affine=b)
        step = tio.Affine(degrees=(-40.0, 40.0), default_pad_value=0)
        moved = step(tio.Subject(one=first, two=second))
        return moved.one.data, moved.two.data

    try:
        return s.spacing(call)
    except RuntimeError as error:
        if "expected" not in str(error):
            raise
        return no(f"refused: {t.reason(error)}")


def millimetres() -> Answer:
    step = tio.Affine(degrees=(45.0, 0.0, 0.0), default_pad_value=0)
    return s.millimetres(lambda x, affine: step(tio.ScalarImage(x, affine=affine)).data)


def anatomy() -> Answer:
    flip = tio.Flip(axes=("LR",))
    return s.anatomy(lambda x, affine: flip(tio.ScalarImage(x, affine=affine)).data)


def fused() -> Answer:
    move = tio.Affine(degrees=(-20.0, 20.0), translation=(-3.0, 3.0))
    pair = tio.Spatial(degrees=(-20.0, 20.0), translation=(-3.0, 3.0), max_displacement=2)
    return s.fused(tio.Compose([move, move, tio.Flip(), BEND]), tio.Compose([move, move]), pair)


def replay() -> Answer:
    def call(x: Tensor) -> tuple[Tensor, Tensor]:
        subject = tio.Subject(image=tio.ScalarImage(x))
        moved = tio.Compose([TURN, tio.Flip(flip_probability=0.5)])(subject)
        again = tio.SubjectsBatch.from_subjects([subject])
        for record in moved.applied_transforms:
            again = getattr(tio, record.name)().apply_transform(again, record.params)
        return moved.image.data, again.image.data[0]

    answer = s.replay(call)
    return yes("record by record") if answer.outcome == "yes" else answer


def inverse() -> Answer:
    def call(*steps: Any) -> Any:
        def undone(x: Tensor) -> tuple[Tensor, Tensor]:
            moved = tio.Compose(steps)(tio.Subject(image=tio.ScalarImage(x)))
            return moved.image.data, moved.apply_inverse_transform().image.data

        return undone

    bend = tio.ElasticDeformation(max_displacement=1)
    return s.inverse(call(TURN, tio.Flip()), call(TURN, tio.Flip(), bend))


def points() -> Answer:
    def call(x: Tensor, point: Tensor) -> tuple[Tensor, Tensor]:
        subject = tio.Subject(image=tio.ScalarImage(x), place=tio.Points(point[None]))
        moved = TURN(subject)
        return moved.image.data, moved.points["place"].data[0]

    try:
        return s.points(call)
    except KeyError:
        return no("there is `Points`, but a transform drops those of a subject")


def planes() -> Answer:
    step = tio.Affine(degrees=(0.0, 0.0, 30.0), default_pad_value=0)
    return s.planes(lambda x: step(x[..., None])[..., 0])


def dtypes() -> Answer:
    return s.dtypes(lambda x: TURN(tio.LabelMap(x)).data)


def types() -> Answer:
    return f.types(dict.fromkeys(("numpy", "SimpleITK", "NiBabel", "dict"), TURN))


def files() -> Answer:
    def read(path: Any) -> tuple[Any, Any]:
        try:
            image = tio.ScalarImage(path)
            return image.data, image.spacing
        except RuntimeError:
            if not path.is_dir():
                raise
            return None, None  # a DICOM folder is refused

    answer = f.files(read)
    if answer.outcome != "partly":
        return answer
    return partly("NIfTI; a folder of DICOM slices is refused")


def cache() -> Answer:
    return unnamed(tio.__all__, "cache", "persist")


def bias() -> Answer:
    return v.bias(tio.BiasField())


def motion() -> Answer:
    return v.motion(tio.Motion(degrees=(-30.0, 30.0), translation=(-5.0, 5.0)))


def ghosting() -> Answer:
    ghosts = v.ghosting(tio.Ghosting(num_ghosts=(4, 4), intensity=(0.8, 0.8)))
    spikes = v.spikes(tio.Spike(num_spikes=1, intensity=(0.5, 0.5)))
    return both(ghosts, spikes, ("ghosts", "spikes"))


def gibbs() -> Answer:
    return unnamed(tio.__all__, "gibbs")


def ct_window() -> Answer:
    return v.ct_window(tio.Normalize(out_min=0.0, out_max=1.0, in_min=0.0, in_max=80.0))


def anisotropy() -> Answer:
    return v.anisotropy(tio.Anisotropy(downsampling=(3.0, 3.0)))


def synthesis() -> Answer:
    def call(x: Tensor) -> Tensor:
        made = tio.LabelsToImage(label_key="seg")(tio.Subject(seg=tio.LabelMap(x)))
        return made.image_from_labels.data

    return v.synthesis(call)


def dropout() -> Answer:
    return unnamed(tio.__all__, "dropout", "cutout", "erasing", "rectangle")


def mixing() -> Answer:
    return unnamed(tio.__all__, "mixup", "cutmix")


def regrid() -> Answer:
    def call(x: Tensor, affine: np.ndarray) -> tuple[Tensor, Any]:
        image = tio.Compose([tio.Reorient(), tio.Resample(1)])(tio.ScalarImage(x, affine=affine))
        return image.data, image.affine.data

    return v.regrid(call)


def landmarks() -> Answer:
    def call(xs: list[Tensor]) -> list[Tensor]:
        subjects = [tio.Subject(image=tio.ScalarImage(x)) for x in xs]
        learnt = compute_histogram_landmarks([subject.image for subject in subjects])
        step = tio.HistogramStandardization(learnt)
        return [step(subject).image.data for subject in subjects]

    return v.landmarks(call)


def component() -> Answer:
    return v.component(lambda x: tio.KeepLargestComponent()(tio.LabelMap(x)).data)


def samplers() -> Answer:
    def of(kind: Any, *where: Any) -> Any:
        def call(x: Tensor) -> Tensor:
            seg = tio.LabelMap(x.to(torch.uint8))
            subject = tio.Subject(map=tio.ScalarImage(x), seg=seg)
            return next(iter(kind(subject, v.SIDE, *where)(subject, 1))).map.data

        return call

    return v.samplers(
        {
            "uniform": of(tio.UniformSampler),
            "weighted": of(tio.WeightedSampler, "map"),
            "label": of(tio.LabelSampler, "seg", {0: 0, 1: 1}),
        }
    )


def blending() -> Answer:
    def call(x: Tensor, size: int, overlap: int) -> Tensor:
        subject = tio.Subject(image=tio.ScalarImage(x))
        sampler = tio.GridSampler(subject, size, overlap)
        aggregator = tio.PatchAggregator(subject.spatial_shape, "hann")
        for batch in tio.SubjectsLoader(sampler, batch_size=4):
            aggregator.add_batch(batch.image.data, batch.metadata["patch_location"])
        return aggregator.get_output()

    return v.blending(call, "Hann weights")


def queue() -> Answer:
    voxels = [torch.full((1, 8, 8, 8), float(n)) for n in range(3)]
    subjects = [tio.Subject(image=tio.ScalarImage(x)) for x in voxels]
    sampler = tio.UniformSampler(subjects[0], 4)
    patches = tio.Queue(subjects, sampler, max_length=12, patches_per_volume=4)
    return v.queue(patch.image.data for patch in patches)


def windows() -> Answer:
    steps = tio.Compose([TURN, BEND, tio.Crop(cropping=(t.VOLUME - t.PATCH) // 2)])
    return t.windows(lambda: t.noise(1, *(t.VOLUME,) * 3), steps)


def networks() -> Answer:
    return unnamed(tio.__all__, "unet", "loss", "dice")
