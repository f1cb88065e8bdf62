"""Transforms that mix samples of a batch: MixUp, CutMix, ClassMix, and classes of the user."""

import numpy as np
import pytest
import torch

import torchio_gpu as tio
from torchio_gpu import random

SHAPE = (4, 5, 6)
METHODS = [tio.MixUp(), tio.CutMix(), tio.ClassMix("seg", exclude=["soft"])]


def batch(size=6, seed=0, shape=SHAPE):
    """Return images, labels 0 to 4, and the same one-hot, of which each sample can be told."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(5, (size, 1, *shape), generator=generator)
    soft = torch.nn.functional.one_hot(labels[:, 0], 5).movedim(-1, 1).float()
    images = {
        "t1": tio.ImagesBatch(torch.rand(size, 1, *shape, generator=generator)),
        "seg": tio.ImagesBatch(labels, kind="label"),
        "soft": tio.ImagesBatch(soft, kind="label"),
    }
    streams = random.Streams(np.arange(size) * 7 + seed)
    return tio.SubjectsBatch(images, {"age": list(range(size))}, streams)


def own(transform, x):
    """Apply a transform, leaving label maps of one channel to those that can mix them."""
    return transform(x) if not isinstance(transform, tio.MixUp) else tio.MixUp(exclude=["seg"])(x)


# Formulas


def test_mix_up_is_a_weighted_mean():
    x = batch()
    out = own(tio.MixUp(), x)
    partner, weight = out.metadata["mix_partner"], out.metadata["mix_weight"]
    for n in range(6):
        for name in ("t1", "soft"):
            before = x[name].data
            expected = weight[n] * before[n] + (1 - weight[n]) * before[partner[n]]
            torch.testing.assert_close(out[name].data[n], expected)
    assert all(partner[n] != n for n in range(6))
    torch.testing.assert_close(out.soft.data.sum(1), torch.ones(6, *SHAPE))
    assert torch.equal(out.seg.data, x.seg.data)
    assert out.metadata["age"] == x.metadata["age"]


@pytest.mark.parametrize("alpha", [0.2, 1, 4])
def test_weights_have_a_beta_distribution(alpha):
    """Mean 1/2, variance 1 / (4 (2 alpha + 1)); three standard errors of 20000 draws."""
    x = tio.SubjectsBatch({"t1": tio.ImagesBatch(torch.rand(20000, 1, 1, 1, 1))})
    torch.manual_seed(0)
    weight = np.array(tio.MixUp(alpha)(x).metadata["mix_weight"])
    variance = 1 / (4 * (2 * alpha + 1))
    assert abs(weight.mean() - 0.5) < 3 * (variance / 20000) ** 0.5
    assert weight.var() == pytest.approx(variance, rel=0.03)


def test_partners_are_all_others_equally_often():
    x = tio.SubjectsBatch({"t1": tio.ImagesBatch(torch.rand(5, 1, 1, 1, 1))})
    torch.manual_seed(0)
    counts = np.zeros((5, 5))
    for _ in range(400):
        for n, partner in enumerate(tio.MixUp()(x).metadata["mix_partner"]):
            counts[n, partner] += 1
    assert (counts.diagonal() == 0).all()
    others = counts[~np.eye(5, dtype=bool)]
    assert abs(others - 100).max() < 4.5 * (400 * 0.25 * 0.75) ** 0.5  # 20 binomial counts


def test_cut_mix_replaces_a_box_in_all_images():
    x = batch(shape=(12, 10, 8), size=40)
    out = tio.CutMix()(x)
    partner, weight = out.metadata["mix_partner"], out.metadata["mix_weight"]
    sides = []
    for n in range(40):
        changed = out.t1.data[n, 0] != x.t1.data[n, 0]  # uniform voxels differ
        places = changed.nonzero()
        share = changed.double().mean().item()
        assert weight[n] == pytest.approx(1 - share, abs=1e-12)
        if len(places):
            low, high = places.amin(0), places.amax(0) + 1
            assert int((high - low).prod()) == len(places)  # a box, without holes
            sides.append(((high - low) / torch.tensor([12, 10, 8])).tolist())
        for name in ("t1", "seg", "soft"):
            expected = torch.where(changed, x[name].data[partner[n]], x[name].data[n])
            assert torch.equal(out[name].data[n], expected)
    assert len(sides) > 30
    assert out.seg.data.dtype == torch.int64


def test_class_mix_pastes_half_of_the_labels():
    x = batch(shape=(7, 8, 6))
    out = tio.ClassMix("seg")(x)
    partner, weight = out.metadata["mix_partner"], out.metadata["mix_weight"]
    for n in range(6):
        theirs = x.seg.data[partner[n], 0]
        changed = out.t1.data[n, 0] != x.t1.data[n, 0]
        pasted = theirs[changed].unique()
        assert len(pasted) == 3  # of 5
        assert torch.equal(changed, torch.isin(theirs, pasted))
        assert torch.equal(out.seg.data[n, 0], torch.where(changed, theirs, x.seg.data[n, 0]))
        assert weight[n] == pytest.approx(1 - changed.double().mean().item(), abs=1e-12)
    some = tio.ClassMix("seg", labels=(3, 9))(x)
    for n in range(6):
        changed = some.t1.data[n, 0] != x.t1.data[n, 0]
        assert torch.equal(changed, x.seg.data[some.metadata["mix_partner"][n], 0] == 3)


def test_class_mix_without_such_labels_changes_nothing():
    x = batch()
    out = tio.ClassMix("seg", labels=(8, 9))(x)
    assert torch.equal(out.t1.data, x.t1.data)
    assert out.metadata["mix_weight"] == [1.0] * 6


# Batches


@pytest.mark.parametrize("transform", METHODS, ids=lambda t: t.name)
def test_seeds_of_the_batch_decide(transform):
    one, other = (own(transform, batch()) for _ in range(2))
    assert torch.equal(one.t1.data, other.t1.data)
    assert one.metadata["mix_weight"] == other.metadata["mix_weight"]
    record = one.records[-1]
    assert record.params.partner_seed.tolist() == [7 * n for n in one.metadata["mix_partner"]]


@pytest.mark.parametrize("transform", METHODS, ids=lambda t: t.name)
def test_an_only_sample_stays_as_it_is(transform):
    x = batch(1)
    out = own(transform, x)
    assert torch.equal(out.t1.data, x.t1.data)
    assert (out.metadata["mix_partner"], out.metadata["mix_weight"]) == ([0], [1.0])


def test_samples_that_are_left_out_keep_their_bits():
    x = batch(40)
    x.t1.data[:, :, 0, 0, 0] = torch.nan
    out = tio.MixUp(p=0.5, exclude=["seg"])(x)
    left = np.array(out.metadata["mix_weight"]) == 1
    assert 8 < left.sum() < 32
    assert torch.equal(out.t1.data[left].nan_to_num(9), x.t1.data[left].nan_to_num(9))
    assert not torch.equal(out.t1.data[~left].nan_to_num(9), x.t1.data[~left].nan_to_num(9))


def test_one_of_several_mixes_each_sample_once():
    x = batch(40)
    out = tio.OneOf([tio.CutMix(), tio.ClassMix("seg")])(x)
    partner = torch.tensor(out.metadata["mix_partner"])
    own, theirs = out.t1.data == x.t1.data, out.t1.data == x.t1.data[partner]
    assert bool((own | theirs).all())  # partners are those from before
    with pytest.raises(ValueError, match="mixed once, and CutMix may mix it after MixUp: put tran"):
        tio.Compose([tio.MixUp(p=0.1), tio.CutMix(p=0.1)]).plan()
    with pytest.raises(ValueError, match="mixed once, and CutMix mixes it again: put transforms"):
        tio.CutMix()(out)


@pytest.mark.parametrize("fuse", [True, False])
def test_partners_are_those_from_before_all_steps(fuse):
    x = torch.arange(8.0).view(8, 1, 1, 1, 1).expand(8, 1, 4, 4, 4).contiguous()
    choice = tio.Compose([tio.OneOf([tio.MixUp(1), tio.CutMix()])], fuse=fuse)
    batch = tio.SubjectsBatch({"t1": tio.ImagesBatch(x)})
    for seed in range(5):
        torch.manual_seed(seed)
        out = choice(batch)
        for n, subject in enumerate(out.unbatch()):
            partner, weight = out.metadata["mix_partner"][n], out.metadata["mix_weight"][n]
            if [record.name for record in subject.history] == ["MixUp"]:
                mean = weight * n + (1 - weight) * partner
                torch.testing.assert_close(out.t1.data[n], torch.full_like(out.t1.data[n], mean))
            else:
                assert set(out.t1.data[n].unique().tolist()) <= {float(n), float(partner)}


def test_a_dict_says_what_was_mixed():
    x = {"img": torch.rand(4, 1, 4, 4, 4), "y": [0, 1, 2, 3]}
    out = tio.MixUp()(x)
    weight = out["mix_weight"].float().view(-1, 1, 1, 1, 1)
    expected = weight * x["img"] + (1 - weight) * x["img"][out["mix_partner"]]
    torch.testing.assert_close(out["img"], expected)


def test_dtypes_do_not_depend_on_what_is_drawn():
    for seed in range(4):
        torch.manual_seed(seed)
        x = torch.zeros(2, 1, 2, 2, 2, dtype=torch.uint8)
        assert tio.MixUp(p=0.5)(x).dtype == tio.MixUp()(x[:1]).dtype == torch.float32
        assert tio.CutMix(p=0.5)(x).dtype == torch.uint8
    coarse = torch.tensor([0.0, 1000], dtype=torch.bfloat16).view(2, 1, 1, 1, 1)
    batch = tio.MixUp()(tio.SubjectsBatch({"t1": tio.ImagesBatch(coarse)}))
    exact = 1000 * (1 - batch.metadata["mix_weight"][0])
    assert batch.t1.data.dtype == torch.bfloat16
    assert batch.t1.data[0].item() == pytest.approx(exact, rel=2**-8)  # half a step of bfloat16


@pytest.mark.parametrize("shape", [(1, 64, 64), (64, 1, 1), (16, 16, 16)])
def test_the_share_of_a_box_is_as_drawn_on_single_slices(shape):
    """Beta(10000, 10000) is 1/2; boxes that reach over the border are smaller."""
    x = tio.SubjectsBatch({"t1": tio.ImagesBatch(torch.zeros(200, 1, *shape))})
    torch.manual_seed(0)
    weight = np.array(tio.CutMix(10000)(x).metadata["mix_weight"])
    assert weight.min() == pytest.approx(0.5, abs=0.1)
    assert (weight < 1).all()


@pytest.mark.filterwarnings("error")
def test_labels_need_not_be_whole_numbers():
    labels = torch.tensor([0.5, 1.5, torch.nan, 3.5]).view(1, 1, 4, 1, 1).repeat(2, 1, 1, 1, 1)
    voxels = torch.tensor([0.0, 1]).view(2, 1, 1, 1, 1).expand(2, 1, 4, 1, 1).contiguous()
    images = {"t1": tio.ImagesBatch(voxels), "seg": tio.ImagesBatch(labels, kind="label")}
    for seed in range(5):
        torch.manual_seed(seed)
        out = tio.ClassMix("seg")(tio.SubjectsBatch(dict(images)))
        changed = (out.t1.data != voxels)[:, 0, :, 0, 0]
        assert changed.sum(1).tolist() == [2, 2]
        assert not changed[:, 2].any()
        assert out.metadata["mix_weight"] == [0.5, 0.5]


def test_mixing_follows_the_other_steps_of_a_pipeline():
    x = tio.SubjectsBatch({"t1": tio.ImagesBatch(torch.rand(4, 1, 8, 8, 8))})
    torch.manual_seed(0)
    steps = [tio.RandomAffine(), tio.RandomGamma()]
    before = tio.Compose(steps)(x).t1.data
    torch.manual_seed(0)
    pipeline = tio.Compose([*steps, tio.MixUp()])
    out = pipeline(x)
    partner, weight = out["mix_partner"], out["mix_weight"].float().view(-1, 1, 1, 1, 1)
    torch.testing.assert_close(out.t1.data, weight * before + (1 - weight) * before[partner])
    assert "batch: MixUp" in pipeline.explain(x)
    assert "mixed with another sample of the batch" in pipeline.explain(x)
    with pytest.raises(ValueError, match="RandomGamma must come before MixUp, which mixes"):
        tio.Compose([tio.MixUp(), tio.RandomGamma()])(x)


def test_gradients_flow_to_both_samples():
    x = torch.rand(3, 1, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    for transform in (tio.MixUp(), tio.CutMix()):

        def run(x, transform=transform):
            torch.manual_seed(0)
            return transform(x)

        assert torch.autograd.gradcheck(run, (x,))


# Refusals


@pytest.mark.parametrize("transform", METHODS, ids=lambda t: t.name)
def test_single_samples_are_refused(transform):
    x = batch()
    subject = x.unbatch()[0]
    for one in (subject, subject.t1, torch.rand(1, 4, 4, 4), {"t1": torch.rand(1, 4, 4, 4)}):
        with pytest.raises(TypeError, match=f"{transform.name} mixes the samples of a batch: it t"):
            transform(one)
    with pytest.raises(TypeError, match="mixes the samples of a batch"):
        tio.Compose([tio.RandomNoise(), transform])(subject)


def test_label_maps_of_one_channel_are_not_averaged():
    with pytest.raises(ValueError, match="'seg' has one channel: put OneHot"):
        tio.MixUp()(batch())
    out = tio.Compose([tio.OneHot(5, include=["seg"]), tio.MixUp()])(batch())
    torch.testing.assert_close(out.seg.data.sum(1), torch.ones(6, *SHAPE))
    torch.testing.assert_close(out.seg.data, out.soft.data)


def test_images_of_other_shapes_are_refused():
    x = batch()
    coarse = np.diag([2.0, 2, 2, 1])[None].repeat(6, 0)
    x.images["other"] = tio.ImagesBatch(torch.rand(6, 1, 3, 3, 3), coarse)
    for transform in (tio.CutMix(), tio.ClassMix("seg")):
        with pytest.raises(ValueError, match=r"must have one shape for .*: 't1' has .*'other' has"):
            transform(x)
    assert tio.MixUp(exclude=["seg"])(x).other.data.shape == (6, 1, 3, 3, 3)
    assert tio.CutMix(exclude=["other"])(x).other.data.shape[2:] == (3, 3, 3)


def test_a_mixed_sample_is_neither_repeated_nor_undone():
    x = batch()
    out = tio.CutMix()(x)
    subject = out.unbatch()[2]
    history = subject.get_composed_history()
    assert "CutMix" in repr(history)
    with pytest.raises(RuntimeError, match="CutMix cannot be repeated from a history"):
        history(tio.SubjectsBatch.from_subjects([x.unbatch()[2]]))
    with pytest.raises(RuntimeError, match="CutMix cannot be repeated from a history"):
        history(x.unbatch()[2])
    alone = tio.MixUp(exclude=["seg"])(batch(1)).unbatch()[0]
    assert alone.history == []
    with pytest.warns(RuntimeWarning, match="CutMix cannot be undone and is skipped"):
        subject.apply_inverse_transform()


def test_patches_and_graphs_are_not_mixed():
    subjects = tio.SubjectsDataset(batch().unbatch())
    with pytest.raises(ValueError, match="apply MixUp to the batches of patches"):
        tio.DeviceQueue(subjects, tio.UniformSampler(2), tio.MixUp(), 2, 2)
    with pytest.raises(ValueError, match="must not mix samples"):
        tio.Captured(tio.MixUp())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: tio.MixUp(0), "alpha must be > 0, got 0"),
        (lambda: tio.CutMix(-1), "alpha must be > 0, got -1"),
        (lambda: tio.ClassMix("seg", labels=[0.5]), "labels must be whole numbers"),
        (lambda: tio.ClassMix("t1")(batch()), "label_key must name a label map .*'seg'"),
        (lambda: tio.ClassMix("soft")(batch()), "of one channel, 'soft' has 5"),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises((ValueError, KeyError), match=message):
        make()
