"""Custom readers, lists of paths, formats of NiBabel, units, and header fields."""

import copy
import pickle
import warnings
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import torch

import torchio_gpu as tio
from torchio_gpu.data import io

AFFINE = np.array([[-2.0, 0, 0, 30], [0, 2.5, 0, -40], [0, 0, 3, 10], [0, 0, 0, 1]])
X = torch.arange(120, dtype=torch.int16).reshape(1, 4, 5, 6)
SAMPLES = Path(nibabel.__file__).parent / "tests" / "data"


def numpy_reader(path):
    return np.load(path), AFFINE


@pytest.fixture
def array(tmp_path):
    np.save(tmp_path / "x.npy", X.float().numpy())
    return tmp_path / "x.npy"


# reader=, check_nans=, verify_path=


@pytest.mark.parametrize("cls", [tio.ScalarImage, tio.LabelMap])
def test_custom_readers(array, cls):
    image = cls(array, reader=numpy_reader)
    assert not image.loaded
    assert "reader" not in image.metadata
    assert image.shape == (1, 4, 5, 6)
    assert torch.equal(image.data, X.float())
    np.testing.assert_array_equal(image.affine, AFFINE)
    for again in (copy.copy(image), copy.deepcopy(image), pickle.loads(pickle.dumps(image))):
        assert again.reader is numpy_reader
    part = cls(array, reader=numpy_reader)[1:3, 2]
    assert torch.equal(part.data, X[:, 1:3, 2:3].float())
    np.testing.assert_array_equal(part.affine[:3, 3], AFFINE[:3, 3] + (-2, 5, 0))


@pytest.mark.parametrize("path_type", [str, Path])
def test_readers_may_return_tensors_and_no_affine(array, path_type):
    seen = []

    def reader(path):
        seen.append(path)
        return torch.from_numpy(np.load(path)), None

    image = tio.ScalarImage(path_type(array), reader=reader)
    out = tio.RandomFlip(axes=(0,), flip_probability=1)(tio.Subject(a=image)).a
    assert torch.equal(out.data, X.flip(1).float())
    np.testing.assert_array_equal(out.affine, np.eye(4))
    assert seen == [array]  # once: nothing is read for the shape alone
    assert not image.loaded


@pytest.mark.parametrize(
    ("reader", "error", "message"),
    [
        (lambda path: np.zeros((1, 2, 2, 2)), TypeError, "x.npy': got ndarray"),
        (lambda path: (np.zeros(2), None), TypeError, r"x.npy': got \(2,\)"),
        (lambda path: (np.zeros((2, 0, 2)), None), TypeError, r"x.npy': got \(1, 2, 0, 2\)"),
        (lambda path: ("x", None), TypeError, "x.npy': got str"),
        (lambda path: (np.zeros((1, 2, 2, 2)), np.eye(3)), ValueError, r"x.npy'.*\(4, 4\)"),
        (lambda path: 1 / 0, OSError, "x.npy', but raised ZeroDivisionError"),
    ],
)
def test_invalid_results_of_a_reader_are_refused(array, reader, error, message):
    with pytest.raises(error, match=message):
        tio.ScalarImage(array, reader=reader).load()


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor])
@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((5, 6), (1, 5, 6, 1)),
        ((5, 6, 3), (3, 5, 6, 1)),
        ((3, 5, 6), (3, 5, 6, 1)),
        ((5, 6, 7), (1, 5, 6, 7)),
        ((2, 5, 6, 3), (2, 5, 6, 3)),
    ],
)
def test_a_reader_may_return_fewer_axes(array, kind, shape, expected):
    voxels = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    read = tio.ScalarImage(array, reader=lambda path: (kind(voxels), None)).numpy()
    assert read.shape == expected
    torchio = pytest.importorskip("torchio")
    theirs = torchio.ScalarImage(array, reader=lambda path: (kind(voxels), np.eye(4)))
    np.testing.assert_array_equal(read, theirs.numpy())


def test_flags_must_be_booleans(array):
    for name in ("check_nans", "verify_path"):
        with pytest.raises(TypeError, match=f"{name} must be True or False, got 'no'"):
            tio.ScalarImage(array, **{name: "no"})
    with pytest.raises(TypeError, match="reader must be a function"):
        tio.ScalarImage(array, reader="numpy")


def test_check_nans_warns(tmp_path):
    x = X.float()
    x[0, 1, 1, 1] = torch.nan
    tio.ScalarImage(x).save(tmp_path / "x.nii")
    tio.ScalarImage(X.float()).save(tmp_path / "y.nii")
    with pytest.warns(RuntimeWarning, match=r"NaN among the voxels of '.*x\.nii'"):
        tio.ScalarImage(tmp_path / "x.nii", check_nans=True).load()
    with pytest.warns(RuntimeWarning, match="NaN among the voxels of ScalarImage"):
        tio.ScalarImage(x, check_nans=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tio.ScalarImage(tmp_path / "x.nii").load()
        tio.ScalarImage(tmp_path / "y.nii", check_nans=True).load()
        tio.LabelMap(X, check_nans=True)


def test_paths_need_not_exist_yet(tmp_path):
    image = tio.ScalarImage(tmp_path / "x.nii", verify_path=False)
    with pytest.raises(FileNotFoundError, match=r"x\.nii does not exist"):
        image.load()
    tio.ScalarImage(X).save(tmp_path / "x.nii")
    assert torch.equal(image.data, X)


# Paths


@pytest.mark.parametrize("kind", [list, tuple])
@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_channels_of_several_files(tmp_path, kind, suffix):
    paths = [tmp_path / f"{n}{suffix}" for n in range(3)]
    for n, path in enumerate(paths):
        data = (X + n).double() if n == 1 else X + n
        tio.ScalarImage(data, affine=AFFINE).save(path)
    image = tio.ScalarImage(kind(paths))
    assert image.path == paths
    assert image.shape == (3, 4, 5, 6)
    assert image.dtype == torch.float64
    assert not image.loaded
    assert torch.equal(image.data, torch.cat([X, X + 1, X + 2]).double())
    np.testing.assert_allclose(image.affine, AFFINE)
    assert torch.equal(tio.ScalarImage(path=paths)[1:3].data, image.data[:, 1:3])
    assert paths[0].name in repr(image)
    assert tio.Subject(a=tio.ScalarImage(paths)).shape == (3, 4, 5, 6)


def test_several_files_must_share_a_space(tmp_path):
    tio.ScalarImage(X, affine=AFFINE).save(tmp_path / "a.nii")
    tio.ScalarImage(X).save(tmp_path / "b.nii")
    tio.ScalarImage(X[:, 1:], affine=AFFINE).save(tmp_path / "c.nii")
    for other in "bc":
        for look in ("load", "shape"):
            image = tio.ScalarImage([tmp_path / "a.nii", tmp_path / f"{other}.nii"])
            with pytest.raises(ValueError, match=rf"share a .*a\.nii.*{other}\.nii"):
                getattr(image, look)()
    with pytest.raises(FileNotFoundError, match=r"gone\.nii"):
        tio.ScalarImage([tmp_path / "a.nii", tmp_path / "gone.nii"])
    with pytest.raises(TypeError, match="got list"):
        tio.ScalarImage([])


def test_home_is_expanded_everywhere(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    tio.ScalarImage(X, affine=AFFINE).save("~/x.nii")
    assert (tmp_path / "x.nii").is_file()
    for path in ("~/x.nii", Path("~/x.nii"), ["~/x.nii", "~/x.nii"]):
        assert torch.equal(tio.ScalarImage(path).data[:1], X)
    assert io.read_header("~/x.nii").shape == X.shape
    moved = tio.Resample("~/x.nii")(tio.ScalarImage(X, affine=AFFINE))
    assert moved.shape == X.shape


# Formats of NiBabel


@pytest.mark.parametrize(
    "name",
    [
        "test.mgz", "tiny.mnc", "minc1_4d.mnc", "minc1_1_scale.mnc",
        "phantom_EPI_asc_CLEAR_2_1.PAR", "phantom_varscale.PAR",
        "phantom_EPI_asc_CLEAR_2_1.REC", "scaled+tlrc.HEAD", "example4d+orig.HEAD",
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # NiBabel leaves some files open
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_formats_that_only_nibabel_reads(name):
    path = SAMPLES / name
    if not path.exists():
        pytest.skip(f"nibabel comes without {name}")
    try:
        image = nibabel.load(path)
        values = image.get_fdata(dtype=np.float32)
    except (FileNotFoundError, nibabel.filebasedimages.ImageFileError):
        pytest.skip(f"nibabel comes without the voxels of {name}")
    values = values[..., None] if values.ndim == 3 else values
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        got = tio.ScalarImage(path)
        np.testing.assert_array_equal(got.data.float().numpy(), values.transpose(3, 0, 1, 2))
    np.testing.assert_array_equal(got.affine, image.affine)
    header = io.read_header(path)
    assert header.shape == tuple(got.data.shape)
    assert header.dtype == got.data.dtype
    part = tio.ScalarImage(path)[1:3, 2:4]
    assert torch.equal(part.data, got.data[:, 1:3, 2:4])


@pytest.mark.parametrize("suffix", [".mgh", ".mgz"])
def test_labels_of_freesurfer_stay_integers(tmp_path, suffix):
    nibabel.save(nibabel.freesurfer.MGHImage(X[0].int().numpy(), AFFINE), tmp_path / f"x{suffix}")
    image = tio.LabelMap(tmp_path / f"x{suffix}")
    assert image.data.dtype == torch.int32
    assert torch.equal(image.data, X.int())


def test_broken_files_of_nibabel_are_named(tmp_path):
    for name in ("x.mgz", "x.mgh", "x.mnc", "x.PAR", "x+orig.HEAD"):
        (tmp_path / name).write_bytes(b"nothing of use")
        with pytest.raises(OSError, match=name.replace("+", r"\+")) as caught:
            io.read(tmp_path / name)
        assert "\n" not in str(caught.value)


# Units


def in_unit(unit, folder, form):
    """Write an image with voxels of 2 x 2.5 x 3 mm in another unit."""
    factor = {"meter": 1e-3, "mm": 1.0, "micron": 1e3, "unknown": 1.0}[unit]
    scaled = AFFINE.copy()
    scaled[:3] *= factor
    image = nibabel.Nifti1Image(X[0].numpy(), scaled)
    image.header.set_xyzt_units(unit)
    if form == "memory":
        return image
    if form == "nifti2":
        image = nibabel.Nifti2Image(X[0].numpy(), scaled)
        image.header.set_xyzt_units(unit)
        form = ".nii"
    nibabel.save(image, folder / f"x{form}")
    return folder / f"x{form}"


@pytest.mark.parametrize("unit", ["meter", "mm", "micron", "unknown"])
@pytest.mark.parametrize("form", [".nii", ".nii.gz", ".hdr", ".img", "nifti2", "memory"])
def test_units_of_nifti_become_millimetres(tmp_path, unit, form):
    image = tio.ScalarImage(in_unit(unit, tmp_path, form))
    np.testing.assert_allclose(image.affine, AFFINE, rtol=1e-6)
    assert image.spacing == pytest.approx((2, 2.5, 3))
    image.save(tmp_path / "y.nii")
    saved = nibabel.load(tmp_path / "y.nii")
    assert saved.header.get_xyzt_units()[0] == "mm"
    np.testing.assert_allclose(saved.affine, AFFINE, rtol=1e-6)
    if form == "memory":
        flipped = tio.RandomFlip(axes=(0,), flip_probability=1)(in_unit(unit, tmp_path, form))
        np.testing.assert_allclose(flipped.affine, AFFINE, rtol=1e-6)
        assert flipped.header.get_xyzt_units()[0] == "mm"
    else:
        part = tio.ScalarImage(in_unit(unit, tmp_path, form))[1:, :, 2:]
        np.testing.assert_allclose(part.affine[:3, 3], [28, -40, 16], rtol=1e-5)


@pytest.mark.parametrize("suffix", [".nrrd", ".nhdr"])
@pytest.mark.parametrize(
    ("unit", "factor"), [("um", 1e-3), ("mm", 1), ("cm", 10), ("m", 1e3), ("", 1), ("parsec", 1)]
)
def test_units_of_nrrd_become_millimetres(tmp_path, suffix, unit, factor):
    path = tmp_path / f"x{suffix}"
    io.write(X, torch.from_numpy(AFFINE), path)
    line = f'space units: "{unit}" "{unit}" "{unit}"\nspace directions:'
    path.write_bytes(path.read_bytes().replace(b"space directions:", line.encode()))
    y, affine = io.read(path)
    assert torch.equal(y, X)
    np.testing.assert_allclose(affine[:3], AFFINE[:3] * factor)


@pytest.mark.parametrize("suffix", [".mha", ".mhd"])
@pytest.mark.parametrize(("unit", "factor"), [("um", 1e-3), ("mm", 1), ("cm", 10), ("?", 1)])
def test_units_of_meta_images_become_millimetres(tmp_path, suffix, unit, factor):
    path = tmp_path / f"x{suffix}"
    io.write(X, torch.from_numpy(AFFINE), path)
    line = f"DistanceUnits = {unit}\nElementType"
    path.write_bytes(path.read_bytes().replace(b"ElementType", line.encode()))
    np.testing.assert_allclose(io.read(path)[1][:3], AFFINE[:3] * factor)
    assert sitk.ReadImage(str(path)).GetSize() == (4, 5, 6)


# Time steps and codes


def time_series(path, step, unit, codes=(1, 1)):
    image = nibabel.Nifti1Image(np.random.default_rng(0).random((8, 9, 7, 5), np.float32), AFFINE)
    image.header.set_zooms((2, 2.5, 3, step))
    image.header.set_xyzt_units("mm", unit)
    image.set_sform(AFFINE, codes[0])
    image.set_qform(AFFINE, codes[1])
    nibabel.save(image, path)
    return path


TRANSFORMS = {
    "none": lambda s: s,
    "flip": tio.RandomFlip(axes=(0, 1, 2), flip_probability=1),
    "crop": tio.Crop((1, 0, 0, 1, 2, 0)),
    "noise": tio.RandomNoise(),
    "resample": tio.Resample(2.2),
    "canonical": tio.ToCanonical(),
    "fused": tio.Compose(
        [tio.RandomAffine(), tio.RandomElasticDeformation(max_displacement=1), tio.RandomNoise()]
    ),
    "steps": tio.Compose([tio.RandomAffine(), tio.RandomGamma()], fuse=False),
}


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("way", ["image", "subject", "batch", "nibabel", "loader"])
@pytest.mark.parametrize(
    ("step", "unit", "seconds"), [(2.5, "sec", 2.5), (720, "msec", 0.72), (1.5e6, "usec", 1.5)]
)
def test_the_time_step_survives(tmp_path, name, way, step, unit, seconds):
    path, transform = time_series(tmp_path / "x.nii.gz", step, unit), TRANSFORMS[name]
    if way == "image":
        out = transform(tio.ScalarImage(path))
    elif way == "subject":
        out = transform(tio.Subject(a=tio.ScalarImage(path), b=1)).a
    elif way == "nibabel":
        if name == "none":
            return
        out = transform(nibabel.load(path))
    elif way == "batch":
        subjects = [tio.Subject(a=tio.ScalarImage(path)) for _ in range(2)]
        out = transform(tio.SubjectsBatch.from_subjects(subjects)).unbatch()[1].a
    else:
        dataset = tio.SubjectsDataset([tio.Subject(a=tio.ScalarImage(path))] * 2)
        batch = next(iter(tio.SubjectsLoader(dataset, batch_size=2)))
        out = transform(batch).unbatch()[1].a
    if way != "nibabel":
        out.save(tmp_path / "y.nii.gz")
        out = nibabel.load(tmp_path / "y.nii.gz")
    assert out.header.get_zooms()[3] == pytest.approx(seconds)
    assert out.header.get_xyzt_units() == ("mm", "sec")


def test_steps_that_are_no_time_keep_their_unit(tmp_path):
    tio.ScalarImage(time_series(tmp_path / "x.nii", 3.0, "ppm")).save(tmp_path / "y.nii")
    header = nibabel.load(tmp_path / "y.nii").header
    assert header.get_zooms()[3] == 3
    assert header.get_xyzt_units() == ("mm", "ppm")


@pytest.mark.parametrize("codes", [(4, 0), (0, 1), (2, 1), (1, 4), (3, 3), (0, 2)])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".hdr"])
def test_form_codes_are_kept_while_the_affine_is_unchanged(tmp_path, codes, suffix):
    path = time_series(tmp_path / "x.nii", 2.0, "sec", codes)
    for name, transform in TRANSFORMS.items():
        out = transform(tio.ScalarImage(path))
        out.save(tmp_path / f"y{suffix}")
        header = nibabel.load(tmp_path / f"y{suffix}").header
        got = int(header["sform_code"]), int(header["qform_code"])
        moved = name in ("crop", "resample", "canonical")  # the others keep the grid
        assert got == ((1, 1) if moved else codes), name
        np.testing.assert_allclose(nibabel.load(tmp_path / f"y{suffix}").affine, out.affine,
                                   atol=1e-4)  # fmt: skip


def test_missing_form_codes_become_scanner(tmp_path):
    time_series(tmp_path / "x.nii", 2.0, "sec", (0, 0))
    image = tio.ScalarImage(tmp_path / "x.nii")
    image.save(tmp_path / "y.nii")
    header = nibabel.load(tmp_path / "y.nii").header
    assert (header["sform_code"], header["qform_code"]) == (1, 1)
    np.testing.assert_allclose(nibabel.load(tmp_path / "y.nii").affine, image.affine, atol=1e-5)


# Memory


@pytest.mark.parametrize("name", [name for name in TRANSFORMS if name != "none"])
@pytest.mark.parametrize("way", ["image", "subject", "dict", "batch", "dataset"])
def test_transforms_do_not_load_voxels_into_their_input(tmp_path, name, way):
    path, transform = time_series(tmp_path / "x.nii", 2.0, "sec"), TRANSFORMS[name]
    image = tio.ScalarImage(path)
    subject = tio.Subject(a=image, b=tio.LabelMap(path))
    if way == "image":
        transform(image)
    elif way == "subject":
        transform(subject)
    elif way == "dict":
        transform({"a": image})
    elif way == "batch":
        tio.SubjectsBatch.from_subjects([subject, subject])
    else:
        dataset = tio.SubjectsDataset([subject], transform=transform)
        dataset[0]
    assert not image.loaded
    assert not subject.a.loaded
    assert not subject.b.loaded
    assert image.shape == (5, 8, 9, 7)
    assert not image.loaded
