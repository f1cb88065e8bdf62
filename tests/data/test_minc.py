"""MINC 2 files: written and read in the world of the format, which is RAS+."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import torch

import torchio_gpu as tio
from tests.volumes import ASR_AFFINE, oblique_affine
from torchio_gpu.data import io
from torchio_gpu.data.io import minc

SAMPLES = Path(nibabel.__file__).parent / "tests" / "data"
AFFINES = [
    np.diag([1.0, 2, 3, 1]),
    np.diag([-1.0, 2, 3, 1]),
    ASR_AFFINE @ np.diag([1.0, 2, 3, 1]),
    oblique_affine(),
    oblique_affine(left_handed=True),
]


@pytest.mark.parametrize("affine", AFFINES)
@pytest.mark.parametrize("channels", [1, 3])
def test_voxels_and_affine_are_kept(tmp_path, affine, channels):
    x = torch.rand(channels, 4, 5, 6)
    tio.ScalarImage(x, affine=affine).save(tmp_path / "x.mnc")
    image = tio.ScalarImage(tmp_path / "x.mnc")
    assert image.shape == x.shape
    assert not image.loaded
    assert torch.equal(image.data, x)
    np.testing.assert_allclose(image.affine, affine, atol=1e-12)
    part = tio.ScalarImage(tmp_path / "x.mnc")[1:3, 2:4, 5]
    assert torch.equal(part.data, x[:, 1:3, 2:4, 5:])
    np.testing.assert_allclose(part.origin, (affine @ [1, 2, 5, 1])[:3], atol=1e-12)


@pytest.mark.parametrize("affine", AFFINES)
def test_nibabel_reads_what_is_written(tmp_path, affine):
    pytest.importorskip("h5py")
    x = torch.rand(1, 4, 5, 6)
    tio.ScalarImage(x, affine=affine).save(tmp_path / "x.mnc")
    other = tio.ScalarImage(nibabel.load(tmp_path / "x.mnc")).to_ras()
    expected = tio.ScalarImage(x, affine=affine).to_ras()
    torch.testing.assert_close(other.data.float(), expected.data)
    np.testing.assert_allclose(other.affine, expected.affine, atol=1e-9)


#: Shape, first world position, spacing and mean of files of nibabel, by the tools of MINC.
KNOWN = {
    "small.mnc": ((1, 29, 28, 18), (-98, -134, -72), (7, 8, 9), 31.2127952),
    "minc2_1_scale.mnc": ((1, 20, 20, 10), (-20, -20, -10), (2, 2, 2), 0.2091292083),
    "minc2_4d.mnc": ((2, 20, 20, 10), (-20, -20, -10), (2, 2, 2), 0.9090422837),
    "minc2-no-att.mnc": ((1, 20, 20, 10), (0, 0, 0), (1, 1, 1), 0.6061103),
    "minc2-4d-d.mnc": ((5, 16, 16, 16), (-6.96, -12.453, -9.48), (1, 1, 1), 2.00078125),
}


@pytest.mark.parametrize("name", KNOWN)
def test_files_of_other_programs_are_read(name):
    if not (SAMPLES / name).exists():
        pytest.skip(f"nibabel comes without {name}")
    shape, origin, spacing, mean = KNOWN[name]
    image = tio.ScalarImage(SAMPLES / name)
    assert image.orientation_str == "RAS"
    assert image.shape == shape
    assert image.origin == pytest.approx(origin)
    assert image.spacing == pytest.approx(spacing)
    assert image.data.double().mean().item() == pytest.approx(mean, rel=1e-6)


@pytest.mark.parametrize(
    "dtype", [torch.bool, torch.uint8, torch.int16, torch.int32, torch.int64, torch.float64]
)
def test_types(tmp_path, dtype):
    x = torch.arange(120).reshape(1, 4, 5, 6).to(dtype)
    io.write(x, torch.eye(4), tmp_path / "x.MNC")
    again = io.read(tmp_path / "x.MNC")[0]
    stored = {torch.bool: torch.uint8, torch.int64: torch.int32}
    assert again.dtype == stored.get(dtype, dtype)
    assert torch.equal(again, x.to(again.dtype))
    with pytest.raises(ValueError, match=r"fit int32 for \.mnc: got up to 4294967296"):
        io.write(torch.full((1, 2, 2, 2), 2**32), torch.eye(4), tmp_path / "y.mnc")


def test_a_simpleitk_that_converts_is_not_corrected(monkeypatch):
    """Its files hold the other sign of what SimpleITK images do."""
    write = sitk.WriteImage

    def converting(image, path):
        image = sitk.Image(image)
        image.SetOrigin([-n for n in image.GetOrigin()])
        write(image, path)

    monkeypatch.setattr(sitk, "WriteImage", converting)
    minc._to_ras.cache_clear()
    assert np.array_equal(minc._to_ras(), np.eye(4))
    monkeypatch.undo()
    minc._to_ras.cache_clear()
    assert np.array_equal(minc._to_ras(), np.diag([-1, -1, 1, 1]))
