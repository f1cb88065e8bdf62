"""Orientation, spacing, field of view: against NiBabel, SimpleITK, numpy and TorchIO 1.2.1."""

import itertools
import warnings

import nibabel as nib
import numpy as np
import pytest
import torch
import torchio

import torchio_gpu as tio
from tests.close import assert_close
from tests.transforms.test_all_transforms import REGRIDS
from tests.volumes import batch_of, oblique_affine, smooth, subject
from torchio_gpu.geometry import apply_affine

AFFINES = {
    "oblique": oblique_affine(),
    "left-handed": oblique_affine(left_handed=True),
    "permuted": oblique_affine()[:, [2, 0, 1, 3]] @ np.diag([-1, 1, -1, 1]),
}
SHAPES = [(40, 60, 80), (65, 65, 65)]


def image(shape, affine, seed=0):
    return tio.ScalarImage(smooth((1, 1, *shape), seed)[0].float(), affine=affine)


def to_torchio(ours):
    return torchio.ScalarImage(tensor=ours.data, affine=ours.affine)


@pytest.fixture(params=REGRIDS)
def make(request):
    return REGRIDS[request.param]


def interpolated_at(image, world):
    """Linearly interpolated values at world points, by scipy; NaN outside."""
    from scipy.ndimage import map_coordinates

    points = apply_affine(np.linalg.inv(image.affine), world)
    return map_coordinates(
        image.numpy()[0].astype(float), points.T, order=1, cval=np.nan, prefilter=False
    )


def test_content_keeps_its_world_coordinates(make):
    # of the size of subject(), but with more voxels
    s = tio.Subject(t1=image((24, 26, 28), oblique_affine((0.478, 1.04, 1.667))))
    out = make()(s)
    assert isinstance(out, tio.Subject)
    world = out.t1.space.corners[0].mean(0) + np.random.default_rng(0).uniform(-1, 1, (50, 3))
    before, after = interpolated_at(s.t1, world), interpolated_at(out.t1, world)
    known = ~np.isnan(before) & ~np.isnan(after)
    assert known.sum() > 10
    span = float(s.t1.data.max() - s.t1.data.min())
    assert np.abs(before - after)[known].max() < 0.25 * span  # coarser grids lose detail
    assert np.corrcoef(before[known], after[known])[0, 1] > 0.85


@pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES.keys())
def test_orientation_agrees_with_nibabel(affine):
    x = image((4, 5, 6), affine)
    volume = nib.Nifti1Image(x.numpy()[0], x.affine)
    now = nib.io_orientation(x.affine)
    for letters in itertools.product("LR", "PA", "IS"):
        for order in itertools.permutations(letters):
            code = "".join(order)
            turn = nib.orientations.ornt_transform(now, nib.orientations.axcodes2ornt(code))
            expected = volume.as_reoriented(turn)
            out = tio.ToOrientation(code)(x)
            assert out.orientation_str == code
            np.testing.assert_array_equal(out.numpy()[0], expected.get_fdata())
            np.testing.assert_allclose(out.affine, expected.affine, atol=1e-5)
    canonical = nib.as_closest_canonical(volume)
    np.testing.assert_array_equal(tio.ToCanonical()(x).numpy()[0], canonical.get_fdata())
    transposed = tio.Transpose()(x)
    assert torch.equal(transposed.data, x.data.permute(0, 3, 2, 1))
    assert transposed.orientation == x.orientation[::-1]


def test_samples_of_a_batch_differ_in_orientation():
    affines = [np.diag([-1.0, 1, 1, 1]), np.eye(4), np.eye(4)[:, [1, 0, 2, 3]]]
    subjects = [tio.Subject(t1=image((6, 6, 5), a, n)) for n, a in enumerate(affines)]
    out = tio.ToCanonical()(batch_of(subjects))
    for n, s in enumerate(subjects):
        alone = tio.ToCanonical()(s).t1
        assert torch.equal(out.t1.data[n], alone.data)
        np.testing.assert_allclose(out.t1.affine[n], alone.affine)
        assert alone.orientation_str == "RAS"
    with pytest.raises(ValueError, match=r"sample 0 in \(6, 6, 5\), sample 1 in \(5, 6, 6\)"):
        tio.ToCanonical()(batch_of([
            tio.Subject(t1=image((6, 6, 5), np.eye(4))),
            tio.Subject(t1=image((6, 6, 5), np.eye(4)[:, [2, 1, 0, 3]])),
        ]))  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES.keys())
@pytest.mark.parametrize("target", [1.3, (2.5, 1.5, 2), (0.8, 3, 3)])
def test_resample_agrees_with_torchio(shape, affine, target):
    x = image(shape, affine)
    out, expected = tio.Resample(target)(x), torchio.Resample(target)(to_torchio(x))
    assert out.spatial_shape == expected.spatial_shape
    np.testing.assert_allclose(out.affine, expected.affine, atol=1e-9)
    assert_close(out.data, expected.data, share=2e-5, reason="ITK's positions are rounded")
    np.testing.assert_allclose(out.space.centre[0], x.space.centre[0], atol=1e-9)
    np.testing.assert_allclose(out.spacing, np.broadcast_to(target, 3))


@pytest.mark.parametrize("kind", ["image", "path", "name", "pair"])
def test_resample_onto_another_grid_agrees_with_torchio(kind, tmp_path):
    x = image((30, 32, 34), oblique_affine((1, 1.5, 2)))
    turn = np.eye(4)
    turn[:3, :3] = tio.geometry.rotation(np.array([5.0, -8, 10]))
    other = image((20, 28, 24), turn @ oblique_affine((2, 1.6, 3)) @ np.diag([1, -1, 1, 1]))
    affine = other.affine.copy()
    affine[:3, 3] += x.space.centre[0] - other.space.centre[0]
    other.affine = affine
    path = tmp_path / "other.nii.gz"
    other.save(path)
    target = {"image": other, "path": str(path), "name": "other",
              "pair": (other.spatial_shape, other.affine)}[kind]  # fmt: skip
    theirs = to_torchio(other) if kind == "image" else target
    labels = tio.LabelMap((x.data > 0).byte(), affine=x.affine)
    out = tio.Resample(target)(tio.Subject(x=x, seg=labels, other=other))
    expected = torchio.Resample(theirs)(torchio.Subject(
        x=to_torchio(x), seg=torchio.LabelMap(tensor=labels.data, affine=x.affine),
        other=to_torchio(other),
    ))  # fmt: skip
    assert out.x.spatial_shape == other.spatial_shape
    np.testing.assert_allclose(out.x.affine, other.affine, atol=1e-4)
    deep = tio.Resample(other)(tio.ScalarImage(torch.ones_like(x.data), affine=x.affine))
    inside = deep.data > 1 - 1e-5  # not within half a voxel of the end
    assert inside.double().mean() > 0.2
    difference = (out.x.data - expected.x.data)[inside].abs()
    assert difference.max() < 1e-3
    differ = out.seg.data != expected.seg.data
    assert differ[inside].double().mean() < 2e-3  # floats decide on the boundary
    assert torch.equal(out.other.data, other.data)


def test_resample_applies_a_registration_matrix():
    x = image((20, 22, 24), np.diag([1.0, 1.1, 1.2, 1]))
    matrix = np.eye(4)
    matrix[:3, :3] = tio.geometry.rotation(np.array([5.0, -8, 10]))
    matrix[:3, 3] = [1, 2, -3]
    target = ((18, 18, 18), np.diag([1.2, 1.2, 1.2, 1]))
    x.metadata["to_mni"] = matrix
    out = tio.Resample(target, pre_affine_name="to_mni")(x)
    moved = tio.ScalarImage(x.data, affine=matrix @ x.affine)
    expected = tio.Resample(target)(moved)
    assert torch.equal(out.data, expected.data)
    assert not torch.equal(out.data, tio.Resample(target)(x).data)
    with pytest.raises(ValueError, match="none has 'to_nowhere'"):
        tio.Resample(target, pre_affine_name="to_nowhere")(x)


@pytest.mark.parametrize("kind", ["name", "image", "path", "grid", "spacing"])
def test_a_matrix_moves_content_on_the_original_grid(kind, tmp_path):
    ramp = torch.arange(10.0).view(1, 10, 1, 1).expand(1, 10, 4, 4).contiguous()
    shift = np.eye(4)
    shift[0, 3] = 3
    reference = tio.ScalarImage(torch.zeros_like(ramp))
    reference.save(tmp_path / "r.nii")
    s = tio.Subject(t1=tio.ScalarImage(ramp, matrix=shift), r=tio.ScalarImage(reference.data))
    target = {
        "name": "r",
        "image": reference,
        "path": tmp_path / "r.nii",
        "grid": ((10, 4, 4), np.eye(4)),
        "spacing": 1,
    }[kind]
    out = tio.Resample(target, pre_affine_name="matrix")(s).t1
    if kind == "spacing":  # the grid goes with the content
        assert torch.equal(out.data, ramp)
        assert out.affine[0, 3] == 3
    else:
        assert out.data[0, :, 0, 0].tolist() == [0, 0, 0, 0, 1, 2, 3, 4, 5, 6]


def test_antialiased_resampling_smooths_and_keeps_the_mean():
    x = torch.zeros(1, 40, 40, 40)
    x[0, 20, 20, 20] = 1
    out = tio.Resample((1, 1, 4), antialias=True)(x)
    assert out.shape == (1, 40, 40, 10)
    assert abs(out.sum().item() * 4 - 1) < 0.3  # linear reading at every fourth voxel
    assert out[0, 20, 20].count_nonzero() >= 2
    noise = torch.randn(1, 40, 40, 40)
    assert tio.Resample(2, antialias=True)(noise).std() < 0.6 * tio.Resample(2)(noise).std()
    labels = tio.LabelMap((noise > 0).byte())
    smooth_labels = tio.Resample(2, antialias=True)(labels)
    assert torch.equal(smooth_labels.data, tio.Resample(2)(labels).data)


@pytest.mark.parametrize("mode", ["linear", "nearest", "bspline"])
def test_resampling_to_the_present_spacing_is_the_identity(mode):
    x = image((7, 8, 9), oblique_affine())
    out = tio.Resample((1, 2, 3), image_interpolation=mode)(x)
    assert torch.equal(out.data, x.data)
    np.testing.assert_allclose(out.affine, x.affine, atol=1e-12)


def test_resize_keeps_the_field_of_view():
    x = image((7, 8, 9), oblique_affine())
    out = tio.Resize((14, -1, 3))(x)
    assert out.spatial_shape == (14, 8, 3)
    np.testing.assert_allclose(
        np.multiply(out.spacing, out.spatial_shape), np.multiply(x.spacing, x.spatial_shape)
    )
    np.testing.assert_allclose(out.space.centre, x.space.centre)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES.keys())
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (tio.Crop((1, 2, 3, 4, 0, 5)), torchio.Crop((1, 2, 3, 4, 0, 5))),
        (tio.Crop(3), torchio.Crop(3)),
        (tio.Pad((1, 2, 3), padding_mode=2.5), torchio.Pad((1, 2, 3), padding_mode=2.5)),
        (tio.Pad(4, padding_mode="reflect"), torchio.Pad(4, padding_mode="reflect")),
        (tio.Pad(4, padding_mode="mean"), torchio.Pad(4, padding_mode="mean")),
        (tio.CropOrPad((47, 62, 64)), torchio.CropOrPad((47, 62, 64))),
        (tio.CropOrPad((48, 71, 33), "edge"), torchio.CropOrPad((48, 71, 33), "edge")),
        (tio.CropOrPad((48, None, 33)), torchio.CropOrPad((48, None, 33))),
        (tio.CropOrPad(50, only_crop=True), torchio.CropOrPad(50, only_crop=True)),
        (tio.CropOrPad(70, only_pad=True), torchio.CropOrPad(70, only_pad=True)),
        (tio.CropOrPad(70.0, units="mm"), torchio.CropOrPad(70.0, units="mm")),
        (tio.EnsureShapeMultiple(8), torchio.EnsureShapeMultiple(8)),
        (
            tio.EnsureShapeMultiple((8, 7, 1), method="crop"),
            torchio.EnsureShapeMultiple((8, 7, 1), method="crop"),
        ),
    ],
    ids=lambda transform: repr(transform)[:40] if isinstance(transform, tio.Transform) else "",
)
def test_crops_and_pads_agree_with_torchio(shape, affine, ours, theirs):
    x = image(shape, affine)
    out, expected = ours(x), theirs(to_torchio(x))
    assert out.spatial_shape == expected.spatial_shape
    np.testing.assert_allclose(out.affine, expected.affine, atol=1e-9)
    assert_close(out.data, expected.data, share=1e-6, reason="a mean may round")


@pytest.mark.parametrize("target", [(10, 11, 12), (31, 30, 40), None])
@pytest.mark.parametrize("labels", [None, [2]])
def test_crop_or_pad_about_a_mask_agrees_with_torchio(target, labels):
    x = image((30, 31, 32), oblique_affine())
    mask = torch.zeros(1, 30, 31, 32, dtype=torch.uint8)
    mask[0, 3:9, 20:27, 12:30] = 1
    mask[0, 5:7, 22:25, 15:20] = 2
    s = tio.Subject(x=x, mask=tio.LabelMap(mask, affine=x.affine))
    theirs = torchio.Subject(x=to_torchio(x), mask=torchio.LabelMap(tensor=mask, affine=x.affine))
    out = tio.CropOrPad(target, mask_name="mask", labels=labels)(s)
    expected = torchio.CropOrPad(target, mask_name="mask", labels=labels)(theirs)
    for name in ("x", "mask"):
        assert out[name].spatial_shape == expected[name].spatial_shape
        np.testing.assert_allclose(out[name].affine, expected[name].affine, atol=1e-9)
        assert torch.equal(out[name].data, expected[name].data)


def test_each_sample_is_cropped_about_its_own_mask():
    masks = torch.zeros(2, 1, 16, 16, 16)
    masks[0, 0, 2:5, 2:5, 2:5] = 1
    masks[1, 0, 9:14, 7:9, 11:12] = 1
    batch = tio.SubjectsBatch({
        "x": tio.ImagesBatch(smooth((2, 1, 16, 16, 16)).float()),
        "mask": tio.ImagesBatch(masks, kind="label"),
    })  # fmt: skip
    out = tio.CropOrPad(6, mask_name="mask")(batch)
    for n, s in enumerate(batch.unbatch()):
        alone = tio.CropOrPad(6, mask_name="mask")(s)
        assert torch.equal(out.x.data[n], alone.x.data)
        np.testing.assert_allclose(out.x.affine[n], alone.x.affine)
        assert alone.mask.data.sum() == masks[n].sum()


def test_empty_and_missing_masks():
    s = subject()
    s["empty"] = tio.LabelMap(torch.zeros_like(s.seg.data), affine=s.seg.affine)
    with pytest.warns(RuntimeWarning, match="mask 'empty' is empty in sample 0"):
        out = tio.CropOrPad(8, mask_name="empty")(s)
    assert torch.equal(out.t1.data, tio.CropOrPad(8)(s).t1.data)
    for name in ("nothing", "t1"):
        with pytest.raises(KeyError, match=f"mask_name must name a label map.* {name!r} is none"):
            tio.CropOrPad(8, mask_name=name)(s)


def test_a_random_crop_lies_inside_and_is_shared_by_all_images():
    s = subject((12, 14, 16))
    seen = set()
    for seed in range(40):
        torch.manual_seed(seed)
        out = tio.CropOrPad((5, 6, 20), location="random")(s)
        first = np.rint((s.t1.space.to_voxel @ out.t1.affine)[0, :3, 3]).astype(int)
        assert (first[:2] >= 0).all()
        assert (first[:2] <= [7, 8]).all()
        assert first[2] == -2
        np.testing.assert_array_equal(out.t1.affine, out.seg.affine)
        i, j, _ = first
        assert torch.equal(out.t1.data[..., 2:18], s.t1.data[:, i : i + 5, j : j + 6])
        seen.add(tuple(first))
    assert {f[0] for f in seen} == set(range(8))


def test_labels_are_padded_with_the_background():
    s = subject()
    for mode in (-1000.0, "mean", "maximum", "linear_ramp"):
        out = tio.Pad(2, padding_mode=mode)(s)
        assert torch.equal(out.seg.data[:, 2:-2, 2:-2, 2:-2], s.seg.data)
        assert out.seg.data.sum() == s.seg.data.sum()
        assert out.seg.data.dtype == torch.uint8
    out = tio.Pad(2, padding_mode="edge")(s)
    expected = np.pad(s.seg.numpy(), ((0, 0), (2, 2), (2, 2), (2, 2)), mode="edge")
    np.testing.assert_array_equal(out.seg.numpy(), expected)


def test_copy_of_headers():
    t1 = image((6, 6, 6), oblique_affine())
    off = oblique_affine() + 1e-4 * np.eye(4)
    off[3] = [0, 0, 0, 1]
    s = tio.Subject(t1=t1, seg=tio.LabelMap((t1.data > 0).byte(), affine=off))
    out = tio.CopyAffine("t1")(s)
    np.testing.assert_allclose(out.seg.affine, t1.affine, atol=1e-12)
    assert torch.equal(out.seg.data, s.seg.data)
    back = out.apply_inverse_transform()
    np.testing.assert_allclose(back.seg.affine, off, atol=1e-9)
    with pytest.raises(KeyError, match="target must name an image of the subject, 't2' is none"):
        tio.CopyAffine("t2")(s)
    with pytest.raises(TypeError, match="target must be a string"):
        tio.CopyAffine(3)
    tensor = torch.rand(7, 3, 6, 2)
    placed = tio.ToReferenceSpace.from_tensor(tensor, t1)
    theirs = torchio.ToReferenceSpace.from_tensor(tensor, to_torchio(t1))
    np.testing.assert_allclose(placed.affine, theirs.affine, atol=1e-9)
    assert torch.equal(placed.data, tensor)


def test_headers_copied_in_a_fused_pipeline_apply_to_later_steps():
    t1 = image((8, 9, 10), oblique_affine())
    seg = tio.LabelMap((t1.data > 0).byte())  # whose header says nothing
    for fuse in (True, False):
        pipeline = [tio.CopyAffine("t1"), tio.Resample(1.5), tio.Crop(1)]
        out = tio.Compose(pipeline, fuse=fuse)(tio.Subject(t1=t1, seg=seg))
        expected = tio.Compose(pipeline[1:])(tio.LabelMap(seg.data, affine=t1.affine))
        np.testing.assert_allclose(out.seg.affine, expected.affine, atol=1e-9)
        assert torch.equal(out.seg.data, expected.data)


def test_the_inverse_restores_the_grid(make):
    s = subject((12, 14, 16))
    out = make()(s)
    back = out.apply_inverse_transform()
    assert back.history == []
    for name in ("t1", "seg"):
        assert back[name].shape == s[name].shape
        np.testing.assert_allclose(back[name].affine, s[name].affine, atol=1e-9)
    if "Crop" not in type(make()).__name__ and make().interpolation() is None:
        assert torch.equal(back.t1.data, s.t1.data)
    prediction = tio.Subject(prediction=tio.LabelMap(out.seg.data, affine=out.seg.affine))
    undone = out.get_inverse_transform()(prediction).prediction
    assert torch.equal(undone.data, back.seg.data)
    elsewhere = tio.Subject(other=tio.LabelMap(torch.zeros(1, 4, 4, 4)))
    with pytest.raises(ValueError, match="can only follow one that was on the same grid"):
        out.get_inverse_transform()(elsewhere)
    if make().needs_context or make().role == "volume":
        with pytest.raises(ValueError, match="can only follow one that was on the same grid"):
            out.get_composed_history()(elsewhere)
    else:
        again = out.get_composed_history()(elsewhere).other
        assert again.space.distance_mm(make()(elsewhere).other.space) < 1e-9


def test_p_must_not_change_the_shape_of_some_samples(make):
    subjects = [subject(seed=n) for n in range(6)]
    torch.manual_seed(0)
    shape = make()(subjects[0]).t1.shape
    if shape != subjects[0].t1.shape:
        with pytest.raises(ValueError, match="must keep the shape of images when it leaves"):
            make(p=0.5)(batch_of(subjects))
    for p in (0, 1):
        out = make(p=p)(batch_of(subjects))
        assert (out.t1.data.shape[1:] == shape) == (p == 1 or shape == subjects[0].t1.shape)
    shapes = {tuple(make(p=0.5)(subjects[0]).t1.affine.ravel()) for _ in range(20)}
    assert len(shapes) >= 2


def test_runs_on_the_meta_device(make):
    batch = batch_of([subject(seed=n) for n in range(3)])
    expected = make()(batch)
    meta = make()(batch.to("meta"))
    for name in ("t1", "seg"):
        assert meta[name].data.shape == expected[name].data.shape
        assert meta[name].data.dtype == expected[name].data.dtype


@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 1, 7), (2, 3, 4)])
def test_small_and_flat_volumes(make, shape):
    transform = make()
    if isinstance(transform, tio.Crop) and 1 in shape[:2]:
        with pytest.raises(ValueError, match="cropping must leave at least one voxel"):
            transform(torch.rand(2, 3, *shape))
        return
    x = torch.rand(2, 3, *shape)
    out = transform(x)
    assert out.shape[:2] == (2, 3)
    assert torch.isfinite(out).all()
    if not transform.traits.pads:
        assert out.max() <= x.max() * 1.5


def test_types_of_containers_are_kept(make):
    x = smooth((2, 1, 12, 14, 16)).float()
    shape = make()(x).shape[1:]
    torch.manual_seed(0)
    out = make()(x[0].numpy())
    assert isinstance(out, np.ndarray)
    assert out.shape == shape
    for kind in (tio.ScalarImage, tio.LabelMap):
        assert type(make()(kind(x[0], affine=oblique_affine()))) is kind
    volume = nib.Nifti1Image(x[0, 0].numpy(), oblique_affine())
    moved = make()(volume)
    np.testing.assert_allclose(
        tio.ScalarImage(moved).spacing, make()(tio.ScalarImage(volume)).spacing, rtol=1e-5
    )


def test_integers_are_kept_without_interpolation(make):
    x = torch.arange(2 * 12 * 14 * 16).view(2, 1, 12, 14, 16).short()
    out = make()(x)
    interpolates = getattr(make(), "image_interpolation", "nearest") != "nearest"
    assert out.dtype == (torch.float32 if interpolates else torch.int16)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tio.Resample(0), "target must be a spacing in mm, one number > 0"),
        (lambda: tio.Resample(-1), "target must be a spacing in mm"),
        (lambda: tio.Resample((1, 2, float("nan"))), "target must be a spacing in mm"),
        (lambda: tio.Resample((1, 2, 3, 4)), "target must be a spacing in mm"),
        (lambda: tio.Resample(((0, 3, 3), np.eye(4))), "the shape of target must be integers > 0"),
        (lambda: tio.Resample(((3, 3, 3), np.zeros((4, 4)))), "the affine of target"),
        (lambda: tio.Resample("nowhere")(torch.rand(1, 3, 3, 3)), "'nowhere' is neither"),
        (lambda: tio.Resample(1, "cubic"), "image_interpolation must be one of linear, nearest"),
        (lambda: tio.Resample(1, "label"), "image_interpolation must be one of linear, nearest"),
        (lambda: tio.Resample((1, 2)), "target must be a spacing in mm"),
        (lambda: tio.Resample(True), "target must be a spacing in mm"),
        (lambda: tio.Resize((2, 2)), "target_shape must be numbers of voxels from 1"),
        (lambda: tio.Resize(True), "target_shape must be numbers of voxels from 1"),
        (lambda: tio.EnsureShapeMultiple((1, 2)), "target_multiple must be integers > 0"),
        (lambda: tio.Resize(0), "target_shape must be numbers of voxels from 1"),
        (lambda: tio.Resize((4, 4, -2)), "target_shape must be numbers of voxels from 1"),
        (lambda: tio.Crop(-1), "cropping must be whole numbers from 0"),
        (lambda: tio.Crop((1, 2)), "cropping must be whole numbers from 0"),
        (lambda: tio.Crop(2)(torch.rand(1, 4, 5, 5)), "cropping must leave at least one voxel"),
        (lambda: tio.Pad(1.5), "padding must be whole numbers from 0"),
        (lambda: tio.Pad(1, padding_mode="mirror"), "padding_mode must be a number or one of"),
        (lambda: tio.CropOrPad(0), "target_shape must be one or three whole numbers > 0"),
        (lambda: tio.CropOrPad((3, 2)), "target_shape must be one or three whole numbers > 0"),
        (lambda: tio.CropOrPad(2.5), "target_shape must be one or three whole numbers > 0"),
        (lambda: tio.CropOrPad(), "target_shape must be given where mask_name is not"),
        (lambda: tio.CropOrPad(3, labels=[1]), "labels must be None where mask_name is"),
        (lambda: tio.CropOrPad(3, only_crop=True, only_pad=True), "must not both be True"),
        (lambda: tio.CropOrPad(3, location="left"), "location must be 'center' or 'random'"),
        (lambda: tio.CropOrPad(3, units="inch"), "units must be 'voxels', 'mm' or 'cm'"),
        (
            lambda: tio.CropOrPad(0.1, units="mm")(torch.rand(1, 3, 3, 3)),
            "target_shape must be at least one voxel",
        ),
        (lambda: tio.EnsureShapeMultiple(0), "target_multiple must be integers > 0"),
        (lambda: tio.EnsureShapeMultiple(4, method="fold"), "method must be 'crop' or 'pad'"),
        (lambda: tio.ToOrientation("RAR"), "orientation must be three letters"),
        (lambda: tio.ToOrientation("RASL"), "orientation must be three letters"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with warnings.catch_warnings(), pytest.raises(ValueError, match=message):
        call()


def test_a_spacing_and_its_grid_are_the_same_target():
    x = tio.ScalarImage(torch.full((1, 12, 12, 12), 9.0), affine=np.diag([2.0, 1, 1, 1]))
    plain = tio.Resample(1)(x)
    onto = tio.Resample((plain.spatial_shape, plain.affine))(x)
    assert_close(onto.data, plain.data, share=1e-6, reason="rounding")
    far = np.diag([2.0, 1, 1, 1])
    far[2, 3] = 50
    slices = tio.ScalarImage(torch.ones(1, 4, 4, 1))
    assert tio.Resample(((4, 4, 1), far))(slices).data.count_nonzero() == 0


@pytest.mark.parametrize(
    "cut",
    [tio.Crop(1), tio.CropOrPad(4, only_crop=True), tio.EnsureShapeMultiple(4, method="crop")],
)
def test_the_inverse_of_a_crop_fills_with_zeros(cut):
    s = tio.Subject(t1=tio.ScalarImage(torch.rand(1, 6, 6, 6) + 5))
    back = cut(s).apply_inverse_transform().t1.data
    assert back[:, 0].abs().max() == 0
    assert torch.equal(back[:, 1:5, 1:5, 1:5], s.t1.data[:, 1:5, 1:5, 1:5])


@pytest.mark.parametrize("pad", [tio.Pad(1), tio.Pad(1, padding_mode="edge")])
def test_an_image_added_later_follows_the_one_on_its_grid(pad):
    fine = np.diag([0.5, 0.5, 0.5, 1])
    s = tio.Subject(
        t1=tio.ScalarImage(torch.rand(1, 12, 12, 12)),
        seg=tio.LabelMap(torch.ones(1, 24, 24, 24), affine=fine),
    )
    out = pad(s)
    out.prediction = tio.LabelMap(out.seg.data, affine=out.seg.affine)
    back = out.apply_inverse_transform()
    assert back.prediction.shape == (1, 24, 24, 24)
    np.testing.assert_allclose(back.prediction.affine, fine)


def test_an_added_image_follows_the_image_of_its_grid():
    moved = np.diag([1.0, 1, 1, 1])
    moved[:3, 3] = 30
    x = torch.rand(1, 8, 8, 8)
    s = tio.Subject(t1=tio.ScalarImage(x), t2=tio.ScalarImage(x, affine=moved))
    out = tio.Crop(1)(s)
    out.prediction = tio.LabelMap(torch.ones(1, 6, 6, 6), affine=out.t2.affine)
    back = out.apply_inverse_transform()
    np.testing.assert_allclose(back.prediction.affine, moved)
    assert back.prediction.data.sum() == 6**3


def test_the_inverse_restores_a_distant_header_without_resampling():
    t1 = image((6, 7, 8), oblique_affine())
    seg = tio.LabelMap(torch.arange(6 * 7 * 8).view(1, 6, 7, 8), affine=np.diag([2.0, 2, 2, 1]))
    out = tio.CopyAffine("t1")(tio.Subject(t1=t1, seg=seg))
    back = out.apply_inverse_transform()
    assert torch.equal(back.seg.data, seg.data)
    np.testing.assert_allclose(back.seg.affine, seg.affine, atol=1e-9)


def test_whole_numbers_of_voxels_are_not_rounded_down():
    x = tio.ScalarImage(torch.rand(1, 9, 9, 9), affine=np.diag([0.3, 0.3, 0.3, 1]))
    assert tio.Resample(0.1)(x).spatial_shape == (27, 27, 27)  # 9 * 0.3 / 0.1 is 26.99...


def test_padding_with_nan_requires_floats():
    out = tio.Pad(1, padding_mode=float("nan"))(torch.rand(1, 2, 2, 2))
    assert int(out.isnan().sum()) == 64 - 8
    with pytest.raises(ValueError, match=r"fill must be a value that torch.int16"):
        tio.Pad(1, padding_mode=float("nan"))(torch.ones(1, 2, 2, 2, dtype=torch.int16))


def test_mask_labels_are_checked():
    s = subject()
    with pytest.warns(RuntimeWarning, match="mask 'seg' is empty"):
        tio.CropOrPad(4, mask_name="seg", labels=[256])(s)
    assert tio.Mask("seg", labels=[256, -1])(s).t1.data.count_nonzero() == 0
    for wrong in ("ab", [1.5], 1):
        with pytest.raises((TypeError, ValueError), match=r"labels must be (a sequence|whole)"):
            tio.CropOrPad(4, mask_name="seg", labels=wrong)
        with pytest.raises((TypeError, ValueError), match=r"labels must be (a sequence|whole)"):
            tio.Mask("seg", labels=wrong)
