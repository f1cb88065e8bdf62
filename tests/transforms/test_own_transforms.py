"""Transforms of the user in the style of TorchIO 1, functions, and transforms of MONAI."""

import warnings

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import torchio_gpu as tio


class AddMean(tio.IntensityTransform):
    """Adds the mean, so that the result depends on what came before."""

    def __init__(self, times=1, **kwargs):
        super().__init__(**kwargs)
        self.times = times

    def apply_transform(self, subject):
        for image in self.get_images(subject):
            image.set_data(image.data + self.times * image.data.double().mean())
        return subject


class Shift(tio.SpatialTransform):
    """Rolls content, and can be undone, as TorchIO 1 does it."""

    def __init__(self, by, **kwargs):
        super().__init__(**kwargs)
        self.by, self.invert_transform = by, False

    def apply_transform(self, subject):
        for image in self.get_images(subject):
            image.set_data(image.data.roll(-self.by if self.invert_transform else self.by, 1))
        return subject


class RandomTwo(tio.RandomTransform, tio.IntensityTransform, tio.FourierTransform):
    """Draws, and leaves the work to a transform with given parameters."""

    def apply_transform(self, subject):
        return tio.Gamma(float(torch.rand(()) + 1))(subject)


class Mask(tio.Transform):
    """Adds an image, and removes another."""

    def apply_transform(self, subject):
        subject.add_image(
            tio.LabelMap((subject.t1.data > 0.5).int(), affine=subject.t1.affine), "m"
        )
        del subject["seg"]
        return subject


def subject(seed=0, shape=(6, 5, 4)):
    torch.manual_seed(seed)
    return tio.Subject(
        t1=tio.ScalarImage(torch.rand(1, *shape)),
        seg=tio.LabelMap(torch.randint(0, 3, (1, *shape))),
        age=seed,
    )


def batch():
    return tio.SubjectsBatch.from_subjects([subject(0), subject(1), subject(2)])


def same(a, b):
    assert list(a) == list(b)
    for name in a:
        if isinstance(a[name], tio.Image):
            torch.testing.assert_close(a[name].data, b[name].data, rtol=0, atol=1e-6)


@pytest.mark.parametrize("own", [AddMean(), Shift(2), Mask(), tio.Compose([Shift(1), AddMean(2)])])
def test_samples_of_a_batch_are_transformed_as_single_subjects(own):
    out = own(batch())
    for n, sample in enumerate(out.unbatch()):
        same(sample, own(subject(n)))
        assert sample.age == n


def test_the_input_stays_as_it_was():
    class Zero(tio.Transform):
        def apply_transform(self, subject):
            subject.t1.data.zero_()
            subject.age = 9
            return subject

    s = subject()
    before = s.t1.data.clone()
    out = Zero()(s)
    assert torch.equal(s.t1.data, before)
    assert s.age == 0
    assert out.age == 9
    assert not out.t1.data.any()


def test_include_exclude_p_and_keep():
    s = subject()
    s.add_image(tio.ScalarImage(2 * s.t1.data), "t2")
    out = AddMean(include=["t1"], keep={"t1": "before"})(s)
    assert torch.equal(out.before.data, s.t1.data)
    assert torch.equal(out.t2.data, s.t2.data)
    torch.testing.assert_close(out.t1.data, s.t1.data + s.t1.data.mean())
    assert torch.equal(AddMean(p=0)(s).t1.data, s.t1.data)
    out = AddMean(p=0.5)(tio.SubjectsBatch.from_subjects([s] * 40))
    changed = [not torch.equal(x, s.t1.data) for x in out.t1.data]
    assert 5 < sum(changed) < 35
    assert [len(history) for history in out.history] == changed


def test_steps_after_one_see_the_images_that_it_added_and_removed():
    augment = tio.Compose([tio.Flip(0), Mask(), tio.Flip(1), tio.RandomNoise(include=["t1"])])
    out = augment(subject())
    assert list(out.get_images_names()) == ["t1", "m"]
    expected = tio.Flip(1)(Mask()(tio.Flip(0)(subject())))
    assert torch.equal(out.m.data, expected.m.data)
    assert [record.name for record in out.history] == ["Flip", "Mask", "Flip", "RandomNoise"]


def test_random_numbers_of_other_steps_do_not_depend_on_it():
    plain = [tio.RandomNoise(), tio.RandomGamma()]
    torch.manual_seed(5)
    first = tio.Compose(plain)(batch())
    torch.manual_seed(5)
    second = tio.Compose([*plain, lambda s: s])(batch())
    assert torch.equal(first.t1.data, second.t1.data)


def test_history_repeats_and_undoes():
    augment = tio.Compose([tio.Flip(0), Shift(2), tio.Crop(1), AddMean()])
    s = subject()
    out = augment(s)
    same(out.get_composed_history()(s), out)
    with pytest.warns(RuntimeWarning, match="AddMean cannot be undone"):
        back = out.apply_inverse_transform()
    assert back.shape == s.shape
    for name in ("t1", "seg"):
        undone = tio.Flip(0)(Shift(-2)(tio.Pad(1)(out[name])))
        assert torch.equal(back[name].data, undone.data)


def test_the_map_of_a_step_that_may_move_content_is_not_known():
    out = tio.Compose([tio.Flip(0), AddMean()])(subject())
    assert out.applied_map("t1").affine[0, 0] == -1
    with pytest.raises(ValueError, match="Shift may have moved it"):
        Shift(1)(subject()).applied_map("t1")
    kept = tio.Compose([tio.Flip(0), flipped, Shift(1)], exclude=["seg"])(subject())
    np.testing.assert_array_equal(kept.applied_map("seg").affine, np.eye(4))


def test_a_random_one_is_recorded_as_the_transforms_that_it_applied():
    out = RandomTwo()(subject())
    assert [record.name for record in out.history] == ["Gamma"]
    same(out.get_composed_history()(subject()), out)
    back = out.apply_inverse_transform()
    torch.testing.assert_close(back.t1.data, subject().t1.data)


def test_repeating_what_draws_by_itself_warns():
    class Draws(tio.RandomTransform):
        def apply_transform(self, subject):
            subject.t1.set_data(subject.t1.data * self.sample_uniform(1, 2))
            return subject

    out = Draws()(subject())
    with pytest.warns(RuntimeWarning, match="Draws may draw numbers of its own"):
        out.get_composed_history()(subject())


def test_functions_in_compositions():
    def halve(subject):
        subject["t1"].set_data(subject["t1"].data / 2)
        return subject

    s = subject()
    for augment in (
        tio.Compose([halve]),
        tio.OneOf([halve]),
        tio.SomeOf([halve], 1),
        tio.OneOf({halve: 1, tio.RandomNoise(): 0}),
        tio.Compose([tio.OneOf({tio.Compose([halve]): 1})]),
    ):
        same(augment(s), halve(subject()))
        assert torch.equal(augment(batch()).t1.data, batch().t1.data / 2)
        assert repr(augment)
    nested = tio.Compose([lambda s: tio.Flip(0)(s)])(s)
    assert [record.name for record in nested.history] == ["Flip"]
    same(nested.apply_inverse_transform(), s)


def test_functions_in_branches_change_the_samples_that_chose_them():
    def zero(subject):
        subject.t1.set_data(0 * subject.t1.data)
        return subject

    torch.manual_seed(0)
    out = tio.OneOf({zero: 1, tio.Gamma(1.0): 1})(tio.SubjectsBatch.from_subjects([subject()] * 50))
    zeros = (out.t1.data == 0).flatten(1).all(1)
    assert 10 < zeros.sum() < 40
    assert torch.equal(out.t1.data[~zeros], subject().t1.data.expand(50, -1, -1, -1, -1)[~zeros])


def test_a_composition_hides_the_images_that_it_excludes():
    seen = []

    def look(subject):
        seen.append(list(subject.get_images_names()))
        return subject

    out = tio.Compose([look], exclude=["seg"])(subject())
    assert seen == [["t1"]]
    same(out, subject())
    tio.Compose([look], include=["t1"], exclude=["seg"])(subject())
    tio.Compose([look], exclude=["seg", "t1"])(subject())
    assert seen == [["t1"], ["t1"]]


def plus_one(subject):
    for image in subject.get_images():
        image.set_data(image.data + 1)
    return subject


def flipped(subject):
    return tio.Flip(0)(subject)


@pytest.mark.parametrize(
    "augment",
    [
        tio.Compose([plus_one], exclude=["t2"]),
        tio.Compose([tio.Compose([plus_one])], include=["t1"]),
        tio.SubjectFunction(plus_one, include=["t1"]),
        tio.SubjectFunction(flipped, exclude=["t2", "seg"]),
        tio.Compose([flipped], include=["t1"]),
        tio.MonaiAdapter(lambda x: x + 1, include=["t1"]),
    ],
)
def test_images_that_are_left_out_stay_so_when_a_history_is_repeated_or_undone(augment):
    s = subject()
    s.add_image(tio.ScalarImage(2 * s.t1.data), "t2")
    out = augment(s)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of what may draw, or is not undone
        again, back = out.get_composed_history()(s), out.apply_inverse_transform()
    assert not torch.equal(out.t1.data, s.t1.data)
    assert torch.equal(again.t1.data, out.t1.data)
    for each in out, again, back:
        assert torch.equal(each.t2.data, s.t2.data)
        assert torch.equal(each.seg.data, s.seg.data)


@pytest.mark.parametrize("own", [AddMean, lambda **more: tio.Compose([plus_one], **more)])
def test_images_that_are_kept_stay_as_they_are(own):
    out = own(keep={"t1": "before"})(subject())
    assert torch.equal(out.before.data, subject().t1.data)
    assert not torch.equal(out.t1.data, out.before.data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        again = out.get_composed_history()(out)
    assert torch.equal(again.before.data, subject().t1.data)


def test_wrong_results_are_named():
    def nothing(subject):
        pass

    with pytest.raises(TypeError, match="nothing must return a Subject, got NoneType"):
        tio.Compose([nothing])(subject())

    def grow(subject):
        return tio.Pad(subject.age)(subject)

    assert tio.Compose([grow])(subject(2)).spatial_shape == (10, 9, 8)
    with pytest.raises(ValueError, match=r"grow changed samples of a batch: .*shape"):
        tio.Compose([grow])(batch())
    rename = tio.Compose([lambda s: tio.Subject(other=s.get_first_image())])
    with pytest.raises(ValueError, match=r"without its image, got \['other'\]"):
        rename(torch.zeros(1, 2, 2, 2))

    class Plain(tio.Transform):
        def draw(self, context, u):
            return tio.Params()

    with pytest.raises(TypeError, match="Plain must derive from a kind of transform"):
        Plain()


def test_tensors_arrays_and_dicts():
    x = torch.rand(2, 1, 4, 4, 4)
    expected = x + x.flatten(1).mean(1).view(-1, 1, 1, 1, 1)
    torch.testing.assert_close(AddMean()(x), expected)
    torch.testing.assert_close(AddMean()(x[0]), expected[0])
    np.testing.assert_allclose(AddMean()(x[0].numpy()), expected[0], atol=1e-6)
    torch.testing.assert_close(AddMean()({"a": x, "b": 3})["a"], expected)
    names = []
    tio.Compose([lambda s: names.append(list(s)) or s])(x)
    assert names == [["default_image_name"]] * 2


def test_gradients_flow_through():
    x = torch.rand(2, 1, 3, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(tio.Compose([AddMean(), tio.Gamma(2.0)]), (x,))


def test_points_go_along():
    s = subject()
    s["tip"] = tio.Points(torch.tensor([[1.0, 2, 3]]))

    def push(subject):
        subject["tip"] = tio.Points(subject["tip"].data + 1)
        return subject

    out = tio.Compose([tio.Affine(1, 0, (1, 0, 0)), push, tio.Affine(1, 0, (0, 1, 0))])(s)
    torch.testing.assert_close(out.tip.data, torch.tensor([[3.0, 4, 4]]))


def test_explain_says_where_a_pass_ends():
    augment = tio.Compose([tio.RandomAffine(), AddMean(), tio.RandomFlip(), tio.RandomNoise()])
    assert augment.explain().splitlines() == [
        "spatial: RandomAffine  (ends: AddMean takes one subject at a time)",
        "subject: AddMean  (ends: RandomFlip is spatial)",
        "spatial: RandomFlip  (ends: RandomNoise is pointwise)",
        "pointwise: RandomNoise  (ends: end of the pipeline)",
    ]
    assert augment.explain(subject()).count("subject: AddMean") == 1


@pytest.mark.parametrize("workers", [0, 2])
def test_in_loaders_and_queues(workers):
    augment = tio.Compose([tio.ToCanonical(), AddMean(), _scale, tio.RandomNoise()])
    dataset = tio.SubjectsDataset([subject(n) for n in range(4)], transform=augment)
    for loader in (
        tio.SubjectsLoader(dataset, batch_size=2, num_workers=workers),
        DataLoader(dataset, batch_size=2, num_workers=workers),
    ):
        batches = list(loader)
        assert [len(b) for b in batches] == [2, 2]
        names = [record.name for record in batches[1].history[1]]
        assert names == ["ToCanonical", "AddMean", "_scale", "RandomNoise"]
    queue = tio.Queue(dataset, tio.UniformSampler(3), 8, 2, num_workers=workers)
    assert sum(len(b) for b in tio.SubjectsLoader(queue, batch_size=4)) == 8


def _scale(subject):
    subject.t1.set_data(10 * subject.t1.data)
    return subject


def test_device_queue_runs_it_on_whole_volumes():
    subjects = [subject(n) for n in range(3)]
    augment = tio.Compose([tio.RandomFlip(), AddMean(), tio.RandomGamma((0.1, 0.2))])
    queue = tio.DeviceQueue(subjects, tio.UniformSampler(3), augment, 3, 2, device="cpu")
    before, after = queue.explain().split("for each patch:")
    assert "AddMean" in before
    assert "RandomGamma" in after
    only = tio.DeviceQueue(subjects, tio.UniformSampler(3), AddMean(), 3, 2, device="cpu")
    for patches in only:
        for patch in patches.unbatch():
            i, j, k = patch.patch_location.index_ini
            whole = AddMean()(subjects[patch.age])
            assert torch.equal(patch.t1.data, whole.t1.data[:, i : i + 3, j : j + 3, k : k + 3])


def test_monai_transforms_in_compositions():
    monai = pytest.importorskip("monai.transforms")
    s = subject()
    s.t1.affine = np.diag([2.0, 1, 1, 1])
    s.seg.affine = np.diag([2.0, 1, 1, 1])
    augment = tio.Compose([monai.Flipd(["t1", "seg"], 0), tio.Gamma(1.0)])
    out = augment(s)
    assert torch.equal(out.t1.data, s.t1.data.flip(1))
    assert out.t1.affine[0, 0] == -2
    assert out.seg.type == "label"
    assert type(out.t1.data) is torch.Tensor
    cropped = tio.Compose([monai.CenterSpatialCropd(["t1", "seg"], [2, 3, 4])])(s)
    assert cropped.spatial_shape == (2, 3, 4)
    np.testing.assert_array_equal(cropped.t1.origin, [4, 1, 0])
    array = tio.MonaiAdapter(monai.ScaleIntensity(0, 1), include=["t1"])(batch())
    flat = array.t1.data.flatten(1)
    assert flat.min(1).values.tolist() == [0] * 3
    assert flat.max(1).values.tolist() == [1] * 3
    assert torch.equal(array.seg.data, batch().seg.data)
    both = tio.Compose([monai.Compose([monai.Flipd("t1", 0), monai.Flipd("t1", 1)])])(s)
    assert torch.equal(both.t1.data, s.t1.data.flip(1, 2))
    assert out.history[0].name == "MonaiAdapter"


def test_monai_randomness_and_new_keys_are_said():
    monai = pytest.importorskip("monai.transforms")
    s = subject()
    with pytest.warns(RuntimeWarning, match=r"draws other numbers for each of \['t1', 'seg'\]"):
        tio.MonaiAdapter(monai.RandFlip(prob=0.5))(s)
    out = tio.MonaiAdapter(monai.RandFlipd("t1", prob=0.5))(s)
    with pytest.warns(RuntimeWarning, match="MonaiAdapter may draw"):
        out.get_composed_history()(s)
    copied = tio.MonaiAdapter(monai.CopyItemsd(["t1", "age"], names=["t2", "years"]))(s)
    assert isinstance(copied.t2, tio.ScalarImage)
    assert torch.equal(copied.t2.data, s.t1.data)
    assert copied.years == 0
    gone = tio.MonaiAdapter(monai.DeleteItemsd("seg"))(s)
    assert gone.get_images_names() == ["t1"]
    with pytest.raises(TypeError, match="must return one sample, got 3: take num_samples=1"):
        tio.MonaiAdapter(monai.RandSpatialCropSamplesd("t1", [2, 2, 2], 3))(s)


def test_monai_cannot_undo_what_was_moved_before_a_function():
    data = pytest.importorskip("monai.data")
    x = data.MetaTensor(torch.rand(1, 4, 4, 4))
    out = tio.Compose([tio.Flip(0), AddMean()])(x)
    assert [entry["class"] for entry in out.applied_operations] == ["torchio_gpu.Flip"]
    out = tio.Compose([tio.Gamma(1.0), AddMean()])({"x": x})["x"]
    assert out.applied_operations == []


def test_named_transforms_and_changes_of_the_list():
    flip, noise = tio.Flip(0), tio.RandomNoise()
    augment = tio.Compose({"flip": flip, "noise": noise})
    assert augment["flip"] is flip
    assert augment[1] is noise
    with pytest.raises(KeyError, match=r"no transform is named 'x'; names are \['flip', 'noise'\]"):
        augment["x"]
    with pytest.raises(TypeError, match="names that are strings, got 3"):
        tio.Compose({3: flip})
    x = torch.rand(1, 3, 3, 3)
    outer = tio.Compose([augment])
    assert not torch.equal(outer(x), x.flip(1))
    augment.transforms.remove(noise)
    assert torch.equal(outer(x), x.flip(1))
    augment.transforms.append(lambda s: tio.Flip(1)(s))
    assert torch.equal(outer(x), x.flip(1, 2))
    augment.transforms[0] = tio.Flip(2)
    assert torch.equal(outer(x), x.flip(2, 3))
    augment.transforms = [flip]
    assert torch.equal(augment(x), x.flip(1))


@pytest.mark.parametrize(
    ("transform", "tolerance"),
    [
        (tio.Affine(1.2, 10, 1), None),
        (tio.Flip((0, 2)), 0),
        (tio.Gamma(1.5), 1e-6),
        (tio.Noise(0.1, 0.2, seed=3), 1e-6),
        (tio.Pad(2), 0),
        (tio.Transpose(), 0),
        (tio.RemapLabels({1: 2, 2: 1}), 0),
    ],
)
def test_inverses_of_deterministic_transforms(transform, tolerance):
    smooth = torch.linspace(0, 1, 12).view(1, 12, 1, 1).expand(1, 12, 12, 12).contiguous()
    s = tio.Subject(t1=tio.ScalarImage(smooth), seg=tio.LabelMap((smooth * 2).round().int()))
    assert transform.is_invertible()
    out = transform(s)
    back = transform.inverse()(out)
    centre = (slice(None), *[slice(4, 8)] * 3)
    torch.testing.assert_close(
        back.t1.data[centre],
        s.t1.data[centre],
        rtol=0,
        atol=1e-3 if tolerance is None else tolerance,
    )
    assert back.shape == s.shape
    again = transform.inverse().inverse()(s)
    torch.testing.assert_close(again.t1.data, out.t1.data)
    same(tio.Compose([transform]).inverse()(out), back)


def test_inverses_that_arguments_do_not_give_are_refused():
    for transform in (
        tio.RandomAffine(), tio.Resample(2), tio.ToCanonical(), tio.ZNormalization(),
    ):  # fmt: skip
        with pytest.raises(RuntimeError, match="cannot be undone from its arguments alone"):
            transform.inverse()
    cropped = tio.Crop(1).inverse()
    assert isinstance(cropped, tio.Pad)
    assert cropped(torch.ones(1, 2, 2, 2)).shape == (1, 4, 4, 4)


def test_fourier_transforms_are_inverse():
    x = torch.rand(1, 4, 5, 6)
    k = tio.FourierTransform.fourier_transform(x)
    assert k[0, 2, 2, 3].abs() == pytest.approx(float(x.sum()), rel=1e-5)
    torch.testing.assert_close(tio.FourierTransform.inv_fourier_transform(k).real, x)


def test_graphs_refuse_what_takes_a_subject():
    for taking in (AddMean(), tio.Compose([tio.Flip(0), tio.OneOf([lambda s: s])])):
        with pytest.raises(ValueError, match="must not hold functions of a subject"):
            tio.Captured(taking)


def test_an_inverse_can_be_repeated_with_another_interpolation():
    s = subject(shape=(8, 8, 8))
    out = tio.Affine(1, (0, 0, 20), 0).inverse()(s)
    nearest = out.get_composed_history(image_interpolation="nearest")(s)
    assert set(nearest.t1.data.unique().tolist()) <= set(s.t1.data.unique().tolist())
    assert not torch.equal(nearest.t1.data, out.t1.data)


def test_in_compiled_functions():
    augment = tio.Compose([tio.Flip(0), AddMean()])
    x = torch.rand(2, 1, 4, 4, 4)
    compiled = torch.compile(lambda y: augment(y) * 2, backend="eager")
    torch.testing.assert_close(compiled(x), 2 * augment(x))
