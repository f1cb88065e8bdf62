"""Labels to image: used labels, background image, batches and pipelines."""

from typing import ClassVar

import numpy as np
import pytest
import torch
import torchio

import torchio_gpu as tio
from tests.volumes import batch_of, oblique_affine, subject


def labelled_subject(seed=0, top=4, shape=(20, 18, 16), dtype=torch.uint8):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, top, (1, *shape), generator=generator).to(dtype)
    return tio.Subject(seg=tio.LabelMap(labels, affine=oblique_affine()))


def means_per_label(image, labels, values=range(4)):
    return [image[labels == v].mean().item() for v in values]


def test_a_new_image_has_the_space_of_its_labels():
    s = labelled_subject()
    out = tio.LabelsToImage("seg", [1, 5, 3, 8], [0.1] * 4)(s)
    made = out.image_from_labels
    assert type(made) is tio.ScalarImage
    assert made.data.dtype == torch.float32
    np.testing.assert_array_equal(made.affine, s.seg.affine)
    assert means_per_label(made.data, s.seg.data) == pytest.approx([1, 5, 3, 8], abs=0.02)
    assert torch.equal(out.seg.data, s.seg.data)
    assert "image_from_labels" not in s
    again = out.get_composed_history()(s)
    assert torch.equal(again.image_from_labels.data, made.data)


def test_agrees_with_torchio_without_noise():
    s = labelled_subject()
    theirs = torchio.Subject(seg=torchio.LabelMap(tensor=s.seg.data, affine=s.seg.affine))
    mean, std = [1.0, 5.0, 3.0, 8.0], [0.0] * 4
    for options in ({}, {"ignore_background": True}):
        expected = torchio.LabelsToImage("seg", mean, std, **options)(theirs)
        out = tio.LabelsToImage("seg", mean, std, **options)(s)
        assert torch.equal(out.image_from_labels.data, expected.image_from_labels.data)


def test_an_existing_image_is_the_background():
    s = labelled_subject()
    t1 = tio.ScalarImage(torch.full(s.seg.shape, 100, dtype=torch.int16), affine=s.seg.affine)
    s = tio.Subject(t1=t1, seg=s.seg)
    out = tio.LabelsToImage("seg", [1, 2], [0, 0], image_key="t1", used_labels=[3, 1])(s).t1.data
    assert means_per_label(out, s.seg.data) == [100, 2, 100, 1]
    out = tio.LabelsToImage("seg", [1, 2, 3, 4], [0] * 4, "t1", ignore_background=True)(s).t1.data
    assert means_per_label(out, s.seg.data) == [100, 2, 3, 4]
    assert out.dtype == torch.float32


def test_random_contrast_is_a_function_of_seed_and_label():
    few = tio.Subject(seg=tio.LabelMap((labelled_subject().seg.data == 2).byte() * 2))
    many = tio.Subject(seg=tio.LabelMap(labelled_subject().seg.data))
    transform = tio.RandomLabelsToImage(default_std=0)
    one = transform(batch_of([few], [5])).image_from_labels.data[0]
    two = transform(batch_of([many], [5])).image_from_labels.data[0]
    for label in (0, 2):
        found = {x[s.seg.data == label].unique().item() for x, s in ((one, few), (two, many))}
        assert len(found) == 1


def test_batch_equals_single_samples_which_differ():
    subjects = [labelled_subject(n) for n in range(3)]
    transform = tio.RandomLabelsToImage()
    together = transform(batch_of(subjects, [1, 2, 3])).image_from_labels.data
    for n in range(3):
        alone = transform(batch_of(subjects[n : n + 1], [n + 1])).image_from_labels.data[0]
        assert torch.equal(alone, together[n])
    contrast = [means_per_label(together[n], subjects[n].seg.data) for n in range(3)]
    assert all(0 < m < 1 for sample in contrast for m in sample)
    assert len({round(sample[0], 3) for sample in contrast}) == 3


def test_ranges_of_each_label():
    batch = batch_of([labelled_subject(top=3)] * 500)
    drawn = tio.RandomLabelsToImage(
        "seg", mean=[0, (5, 6), (-2, -1)], std=[1, (0, 1), 2]
    ).sample_params(batch)
    assert drawn.labels[0, 0].tolist() == [0, 1, 2]
    for column, (low, high) in enumerate(((0, 0), (5, 6), (-2, -1))):
        values = drawn.mean[:, 0, column]
        assert low <= values.min() <= low + 0.02
        assert high - 0.02 <= values.max() <= high
    assert (drawn.std[:, 0, 0] == 1).all()
    drawn = tio.RandomLabelsToImage("seg", [2, 0], mean=[7, 9], default_std=0.5).sample_params(
        batch
    )
    assert drawn.labels[0, 0].tolist() == [2, 0]
    assert (drawn.mean == [7, 9]).all()
    assert (drawn.std == 0.5).all()


def test_shares_of_labels():
    shares = torch.rand(3, 8, 8, 8).softmax(0)
    s = tio.Subject(tissue=tio.LabelMap(shares))
    out = tio.LabelsToImage("tissue", [0, 10, 20], [0, 0, 0])(s).image_from_labels.data
    expected = 10 * shares[1] + 20 * shares[2]
    torch.testing.assert_close(out[0], expected)
    hard = tio.LabelsToImage("tissue", [0, 10, 20], [0, 0, 0], discretize=True)(s)
    assert torch.equal(hard.image_from_labels.data[0], 10.0 * shares.argmax(0))
    floats = tio.Subject(seg=tio.LabelMap(torch.tensor([0.0, 2.0, 1.0, 2.0]).view(1, 4, 1, 1)))
    out = tio.LabelsToImage("seg", [1, 2, 3], [0, 0, 0])(floats)
    assert out.image_from_labels.data.flatten().tolist() == [1, 3, 2, 3]


def test_samples_left_out_have_an_empty_image_and_a_record_of_it():
    subjects = [labelled_subject(n) for n in range(40)]
    out = tio.RandomLabelsToImage(p=0.5)(batch_of(subjects))
    assert out.image_from_labels.data.shape == (40, 1, 20, 18, 16)
    made = [out.history[n][0].params.made.item() for n in range(40)]
    assert 8 < sum(made) < 32
    for n, (before, after) in enumerate(zip(subjects, out.unbatch(), strict=True)):
        assert bool((after.image_from_labels.data != 0).any()) == made[n]
        again = after.get_composed_history()(before)
        assert torch.equal(again.image_from_labels.data, after.image_from_labels.data)
    never = tio.RandomLabelsToImage(p=0)(batch_of(subjects))
    assert not never.image_from_labels.data.any()
    assert not never.history[0][0].params.made


def test_a_new_image_may_replace_none_but_no_other_value():
    s = tio.Subject(seg=labelled_subject().seg, t1=None, age=4)
    assert tio.RandomLabelsToImage(image_key="t1")(s).t1.shape == s.seg.shape
    with pytest.raises(ValueError, match="must create an image of a new name, the subject has a"):
        tio.RandomLabelsToImage(image_key="age")(s)
    with pytest.raises(ValueError, match="images that were added, 'image_from_labels'"):
        tio.RandomLabelsToImage()(s.seg)


def test_an_existing_image_must_match_the_labels():
    s = labelled_subject()
    elsewhere = tio.Subject(t1=tio.ScalarImage(torch.zeros(s.seg.shape)), seg=s.seg)
    channels = torch.zeros(3, *s.seg.spatial_shape)
    many = tio.Subject(t1=tio.ScalarImage(channels, affine=s.seg.affine), seg=s.seg)
    for bad, fact in ((elsewhere, "it has 1, and their corners are"), (many, "it has 3, and")):
        with pytest.raises(ValueError, match=f"needs 't1' to be an image of one channel.*{fact}"):
            tio.RandomLabelsToImage(image_key="t1")(bad)


@pytest.mark.parametrize("dtype", [torch.bool, torch.int8, torch.int32, torch.float32])
def test_label_maps_of_any_type(dtype):
    labels = torch.tensor([0, 1, 1, 0]).to(dtype).view(1, 4, 1, 1)
    out = tio.LabelsToImage("seg", [3, 5], [0, 0])(tio.Subject(seg=tio.LabelMap(labels)))
    assert out.image_from_labels.data.flatten().tolist() == [3, 5, 5, 3]


def test_large_and_negative_labels():
    labels = torch.tensor([0, 60_000_000, -5, 614_454_277]).view(1, 4, 1, 1)
    s = tio.Subject(seg=tio.LabelMap(labels))
    used = [614_454_277, 60_000_000]
    out = tio.LabelsToImage("seg", [3, 5], [0, 0], used_labels=used)(s)
    assert out.image_from_labels.data.flatten().tolist() == [0, 5, 0, 3]
    out = tio.RandomLabelsToImage(default_mean=1, default_std=0)(s)
    assert out.image_from_labels.data.flatten().tolist() == [1, 1, 0, 1]


def test_later_steps_transform_the_new_image():
    pipeline = tio.Compose([
        tio.RandomAffine(), tio.RandomLabelsToImage(), tio.RandomBiasField(), tio.RandomBlur(),
    ])  # fmt: skip
    torch.manual_seed(1)
    out = pipeline(labelled_subject())
    assert [record.names for record in out.history] == [
        ("seg",), ("image_from_labels",), ("image_from_labels",), ("image_from_labels",),
    ]  # fmt: skip
    only = tio.Compose(pipeline.transforms, include=["seg"])(labelled_subject())
    assert "image_from_labels" not in only


def test_dicts_and_datasets_receive_the_image():
    labels = labelled_subject().seg.data
    out = tio.RandomLabelsToImage(image_key="t1", label_keys=["seg"])({"seg": labels, "age": 4})
    assert out["t1"].shape == labels.shape
    assert out["age"] == 4
    with pytest.raises(KeyError, match="RandomLabelsToImage needs a label map; the label maps are"):
        tio.RandomLabelsToImage()(labels)


def test_given_labels_run_on_the_meta_device():
    data = torch.empty(2, 1, 6, 6, 6, device="meta", dtype=torch.uint8)
    batch = tio.SubjectsBatch({"seg": tio.ImagesBatch(data, kind="label")})
    for transform in (
        tio.RandomLabelsToImage(used_labels=range(4)),
        tio.LabelsToImage(mean=[1, 2], std=[1, 1], used_labels=[1, 2]),
    ):
        assert transform(batch).image_from_labels.data.device.type == "meta"


def test_pickling_and_serialization():
    s = labelled_subject()
    out = tio.RandomLabelsToImage(used_labels=[1, 2], p=1)(s)
    record = out.get_composed_history()[0].to_dict()
    again = tio.from_dict(record)(s)
    assert torch.equal(again.image_from_labels.data, out.image_from_labels.data)


def test_gradients_reach_the_parameters():
    s = labelled_subject(shape=(3, 4, 3))
    mean, std = (torch.rand(4, dtype=torch.float64, requires_grad=True) for _ in range(2))

    def run(m, s_):
        t1 = tio.ScalarImage(torch.zeros(s.seg.shape, dtype=torch.float64))
        both = tio.Subject(t1=t1, seg=tio.LabelMap(s.seg.data))
        return tio.LabelsToImage("seg", m, s_, image_key="t1")(both).t1.data

    assert torch.autograd.gradcheck(run, (mean, std))


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda s: tio.LabelsToImage("seg"), "mean must have one entry per label"),
        (
            lambda s: tio.LabelsToImage("seg", [1, 2], [1]),
            "mean and std must have one entry per label",
        ),
        (lambda s: tio.LabelsToImage("seg", [1], [-1]), "std must be >= 0"),
        (
            lambda s: tio.LabelsToImage("seg", [1], [1], used_labels=[1, 2]),
            "2 entries, for used_labels, or > 2, got 1",
        ),
        (lambda s: tio.LabelsToImage("seg", [1], [1])(s), r"labels \[1, 2\] have no mean or std"),
        (
            lambda s: tio.LabelsToImage("seg", [1] * 3, [1] * 3, "seg")(s),
            "must not name a label map",
        ),
        (lambda s: tio.RandomLabelsToImage("seg", mean=[1, 2])(s), r"labels \[2\] have no mean"),
        (lambda s: tio.RandomLabelsToImage("seg", std=[1, 2])(s), r"labels \[2\] have no std"),
        (
            lambda s: tio.RandomLabelsToImage("seg", [5], mean=[1, 2]),
            "mean must have 1 entries, for",
        ),
        (lambda s: tio.RandomLabelsToImage(std=[(-1, 1)]), "std must be >= 0"),
        (lambda s: tio.RandomLabelsToImage(default_mean=(2, 1)), "default_mean must be a range"),
        (lambda s: tio.RandomLabelsToImage(used_labels=[1, 1]), "used_labels must differ"),
        (lambda s: tio.RandomLabelsToImage(used_labels=[-1]), "used_labels must be integers >= 0"),
    ],
)
def test_bad_arguments_are_named(run, message):
    with pytest.raises(ValueError, match=message):
        run(subject())


def test_a_missing_label_map_is_named():
    with pytest.raises(KeyError, match="needs the label map 'brain'"):
        tio.RandomLabelsToImage("brain")(subject())
    with pytest.raises(TypeError, match="label_key must be a string"):
        tio.RandomLabelsToImage(4)


class TestShares:
    """Partial volumes without a background; missing shares count as 0."""

    MEANS: ClassVar = {"mean": [10.0, 100.0], "std": [0.0, 0.0]}
    SHARES = torch.tensor([[1, 0.75, 0.25, 0], [0, 0.25, 0.15, 0.1]]).view(2, 1, 1, 4)

    def image(self, shares, p=1, batch=1, **options):
        subject = tio.Subject(seg=tio.LabelMap(shares))
        return tio.LabelsToImage("seg", **{**self.MEANS, **options}, p=p)(subject)

    def test_of_several_labels(self):
        out = self.image(self.SHARES).image_from_labels.data.flatten()
        assert out.tolist() == pytest.approx([10, 32.5, 17.5, 10])

    def test_of_several_samples_if_some_are_skipped(self):
        batch = tio.SubjectsBatch.from_subjects([tio.Subject(seg=tio.LabelMap(self.SHARES))] * 8)
        out = tio.LabelsToImage("seg", **self.MEANS, p=0.5)(batch).image_from_labels.data
        sums = {round(each.sum().item(), 3) for each in out}
        assert sums == {0.0, 70.0}

    def test_of_one_label(self):
        shares = torch.tensor([0.9, 0.75, 0.25, 0.1]).view(1, 1, 1, 4)
        out = self.image(shares, mean=[10.0], std=[0.0]).image_from_labels.data.flatten()
        assert out.tolist() == pytest.approx([9, 7.5, 2.5, 1])
        out = tio.RandomLabelsToImage("seg", default_mean=10.0, default_std=0.0)(
            tio.Subject(seg=tio.LabelMap(shares))
        )
        assert out.image_from_labels.data.flatten().tolist() == pytest.approx([9, 7.5, 2.5, 1])

    def test_the_background_is_used_where_labels_sum_to_less_than_half(self):
        below = tio.ScalarImage(torch.full((1, 1, 1, 4), 7.0))
        subject = tio.Subject(seg=tio.LabelMap(self.SHARES), image_from_labels=below)
        out = tio.LabelsToImage("seg", **self.MEANS)(subject).image_from_labels.data.flatten()
        assert out.tolist() == pytest.approx([10, 32.5, 7, 7])

    @pytest.mark.parametrize("odd", [float("nan"), 1.0000001, -1e-9, 1.1])
    def test_nan_and_out_of_range_shares_are_kept(self, odd):
        shares = torch.tensor([odd, 0.75, 0.25, 0.1]).view(1, 1, 1, 4)
        made = tio.LabelsToImage("seg", mean=[10, 100], std=[0, 0])
        out = made(tio.Subject(seg=tio.LabelMap(shares))).image_from_labels.data.flatten()
        torch.testing.assert_close(out, 10 * shares.flatten(), equal_nan=True)

    @pytest.mark.parametrize("background", [False, True])
    def test_a_sample_does_not_depend_on_other_samples(self, background):
        """One sample has shares, and another one labels stored as floats."""
        maps = [[1.0, 1, 0, 0], [0.9, 0.75, 0.25, 0.1], [0, 0, 0, 0], [0, 1, 0.5, 0]]
        subjects = []
        for n, each in enumerate(maps):
            images = {"seg": tio.LabelMap(torch.tensor(each).view(1, 1, 1, 4))}
            if background:
                images["image_from_labels"] = tio.ScalarImage(torch.full((1, 1, 1, 4), 5.0 + n))
            subjects.append(tio.Subject(images))
        for made in (
            tio.LabelsToImage("seg", mean=[10, 100], std=[0, 0]),
            tio.LabelsToImage("seg", mean=[10, 100], std=[0, 0], ignore_background=True),
            tio.RandomLabelsToImage("seg"),
        ):
            together = tio.SubjectsBatch.from_subjects(subjects)
            together.streams = tio.random.Streams(np.arange(4))
            out = made(together).image_from_labels.data
            for n, one in enumerate(subjects):
                alone = tio.SubjectsBatch.from_subjects([one])
                alone.streams = tio.random.Streams(np.array([n]))
                torch.testing.assert_close(made(alone).image_from_labels.data[0], out[n])

    def test_labels_that_a_file_stores_as_floats_stay_labels(self):
        labels = torch.tensor([0.0, 1, 1, 0]).view(1, 1, 1, 4)
        assert self.image(labels).image_from_labels.data.flatten().tolist() == [10, 100, 100, 10]
