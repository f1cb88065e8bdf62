"""Fused pipelines: one sampling agrees with the steps applied in sequence."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

import torchio_gpu as tio
from tests.close import assert_close
from tests.volumes import oblique_affine, smooth, subject
from torchio_gpu import functional as F
from torchio_gpu.functional.eager import spatial as reference
from torchio_gpu.geometry import apply_affine

SHAPE = (28, 30, 32)


def volume(seed=0, left_handed=False):
    """Return a subject of waves of about thirty voxels, which interpolation hardly changes."""
    coarse = smooth((1, 1, *(n // 2 for n in SHAPE)), seed)
    x = F.resample(coarse, SHAPE, mode="bspline")[0]
    affine = oblique_affine((1, 1.2, 1.1), left_handed=left_handed)
    return tio.Subject(
        t1=tio.ScalarImage(x.float(), affine=affine),
        seg=tio.LabelMap((x > 0.3).byte(), affine=affine),
    )


STEPS = {
    "canonical": tio.ToCanonical(),
    "orient": tio.ToOrientation("SRP"),
    "transpose": tio.Transpose(),
    "resample": tio.Resample((0.9, 1.0, 1.1)),
    "resize": tio.Resize((29, 28, 33)),
    "crop": tio.Crop((1, 2, 0, 3, 2, 1)),
    "pad": tio.Pad((5, 0, 1, 6, 0, 5)),
    "pad with 3": tio.Pad(5, padding_mode=3),
    "pad, reflect": tio.Pad(2, padding_mode="reflect"),
    "crop or pad": tio.CropOrPad((24, 40, 28)),
    "multiple": tio.EnsureShapeMultiple(4),
    "flip": tio.Flip(("LR", 1)),
    "affine": tio.Affine(1.05, (4, -6, 5), (1, -1, 0.5), default_pad_value=0),
    "affine, minimum": tio.Affine(0.97, (-3, 5, 2)),
    "elastic": tio.ElasticDeformation(
        np.random.default_rng(0).uniform(-1, 1, (6, 6, 6, 3)), default_pad_value=0
    ),
    "z": tio.ZNormalization(),
    "rescale": tio.RescaleIntensity((-1, 2)),
    "gamma": tio.Gamma(0.2),
}


def largest_difference(names, seed=0):
    """Return differences as a share of the range, away from edges, and the share of labels.

    At the edge of what a step cut off or filled, a voxel or two blend with it otherwise: there,
    and only there, the two may differ by more than interpolation does.
    """
    s = volume(seed, left_handed=bool(seed % 2))
    steps = [STEPS[name] for name in names]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "max_displacement should stay below")
        fused, apart = (tio.Compose(steps, fuse=fuse)(s) for fuse in (True, False))
    for name in ("t1", "seg"):
        assert fused[name].shape == apart[name].shape
        np.testing.assert_allclose(fused[name].affine, apart[name].affine, atol=1e-9)
        assert fused[name].data.dtype == apart[name].data.dtype
    span = float(apart.t1.data.max() - apart.t1.data.min())
    plain = torch.ones_like(apart.t1.data, dtype=torch.bool)
    for x in (fused.t1.data, apart.t1.data):
        spread = torch.nn.functional.max_pool3d(torch.cat([x, -x])[None], 5, 1, 2).sum(1)
        plain &= spread < 0.25 * span
    difference = (fused.t1.data - apart.t1.data).abs() / span
    return difference, plain, (fused.seg.data != apart.seg.data).double().mean().item()


@settings(
    deadline=None, max_examples=60, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
@given(
    names=st.lists(st.sampled_from(sorted(STEPS)), min_size=2, max_size=6),
    seed=st.integers(0, 3),
)
@example(["crop", "pad", "affine"], 0)
@example(["resample", "crop or pad", "z", "affine, minimum", "elastic"], 1)
@example(["pad with 3", "pad", "affine"], 0)
@example(["affine", "crop", "affine, minimum"], 0)
@example(["affine", "crop", "pad"], 0)
@example(["crop", "resample", "flip", "pad with 3", "transpose", "elastic"], 0)
def test_fused_and_unfused_pipelines_agree(names, seed):
    difference, plain, labels = largest_difference(names, seed)
    assume(plain.double().mean() > 0.05)  # else edges are near everywhere
    assert (difference * plain).mean() < 0.015, names
    # the outermost planes of what is in view, two of 24 at the least, may blend with what is
    # outside, or not; most of them differ less than this
    assert ((difference > 0.15) & plain).double().mean() < 0.06, names
    assert labels < 0.1, names


def test_fused_exact_steps_are_exact():
    names = ["canonical", "crop", "transpose", "pad with 3", "orient", "flip", "crop or pad"]
    difference, _, labels = largest_difference(names)
    assert difference.max() == 0
    assert labels == 0


def test_cropped_content_does_not_reappear():
    x = torch.ones(1, 12, 12, 12)
    cut = tio.Crop(4)
    for steps in (
        [cut, tio.Pad(4)],
        [cut, tio.Pad(4), tio.Affine(1, 0, (0.5, 0, 0))],
        [cut, tio.Affine(1, (0, 0, 45)), tio.Pad(4)],
        [tio.Affine(1, 0, (0.5, 0, 0), default_pad_value=0), cut, tio.Pad(4)],
        [tio.Resample(0.5), tio.Crop(8), tio.Pad(8), tio.Resample(1)],
    ):
        out = tio.Compose(steps)(x)
        inner = torch.zeros_like(out, dtype=torch.bool)
        inner[:, 3:-3, 3:-3, 3:-3] = True
        assert out[~inner].abs().max() == 0, steps


def test_padded_values_are_kept_by_later_steps():
    x = torch.full((1, 8, 8, 8), 5.0)
    steps = [tio.Pad(4, padding_mode=2), tio.Affine(1, 0, (0, 0, 10), default_pad_value=-1)]
    out = tio.Compose(steps)(x)
    expected = tio.Compose(steps, fuse=False)(x)
    assert_close(out, expected, share=1e-6, reason="rounding")
    assert set(out.unique().tolist()) == {-1, 2, 5}


class TestSixSteps:
    """Pipeline from a raw clinical volume to a training patch."""

    def subject(self):
        affine = oblique_affine((0.9, 0.9, 1.2)) @ np.diag([-1, 1, 1, 1])
        x = smooth((1, 1, 32, 34, 22))[0].float() * 50 + 100
        return tio.Subject(
            t1=tio.ScalarImage(x, affine=affine),
            label=tio.LabelMap((x > 110).byte(), affine=affine),
        )

    def steps(self):
        return [
            tio.ToCanonical(),
            tio.Resample(1),
            tio.CropOrPad((24, 36, 22)),
            tio.ZNormalization(masking_method="label"),
            tio.RandomAffine(scales=0.1, degrees=10),
            tio.RandomElasticDeformation(max_displacement=0.5),
        ]

    @pytest.mark.parametrize("batch", [False, True])
    def test_each_image_is_sampled_once(self, monkeypatch, batch):
        calls = []
        for name in ("sample_separable",):
            original = getattr(reference, name)

            def count(sources, *args, original=original):
                out = original(sources, *args)
                calls.extend(tuple(volume.shape[2:]) for volume in out)
                return out

            monkeypatch.setattr(reference, name, count)
        s = self.subject()
        x = tio.SubjectsBatch.from_subjects([s, s]) if batch else s
        out = tio.Compose(self.steps())(x)
        assert calls == [(24, 36, 22)] * 2  # the image and its label map, on the final grid
        assert tuple(out.t1.data.shape[-3:]) == (24, 36, 22)
        apart = tio.Compose(self.steps(), fuse=False)(x)
        assert len(calls) > 4
        np.testing.assert_allclose(out.t1.affine, apart.t1.affine, atol=1e-9)

    def test_agrees_with_the_unfused_steps(self):
        outs = []
        for fuse in (True, False):
            torch.manual_seed(3)
            outs.append(tio.Compose(self.steps(), fuse=fuse)(self.subject()))
        fused, apart = outs
        difference = (fused.t1.data - apart.t1.data).abs() / float(
            apart.t1.data.max() - apart.t1.data.min()
        )
        assert difference.median() < 0.02  # waves of twelve voxels, interpolated once or thrice
        # nearest once or twice: only at outlines, of which this small volume has many
        assert (fused.label.data != apart.label.data).double().mean() < 0.08

    def test_the_plan_shows_one_spatial_stage(self):
        text = tio.Compose(self.steps()).explain(self.subject())
        assert text.splitlines()[0] == (
            "spatial: ToCanonical -> Resample -> CropOrPad -> ZNormalization -> RandomAffine -> "
            "RandomElasticDeformation  (ends: end of the pipeline)"
        )
        assert text.count("sampled on 24x36x22 at 1, 1, 1 mm") == 2
        assert text.count("sampled on") == 2

    def test_statistics_are_those_of_the_sampled_image(self):
        out = tio.Compose(self.steps()[:4])(self.subject())
        inside = out.t1.data[out.label.data.bool()]
        assert abs(inside.mean()) < 1e-5
        assert abs(inside.std() - 1) < 1e-5

    def test_a_mask_with_pending_maps_is_flushed_before_it_is_read(self):
        s = self.subject()
        steps = [tio.Flip(1, include=["label"]), *self.steps()[1:5]]
        outs = []
        for fuse in (True, False):
            torch.manual_seed(3)
            outs.append(tio.Compose(steps, fuse=fuse)(s).t1.data)
        assert (outs[0] - outs[1]).abs().median() < 0.05
        torch.manual_seed(3)
        wrong = tio.Compose(steps[1:])(s).t1.data
        assert (outs[0] - wrong).abs().median() > 0.05


@pytest.mark.parametrize(
    ("names", "reasons"),
    [
        (["affine", "pad"], ["Pad may pad after an off-axis map"]),
        (
            ["affine", "crop", "affine"],
            ["Affine would restore content cropped after an off-axis map"],
        ),
        (["crop", "affine", "crop", "resample"], []),
        (["affine", "crop", "flip"], ["Flip would restore content cropped after an off-axis map"]),
        (["elastic", "orient"], ["ToOrientation reorders or rotates axes after an elastic map"]),
        (["elastic", "resample", "flip"], []),
        (["affine", "affine, minimum"], ["Affine has another fill"]),
        (["pad with 3", "affine"], []),
        (["resample", "pad, reflect"], ["Pad needs the whole volume"]),
        (["resample", "z"], ["ZNormalization needs the whole volume"]),
        (["resample", "z", "rescale", "affine"], []),
        (["affine", "z", "affine"], ["ZNormalization needs the whole volume", "Affine is spatial"]),
        (["resample", "z", "gamma"], ["ZNormalization needs the whole volume", "Gamma is pointw"]),
    ],
)
def test_reasons_for_the_end_of_a_stage(names, reasons):
    lines = tio.Compose([STEPS[name] for name in names]).explain().splitlines()
    assert len(lines) == len(reasons) + 1
    for line, reason in zip(lines, reasons, strict=False):
        assert f"(ends: {reason}" in line


def test_explain_draws_no_random_numbers():
    s = volume()
    pipeline = tio.Compose([tio.RandomAffine(), tio.RandomNoise()])
    torch.manual_seed(5)
    pipeline.explain(s)
    out = pipeline(s)
    torch.manual_seed(5)
    assert torch.equal(pipeline(s).t1.data, out.t1.data)
    assert s.history == []


def test_a_landmark_keeps_its_world_position_in_a_fused_pipeline():
    """The centre of a blob does not move under steps that change the grid only."""
    affine = oblique_affine((1, 1.2, 1.1), left_handed=True)
    grid = np.indices((20, 20, 20)).reshape(3, -1).T
    world = apply_affine(affine, np.array([[9.0, 11, 8]]))
    distance = np.linalg.norm(apply_affine(affine, grid) - world, axis=1)
    x = torch.from_numpy(np.exp(-0.5 * (distance / 2) ** 2)).view(1, 20, 20, 20)
    steps = [STEPS[n] for n in ("canonical", "crop", "resample", "pad", "transpose", "multiple")]
    out = tio.Compose(steps)(tio.ScalarImage(x, affine=affine))
    weights = out.numpy()[0]
    centre = np.array([[np.average(at, weights=weights) for at in np.indices(weights.shape)]])
    np.testing.assert_allclose(apply_affine(out.affine, centre), world, atol=0.02)


@pytest.mark.parametrize(
    "steps",
    [
        [tio.ToCanonical(), tio.Crop((0, 3, 0, 0, 0, 0)), tio.Pad((0, 3, 0, 0, 0, 0))],
        [tio.ToCanonical(), tio.Pad((2, 2, 0, 0, 0, 0), -3), tio.Pad((0, 0, 0, 0, 3, 3), 5)],
        [tio.ToCanonical(), tio.Pad((3, 3, 0, 0, 0, 0), 7),
         tio.Affine(translation=(0, 0, -2.5), default_pad_value=-100)],
        [tio.ToCanonical(), tio.CropOrPad((12, 24, 28)), tio.ZNormalization(),
         tio.Affine(degrees=5)],
        [tio.ToCanonical(), tio.Resample(0.8), tio.CropOrPad((14, 24, 30)),
         tio.ZNormalization("seg"), tio.Affine(degrees=5, default_pad_value=0)],
    ],
)  # fmt: skip
def test_samples_of_different_orientation_equal_single_samples(steps):
    affines = (np.eye(4), np.eye(4)[[2, 1, 0, 3]], np.diag([1.0, -1, -1, 1]))
    subjects = []
    for seed, affine in enumerate(affines):
        x = smooth((1, 1, 20, 20, 20), seed)[0].float() + 3
        labels = tio.LabelMap((x > 3).byte(), affine=affine)
        subjects.append(tio.Subject(t1=tio.ScalarImage(x, affine=affine), seg=labels))
    pipeline = tio.Compose(steps)
    together = pipeline(tio.SubjectsBatch.from_subjects(subjects))
    for n, s in enumerate(subjects):
        alone = pipeline(s)
        assert_close(together.t1.data[n], alone.t1.data, share=2e-5, reason="rounding")
        assert torch.equal(together.seg.data[n], alone.seg.data)
        apart = tio.Compose(steps, fuse=False)(s)
        # in standard deviations, which are those before voxels are interpolated
        assert (alone.t1.data - apart.t1.data).abs().median() < 0.15


@pytest.mark.parametrize("rule", ["minimum", "mean", "otsu"])
def test_fill_rules_use_the_voxels_before_the_motion(rule):
    x = smooth((1, 1, 24, 22, 20))[0].float() * 20 + 100
    x[:, :4] = -1000  # cut off before anything is asked
    moved = tio.Affine(translation=(0, 0, 30), default_pad_value=rule)
    for steps in (
        [tio.Crop((6, 1, 1, 1, 1, 1)), moved],
        [tio.Crop((6, 1, 1, 1, 1, 1)), tio.Pad(2, padding_mode=7), moved],
        [tio.Resample(0.5), tio.Crop((12, 2, 2, 2, 2, 2)), moved],
    ):
        fused, apart = (tio.Compose(steps, fuse=fuse)(x)[0, 5, 5, 5] for fuse in (True, False))
        assert abs(fused - apart) < 2, (rule, steps)  # interpolation takes the tips off


def test_crops_of_thick_slices_follow_the_finer_grid():
    affine = np.diag([1, 1, 5.0, 1])
    s = tio.Subject(
        t1=tio.ScalarImage(torch.full((1, 4, 4, 4), 9.0), affine=affine),
        seg=tio.LabelMap(torch.ones(1, 4, 4, 4).byte(), affine=affine),
    )
    ends = (0, 0, 0, 0, 2, 2)
    shift = tio.Affine(translation=(0, 0, -4), default_pad_value=0)
    for steps in (
        [tio.Resample(1), tio.Crop(ends), tio.Pad(ends)],
        [tio.Resample(1), tio.CropOrPad((4, 4, 12)), shift],
        [tio.Resample(1), tio.Pad(ends, padding_mode=4), shift],
        [tio.Resample(1), tio.Affine(degrees=(0, 0, 0.01), default_pad_value=0)],
    ):
        fused, apart = (tio.Compose(steps, fuse=fuse)(s) for fuse in (True, False))
        assert torch.equal(fused.seg.data, apart.seg.data)
        inner = (..., slice(1, -1), slice(1, -1), slice(None))  # a turn blends the other ends
        torch.testing.assert_close(fused.t1.data[inner], apart.t1.data[inner], atol=1e-3, rtol=0)


def test_anatomical_and_function_masks_use_the_current_image():
    x = smooth((1, 1, 12, 13, 14))[0].float() + torch.linspace(0, 9, 12)[:, None, None]
    s = tio.Subject(t1=tio.ScalarImage(x), seg=tio.LabelMap((x > 5).byte()))
    upper = lambda voxels: torch.arange(12).view(1, 12, 1, 1).expand(voxels.shape) > 5  # noqa: E731
    for steps in (
        [tio.Flip("LR"), tio.ZNormalization("Left"), tio.Affine(degrees=3)],
        [tio.Flip("LR"), tio.ZNormalization(upper), tio.Affine(degrees=3)],
        [tio.Flip(0, include=["t1"]), tio.ZNormalization("seg"), tio.Affine(degrees=3)],
        [tio.Flip(0, include=["seg"]), tio.ZNormalization("seg"), tio.Affine(degrees=3)],
    ):
        fused, apart = (tio.Compose(steps, fuse=fuse)(s).t1.data for fuse in (True, False))
        torch.testing.assert_close(fused, apart, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "steps",
    [
        [tio.Resample(2), tio.ZNormalization(), tio.Affine(degrees=(0, 0, 3))],
        [tio.Pad((0, 0, 0, 0, 1, 1)), tio.Crop((0, 0, 0, 0, 0, 2))],
        [tio.CropOrPad((1, None, None)), tio.Flip(1)],
        [tio.CropOrPad((1, None, None)), tio.CropOrPad((3, None, None)),
         tio.Crop((2, 0, 0, 0, 0, 0))],
        [tio.ToOrientation("SAR"), tio.Resize((1, 8, 9)), tio.Flip(2)],
    ],
)  # fmt: skip
@pytest.mark.parametrize("shape", [(16, 16, 1), (3, 16, 16)])
def test_single_slices(steps, shape):
    x = tio.ScalarImage(smooth((1, 1, *shape))[0].float() + 5)
    fused, apart = (tio.Compose(steps, fuse=fuse)(x) for fuse in (True, False))
    assert fused.shape == apart.shape
    # a turn blends the outermost voxels with what is outside, or not; and few voxels have
    # another standard deviation before they are interpolated
    inner = (..., *[slice(1, -1) if n > 4 else slice(None) for n in fused.spatial_shape])
    torch.testing.assert_close(fused.data[inner], apart.data[inner], atol=0.15, rtol=0)


def test_a_flip_about_another_image_does_not_restore_cropped_content():
    x = torch.ones(1, 12, 8, 8)
    for shift in (np.eye(4), oblique_affine((1, 1, 1), (0, 0, 0))):
        affine = shift.copy()
        affine[0, 3] += 3
        s = tio.Subject(t1=tio.ScalarImage(x), seg=tio.LabelMap(x.byte(), affine=affine))
        steps = [
            tio.Crop((0, 0, 0, 4, 0, 0)),
            tio.Crop((4, 0, 0, 0, 0, 0)),
            tio.Flip(0),
            tio.Pad(2),
        ]
        fused, apart = (tio.Compose(steps, fuse=fuse)(s) for fuse in (True, False))
        differ = (fused.seg.data != apart.seg.data).double().mean()
        assert differ <= (0.02 if shift[0, 1] else 0)  # nearest twice, on oblique axes


def test_padding_beyond_the_dtype_is_allowed_before_interpolation():
    x = torch.randint(0, 9, (1, 8, 8, 8), dtype=torch.uint8)
    steps = [tio.Resample(2), tio.Pad(1, padding_mode=0.5), tio.Affine(degrees=3)]
    fused, apart = (tio.Compose(steps, fuse=fuse)(x) for fuse in (True, False))
    assert fused.dtype == apart.dtype == torch.float32


def test_grids_are_computed_without_reading_voxels():
    s = volume()
    text = tio.Compose([tio.Resample(0.8), tio.Resample("t1"), tio.Flip(0)]).explain(s)
    assert "for a look" not in text
    cut = tio.Compose([tio.Resample(0.8), tio.CropOrPad(8, mask_name="seg")]).explain(s)
    assert cut.count("seg: sampled early") == 1


def test_a_single_slice_beside_a_volume_keeps_its_content():
    affine = np.eye(4)
    affine[2, 3] = 3
    s = tio.Subject(
        t1=tio.ScalarImage(torch.rand(1, 8, 8, 8)),
        t2=tio.ScalarImage(torch.arange(1.0, 65).view(1, 8, 8, 1), affine=affine),
    )
    for steps in (
        [tio.ToOrientation("LPS"), tio.Affine(degrees=(10, 0, 0), default_pad_value=-1)],
        [tio.Crop((1, 1, 0)), tio.Affine(translation=(0, 0, 0.6), default_pad_value=-1)],
        [tio.Flip(2), tio.Pad((1, 0, 0, 0, 0, 0), padding_mode=9)],
    ):
        fused, apart = (tio.Compose(steps, fuse=fuse)(s).t2.data for fuse in (True, False))
        assert (fused > 0).sum() == (apart > 0).sum()
        assert (fused > 0).sum() >= 36


def test_the_fill_of_a_sample_does_not_depend_on_other_samples():
    x = torch.arange(10.0, 16).view(1, 6, 1, 1).expand(1, 6, 6, 6).contiguous()
    permuted = np.eye(4)[[2, 1, 0, 3]]
    subjects = [
        tio.Subject(t1=tio.ScalarImage(x)),
        tio.Subject(t1=tio.ScalarImage(x.permute(0, 3, 2, 1).contiguous(), affine=permuted)),
        tio.Subject(t1=tio.ScalarImage(x.flip(1), affine=np.diag([-1.0, 1, 1, 1]))),
    ]
    canonical = tio.ToOrientation("RAS")
    for steps in (
        [canonical, tio.Crop((3, 0, 0, 0, 0, 0)), tio.Affine(translation=(0, 3, 0))],
        [canonical, tio.Crop((3, 0, 0, 0, 0, 0)),
         tio.Affine(degrees=(0, 0, 20), default_pad_value="mean")],
        [canonical, tio.Affine(translation=(0.5, 0, 0), default_pad_value=0)],
        [canonical, tio.RescaleIntensity(), tio.Affine(translation=(0.5, 0, 0))],
    ):  # fmt: skip
        together = tio.Compose(steps)(tio.SubjectsBatch.from_subjects(subjects)).t1.data
        for n, s in enumerate(subjects):
            alone = tio.Compose(steps)(s).t1.data
            assert_close(together[n], alone, share=1e-5, reason="rounding")


def test_a_flip_mirrors_the_field_of_view():
    affine = np.eye(4)
    affine[0, 3] = 3
    s = tio.Subject(
        t1=tio.ScalarImage(torch.ones(1, 6, 1, 1)),
        t2=tio.ScalarImage(torch.tensor([5.0, 6, 7, 8]).view(1, 4, 1, 1), affine=affine),
    )
    steps = [tio.Flip(0), tio.Pad((2, 0, 0, 0, 0, 0), padding_mode=9)]
    for fuse in (True, False):
        out = tio.Compose(steps, fuse=fuse)(s).t2.data.flatten().tolist()
        assert out == [9, 9, 5, 5, 5, 5]  # 'minimum' is what it leaves behind


def test_explain_computes_no_voxels(monkeypatch):
    devices = []
    original = torch.nn.functional.grid_sample

    def watched(x, *args, **kwargs):
        devices.append(x.device.type)
        return original(x, *args, **kwargs)

    monkeypatch.setattr(torch.nn.functional, "grid_sample", watched)
    steps = [tio.RandomAffine(), tio.RandomNoise(), tio.RandomBlur(), tio.RandomAffine()]
    text = tio.Compose(steps).explain(subject())
    assert text.count("sampled on") == 2
    assert devices == ["meta"] * 2
    # a step that looks at voxels is carried out
    looks = tio.Compose([tio.RandomAffine(), tio.CropOrPad(6, mask_name="seg")])
    assert "6x6x6" in looks.explain(subject())
    assert "cpu" in devices
