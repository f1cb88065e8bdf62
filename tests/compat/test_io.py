"""Functions of TorchIO's io, against SimpleITK and TorchIO."""

from contextlib import nullcontext

import numpy as np
import pytest
import SimpleITK as sitk
import torch

import torchio_gpu as tio
from tests.volumes import oblique_affine
from torchio_gpu import io

X = torch.rand(1, 4, 5, 6)
SUFFIXES = [".tfm", ".h5", ".txt", ".trsf"]
#: Rotation, anisotropic scales, a shear, a translation: nothing that a wrong order would leave.
MATRIX = oblique_affine(spacing=(1.1, 0.8, 1.3)) @ np.array(
    [[1, 0.1, 0, 0], [0, 1, 0.2, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
)
LPS = np.diag([-1.0, -1, 1, 1])
POINTS = [(0.0, 0.0, 0.0), (10.0, -20.0, 30.0), (-7.0, 3.0, 11.0)]


def ras(point):
    """Return a point in RAS+ that is given in LPS+, or the other way round."""
    return (LPS @ [*point, 1])[:3]


def maps_to(matrix, point):
    return (np.asarray(matrix) @ [*point, 1])[:3]


# Matrices


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("kind", [torch.from_numpy, np.asarray, np.ndarray.tolist])
def test_matrices_come_back(tmp_path, suffix, kind):
    io.write_matrix(kind(MATRIX), tmp_path / f"x{suffix}")
    found = io.read_matrix(str(tmp_path / f"x{suffix}"))
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found, MATRIX, rtol=1e-12, atol=1e-12)  # two inversions in float64


@pytest.mark.parametrize("suffix", [".tfm", ".h5"])
def test_itk_maps_points_of_the_reference_to_floating_space(tmp_path, suffix):
    io.write_matrix(MATRIX, tmp_path / f"x{suffix}")
    written = sitk.ReadTransform(str(tmp_path / f"x{suffix}"))
    for point in POINTS:
        expected = maps_to(np.linalg.inv(MATRIX), ras(point))
        np.testing.assert_allclose(ras(written.TransformPoint(point)), expected, atol=1e-9)


@pytest.mark.parametrize("suffix", [".txt", ".trsf"])
def test_text_holds_the_inverse_in_ras(tmp_path, suffix):
    io.write_matrix(MATRIX, tmp_path / f"x{suffix}")
    np.testing.assert_allclose(
        np.loadtxt(tmp_path / f"x{suffix}"), np.linalg.inv(MATRIX), rtol=1e-15
    )


def itk_transforms():
    affine = sitk.AffineTransform(3)
    affine.SetMatrix((1, 0.1, 0, 0, 0.9, 0.2, 0.3, 0, 1.1))
    affine.SetTranslation((1, 2, 3))
    affine.SetCenter((10, -5, 7))
    euler = sitk.Euler3DTransform((5, 6, 7), 0.1, 0.2, -0.3, (4, 5, 6))
    versor = sitk.VersorRigid3DTransform((1, 2, 2), 0.4, (1, 2, 3), (3, 2, 1))
    similarity = sitk.Similarity3DTransform(1.2, (0, 0, 1), 0.4, (1, 2, 3), (9, 8, 7))
    composite = sitk.CompositeTransform([sitk.Transform(euler), sitk.Transform(affine)])
    translation = sitk.TranslationTransform(3, (1, -2, 3))
    scale = sitk.ScaleTransform(3, (1.1, 0.9, 1.3))
    identity = sitk.Transform(3, sitk.sitkIdentity)
    return {
        each.GetName() + str(n): each
        for n, each in enumerate(
            (affine, euler, versor, similarity, composite, translation, scale, identity)
        )
    }


@pytest.mark.parametrize("suffix", [".tfm", ".h5"])
@pytest.mark.parametrize("name", itk_transforms())
def test_linear_transforms_of_itk_are_read(tmp_path, name, suffix):
    transform = itk_transforms()[name]
    sitk.WriteTransform(transform, str(tmp_path / f"x{suffix}"))
    inverse = np.linalg.inv(io.read_matrix(tmp_path / f"x{suffix}"))
    for point in POINTS:
        expected = ras(transform.TransformPoint(point))
        np.testing.assert_allclose(maps_to(inverse, ras(point)), expected, atol=1e-9)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_torchio_reads_what_is_written_and_the_other_way_round(tmp_path, suffix):
    torchio = pytest.importorskip("torchio")
    path = tmp_path / f"x{suffix}"
    io.write_matrix(MATRIX, path)
    np.testing.assert_allclose(torchio.io.read_matrix(path), MATRIX, atol=1e-9)
    torchio.io.write_matrix(torch.from_numpy(MATRIX), path)
    expected = 1e-6 if suffix in (".txt", ".trsf") else 1e-9  # TorchIO writes 8 decimals of text
    np.testing.assert_allclose(io.read_matrix(path), MATRIX, atol=expected)


def test_what_is_no_affine_transform_is_named(tmp_path):
    files = {
        "empty.txt": "",
        "ragged.txt": "1 2 3\n4 5",
        "small.txt": "1 0 0\n0 1 0\n0 0 1",
        "singular.trsf": "0 0 0 0\n" * 4,
        "words.tfm": "no transform",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    sitk.WriteTransform(sitk.Euler2DTransform(), str(tmp_path / "flat.tfm"))
    warp = sitk.BSplineTransform(3)
    sitk.WriteTransform(warp, str(tmp_path / "warp.tfm"))
    for name in (*files, "flat.tfm", "warp.tfm"):
        with (
            pytest.raises(OSError, match=rf"{name}' must hold one affine transform"),
            pytest.warns() if name == "empty.txt" else nullcontext(),
        ):
            io.read_matrix(tmp_path / name)


def test_bad_paths_and_matrices_are_named(tmp_path):
    for use in (io.read_matrix, lambda path: io.write_matrix(MATRIX, path)):
        with pytest.raises(ValueError, match=r"path must end in one of \.tfm.*, got .*x\.mat'"):
            use(tmp_path / "x.mat")
    with pytest.raises(FileNotFoundError, match=r"none\.tfm does not exist"):
        io.read_matrix(tmp_path / "none.tfm")
    for suffix in SUFFIXES:
        with pytest.raises(FileNotFoundError, match="path must be in an existing folder"):
            io.write_matrix(MATRIX, tmp_path / "none" / f"x{suffix}")
    for matrix in (np.zeros((4, 4)), MATRIX[:3], np.full((4, 4), np.nan)):
        with pytest.raises(ValueError, match=r"matrix must (have|be)"):
            io.write_matrix(matrix, tmp_path / "x.tfm")
    assert list(tmp_path.iterdir()) == []


# Images

SHAPES = [(1, 4, 5, 6), (3, 4, 5, 6), (1, 4, 5, 1), (3, 4, 5, 1)]
DTYPES = [np.uint8, np.int16, np.int32, np.float32, np.float64]


def voxels(shape, dtype):
    return (100 * np.random.default_rng(0).random(shape)).astype(dtype)


def same_images(one, other):
    assert one.GetSize() == other.GetSize()
    assert one.GetPixelIDTypeAsString() == other.GetPixelIDTypeAsString()
    for name in ("GetOrigin", "GetSpacing", "GetDirection"):
        np.testing.assert_allclose(getattr(one, name)(), getattr(other, name)(), atol=1e-9)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(one), sitk.GetArrayFromImage(other))


@pytest.mark.parametrize("force_3d", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_arrays_to_simpleitk_and_back(shape, dtype, force_3d):
    torchio = pytest.importorskip("torchio")
    data = voxels(shape, dtype)
    affine = np.diag([1.0, 2, 3, 1]) if shape[-1] == 1 else oblique_affine()
    mine = io.nib_to_sitk(data, affine, force_3d)
    same_images(mine, torchio.io.nib_to_sitk(data, affine, force_3d))
    same_images(io.nib_to_sitk(torch.from_numpy(data), affine, force_3d), mine)
    for keepdim in (False, True):
        found, back = io.sitk_to_nib(mine, keepdim)
        expected, reference = torchio.io.sitk_to_nib(mine, keepdim)
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_allclose(back, reference, atol=1e-9)


def test_views_of_arrays_are_taken_as_they_look():
    data = voxels((1, 4, 5, 6), np.float32)[:, ::-1].transpose(0, 3, 2, 1)
    found, _ = io.sitk_to_nib(io.nib_to_sitk(data, np.eye(4)))
    np.testing.assert_array_equal(found, data)


def test_arrays_that_are_no_volumes_are_refused():
    with pytest.raises(ValueError, match=r"must have shape \(C, I, J, K\).*got \(4, 5, 6\)"):
        io.nib_to_sitk(np.zeros((4, 5, 6)), np.eye(4))
    with pytest.raises(ValueError, match="force_4d must be False"):
        io.nib_to_sitk(np.zeros((1, 4, 5, 6)), np.eye(4), force_4d=True)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_files_are_written_and_read_as_by_torchio(tmp_path, suffix, channels):
    torchio = pytest.importorskip("torchio")
    data, affine = torch.rand(channels, 4, 5, 6), oblique_affine()
    path = tmp_path / f"x{suffix}"
    for write in (io.write_image, torchio.io.write_image):
        write(data, affine, path)
        tensor, found = io.read_image(path)
        assert torch.equal(tensor, data)
        np.testing.assert_allclose(found, affine, atol=1e-5)  # float32 in the header of NIfTI
        np.testing.assert_allclose(io.read_affine(path), torchio.io.read_affine(path), atol=1e-5)
        assert io.read_shape(path) == torchio.io.read_shape(path) == (channels, 4, 5, 6)


@pytest.mark.parametrize("squeeze", [None, True, False])
def test_single_slices_are_written_in_the_dimensions_of_torchio(tmp_path, squeeze):
    torchio = pytest.importorskip("torchio")
    for write, name in ((io.write_image, "mine"), (torchio.io.write_image, "theirs")):
        write(X[..., :1], np.eye(4), tmp_path / f"{name}.nii", squeeze=squeeze)
    mine, theirs = (sitk.ReadImage(str(tmp_path / f"{n}.nii")) for n in ("mine", "theirs"))
    assert mine.GetDimension() == theirs.GetDimension() == (2 if squeeze else 3)


def test_shapes_and_affines_come_from_the_header_alone(tmp_path):
    path = tmp_path / "x.nii"
    io.write_image(X, oblique_affine(), path)
    path.write_bytes(path.read_bytes()[:352])  # without voxels
    assert io.read_shape(path) == X.shape
    np.testing.assert_allclose(io.read_affine(path), oblique_affine(), atol=1e-5)
    with pytest.raises(OSError, match=r"x\.nii"):
        io.read_image(path)


def test_absent_files_are_named(tmp_path):
    for read in (io.read_image, io.read_shape, io.read_affine):
        with pytest.raises(FileNotFoundError, match=r"none\.nii"):
            read(tmp_path / "none.nii")
    assert tio.io.read_image is io.read_image
