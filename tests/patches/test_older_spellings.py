"""Queues, samplers and aggregators by the names of TorchIO 1."""

import copy
import inspect
import pickle
import pydoc

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import torchio_gpu as tio
from torchio_gpu.spellings import older_spellings

X = torch.rand(1, 10, 11, 12)
LABELS = torch.zeros(1, 10, 11, 12, dtype=torch.uint8)
LABELS[:, 4:6, 4:6, 4:6] = torch.arange(8).view(1, 2, 2, 2) // 2


def subject(module=tio, **values):
    return module.Subject(
        t1=module.ScalarImage(tensor=X), seg=module.LabelMap(tensor=LABELS), **values
    )


def dataset(module=tio, numbers=(None,) * 5):
    """Dataset of numbered subjects, with as many patches of each as given; None for no wish."""
    wishes = [{} if number is None else {"num_samples": number} for number in numbers]
    subjects = [subject(module, number=n, **wish) for n, wish in enumerate(wishes)]
    return module.SubjectsDataset(subjects)


SAMPLER = tio.UniformSampler(4)


def settings(queue):
    names = ("subjects", "patch_sampler", "max_length", "patches_per_volume", "num_workers")
    more = ("shuffle_subjects", "shuffle_patches", "subject_sampler", "progress")
    return {name: getattr(queue, name) for name in (*names, *more)}


# Spellings of the queue

D = dataset()
SPELLINGS = {
    "positions": lambda: tio.Queue(D, 20, 3, SAMPLER, [0, 1], 2, False, False),
    "all positions": lambda: tio.Queue(
        D, 20, 3, SAMPLER, [0, 1], 2, False, False, True, False
    ),
    "number of numpy": lambda: tio.Queue(
        D, np.int64(20), 3, SAMPLER, [0, 1], 2, shuffle_subjects=False, shuffle_patches=False
    ),
    "names": lambda: tio.Queue(
        subjects_dataset=D, max_length=20, samples_per_volume=3, sampler=SAMPLER,
        subject_sampler=[0, 1], num_workers=2, shuffle_subjects=False, shuffle_patches=False,
        start_background=True, verbose=False,
    ),
    "positions and names": lambda: tio.Queue(
        D, 20, samples_per_volume=3, sampler=SAMPLER, subject_sampler=[0, 1], num_workers=2,
        shuffle_subjects=False, shuffle_patches=False,
    ),
    "own names": lambda: tio.Queue(
        D, SAMPLER, max_length=20, patches_per_volume=3, subject_sampler=[0, 1], num_workers=2,
        shuffle_subjects=False, shuffle_patches=False,
    ),
    "own positions": lambda: tio.Queue(D, SAMPLER, 20, 3, 2, False, False, None, [0, 1]),
    "a mixture": lambda: tio.Queue(
        D, sampler=SAMPLER, max_length=20, samples_per_volume=3, subject_sampler=[0, 1],
        num_workers=2, shuffle_subjects=False, shuffle_patches=False, start_background=False,
    ),
}  # fmt: skip


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_spellings_mean_the_same(spelling):
    assert settings(SPELLINGS[spelling]()) == settings(SPELLINGS["own names"]())


def test_verbose_shows_progress():
    assert tio.Queue(D, 20, 3, SAMPLER, verbose=True).progress
    assert tio.Queue(D, 20, 3, SAMPLER, None, 0, True, True, False, True).progress


@pytest.mark.parametrize(
    ("create", "error", "message"),
    [
        (
            lambda: tio.Queue(D, SAMPLER, patches_per_volume=3, samples_per_volume=3),
            *(ValueError, "patches_per_volume must be given once.*samples_per_volume is the same"),
        ),
        (
            lambda: tio.Queue(D, 20, 3, SAMPLER, sampler=SAMPLER),
            *(ValueError, "patch_sampler must be given once, got it twice; sampler is the same"),
        ),
        (
            lambda: tio.Queue(D, SAMPLER, subjects_dataset=D),
            *(ValueError, "subjects must be given once"),
        ),
        (lambda: tio.Queue(D, 20, 3), TypeError, "patch_sampler"),
        (lambda: tio.Queue(D, 20, 3, SAMPLER, samples=3), TypeError, "'samples'"),
        (lambda: tio.Queue(D, "x", 3, SAMPLER), TypeError, "patch_sampler must be a function"),
        (lambda: tio.Queue(D, 2.5, 3, SAMPLER), TypeError, "max_length must be an integer"),
        (lambda: tio.Queue(D, 2, 3, SAMPLER), ValueError, "max_length must have room"),
        (
            lambda: tio.Queue(D, 20, 3, SAMPLER, [0], shuffle_subjects=True),
            *(ValueError, "shuffle_subjects must not be True with a subject_sampler"),
        ),
    ],
)
def test_mistakes_are_named(create, error, message):
    with pytest.raises(error, match=message):
        create()


def test_help_shows_the_plain_signature():
    parameters = inspect.signature(tio.Queue).parameters
    assert list(parameters)[:4] == ["subjects", "patch_sampler", "max_length", "patches_per_volume"]
    assert not {"args", "kwargs", "subjects_dataset", "verbose"} & set(parameters)
    text = pydoc.render_doc(tio.Queue, renderer=pydoc.plaintext)
    assert "Queue(subjects: " in text
    assert "**kwargs" not in text.partition("Methods defined here")[0]


def test_older_spellings_of_any_method():
    class Box:
        @older_spellings(("b", "a", "gone"), lambda args: args[:1] == (0,), ("gone",), old="a")
        def put(self, a, b=2, *more):
            return a, b, more

    box = Box()
    assert box.put(1) == box.put(old=1) == box.put(1, gone=7) == (1, 2, ())
    assert box.put(0, 1) == box.put(0, 1, "gone") == (1, 0, ())
    assert box.put(1, 2, 3, 4) == (1, 2, (3, 4))
    with pytest.raises(ValueError, match="a must be given once, got it twice; old is the same"):
        box.put(a=1, old=1)
    with pytest.raises(TypeError, match="'a'"):
        box.put()


# Members


def test_members_have_both_names():
    queue = tio.Queue(D, 20, 3, SAMPLER)
    assert queue.subjects_dataset is queue.subjects is D
    assert queue.sampler is queue.patch_sampler is SAMPLER
    assert queue.samples_per_volume == queue.patches_per_volume == 3
    assert queue.iterations_per_epoch == queue.patches_per_epoch == len(queue) == 15
    assert queue.num_patches == 0
    assert [s.number for s in queue.subjects_iterable] == list(range(5))
    patches = iter(queue)
    for _ in range(4):
        next(patches)
    assert queue.num_patches == queue.statistics.length > 0
    assert sum(1 for _ in patches) == 11
    assert queue.num_patches == 0


def test_members_are_those_of_torchio():
    torchio = pytest.importorskip("torchio")
    wishes = (None, 2, None, 4, 1)
    mine = tio.Queue(dataset(numbers=wishes), 20, 3, SAMPLER)
    theirs = torchio.Queue(dataset(torchio, wishes), 20, 3, torchio.UniformSampler(4))
    names = [n for n in dir(theirs) if not n.startswith("_") and n != "patches_list"]
    assert [n for n in names if not hasattr(mine, n) and n != "verbose"] == []
    for name in ("num_subjects", "num_patches", "iterations_per_epoch", "samples_per_volume"):
        assert getattr(mine, name) == getattr(theirs, name)
    assert len(mine) == len(theirs) == 13


def test_a_queue_has_no_items():
    with pytest.raises(TypeError, match=r"patches of a queue are taken by a loop .* got \[0\]"):
        tio.Queue(D, 20, 3, SAMPLER)[0]


@pytest.mark.parametrize("again", [copy.deepcopy, lambda q: pickle.loads(pickle.dumps(q))])
def test_copies_of_a_queue_yield_the_same_patches(again):
    queue = tio.Queue(D, 20, 3, SAMPLER, seed=1)
    places = [[p.location.tolist() for p in each] for each in (again(queue), queue)]
    assert places[0] == places[1]


# Numbers of patches of single subjects

WISHES = (None, 2, 0, 7, 1)


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_numbers_of_patches_are_those_that_subjects_ask_for(threads):
    queue = tio.Queue(dataset(numbers=WISHES), 8, 3, SAMPLER, num_workers=threads)
    numbers = [patch.number for patch in queue]
    assert [numbers.count(n) for n in range(5)] == [3, 2, 0, 7, 1]
    assert len(queue) == len(numbers) == 13
    (batch, *more) = DataLoader(queue, batch_size=5)
    assert [batch.batch_size, *(each.batch_size for each in more)] == [5, 5, 3]


def test_the_order_without_shuffling_is_that_of_torchio():
    torchio = pytest.importorskip("torchio")
    fixed = {"shuffle_subjects": False, "shuffle_patches": False}
    wishes = (None, 2, None, 4, 1)
    mine = tio.Queue(dataset(numbers=wishes), 20, 3, SAMPLER, **fixed)
    theirs = torchio.Queue(dataset(torchio, wishes), 20, 3, torchio.UniformSampler(4), **fixed)
    expected = [theirs[n].number for n in range(len(theirs))]
    assert [patch.number for patch in mine] == expected


@pytest.mark.parametrize("threads", [0, 2])
def test_the_order_does_not_depend_on_threads_and_the_queue_stays_within_its_length(threads):
    queue = tio.Queue(dataset(numbers=WISHES), 7, 3, SAMPLER, num_workers=threads, seed=5)
    alone = tio.Queue(dataset(numbers=WISHES), 7, 3, SAMPLER, seed=5)
    found = []
    for patch in queue:
        found.append((patch.number, patch.location.tolist()))
        assert queue.num_patches < 7  # one of them was taken
    assert found == [(patch.number, patch.location.tolist()) for patch in alone]
    assert len({number for number, _ in found}) == 4


def test_workers_of_a_loader_divide_the_subjects():
    queue = tio.Queue(dataset(numbers=WISHES), 8, 3, SAMPLER)
    loader = DataLoader(queue, batch_size=None, num_workers=2)
    assert sorted(p.number for p in loader) == [0] * 3 + [1] * 2 + [3] * 7 + [4]


def test_a_sampler_of_subjects_counts_their_patches():
    queue = tio.Queue(dataset(numbers=WISHES), 8, 3, SAMPLER, [3, 1, 3], shuffle_patches=False)
    assert len(queue) == 16
    assert [patch.number for patch in queue] == [3] * 7 + [1] * 2 + [3] * 7


def test_numbers_that_a_transform_sets_are_used():
    def ask(s):
        s.num_samples = s.number
        return s

    queue = tio.Queue(D, 20, 3, SAMPLER, transform=ask)
    numbers = [patch.number for patch in queue]
    assert [numbers.count(n) for n in range(5)] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("number", [-1, 2.0, "3", True])
def test_bad_numbers_of_patches_are_named(number):
    queue = tio.Queue(dataset(numbers=(number,)), 20, 3, SAMPLER)
    with pytest.raises(
        ValueError, match=f"num_samples must be a whole number >= 0, got {number!r}"
    ):
        next(iter(queue))


def test_more_patches_than_the_queue_holds_are_refused():
    queue = tio.Queue(dataset(numbers=(1, 30)), 20, 3, SAMPLER)
    for use in (len, list):
        with pytest.raises(ValueError, match=r"room for the 30 patches .* num_samples asks for"):
            use(queue)


# Memory


def test_memory_is_that_of_the_patches():
    queue = tio.Queue(D, 20, 3, SAMPLER)
    patch = next(iter(queue))
    size = sum(each.data.nbytes for each in patch.get_images(intensity_only=False))
    assert queue.max_memory == queue.get_max_memory() == queue.get_max_memory(D[0]) == 20 * size
    wide = tio.Subject(t1=tio.ScalarImage(torch.rand(3, 10, 10, 10, dtype=torch.float64)))
    assert queue.get_max_memory(wide) == 20 * 3 * 8 * 4**3
    assert queue.get_max_memory_pretty() == queue.max_memory_pretty == "6.2 KiB"
    with pytest.raises(TypeError, match="patch_sampler must be a sampler of this library"):
        tio.Queue(D, lambda s, n: [s] * n).get_max_memory()


def test_memory_of_floats_is_that_of_torchio():
    torchio = pytest.importorskip("torchio")
    for size, length in ((4, 20), (5, 10000), ((2, 3, 4), 1)):
        ours, theirs = (
            module.Queue(
                module.SubjectsDataset([module.Subject(t1=module.ScalarImage(tensor=X))]),
                *(length, 1, module.UniformSampler(size)),
            )
            for module in (tio, torchio)
        )
        assert ours.get_max_memory() == theirs.get_max_memory()
        if length > 1:  # TorchIO writes Bytes for B
            assert ours.get_max_memory_pretty() == theirs.get_max_memory_pretty()


def test_memory_is_known_without_reading(tmp_path):
    tio.ScalarImage(X).save(tmp_path / "t1.nii")
    s = tio.Subject(t1=tio.ScalarImage(tmp_path / "t1.nii"))
    assert tio.Queue([s], 20, 3, SAMPLER).get_max_memory() == 20 * 4 * 4**3
    assert not s.t1.loaded


# Samplers


@pytest.mark.parametrize(
    "sampler",
    [
        SAMPLER,
        tio.WeightedSampler(4, "t1"),
        tio.LabelSampler(4),
        tio.GridSampler(subject(), 4),
        tio.GridSampler(patch_size=4, patch_overlap=2),
    ],
    ids=lambda s: type(s).__name__,
)
def test_patches_at_given_places_are_slices(sampler):
    s = tio.Flip(0)(subject(number=3))
    for corner in [(1, 2, 3), np.array([1, 2, 3]), [6, 7, 8], torch.tensor([0, 0, 0])]:
        i, j, k = (int(n) for n in corner)
        patch = sampler.extract_patch(s, corner)
        part = s[i : i + 4, j : j + 4, k : k + 4]
        assert torch.equal(patch.t1.data, part.t1.data)
        np.testing.assert_array_equal(patch.seg.affine, part.seg.affine)
        assert patch[tio.LOCATION].tolist() == [i, j, k, i + 4, j + 4, k + 4]
        assert (patch.number, len(patch.history)) == (3, 1)
        other = sampler.crop(s, corner, (2, 3, 4))
        assert torch.equal(other.t1.data, s[i : i + 2, j : j + 3, k : k + 4].t1.data)
        assert other.patch_location.size == (2, 3, 4)
    assert sampler.patch_size == (4, 4, 4)
    for corner in [(7, 0, 0), (0, 8, 0), (0, 0, 9)]:
        with pytest.raises(ValueError, match=r"index_ini must be from \(0, 0, 0\) to \(6, 7, 8\)"):
            sampler.extract_patch(s, corner)
    for corner in [(-1, 0, 0), (0.5, 0, 0), (1, 2)]:
        with pytest.raises(ValueError, match="index_ini must be integers >= 0"):
            sampler.extract_patch(s, corner)


def test_patches_at_given_places_are_those_of_torchio():
    torchio = pytest.importorskip("torchio")
    mine = SAMPLER.extract_patch(subject(), (1, 2, 3))
    theirs = torchio.UniformSampler(4).extract_patch(subject(torchio), (1, 2, 3))
    assert torch.equal(mine.t1.data, theirs.t1.data)
    np.testing.assert_allclose(mine.t1.affine, theirs.t1.affine)
    assert mine[tio.LOCATION].tolist() == theirs[torchio.LOCATION].tolist()


def test_patches_may_begin_outside_where_there_is_padding():
    sampler = tio.UniformSampler(4, padding_mode="constant", fill=7)
    patch = sampler.extract_patch(subject(), (-2, 0, 0))
    assert patch.t1.data[:, :2].eq(7).all()
    assert torch.equal(patch.t1.data[:, 2:], X[:, :2, :4, :4])
    assert patch.patch_location.index == (-2, 0, 0)
    with pytest.raises(ValueError, match="index_ini must be"):
        sampler.extract_patch(subject(), (-3, 0, 0))


def test_files_are_not_kept_by_patches_at_given_places(tmp_path):
    tio.ScalarImage(X).save(tmp_path / "t1.nii")
    s = tio.Subject(t1=tio.ScalarImage(tmp_path / "t1.nii"))
    assert torch.equal(SAMPLER.extract_patch(s, (1, 2, 3)).t1.data, X[:, 1:5, 2:6, 3:7])
    assert not s.t1.loaded


PROBABILITIES = {0: 0.0, 1: 2.0, 2: 1.0, 3: 1.0}
MAPS = {
    "uniform": lambda m: m.UniformSampler(4),
    "weighted": lambda m: m.WeightedSampler(4, "t1"),
    "labels": lambda m: m.LabelSampler(4, "seg"),
    "any labels": lambda m: m.LabelSampler(4),
    "probabilities": lambda m: m.LabelSampler(4, "seg", PROBABILITIES),
}


@pytest.mark.parametrize("kind", MAPS)
def test_probability_maps_are_those_of_torchio(kind):
    torchio = pytest.importorskip("torchio")
    mine = MAPS[kind](tio).get_probability_map(subject())
    theirs = MAPS[kind](torchio).get_probability_map(subject(torchio)).double()
    assert mine.shape == theirs.shape == X.shape
    torch.testing.assert_close(mine.double() / mine.sum(), theirs / theirs.sum())


def test_probability_maps_are_those_that_patches_are_drawn_from():
    sampler = tio.LabelSampler(4, "seg", PROBABILITIES)
    expected = sampler.get_probability_map(subject())
    counts = torch.zeros_like(expected)
    for patch in sampler(subject(), 4000):
        i, j, k = (n + 2 for n in patch.patch_location.index)
        counts[0, i, j, k] += 1
    share = expected / expected.sum()
    assert counts[expected == 0].sum() == 0
    deviation = (4000 * share * (1 - share)).sqrt()
    assert ((counts - 4000 * share).abs() <= 4 * deviation).all()  # 6 voxels, 4 sigma


def test_absent_maps_are_named():
    for sampler in (tio.WeightedSampler(4, "no"), tio.LabelSampler(4, "no")):
        with pytest.raises(KeyError, match="'no' is none of"):
            sampler.get_probability_map(subject())
    with pytest.raises(ValueError, match="subject must have a label map"):
        tio.LabelSampler(4).get_probability_map(tio.Subject(t1=tio.ScalarImage(X)))


# Aggregator


def downsampled(module, factor, mode, overlap):
    """Aggregate patches of which every ``factor``-th voxel along each axis is taken."""
    volume = torch.arange(8 * 12 * 16.0).view(1, 8, 12, 16)
    s = module.Subject(t1=module.ScalarImage(tensor=volume))
    sampler = module.GridSampler(s, 4 * factor, overlap)
    aggregator = module.GridAggregator(sampler, mode, downsampling_factor=factor)
    for batch in DataLoader(sampler, batch_size=2, collate_fn=_collated):
        data = batch["t1"][module.DATA][..., ::factor, ::factor, ::factor]
        aggregator.add_batch(batch_tensor=data, locations=batch[module.LOCATION])
    return aggregator.get_output_tensor(), volume[..., ::factor, ::factor, ::factor]


def _collated(patches):
    return {
        "t1": {"data": torch.stack([patch["t1"]["data"] for patch in patches])},
        "location": torch.stack([patch["location"] for patch in patches]),
    }


@pytest.mark.parametrize("mode", ["crop", "average"])
@pytest.mark.parametrize(("factor", "overlap"), [(1, 0), (1, 2), (2, 0), (2, 4)])
def test_outputs_of_strided_networks_are_those_of_torchio(factor, overlap, mode):
    torchio = pytest.importorskip("torchio")
    mine, expected = downsampled(tio, factor, mode, overlap)
    torch.testing.assert_close(mine, expected)
    if factor == 1 or (mode == "crop" and overlap == 0):  # else TorchIO mixes the two grids
        torch.testing.assert_close(downsampled(torchio, factor, mode, overlap)[0], expected)


@pytest.mark.parametrize("mode", ["crop", "average", "hann"])
def test_the_factor_is_a_short_form_of_the_shape(mode):
    s = tio.Subject(t1=tio.ScalarImage(torch.rand(1, 8, 12, 16)))
    sampler = tio.GridSampler(s, 8, 4)
    outputs = []
    for arguments in ({"downsampling_factor": 2}, {"output_shape": (4, 6, 8)}):
        aggregator = tio.GridAggregator(sampler, mode, **arguments)
        for patch in sampler:
            aggregator.add_batch(patch.t1.data[:, ::2, ::2, ::2], patch[tio.LOCATION])
        outputs.append(aggregator.get_output_tensor())
    assert outputs[0].shape == (1, 4, 6, 8)
    assert torch.equal(*outputs)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"downsampling_factor": 0}, "downsampling_factor must be a whole number >= 1, got 0"),
        ({"downsampling_factor": 3}, r"must divide the shape of the volume, \(10, 11, 12\)"),
        ({"downsampling_factor": 2, "output_shape": 5}, "downsampling_factor must divide"),
    ],
)
def test_bad_factors_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        tio.GridAggregator(tio.GridSampler(subject(), 4), **arguments)


# Text


@pytest.mark.parametrize(
    ("create", "text"),
    [
        (
            lambda: tio.Queue(D, 20, 3, SAMPLER),
            "Queue(max_length=20, num_subjects=5, patches_per_volume=3, patches_per_epoch=15, "
            "patch_sampler=UniformSampler(patch_size=(4, 4, 4)))",
        ),
        (lambda: tio.UniformSampler(4, num_patches=3, padding_mode="constant", fill=2),
         "UniformSampler(patch_size=(4, 4, 4), num_patches=3, padding_mode='constant', fill=2)"),
        (lambda: tio.WeightedSampler(4, "t1"),
         "WeightedSampler(patch_size=(4, 4, 4), probability_map='t1')"),
        (lambda: tio.LabelSampler(4, "seg", {1: 2}),
         "LabelSampler(patch_size=(4, 4, 4), label_name='seg', label_probabilities={1: 2.0})"),
        (lambda: tio.GridSampler(subject(), 4, 2),
         "GridSampler(patch_size=(4, 4, 4), patch_overlap=(2, 2, 2))"),
        (lambda: tio.GridAggregator(tio.GridSampler(subject(), 4)),
         "GridAggregator(spatial_shape=(10, 11, 12), overlap_mode='crop', "
         "patch_overlap=(0, 0, 0))"),
    ],
)  # fmt: skip
def test_text_of_queues_samplers_and_aggregators(create, text):
    assert repr(create()) == text
