"""Points and boxes follow the images: in all spatial transforms, pipelines, batches and patches."""

import copy
import warnings

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

import torchio_gpu as tio
from tests.volumes import batch_of, oblique_affine

SHAPE = (30, 34, 26)
AFFINES = {
    "identity": np.eye(4),
    "oblique": oblique_affine((1.1, 0.9, 1.3)),
    "left-handed": oblique_affine((1.0, 1.2, 0.8), left_handed=True),
}
ELASTIC = {"num_control_points": 6, "max_displacement": 1.5}
SPATIAL = {
    "affine": lambda: tio.RandomAffine(0.1, 20, 3),
    "affine about the origin": lambda: tio.RandomAffine(0.05, 5, 1, center="origin"),
    "elastic": lambda: tio.RandomElasticDeformation(**ELASTIC),
    "affine and elastic": lambda: tio.RandomAffineElasticDeformation(
        affine_kwargs={"degrees": 15}, elastic_kwargs=ELASTIC
    ),
    "elastic first": lambda: tio.RandomAffineElasticDeformation(
        False, affine_kwargs={"degrees": 15}, elastic_kwargs=ELASTIC
    ),
    "displacement": lambda: tio.RandomDisplacement((0.4, 0.7), 9),
    "diffeomorphism": lambda: tio.RandomDiffeomorphism((0.7, 1), 9),
    "flip": lambda: tio.RandomFlip((0, 1, 2)),
    "canonical": lambda: tio.ToCanonical(),
    "orientation": lambda: tio.ToOrientation("PIL"),
    "transpose": lambda: tio.Transpose(),
    "resample": lambda: tio.Resample((1.4, 0.8, 1.1)),
    "resize": lambda: tio.Resize((28, 30, 32)),
    "crop": lambda: tio.Crop((1, 2, 3, 0, 2, 1)),
    "pad": lambda: tio.Pad((1, 2, 3, 0, 2, 1)),
    "crop or pad": lambda: tio.CropOrPad((28, 40, 24)),
}
BENDING = ("elastic", "displacement", "diffeomorphism")
RANDOM = [
    "affine",
    "elastic",
    "diffeomorphism",
    "flip",
    "resample",
    "affine and elastic",
    "pad",
    "orientation",
]


def bends_space(name):
    return any(word in name for word in BENDING)


def subject(affine, count=6, seed=0):
    """Return a subject whose image holds the world position of each voxel, and points inside."""
    generator = np.random.default_rng(seed)
    voxels = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), -1)
    places = voxels @ affine[:3, :3].T + affine[:3, 3]
    inner = generator.uniform(0.35, 0.65, (count, 3)) * np.array(SHAPE)
    world = inner @ affine[:3, :3].T + affine[:3, 3]
    return tio.Subject(
        places=tio.ScalarImage(torch.from_numpy(places).movedim(-1, 0), affine=affine),
        world=tio.Points(world),
        voxels=tio.Points(inner, axes="IJK", affine=affine),
    )


def shown(image, points, order=1):
    """Return what an image of places shows at points: where the content came from, [N, 3]."""
    at = points.to_axes("IJK", affine=image.affine).data.numpy().T
    volumes = image.data.numpy()
    return np.stack([map_coordinates(v, at, order=order, mode="nearest") for v in volumes], 1)


def assert_follow(before, after, share):
    """Assert that moved points lie where the image shows the places that they came from."""
    origin = before.world.world().numpy()
    side = tio.geometry.spacing(before.places.affine).min()
    order = 3 if share > 1e-3 else 1
    for name in ("world", "voxels"):
        error = np.linalg.norm(shown(after.places, after[name], order) - origin, axis=1).max()
        assert error < share * side, f"{name}: {error:.2e} mm of {side:.2f}"
    np.testing.assert_allclose(after.voxels.affine, after.places.affine, atol=1e-9)


@pytest.mark.parametrize("grid", AFFINES)
@pytest.mark.parametrize("name", SPATIAL)
def test_points_follow_the_image(name, grid):
    before = subject(AFFINES[grid])
    torch.manual_seed(3)
    after = SPATIAL[name]()(before)
    bends = bends_space(name)
    # voxels are a second interpolation of the map, linear between places that bend
    assert_follow(before, after, 0.02 if bends else 1e-9)


@pytest.mark.parametrize("seed", range(12))
def test_points_follow_random_pipelines(seed):
    generator = np.random.default_rng(seed)
    names = generator.choice(RANDOM, generator.integers(2, 7))
    before = subject(AFFINES["oblique"], seed=seed)
    torch.manual_seed(seed)
    steps = tio.Compose([SPATIAL[name]() for name in names])
    after = steps(before)
    bends = sum(bends_space(name) for name in names)
    # each sampling of bent places interpolates them linearly
    assert_follow(before, after, 0.03 * bends + 1e-9)


@pytest.mark.parametrize("name", SPATIAL)
def test_inverse_and_replay(name):
    before = subject(AFFINES["oblique"])
    torch.manual_seed(5)
    after = SPATIAL[name]()(before)
    again = after.get_composed_history()(before)
    back = after.apply_inverse_transform(warn=False)
    for points in ("world", "voxels"):
        assert torch.equal(again[points].data, after[points].data)
        np.testing.assert_allclose(
            back[points].world().numpy(), before[points].world().numpy(), atol=1e-7
        )
    np.testing.assert_allclose(back.voxels.affine, before.places.affine, atol=1e-9)


def test_ragged_batch_equals_single_samples():
    transform = tio.Compose([tio.RandomAffine(degrees=20, p=0.6), SPATIAL["elastic"]()])
    subjects = [subject(AFFINES["oblique"], count, count) for count in (3, 0, 7, 1)]
    out = transform(batch_of(subjects, [11, 12, 13, 14]))
    for n, (one, seed) in enumerate(zip(subjects, (11, 12, 13, 14), strict=True)):
        alone = transform(batch_of([one], [seed])).unbatch()[0]
        assert len(out.metadata["world"][n]) == len(one.world)
        torch.testing.assert_close(out.metadata["world"][n].data, alone.world.data)
        torch.testing.assert_close(out.unbatch()[n].voxels.data, alone.voxels.data)


def test_input_is_unchanged():
    before = subject(AFFINES["oblique"])
    same = copy.deepcopy(before)
    SPATIAL["affine"]()(before)
    assert torch.equal(before.world.data, same.world.data)
    assert torch.equal(before.voxels.data, same.voxels.data)


def test_include_and_exclude():
    before = subject(AFFINES["identity"])
    move = {"scales": 1, "degrees": 0, "translation": (2, 0, 0)}
    after = tio.Affine(**move, exclude=["world"])(before)
    assert torch.equal(after.world.data, before.world.data)
    assert not torch.equal(after.voxels.data, before.voxels.data)
    again = after.get_composed_history()(before)
    assert torch.equal(again.world.data, before.world.data)
    after = tio.Affine(**move, include=["places"])(before)
    assert torch.equal(after.voxels.world(), before.voxels.world())
    both = tio.Affine(**move, include=["places", "world"])(before)
    np.testing.assert_allclose(both.world.data - before.world.data, [[2, 0, 0]] * 6)


def test_dict():
    points, image = torch.tensor([[10.0, 12, 9]]), torch.rand(1, 20, 22, 18)
    data = {"image": image, "tip": tio.Points(points), "age": 4}
    move = tio.Affine(1, 0, (1, 2, 3))
    out = move(data)
    assert torch.equal(out["tip"].data, points + torch.tensor([1, 2, 3]))
    assert torch.equal(data["tip"].data, points)
    batch = {"image": image[None].repeat(2, 1, 1, 1, 1), "tip": [tio.Points(points)] * 2}
    assert [len(tip) for tip in move(batch)["tip"]] == [1, 1]
    batch["tip"] = [tio.Points(points)]
    with pytest.raises(ValueError, match="'tip' must hold one value for each of 2 samples, got 1"):
        move(batch)


def test_single_slice_stays_in_its_plane():
    image = tio.ScalarImage(torch.rand(1, 40, 40, 1))
    before = tio.Subject(image=image, tip=tio.Points([[20.0, 18, 0]]))
    torch.manual_seed(0)
    augment = tio.Compose([tio.RandomAffine(degrees=20, translation=3), SPATIAL["elastic"]()])
    after = augment(before)
    assert after.tip.data[0, 2] == 0
    assert not torch.allclose(after.tip.data[0, :2], before.tip.data[0, :2])


def test_folded_points_are_flagged():
    before = subject(AFFINES["identity"], count=40)
    points = np.random.default_rng(0).uniform(-12, 12, (8, 8, 8, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        after = tio.ElasticDeformation(points)(before)
    assert after.world.folded.any()
    assert torch.isfinite(after.world.data).all()
    # a point that is not flagged is right
    back = after.applied_map("world").pull(after.world.world().numpy())
    error = np.linalg.norm(back - before.world.data.numpy(), axis=1)
    assert (error[~after.world.folded.numpy()] < 1e-3).all()
    assert not before.world.folded.any()


def test_gradients_reach_parameters():
    degrees = torch.tensor([5.0, -3, 8], requires_grad=True, dtype=torch.float64)
    before = subject(AFFINES["oblique"])

    def moved(angles):
        return tio.Affine(1.1, angles, 0)(before).world.data

    assert torch.autograd.gradcheck(moved, degrees)


def test_boxes_hold_their_content():
    affine = AFFINES["oblique"]
    generator = np.random.default_rng(0)
    low = generator.uniform(8, 12, (3, 3))
    box = np.concatenate([low, low + generator.uniform(3, 6, (3, 3))], 1)
    before = subject(affine)
    before["box"] = tio.BoundingBoxes(box, affine=affine)
    torch.manual_seed(1)
    after = tio.Compose([SPATIAL["affine"](), SPATIAL["elastic"](), tio.Resample(1.2)])(before)
    np.testing.assert_allclose(after.box.affine, after.places.affine)
    shares = generator.uniform(0, 1, (3, 50, 3))
    inner = low[:, None] + shares * (box[:, None, 3:] - low[:, None])
    world = inner @ affine[:3, :3].T + affine[:3, 3]
    moved, _ = after.applied_map("box").push(world.reshape(1, -1, 3))
    voxels = tio.geometry.apply_affine(np.linalg.inv(after.places.affine), np.asarray(moved)[0])
    new = after.box.data.numpy()[:, None]
    voxels = voxels.reshape(3, 50, 3)
    assert (voxels >= new[..., :3] - 0.05).all()  # the surface is sampled at 98 points
    assert (voxels <= new[..., 3:] + 0.05).all()


def test_patches():
    before = subject(AFFINES["oblique"])
    for patch in tio.UniformSampler(before, 12, num_patches=3):
        torch.testing.assert_close(patch.world.data, before.world.data)
        np.testing.assert_allclose(patch.voxels.affine, patch.places.affine)
        torch.testing.assert_close(patch.voxels.world(), before.voxels.world())
        inside = patch.voxels.inside(patch.places)
        at = patch.voxels.data
        expected = ((at >= -0.5) & (at < 11.5)).all(1)
        assert torch.equal(inside, expected)


def test_device_queue_cuts_points_with_the_patches():
    augment = SPATIAL["affine"]()
    dataset = tio.SubjectsDataset([subject(AFFINES["oblique"], seed=n) for n in range(2)])
    sampler = tio.UniformSampler(patch_size=16)
    queue = tio.DeviceQueue(dataset, sampler, augment, batch_size=2, device="cpu")
    seen = 0
    for batch in queue:
        for one in batch.unbatch():
            np.testing.assert_allclose(one.voxels.affine, one.places.affine, atol=1e-9)
            inner = ((one.voxels.data >= 1) & (one.voxels.data <= 14)).all(1).numpy()
            seen += inner.sum()
            found = shown(one.places, one.voxels)[inner]
            source = one.applied_map("voxels").pull(one.voxels.world().numpy())[inner]
            np.testing.assert_allclose(found, source, atol=1e-6)
    assert seen > 3


def test_tensors_of_landmarks_are_pointed_to_points():
    before = tio.Subject(t1=tio.ScalarImage(torch.rand(1, 8, 8, 8)), tips=torch.rand(5, 3))
    with pytest.warns(RuntimeWarning, match=r"'tips' has shape \(5, 3\).* tio\.Points"):
        tio.RandomAffine()(before)


def test_points_on_a_grid_follow_the_correction_of_its_affine():
    before = subject(AFFINES["identity"])
    shifted = AFFINES["identity"].copy()
    shifted[:3, 3] = 3e-3, 1e-3, 2e-3  # within the tolerance that CopyAffine has
    before["reference"] = tio.LabelMap(torch.ones(1, *SHAPE), affine=shifted)
    after = tio.CopyAffine("reference")(before)
    np.testing.assert_allclose(after.places.affine, shifted)
    torch.testing.assert_close(after.voxels.data, before.voxels.data, atol=1e-9, rtol=0)
    torch.testing.assert_close(after.world.data, before.world.data)
    moved = after.applied_map("places").push(before.voxels.world())[0]
    torch.testing.assert_close(moved, after.voxels.world(), atol=1e-9, rtol=0)
