"""MONAI: array transforms for one sample at a time, and all that surrounds a training."""

from __future__ import annotations

from functools import partial
from math import radians
from typing import Any

import monai
import numpy as np
import torch
from monai import data as d
from monai import transforms as m
from monai.inferers import sliding_window_inference
from monai.utils import optional_import
from torch import Tensor

from .. import files as f
from .. import space as s
from .. import tensors as t
from .. import voxels as v
from ..answers import Answer, lacks, no, partly, unchecked, unnamed, yes

NAME, VERSION = "MONAI", monai.__version__
DISTRIBUTION, PACKAGE = "monai", "monai"

# Transforms that are not told a seed share this one; Compose asks for the other.
m.Randomizable.R.seed(0)
monai.utils.set_determinism(0)

ANGLE = radians(10)
MOTION: dict[str, Any] = {"prob": 1, "rotate_range": [ANGLE] * 3, "translate_range": [3] * 3}
TURN = m.RandAffine(**MOTION, padding_mode="zeros")
BOTH = ("image", "label")
#: Smooth: displacements of about 1 voxel.
BEND: dict[str, Any] = {"sigma_range": (5, 6), "magnitude_range": (100, 200), "prob": 1}


def _plain(x: Any) -> Tensor:
    return x.as_tensor() if isinstance(x, d.MetaTensor) else torch.as_tensor(x)


def _meta(x: Tensor, affine: np.ndarray) -> d.MetaTensor:
    return d.MetaTensor(x, affine=torch.from_numpy(affine))


def transforms() -> str:
    names = {id(c): n for n, c in vars(m).items() if _is_transform(c)}  # aliases once
    dicts = sum(issubclass(getattr(m, n), m.MapTransform) for n in names.values())
    return f"{len(names) - dicts} for arrays, {dicts} for dictionaries"


def _is_transform(what: Any) -> bool:
    """A class that can be made: bases are left out."""
    bases = (m.Transform, m.MapTransform, m.RandomizableTransform, m.Randomizable)
    is_one = isinstance(what, type) and issubclass(what, m.Transform) and what not in bases
    return is_one and not getattr(what, "__abstractmethods__", None)


def batch() -> Answer:
    try:
        return t.batch(TURN)
    except Exception as error:
        return no(f"a batch is refused: {t.reason(error)}")


def device() -> Answer:
    bend = m.Rand3DElastic(**BEND, padding_mode="zeros")
    return t.device(m.Compose([TURN, bend, m.RandGaussianNoise(1)]), t.noise(1, 16, 16, 16))


def seeds() -> Answer:
    x = t.noise(1, 8, 8, 8)
    steps = m.Compose([m.RandAffined("image", **MOTION)])
    dataset = d.Dataset([{"image": x, "n": n} for n in range(4)], steps)

    def load(order: Any, size: int) -> dict[int, Tensor]:
        monai.utils.set_determinism(3)
        steps.set_random_state(3)
        loader = d.DataLoader(dataset, batch_size=size, sampler=list(order))
        found = {}
        for batch in loader:
            found.update(zip(batch["n"].tolist(), _plain(batch["image"]), strict=True))
        return found

    return t.seeds(load)


def grad_image() -> Answer:
    return t.grad_image(m.Compose([TURN, m.RandAdjustContrast(1)]))


def grad_params() -> Answer:
    def call(x: Tensor, degrees: Tensor) -> Tensor:
        return _plain(m.Affine([0, 0, torch.deg2rad(degrees)], image_only=True)(x[0]))

    return t.grad_params(call)


def compile() -> Answer:
    steps = m.Compose([TURN, m.RandGaussianNoise(1)])
    return t.compiled(lambda x: steps(x * 2) + 1, t.noise(1, 8, 8, 8))


def graphs() -> Answer:
    return unnamed(dir(m), "graph", "captur")


def kernels() -> Answer:
    return unchecked("optional C++ and CUDA extensions (resampling, filters), built from source")


def labels() -> Answer:
    step = m.RandAffined(BOTH, **MOTION, mode=("bilinear", "nearest"), padding_mode="zeros")

    def call(image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        moved = step({"image": image, "label": mask})
        return _plain(moved["image"]), _plain(moved["label"])

    return s.labels(call)


def spacing() -> Answer:
    step = m.RandAffined(BOTH, prob=1, rotate_range=[radians(40)] * 3, padding_mode="zeros")

    def call(one: Tensor, a: np.ndarray, two: Tensor, b: np.ndarray) -> tuple[Tensor, Tensor]:
        moved = step({"image": _meta(one, a), "label": _meta(two, b)})
        return _plain(moved["image"]), _plain(moved["label"])

    return s.spacing(call)


def millimetres() -> Answer:
    step = m.Affine([radians(45), 0, 0], padding_mode="zeros", image_only=True)
    return s.millimetres(lambda x, affine: _plain(step(_meta(x, affine))))


def anatomy() -> Answer:
    return lacks("axes of Flip are those of the array")


def fused() -> Answer:
    turn = {"prob": 1, "rotate_range": [radians(20)] * 3, "padding_mode": "zeros"}
    move, flip, bend = m.RandAffine(**turn), m.Flip(0), m.Rand3DElastic(**BEND)
    pair = m.Rand3DElastic(**BEND, rotate_range=[radians(20)] * 3, padding_mode="zeros")
    lazy = [m.Compose(steps, lazy=True) for steps in ([move, move, flip, bend], [move, move])]
    return s.fused(*(lambda x, step=step: _plain(step(x)) for step in (*lazy, pair)))


def _applied(x: Tensor, *more: Any) -> tuple[Any, Any]:
    """The steps of the questions about history, and their result."""
    steps = m.Compose([m.RandAffined("image", **MOTION), m.RandFlipd("image", 1, 0), *more])
    return steps, steps({"image": d.MetaTensor(x)})


def replay() -> Answer:
    def call(x: Tensor) -> tuple[Tensor, Tensor]:
        steps, _ = _applied(x)
        steps.set_random_state(5)
        first = steps({"image": x.clone()})["image"]
        if not first.applied_operations:
            raise AssertionError("nothing is recorded")
        steps.set_random_state(5)
        return _plain(first), _plain(steps({"image": x.clone()})["image"])

    answer = s.replay(call)
    if answer.outcome != "yes":
        return answer
    return partly("recorded, and replayed by setting the seed again, not from the record")


def inverse() -> Answer:
    def call(x: Tensor) -> tuple[Tensor, Tensor]:
        steps, moved = _applied(x)
        back = steps.inverse(moved)
        return _plain(moved["image"]), _plain(back["image"])

    return s.inverse(call)


def points() -> Answer:
    step = m.Compose([m.RandAffined("image", **MOTION, padding_mode="zeros")])

    def call(x: Tensor, point: Tensor) -> tuple[Tensor, Tensor]:
        moved = step({"image": d.MetaTensor(x)})["image"]
        # world to voxels of the moved image, whose affine says where its voxels came from
        to_voxels = m.ApplyTransformToPoints(affine=moved.affine, invert_affine=True)
        return _plain(moved), _plain(to_voxels(point[None, None]))[0, 0]

    answer = s.points(call)
    return (
        yes("by the affine of the image: not through elastic ones")
        if answer.outcome == "yes"
        else answer
    )


def planes() -> Answer:
    return s.planes(
        lambda x: _plain(m.Affine(radians(30), padding_mode="zeros", image_only=True)(x))
    )


def dtypes() -> Answer:
    step = m.RandAffine(**MOTION, mode="nearest", padding_mode="zeros")
    return s.dtypes(lambda x: _plain(step(x)))


def types() -> Answer:
    return f.types({"numpy": TURN, "dict": m.RandAffined("image", **MOTION)})


def files() -> Answer:
    def read(path: Any) -> tuple[Any, Any]:
        x = m.LoadImage()(path)
        return _plain(x), x.pixdim

    if any(optional_import(name)[1] for name in ("pydicom", "itk")):
        return f.files(read)
    answer = f.files(read, dicom=False)
    if answer.outcome != "partly":
        return answer
    return partly("NIfTI; DICOM needs pydicom or ITK, not installed here")


def cache() -> Answer:
    calls = []

    def count(x: Any) -> Any:
        calls.append(1)
        return x

    dataset = d.CacheDataset([1], m.Compose([m.Lambda(count)]), progress=False)
    [dataset[0] for _ in range(2)]
    if len(calls) != 1:
        return no(f"prepared {len(calls)} times in two epochs")
    return yes("in memory; also on disk (`PersistentDataset`), not tried")


def bias() -> Answer:
    return v.bias(lambda x: _plain(m.RandBiasField(coeff_range=(0.02, 0.1), prob=1)(x)))


def motion() -> Answer:
    return unnamed(dir(m), "motion")


def ghosting() -> Answer:
    assert not [name for name in dir(m) if "ghost" in name.lower()]
    spikes = v.spikes(lambda x: _plain(m.KSpaceSpikeNoise((0, 3, 5, 7), 9)(x)))
    return partly("spikes only; no public name with 'ghost'") if spikes.outcome == "yes" else spikes


def gibbs() -> Answer:
    return v.gibbs(lambda x: _plain(m.GibbsNoise(0.6)(x)))


def anisotropy() -> Answer:
    step = m.RandSimulateLowResolution(1, zoom_range=(0.3, 0.3))
    answer = v.anisotropy(lambda x: _plain(step(x)))
    return partly("low resolution along all axes alike") if answer.outcome == "no" else answer


def ct_kernel() -> Answer:
    sharp = m.GaussianSharpen(sigma1=(0.1, 0.1, 1e-3), sigma2=(0.6, 0.6, 1e-3), alpha=2.0)
    soft = m.GaussianSmooth(sigma=(1.0, 1.0, 1e-3))
    answer = v.ct_kernel(lambda x: _plain(sharp(x)), lambda x: _plain(soft(x)))
    return yes("in voxels (`GaussianSharpen`)") if answer.outcome == "yes" else answer


def ct_window() -> Answer:
    step = m.ScaleIntensityRange(0, 80, 0, 1, clip=True)
    return v.ct_window(lambda x: _plain(step(x)))


def synthesis() -> Answer:
    return unnamed(dir(m), "labelstoimage", "labels_to", "synth", "mixture")


def dropout() -> Answer:
    step = m.RandCoarseDropout(holes=2, spatial_size=6, fill_value=0, prob=1)
    return v.dropout(lambda x: _plain(step(x)))


def mixing() -> Answer:
    return v.mixing(lambda x: _first(m.MixUp(batch_size=2)(x)))


def _first(x: Any) -> Tensor:
    return _plain(x[0] if isinstance(x, (tuple, list)) else x)


def regrid() -> Answer:
    def call(x: Tensor, affine: np.ndarray) -> tuple[Tensor, Any]:
        y = m.Compose([m.Orientation("RAS"), m.Spacing((1, 1, 1))])(_meta(x, affine))
        return _plain(y), y.affine

    return v.regrid(call)


def curves() -> Answer:
    return v.curves(lambda x: _plain(m.RandHistogramShift(prob=1)(x)))


def landmarks() -> Answer:
    return no("histograms are equalised or shifted, not matched to landmarks", "names")


def component() -> Answer:
    step = m.KeepLargestConnectedComponent(is_onehot=False)
    try:
        return v.component(lambda x: _plain(step(x)))
    except (ImportError, RuntimeError) as error:
        if "skimage" not in str(error).lower():
            raise
        return unchecked("`KeepLargestConnectedComponent`; needs scikit-image, not installed here")


def samplers() -> Answer:
    size = (v.SIDE,) * 3

    def uniform(x: Tensor) -> Tensor:
        return _plain(m.RandSpatialCrop(size, random_size=False)(x))

    def weighted(x: Tensor) -> Tensor:
        return _plain(m.RandWeightedCrop(size)(x, weight_map=x)[0])

    def label(x: Tensor) -> Tensor:
        crop = m.RandCropByLabelClasses(size, ratios=[0, 1], num_classes=2)
        return _plain(crop(x, label=x)[0])

    return v.samplers({"uniform": uniform, "weighted": weighted, "label": label})


def blending() -> Answer:
    def call(x: Tensor, size: int, overlap: int) -> Tensor:
        predict = partial(sliding_window_inference, predictor=torch.nn.Identity(), mode="gaussian")
        return predict(x[None], (size,) * 3, 4, overlap=overlap / size)[0]

    return v.blending(call, "Gaussian weights")


def queue() -> Answer:
    crop = m.RandSpatialCropSamples((4, 4, 4), 4, random_size=False)
    subjects = [torch.full((1, 8, 8, 8), float(n)) for n in range(3)]
    patches = d.PatchDataset(subjects, crop, samples_per_image=4)
    loader = d.DataLoader(d.ShuffleBuffer(patches, buffer_size=12), batch_size=1)
    answer = v.queue(_plain(patch) for patch in loader)
    return yes("`PatchDataset` in a `ShuffleBuffer`") if answer.outcome == "yes" else answer


def windows() -> Answer:
    def lazy(*steps: Any) -> Any:
        crop = m.CenterSpatialCrop(t.PATCH)
        return lambda x: _plain(m.Compose([*steps, crop], lazy=True)(x))

    bend = m.Rand3DElastic(**BEND, padding_mode="zeros")
    whole = t.windows(lambda: t.noise(1, *(t.VOLUME,) * 3), lazy(TURN, bend))
    if whole.outcome == "yes":
        return whole
    affine = t.windows(lambda: t.noise(1, *(t.VOLUME,) * 3), lazy(TURN))
    if affine.outcome == "no":
        return whole
    note = f"; {affine.note}" if affine.note else ""
    return partly(f"affines, in lazy mode{note}; of elastic ones, the whole volume")


def networks() -> Answer:
    net = monai.networks.nets.UNet(3, 1, 2, (4, 8), (2,))
    loss = monai.losses.DiceLoss(softmax=True, to_onehot_y=True)
    truth = (t.noise(1, 1, 8, 8, 8) > 0.5).float()
    loss(net(t.noise(1, 1, 8, 8, 8)), truth).backward()
    return all(p.grad is not None for p in net.parameters()) or no("no gradients")


def models() -> Answer:
    assert monai.bundle.download
    return yes("bundles of the model zoo; nothing was fetched", "names")
