"""Header fields: time steps, qforms and axes kept by files, images in memory and transforms."""

import shutil

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import torch

import torchio_gpu as tio
from tests.data.test_readers import AFFINE, SAMPLES
from torchio_gpu.data import io

SERIES = np.random.default_rng(0).integers(0, 99, (5, 6, 7, 8)).astype(np.int16)  # (T, K, J, I)
FLIP = tio.Flip(axes=0)


def sitk_time_series():
    image = sitk.GetImageFromArray(SERIES, isVector=False)
    image.SetSpacing((1, 1.2, 1.5, 2.5))
    image.SetOrigin((3, 4, 5, 6))
    return image


def check_saved_time_step(image, path):
    image.save(path)
    header = nibabel.load(path).header
    assert header["pixdim"][4] == pytest.approx(2.5)
    assert header.get_xyzt_units() == ("mm", "sec")


# Time steps


@pytest.mark.parametrize("name", ["x.mha", "x.mhd", "x.mgz", "x.mgh", "x.nii", "memory"])
def test_time_steps_of_all_formats(tmp_path, name):
    if name == "memory":
        source = sitk_time_series()
    elif "mg" in name:
        image = nibabel.freesurfer.MGHImage(SERIES.T, AFFINE)
        image.header.set_zooms((2, 2.5, 3, 2500))
        nibabel.save(image, source := tmp_path / name)
    else:
        sitk.WriteImage(sitk_time_series(), str(source := tmp_path / name))
    image = tio.ScalarImage(source)
    check_saved_time_step(image, tmp_path / "y.nii.gz")
    check_saved_time_step(FLIP(image), tmp_path / "y.nii")
    check_saved_time_step(image[1:4], tmp_path / "y.nii")
    again = tio.ScalarImage(tmp_path / "y.nii.gz")
    assert torch.equal(again.data, torch.from_numpy(SERIES.transpose(0, 3, 2, 1)))


@pytest.mark.parametrize(
    ("name", "step"), [("phantom_EPI_asc_CLEAR_2_1.PAR", 2), ("example4d+orig.HEAD", 3)]
)
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # NiBabel leaves some files open
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_time_steps_of_philips_and_afni(tmp_path, name, step):
    files = list(SAMPLES.glob(name.split(".")[0] + ".*"))
    if len(files) < 2:
        pytest.skip(f"nibabel comes without {name}")
    for file in files:
        shutil.copy(file, tmp_path)
    assert nibabel.load(tmp_path / name).header.get_zooms()[3] == step
    tio.ScalarImage(tmp_path / name).save(tmp_path / "y.nii")
    header = nibabel.load(tmp_path / "y.nii").header
    assert header["pixdim"][4] == pytest.approx(step)
    assert header.get_xyzt_units() == ("mm", "sec")


def test_unknown_time_steps_stay_unknown(tmp_path):
    nibabel.save(nibabel.freesurfer.MGHImage(SERIES.T, AFFINE), tmp_path / "x.mgz")  # TR of 0
    vectors = sitk.GetImageFromArray(SERIES.transpose(1, 2, 3, 0), isVector=True)
    for source in (tmp_path / "x.mgz", vectors, torch.zeros(5, 3, 3, 3)):
        tio.ScalarImage(source).save(tmp_path / "y.nii")
        header = nibabel.load(tmp_path / "y.nii").header
        assert header["pixdim"][4] == 1
        assert header.get_xyzt_units() == ("mm", "unknown")


# SimpleITK images of 2 to 4 axes


def test_sitk_time_series_keep_their_geometry():
    given = sitk_time_series()
    got = FLIP(given)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(got), SERIES[..., ::-1])
    assert got.GetSize() == given.GetSize()
    assert got.GetNumberOfComponentsPerPixel() == 1
    assert got.GetPixelID() == given.GetPixelID()
    for name in ("GetSpacing", "GetOrigin", "GetDirection"):
        np.testing.assert_allclose(getattr(got, name)(), getattr(given, name)())
    cropped = tio.Crop((1, 1, 2, 0, 0, 3))({"a": given})["a"]
    assert cropped.GetSize() == (6, 5, 4 - 1, 5)
    np.testing.assert_allclose(cropped.GetOrigin(), (4, 6.4, 5, 6))
    assert cropped.GetSpacing() == given.GetSpacing()


@pytest.mark.parametrize("sizes", [(1, 6, 7, 8), (5, 1, 7, 8), (1, 5, 6, 7, 8), (5, 1, 6, 7, 8)])
@pytest.mark.parametrize("vectors", [False, True])
def test_singleton_axes_are_kept(sizes, vectors):
    array = np.random.default_rng(0).integers(0, 99, (*sizes, 3)).astype(np.int16)
    if vectors and 5 in sizes[:-3]:
        return  # two axes of channels
    given = sitk.GetImageFromArray(array if vectors else array[..., 0], isVector=vectors)
    got = FLIP(given)
    assert got.GetSize() == given.GetSize()
    assert got.GetPixelID() == given.GetPixelID()
    wanted = np.flip(sitk.GetArrayFromImage(given), -2 if vectors else -1)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(got), wanted)


@pytest.mark.parametrize("vectors", [False, True])
def test_2d_sitk_images_stay_2d(vectors):
    array = np.random.default_rng(0).integers(0, 99, (6, 7, 3)).astype(np.int16)
    given = sitk.GetImageFromArray(array if vectors else array[..., 0], isVector=vectors)
    given.SetSpacing((2, 3))
    given.SetOrigin((4, 5))
    given.SetDirection((0.8, -0.6, 0.6, 0.8))
    got = FLIP(given)
    assert got.GetSize() == (7, 6)
    assert got.GetPixelID() == given.GetPixelID()
    wanted = sitk.GetArrayFromImage(given)[:, ::-1]
    np.testing.assert_array_equal(sitk.GetArrayFromImage(got), wanted)
    for name in ("GetSpacing", "GetOrigin", "GetDirection"):
        np.testing.assert_allclose(getattr(got, name)(), getattr(given, name)())
    reoriented = tio.ScalarImage(given)
    reoriented.affine = np.diag([1, 2, 3, 1]) + 1e-12 * np.ones((4, 4)) * [[1], [1], [1], [0]]
    assert io.to_sitk(reoriented.data, torch.tensor(reoriented.affine), given).GetDimension() == 2
    reoriented.affine = np.array([[0, 0, 1, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
    with pytest.raises(ValueError, match="across the third axis"):
        io.to_sitk(reoriented.data, torch.tensor(reoriented.affine), given)
    with pytest.raises(ValueError, match=r"one slice, K = 1, .* to become a 2D SimpleITK image"):
        tio.Pad((0, 0, 0, 0, 1, 1))(given)


# qforms


def nifti_with_qform(codes=(2, 1), differ=True):
    """Return a NIfTI image and its qform, which differs from its sform if asked for."""
    image = nibabel.Nifti1Image(SERIES[0].T, AFFINE)
    rotation = np.array([[0.8, -0.6, 0, 9], [0.6, 0.8, 0, -4], [0, 0, 1, 2], [0, 0, 0, 1]])
    image.set_sform(AFFINE, codes[0])
    image.set_qform(rotation @ AFFINE if differ else AFFINE, codes[1])
    return image, image.get_qform()


def saved_forms(image, path):
    image.save(path)
    header = nibabel.load(path).header
    codes = int(header["sform_code"]), int(header["qform_code"])
    return codes, header.get_sform(), header.get_qform()


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".hdr"])
@pytest.mark.parametrize("unit", ["mm", "meter"])
@pytest.mark.parametrize("codes", [(2, 1), (4, 3), (1, 1)])
def test_a_different_qform_is_kept_while_the_affine_is_unchanged(tmp_path, suffix, unit, codes):
    given, qform = nifti_with_qform(codes)
    given.header.set_xyzt_units(unit)
    nibabel.save(given, tmp_path / "x.nii")
    factor = np.array([1000, 1000, 1000, 1])[:, None] if unit == "meter" else 1
    for image in (tio.ScalarImage(tmp_path / "x.nii"), tio.ScalarImage(given)):
        for each in (image, tio.Gamma(1.5)(image), FLIP(image)):
            got = saved_forms(each, tmp_path / f"y{suffix}")
            assert got[0] == codes
            np.testing.assert_allclose(got[1], AFFINE * factor, rtol=1e-5)
            np.testing.assert_allclose(got[2], qform * factor, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("codes", [(2, 1), (4, 3), (4, 0), (0, 1)])
@pytest.mark.parametrize("differ", [False, True])
def test_a_changed_affine_is_written_to_a_qform_that_agreed(tmp_path, codes, differ):
    given, _ = nifti_with_qform(codes, differ)
    nibabel.save(given, tmp_path / "x.nii")
    image = tio.ScalarImage(tmp_path / "x.nii")
    changed = tio.ScalarImage(image)
    changed.affine = np.diag([1, 2, 3, 1])
    for each in (tio.Crop(1)(image), image[1:], tio.Resample(2)(image), changed):
        got = saved_forms(each, tmp_path / "y.nii")
        disagreed = differ and all(codes)
        assert got[0] == (1, 0 if disagreed else 1)
        np.testing.assert_allclose(got[1], each.affine, rtol=1e-5)
        if not disagreed:
            np.testing.assert_allclose(got[2], each.affine, atol=1e-4)
        np.testing.assert_allclose(nibabel.load(tmp_path / "y.nii").affine, each.affine, atol=1e-4)


# Analyze and SPM


@pytest.mark.parametrize("cls", ["AnalyzeImage", "Spm99AnalyzeImage", "Spm2AnalyzeImage"])
@pytest.mark.parametrize("mat", [False, True])
@pytest.mark.parametrize("packed", ["", ".gz"])
def test_analyze_and_spm(tmp_path, cls, mat, packed):
    image = getattr(nibabel, cls)(SERIES[0].T, None if not mat else AFFINE)
    image.header.set_zooms((2, 2.5, 3))
    if cls != "AnalyzeImage":
        image.header["origin"][:3] = 3, 2, 4
    path = tmp_path / f"x.img{packed}"
    if cls == "AnalyzeImage" or not mat:
        nibabel.save(image, path)
    else:
        pytest.importorskip("scipy")
        nibabel.save(image, path)
        assert (tmp_path / f"x.mat{packed}").exists()
    right = nibabel.load(path)
    for name in ("x.img", "x.hdr"):
        got = tio.ScalarImage(tmp_path / f"{name}{packed}")
        np.testing.assert_allclose(got.affine, right.affine)
        np.testing.assert_array_equal(got.data[0].numpy(), right.get_fdata())
        np.testing.assert_array_equal(got[1:3].data[0].numpy(), right.get_fdata()[1:3])
    got.save(tmp_path / "y.nii")
    np.testing.assert_allclose(tio.ScalarImage(tmp_path / "y.nii").affine, right.affine, rtol=1e-6)


def test_invalid_spm_affines_are_refused(tmp_path):
    nibabel.save(nibabel.Spm99AnalyzeImage(SERIES[0].T, None), tmp_path / "x.img")
    (tmp_path / "x.mat").write_bytes(b"1 0 0 0\n" * 40)
    with pytest.raises(OSError, match=r"x\.img'"):
        tio.ScalarImage(tmp_path / "x.img").load()
    tio.ScalarImage(torch.zeros(1, 2, 2, 2)).save(tmp_path / "x.img")  # of NIfTI it means nothing
    assert tio.ScalarImage(tmp_path / "x.img").shape == (1, 2, 2, 2)
