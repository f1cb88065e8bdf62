"""This library."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import torch
from torch import Tensor

import torchio_gpu as tio

from .. import files as f
from .. import space as s
from .. import tensors as t
from .. import voxels as v
from ..answers import Answer, both, no, unchecked, unnamed, yes

NAME, VERSION = "torchio_gpu", tio.__version__
DISTRIBUTION, PACKAGE = "torchio-gpu", "torchio_gpu"

TURN = tio.RandomAffine(scales=0, degrees=10, translation=3)


def turn(degrees: Any, **kwargs: Any) -> tio.Affine:
    """A rotation by given angles about the axes of the world."""
    return tio.Affine(scales=1, degrees=degrees, translation=0, **kwargs)


def transforms() -> str:
    base = tio.transforms.Transform
    found = [n for n in tio.transforms.__all__ if _is_transform(getattr(tio, n), base)]
    twins = sum(f"Random{name}" in found for name in found)
    return f"{len(found) - twins}, {twins} of them also with given parameters"


def _is_transform(what: Any, base: type) -> bool:
    made = isinstance(what, type) and issubclass(what, base)
    return made and not inspect.isabstract(what)


def batch() -> Answer:
    return t.batch(TURN)


def device() -> Answer:
    bend = tio.RandomElasticDeformation(max_displacement=2)
    steps = tio.Compose([tio.RandomAffine(), bend, tio.RandomNoise()])
    answer = t.device(steps, t.noise(2, 1, 16, 16, 16))
    if steps(torch.empty(2, 1, 16, 16, 16, device="meta")).device.type != "meta":
        return no("does not run on the meta device")
    if answer.outcome == "yes":
        return yes("runs on the meta device, too")
    return answer


def seeds() -> Answer:
    x = t.noise(1, 8, 8, 8)
    dataset = tio.SubjectsDataset([tio.Subject(image=tio.ScalarImage(x), n=n) for n in range(4)])

    def load(order: Any, size: int) -> dict[int, Tensor]:
        loader = tio.SubjectsLoader(dataset, batch_size=size, sampler=list(order), seed=3)
        found = [TURN(batch).unbatch() for batch in loader]
        return {subject["n"]: subject.image.data for batch in found for subject in batch}

    return t.seeds(load)


def grad_image() -> Answer:
    return t.grad_image(tio.Compose([tio.RandomAffine(), tio.RandomGamma()]), 1)


def grad_params() -> Answer:
    def call(x: Tensor, degrees: Tensor) -> Tensor:
        zero = torch.zeros(())
        return turn(torch.stack([zero, zero, degrees])[None])(x)

    return t.grad_params(call)


def compile() -> Answer:
    steps = tio.Compose([tio.RandomAffine(), tio.RandomNoise()])
    answer = t.compiled(lambda x: steps(x * 2) + 1, t.noise(2, 1, 8, 8, 8))
    return yes("a pipeline is one opaque node of the graph") if answer.outcome == "yes" else answer


def graphs() -> Answer:
    step = tio.Captured(TURN)
    if not torch.cuda.is_available():
        return unchecked("`Captured`; no GPU here")
    x = t.noise(2, 1, 16, 16, 16).cuda()
    one, two = step(x).clone(), step(x).clone()
    return no("the same numbers again") if torch.equal(one, two) else yes()


def kernels() -> Answer:
    if not torch.cuda.is_available():
        return unchecked("Triton, forward and backward; no GPU here")
    x = t.noise(2, 1, 16, 16, 16).cuda()
    results = []
    for which in ("triton", "reference"):
        torch.manual_seed(0)
        with tio.backend(which):
            results.append(TURN(x))
    # other roundings of coordinates, at the edges of noise
    return yes("Triton") if torch.allclose(*results, atol=1e-3) else no("another result")


def labels() -> Answer:
    def call(image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        moved = TURN(tio.Subject(image=tio.ScalarImage(image), mask=tio.LabelMap(mask)))
        return moved.image.data, moved.mask.data

    return s.labels(call)


def spacing() -> Answer:
    def call(one: Tensor, a: np.ndarray, two: Tensor, b: np.ndarray) -> tuple[Tensor, Tensor]:
        images = {"one": tio.ScalarImage(one, affine=a), "two": tio.ScalarImage(two, affine=b)}
        moved = tio.RandomAffine(scales=0, degrees=40)(tio.Subject(images))
        return moved.one.data, moved.two.data

    return s.spacing(call)


def millimetres() -> Answer:
    step = turn((45, 0, 0), default_pad_value=0)
    return s.millimetres(lambda x, affine: step(tio.ScalarImage(x, affine=affine)).data)


def anatomy() -> Answer:
    flip = tio.Flip(axes=("LR",))
    return s.anatomy(lambda x, affine: flip(tio.ScalarImage(x, affine=affine)).data)


def fused() -> Answer:
    move = tio.RandomAffine(scales=0, degrees=20, translation=3)
    bend = tio.RandomElasticDeformation(max_displacement=2)
    answer = s.fused(tio.Compose([move, move, tio.RandomFlip(flip_probability=1), bend]))
    after = s.fused(tio.Compose([bend, move]))  # the order that is known not to be fused
    if answer.outcome == "yes" and after.outcome != "yes":
        return yes("but not an elastic deformation with a rotation after it")
    return answer


def replay() -> Answer:
    def call(x: Tensor) -> tuple[Tensor, Tensor]:
        subject = tio.Subject(image=tio.ScalarImage(x))
        moved = tio.Compose([TURN, tio.RandomFlip()])(subject)
        return moved.image.data, moved.get_composed_history()(subject).image.data

    return s.replay(call)


def inverse() -> Answer:
    def call(*steps: Any) -> Any:
        def undone(x: Tensor) -> tuple[Tensor, Tensor]:
            moved = tio.Compose(steps)(tio.Subject(image=tio.ScalarImage(x)))
            return moved.image.data, moved.apply_inverse_transform(warn=False).image.data

        return undone

    flip = tio.RandomFlip(flip_probability=1)
    bend = tio.RandomElasticDeformation(max_displacement=1)
    return s.inverse(call(TURN, flip), call(TURN, flip, bend))


def points() -> Answer:
    def call(x: Tensor, point: Tensor) -> tuple[Tensor, Tensor]:
        place = tio.Points(point[None], axes="IJK", affine=np.eye(4))
        moved = TURN(tio.Subject(image=tio.ScalarImage(x), place=place))
        return moved.image.data, moved.place.data[0]

    return s.points(call)


def planes() -> Answer:
    return s.planes(lambda x: turn((0, 0, 30))(x[..., None])[..., 0])


def dtypes() -> Answer:
    return s.dtypes(lambda x: TURN(tio.LabelMap(x)).data)


def types() -> Answer:
    names = ("numpy", "SimpleITK", "NiBabel", "dict")
    return f.types({name: tio.RandomAffine() for name in names})


def files() -> Answer:
    def read(path: Any) -> tuple[Any, Any]:
        image = tio.ScalarImage(path)
        return image.data, image.spacing

    return f.files(read)


def cache() -> Answer:
    calls = []

    class Counted(tio.ZNormalization):
        def voxels(self, *args: Any) -> Tensor:
            calls.append(1)
            return super().voxels(*args)

    subjects = [tio.Subject(image=tio.ScalarImage(t.noise(1, 4, 4, 4)))]
    dataset = tio.CachedDataset(tio.SubjectsDataset(subjects, transform=Counted()))
    [dataset[0] for _ in range(2)]
    if len(calls) != 1:
        return no(f"prepared {len(calls)} times in two epochs")
    return yes("in memory; also in a folder (`CachedDataset`), not tried")


def bias() -> Answer:
    return v.bias(tio.RandomBiasField(coefficients=0.2))


def motion() -> Answer:
    return v.motion(tio.RandomMotion(degrees=30, translation=5, output="magnitude"))


def ghosting() -> Answer:
    ghosts = v.ghosting(tio.RandomGhosting(num_ghosts=(4, 4), intensity=(0.8, 0.8)))
    spikes = v.spikes(tio.RandomSpike(num_spikes=(1, 1), intensity=(0.5, 0.5)))
    return both(ghosts, spikes, ("ghosts", "spikes"))


def gibbs() -> Answer:
    return v.gibbs(tio.Gibbs(cutoff=0.6, axis=0))


def anisotropy() -> Answer:
    return v.anisotropy(tio.RandomAnisotropy(downsampling=(3, 3)))


def synthesis() -> Answer:
    def call(x: Tensor) -> Tensor:
        made = tio.RandomLabelsToImage(label_key="seg")(tio.Subject(seg=tio.LabelMap(x)))
        return made["image_from_labels"].data

    return v.synthesis(call)


def aliasing() -> Answer:
    return v.aliasing(tio.Wrap(2, 1), tio.PartialFourier(0.6, 1))


def fat() -> Answer:
    def call(x: Tensor, mask: Tensor) -> Tensor:
        step = tio.ChemicalShift(4, 0, fat="fat")
        subject = tio.Subject(image=tio.ScalarImage(x), fat=tio.LabelMap(mask.byte()))
        return step(subject).image.data

    return v.fat(call)


def zipper() -> Answer:
    return v.zipper(tio.Zipper(0.3, 0.4, 0, 1, 0))


_FAN = tio.BeamGeometry("phased", angle=80, depth=60)


def beam_attenuation() -> Answer:
    return v.beam_attenuation(tio.RandomAttenuation(_FAN, attenuation=(2, 2)))


def acoustic_shadow() -> Answer:
    shadow = tio.RandomAcousticShadow(
        _FAN, (20, 20), (0.5, 0.5), (0.2, 0.2), (20, 20), length=0, edge=0
    )
    return v.acoustic_shadow(shadow)


def reverberation() -> Answer:
    probe = tio.BeamGeometry("linear", center=(0, 0.5))
    return v.reverberation(tio.RandomReverberation(probe, (0.5, 0.5), (10, 10), 2))


def labels_to_ultrasound() -> Answer:
    made = tio.LabelsToUltrasound("linear", {1: 0.2}, attenuation=3, image_key="made")
    return v.labels_to_ultrasound(lambda s: made(s).made.data)


def speckle() -> Answer:
    return v.speckle(tio.RandomSpeckle(_FAN, strength=(1, 1), axial=1, lateral=1))


def haze() -> Answer:
    return v.haze(tio.RandomHaze(_FAN, texture=(0, 0)))


def coils() -> Answer:
    return v.coils(tio.RandomCoilNoise(std=(0.5, 0.5), num_coils=8))


def low_field() -> Answer:
    return v.low_field(tio.LowField(0.3, from_field=3, snr=100))


def low_dose() -> Answer:
    return v.low_dose(tio.LowDose(0.2, photons=1e5))


def streaks() -> Answer:
    return v.streaks(tio.Streaks(photons=900))


def beam_hardening() -> Answer:
    return v.beam_hardening(tio.BeamHardening())


def b0() -> Answer:
    return v.b0(tio.RandomB0Distortion(max_displacement=(3, 4), smoothness=8))


def slices() -> Answer:
    return v.slices(tio.RandomSliceMotion(share=(0.5, 0.5), gain=(1, 1), axes=(0, 1, 2)))


def ct_kernel() -> Answer:
    return v.ct_kernel(tio.ReconstructionKernel(3), tio.ReconstructionKernel(0.3))


def ct_thickness() -> Answer:
    return v.ct_thickness(tio.SliceThickness(3))


def ct_rings() -> Answer:
    return v.ct_rings(tio.Rings(0.01, axis=2))


def ct_views() -> Answer:
    return v.ct_views(tio.SparseView(20, axis=2), tio.LimitedAngle(90, -45, axis=2))


def ct_metal() -> Answer:
    def call(x: Tensor, mask: Tensor) -> Tensor:
        subject = tio.Subject(image=tio.ScalarImage(x), rods=tio.LabelMap(mask.byte()))
        return tio.Metal("rods", axis=2)(subject).image.data

    return v.ct_metal(call)


def ct_window() -> Answer:
    answer = v.ct_window(tio.Window("brain"))
    return yes("by name; also at random") if answer.outcome == "yes" else answer


def dropout() -> Answer:
    return v.dropout(tio.RandomCutout(size=(4, 8)))


def mixing() -> Answer:
    return v.mixing(tio.MixUp())


def curves() -> Answer:
    return v.curves(tio.RandomHistogramShift())


def morphology() -> Answer:
    grow, shrink = tio.DilateLabels(2), tio.ErodeLabels(2)
    return v.morphology(
        lambda x: grow(tio.LabelMap(x)).data, lambda x: shrink(tio.LabelMap(x)).data
    )


def regrid() -> Answer:
    def call(x: Tensor, affine: np.ndarray) -> tuple[Tensor, Any]:
        image = tio.Compose([tio.ToCanonical(), tio.Resample(1)])(tio.ScalarImage(x, affine=affine))
        return image.data, image.affine

    return v.regrid(call)


def landmarks() -> Answer:
    def call(xs: list[Tensor]) -> list[Tensor]:
        images = [tio.ScalarImage(x) for x in xs]
        learnt = tio.HistogramStandardization.train(images, progress=False)
        step = tio.HistogramStandardization({"image": learnt})
        return [step(tio.Subject(image=image)).image.data for image in images]

    return v.landmarks(call)


def component() -> Answer:
    return v.component(lambda x: tio.KeepLargestComponent()(tio.LabelMap(x)).data)


def samplers() -> Answer:
    def of(make: Any) -> Any:
        def call(x: Tensor) -> Tensor:
            images = {"map": tio.ScalarImage(x), "seg": tio.LabelMap(x.to(torch.uint8))}
            return make(tio.Subject(images)).map.data

        return call

    kinds = {
        "uniform": tio.UniformSampler(v.SIDE),
        "weighted": tio.WeightedSampler(v.SIDE, "map"),
        "label": tio.LabelSampler(v.SIDE, "seg", label_probabilities={1: 1}),
    }
    return v.samplers({name: of(sampler) for name, sampler in kinds.items()})


def blending() -> Answer:
    def call(x: Tensor, size: int, overlap: int) -> Tensor:
        subject = tio.Subject(image=tio.ScalarImage(x))
        return tio.predict_by_patches(torch.nn.Identity(), subject, size, overlap)

    return v.blending(call, "Hann weights")


def queue() -> Answer:
    subjects = [tio.Subject(image=tio.ScalarImage(torch.full((1, 8, 8, 8), n))) for n in range(3)]
    patches = tio.Queue(
        subjects, patch_sampler=tio.UniformSampler(4), max_length=12, patches_per_volume=4
    )
    return v.queue(patch.image.data for patch in patches)


def windows() -> Answer:
    steps = tio.Compose([tio.RandomAffine(), tio.RandomElasticDeformation(max_displacement=2)])

    def make() -> Any:
        subject = tio.Subject(image=tio.ScalarImage(t.noise(1, *(t.VOLUME,) * 3)))
        sampler = tio.UniformSampler(t.PATCH)
        patches = iter(tio.DeviceQueue([subject], sampler, steps, patches_per_volume=2))
        next(patches)  # the volume is there from now on
        return patches

    return t.windows(make, lambda patches: next(patches).image.data)


def networks() -> Answer:
    return unnamed(dir(tio), "net", "loss", "dice")
