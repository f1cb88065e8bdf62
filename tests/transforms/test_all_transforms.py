"""Properties of all transforms; a new transform is one line in TRANSFORMS."""

import copy
import inspect
import json
import pickle
import warnings
from itertools import count

import numpy as np
import pytest
import torch

import torchio_gpu as tio
from benchmarks.clock import waits_refused
from tests.close import assert_close
from tests.volumes import batch_of, oblique_affine, smooth, subject
from torchio_gpu.transforms.base import Transform
from torchio_gpu.transforms.compose import Composition

POINTS = np.random.default_rng(0).uniform(-1, 1, (5, 5, 5, 3))
#: A field on a grid of its own.
VECTORS = torch.from_numpy(np.random.default_rng(1).uniform(-1, 1, (3, 6, 7, 9))).float()
VECTORS_AFFINE = np.array([[8.0, 0, 0, -20], [0, 8, 0, -10], [0, 0, 8, -10], [0, 0, 0, 1]])
AFFINE = {"scales": 0.1, "degrees": 15, "translation": 2}
ELASTIC = {"num_control_points": 5, "max_displacement": 1}
#: Few beams, through most voxels of the small volumes here, whose values go up to about 3.
BEAMS = {"probe": "phased", "angle": 80, "center": (0.5, -3.0)}
GREY = {"dynamic_range": 50.0, "white": 3.0}
TRANSFORMS = {
    "RandomAffine": lambda **k: tio.RandomAffine(**AFFINE, **k),
    "RandomElasticDeformation": lambda **k: tio.RandomElasticDeformation(**ELASTIC, **k),
    "RandomAffineElasticDeformation": lambda **k: tio.RandomAffineElasticDeformation(
        affine_kwargs=AFFINE, elastic_kwargs=ELASTIC, **k
    ),
    "RandomDisplacement": lambda **k: tio.RandomDisplacement((0.5, 1), 6, **k),
    "RandomDiffeomorphism": lambda **k: tio.RandomDiffeomorphism((1, 2), 6, **k),
    "RandomB0Distortion": lambda **k: tio.RandomB0Distortion((0.5, 2), 6, (0, 1, 2), **k),
    "RandomFlip": lambda **k: tio.RandomFlip((0, 1, 2), flip_probability=0.9, **k),
    "RandomBiasField": lambda **k: tio.RandomBiasField(**k),
    "RandomGamma": lambda **k: tio.RandomGamma(**k),
    "RandomGamma, rescaled": lambda **k: tio.RandomGamma(
        (0.2, 0.5), rescale=True, invert_image=True, retain_stats=True, **k
    ),
    "RandomGamma, by channel": lambda **k: tio.RandomGamma(by_channel=True, **k),
    "RandomBrightness": lambda **k: tio.RandomBrightness((1.2, 2), 0.5, **k),
    "RandomBrightness, by channel": lambda **k: tio.RandomBrightness(by_channel=True, **k),
    "RandomContrast": lambda **k: tio.RandomContrast((1.2, 2), **k),
    "RandomContrast, by channel": lambda **k: tio.RandomContrast(
        (1.2, 2), preserve_range=False, by_channel=True, channel_p=0.99, **k
    ),
    "RandomLowResolution": lambda **k: tio.RandomLowResolution((0.4, 0.6), **k),
    "RandomLowResolution, by channel": lambda **k: tio.RandomLowResolution(
        (0.4, 0.6), ("LR", 1), by_channel=True, **k
    ),
    "RandomNoise": lambda **k: tio.RandomNoise(**k),
    "RandomNoise, by channel": lambda **k: tio.RandomNoise(by_channel=True, **k),
    "RandomNoise, rician": lambda **k: tio.RandomNoise(rician=True, **k),
    "AcousticShadow": lambda **k: tio.AcousticShadow(
        "convex", 20, 0.4, 0.5, 2, white=2, **k
    ),
    "RandomAcousticShadow": lambda **k: tio.RandomAcousticShadow(
        "linear", position=0.5, depth=(2, 3), width=(0.4, 0.9), white=2, **k
    ),
    "Reverberation": lambda **k: tio.Reverberation("convex", 0.5, 4, axes=(0, 2), white=2, **k),
    "RandomReverberation": lambda **k: tio.RandomReverberation(
        "linear", distance=(2, 5), white=2, **k
    ),
    "Affine": lambda **k: tio.Affine((1.1, 0.9, 1), (5, -10, 15), (1, 2, 3), **k),
    "ElasticDeformation": lambda **k: tio.ElasticDeformation(POINTS, **k),
    "AffineElasticDeformation": lambda **k: tio.AffineElasticDeformation(
        False, {"degrees": (5, -10, 15)}, {"control_points": POINTS}, **k
    ),
    "Displacement": lambda **k: tio.Displacement(VECTORS, VECTORS_AFFINE, **k),
    "Diffeomorphism": lambda **k: tio.Diffeomorphism(VECTORS, VECTORS_AFFINE, **k),
    "B0Distortion": lambda **k: tio.B0Distortion(
        VECTORS[0], 1, -1.5, VECTORS_AFFINE, **k
    ),
    "Flip": lambda **k: tio.Flip(("LR", 2), **k),
    "BiasField": lambda **k: tio.BiasField(np.linspace(-0.3, 0.4, 20), **k),
    "Gamma": lambda **k: tio.Gamma(1.3, **k),
    "Gamma, rescaled": lambda **k: tio.Gamma(1.3, rescale=True, retain_stats=True, **k),
    "Brightness": lambda **k: tio.Brightness(1.3, 0.5, **k),
    "Contrast": lambda **k: tio.Contrast(1.3, **k),
    "LowResolution": lambda **k: tio.LowResolution((0.5, 0.6, 0.4), antialias=True, **k),
    "Noise": lambda **k: tio.Noise(0.1, 0.5, seed=7, **k),
    "Noise, rician": lambda **k: tio.Noise(0.1, 0.5, seed=7, rician=True, **k),
    "RandomHistogramShift": lambda **k: tio.RandomHistogramShift(**k),
    "RandomHistogramShift, by channel": lambda **k: tio.RandomHistogramShift(by_channel=True, **k),
    "HistogramShift": lambda **k: tio.HistogramShift([0.4, -0.2, 0.1], **k),
    "RandomSigmoidContrast": lambda **k: tio.RandomSigmoidContrast(**k),
    "RandomSigmoidContrast, by channel": lambda **k: tio.RandomSigmoidContrast(
        by_channel=True, **k
    ),
    "SigmoidContrast": lambda **k: tio.SigmoidContrast(6, 0.4, **k),
    "RandomCutout": lambda **k: tio.RandomCutout((3, 5), (2, 15), (2, 3), scalars_only=False, **k),
    "Cutout": lambda **k: tio.Cutout([(1, 2, 3), (-2, 4, 0)], [(3, 3, 2), (4, 5, 60)], 3, **k),
    "RandomCoilNoise": lambda **k: tio.RandomCoilNoise(num_coils=2, **k),
    "CoilNoise": lambda **k: tio.CoilNoise(0.1, 3, "AP", 0.8, False, 7, **k),
    "LowDose": lambda **k: tio.LowDose(0.2, 1e4, 5, "AP", 6, 7, **k),
    "RandomLowDose": lambda **k: tio.RandomLowDose(views=6, **k),
    "Streaks": lambda **k: tio.Streaks(600, 20, 1000, "AP", 6, 7, **k),
    "RandomStreaks": lambda **k: tio.RandomStreaks(views=6, **k),
    "BeamHardening": lambda **k: tio.BeamHardening(0.8, 300, False, "AP", 6, **k),
    "BeamHardening, corrected": lambda **k: tio.BeamHardening(1, 0.5, True, "AP", 6, **k),
    "RandomBeamHardening": lambda **k: tio.RandomBeamHardening(
        bone_threshold=0.5, views=6, **k
    ),
    "LowField": lambda **k: tio.LowField(0.3, 1.5, snr=50, blur=(0.5, 0, 1), seed=7, **k),
    "RandomMotion": lambda **k: tio.RandomMotion(degrees=20, translation=2, **k),
    "RandomMotion, magnitude": lambda **k: tio.RandomMotion(
        degrees=20, translation=2, output="magnitude", **k
    ),
    "RandomGhosting": lambda **k: tio.RandomGhosting((2, 4), restore=(0, 0.1), **k),
    "RandomSpike": lambda **k: tio.RandomSpike((1, 3), intensity=(0.1, 0.5), **k),
    "RandomBlur": lambda **k: tio.RandomBlur((1, 4), **k),
    "RandomBlur, by channel": lambda **k: tio.RandomBlur((1, 4), by_channel=True, **k),
    "RandomAnisotropy": lambda **k: tio.RandomAnisotropy(scalars_only=False, **k),
    "RandomAnisotropy, antialias": lambda **k: tio.RandomAnisotropy(
        ("LR", 1), antialias=True, **k
    ),
    "RandomSwap": lambda **k: tio.RandomSwap(patch_size=1, num_iterations=80, **k),
    "Motion": lambda **k: tio.Motion(
        [(20, -10, 5), (-5, 20, 10)], [(1, 2, 3), (0, -1, 2)], (0.3, 0.7), axis="AP", **k
    ),
    "Ghosting": lambda **k: tio.Ghosting(3, 1, 0.7, **k),
    "Gibbs": lambda **k: tio.Gibbs(0.6, 1, **k),
    "Gibbs, soft": lambda **k: tio.Gibbs(0.6, "LR", 0.3, **k),
    "Wrap": lambda **k: tio.Wrap(3, "AP", 0.8, 0.1, **k),
    "PartialFourier": lambda **k: tio.PartialFourier(0.6, 1, **k),
    "ChemicalShift": lambda **k: tio.ChemicalShift(1.3, "AP", brightest=0.3, **k),
    "ChemicalShift, half": lambda **k: tio.ChemicalShift(2, 0, "left", **k),
    "RandomChemicalShift": lambda **k: tio.RandomChemicalShift(brightest=0.3, **k),
    "Zipper": lambda **k: tio.Zipper(0.3, 0.4, "AP", "LR", 7, **k),
    "Zipper, real": lambda **k: tio.Zipper(0.3, 0.7, 0, 2, 7, "real", **k),
    "RandomSliceMotion": lambda **k: tio.RandomSliceMotion(share=(0.4, 0.8), axes=(0, 1, 2), **k),
    "SliceMotion": lambda **k: tio.SliceMotion(
        POINTS[0, 0, np.arange(60) % 5] * 9, POINTS[1, 0, np.arange(60) % 5] * 3, "AP",
        np.linspace(0.6, 1.2, 60), **k
    ),
    "Spike": lambda **k: tio.Spike([(0.3, 0.6, 0.7), (0.9, 0.5, 0.2)], (0.2, 0.4), **k),
    "Blur": lambda **k: tio.Blur((1, 2, 3), **k),
    "Anisotropy": lambda **k: tio.Anisotropy(1, 2.5, **k),
    "Rings": lambda **k: tio.Rings(0.004, 0.5, 3, 1, 7, **k),
    "RandomRings": lambda **k: tio.RandomRings((0.004, 0.01), (0.3, 0.5), (1, 3), **k),
    "SparseView": lambda **k: tio.SparseView(7, 1, views=20, **k),
    "RandomSparseView": lambda **k: tio.RandomSparseView((5, 10), views=20, **k),
    "LimitedAngle": lambda **k: tio.LimitedAngle(130, 20, 0, views=20, **k),
    "RandomLimitedAngle": lambda **k: tio.RandomLimitedAngle((100, 150), views=20, **k),
    "Metal": lambda **k: tio.Metal(None, 4000, 0.3, 2e-3, 0.7, 1, 20, **k),
    "RandomMetal": lambda **k: tio.RandomMetal(threshold=0.7, views=20, **k),
    "ReconstructionKernel": lambda **k: tio.ReconstructionKernel(0.4, 0.3, **k),
    "RandomReconstructionKernel": lambda **k: tio.RandomReconstructionKernel((2, 3), **k),
    "SliceThickness": lambda **k: tio.SliceThickness(4.5, **k),
    "RandomSliceThickness": lambda **k: tio.RandomSliceThickness((4, 9), **k),
    "Window": lambda **k: tio.Window((0.4, 0.7), **k),
    "RandomWindow": lambda **k: tio.RandomWindow((0.4, 0.7), **k),
    "Attenuation": lambda **k: tio.Attenuation(BEAMS, 2, **GREY, **k),
    "RandomAttenuation": lambda **k: tio.RandomAttenuation(BEAMS, (1, 3), **GREY, **k),
    "Haze": lambda **k: tio.Haze(BEAMS, 0.6, **GREY, seed=7, **k),
    "RandomHaze": lambda **k: tio.RandomHaze(BEAMS, **GREY, **k),
    "Speckle": lambda **k: tio.Speckle(BEAMS, 0.7, **GREY, seed=7, **k),
    "RandomSpeckle": lambda **k: tio.RandomSpeckle(BEAMS, **GREY, **k),
    "TimeGain": lambda **k: tio.TimeGain(BEAMS, (-2, 3, 5), **GREY, **k),
    "RandomTimeGain": lambda **k: tio.RandomTimeGain(BEAMS, **GREY, **k),
    "Swap": lambda **k: tio.Swap(1, [[(0, 0, 0), (1, 2, 0)], [(1, 2, 0), (1, 1, 0)]], **k),
    "Lambda": lambda **k: tio.Lambda(square, types_to_apply=["intensity"], **k),
    "Lambda, batched": lambda **k: tio.Lambda(square, ["intensity"], batched=True, **k),
    "RescaleIntensity": lambda **k: tio.RescaleIntensity(2, **k),
    "RescaleIntensity, percentiles": lambda **k: tio.RescaleIntensity((-1, 3), (2, 98), **k),
    "ZNormalization": lambda **k: tio.ZNormalization(**k),
    "Clamp": lambda **k: tio.Clamp(-0.5, 0.8, **k),
    "Mask": lambda **k: tio.Mask("left", **k),
    "OneOf": lambda **k: tio.OneOf(
        {tio.RandomAffine(**AFFINE): 2, tio.RandomElasticDeformation(**ELASTIC): 1,
         tio.RandomBlur((1, 4)): 1, tio.RandomNoise(): 1}, **k
    ),
    "SomeOf": lambda **k: tio.SomeOf(
        [tio.RandomAffine(**AFFINE), tio.RandomGhosting((2, 4)), tio.RandomNoise()], (1, 2), **k
    ),
    "Compose": lambda **k: tio.Compose(
        [tio.RandomAffine(**AFFINE, p=0.7), tio.RandomElasticDeformation(**ELASTIC, p=0.7),
         tio.RandomFlip((0, 1, 2)), tio.RandomBiasField(p=0.5), tio.RandomGamma(p=0.5),
         tio.RandomNoise(p=0.5)], **k
    ),
}  # fmt: skip
#: Those that give images another grid.
GRID = np.diag([1.5, 2, 2.5, 1])
GRID[:3, 3] = subject().t1.space.centre[0] - GRID[:3, :3] @ (4, 3.5, 3)
REGRIDS = {
    "ToOrientation": lambda **k: tio.ToOrientation("SPL", **k),
    "Transpose": lambda **k: tio.Transpose(**k),
    "Resample": lambda **k: tio.Resample((1.3, 1.2, 2.5), **k),
    "Resample, bspline": lambda **k: tio.Resample(1.4, "bspline", "label", **k),
    "Resample, antialias": lambda **k: tio.Resample((2.3, 3, 4), antialias=True, **k),
    "Resample, onto a grid": lambda **k: tio.Resample(
        ((9, 8, 7), GRID), **k
    ),
    "Resize": lambda **k: tio.Resize((5, -1, 9), **k),
    "Crop": lambda **k: tio.Crop((1, 0, 0, 1, 0, 0), **k),
    "Pad": lambda **k: tio.Pad((1, 2, 0), padding_mode=5, **k),
    "Pad, reflect": lambda **k: tio.Pad((1, 2, 0), padding_mode="reflect", **k),
    "Pad, mean": lambda **k: tio.Pad((1, 2, 0), padding_mode="mean", **k),
    "CropOrPad": lambda **k: tio.CropOrPad((3, 20, None), **k),
    "CropOrPad, random": lambda **k: tio.CropOrPad((3, 8, 9), location="random", **k),
    "EnsureShapeMultiple": lambda **k: tio.EnsureShapeMultiple((4, 5, 1), **k),
}  # fmt: skip
#: Those that cannot be called with any image, or need choosing, are tested by themselves.
COUNT = count()
NOT_CALLED_ALONE = {
    *("Recorded", "LabelsToImage", "RandomLabelsToImage", "HistogramStandardization", "PCA", "To"),
    *("CopyAffine", "ToCanonical", "ToReferenceSpace"),
    *("SubjectFunction", "MonaiAdapter"),
    # need a label map
    *("LabelAttenuation", "RandomLabelAttenuation"),
    *("LabelsToUltrasound", "RandomLabelsToUltrasound"),
    # of batches, whose samples they mix
    *("MixUp", "CutMix", "ClassMix"),
    # of label maps alone
    *("Contour", "KeepLargestComponent", "OneHot"),
    *("ErodeLabels", "RandomErodeLabels", "DilateLabels", "RandomDilateLabels"),
    *("SmoothLabels", "RandomSmoothLabels"),
    *("RemapLabels", "RemoveLabels", "SequentialLabels"),
}


def square(x):
    return x * x


def transforms_without_arguments():
    """Return transforms that can be made without arguments and have no entry above."""
    known = {name.partition(",")[0] for name in (*TRANSFORMS, *REGRIDS)} | NOT_CALLED_ALONE
    found = {}
    for name in tio.transforms.__all__:
        cls = getattr(tio, name)
        if name in known or not (inspect.isclass(cls) and issubclass(cls, Transform)):
            continue
        arguments = inspect.signature(cls).parameters.values()
        needed = [a for a in arguments if a.default is a.empty and a.kind is not a.VAR_KEYWORD]
        if not needed and not inspect.isabstract(cls):
            found[name] = cls
    return found


TRANSFORMS |= transforms_without_arguments()


def pytest_generate_tests(metafunc):
    """Parametrize by transforms; ``same_grid`` selects those that keep the grid."""
    if "make" in metafunc.fixturenames:
        same = metafunc.definition.get_closest_marker("same_grid")
        known = TRANSFORMS if same else {**TRANSFORMS, **REGRIDS}
        metafunc.parametrize("make", known.values(), ids=known.keys())


@pytest.fixture(autouse=True)
def _no_folding_warnings():
    # small test volumes have close control points
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "max_displacement should stay below")
        yield


def voxels_of(batch):
    return {name: images.data for name, images in batch.images.items()}


def test_all_public_transforms_are_tested():
    public = {
        name for name in tio.transforms.__all__
        if isinstance(getattr(tio, name), type) and issubclass(getattr(tio, name), Transform)
    }  # fmt: skip
    tested = {name.split(",")[0] for name in (*TRANSFORMS, *REGRIDS)}
    kinds = {name for name in public if getattr(tio, name).__module__.endswith((".base", ".kinds"))}
    assert public - tested - NOT_CALLED_ALONE - kinds == set()


def test_batch_equals_single_samples(make):
    """The same seed gives the same sample: alone, in a batch, in any order."""
    transform = make()
    subjects = [subject(seed=n) for n in range(3)]
    seeds = [11, -22, 33]
    together = voxels_of(transform(batch_of(subjects, seeds)))
    reversed_order = voxels_of(transform(batch_of(subjects[::-1], seeds[::-1])))
    for n in range(3):
        alone = voxels_of(transform(batch_of(subjects[n : n + 1], seeds[n : n + 1])))
        for name in ("t1", "seg"):
            assert_close(alone[name][0], together[name][n], share=2e-6,
                         reason="matrix products may round by batch size")  # fmt: skip
            assert_close(
                reversed_order[name][2 - n], together[name][n], share=2e-6, reason="as above"
            )
    changed = [not torch.equal(together["t1"][n], subjects[n].t1.data) for n in range(3)]
    assert any(changed)


def test_samples_are_independent(make):
    """Changing the voxels of one sample changes no other, bit for bit."""
    transform = make()
    subjects = [subject(seed=n) for n in range(3)]
    first = voxels_of(transform(batch_of(subjects, [1, 2, 3])))["t1"]
    subjects[1] = subject(seed=9)
    second = voxels_of(transform(batch_of(subjects, [1, 2, 3])))["t1"]
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[2], second[2])
    assert not torch.equal(first[1], second[1])


@pytest.mark.same_grid
def test_same_type_comes_out(make):
    transform = make()
    x = smooth((2, 1, 8, 9, 10)).float()
    assert transform(x).shape == x.shape
    assert transform(x[0]).shape == x[0].shape
    array = transform(x[0].numpy())
    assert isinstance(array, np.ndarray)
    assert array.shape == (1, 8, 9, 10)
    image = transform(tio.ScalarImage(x[0], affine=oblique_affine(), name="t1"))
    assert type(image) is tio.ScalarImage
    assert image.name == "t1"
    np.testing.assert_array_equal(image.affine, oblique_affine())
    s = subject()
    out = transform(s)
    assert type(out) is tio.Subject
    assert out.age == 45
    assert type(out.seg) is tio.LabelMap
    batch = transform(batch_of([s, s]))
    assert type(batch) is tio.SubjectsBatch
    assert batch.metadata["age"] == [45, 45]
    images = transform(tio.ImagesBatch(x))
    assert type(images) is tio.ImagesBatch


@pytest.mark.same_grid
def test_images_of_other_libraries(make):
    import nibabel as nib
    import PIL.Image
    import SimpleITK as sitk

    transform = make()
    image = tio.ScalarImage(smooth((1, 1, 8, 9, 10))[0].float(), affine=oblique_affine())
    out = transform(image.as_sitk())
    assert isinstance(out, sitk.Image)
    np.testing.assert_allclose(tio.ScalarImage(out).affine, image.affine, atol=1e-9)
    out = transform(nib.Nifti1Image(image.numpy()[0], image.affine))
    assert isinstance(out, nib.Nifti1Image)
    np.testing.assert_allclose(out.affine, image.affine, atol=1e-5)
    for mode, shape in (("L", (12, 10)), ("RGB", (12, 10, 3))):
        picture = PIL.Image.fromarray(
            (np.arange(np.prod(shape)) % 251).astype(np.uint8).reshape(shape), mode
        )
        out = transform(picture)
        assert isinstance(out, PIL.Image.Image)
        assert (out.mode, out.size) == (mode, picture.size)


def test_dicts_keep_what_is_not_an_image(make):
    transform = make(label_keys=["seg"])
    s = subject()
    x = {"t1": s.t1.data, "seg": s.seg.data, "age": 45, "vector": torch.zeros(3)}
    before = dict(x)
    torch.manual_seed(0)
    out = transform(x)
    assert list(out) == list(x)
    assert out["age"] == 45
    assert out["vector"] is x["vector"]
    assert out["seg"].dtype == torch.uint8
    assert set(out["seg"].unique().tolist()) <= {0, 1, 2}
    assert all(x[key] is before[key] for key in x)
    torch.manual_seed(0)
    same = transform(tio.Subject(
        t1=tio.ScalarImage(s.t1.data), seg=tio.LabelMap(s.seg.data)))  # fmt: skip
    assert torch.equal(out["t1"], same.t1.data)
    assert torch.equal(out["seg"], same.seg.data)


def test_input_is_not_changed(make):
    s = subject()
    before = copy.deepcopy(s)
    batch = batch_of([s])
    data = batch.t1.data.clone()
    make()(s)
    make()(batch)
    assert torch.equal(s.t1.data, before.t1.data)
    assert torch.equal(batch.t1.data, data)
    assert s.history == []
    assert batch.records == []


def test_copy_false_changes_the_container(make):
    s = subject()
    old = s.t1.data
    content = old.clone()
    torch.manual_seed(3)
    expected = make()(s)
    torch.manual_seed(3)
    out = make(copy=False)(s)
    assert out is s
    assert torch.equal(s.t1.data, expected.t1.data)
    assert len(s.history) == len(expected.history)
    assert torch.equal(old, content)
    x = {"t1": old, "age": 1}
    assert make(copy=False)(x) is x


@pytest.mark.same_grid
def test_p_zero_is_the_identity_and_p_decides_per_sample(make):
    subjects = [subject(seed=n) for n in range(2)] * 20
    out = make(p=0)(batch_of(subjects))
    original = batch_of(subjects)
    for name in ("t1", "seg"):
        assert torch.equal(voxels_of(out)[name], voxels_of(original)[name])
    assert out.records == []
    half = make(p=0.5)(batch_of(subjects))
    same = (half.t1.data == original.t1.data).flatten(1).all(1)
    changed = [len(half.history[n]) > 0 for n in range(40)]
    assert 5 < sum(changed) < 36
    for n in range(40):
        if not changed[n]:
            assert same[n], f"sample {n} was left out and differs"


def test_include_and_exclude(make):
    x = smooth((1, 1, 8, 9, 10))[0].float()
    s = tio.Subject(a=tio.ScalarImage(x), b=tio.ScalarImage(x))
    for arguments in ({"include": ["a"]}, {"exclude": ["b"]}):
        out = make(**arguments)(s)
        assert torch.equal(out.b.data, x)
        assert not torch.equal(out.a.data, x)
    absent = f"c{next(COUNT)}"  # warned of once for each class and name
    with pytest.warns(RuntimeWarning, match=f"'{absent}' is none of"):
        out = make(include=[absent])(s)
    assert torch.equal(out.a.data, x)
    assert not torch.equal(make(exclude=[absent])(s).a.data, x)
    with pytest.raises(ValueError, match="must not share names"):
        make(include=["a"], exclude=["a"])
    with pytest.raises(TypeError, match="include must be a sequence of names"):
        make(include="a")


def test_keep_copies_the_image(make):
    s = subject()
    out = make(keep={"t1": "before"})(s)
    assert torch.equal(out.before.data, s.t1.data)
    assert not torch.equal(out.t1.data, s.t1.data)
    assert "before" not in s
    back = out.apply_inverse_transform(warn=False)
    assert torch.equal(back.before.data, s.t1.data)
    with pytest.raises(KeyError, match="keep must name images"):
        make(keep={"t9": "before"})(s)


@pytest.mark.parametrize(
    ("keep", "error", "message"),
    [
        ({"t1": 5}, TypeError, r"keep must be a dict of names or None, got \{'t1': 5\}"),
        ({1: "before"}, TypeError, "keep must be a dict of names or None, got"),
        ([], TypeError, "keep must be a dict of names or None, got"),
        ({"t1": "history"}, ValueError, r"keep must give names .*got \['history'\]: .*uses itself"),
        ({"t1": "images"}, ValueError, r"keep must give names .*got \['images'\]: .*uses itself"),
        ({"t1": "a", "t2": "a"}, ValueError, "keep must give each image a name of its own, got"),
    ],
)
def test_names_to_keep_images_under_are_checked_when_they_are_given(keep, error, message):
    with pytest.raises(error, match=message):
        tio.RandomFlip(keep=keep)
    with pytest.raises(error, match=message):
        tio.Flip().keep = keep
    with pytest.raises(ValueError, match=message):
        tio.from_dict({"_target_": "torchio_gpu.Flip", "keep": keep})


def test_labels_stay_labels(make):
    s = subject()
    out = make()(s)
    assert out.seg.data.dtype == torch.uint8
    assert set(out.seg.data.unique().tolist()) <= {0, 1, 2}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int16])
def test_dtypes(make, dtype):
    x = (smooth((1, 1, 8, 9, 10)) * 10 + 50).to(dtype)
    out = make()(x)
    if dtype.is_floating_point:
        assert out.dtype == dtype
    else:  # unless only whole voxels were moved
        assert out.dtype in (torch.float32, dtype)
    assert torch.isfinite(out.double()).all()


@pytest.mark.parametrize("layout", ["permuted", "cropped", "strided", "expanded", "channels last"])
def test_any_memory_layout(make, layout):
    x = smooth((2, 2, 10, 9, 8)).float()
    y = {
        "permuted": x.permute(4, 2, 0, 1, 3).contiguous().permute(2, 3, 1, 4, 0),
        "cropped": torch.nn.functional.pad(x, (1,) * 6)[..., 1:-1, 1:-1, 1:-1],
        "strided": x.repeat_interleave(2, 4)[..., ::2],
        "expanded": x[:1].expand(2, -1, -1, -1, -1),
        "channels last": x.contiguous(memory_format=torch.channels_last_3d),
    }[layout]
    outs = []
    for voxels_of in (y, y.contiguous()):
        torch.manual_seed(1)
        outs.append(make()(voxels_of))
    assert_close(*outs, share=2e-6, reason="sums may be taken in another order")


@pytest.mark.same_grid
@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 1, 7), (2, 3, 4)])
def test_small_and_flat_volumes(make, shape):
    transform = make()
    if (type(transform).__name__, min(shape[:2])) in (("Swap", 1), ("RandomSwap", shape[2])):
        with pytest.raises(ValueError, match="must leave room for"):
            transform(torch.rand(2, 3, *shape))
        return
    out = transform(torch.rand(2, 3, *shape))
    assert out.shape == (2, 3, *shape)
    assert torch.isfinite(out).all()


@pytest.mark.same_grid
def test_runs_on_the_meta_device(make):
    """On the meta device every look at a value raises: no such look means no wait on a GPU."""
    data = torch.empty(4, 1, 8, 9, 10, device="meta")
    labels = torch.empty(4, 1, 8, 9, 10, device="meta", dtype=torch.uint8)
    batch = tio.SubjectsBatch(
        {"t1": tio.ImagesBatch(data), "seg": tio.ImagesBatch(labels, kind="label")}
    )
    out = make()(batch)
    assert out.t1.data.device.type == "meta"
    assert out.t1.data.shape == data.shape
    assert out.seg.data.dtype == torch.uint8


def test_kernels_agree_with_plain_torch_without_synchronizing(make, gpu_like):
    subjects = [subject((6, 8, 9), seed=n) for n in range(2)]
    with tio.backend("reference"):
        expected = make()(batch_of(subjects, [1, 2]))
    batch = batch_of(subjects, [1, 2]).to(gpu_like)
    if gpu_like.type == "cuda":
        make()(batch)  # warm-up: allocations, cached constants
        batch.streams = tio.random.Streams(np.array([1, 2]))
    with waits_refused():
        out = make()(batch)
    assert out.t1.data.device.type == gpu_like.type
    assert_close(out.t1.data.cpu(), expected.t1.data, share=1e-4,
                 reason="log, cos and interpolation round differently")  # fmt: skip
    assert (out.seg.data.cpu() != expected.seg.data).float().mean() < 1e-3


def test_gradients_reach_the_image(make):
    x = (smooth((1, 1, 4, 5, 3)) + 5).requires_grad_()
    transform = make()

    def run(x):
        torch.manual_seed(1)
        return transform(x)

    assert torch.autograd.gradcheck(run, x, fast_mode=True)


def test_pickles_and_copies(make):
    s = subject()
    transform = make()
    transform(s)  # with its plan made
    for again in (pickle.loads(pickle.dumps(transform)), copy.deepcopy(transform)):
        torch.manual_seed(1)
        expected = transform(s).t1.data
        torch.manual_seed(1)
        assert torch.equal(again(s).t1.data, expected)


def test_is_a_module_without_parameters(make):
    transform = make()
    assert isinstance(transform, torch.nn.Module)
    assert list(transform.parameters()) == []


def test_representation_names_the_class_and_its_arguments(make):
    transform = make(p=0.25)
    assert repr(transform).startswith(type(transform).__name__ + "(")
    if not isinstance(transform, tio.Compose):
        assert "p=0.25" in repr(transform)


def test_history_replays_exactly(make):
    s = subject()
    torch.manual_seed(2)
    out = make()(s)
    again = out.get_composed_history()(s)
    for name in ("t1", "seg"):
        assert torch.equal(again[name].data, out[name].data)
    if type(make()) is tio.Lambda:
        with pytest.raises(TypeError, match="cannot be serialised: its argument function must be"):
            out.get_composed_history()[0].to_dict()
        return
    plain = [recorded.to_dict() for recorded in out.get_composed_history()]
    text = json.loads(json.dumps(plain))
    from_text = tio.Compose([tio.from_dict(record) for record in text])(s)
    if type(make()) is not tio.Compose:  # records apart are not fused where the original was
        assert torch.equal(from_text.t1.data, out.t1.data)


@pytest.mark.same_grid
def test_inverse_undoes(make):
    affine = oblique_affine((1, 1, 1))
    x = smooth((1, 1, 24, 26, 28), seed=4)[0].float()
    s = tio.Subject(
        t1=tio.ScalarImage(x, affine=affine), seg=tio.LabelMap((x > 0).byte(), affine=affine)
    )
    torch.manual_seed(3)
    out = make()(s)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*cannot be undone and is skipped")
        back = out.apply_inverse_transform()
    assert back.history == []
    lost = [record.transform.name for record in out.history if not record.transform.is_invertible()]
    if lost:
        with pytest.warns(RuntimeWarning, match=f"{lost[-1]} cannot be undone and is skipped"):
            out.apply_inverse_transform()
        return
    inner = (slice(None), *[slice(8, -8)] * 3)
    span = x.max() - x.min()
    before = (out.t1.data - x)[inner].abs().mean() / span
    after = (back.t1.data - x)[inner].abs().mean() / span
    assert after < 0.02  # two linear interpolations
    assert after <= 0.6 * before


def test_result_does_not_depend_on_the_thread(make):
    """Calls do not change the state of a transform."""
    from concurrent.futures import ThreadPoolExecutor

    transform = make()
    subjects = [subject(seed=n) for n in range(4)]

    def run(n):
        return transform(batch_of([subjects[n]], [n])).t1.data

    alone = [run(n) for n in range(4)]
    with ThreadPoolExecutor(4) as pool:
        for expected, actual in zip(alone, pool.map(run, range(4)), strict=True):
            assert torch.equal(expected, actual)


@pytest.mark.same_grid
@pytest.mark.parametrize("p", [0.0, 0.5, 1.0])
def test_the_dtype_does_not_depend_on_random_decisions(make, p):
    x = torch.randint(0, 9, (3, 1, 6, 6, 6), dtype=torch.int16)
    types = {make(p=p)(x[n]).dtype for n in range(3)} | {make(p=p)(x).dtype}
    assert len(types) == 1


@pytest.mark.parametrize("dtype", [torch.uint16, torch.uint32])
def test_unsigned_integers_are_computed_in_a_wider_type(make, dtype):
    x = torch.arange(8 * 27).view(1, 6, 6, 6).to(dtype)
    assert torch.isfinite(make()(x).double()).all()
    assert tio.LabelMap(x).data.tolist() == x.tolist()


def test_autocast_does_not_change_the_result(make):
    """Inside autocast, as in a training step, results are those outside."""
    x = smooth((2, 1, 24, 24, 24)).float()
    torch.manual_seed(4)
    expected = make()(x)
    torch.manual_seed(4)
    with torch.autocast("cpu", torch.bfloat16):
        out = make()(x)
    assert torch.equal(out, expected)


def test_attributes_changed_after_construction_take_effect(make):
    transform = make()
    x = torch.rand(1, 6, 6, 6)
    transform(x)
    transform.p = 0.0
    assert torch.equal(transform(x), x)


@pytest.mark.same_grid
def test_a_record_can_be_replayed_where_images_are_missing(make):
    s = subject()
    out = make(include=["t1", "seg"])(s)
    for again in (out.get_composed_history(), out.get_inverse_transform(warn=False)):
        mask = tio.LabelMap(s.seg.data, affine=s.seg.affine)
        result = again(tio.Subject(prediction=mask)).prediction.data
        assert torch.equal(result, again(s).seg.data)


def test_given_parameters_apply_to_the_included_images(make):
    transform = make(include=["a"])
    if isinstance(transform, Composition):
        return  # which has no parameters of its own
    x = smooth((1, 1, 8, 9, 10))
    batch = tio.SubjectsBatch({name: tio.ImagesBatch(x) for name in ("a", "b")})
    out = transform.apply_params(batch, transform.sample_params(batch))
    assert torch.equal(out.b.data, x)
    assert not torch.equal(out.a.data, x)
