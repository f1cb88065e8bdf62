"""The map that a history applied, given to SimpleITK, resamples the input to the output."""

import copy
import pickle

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from scipy.ndimage import binary_erosion

import torchio_gpu as tio
from tests.transforms.test_points import AFFINES, SPATIAL
from tests.volumes import batch_of, oblique_affine, smooth

SHAPE = (26, 30, 22)
#: Where an inverse is evaluated at all voxels, which takes many iterations.
SMALL = (18, 20, 16)
#: Largest difference of intensities 0 to 1: the library interpolates in float32, ITK in float64.
ROUNDING = 2e-6
#: Pipelines of one sampling, and the largest difference for them.
ONCE = [
    ["canonical", "affine"],
    ["affine", "resample", "crop or pad"],
    ["pad", "elastic", "flip", "resize"],
    ["orientation", "affine and elastic", "crop", "transpose", "pad"],
    ["flip", "affine", "elastic first", "resample", "crop", "orientation"],
]
#: Pipelines of two or more samplings, which interpolate what is interpolated.
TWICE = [
    ["affine", "elastic", "affine"],
    ["elastic", "elastic"],
    ["affine and elastic", "flip", "elastic", "affine", "resample"],
]


def volume(seed=0, shape=SHAPE):
    """Return voxels (1, I, J, K) of random waves, 0 to 1, smooth at the scale of voxels."""
    x = smooth((1, 1, *shape), seed)[0]
    return ((x - x.min()) / (x.max() - x.min())).float()


def subject(affine, seed=0, shape=SHAPE):
    """Return a subject with an image, and a label map that is 1 wherever there are voxels."""
    ones = torch.ones(1, *shape, dtype=torch.uint8)
    return tio.Subject(
        t1=tio.ScalarImage(volume(seed, shape), affine=affine),
        inside=tio.LabelMap(ones, affine=affine),
    )


def resampled(image, grid, transform):
    """Return an image as SimpleITK resamples it on the grid of another, with its mask of voxels."""
    source, target = image.as_sitk(), grid.as_sitk()
    ones = sitk.Image(source.GetSize(), sitk.sitkFloat32) + 1
    ones.CopyInformation(source)
    out = [sitk.Resample(x, target, transform, sitk.sitkLinear, 0.0) for x in (source, ones)]
    values, seen = (sitk.GetArrayFromImage(x).transpose(2, 1, 0) for x in out)
    return values, seen > 0.999


def worst(before, after, transform, margin=0, name="t1"):
    """Return the largest difference of an image from that of SimpleITK, where both have voxels."""
    expected, seen = resampled(before[name], after[name], transform)
    mask = seen & (after.inside.data[0].numpy() == 1)
    mask = binary_erosion(mask, iterations=margin) if margin else mask
    assert mask.mean() > 0.2, "too few voxels to compare"
    return abs(after[name].data[0].numpy() - expected)[mask].max()


@pytest.mark.parametrize("grid", AFFINES)
@pytest.mark.parametrize("name", SPATIAL)
def test_simpleitk_resamples_to_the_same_image(name, grid):
    before = subject(AFFINES[grid])
    torch.manual_seed(3)
    after = SPATIAL[name]()(before)
    grid = after.t1 if name == "diffeomorphism" else None  # a flow goes on outside its grid
    assert worst(before, after, after.applied_map("t1").as_sitk(grid)) < ROUNDING


@pytest.mark.parametrize("grid", AFFINES)
@pytest.mark.parametrize("names", ONCE, ids=" ".join)
def test_pipelines_of_one_sampling(names, grid):
    before = subject(AFFINES[grid])
    torch.manual_seed(4)
    after = tio.Compose([SPATIAL[name]() for name in names])(before)
    assert worst(before, after, after.applied_map("t1").as_sitk()) < ROUNDING


@pytest.mark.parametrize("grid", AFFINES)
@pytest.mark.parametrize("names", TWICE, ids=" ".join)
def test_pipelines_of_several_samplings(names, grid):
    before = subject(AFFINES[grid])
    torch.manual_seed(5)
    after = tio.Compose([SPATIAL[name]() for name in names])(before)
    # linear interpolation of these waves is off by a few per cent, and is done twice
    assert worst(before, after, after.applied_map("t1").as_sitk(), margin=2) < 0.05


def test_a_batch_has_a_map_for_each_sample():
    before = [subject(AFFINES[grid], seed) for seed, grid in enumerate(AFFINES)]
    steps = [tio.RandomAffine(0.1, 20, 3, p=0.7), SPATIAL["elastic"](),
             tio.RandomFlip((0, 1, 2), p=0.5), tio.CropOrPad((24, 34, 20))]  # fmt: skip
    pipeline = tio.Compose(steps)
    after = pipeline(batch_of(before, [1, 2, 3]))
    maps = after.applied_map("t1")
    assert len(maps) == 3
    for one, moved, each in zip(before, after.unbatch(), maps, strict=True):
        assert worst(one, moved, each.as_sitk()) < ROUNDING
        points = np.random.default_rng(0).uniform(-20, 20, (5, 3))
        again = moved.applied_map("t1").pull(points)
        np.testing.assert_array_equal(each.pull(points), again)


@pytest.mark.parametrize("grid", ["oblique", "left-handed"])
@pytest.mark.parametrize("name", ["affine", "elastic", "affine and elastic", "elastic first"])
def test_inverse_transforms(name, grid):
    """The history of what undoes another history is a map too, of which SimpleITK gets samples."""
    moved = SPATIAL[name]()(subject(AFFINES[grid], shape=SMALL))
    undo = moved.get_inverse_transform(warn=False)
    moved.clear_history()
    after = undo(moved)
    found = after.applied_map("t1")
    if name != "affine":
        with pytest.raises(ValueError, match="grid must be given for a map with an inverse"):
            found.as_sitk()
    # the image is sampled where float32 iterations find the inverse: 1e-5 here
    assert worst(moved, after, found.as_sitk(after.t1)) < 5e-5


def test_the_way_there_and_back():
    """The map of a history with an inverse in it: what is sampled is exact at the voxels."""
    before = subject(AFFINES["oblique"], shape=SMALL)
    pipeline = tio.Compose([SPATIAL["affine"](), SPATIAL["elastic"]()])
    moved = pipeline(before)
    after = moved.get_inverse_transform(warn=False)(moved)
    found = after.applied_map("t1")
    voxels = world_of_voxels(after.t1)
    np.testing.assert_allclose(found.pull(voxels), voxels, atol=1e-6)
    at = np.random.default_rng(0).choice(voxels, 300)
    transform = found.as_sitk(after.t1)
    flip = np.array([-1, -1, 1])
    way = [np.array(transform.TransformPoint((p * flip).tolist())) * flip for p in at]
    np.testing.assert_allclose(way, found.pull(at), atol=1e-6)
    assert worst(before, after, transform, margin=2) < 0.05


def world_of_voxels(image):
    """Return the world positions of all voxels, [N, 3]."""
    index = np.stack(np.meshgrid(*map(np.arange, image.spatial_shape), indexing="ij"), -1)
    return tio.geometry.apply_affine(image.affine, index.reshape(-1, 3).astype(float))


def test_an_image_beyond_the_lattice():
    """Control points lie over the first image; their field ends smoothly around it."""
    before = subject(AFFINES["oblique"], shape=(14, 16, 12))
    shape, affine = (44, 46, 40), AFFINES["oblique"].copy()
    affine[:3, 3] -= affine[:3, :3] @ (15, 15, 14)
    before["wide"] = tio.ScalarImage(volume(1, shape), affine=affine)
    before["inside"] = tio.LabelMap(torch.ones(1, *shape, dtype=torch.uint8), affine=affine)
    torch.manual_seed(0)
    after = tio.RandomElasticDeformation(5, 1.5, 0)(before)
    assert worst(before, after, after.applied_map("wide").as_sitk(), name="wide") < ROUNDING


def test_a_single_slice_stays_in_its_plane():
    affine = oblique_affine((1.0, 1.2, 2.0))
    before = subject(affine, shape=(30, 34, 1))
    before["tips"] = tio.Points([[12.0, 15, 0], [17, 20, 0]], axes="IJK", affine=affine)
    torch.manual_seed(0)
    after = tio.Compose([SPATIAL["affine"](), SPATIAL["elastic"]()])(before)
    for name in ("t1", "tips"):
        displacement = after.applied_map(name).displacement(world_of_voxels(after.t1))
        assert abs(displacement @ np.linalg.inv(affine)[2, :3]).max() < 1e-9
    assert worst(before, after, after.applied_map("t1").as_sitk()) < ROUNDING
    np.testing.assert_allclose(after.tips.data[:, 2], 0, atol=1e-9)
    again = after.applied_map("t1").pull(after.tips.world().numpy())
    np.testing.assert_allclose(again, before.tips.world(), atol=1e-7)
    back = after.apply_inverse_transform(warn=False)
    np.testing.assert_allclose(back.tips.data, before.tips.data, atol=1e-7)


# ---- Corrections of affines


def corrected(transform, points_on="t1"):
    """Return a subject before and after a correction of the affine of its image."""
    before = subject(AFFINES["oblique"])
    other = oblique_affine((1.1, 0.9, 1.3), origin=(-9.0, 8.0, 22.0))
    before["reference"] = tio.LabelMap(torch.ones(1, *SHAPE), affine=other)
    before.t1["registered"] = before.inside["registered"] = REGISTERED
    inner = np.random.default_rng(0).uniform(8, 14, (5, 3))
    before["voxels"] = tio.Points(inner, axes="IJK", affine=before[points_on].affine)
    before["world"] = tio.Points(before.voxels.world())
    return before, transform(before)


REGISTERED = tio.geometry.affine_motion(
    *np.array([[[1.02, 0.98, 1.0]], [[3.0, -2, 4]], [[1.0, 2, -1]], [[0.0, 0, 0]]])
)[0]
CORRECTIONS = {
    "copied": lambda: tio.CopyAffine("reference"),
    "reference space": lambda: tio.ToReferenceSpace((SHAPE, oblique_affine((1.2, 1.0, 1.4)))),
    "registered": lambda: tio.Resample(1.2, pre_affine_name="registered"),
    "registered, smoothed": lambda: tio.Resample(1.0, pre_affine_name="registered", antialias=True),
    "copied and moved": lambda: tio.Compose(
        [SPATIAL["affine"](), tio.CopyAffine("reference"), SPATIAL["elastic"](), tio.Crop(1)]
    ),
}


@pytest.mark.parametrize("name", CORRECTIONS)
def test_corrections_of_affines_are_in_the_map(name):
    torch.manual_seed(0)
    before, after = corrected(CORRECTIONS[name]())
    found = after.applied_map("t1")
    assert abs(found.displacement(after.voxels.world().numpy())).max() > 0.1
    assert worst(before, after, found.as_sitk()) < ROUNDING
    if name in ("copied", "copied and moved"):
        assert after.applied_map("reference").as_sitk() is not None


@pytest.mark.parametrize("on", ["t1", "reference"])
@pytest.mark.parametrize("name", CORRECTIONS)
def test_maps_of_points_under_corrections(name, on):
    """Points on the grid of an image follow it, points of the world do not: so do their maps."""
    torch.manual_seed(0)
    before, after = corrected(CORRECTIONS[name](), on)
    for points in ("voxels", "world"):
        found = after.applied_map(points).pull(after[points].world().numpy())
        np.testing.assert_allclose(found, before[points].world().numpy(), atol=1e-6)
    at = after.voxels.world().numpy()
    image, own = after.applied_map(on), after.applied_map("voxels")
    np.testing.assert_allclose(own.pull(at), image.pull(at), atol=1e-9)
    after = tio.Crop(2)(after)  # where both images may be on one grid
    for back in (after.apply_inverse_transform(warn=False), one_by_one(after)):
        for points in ("voxels", "world"):
            found = back[points].world().numpy()
            np.testing.assert_allclose(found, before[points].world().numpy(), atol=1e-6)
        np.testing.assert_allclose(back.voxels.affine, before[on].affine, atol=1e-9)


def one_by_one(subject):
    """Return a subject whose steps were undone in calls of their own."""
    for record in reversed(subject.history):
        subject = record.as_transform(record).inverse()(subject)
    return subject


def test_points_of_a_batch_follow_images_of_their_own():
    """One sample has points on the grid that is corrected, one on another, and one has none."""
    subjects = [corrected(lambda x: x, on)[0] for on in ("t1", "reference", "t1")]
    del subjects[2]["voxels"]
    after = CORRECTIONS["copied"]()(batch_of(subjects, [1, 2, 3]))
    pair = zip(subjects[:2], after.unbatch(), after.applied_map("voxels"), strict=False)
    for before, one, found in pair:
        for each in (found, one.applied_map("voxels")):
            back = each.pull(one.voxels.world().numpy())
            np.testing.assert_allclose(back, before.voxels.world(), atol=1e-9)
    assert abs(after.applied_map("voxels")[0].affine - np.eye(4)).max() > 0.1
    np.testing.assert_allclose(after.applied_map("voxels")[1].affine, np.eye(4), atol=1e-12)
    assert pickle.loads(pickle.dumps(after)).applied_map("voxels")[0].matrix is not None


def test_an_image_that_follows_a_recorded_correction():
    """A prediction that was added afterwards is moved by a replay and by an inverse alike."""
    before, after = corrected(CORRECTIONS["copied"]())
    again = copy.copy(before)
    again["prediction"] = tio.ScalarImage(volume(3), affine=before.t1.affine)
    replayed = after.get_composed_history()(again)
    found = replayed.applied_map("prediction")
    np.testing.assert_allclose(found.affine, after.applied_map("t1").affine, atol=1e-12)
    assert worst(again, replayed, found.as_sitk(), name="prediction") < ROUNDING


def test_what_was_left_out_has_no_map():
    before = subject(AFFINES["identity"])
    before["tips"] = tio.Points([[1.0, 2, 3]])
    move = {"scales": 1, "degrees": 0, "translation": (5, 0, 0)}
    after = tio.Affine(**move, exclude=["inside", "tips"])(before)
    after = tio.Affine(**move, include=["t1", "tips"])(after)
    found = {name: after.applied_map(name).affine[0, 3] for name in ("t1", "inside", "tips")}
    assert found == {"t1": -10, "inside": 0, "tips": -5}


def test_names_are_checked():
    after = SPATIAL["affine"]()(subject(AFFINES["identity"]))
    with pytest.raises(KeyError, match=r"subject has no 't2'; it has \['t1', 'inside'\]"):
        after.applied_map("t2")
    with pytest.raises(KeyError, match=r"batch has no 't2'; it has \['t1', 'inside'\]"):
        batch_of([after]).applied_map("t2")
