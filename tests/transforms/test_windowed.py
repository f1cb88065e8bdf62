"""Windowed sinc and Gaussian interpolation of transforms that resample: against TorchIO 1.2.1."""

import numpy as np
import pytest
import torch
import torchio

import torchio_gpu as tio
from tests.close import assert_close
from tests.volumes import batch_of, oblique_affine, smooth, subject
from torchio_gpu.functional.maps import WINDOWED

SPACING = (1.1, 0.7, 2.3)
every_mode = pytest.mark.parametrize("mode", WINDOWED)


def image(shape, affine=None):
    affine = oblique_affine(SPACING) if affine is None else affine
    return tio.ScalarImage(torch.randn(1, *shape), affine=affine)


def grid():
    """Return a grid along the axes of :func:`image`, mirrored in one, and partly outside."""
    affine = oblique_affine(SPACING)
    matrix = np.diag([1.3, -0.8, 0.9, 1])
    matrix[:3, 3] = 0.31, 4, -0.46
    return (9, 8, 7), affine @ matrix


@every_mode
@pytest.mark.parametrize("shape", [(9, 12, 7), (10, 1, 6)])
@pytest.mark.parametrize(
    ("name", "argument"),
    [
        ("Resample", (0.61, 1.1, 1.9)),
        ("Resample", (2, 1.5, 5)),
        ("Resample", (1.1, 0.7, 1.34)),
        ("Resample", grid()),
        ("Resize", (4, -1, 11)),
    ],
)
def test_agrees_with_torchio(mode, shape, name, argument):
    x = image(shape)
    out = getattr(tio, name)(argument, image_interpolation=mode)(x)
    theirs = torchio.ScalarImage(tensor=x.data, affine=x.affine)
    expected = getattr(torchio, name)(argument, image_interpolation=mode)(theirs)
    np.testing.assert_allclose(out.affine, expected.affine, atol=1e-6)
    assert torch.equal(out.data == 0, expected.data == 0)
    assert (out.data == 0).any() == (len(argument) == 2)  # of the grid alone
    assert_close(out.data, expected.data, share=1e-6, reason="rounding of float32")


@every_mode
def test_images_on_the_grid_of_another(mode):
    """Two images on one grid, a label map, and an image that is on the target already."""
    x = image((9, 12, 7))
    s = tio.Subject(
        one=x, two=tio.ScalarImage(x.data.flip(1), affine=x.affine),
        seg=tio.LabelMap((x.data > 0).byte(), affine=x.affine),
        target=image(*grid()),
    )  # fmt: skip
    out = tio.Resample("target", mode)(s)
    for name in ("one", "two"):
        assert torch.equal(out[name].data, tio.Resample(grid(), mode)(s[name]).data)
    assert torch.equal(out.seg.data, tio.Resample(grid())(s.seg).data)
    assert torch.equal(out.target.data, s.target.data)
    back = out.apply_inverse_transform()
    assert back.one.spatial_shape == x.spatial_shape
    assert torch.equal(back.one.data, tio.Resample(x, mode)(out.one).data)


@every_mode
def test_a_batch_gives_what_its_samples_give(mode):
    subjects = [subject(seed=n) for n in range(2)]
    transform = tio.Compose([tio.RandomFlip((0, 1, 2)), tio.Resample((1.3, 1.7, 2.2), mode)])
    batch = transform(batch_of(subjects, [1, 2]))
    for n, s in enumerate(subjects):
        alone = transform(batch_of([s], [n + 1]))
        assert_close(batch.t1.data[n], alone.t1.data[0], share=1e-6, reason="order of sums")


def test_samples_that_a_transform_leaves_out_are_not_smoothed():
    affine = np.eye(4)
    affine[0, 3] = 0.25
    batch = batch_of([subject(affine=np.eye(4), seed=n) for n in range(8)], range(8))
    out = tio.Resample(((12, 14, 16), affine), "gaussian", p=0.5)(batch).t1
    kept = out.affine[:, 0, 3] == 0
    assert kept.any()
    assert not kept.all()
    for n in range(8):
        assert torch.equal(out.data[n], batch.t1.data[n]) == kept[n]


def test_antialiasing_smooths_first():
    x = image((12, 15, 10))
    out = tio.Resample(3, "lanczos", antialias=True)(x)
    theirs = torchio.ScalarImage(tensor=x.data, affine=x.affine)
    expected = torchio.Resample(3, image_interpolation="lanczos", antialias=True)(theirs)
    inner = (slice(None), slice(1, -1), slice(1, -1))
    # SimpleITK's Gaussian is recursive
    assert_close(out.data[inner], expected.data[inner], share=0.05, reason="another Gaussian")


@pytest.mark.parametrize("antialias", [False, True])
def test_a_rotated_target_is_refused_for_images_alone(antialias):
    x = image((9, 12, 7))
    target = (9, 8, 7), np.diag([1.0, 1, 1, 1])
    resample = tio.Resample(target, "lanczos", antialias=antialias)
    wish = (
        "image_interpolation must be 'linear', 'nearest' or 'bspline' where the axes of an image "
        "and of the target are not parallel, as those of 't1', got 'lanczos'"
    )
    with pytest.raises(ValueError, match=wish):
        resample(tio.Subject(t1=x))
    seg = tio.LabelMap((x.data > 0).byte(), affine=x.affine)
    assert torch.equal(resample(seg).data, tio.Resample(target, antialias=antialias)(seg).data)
    turn = np.eye(4)
    turn[:3, :3] = tio.geometry.rotation(np.array([[0.0, 0, 20]]))[0]
    registered = tio.ScalarImage(x.data, affine=x.affine, turn=turn)
    with pytest.raises(ValueError, match="are not parallel"):
        tio.Resample((x.spatial_shape, x.affine), "welch", pre_affine_name="turn")(registered)


@pytest.mark.parametrize("first", [True, False])
def test_a_motion_is_sampled_by_itself(first):
    steps = [tio.Affine(degrees=(5, 10, 15), image_interpolation="linear")]
    steps.insert(0 if first else 1, tio.Resample((1.3, 1.2, 2.5), "lanczos"))
    s = subject()
    text = tio.Compose(steps).explain(s)
    assert f"{steps[1].name} interpolates differently" in str(text)
    out = tio.Compose(steps)(s)
    assert torch.equal(out.t1.data, tio.Compose(steps, fuse=False)(s).t1.data)


@every_mode
def test_motions_refuse_it(mode):
    for make in (tio.RandomAffine, tio.RandomElasticDeformation, tio.RandomAnisotropy):
        with pytest.raises(ValueError, match="image_interpolation must be one of linear, nearest"):
            make(image_interpolation=mode)
    with pytest.raises(ValueError, match="label_interpolation must be one of nearest, label"):
        tio.Resample(1, label_interpolation=mode)
    moved = tio.Compose([tio.RandomAffine(), tio.Resample(2)])(subject())
    with pytest.raises(ValueError, match=f"nearest, bspline, got '{mode}'"):
        moved.get_composed_history(image_interpolation=mode)
    again = tio.Resample(1.3)(subject()).get_composed_history(image_interpolation=mode)
    assert torch.equal(again(subject()).t1.data, tio.Resample(1.3, mode)(subject()).t1.data)


def test_a_smooth_image_is_read_more_precisely_than_linearly():
    x = smooth((1, 1, 30, 32, 34))[0].float()
    fine = tio.Resample(0.5, "lanczos")(x)
    back = tio.Resample(1, "lanczos")(tio.ScalarImage(fine, affine=np.diag([0.5, 0.5, 0.5, 1])))
    linear = tio.Resample(1)(
        tio.ScalarImage(tio.Resample(0.5)(x), affine=np.diag([0.5, 0.5, 0.5, 1]))
    )
    inner = (slice(None), *[slice(6, -6)] * 3)
    error, other = ((y.data - x)[inner].abs().max() for y in (back, linear))
    assert error < other / 5
