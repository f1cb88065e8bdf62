"""Descriptions: every transform is written as plain values, and constructed from them again."""

import json

import numpy as np
import pytest
import torch
from torch import distributions

import torchio_gpu as tio
from tests.close import assert_close
from tests.transforms.test_all_transforms import REGRIDS, TRANSFORMS, VECTORS, VECTORS_AFFINE
from tests.volumes import subject
from torchio_gpu import names
from torchio_gpu.transforms.building import CLASSES
from torchio_gpu.transforms.descriptions import DISTRIBUTIONS

pytestmark = pytest.mark.filterwarnings("ignore:max_displacement should stay below")
GRID = np.diag([2.0, 2, 3, 1])
LANDMARKS = {"t1": np.linspace(0, 100, 13)}
IMAGE = tio.ScalarImage(torch.rand(1, 6, 7, 8), affine=GRID)
FIELD = tio.ScalarImage(VECTORS, affine=VECTORS_AFFINE)
CHOICE = tio.Choice([0, 1, 3], probabilities=[1, 2, 4])
CHOICE_OF_HERTZ = tio.Choice([50, 100])
FACTOR = distributions.Uniform(0.9, 1.2)
CHOICE_OF_SHARES = tio.Choice([0.1, 0.5])
NORMAL_DEPTH = distributions.Uniform(1.0, 3.0)
PROBE = tio.BeamGeometry("convex", angle=50.0, depth=40.0)
NORMAL = distributions.Normal(0.0, 0.3)

#: Further arguments, of all kinds, by the name of a transform.
MORE = {
    "RandomAffine": [
        lambda: tio.RandomAffine((0.9, 1.1, 1, 1, 0.8, 1), (CHOICE, (1, 2), 5), NORMAL),
        lambda: tio.RandomAffine(
            center="origin", default_pad_value=3.5, default_pad_label=1,
            image_interpolation="bspline", label_interpolation="label", check_shape=False, p=0.9,
            include=["t1"], keep={"t1": "before"}, copy=False,
        ),
    ],
    "RandomElasticDeformation": [
        lambda: tio.RandomElasticDeformation((5, 6, 7), (1, 0.5, 0), 1),
    ],
    "RandomAffineElasticDeformation": [
        lambda: tio.RandomAffineElasticDeformation(
            False, {"degrees": CHOICE, "scales": (0.9, 1.1)}, {"num_control_points": (5, 5, 6)}
        ),
    ],
    "RandomFlip": [lambda: tio.RandomFlip(("Left", 1), 1, exclude=["seg"])],
    "RandomAnisotropy": [lambda: tio.RandomAnisotropy((0, "IS"), distributions.Uniform(1.5, 2))],
    "RandomBiasField": [lambda: tio.RandomBiasField((-0.2, 0.3), order=2)],
    "RandomBlur": [lambda: tio.RandomBlur((0, 1, 1, 2, 0.5, 3)), lambda: tio.RandomBlur((1, 1, 1))],
    "RandomGhosting": [lambda: tio.RandomGhosting(tio.Choice([2, 4]), ("LR",), (0.2, 0.9), 0.1)],
    "RandomGibbs": [lambda: tio.RandomGibbs((0.5, 0.6), (0, 1), (0.1, 0.2))],
    "RandomPartialFourier": [
        lambda: tio.RandomPartialFourier((0.6, 0.7), (0, "AP"), "conjugate", output="real")
    ],
    "RandomWrap": [lambda: tio.RandomWrap(tio.Choice([2, 4]), ("LR",), 0.5, (0, 0.2))],
    "RandomChemicalShift": [
        lambda: tio.RandomChemicalShift((50, 90), (0.5, 1.5), ("AP", 0), "seg", (2,)),
        lambda: tio.RandomChemicalShift(CHOICE_OF_HERTZ, fat="Left", brightest=0.2),
    ],
    "RandomZipper": [lambda: tio.RandomZipper(0.5, (0.2, 0.8), ("AP", 0), "real")],
    "RandomCoilNoise": [lambda: tio.RandomCoilNoise(0.2, 3, 1, 2, False)],
    "RandomLowDose": [lambda: tio.RandomLowDose((0.2, 0.4), 1e5, (5, 20), ("LR"), 180)],
    "RandomStreaks": [lambda: tio.RandomStreaks(400, 20, (500, 800), {"t1": "AP"}, 90)],
    "RandomBeamHardening": [lambda: tio.RandomBeamHardening(2, (200, 400), False, 1, 90)],
    "RandomLowField": [
        lambda: tio.RandomLowField(0.2, 1.5, 1.75, (20, 30), (0, 1, 0, 0, 1, 2), 0.4),
    ],
    "RandomReconstructionKernel": [
        lambda: tio.RandomReconstructionKernel(tio.Choice([0.5, 2]), (0.3, 0.6)),
    ],
    "RandomRings": [lambda: tio.RandomRings(0.01, (0.1, 0.2), tio.Choice([1, 4]), 1)],
    "RandomSparseView": [lambda: tio.RandomSparseView((20, 40), 2, 180)],
    "RandomLimitedAngle": [lambda: tio.RandomLimitedAngle((100, 150), NORMAL, "LR", 180)],
    "RandomMetal": [
        lambda: tio.RandomMetal("seg", 9000, 0.2, (1e-4, 1e-3), views=90),
        lambda: tio.RandomMetal(threshold=2000, axis={"t1": 1}, maximum=30000),
    ],
    "Metal": [lambda: tio.Metal("seg", {"t1": 9000}, np.array([0.2]), torch.tensor([0.01]))],
    "RandomSliceThickness": [lambda: tio.RandomSliceThickness(5)],
    "RandomWindow": [
        lambda: tio.RandomWindow({"t1": "bone"}, (0, 0.2), 0.3, (-1, 1)),
        lambda: tio.RandomWindow((40, 80), 0.2, FACTOR),
    ],
    "Window": [lambda: tio.Window("brain", 2), lambda: tio.Window({"t1": (40, 80)})],
    "Attenuation": [
        lambda: tio.Attenuation("linear", {"t1": 2}, (2, 0), 50),
        lambda: tio.Attenuation(tio.BeamGeometry("phased", depth=30.0, center=(1, 2)), [1.5]),
    ],
    "RandomAttenuation": [lambda: tio.RandomAttenuation(["convex", None, 60], 3)],
    "TimeGain": [
        lambda: tio.TimeGain({"probe": "phased", "angle": 90}, np.array([[1.0, 2]]), white=1.0)
    ],
    "RandomTimeGain": [lambda: tio.RandomTimeGain(tio.BeamGeometry(), (-3, 4), 5)],
    "Speckle": [lambda: tio.Speckle("linear", {"t1": 1}, {"t1": 0.5}, [1.0], seed={"t1": 4})],
    "RandomSpeckle": [lambda: tio.RandomSpeckle("phased", 1, tio.Choice([1, 2]), (1, 2), (1, 2))],
    "Haze": [lambda: tio.Haze(tio.BeamGeometry("linear", 40), torch.tensor(0.5), 20, 1, 3)],
    "RandomHaze": [lambda: tio.RandomHaze("linear", 0.5, 20, 1, (1, 3), (0, 2))],
    "RandomMotion": [lambda: tio.RandomMotion((1, 5), NORMAL, 3, axes=("AP",), output="magnitude")],
    "RandomSliceMotion": [
        lambda: tio.RandomSliceMotion((1, 5), NORMAL, 0.5, (1, 3), 4, 0.2, (1, "LR"), "nearest")
    ],
    "RandomSwap": [lambda: tio.RandomSwap((2, 1, 3), 4)],
    "RandomLabelsToImage": [
        lambda: tio.RandomLabelsToImage(
            "seg", mean=[(0, 1), 5, (7, 8)], std=[(0, 0.1)] * 3, image_key="new"
        ),
        lambda: tio.RandomLabelsToImage(
            "seg", used_labels=(1, 2), default_mean=NORMAL, discretize=True, ignore_background=True
        ),
    ],
    "RandomCutout": [
        lambda: tio.RandomCutout(tio.Choice([1, 3]), (1, 2, 3), "mean", scalars_only=False)
    ],
    "Cutout": [lambda: tio.Cutout([(0, 1, 2)], np.array([(2, 2, 2)]), torch.tensor([3.0]))],
    "RandomHistogramShift": [
        lambda: tio.RandomHistogramShift(4, distributions.Uniform(-0.2, 0.3), channel_p=0.5)
    ],
    "HistogramShift": [lambda: tio.HistogramShift({"t1": torch.tensor([[[0.1, 0.2]]])})],
    "RandomSigmoidContrast": [lambda: tio.RandomSigmoidContrast(3, (0.4, 0.5), by_channel=True)],
    "SigmoidContrast": [lambda: tio.SigmoidContrast({"t1": 4}, np.array([0.4]))],
    "RandomDisplacement": [lambda: tio.RandomDisplacement(tio.Choice([0.5, 1]), 6)],
    "RandomB0Distortion": [
        lambda: tio.RandomB0Distortion((50, 90), 8, (0, "LR"), -25.0),
        lambda: tio.RandomB0Distortion(tio.Choice([1, 2]), 6, 2),
    ],
    "B0Distortion": [
        lambda: tio.B0Distortion(tio.ScalarImage(VECTORS[:1], affine=VECTORS_AFFINE), "LR", 25)
    ],
    "AcousticShadow": [
        lambda: tio.AcousticShadow(PROBE, {"t1": 6}, torch.tensor([0.3]), axes=(2, 0), white=1)
    ],
    "RandomAcousticShadow": [
        lambda: tio.RandomAcousticShadow("phased", CHOICE, 0.5, (0.1, 0.2), NORMAL_DEPTH),
    ],
    "LabelAttenuation": [lambda: tio.LabelAttenuation(PROBE, {1: 2.5, 3: torch.tensor([1.0])})],
    "RandomLabelAttenuation": [lambda: tio.RandomLabelAttenuation(PROBE, {2: CHOICE}, "seg")],
    "LabelsToUltrasound": [
        lambda: tio.LabelsToUltrasound(
            PROBE, {1: 0.2, 0: 0.1}, impedance={0: 1.5, 1: 6}, gain_per_cm=2
        ),
        lambda: tio.LabelsToUltrasound("linear", [0.1, 0.2, 0.3], seed=4, axes=(1, 0)),
    ],
    "RandomLabelsToUltrasound": [
        lambda: tio.RandomLabelsToUltrasound(
            PROBE, used_labels=[2], mean={2: (0.1, 0.2)}, density=0.5, axial=(0.5, 1)
        ),
    ],
    "Reverberation": [lambda: tio.Reverberation(PROBE, {"t1": 0.3}, np.array([4.0]), 2)],
    "RandomReverberation": [lambda: tio.RandomReverberation(PROBE, CHOICE_OF_SHARES, (2, 9), 2)],
    "Affine": [
        lambda: tio.Affine(torch.tensor([1.1, 1, 1]), np.array([5, 0, 0]), (1, 2, 3), "origin")
    ],
    "AffineElasticDeformation": [
        lambda: tio.AffineElasticDeformation(
            elastic_params={"control_points": torch.zeros(5, 5, 5, 3)}
        )
    ],
    "Displacement": [lambda: tio.Displacement(FIELD)],
    "Diffeomorphism": [lambda: tio.Diffeomorphism(FIELD)],
    "Anisotropy": [lambda: tio.Anisotropy([1], [2.5], scalars_only=False)],
    "BiasField": [lambda: tio.BiasField({"t1": torch.linspace(-0.2, 0.2, 4)}, order=1)],
    "Blur": [lambda: tio.Blur({"t1": 2})],
    "Gamma": [lambda: tio.Gamma(torch.tensor([1.5], requires_grad=True))],
    "Noise": [lambda: tio.Noise({"t1": 0}, {"t1": 2}, {"t1": 5}, rician=True)],
    "Ghosting": [lambda: tio.Ghosting(3, "LR", {"t1": 0.5}, {"t1": None})],
    "Clamp": [lambda: tio.Clamp(out_max={"t1": 0.5})],
    "LabelsToImage": [lambda: tio.LabelsToImage("seg", [0, 5, 7], torch.ones(3), seed=4)],
    "HistogramStandardization": [
        lambda: tio.HistogramStandardization(LANDMARKS),
        lambda: tio.HistogramStandardization(LANDMARKS, masking_method=(1, 2, 0)),
    ],
    "RescaleIntensity": [
        lambda: tio.RescaleIntensity((0, 5), (1, 99), "seg", (0, 0.5)),
        lambda: tio.RescaleIntensity(np.array([-1, 1]), masking_method="Left"),
    ],
    "ZNormalization": [lambda: tio.ZNormalization((1, 2, 1, 0, 0, 2))],
    "Mask": [lambda: tio.Mask("seg", 4, labels=(2,))],
    "PCA": [lambda: tio.PCA(1, whiten=False, values_range=(-1, 2), include=["t1"])],
    "To": [
        lambda: tio.To(torch.float16),
        lambda: tio.To("cpu", {"dtype": torch.float64, "non_blocking": True}),
    ],
    "OneHot": [lambda: tio.OneHot(4)],
    "RemapLabels": [lambda: tio.RemapLabels({1: 2, 2: 1}, "Right")],
    "RemoveLabels": [lambda: tio.RemoveLabels((1,), 5)],
    "SequentialLabels": [lambda: tio.SequentialLabels("Anterior")],
    "ErodeLabels": [lambda: tio.ErodeLabels(np.array([1.5]), (1,))],
    "RandomErodeLabels": [lambda: tio.RandomErodeLabels(tio.Choice([0, 1]), (1, 2))],
    "DilateLabels": [lambda: tio.DilateLabels(2, include=["seg"])],
    "RandomDilateLabels": [lambda: tio.RandomDilateLabels(1.5)],
    "SmoothLabels": [lambda: tio.SmoothLabels(1.5, (1, 2))],
    "RandomSmoothLabels": [lambda: tio.RandomSmoothLabels((0.5, 1))],
    "Contour": [lambda: tio.Contour(include=["seg"])],
    "KeepLargestComponent": [lambda: tio.KeepLargestComponent()],
    "ToCanonical": [lambda: tio.ToCanonical(exclude=["seg"])],
    "CopyAffine": [lambda: tio.CopyAffine("t1")],
    "ToReferenceSpace": [lambda: tio.ToReferenceSpace(IMAGE)],
    "Resample": [
        lambda: tio.Resample(IMAGE, "bspline", scalars_only=True),
        lambda: tio.Resample("t1", label_interpolation="label"),
        lambda: tio.Resample(np.array([1.5, 1, 2]), antialias=True),
    ],
    "CropOrPad": [
        lambda: tio.CropOrPad(mask_name="seg", labels=[1], padding_mode="reflect"),
        lambda: tio.CropOrPad([12.5, None, 30], units="mm", only_pad=True),
    ],
    "Pad": [lambda: tio.Pad((1, 0, 2, 1, 0, 3), "edge")],
    "Crop": [lambda: tio.Crop((1, 2, 1))],
    "EnsureShapeMultiple": [lambda: tio.EnsureShapeMultiple((4, 1, 3), method="crop")],
    "Compose": [
        lambda: tio.Compose({"first": tio.RandomFlip(), "then": tio.RandomGamma(0.2)}, fuse=False),
        lambda: tio.Compose([]),
    ],
    "MixUp": [lambda: tio.MixUp(0.3, exclude=["seg"], p=0.9)],
    "CutMix": [lambda: tio.CutMix(0.5)],
    "ClassMix": [lambda: tio.ClassMix("seg", labels=(1, 2))],
    "OneOf": [
        lambda: tio.OneOf([tio.RandomFlip(), tio.RandomNoise()]),
        lambda: tio.OneOf([tio.RandomFlip(), tio.RandomNoise()], weights=(1, 3), p=0.9),
        lambda: tio.OneOf({tio.Compose([tio.RandomBlur(CHOICE), tio.RandomNoise()]): 0.3,
                           tio.SomeOf([tio.RandomGamma(), tio.RandomFlip()]): 0.7}),
    ],
    "SomeOf": [
        lambda: tio.SomeOf([tio.RandomFlip(), tio.RandomNoise(), tio.RandomGamma()], (0, 2),
                           weights=[1, 0, 2.5]),
    ],
    "Inverse": [lambda: tio.Flip("LR").inverse()],
}  # fmt: skip
CASES = {
    **{name: make for name, make in {**TRANSFORMS, **REGRIDS}.items() if "Lambda" not in name},
    **{f"{name}, {n} more": each for name, made in MORE.items() for n, each in enumerate(made)},
}
#: Those whose arrays are float32: from a text, they are computed with in float64.
NARROW = ("Displacement", "Diffeomorphism", "Affine, 0", "Gamma", "BiasField", "LabelsToImage")


def test_all_transforms_are_described():
    tested = {name.partition(",")[0] for name in CASES}
    assert set(CLASSES) - tested == {"Lambda"}
    assert set(names.TRANSFORMS) < set(CLASSES)


def constructed(value):
    """Construct what a description in the style of Hydra describes; lists stay lists."""
    if isinstance(value, list):
        return [constructed(each) for each in value]
    if not isinstance(value, dict):
        return value
    arguments = {key: constructed(each) for key, each in value.items() if key != "_target_"}
    if "_target_" not in value:
        return arguments
    module, _, name = value["_target_"].rpartition(".")
    if module == "torchio_gpu.transforms.inverse":
        return tio.transforms.inverse.Inverse(**arguments)
    return getattr({"torchio_gpu": tio, "torch.distributions": distributions}[module], name)(
        **arguments
    )


def voxels(transform):
    torch.manual_seed(4)
    if isinstance(transform, tio.BatchTransform):
        pair = tio.SubjectsBatch.from_subjects([subject(), subject(seed=1)])
        return {name: images.data for name, images in transform(pair).images.items()}
    out = transform(subject())
    return {name: image.data for name, image in out.get_images_dict(False).items()}


@pytest.mark.parametrize("name", CASES)
def test_descriptions_construct_an_equal_transform(name):
    transform = CASES[name]()
    given = transform.to_dict()
    text = json.loads(json.dumps(given))
    by_path = json.loads(json.dumps(transform.to_dict("class_path")))
    expected = voxels(transform)
    for again in (tio.from_dict(text), tio.from_dict(by_path), constructed(text)):
        assert type(again) is type(transform)
        assert json.loads(json.dumps(again.to_dict())) == text
        found = voxels(again)
        assert list(found) == list(expected)
        for key, x in expected.items():
            if name.startswith(NARROW):
                assert_close(found[key], x, share=2e-6, reason="arrays in float64 for float32")
            else:
                assert torch.equal(found[key], x)


@pytest.mark.parametrize(
    "value",
    [
        np.float64(0.5), np.float32(0.5), np.int64(1), np.array(0.5), np.array([0.5, 1]),
        torch.tensor(0.5), torch.tensor([0.5, 1]), (np.float64(0.5), np.array(1.0)),
        [torch.tensor(0.5), np.float32(1)],
    ],
    ids=repr,
)  # fmt: skip
@pytest.mark.parametrize(
    ("cls", "name"),
    [(tio.RandomNoise, "std"), (tio.RandomNoise, "mean"), (tio.RandomAffine, "degrees")],
)
def test_numbers_of_numpy_and_torch_are_written_as_plain_ones(cls, name, value):
    """Whatever the default is: a number, a pair, or None."""
    transform = cls(**{name: value})
    parts = value if isinstance(value, (tuple, list)) else [value]
    plain = [each.tolist() for each in parts]
    (only, *more) = plain
    assert transform.to_dict()[name] == (plain if more else only)
    shown = repr(plain if more else only)
    assert repr(transform).replace("(", "[").replace(")", "]") == f"{cls.__name__}[{name}={shown}]"


def test_defaults_of_a_user_may_be_arrays():
    ones = np.ones(3)

    class Weighted(tio.transforms.Transform):
        def __init__(self, weights=ones, **kwargs):
            super().__init__(**kwargs)
            self.weights = weights

        def apply_transform(self, subject):
            return subject

    assert repr(Weighted()) == "Weighted()"
    assert repr(Weighted(2)) == "Weighted(weights=2)"
    assert Weighted(np.float64(2)).to_dict()["weights"] == 2


def test_names_of_a_compose_are_kept():
    again = tio.from_dict(tio.Compose({"a": tio.RandomFlip(), "b": tio.Blur(1)}).to_dict())
    assert again["b"] is again[1]
    again.transforms.reverse()  # the list is what counts
    assert [each["_target_"] for each in again.to_dict()["transforms"]] == [
        "torchio_gpu.Blur", "torchio_gpu.RandomFlip",
    ]  # fmt: skip


PARAMETERS = {
    "Bernoulli": {"probs": 0.3}, "Beta": {"concentration1": 2.0, "concentration0": 3.0},
    "Binomial": {"total_count": 5, "probs": 0.25}, "Categorical": {"probs": torch.tensor([1., 3])},
    "Chi2": {"df": 2.0}, "ContinuousBernoulli": {"probs": 0.3}, "Exponential": {"rate": 2.0},
    "FisherSnedecor": {"df1": 3.0, "df2": 4.0}, "Gamma": {"concentration": 2.0, "rate": 0.5},
    "GeneralizedPareto": {"loc": 0.0, "scale": 1.0, "concentration": 0.25},
    "Geometric": {"probs": 0.5}, "HalfCauchy": {"scale": 1.0}, "HalfNormal": {"scale": 0.1},
    "InverseGamma": {"concentration": 3.0, "rate": 1.0},
    "Kumaraswamy": {"concentration1": 2.0, "concentration0": 3.0},
    "MixtureSameFamily": {
        "mixture_distribution": distributions.Categorical(torch.tensor([0.25, 0.75])),
        "component_distribution": distributions.Normal(torch.tensor([0., 9]), torch.ones(2)),
    },
    "NegativeBinomial": {"total_count": 5, "probs": 0.25}, "Pareto": {"scale": 1.0, "alpha": 3.0},
    "Poisson": {"rate": 3.0}, "StudentT": {"df": 3.0, "loc": 1.0}, "Uniform": {"low": 1, "high": 2},
    "VonMises": {"loc": 0.0, "concentration": 2.0}, "Weibull": {"scale": 1.0, "concentration": 2.0},
}  # fmt: skip


@pytest.mark.parametrize("name", [n for n in DISTRIBUTIONS if hasattr(distributions, n)])
def test_distributions_are_written_and_read(name):
    given = PARAMETERS.get(name, {"loc": 0.0, "scale": 0.1})
    transform = tio.RandomAffine(translation=getattr(distributions, name)(**given))
    text = json.loads(json.dumps(transform.to_dict()))
    assert text["translation"]["_target_"] == f"torch.distributions.{name}"
    assert set(text["translation"]) >= {"_target_", *given}
    again = tio.from_dict(text)
    assert again.to_dict() == text
    assert torch.equal(voxels(again)["t1"], voxels(transform)["t1"])


class OwnNormal(distributions.Normal):
    """Distribution of a user."""


@pytest.mark.parametrize(
    ("create", "message"),
    [
        (lambda: tio.Lambda(torch.abs), "function of Lambda must be a number, a string"),
        (lambda: tio.Compose([tio.ZNormalization(torch.abs)]), "masking_method of ZNormalization"),
        (lambda: tio.Compose([lambda s: s]), "function of SubjectFunction"),
        (lambda: tio.RandomNoise(OwnNormal(0, 1)), "mean of RandomNoise must be one of the distr"),
        (
            lambda: tio.RandomNoise(
                distributions.TransformedDistribution(
                    distributions.Normal(0, 1), [distributions.ExpTransform()]
                )
            ),
            "mean of RandomNoise must be one of the distributions",
        ),
        (
            lambda: tio.RandomNoise(
                distributions.Normal(torch.tensor(0.1, dtype=torch.float64), 1)
            ),
            "loc of mean of RandomNoise must be a number of torch.float32",
        ),
    ],
)
def test_what_cannot_be_written_is_named(create, message):
    for style in ("_target_", "class_path"):
        with pytest.raises(TypeError, match=message):
            create().to_dict(style)


def test_unknown_styles_are_refused():
    for made in (tio.RandomFlip(), tio.Compose([])):
        with pytest.raises(ValueError, match="style must be one of _target_, class_path, got 'x'"):
            made.to_dict("x")


# Classes of the user


class Base(tio.RandomNoise):
    def __init__(self, strength=2.0, **kwargs):
        super().__init__(**kwargs)
        self.strength = strength


class Fixed(tio.RandomNoise):
    def __init__(self, **kwargs):
        super().__init__(std=(1, 2), **kwargs)


class Holder(tio.IntensityTransform):
    """Transform of a user that holds others."""

    def __init__(self, inner: tio.Transform, others: list[tio.Transform] | None = None, **kwargs):
        super().__init__(**kwargs)
        self.inner, self.others = inner, others

    def apply_transform(self, subject):
        return self.inner(subject)


def test_classes_of_the_user_are_allowed_by_name():
    own = Base(strength=3.0, std=(0, 1), p=0.5)
    assert own.to_dict() == {
        "_target_": f"{__name__}.Base", "strength": 3.0, "std": [0, 1], "p": 0.5
    }  # fmt: skip
    fixed = Fixed(mean=3)
    assert fixed.to_dict() == {"_target_": f"{__name__}.Fixed", "mean": 3}
    assert tio.from_dict(fixed.to_dict(), allow=Fixed).std == (1, 2)
    held = Holder(own, [tio.RandomFlip(), own], include=["t1"])
    for style in ("_target_", "class_path"):
        text = json.loads(json.dumps(held.to_dict(style)))
        with pytest.raises(ValueError, match=r"must name a transform.*got '.*\.Holder'"):
            tio.from_dict(text)
        with pytest.raises(ValueError, match=r"inner._target_|inner.class_path"):
            tio.from_dict(text, allow=Holder)
        again = tio.from_dict(text, allow=[Holder, Base])
        assert again.to_dict() == held.to_dict()
    for bad in (torch.abs, dict, [dict], 3):
        with pytest.raises(TypeError):
            tio.from_dict({}, allow=bad)


# Histories


def recorded():
    choice = tio.RandomAffine(degrees=(CHOICE, 5, (1, 2)))
    elastic = tio.RandomAffineElasticDeformation(
        affine_kwargs={"degrees": CHOICE},
        elastic_kwargs={"num_control_points": 5, "max_displacement": 1},
    )
    own = tio.RandomGamma(OwnNormal(0, 0.1))
    return tio.Compose(
        [choice, elastic, tio.Flip("LR").inverse(), tio.RandomNoise(NORMAL), own, tio.Pad(2)],
        fuse=False,
    )


@pytest.mark.parametrize("style", ["_target_", "class_path"])
def test_whole_histories_survive_json(style):
    torch.manual_seed(0)
    out = recorded()(subject())
    text = json.loads(json.dumps([record.to_dict(style) for record in out.history]))
    again = tio.from_dict(text)
    assert torch.equal(again(subject()).t1.data, out.t1.data)
    kept = [record.transform.to_dict() for record in out.history[:4]]
    assert [step.transform.to_dict() for step in again[:4]] == kept
    assert again[4].transform.to_dict() == {"_target_": "torchio_gpu.RandomGamma"}  # as documented
    composed = json.loads(json.dumps(out.get_composed_history().to_dict(style)))
    assert torch.equal(tio.from_dict(composed)(subject()).t1.data, out.t1.data)
    back = again.inverse(warn=False)(out)
    assert back.t1.spatial_shape == subject().t1.spatial_shape
