"""Pipelines for patches: a patch equals the region of the transformed volume."""

import numpy as np
import pytest
import torch

import torchio_gpu as tio
from tests.volumes import oblique_affine, smooth
from torchio_gpu.data import ImagesBatch
from torchio_gpu.transforms.pipeline.patchwise import Patchwise

SHAPE, SIZE, SAMPLES = (30, 36, 40), (12, 14, 10), 3
#: Grid of finer voxels, along the axes of :func:`batch`.
FINER = oblique_affine((1, 1.2, 1.5)) @ np.diag([0.9, 1.1, 0.8, 1])
PIPELINES = {
    "nothing": tio.Compose([]),
    "affine": tio.RandomAffine(scales=0.2, degrees=30, translation=5),
    "elastic": tio.RandomElasticDeformation(max_displacement=3),
    "both": tio.RandomAffineElasticDeformation(elastic_kwargs={"max_displacement": 3}),
    "undone elastic": None,  # made of a record: see below
    "B0 distortion": tio.Compose([tio.RandomB0Distortion(3), tio.RandomAffine(degrees=10)]),
    "flip": tio.RandomFlip(axes=(0, 1, 2)),
    "bias field": tio.RandomBiasField(),
    "B-spline": tio.RandomAffine(degrees=10, image_interpolation="bspline"),
    "label": tio.RandomAffine(degrees=10, label_interpolation="label"),
    "filled with the mean": tio.RandomAffine(translation=15, default_pad_value="mean"),
    "resampled": tio.Compose([tio.ToCanonical(), tio.Resample((1, 1, 2)), tio.CropOrPad(32)]),
    "resampled alone": tio.Resample((1, 1.3, 2)),
    "windowed": tio.Compose([tio.Resample((1, 1.3, 2), "lanczos"), tio.RandomFlip((0, 1, 2))]),
    "windowed onto a grid": tio.Resample(((28, 26, 30), FINER), "gaussian"),
    "resampled and rotated": tio.Compose(
        [tio.Resample((1, 1, 2)), tio.Pad(8, padding_mode=5), tio.RandomAffine(degrees=20)]
    ),
    "one of": tio.OneOf([tio.RandomAffine(), tio.RandomFlip()]),
    "sometimes": tio.Compose([tio.RandomFlip(p=0.5), tio.RandomBiasField(p=0.5)]),
    "all": tio.Compose(
        [
            tio.RandomAffine(scales=0.1, degrees=15, translation=5),
            tio.RandomElasticDeformation(max_displacement=3),
            tio.RandomFlip(axes=(0, 1, 2)),
            tio.RandomBiasField(),
            tio.RandomGamma(),
            tio.Clamp(out_min=0.1),
        ]
    ),
}


def batch(shape=SHAPE, dtype=torch.float32):
    image = smooth((1, 2, *shape))
    image = ((image - image.min()) * 20).to(dtype)
    affine = oblique_affine((1, 1.2, 1.5))[None].repeat(SAMPLES, 0)
    labels = (image[:, :1] > 60).to(torch.uint8)
    return tio.SubjectsBatch(
        {
            "t1": ImagesBatch(image.repeat(SAMPLES, 1, 1, 1, 1), affine),
            "seg": ImagesBatch(labels.repeat(SAMPLES, 1, 1, 1, 1), affine, "label"),
        },
        streams=tio.random.Streams(np.arange(SAMPLES) + 5),
    )


def inverse_elastic(max_displacement):
    """Return the inverse of an elastic deformation of a subject."""
    given = batch()
    (one, *_) = given.unbatch()
    bent = tio.RandomElasticDeformation(max_displacement=max_displacement)(one)
    return bent.get_inverse_transform()


def pipeline(name):
    return inverse_elastic(3) if PIPELINES[name] is None else PIPELINES[name]


def split(transform):
    return Patchwise(transform.plan().pipeline)


def patches(transform, given, size=SIZE):
    """Return random patches of a batch, and the same regions of the transformed batch."""
    whole = transform(given.replace(given.images))
    given.streams = tio.random.Streams(np.arange(SAMPLES) + 5)
    split_pipeline = split(transform)
    given, decisions = split_pipeline.whole(given)
    given.streams.used[:] = 0  # both halves draw at the positions that they have in the whole
    patch = split_pipeline.patches(given, decisions)
    shape = next(iter(patch.final_maps().values())).space.shape
    u = np.random.RandomState(0).rand(SAMPLES, 3)
    first = np.floor(u * (np.array(shape) - size + 1)).astype(int)
    out = patch.finish_patch(first, size)
    parts = {
        name: tio.functional.extract_patches(images.data, first, size)
        for name, images in whole.images.items()
    }
    return out, parts, whole, first


@pytest.mark.parametrize("name", PIPELINES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.int16])
def test_a_patch_equals_the_region_of_the_transformed_volume(name, dtype):
    out, parts, whole, first = patches(pipeline(name), batch(dtype=dtype))
    for image, part in parts.items():
        got = out.images[image].data
        assert got.dtype == part.dtype
        difference = (got.double() - part.double()).abs()
        # coordinates are rounded in another frame: 1e-5 voxel, on slopes of up to 60 a voxel; an
        # inverse is found by steps that read a table, of the window here: 2e-3 voxel. Where that
        # crosses from one label, or from in view to outside, a voxel may differ
        small = 0.1 if PIPELINES[name] is None else 2e-3
        assert (difference > small).double().mean() < 1e-3
        corner = np.concatenate([first, np.ones((SAMPLES, 1))], 1)[..., None]
        origin = (whole.images[image].affine @ corner)[:, :3, 0]
        np.testing.assert_allclose(out.images[image].affine[:, :3, 3], origin, atol=1e-9)


def test_noise_has_its_distribution():
    given = batch()
    transform = tio.Noise(mean=1, std=2, seed=np.arange(SAMPLES))
    out, *_ = patches(transform, given)
    clean = patches(tio.Compose([]), batch())[1]["t1"]
    added = out.t1.data - clean
    count = added[0].numel()
    assert (added.mean((1, 2, 3, 4)) - 1).abs().max() < 5 * 2 / count**0.5
    assert (added.std((1, 2, 3, 4)) - 2).abs().max() < 5 * 2 / (2 * count) ** 0.5
    assert not torch.equal(added[0], added[1])


def test_patches_of_a_single_slice():
    given = batch((30, 36, 1))
    transform = tio.Compose(
        [tio.RandomAffine(degrees=20), tio.RandomElasticDeformation(max_displacement=2)]
    )
    out, parts, *_ = patches(transform, given, (12, 14, 1))
    torch.testing.assert_close(out.t1.data, parts["t1"], atol=2e-3, rtol=0)


@pytest.mark.parametrize(
    "motion",
    [
        tio.RandomAffine(degrees=20),
        tio.RandomElasticDeformation(num_control_points=4, max_displacement=4, locked_borders=0),
    ],
)
def test_patches_of_a_padded_single_slice(motion):
    """A thin patch of the padded volume is not treated as a single slice."""
    transform = tio.Compose([tio.Pad((0, 0, 0, 0, 4, 2)), motion])
    out, parts, *_ = patches(transform, batch((30, 36, 1)), (12, 14, 1))
    torch.testing.assert_close(out.t1.data, parts["t1"], atol=2e-3, rtol=0)


def test_volume_transforms_are_in_the_first_part():
    transform = tio.Compose(
        [tio.RandomAffine(), tio.RandomBlur(), tio.RandomFlip(), tio.RandomNoise()]
    )
    pipeline = split(transform)
    assert [s.transform.name for s in pipeline.before.steps] == ["RandomAffine", "RandomBlur"]
    assert [s.transform.name for s in pipeline.after.steps] == ["RandomFlip", "RandomNoise"]


@pytest.mark.parametrize(
    ("steps", "before"),
    [
        ([tio.RandomNoise(), tio.RandomAffine()], 1),
        ([tio.RandomElasticDeformation(), tio.RandomElasticDeformation()], 1),
        ([tio.RandomFlip(), tio.ZNormalization(), tio.RandomAffine()], 2),
        ([tio.RandomGamma(), tio.RandomNoise()], 0),
        ([tio.RandomAffine(), tio.RandomBlur()], 2),
        ([tio.RandomBlur(), tio.RandomBlur(), tio.RandomNoise()], 2),
        ([], 0),
    ],
)
def test_number_of_steps_before_the_split(steps, before):
    assert len(split(tio.Compose(steps)).before.steps) == before


def test_both_parts_share_the_decision_of_a_sample():
    """A patch is changed by the second part if and only if its volume was by the first."""
    split_pipeline = split(tio.Compose([tio.Blur(std=5), tio.Gamma(3)], p=0.5))
    assert (len(split_pipeline.before.steps), len(split_pipeline.after.steps)) == (1, 1)
    seen = set()
    for seed in range(6):
        given = batch()
        given.streams = tio.random.Streams(np.arange(SAMPLES) + 100 * seed)
        whole, decisions = split_pipeline.whole(given)
        # patches have other seeds
        whole.streams = tio.random.Streams(np.arange(SAMPLES) + 7000 + seed)
        out = split_pipeline.patches(whole, decisions).finish_patch(
            np.zeros((SAMPLES, 3), int), SHAPE
        )
        for n in range(SAMPLES):
            blurred = not torch.equal(whole.t1.data[n], given.t1.data[n])
            raised = not torch.equal(out.t1.data[n], whole.t1.data[n])
            seen.add((blurred, raised))
    assert seen == {(True, True), (False, False)}


def test_only_the_required_region_is_read(monkeypatch):
    sizes = []
    part = ImagesBatch.part

    def spy(self, first, size):
        sizes.append(size)
        return part(self, first, size)

    monkeypatch.setattr(ImagesBatch, "part", spy)
    given = batch((60, 60, 60))
    transform = tio.Compose([tio.RandomAffine(degrees=(10, 10), translation=0), tio.RandomNoise()])
    patches(transform, given, (10, 10, 10))
    diagonal = 10 * 3**0.5
    assert len(sizes) == 2
    assert all(10 <= n <= diagonal + 4 for size in sizes for n in size)


class TestFinalMaps:
    """Position of a voxel under the pending maps."""

    @pytest.mark.parametrize(
        "name",
        ["affine", "elastic", "undone elastic", "both", "flip", "nothing", "resampled"],
    )
    def test_where_gives_the_new_position_of_a_voxel(self, name):
        image = torch.zeros(SAMPLES, 1, *SHAPE)
        voxel = np.array([[12.0, 20, 22], [16, 15, 17], [14, 18, 20]])
        i, j, k = (torch.arange(n) for n in SHAPE)
        for n, (a, b, c) in enumerate(voxel):  # a ball about it, so that it can be found
            ball = ((i - a)[:, None, None] ** 2 + (j - b)[:, None] ** 2 + (k - c) ** 2) / 8
            image[n, 0] = torch.exp(-ball)
        affine = oblique_affine((1, 1.2, 1.5))[None].repeat(SAMPLES, 0)  # as of what was recorded
        given = tio.SubjectsBatch(
            {"t1": ImagesBatch(image, affine)}, streams=tio.random.Streams(np.arange(SAMPLES))
        )
        transform = pipeline(name)
        whole = transform(given.replace(given.images)).t1.data
        given.streams = tio.random.Streams(np.arange(SAMPLES))
        patch = split(transform).patches(given, np.empty((SAMPLES, 0)))
        found = patch.final_maps()["t1"].maps.where(voxel)
        weight = (whole - whole.amin((2, 3, 4), keepdim=True))[:, 0].double() ** 4
        grids = torch.meshgrid(*[torch.arange(float(n)) for n in whole.shape[2:]], indexing="ij")
        total = weight.sum((1, 2, 3))
        centre = torch.stack([(weight * g).sum((1, 2, 3)) / total for g in grids], 1)
        # the centre of what is bent is not just where the middle goes: a tenth of a voxel or two
        np.testing.assert_allclose(found, centre.numpy(), atol=0.35)
