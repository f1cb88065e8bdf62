"""Composition: stages of the plan, agreement with unfused steps, and affected images."""

import gc

import numpy as np
import pytest
import torch

import torchio_gpu as tio
from tests.close import assert_close, interior
from tests.volumes import oblique_affine, smooth, subject
from torchio_gpu.data import SpatialMap
from torchio_gpu.transforms.parameters.params import Params
from torchio_gpu.transforms.pipeline import sampling
from torchio_gpu.transforms.pipeline.maps import SpatialTraits
from torchio_gpu.transforms.pipeline.plan import Plan

SPATIAL = {
    "affine": lambda: tio.RandomAffine(0.05, 8, 2),
    "elastic": lambda: tio.RandomElasticDeformation(6, 2),
    "flip": lambda: tio.RandomFlip((0, 1, 2)),
    "both": lambda: tio.RandomAffineElasticDeformation(
        affine_kwargs={"scales": 0.05, "degrees": 8}, elastic_kwargs={"max_displacement": 2}
    ),
}


def plan_of(*transforms, **kwargs):
    plan = tio.Compose(transforms, **kwargs).plan()
    return [[plan.steps[n].transform.name for n in stage.steps] for stage in plan.stages]


def test_neighbours_share_a_pass():
    a, e, f = tio.RandomAffine(), tio.RandomElasticDeformation(), tio.RandomFlip()
    b, g, n = tio.RandomBiasField(), tio.RandomGamma(), tio.RandomNoise()
    assert plan_of(a, e, f, b, g, n) == [
        ["RandomAffine", "RandomElasticDeformation", "RandomFlip"],
        ["RandomBiasField", "RandomGamma", "RandomNoise"],
    ]
    assert [len(group) for group in plan_of(f, a, a, f, e, f)] == [6]
    assert [len(group) for group in plan_of(a, b, f, n)] == [1, 1, 1, 1]
    assert len(plan_of(a, e, f, b, g, n, fuse=False)) == 6
    assert plan_of(tio.Compose([a, e]), tio.Compose([f])) == [
        ["RandomAffine", "RandomElasticDeformation", "RandomFlip"]
    ]


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        (tio.RandomElasticDeformation(), "is a second elastic map"),
        (tio.RandomAffine(), "reorders or rotates axes after an elastic map"),
        (tio.RandomNoise(), "RandomNoise is pointwise"),
        (tio.RandomFlip(keep={"t1": "t1_before"}), "images are kept as they are before RandomFlip"),
    ],
)
def test_the_plan_names_the_reason_for_the_end_of_a_stage(second, reason):
    pipeline = tio.Compose([tio.RandomElasticDeformation(), second])
    assert len(pipeline.plan().stages) == 2
    assert reason in pipeline.explain()


def test_a_stage_ends_where_the_interpolation_changes():
    near = tio.RandomAffine(image_interpolation="nearest")
    assert len(plan_of(tio.RandomAffine(), near)) == 2
    assert len(plan_of(tio.RandomAffine(), tio.RandomAffine(default_pad_value=0))) == 2
    assert len(plan_of(near, tio.RandomFlip())) == 1


def test_an_image_is_sampled_once_per_stage(monkeypatch):
    calls = []
    warp = sampling.warp_volumes

    def count(readings, *maps):
        calls.extend(readings)
        return warp(readings, *maps)

    monkeypatch.setattr(sampling, "warp_volumes", count)
    pipeline = [make() for name, make in SPATIAL.items() if name != "both"]
    tio.Compose(pipeline)(subject((20, 20, 20)))
    assert len(calls) == 2  # t1 and seg
    tio.Compose(pipeline, fuse=False)(subject((20, 20, 20)))
    assert len(calls) > 4


@pytest.mark.parametrize("names", [
    ("affine", "flip"), ("affine", "elastic"), ("flip", "elastic", "flip"), ("flip", "both"),
    ("affine", "elastic", "flip"), ("elastic", "affine"), ("affine", "affine", "flip", "elastic"),
])  # fmt: skip
def test_fused_and_unfused_agree_within_interpolation(names):
    """The fused result is the sharper one."""
    affine = oblique_affine((1, 1, 1))
    x = smooth((2, 1, 40, 40, 40), seed=3)
    labels = (x > 0).byte()
    batch = tio.SubjectsBatch({
        "t1": tio.ImagesBatch(x, np.stack([affine] * 2)),
        "seg": tio.ImagesBatch(labels, np.stack([affine] * 2), kind="label"),
    })  # fmt: skip
    transforms = [SPATIAL[name]() for name in names]
    results = []
    for fuse in (True, False):
        batch.streams = tio.random.Streams(np.array([1, 2]))
        results.append(tio.Compose(transforms, fuse=fuse)(batch))
    fused, apart = results
    assert [str(r) for r in fused.records] == [str(r) for r in apart.records]
    span = x.max() - x.min()
    difference = interior((fused.t1.data - apart.t1.data).abs(), 8) / span
    # Each further linear interpolation blurs waves of 0.5 rad per voxel by up to 0.5^2 / 8 = 3 %
    # per axis; on average it is a tenth of that.
    assert difference.mean() < 0.004 * (len(names) - 1)
    assert difference.max() < 0.06 * (len(names) - 1)
    flips = interior((fused.seg.data != apart.seg.data).float(), 8).mean()
    # a second rounding to voxels moves borders by up to half a voxel
    assert flips < 0.08 * (len(names) - 1)
    assert fused.seg.data.dtype == torch.uint8
    assert set(fused.seg.data.unique().tolist()) <= {0, 1}


def test_fused_affines_are_sharper_than_unfused_ones():
    x = smooth((1, 1, 32, 32, 32), seed=5)
    there = tio.Affine(degrees=(10, 20, 30), translation=(1.3, 0.4, -0.7), default_pad_value=0)
    batch = tio.SubjectsBatch({"t1": tio.ImagesBatch(x)})
    back = tio.Recorded(there, there.invert(there.sample_params(batch)), ("t1",))
    once = tio.Compose([there, back])(batch).t1.data
    twice = tio.Compose([there, back], fuse=False)(batch).t1.data
    assert torch.equal(once, x)  # the maps cancel before any voxel is read
    assert interior((twice - x).abs(), 10).mean() > 0.005


def test_p_is_decided_per_sample_also_for_inner_compositions():
    inner = tio.Compose([tio.Flip(0), tio.Flip(1)], p=0.5)
    pipeline = tio.Compose([inner, tio.Noise(std=1, p=0.5)])
    batch = tio.SubjectsBatch({"t1": tio.ImagesBatch(torch.rand(400, 1, 2, 2, 2))})
    out = pipeline(batch)
    names = [[record.transform.name for record in out.history[n]] for n in range(400)]
    flips = np.array([applied.count("Flip") for applied in names])
    noise = np.array([applied.count("Noise") for applied in names])
    assert set(flips) == {0, 2}  # both or none
    assert abs((flips == 2).mean() - 0.5) < 0.1
    assert abs(noise.mean() - 0.5) < 0.1
    assert abs(np.corrcoef(flips, noise)[0, 1]) < 0.2
    for n in range(400):
        if not names[n]:
            assert torch.equal(out.t1.data[n], batch.t1.data[n])


def test_compose_is_a_sequence():
    steps = [tio.RandomFlip(), tio.RandomNoise()]
    pipeline = tio.Compose(steps)
    assert len(pipeline) == 2
    assert pipeline[0] is steps[0]
    assert list(pipeline) == steps
    assert list(pipeline.children()) == steps


def test_an_empty_compose_changes_nothing():
    s = subject()
    assert torch.equal(tio.Compose([])(s).t1.data, s.t1.data)
    assert torch.equal(s.get_composed_history()(s).t1.data, s.t1.data)
    assert torch.equal(s.apply_inverse_transform().t1.data, s.t1.data)


def test_history_can_leave_intensity_out_and_change_interpolation():
    s = subject()
    out = tio.Compose([tio.RandomAffine(), tio.RandomNoise(), tio.Flip(0)])(s)
    names = [step.transform.name for step in out.get_composed_history(ignore_intensity=True)]
    assert names == ["RandomAffine", "Flip"]
    nearest = out.get_composed_history(ignore_intensity=True, image_interpolation="nearest")(s)
    assert set(nearest.t1.data.unique().tolist()) <= set(s.t1.data.unique().tolist())
    back = out.apply_inverse_transform(ignore_intensity=True)
    assert back.t1.data.shape == s.t1.data.shape


@pytest.mark.parametrize("bad", [tio.RandomFlip, 3, None, "flip"])
def test_only_callables_compose(bad):
    for composition in tio.Compose, tio.OneOf, tio.SomeOf:
        with pytest.raises(TypeError, match="callables that take a subject, got"):
            composition([tio.RandomFlip(), bad])


def test_transforms_that_were_not_applied_are_not_inverted():
    with pytest.raises(RuntimeError, match="RandomFlip cannot be undone from its arguments alone"):
        tio.Compose([tio.RandomFlip()]).inverse()


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (torch.zeros(4, 4, 4), ValueError, r"\(C, I, J, K\) or \(B, C, I, J, K\), got \(4, 4, 4\)"),
        (np.zeros((4, 4)), ValueError, r"an array must have shape \(C, I, J, K\), got \(4, 4\)"),
        (3, TypeError, "a transform takes a Subject.*got int"),
        ({"age": 3}, TypeError, r"at least one image, got keys \['age'\]"),
    ],
)
def test_bad_input_is_named(x, error, message):
    with pytest.raises(error, match=message):
        tio.RandomNoise()(x)


def test_an_image_added_later_follows_the_inverse():
    """Test-time augmentation: a prediction on the augmented image is brought back with it."""
    s = subject((16, 16, 16))
    out = tio.Compose([tio.Flip((0, 2)), tio.RandomNoise()])(s)
    out.add_image(tio.LabelMap(out.seg.data.clone(), affine=out.seg.affine), "prediction")
    back = out.apply_inverse_transform()
    assert torch.equal(back.prediction.data, s.seg.data)
    assert torch.equal(back.seg.data, s.seg.data)


class ScaleAndShift(tio.SpatialTransform):
    """Map p -> scale p + shift."""

    traits = SpatialTraits(parallel=True)

    def __init__(self, scale, shift, **kwargs):
        super().__init__(**kwargs)
        self.scale, self.shift = scale, shift

    def draw(self, context, u):
        return Params()

    def maps(self, params, context):
        matrix = np.diag([*self.scale, 1.0])
        matrix[:3, 3] = self.shift
        return (SpatialMap(matrix[None].repeat(context.batch, 0)),)

    def interpolation(self):
        return None


def test_maps_after_a_nonlinear_one_keep_their_order():
    """Shift and scale do not commute, whereas flips would."""
    x = smooth((1, 1, 40, 40, 40), seed=1)
    steps = [
        tio.RandomAffine(0.05, 8, 2),
        tio.RandomElasticDeformation(6, 2),
        ScaleAndShift((1.2, 0.9, 1.0), (0, 3, -4)),
        ScaleAndShift((0.8, 1.0, 1.1), (5, 0, -2)),
    ]
    batch = tio.SubjectsBatch({"t1": tio.ImagesBatch(x)})
    results = []
    for fuse in (True, False):
        pipeline = tio.Compose(steps, fuse=fuse)
        batch.streams = tio.random.Streams(np.array([1]))
        results.append(pipeline(batch).t1.data)
    assert len(tio.Compose(steps).plan().stages) == 1
    difference = interior((results[0] - results[1]).abs(), 12).mean() / (x.max() - x.min())
    assert difference < 0.02  # four interpolations instead of one


def test_label_keys_of_inner_transforms_are_used():
    labels = torch.zeros(1, 8, 8, 8)
    labels[:, 2:6] = 4
    x = {"img": torch.rand(1, 8, 8, 8), "seg": labels}
    inner = tio.RandomAffine(label_keys=["seg"])
    for pipeline in (tio.Compose([inner, tio.RandomNoise()]), tio.Compose([tio.Compose([inner])])):
        assert set(pipeline(x)["seg"].unique().tolist()) <= {0, 4}


def test_interpolation_of_a_joint_motion_can_be_changed_as_well():
    s = subject()
    out = tio.RandomAffineElasticDeformation(elastic_kwargs={"max_displacement": 1})(s)
    nearest = out.get_composed_history(image_interpolation="nearest")(s)
    assert set(nearest.t1.data.unique().tolist()) <= set(s.t1.data.unique().tolist())
    assert not torch.equal(nearest.t1.data, out.t1.data)


def test_arguments_of_a_joint_motion_are_its_own():
    with pytest.raises(ValueError, match=r"elastic_kwargs must not hold \['p'\]"):
        tio.RandomAffineElasticDeformation(elastic_kwargs={"p": 0})


def test_kept_images_follow_what_comes_after():
    s = subject()
    keeping = tio.Noise(std=0.0, mean=1.0, keep={"t1": "before"})
    turn = tio.Affine(degrees=(0, 0, 30))
    apart = turn(keeping(s))
    for fuse in (True, False):
        out = tio.Compose([keeping, turn], fuse=fuse)(s)
        assert_close(out.before.data, turn(s).t1.data, share=1e-6, reason="the same sampling")
        assert_close(out.before.data, apart.before.data, share=1e-6, reason="as above")
    whole = tio.Compose([turn, tio.Noise(std=1)], keep={"t1": "before"})(s)
    assert torch.equal(whole.before.data, s.t1.data)


@pytest.mark.parametrize("first", [True, False])
def test_keep_in_a_branch_stores_the_image_before_the_choice(first):
    branches = [tio.Noise(std=1, keep={"t1": "before"} if first else None),
                tio.Blur(3, keep=None if first else {"t1": "before"})]  # fmt: skip
    batch = tio.SubjectsBatch({"t1": tio.ImagesBatch(torch.rand(16, 1, 5, 5, 5))})
    for choice in (tio.OneOf(branches), tio.OneOf([tio.Compose([b]) for b in branches])):
        out = choice(batch)
        assert torch.equal(out.before.data, batch.t1.data)
        assert not torch.equal(out.t1.data, batch.t1.data)


def test_attributes_of_inner_transforms_changed_later_take_effect():
    inner = tio.Noise(std=1)
    outer = tio.Compose([tio.Compose([inner])])
    s = subject()
    assert not torch.equal(outer(s).t1.data, s.t1.data)
    inner.p = 0.0
    assert torch.equal(outer(s).t1.data, s.t1.data)
    inner.p = 1.0
    inner.keep = {"t1": "before"}
    assert torch.equal(outer(s).before.data, s.t1.data)
    outer.transforms[0].p = 0.0
    assert torch.equal(outer(s).t1.data, s.t1.data)


def test_fuse_false_applies_to_its_own_composition_only():
    inner = tio.Compose([tio.RandomAffine(), tio.RandomFlip()], fuse=False)
    lines = tio.Compose([inner, tio.RandomFlip()]).explain().splitlines()
    assert [line.split("  (")[0] for line in lines] == [
        "spatial: RandomAffine", "spatial: RandomFlip", "spatial: RandomFlip",
    ]  # fmt: skip
    assert "ends: steps are not fused" in lines[0]


def test_a_composition_draws_the_same_numbers_as_single_calls():
    steps = [tio.RandomNoise(p=0.7), tio.OneOf([tio.RandomGamma(), tio.RandomBlur()]),
             tio.Compose([tio.RandomBiasField()], p=0.9), tio.RandomNoise()]  # fmt: skip
    batch = tio.SubjectsBatch({"t1": tio.ImagesBatch(torch.rand(9, 1, 5, 5, 5))})
    batch.streams = tio.random.Streams(np.arange(9))
    together = tio.Compose(steps)(batch)
    apart = batch
    apart.streams = tio.random.Streams(np.arange(9))
    for step in steps:
        apart = step(apart)
    assert_close(together.t1.data, apart.t1.data, share=1e-6, reason="passes that are shared")


def test_cached_layouts_of_a_plan_are_bounded():
    pipeline = tio.Compose([tio.RandomNoise(), tio.RandomGamma()])
    for number in range(200):
        subject = tio.Subject({f"image{number}": tio.ScalarImage(torch.ones(1, 2, 2, 2))})
        pipeline(subject)
    plans = [plan for plan in gc.get_objects() if type(plan) is Plan]
    assert plans
    assert max(len(plan._layouts) for plan in plans) < 100


@pytest.mark.parametrize("cls", [tio.OneOf, tio.SomeOf])
def test_weights_are_those_of_a_dict(cls):
    x = torch.rand(8, 1, 4, 5, 6)
    first, second = tio.Blur(1), tio.Gamma(2)
    results = []
    for made in (cls({first: 3, second: 1}), cls([first, second], weights=[3, 1])):
        torch.manual_seed(0)
        results.append(made(x))
        assert made.weights == (3, 1)
    assert torch.equal(*results)
    assert cls([first, second], weights=[2, 2]).to_dict() == cls([first, second]).to_dict()


@pytest.mark.parametrize(
    ("transforms", "weights", "message"),
    [
        ({tio.Blur(1): 1}, [1], "weights must be given once"),
        ([tio.Blur(1)], [1, 2], r"weights must be 1 numbers, one for each transform, got \[1, 2\]"),
        ([tio.Blur(1)], [-1], "weights must be numbers >= 0"),
        ([tio.Blur(1)], [0], "weights must sum to more than 0"),
        ([tio.Blur(1)], ["a"], "weights must be numbers >= 0"),
    ],
)
def test_bad_weights_are_named(transforms, weights, message):
    for cls in (tio.OneOf, tio.SomeOf):
        with pytest.raises(ValueError, match=message):
            cls(transforms, weights=weights)
    with pytest.raises(TypeError, match="weights must be a sequence"):
        tio.OneOf([tio.Blur(1)], weights=3)
