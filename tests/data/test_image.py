"""Images: sources, attributes, lazy reading and errors."""

import copy
import pickle

import nibabel as nib
import numpy as np
import pytest
import torch

import torchio_gpu as tio
from tests.volumes import oblique_affine


@pytest.fixture
def path(tmp_path):
    voxels = np.random.default_rng(0).integers(0, 100, (6, 7, 8)).astype(np.int16)
    nib.save(nib.Nifti1Image(voxels, oblique_affine()), tmp_path / "t1.nii")
    return tmp_path / "t1.nii"


def test_every_source_gives_the_same_image(path):
    from_path = tio.ScalarImage(path)
    sources = [
        str(path),
        from_path.data,
        from_path.numpy(),
        from_path.as_sitk(),
        nib.load(path),
        from_path,
    ]
    for source in sources:
        affine = from_path.affine if isinstance(source, (torch.Tensor, np.ndarray)) else None
        image = tio.ScalarImage(source, affine=affine)
        assert torch.equal(image.data.long(), from_path.data.long())
        np.testing.assert_allclose(image.affine, from_path.affine, atol=1e-6)
    assert torch.equal(tio.ScalarImage(path=path).data, tio.ScalarImage(tensor=from_path.data).data)


def test_voxels_are_read_when_they_are_needed(path):
    image = tio.ScalarImage(path)
    assert image.shape == (1, 6, 7, 8)
    assert image.dtype == torch.int16
    assert image.spacing == pytest.approx((1, 2, 3), abs=1e-6)
    assert not image.loaded
    assert "not read" in repr(tio.ScalarImage(path))
    assert image.data.shape == (1, 6, 7, 8)
    assert image.loaded


def test_slicing_reads_only_the_region(path):
    whole = tio.ScalarImage(path)
    whole.load()
    with path.open("r+b") as file:  # cut off the last slices of the file
        file.truncate(352 + 6 * 7 * 4 * 2)
    lazy = tio.ScalarImage(path)
    part = lazy[1:4, 2, :3]
    assert not lazy.loaded
    assert part.shape == (1, 3, 1, 3)
    assert torch.equal(part.data, whole.data[:, 1:4, 2:3, :3])
    np.testing.assert_allclose(part.affine[:, 3], whole.affine @ [1, 2, 0, 1], atol=1e-5)
    with pytest.raises(OSError, match=r"t1\.nii"):
        lazy.load()


def test_slices_of_voxels_in_memory():
    image = tio.ScalarImage(torch.arange(60.0).view(1, 3, 4, 5), affine=oblique_affine(), echo=3)
    part = image[..., 1:3]
    assert torch.equal(part.data, image.data[..., 1:3])
    np.testing.assert_allclose(part.affine @ [0, 0, 0, 1], image.affine @ [0, 0, 1, 1])
    assert part.echo == 3
    assert image[-1].shape == (1, 1, 4, 5)
    for bad in (0.5, None, "0"):
        with pytest.raises(TypeError, match="index 0 of an image must be an integer or slice, got"):
            image[bad, :]
    for bad in ((3,), (slice(2, 2),), (slice(None, None, 2),), (0, 0, 0, 0), (5,)):
        with pytest.raises(IndexError):
            image[bad]


def test_metadata_and_constants():
    image = tio.ScalarImage(torch.rand(1, 2, 2, 2), protocol="MPRAGE")
    assert image[tio.DATA] is image.data is image.tensor
    assert image[tio.AFFINE] is image.affine
    assert image[tio.TYPE] == tio.INTENSITY
    assert image.protocol == image["protocol"] == "MPRAGE"
    image["site"] = "London"
    assert "site" in image
    assert list(image) == ["data", "affine", "type", "path", "stem", "protocol", "site"]
    with pytest.raises(AttributeError, match="no attribute or metadata 'age'"):
        image.age  # noqa: B018


def test_arguments_have_the_order_of_torchio(path):
    def reader(path):
        return torch.ones(1, 2, 2, 2), None

    image = tio.ScalarImage(path, "intensity", None, np.diag([2, 2, 2, 1]), True, reader, False)
    assert (image.check_nans, image.reader, image.path) == (True, reader, path)
    assert image.spacing == (2, 2, 2)
    assert torch.equal(image.data, torch.ones(1, 2, 2, 2))


@pytest.mark.parametrize("kind", [tio.INTENSITY, tio.LABEL, tio.SAMPLING_MAP])
def test_image_makes_the_class_of_its_type(path, kind):
    for image in (
        tio.Image(path, kind),
        tio.Image(path, type=kind),
        tio.Image(type=kind, tensor=torch.ones(1, 2, 2, 2)),
    ):
        assert image.type == image.kind == image["type"] == kind
        assert isinstance(image, tio.Image)
        assert isinstance(image, tio.ScalarImage) == (kind == tio.INTENSITY)
        assert isinstance(image, tio.LabelMap) == (kind == tio.LABEL)
        for again in (copy.copy(image), copy.deepcopy(image), pickle.loads(pickle.dumps(image))):
            assert type(again) is type(image)
            assert torch.equal(again.data, image.data)
        assert type(tio.Image(image)) is type(image)
        if kind != tio.LABEL:
            with pytest.raises(ValueError, match=f"type of LabelMap must be 'label', got '{kind}'"):
                tio.LabelMap(path, kind)
    assert type(tio.Image(path)) is tio.ScalarImage
    with pytest.raises(ValueError, match=r"must be one of .*'label'.*got 'mask'"):
        tio.Image(path, "mask")


def test_a_subclass_of_image_stays_itself(path):
    class UserDefined(tio.Image):
        pass

    image = UserDefined(path)
    assert type(image) is type(copy.copy(image)) is UserDefined
    assert image.type == "intensity"


def test_unload_reads_the_file_again(path):
    image = tio.ScalarImage(path)
    with pytest.raises(RuntimeError, match="must be loaded to be unloaded"):
        image.unload()
    voxels = image.data
    image.set_data(torch.zeros(1, 2, 2, 2))
    image.affine = np.eye(4)
    image.unload()
    assert not image.loaded
    assert image.shape == voxels.shape
    assert torch.equal(image.data, voxels)
    np.testing.assert_allclose(image.affine, oblique_affine(), atol=1e-6)
    with pytest.raises(RuntimeError, match="must have a path to be unloaded"):
        tio.ScalarImage(voxels).unload()


def test_sizes_need_no_voxels(path):
    image = tio.ScalarImage(path)
    assert (image.itemsize, image.memory) == (2, 2 * 6 * 7 * 8)
    assert "memory" not in repr(image)
    assert "memory=1.0 MiB" in repr(tio.ScalarImage(torch.zeros(1, 64, 64, 64)))
    assert image.num_channels == 1
    assert not image.is_2d()
    assert not image.loaded


def test_nans_are_checked_from_now_on():
    bad = torch.full((1, 2, 2, 2), torch.nan)
    image = tio.ScalarImage(bad)
    image.set_check_nans(True)
    with pytest.warns(RuntimeWarning, match="there are NaN"):
        image.set_data(bad)
    image.set_check_nans(False)
    image.set_data(bad)
    with pytest.raises(TypeError, match="check_nans must be True or False, got 'yes'"):
        image.set_check_nans("yes")


def test_labels_are_counted():
    labels = tio.LabelMap(torch.tensor([[[[3, 0, 3], [1, 3, 0]]]], dtype=torch.uint8))
    assert labels.count_labels() == {0: 2, 1: 1, 3: 3}
    assert list(labels.count_labels()) == [0, 1, 3]
    assert labels.count_nonzero() == 4
    assert not hasattr(tio.ScalarImage, "count_labels")


def test_geometry():
    image = tio.ScalarImage(torch.rand(2, 3, 4, 1), affine=np.diag([-2.0, 1, 4, 1]))
    assert image.spatial_shape == (3, 4, 1)
    assert image.num_channels == 2
    assert image.spacing == (2, 1, 4)
    assert image.origin == (0, 0, 0)
    assert image.orientation_str == "LAS"
    assert image.is_2d()


def test_spacing_makes_a_diagonal_affine():
    image = tio.ScalarImage(torch.rand(1, 2, 3, 4), spacing=(1, 2, 3))
    np.testing.assert_array_equal(image.affine, np.diag([1, 2, 3, 1]))


def test_affines_are_float64_copies():
    affine = np.eye(4, dtype=np.float32)
    image = tio.ScalarImage(torch.rand(1, 2, 2, 2), affine=affine)
    assert image.affine.dtype == np.float64
    affine[0, 3] = 7
    assert image.affine[0, 3] == 0


def test_copies_and_pickles():
    image = tio.LabelMap(torch.ones(1, 2, 2, 2, dtype=torch.int32), names={1: "all"})
    for again in (copy.copy(image), copy.deepcopy(image), pickle.loads(pickle.dumps(image))):
        assert type(again) is tio.LabelMap
        assert torch.equal(again.data, image.data)
        assert again.names == {1: "all"}
        again["names"] = None
        assert image.names == {1: "all"}


def test_to_moves_a_copy():
    image = tio.ScalarImage(torch.ones(1, 2, 2, 2))
    moved = image.to("meta")
    assert moved.data.is_meta
    assert not image.data.is_meta
    assert image.to(torch.float64).data.dtype == torch.float64


def test_setting_voxels_keeps_the_affine(path):
    image = tio.ScalarImage(path)
    image.set_data(torch.zeros(1, 2, 2, 2))
    np.testing.assert_allclose(image.affine, oblique_affine(), atol=1e-6)
    assert image.shape == (1, 2, 2, 2)


def test_saves_and_reads_back(tmp_path):
    image = tio.ScalarImage(torch.rand(2, 3, 4, 5), affine=oblique_affine())
    image.save(tmp_path / "x.nii.gz")
    again = tio.ScalarImage(tmp_path / "x.nii.gz")
    assert torch.equal(again.data, image.data)
    np.testing.assert_allclose(again.affine, image.affine, atol=1e-5)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: tio.ScalarImage("missing.nii"), FileNotFoundError, "missing.nii does not exist"),
        (lambda: tio.ScalarImage(), ValueError, "exactly one of source, path and tensor, got 0"),
        (lambda: tio.ScalarImage(torch.zeros(2, 2, 2)), ValueError, r"\(C, I, J, K\).*\(2, 2, 2\)"),
        (lambda: tio.ScalarImage(torch.zeros(1, 0, 2, 2)), ValueError, "no empty axis"),
        (lambda: tio.ScalarImage([1, 2]), TypeError, "takes a path, tensor, array.*got list"),
        (lambda: tio.ScalarImage(torch.zeros(1, 2, 2, 2), affine=np.diag([1, 0, 1, 1])),
         ValueError, "must be invertible"),
        (lambda: tio.ScalarImage(torch.zeros(1, 2, 2, 2), affine=np.full((4, 4), np.nan)),
         ValueError, "must be finite"),
        (lambda: tio.ScalarImage(torch.zeros(1, 2, 2, 2), affine=(1, 1)),
         ValueError, r"shape \(4, 4\), got \(2,\)"),
        (lambda: tio.ScalarImage(torch.zeros(1, 2, 2, 2), spacing=(1, 1)),
         ValueError, r"spacing must be three numbers > 0, got \(1, 1\)"),
        (lambda: tio.ScalarImage(torch.zeros(1, 2, 2, 2), spacing=(1, 1, 0)),
         ValueError, "spacing must be three numbers > 0"),
        (lambda: tio.ScalarImage(torch.zeros(1, 2, 2, 2), spacing=(1, 1, 1), affine=np.eye(4)),
         ValueError, "without affine, got"),
        (lambda: tio.ScalarImage(torch.zeros(1, 2, 2, 2), orientation="RAS"),
         ValueError, r"names of metadata must not be \['orientation'\]"),
        (lambda: tio.LabelMap(torch.zeros(1, 2, 2, 2), type="intensity"),
         ValueError, "type of LabelMap must be 'label'"),
    ],
)  # fmt: skip
def test_bad_input_is_named(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_truncated_file_is_named(tmp_path):
    tio.ScalarImage(torch.rand(1, 20, 20, 20)).save(tmp_path / "x.nii.gz")
    content = (tmp_path / "x.nii.gz").read_bytes()
    (tmp_path / "x.nii.gz").write_bytes(content[: len(content) // 2])
    with pytest.raises(OSError, match=r"x\.nii\.gz"):
        tio.ScalarImage(tmp_path / "x.nii.gz").load()


def test_a_folder_without_images_is_named(tmp_path):
    with pytest.raises((OSError, ValueError), match=str(tmp_path.name)):
        tio.ScalarImage(tmp_path).load()


def test_slices_own_their_memory():
    image = tio.ScalarImage(torch.zeros(1, 40, 40, 40))
    part = image[2:4, :, 3]
    assert len(pickle.dumps(part)) < 4 * part.data.numel() + 4000
    part.data.fill_(1)
    assert image.data.sum() == 0
