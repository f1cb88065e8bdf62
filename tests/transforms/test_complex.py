"""Complex voxels: no imaginary part is dropped silently."""

import numpy as np
import pytest
import torch

import torchio_gpu as tio
from tests.transforms.test_all_transforms import REGRIDS, TRANSFORMS
from tests.volumes import oblique_affine, smooth

ALL = {**TRANSFORMS, **REGRIDS}
#: What has no meaning for complex voxels.
REFUSED = {
    *("Gamma", "RandomGamma", "Gamma, rescaled", "RandomGamma, rescaled"),
    *("RandomGamma, by channel", "Brightness", "RandomBrightness", "RandomBrightness, by channel"),
    *("Contrast", "RandomContrast", "RandomContrast, by channel"),
    *("HistogramShift", "RandomHistogramShift", "RandomHistogramShift, by channel"),
    *("SigmoidContrast", "RandomSigmoidContrast", "RandomSigmoidContrast, by channel"),
    *("Noise, rician", "RandomNoise, rician", "Clamp", "Mask", "Window", "RandomWindow"),
    *("LowDose", "RandomLowDose", "Streaks", "RandomStreaks"),
    *("BeamHardening", "BeamHardening, corrected", "RandomBeamHardening"),
    *("CoilNoise", "RandomCoilNoise", "LowField", "RandomLowField"),
    *("RescaleIntensity", "RescaleIntensity, percentiles", "ZNormalization"),
    *("Rings", "RandomRings", "SparseView", "RandomSparseView", "LimitedAngle"),
    *("RandomLimitedAngle", "Metal", "RandomMetal"),
    *("Attenuation", "RandomAttenuation", "TimeGain", "RandomTimeGain"),
    *("Haze", "RandomHaze", "Speckle", "RandomSpeckle"),
    *("AcousticShadow", "RandomAcousticShadow", "Reverberation", "RandomReverberation"),
    *("Motion", "RandomMotion", "RandomMotion, magnitude", "Spike", "RandomSpike"),
}
#: What adds something of its own, so that it is not linear.
ADDS = {"Noise", "RandomNoise", "RandomNoise, by channel", "Pad", "Lambda", "Lambda, batched"}
ADDS |= {"Cutout", "RandomCutout", "RandomZipper", "Zipper", "Zipper, real"}
#: Pipelines with steps that are refused, or may be.
PIPELINES = {"Compose", "SomeOf", "OneOf"}
pytestmark = pytest.mark.filterwarnings("ignore:max_displacement should stay below")


def volume(dtype=torch.complex64):
    real, imaginary = (smooth((2, 1, 10, 11, 12), seed=n) for n in (0, 5))
    return torch.complex(real, imaginary).to(dtype)


def run(name, x):
    torch.manual_seed(3)
    affine = np.stack([oblique_affine()] * len(x))
    return ALL[name]()(tio.ImagesBatch(x, affine)).data


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
@pytest.mark.parametrize("name", [name for name in ALL if name not in PIPELINES])
def test_complex_voxels_are_transformed_by_parts_or_refused(name, dtype):
    x = volume(dtype)
    if name in REFUSED:
        with pytest.raises(ValueError, match="must be real: for complex voxels"):
            run(name, x)
        return
    out = run(name, x)
    assert out.dtype == dtype
    assert out.imag.abs().max() > 0.1
    if name not in ADDS:  # the parts are treated alike
        torch.testing.assert_close(run(name, 1j * x), 1j * out, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "name", ["Flip", "Crop", "ToOrientation", "Transpose", "Swap", "CropOrPad"]
)
def test_moved_voxels_are_bit_equal(name):
    x = volume()
    out = run(name, x)
    assert torch.equal(out.real, run(name, x.real))
    assert torch.equal(out.imag, run(name, x.imag))


def test_noise_is_independent_in_both_parts():
    x = torch.zeros(1, 1, 30, 30, 30, dtype=torch.complex64)
    out = tio.Noise(0.0, 2.0, seed=1)(x).flatten()
    assert abs(out.real.std() - 2) < 0.05
    assert abs(out.imag.std() - 2) < 0.05
    assert abs((out.real * out.imag).mean()) < 0.1


def test_pipelines():
    x = volume()
    steps = [tio.Affine(degrees=(5, 10, 15)), tio.Flip(0), tio.Blur(1.0)]
    steps += [tio.BiasField([0.1, 0.2, 0.3, 0.4] + [0] * 16)]
    fused = tio.Compose(steps)(x)
    apart = x
    for step in steps:
        apart = step(apart)
    assert fused.is_complex()
    inner = (..., *[slice(2, -2)] * 3)
    torch.testing.assert_close(fused[inner], apart[inner], rtol=0.05, atol=0.1)
    with pytest.raises(ValueError, match="must be real"):
        tio.Compose([tio.Flip(0), tio.Gamma(1.2)])(x)


def test_gradients_flow():
    x = volume(torch.complex128)[:, :, :4, :4, :3].requires_grad_()
    assert torch.autograd.gradcheck(lambda x: tio.Affine(degrees=(5, 10, 15))(x), x)


def test_components_need_real_voxels():
    with pytest.raises(ValueError, match="must be real: for complex voxels"):
        tio.PCA(1)(volume()[0].repeat(2, 1, 1, 1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.int16])
@pytest.mark.parametrize("convert", ["To", "Image", "ImagesBatch", "Subject"])
def test_no_conversion_drops_the_imaginary_part(convert, dtype):
    image = tio.ScalarImage(volume()[0])
    with pytest.raises(ValueError, match="dtype must be complex for complex voxels"):
        {
            "To": lambda: tio.To(dtype)(image),
            "Image": lambda: image.to(dtype),
            "ImagesBatch": lambda: tio.ImagesBatch(volume()).to("cpu", dtype),
            "Subject": lambda: tio.Subject(a=image).to(dtype=dtype),
        }[convert]()
    assert image.to(torch.complex128).data.dtype == torch.complex128


@pytest.mark.parametrize("mode", tio.functional.pad.PADDINGS)
def test_paddings_keep_both_parts_or_refuse(mode):
    pad, x = tio.Pad(2, padding_mode=mode), volume()[0]
    if mode in ("minimum", "maximum", "median"):
        with pytest.raises(ValueError, match="must be real: for complex voxels"):
            pad(x)
        return
    torch.testing.assert_close(pad(x), torch.complex(pad(x.real), pad(x.imag)))
