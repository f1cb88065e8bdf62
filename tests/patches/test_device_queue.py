"""Device queue: patches, volume transforms, weighted sampling and the cache of subjects."""

import copy
import pickle
import threading
from collections import Counter

import numpy as np
import pytest
import torch

import torchio_gpu as tio
from tests.volumes import smooth, subject
from torchio_gpu.patches.training.cache import SubjectCache
from torchio_gpu.patches.training.cached_subject import CachedSubject

SHAPE, SIZE = (14, 16, 18), (6, 5, 4)
PIPELINE = tio.Compose(
    [
        tio.RandomAffine(scales=0.1, degrees=15, translation=2),
        tio.RandomElasticDeformation(max_displacement=0.5),
        tio.RandomFlip(axes=(0, 1, 2)),
        tio.RandomBiasField(),
        tio.RandomGamma(),
        tio.RandomNoise(),
    ]
)


def subjects(count=5, shape=SHAPE):
    """Return subjects with different voxels and a number each."""
    out = []
    for n in range(count):
        one = subject(shape, seed=n)
        one["number"] = n
        out.append(one)
    return out


def queue(*args, **kwargs):
    kwargs = {"device": "cpu", "seed": 3, **kwargs}
    return tio.DeviceQueue(subjects(), tio.UniformSampler(SIZE), *args, **kwargs)


def numbers(batches):
    return [n for batch in batches for n in batch.metadata["number"]]


class TestEpoch:
    def test_every_subject_gives_its_patches(self):
        source = queue(PIPELINE, batch_size=2, patches_per_volume=3)
        batches = list(source)
        assert len(source) == len(batches) == 9
        assert Counter(numbers(batches)) == dict.fromkeys(range(5), 3)
        assert [batch.batch_size for batch in batches] == [2] * 6 + [1] * 3
        for batch in batches:
            assert len(set(batch.metadata["number"])) == batch.batch_size
            assert batch.t1.shape[1:] == (1, *SIZE)
            assert (batch.t1.data.dtype, batch.seg.data.dtype) == (torch.float32, torch.uint8)
            assert batch["location"].shape == (batch.batch_size, 6)

    def test_drop_last(self):
        source = queue(batch_size=2, patches_per_volume=3, drop_last=True)
        assert len(source) == len(list(source)) == 6

    def test_without_a_transform_patches_are_regions(self):
        originals = subjects()
        seen = set()
        for batch in queue(batch_size=3, patches_per_volume=4):
            for n, patch in enumerate(batch.unbatch()):
                original = originals[patch.number]
                i, j, k = batch.patch_location[n].to_slices()
                for name in ("t1", "seg"):
                    part = original[name][i, j, k]
                    assert torch.equal(patch[name].data, part.data)
                    np.testing.assert_allclose(patch[name].affine, part.affine, atol=1e-9)
                assert patch.age == 45
                seen.add((patch.number, batch.patch_location[n].index))
        assert len(seen) > 15

    def test_epochs_differ_and_are_functions_of_the_seed(self):
        source = queue(PIPELINE, batch_size=2)
        first, second = ([batch.t1.data for batch in source] for _ in range(2))
        again = [batch.t1.data for batch in queue(PIPELINE, batch_size=2)]
        source.set_epoch(1)
        later = [batch.t1.data for batch in source]
        for a, b, c, d in zip(first, second, again, later, strict=True):
            assert torch.equal(a, c)
            assert torch.equal(b, d)
            assert not torch.equal(a, b)

    def test_transforms_of_the_dataset_are_functions_of_the_seed(self):
        def run():
            dataset = tio.SubjectsDataset(subjects(2), transform=tio.RandomNoise())
            state = torch.get_rng_state()
            source = tio.DeviceQueue(dataset, tio.UniformSampler(SIZE), device="cpu", seed=2)
            out = [batch.t1.data for batch in source]
            assert torch.equal(torch.get_rng_state(), state)
            torch.manual_seed(8)  # which must not matter
            return out

        first, second = run(), run()
        assert all(map(torch.equal, first, second))

    def test_is_a_function_of_torch_manual_seed(self):
        def run():
            torch.manual_seed(5)
            return [batch.t1.data for batch in queue(PIPELINE, batch_size=2, seed=None)]

        assert all(map(torch.equal, run(), run()))

    def test_patches_do_not_depend_on_the_batch(self):
        """The patch of a subject is the same in batches of any size."""
        alone = {(b.metadata["number"][0], n): b.t1.data[0] for n, b in enumerate(queue(PIPELINE))}
        alone = {number: data for (number, _), data in alone.items()}
        for batch in queue(PIPELINE, batch_size=5):
            for number, data in zip(batch.metadata["number"], batch.t1.data, strict=True):
                # regions of a batch share a size, in which coordinates are rounded
                torch.testing.assert_close(data, alone[number], atol=1e-4, rtol=0)

    def test_volumes_of_different_shapes(self):
        mixed = [*subjects(2), *subjects(2, (20, 12, 15))]
        for n, one in enumerate(mixed):
            one["number"] = n
        sampler = tio.UniformSampler(SIZE)
        options = {"subject_sampler": [0, 2, 1, 3], "device": "cpu", "seed": 1}
        source = tio.DeviceQueue(mixed, sampler, PIPELINE, 4, 2, **options)
        apart = tio.DeviceQueue(mixed, sampler, PIPELINE, 1, 2, **options)
        expected = {}
        for batch in apart:
            expected.setdefault(batch.metadata["number"][0], []).append(batch)
        for n, batch in enumerate(source):
            assert batch.metadata["number"] == [0, 2, 1, 3]
            for sample, number in enumerate(batch.metadata["number"]):
                one = expected[number][n]
                assert batch.patch_location[sample] == one.patch_location[0]
                torch.testing.assert_close(
                    batch.t1.data[sample], one.t1.data[0], atol=1e-4, rtol=0
                )  # as above

    def test_subjects_that_differ_in_dtype_or_metadata(self):
        """A batch equals the batch of its single patches."""
        fine = tio.Subject(t1=tio.ScalarImage(torch.full((1, *SHAPE), 1000.75)), age=3)
        coarse = torch.full((1, *SHAPE), 100, dtype=torch.uint8)
        coarse = tio.Subject(t1=tio.ScalarImage(coarse), sex="f")
        sampler = tio.UniformSampler(SIZE)
        for order in ([0, 1], [1, 0]):
            (batch,) = tio.DeviceQueue(
                [fine, coarse], sampler, None, 2, device="cpu", subject_sampler=order
            )
            assert batch.t1.data.dtype == torch.float32
            assert [sample.flatten()[0].item() for sample in batch.t1.data] == [
                [1000.75, 100][n] for n in order
            ]
            assert batch.metadata["age"] == [[3, None][n] for n in order]
        other = tio.Subject(t1=fine.t1, sex="f")
        (batch,) = tio.DeviceQueue([fine, other], sampler, None, 2, device="cpu", seed=0)
        assert set(batch.metadata["sex"]) == {"f", None}
        label = tio.Subject(t1=tio.LabelMap(fine.t1.data))
        with pytest.raises(ValueError, match="must be of one type"):
            list(tio.DeviceQueue([fine, label], sampler, None, 2, device="cpu"))

    @pytest.mark.parametrize("fill", ["minimum", "mean"])
    @pytest.mark.parametrize("first", [[], [tio.CropOrPad(12)], [tio.Pad(2)], [tio.Resample(2)]])
    def test_volumes_are_not_stacked_for_each_patch(self, first, fill, monkeypatch):
        """Whole volumes are read once per subject, for fill values, and not for each patch."""
        from torchio_gpu.patches.training import cached_subject

        wanted = []
        data = cached_subject._Images.data
        monkeypatch.setattr(
            cached_subject._Images, "data", property(lambda s: wanted.append(s) or data.fget(s))
        )
        move = tio.RandomAffine(default_pad_value=fill)
        source = queue(tio.Compose([*first, move, tio.RandomNoise()]), patches_per_volume=2)
        list(source)
        assert len(wanted) <= 5  # once for each subject
        wanted.clear()
        list(source)
        assert not wanted

    def test_gradients_reach_the_volumes(self):
        voxels = torch.rand(1, *SHAPE, requires_grad=True)
        one = tio.Subject(t1=tio.ScalarImage(voxels))
        (batch,) = tio.DeviceQueue([one], tio.UniformSampler(SIZE), None, device="cpu")
        batch.t1.data.sum().backward()
        i, j, k = batch.patch_location[0].to_slices()
        expected = torch.zeros(1, *SHAPE)
        expected[:, i, j, k] = 1
        assert torch.equal(voxels.grad, expected)

    def test_subjects_are_not_changed(self):
        given = subjects()
        before = [copy.deepcopy(one) for one in given]
        list(tio.DeviceQueue(given, tio.UniformSampler(SIZE), PIPELINE, device="cpu"))
        for one, other in zip(given, before, strict=True):
            assert torch.equal(one.t1.data, other.t1.data)
            assert not one.history
            assert list(one.keys()) == list(other.keys())

    def test_history_lists_the_transforms(self):
        batch = next(iter(queue(PIPELINE, batch_size=2)))
        names = [record.transform.name for record in batch.history[1]]
        assert names == [transform.name for transform in PIPELINE]

    def test_replaying_the_history_on_the_volume_gives_the_patch(self):
        """Replay agrees also if the fill value depends on a random crop."""
        crops = [tio.Compose([tio.Crop(n), tio.Pad(n, padding_mode=50)]) for n in (1, 3, 4)]
        move = tio.RandomAffine(translation=6, degrees=10)
        (original,) = subjects(1, (16, 18, 20))
        ramp = torch.linspace(1, 30, 16)[:, None, None] + torch.linspace(1, 9, 20)
        original["t1"] = tio.ScalarImage(ramp[None].repeat(1, 1, 18, 1))
        original["seg"] = tio.LabelMap(original.t1.data > 7)
        source = tio.DeviceQueue(
            [original], tio.UniformSampler(SIZE), tio.Compose([tio.OneOf(crops), move]), 1, 30,
            device="cpu", seed=1,
        )  # fmt: skip
        cropped = set()
        for batch in source:
            (patch,) = batch.unbatch()
            cropped.add(patch.history[0].transform.cropping)
            i, j, k = patch.patch_location.to_slices()
            whole = patch.get_composed_history()(original)
            difference = (patch.t1.data - whole.t1.data[:, i, j, k]).abs()
            assert (difference > 1e-3).double().mean() < 0.01  # at the rim of what is in view
        assert cropped == {1, 3, 4}

    @pytest.mark.parametrize("first", [[], [tio.Blur(1e-3)]])
    def test_later_transforms_draw_other_numbers(self, first):
        batch = next(iter(queue(tio.Compose([*first, tio.RandomNoise()]), batch_size=2)))
        base = next(iter(queue(batch_size=2))).t1.data
        more = tio.RandomNoise()(batch)
        first, second = batch.t1.data - base, more.t1.data - batch.t1.data
        assert abs(torch.corrcoef(torch.stack([first.flatten(), second.flatten()]))[0, 1]) < 0.3

    @pytest.mark.parametrize("transform", [tio.RandomGamma(p=0), tio.RandomAffine(p=0), None])
    def test_dtypes_do_not_depend_on_random_decisions(self, transform):
        one = tio.Subject(t1=tio.ScalarImage(torch.randint(0, 99, (1, *SHAPE), dtype=torch.int16)))
        source = tio.DeviceQueue([one], tio.UniformSampler(SIZE), transform, device="cpu")
        expected = torch.int16 if transform is None else torch.float32
        assert [batch.t1.data.dtype for batch in source] == [expected]

    def test_fill_values_are_computed_once(self, monkeypatch):
        asked = []
        fill_value = tio.data.ImagesBatch.fill_value

        def spy(self, rule):
            asked.append(rule)
            return fill_value(self, rule)

        monkeypatch.setattr(tio.data.ImagesBatch, "fill_value", spy)
        source = queue(tio.RandomAffine(), batch_size=2, patches_per_volume=2)
        first, second = ([batch.t1.data for batch in source] for _ in range(2))
        assert len(first) == len(second)
        assert asked.count("minimum") == 5

    def test_gradients(self):
        angle = torch.tensor(4.0, requires_grad=True)
        source = queue(tio.Affine(degrees=torch.stack([angle, angle, angle])), batch_size=2)
        next(iter(source)).t1.data.square().sum().backward()
        assert angle.grad.abs() > 0


class TestVolumeTransforms:
    """Volume transforms are applied once for all patches of a volume."""

    def test_are_applied_once_for_several_patches(self):
        calls = []

        def spy(x):
            calls.append(tuple(x.shape))
            return x + 100

        transform = tio.Compose([tio.Lambda(spy, types_to_apply=["intensity"]), tio.RandomFlip()])
        batches = list(queue(transform, batch_size=2, patches_per_volume=3))
        assert len(calls) == 5
        assert all(shape[-3:] == SHAPE for shape in calls)
        assert all(batch.t1.data.min() > 50 for batch in batches)

    def test_patches_share_the_parameters_of_their_volume(self):
        source = queue(tio.RandomBlur(std=(0.5, 4)), patches_per_volume=40, batch_size=1)
        for _, batch in zip(range(1), source, strict=False):
            assert batch.t1.data.std() > 0
        blurred = {}
        for batch in queue(tio.RandomBlur(std=(0.5, 4)), patches_per_volume=40):
            record = batch.history[0][0]
            blurred.setdefault(batch.metadata["number"][0], set()).add(str(record.params))
        assert all(len(params) == 1 for params in blurred.values())
        assert len(set.union(*blurred.values())) == 5

    def test_of_transforms_that_change_the_grid(self):
        transform = tio.Compose([tio.Resample(2), tio.RandomBlur(), tio.RandomNoise()])
        batch = next(iter(queue(transform, batch_size=2)))
        np.testing.assert_allclose(tio.geometry.spacing(batch.t1.affine), 2)

    def test_explain(self):
        text = queue(tio.Compose([tio.RandomMotion(), tio.RandomFlip(), tio.RandomNoise()]))
        assert text.explain().splitlines() == [
            "for each volume:",
            "volume: RandomMotion  (ends: end of the pipeline)",
            "for each patch:",
            "spatial: RandomFlip  (ends: RandomNoise is pointwise)",
            "pointwise: RandomNoise  (ends: end of the pipeline)",
        ]


class TestWeightedSampling:
    def one(self):
        labels = torch.zeros(1, 24, 26, 28, dtype=torch.uint8)
        labels[0, 9:12, 13:16, 14:17] = 1
        labels[0, 16, 8, 20] = 2
        image = smooth((1, 1, 24, 26, 28))[0].float()
        return tio.Subject(t1=tio.ScalarImage(image), seg=tio.LabelMap(labels))

    def test_the_sampled_voxel_is_the_centre(self):
        sampler = tio.LabelSampler(7, "seg", {1: 1, 2: 1})
        source = tio.DeviceQueue([self.one()], sampler, None, 1, 60, device="cpu", seed=0)
        middle = [batch.seg.data[0, 0, 3, 3, 3].item() for batch in source]
        assert set(middle) == {1, 2}
        assert 15 < middle.count(2) < 45  # 30 and four standard deviations of 3.9

    def test_the_centre_follows_the_transform(self):
        sampler = tio.LabelSampler(7, "seg", {1: 1})
        transform = tio.Compose([tio.RandomAffine(scales=0.1, degrees=20), tio.RandomFlip((0, 1))])
        source = tio.DeviceQueue([self.one()], sampler, transform, 1, 60, device="cpu", seed=0)
        middle = [batch.seg.data[0, 0, 3, 3, 3].item() for batch in source]
        # a voxel at the rim of the 27 may round to a place beside it
        assert middle.count(1) > 45

    @pytest.mark.parametrize(
        ("transform", "size", "at"),
        [(tio.Pad(10), 12, (2, 10, 10)), (tio.CropOrPad(40), 24, (2, 10, 10)),
         (tio.Crop(4), 4, (6, 10, 10)), (tio.Flip((0,)), 5, (3, 10, 10))],
    )  # fmt: skip
    def test_possible_centres_are_those_of_the_transformed_volume(self, transform, size, at):
        labels = torch.zeros(1, 20, 20, 20, dtype=torch.uint8)
        labels[(0, *at)] = 1
        labels[0, 0, 0, 0] = isinstance(transform, tio.Crop)  # is cut off: never drawn
        one = tio.Subject(seg=tio.LabelMap(labels))
        sampler = tio.LabelSampler(size, "seg", {1: 1})
        for batch in tio.DeviceQueue([one], sampler, transform, 1, 8, device="cpu"):
            assert batch.seg.data[0, 0, size // 2, size // 2, size // 2] == 1

    def test_possible_centres_differ_with_a_random_flip(self):
        """A voxel too near one end for a patch may be a possible centre after a flip."""
        labels = torch.zeros(1, 16, 16, 16, dtype=torch.uint8)
        labels[0, 1, 8, 8] = labels[0, 14, 8, 8] = 1  # with patches of 4, from 2 to 14 is room
        one = tio.Subject(seg=tio.LabelMap(labels))
        flip = tio.RandomFlip((0,), flip_probability=0.5)
        source = tio.DeviceQueue([one], tio.LabelSampler(4, "seg"), flip, 1, 30, device="cpu")
        flipped = {batch.seg.data[0, 0, 2, 2, 2].item() for batch in source}
        assert flipped == {1}

    def test_patches_stay_in_the_volume(self):
        sampler = tio.LabelSampler(7, "seg", {1: 1})
        away = tio.Affine(translation=(40, 0, 0))
        source = tio.DeviceQueue([self.one()], sampler, away, 1, 3, device="cpu", seed=0)
        assert [batch.patch_location[0].index[0] for batch in source] == [24 - 7] * 3

    def test_weights_are_summed_up_once(self, monkeypatch):
        asked = []
        weights = tio.LabelSampler.weights
        monkeypatch.setattr(
            tio.LabelSampler, "weights", lambda *args: asked.append(args) or weights(*args)
        )
        sampler = tio.LabelSampler(7, "seg", {1: 1})
        source = tio.DeviceQueue([self.one()], sampler, tio.RandomNoise(), 1, 3, device="cpu")
        for _ in range(2):
            assert len(list(source)) == 3
        assert len(asked) == 1

    def test_a_probability_map_is_that_of_the_transformed_volume(self):
        """Weights are those of the volume as patches are cut from it."""
        weights = torch.zeros(1, 24, 26, 28)
        weights[0, 8, 9, 10] = 1
        one = self.one()
        one["w"] = tio.ScalarImage(weights)
        sampler = tio.WeightedSampler(5, "w")
        flip = tio.Compose([tio.Flip((0,)), tio.Blur(std=1e-3), tio.Noise(std=0)])
        source = tio.DeviceQueue([one], sampler, flip, 1, 2, device="cpu")
        for batch in source:
            assert batch.patch_location[0].index == (23 - 8 - 2, 9 - 2, 10 - 2)
            assert batch.w.data[0, 0, 2, 2, 2] > 0.9


class TestSubjectCache:
    def dataset(self, read=None):
        def load(one):
            if read is not None:
                read.append((one.number, threading.current_thread().name))
            return one

        return tio.SubjectsDataset(subjects(), transform=load)

    @pytest.mark.parametrize("threads", [0, 2])
    def test_a_subject_is_read_once(self, threads):
        read = []
        source = tio.DeviceQueue(
            self.dataset(read),
            tio.UniformSampler(SIZE),
            batch_size=2,
            device="cpu",
            num_workers=threads,
        )
        for _ in range(3):
            assert sorted(numbers(source)) == list(range(5))
        assert sorted(number for number, _ in read) == list(range(5))
        assert all(("SubjectCache" in name) == (threads > 0) for _, name in read)

    def test_the_memory_limit_decides_what_stays_on_the_host(self):
        size = CachedSubject(tio.SubjectsBatch.from_subjects(subjects(1))).bytes
        assert size == np.prod(SHAPE) * 5
        cache = SubjectCache(self.dataset(), torch.device("cpu"), memory=2 * size + size // 2)
        with cache.prefetching(0) as take:
            for index in range(5):
                (one,) = take([index], [index + 1] if index < 4 else [])
                assert one.batch.metadata["number"] == [index]
        assert (sorted(cache._on_device), sorted(cache._on_host)) == ([0, 1], [2, 3, 4])
        assert cache.used == 2 * size

    def test_subjects_on_the_host_are_moved_for_each_visit(self, monkeypatch):
        moved = []
        move = SubjectCache._to_device

        def spy(self, subject):
            moved.append(subject.batch.metadata["number"][0])
            return move(self, subject)

        monkeypatch.setattr(SubjectCache, "_to_device", spy)
        source = tio.DeviceQueue(
            self.dataset(), tio.UniformSampler(SIZE), device="cpu", memory=0, shuffle_subjects=False
        )
        for _ in range(2):
            assert numbers(source) == list(range(5))
        assert Counter(moved) == dict.fromkeys(range(5), 2)

    def test_subjects_on_the_device_are_moved_once(self, monkeypatch):
        moved = []
        move = SubjectCache._to_device
        monkeypatch.setattr(SubjectCache, "_to_device", lambda s, r: moved.append(r) or move(s, r))
        source = tio.DeviceQueue(self.dataset(), tio.UniformSampler(SIZE), device="cpu")
        for _ in range(2):
            numbers(source)
        assert len(moved) == 5

    @pytest.mark.parametrize("threads", [0, 2])
    def test_a_broken_subject_is_named(self, threads, tmp_path):
        path = tmp_path / "broken.nii.gz"
        path.write_bytes(b"no image")
        broken = tio.Subject(t1=tio.ScalarImage(path), name="patient 7")
        source = tio.DeviceQueue(
            [*subjects(2), broken], tio.UniformSampler(SIZE), device="cpu", num_workers=threads
        )
        with pytest.raises(RuntimeError, match=r"subject 2 \(patient 7, .*broken\.nii\.gz\)"):
            list(source)
        assert not [t for t in threading.enumerate() if "SubjectCache" in t.name]

    def test_an_interrupted_loop_ends_its_threads(self):
        source = tio.DeviceQueue(
            self.dataset(), tio.UniformSampler(SIZE), device="cpu", num_workers=2
        )
        batches = iter(source)
        next(batches)
        batches.close()
        assert not [t for t in threading.enumerate() if "SubjectCache" in t.name]


class TestBadInput:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"patch_sampler": tio.GridSampler(patch_size=4)}, "patch_sampler must be"),
            (
                {"patch_sampler": tio.UniformSampler(4, padding_mode="edge")},
                "without padding.*'edge'",
            ),
            ({"transform": lambda x: x}, "transform must be a Transform"),
            ({"batch_size": 0}, "batch_size must be a whole number >= 1, got 0"),
            ({"patches_per_volume": 1.5}, "patches_per_volume must be"),
            ({"num_workers": -1}, "num_workers must be"),
            ({"memory": -1}, "memory must be"),
            ({"subject_sampler": [0], "shuffle_subjects": True}, "shuffle_subjects must not"),
        ],
    )
    def test_is_refused_by_the_constructor(self, change, message):
        given = {"subjects": subjects(1), "patch_sampler": tio.UniformSampler(4), "device": "cpu"}
        with pytest.raises((TypeError, ValueError), match=message):
            tio.DeviceQueue(**{**given, **change})

    def test_a_patch_larger_than_a_volume(self):
        source = tio.DeviceQueue(subjects(1), tio.UniformSampler(15), device="cpu")
        with pytest.raises(ValueError, match=r"patch_size must be at most .*\(14, 16, 18\)"):
            list(source)

    def test_images_in_different_spaces(self):
        one = subject(SHAPE)
        one["other"] = tio.ScalarImage(torch.rand(1, 5, 5, 5))
        source = tio.DeviceQueue([one], tio.UniformSampler(4), device="cpu")
        with pytest.raises(RuntimeError, match="share a spatial shape"):
            list(source)

    def test_a_subject_sampler_sets_the_order(self):
        source = queue(subject_sampler=[3, 1])
        assert len(source) == 2
        assert numbers(source) == [3, 1]


def test_it_can_be_pickled_before_use():
    source = pickle.loads(pickle.dumps(queue(PIPELINE)))
    assert sorted(numbers(source)) == list(range(5))
