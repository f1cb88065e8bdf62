"""Queue of patches: epochs, subjects, memory and failures."""

import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch.utils.data import (
    DataLoader,
    Dataset,
    Subset,
    TensorDataset,
    get_worker_info,
)

import torchio_gpu as tio

PATIENCE = 30  # seconds until a test gives up
PATCHES = tio.UniformSampler(4)

#: Both ways to read ahead: threads of the queue, workers of a loader.
threads = pytest.mark.parametrize("number", [0, 1, 3])
workers = pytest.mark.parametrize("number", [0, 2])


@pytest.fixture(autouse=True)
def _patience():
    """Fail a test that hangs."""
    if not hasattr(signal, "SIGALRM"):
        yield
        return

    def give_up(*_):
        raise TimeoutError(f"no end after {PATIENCE} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(PATIENCE)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def queue_threads():
    return [t.name for t in threading.enumerate() if t.name.startswith("torchio_gpu.Queue")]


@pytest.fixture
def remaining_workers():
    """Function that lists the living threads of queues and child processes of a test."""
    before = set(multiprocessing.active_children())

    def alive():
        end = time.monotonic() + 5  # a process that was told to end takes a moment
        while (children := set(multiprocessing.active_children()) - before) and (
            time.monotonic() < end
        ):
            time.sleep(0.01)
        return queue_threads() + [child.name for child in children]

    return alive


def error_of(function, from_worker=False):
    """Return the message of a RuntimeError and drop the error, which keeps its loop alive."""
    try:
        function()
    except RuntimeError as error:
        if from_worker:  # torch raises it in a frame that keeps it, until it is collected
            traceback.clear_frames(error.__traceback__)
        return str(error)
    raise AssertionError("no error")


def numbered_subjects(count=6, shape=(8, 7, 6), **more):
    """Return subjects whose voxels and metadata are their number."""
    return [
        tio.Subject(t1=tio.ScalarImage(torch.full((1, *shape), float(n))), number=n, **more)
        for n in range(count)
    ]


def numbers(patches):
    return [patch.number for patch in patches]


def unbatched(loader):
    return [patch for batch in loader for patch in batch.unbatch()]


def identities(patches):
    """Return the subject, index and seed of each patch."""
    return [(p.number, p.patch_location.index, p.streams.seeds.item()) for p in patches]


class CountingDataset(Dataset):
    """Dataset that counts the subjects it loads in one process."""

    def __init__(self, count, wrong=()):
        self.subjects, self.wrong = numbered_subjects(count), wrong
        self.loaded, self.lock = 0, threading.Lock()

    def __len__(self):
        return len(self.subjects)

    def __getitem__(self, index):
        with self.lock:
            self.loaded += 1
        if index in self.wrong:
            raise OSError(f"disk {index} is gone")
        return self.subjects[index]

    def loaded_when_idle(self):
        """Return the number of loaded subjects once the threads are idle."""
        before = -1
        while before != self.loaded:
            before = self.loaded
            time.sleep(0.03)
        return before


class KillsWorker(tio.SubjectsDataset):
    """Dataset that kills the worker that loads subject 3."""

    def __getitem__(self, index):
        if index == 3 and get_worker_info() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(index)


def stored_subjects(folder, count=5, broken=2):
    """Write subjects to files and truncate one of them."""
    subjects = []
    for n in range(count):
        path = folder / f"subject_{n}.nii.gz"
        voxels = torch.rand(1, 16, 16, 16)
        tio.ScalarImage(voxels).save(path)
        if n == broken:
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        subjects.append(tio.Subject(t1=tio.ScalarImage(path), name=f"Jo{n}", number=n))
    return subjects


class TestArguments:
    def test_all_signatures_are_equal(self):
        subjects = tio.SubjectsDataset(numbered_subjects())
        order = [4, 0]
        for queue in (
            tio.Queue(subjects, PATCHES, 20, 5, 2, False, False, abs, order),
            tio.Queue(
                subjects, patch_sampler=PATCHES, max_length=20, patches_per_volume=5, num_workers=2,
                shuffle_subjects=False, shuffle_patches=False, transform=abs, subject_sampler=order,
            ),
            tio.Queue(subjects, 20, 5, PATCHES, order, 2, False, False, transform=abs),
            tio.Queue(
                subjects_dataset=subjects, max_length=20, samples_per_volume=5, sampler=PATCHES,
                subject_sampler=order, num_workers=2, shuffle_subjects=False, transform=abs,
                shuffle_patches=False,
            ),
        ):  # fmt: skip
            assert queue.subjects is subjects
            assert queue.patch_sampler is PATCHES
            assert (queue.max_length, queue.patches_per_volume, queue.num_workers) == (20, 5, 2)
            assert (queue.shuffle_subjects, queue.shuffle_patches) == (False, False)
            assert (queue.transform, queue.subject_sampler) == (abs, order)

    def test_defaults(self):
        queue = tio.Queue(numbered_subjects(), PATCHES)
        assert (queue.max_length, queue.patches_per_volume, queue.num_workers) == (300, 10, 0)
        assert (queue.shuffle_subjects, queue.shuffle_patches) == (True, True)
        assert not tio.Queue(numbered_subjects(), PATCHES, subject_sampler=[1]).shuffle_subjects

    @pytest.mark.parametrize(
        ("arguments", "name"),
        [
            ((PATCHES, {"sampler": PATCHES}), "patch_sampler"),
            ((PATCHES, {"patch_sampler": PATCHES}), "patch_sampler"),
            (({"patch_sampler": PATCHES, "sampler": PATCHES},), "patch_sampler"),
            ((PATCHES, {"subjects_dataset": numbered_subjects()}), "subjects"),
            ((PATCHES, 20, {"max_length": 20}), "max_length"),
            ((PATCHES, 20, 2, {"samples_per_volume": 2}), "patches_per_volume"),
            ((PATCHES, {"samples_per_volume": 2, "patches_per_volume": 2}), "patches_per_volume"),
            ((20, 2, PATCHES, {"sampler": PATCHES}), "patch_sampler"),
            ((20, 2, PATCHES, [1], {"subject_sampler": [1]}), "subject_sampler"),
        ],
    )
    def test_arguments_given_twice_are_refused(self, arguments, name):
        *order, keywords = arguments
        with pytest.raises(ValueError, match=f"^{name} must be given once, got it twice"):
            tio.Queue(numbered_subjects(), *order, **keywords)

    @pytest.mark.parametrize(
        ("wrong", "error", "match"),
        [
            ({"max_length": 0}, ValueError, "max_length must be a whole number >= 1, got 0"),
            ({"max_length": 3, "patches_per_volume": 4}, ValueError, "room for the patches of a"),
            ({"patches_per_volume": 0}, ValueError, "patches_per_volume must be"),
            ({"patches_per_volume": 1.5}, TypeError, "patches_per_volume must be"),
            ({"num_workers": -1}, ValueError, "num_workers must be a whole number >= 0"),
            ({"num_workers": True}, TypeError, "num_workers must be an integer"),
            ({"on_error": "ignore"}, ValueError, "on_error must be 'raise' or 'skip'"),
            ({"transform": 3}, TypeError, "transform must be a function or None, got 3"),
            (
                {"patch_sampler": "t1"},
                TypeError,
                "patch_sampler must be a function, got 't1'",
            ),
            ({"patch_sampler": None}, TypeError, "patch_sampler must be a function, got None"),
            ({"subjects": None}, TypeError, "subjects must be a sequence, got None"),
            ({"subjects": []}, ValueError, "at least one Subject"),
            ({"subjects": [3]}, TypeError, "number 0 is int"),
            ({"subject_sampler": [1], "shuffle_subjects": True}, ValueError, "must not be True"),
            ({"seed": "a"}, (TypeError, ValueError), "seed"),
        ],
    )
    def test_invalid_arguments_are_refused(self, wrong, error, match):
        with pytest.raises(error, match=match):
            tio.Queue(**{"subjects": numbered_subjects(), "patch_sampler": PATCHES, **wrong})


class TestEpoch:
    @threads
    def test_holds_each_patch_once(self, number):
        queue = tio.Queue(numbered_subjects(), PATCHES, 8, 3, number)
        for epoch in range(2):
            patches = list(queue)
            assert len(patches) == len(queue) == queue.patches_per_epoch == 18
            assert queue.num_subjects == 6
            assert Counter(numbers(patches)) == dict.fromkeys(range(6), 3)
            assert all((patch.t1.data == patch.number).all() for patch in patches)
            assert {patch.t1.spatial_shape for patch in patches} == {(4, 4, 4)}
            assert len(set(identities(patches))) == 18
            assert queue.epoch == epoch + 1

    def test_does_not_depend_on_the_number_of_threads(self):
        def run(number, seed=1):
            torch.manual_seed(seed)
            queue = tio.Queue(
                numbered_subjects(), PATCHES, 8, 3, number, transform=tio.RandomNoise()
            )
            patches = [*queue, *queue]
            return identities(patches), torch.stack([patch.t1.data for patch in patches])

        expected, voxels = run(0)
        assert sorted(expected[:18]) != sorted(expected[18:])
        for number in (1, 3):
            found, again = run(number)
            assert found == expected
            assert torch.equal(again, voxels)
        assert sorted(run(0, seed=2)[0]) != sorted(expected)

    @workers
    def test_is_a_function_of_the_seed(self, number):
        def run(torch_seed, seed=5, first=0):
            torch.manual_seed(torch_seed)
            queue = tio.Queue(numbered_subjects(), PATCHES, 8, 3, seed=seed)
            loader = tio.SubjectsLoader(queue, batch_size=4, num_workers=number)
            loader.set_epoch(first)
            return [identities(unbatched(loader)) for _ in range(2)]

        one, two = run(1)
        assert [one, two] == run(2)
        assert sorted(one) != sorted(two)
        assert run(1, first=1)[0] == two
        assert run(1, seed=6)[0] != one
        alone = tio.Queue(numbered_subjects(), PATCHES, 8, 3, seed=5)  # whoever does the work
        assert sorted(identities(alone)) == sorted(one)

    @workers
    @pytest.mark.parametrize("loader", [tio.SubjectsLoader, DataLoader])
    def test_through_loaders(self, loader, number):
        queue = tio.Queue(numbered_subjects(7), PATCHES, 8, 3, num_workers=1)
        found = loader(queue, batch_size=4, num_workers=number, timeout=PATIENCE * (number > 0))
        for _ in range(2):
            patches = unbatched(found)
            assert Counter(numbers(patches)) == dict.fromkeys(range(7), 3)
            assert len(set(identities(patches))) == 21

    def test_more_workers_than_subjects(self):
        queue = tio.Queue(numbered_subjects(1), PATCHES, 8, 3)
        assert numbers(unbatched(tio.SubjectsLoader(queue, batch_size=2, num_workers=2))) == [0] * 3

    def test_of_a_subset(self):
        queue = tio.Queue(Subset(tio.SubjectsDataset(numbered_subjects()), [4, 1]), PATCHES, 8, 3)
        assert Counter(numbers(queue)) == {4: 3, 1: 3}

    def test_max_memory_is_that_of_a_full_queue(self):
        """The memory of a full queue is that of its patches."""
        subjects = [
            tio.Subject(
                t1=tio.ScalarImage(torch.rand(2, 8, 8, 8)),
                seg=tio.LabelMap(torch.ones(1, 8, 8, 8, dtype=torch.uint8)),
            )
        ]
        queue = tio.Queue(subjects, tio.UniformSampler((4, 5, 6)), 30, 30)
        sizes = [i.data.nbytes for patch in queue for i in patch.get_images(intensity_only=False)]
        assert queue.max_memory == sum(sizes) == 30 * 120 * 9
        assert queue.max_memory_pretty == "31.6 KiB"
        assert (
            tio.Queue(numbered_subjects(3), PATCHES, 8, 3, subject_sampler=[1, 1]).num_subjects == 2
        )
        with pytest.raises(TypeError, match="must be a sampler of this library"):
            tio.Queue(subjects, PATCHES.__call__).max_memory  # noqa: B018


class TestSubjects:
    @workers
    def test_are_transformed_and_not_changed(self, number, tmp_path):
        flip = tio.RandomFlip((0, 1, 2), p=1)
        for subjects in (numbered_subjects(), stored_subjects(tmp_path, broken=None)):
            before = [s.t1.data.clone() for s in subjects if s.t1.loaded]
            queue = tio.Queue(subjects, PATCHES, 8, 2, transform=flip)
            patches = unbatched(tio.SubjectsLoader(queue, batch_size=3, num_workers=number))
            assert all(len(patch.history) == 1 for patch in patches)
            assert all(s.history == [] and s.streams is None for s in subjects)
            assert all(list(s.keys()) == ["t1", *s.metadata] for s in subjects)
            if before:
                assert all(map(torch.equal, before, [s.t1.data for s in subjects]))
            else:
                assert not any(s.t1.loaded for s in subjects)

    @pytest.mark.parametrize("transform", [None, tio.RandomNoise()])
    def test_stored_by_a_dataset_are_not_loaded(self, transform, tmp_path):
        """Loading them would grow the memory to that of the whole dataset."""
        subjects = stored_subjects(tmp_path, broken=None)
        queue = tio.Queue(Subset(subjects, range(5)), PATCHES, 8, 2, transform=transform)
        assert len(list(queue)) == 10
        assert not any(s.t1.loaded or s.streams for s in subjects)

    def test_may_be_of_different_shapes(self):
        subjects = numbered_subjects(2, (8, 7, 6)) + numbered_subjects(2, (4, 5, 9))
        shapes = {patch.t1.shape for patch in tio.Queue(subjects, PATCHES, 8, 2)}
        assert shapes == {(1, 4, 4, 4)}

    def test_statistics(self):
        queue = tio.Queue(numbered_subjects(4), PATCHES, 6, 3, 2)
        assert queue.statistics == tio.QueueStatistics()
        seen = []
        for _ in queue:
            seen.append(queue.statistics)
        assert [s.patches for s in seen] == list(range(1, 13))
        assert seen[0].subjects == 1
        assert all(s.length == 3 * s.subjects - s.patches for s in seen)
        assert (seen[-1].subjects, seen[-1].skipped, seen[-1].length) == (4, 0, 0)
        assert all(s.waiting >= 0 and s.loading > 0 for s in seen)
        next(iter(queue))
        assert queue.statistics.patches == 1

    def test_progress(self, capsys):
        assert len(list(tio.Queue(numbered_subjects(), PATCHES, 8, 3, progress=True))) == 18
        assert "patches" in capsys.readouterr().out


class TestMemory:
    @threads
    def test_few_subjects_are_loaded_ahead(self, number):
        subjects = CountingDataset(40)
        queue = tio.Queue(subjects, PATCHES, 12, 4, number)
        patches = iter(queue)
        next(patches)
        assert 1 <= subjects.loaded_when_idle() <= number + 1
        for n, _ in enumerate(patches):
            if n % 10 == 0:
                assert subjects.loaded_when_idle() <= queue.statistics.subjects + number + 1
        assert subjects.loaded == 40

    @threads
    def test_no_more_patches_than_max_length(self, number):
        cut, returned, most = 0, 0, 0
        lock = threading.Lock()

        def sample(subject, count):
            nonlocal cut, most
            patches = list(PATCHES(subject, count))
            with lock:
                cut += len(patches)
                most = max(most, cut - returned)
            return patches

        queue = tio.Queue(numbered_subjects(30), sample, 8, 3, number)
        for _ in queue:
            returned += 1
            assert queue.statistics.length < 8
            time.sleep(0.001 * number)  # threads shall get as far as they are let
        assert returned == cut == 90
        assert 8 <= most <= 8 + 3 * number

    @pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc to ask for memory")
    @pytest.mark.parametrize("number", [0, 2])
    def test_is_constant_over_a_thousand_patches(self, number):
        class Fresh(Dataset):
            def __len__(self):
                return 80

            def __getitem__(self, index):
                return tio.Subject(t1=tio.ScalarImage(torch.rand(1, 32, 32, 32)))

        def resident():
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            return pages * os.sysconf("SC_PAGE_SIZE")

        queue = tio.Queue(
            Fresh(), tio.UniformSampler(24), 16, 5, number, transform=tio.RandomFlip(p=1)
        )
        list(queue)  # until allocators have what they need
        before, count = resident(), 0
        while count < 1000:
            count += sum(1 for _ in queue)
        # 1,000 patches are 53 MiB, 200 volumes 25 MiB, and the whole process some 400
        assert resident() < 1.02 * before


class TestFailures:
    @pytest.mark.parametrize(("number", "loading"), [(0, 0), (2, 0), (0, 2)])
    def test_name_the_subject(self, number, loading, tmp_path, remaining_workers):
        queue = tio.Queue(stored_subjects(tmp_path), PATCHES, 8, 2, number)
        options = {"num_workers": loading, "timeout": PATIENCE * (loading > 0)}
        loader = tio.SubjectsLoader(queue, batch_size=2, **options)
        words = error_of(lambda: unbatched(loader), from_worker=loading > 0)
        path = tmp_path / "subject_2.nii.gz"
        assert f"subject 2 (Jo2, {path}) could not be loaded: OSError: '{path}'" in words
        assert remaining_workers() == []

    @threads
    def test_name_the_subject_of_any_dataset(self, number, remaining_workers):
        queue = tio.Queue(CountingDataset(6, wrong=(4,)), PATCHES, 8, 2, number)
        words = error_of(lambda: list(queue))
        assert words == "subject 4 could not be loaded: OSError: disk 4 is gone"
        assert remaining_workers() == []

    @threads
    def test_are_skipped_on_request(self, number, tmp_path):
        queue = tio.Queue(stored_subjects(tmp_path), PATCHES, 8, 2, number, on_error="skip")
        with pytest.warns(
            RuntimeWarning, match=r"subject 2 \(Jo2, .*2.nii.gz\) could not .* left out"
        ):
            patches = list(queue)
        assert Counter(numbers(patches)) == dict.fromkeys((0, 1, 3, 4), 2)
        assert (queue.statistics.subjects, queue.statistics.skipped) == (4, 1)

    @threads
    def test_endless_samplers_give_as_many_patches_as_requested(self, number, tmp_path):
        def endless(subject, _):
            while True:
                yield from tio.UniformSampler(2)(subject, 1)

        queue = tio.Queue(stored_subjects(tmp_path)[:2], endless, 4, 2, number)
        assert len(list(queue)) == len(queue) == 4
        assert queue.statistics.length <= 4

    @pytest.mark.filterwarnings("ignore:subject .* left out:RuntimeWarning")
    def test_are_skipped_by_workers_and_if_no_subject_is_left(self, tmp_path):
        queue = tio.Queue(stored_subjects(tmp_path), PATCHES, 8, 2, on_error="skip")
        patches = unbatched(tio.SubjectsLoader(queue, batch_size=3, num_workers=2))
        assert Counter(numbers(patches)) == dict.fromkeys((0, 1, 3, 4), 2)
        queue = tio.Queue(CountingDataset(3, wrong=range(3)), PATCHES, 8, 2, on_error="skip")
        assert list(queue) == []
        assert queue.statistics.skipped == 3

    def test_name_missing_items_and_items_of_other_types(self):
        words = error_of(lambda: list(tio.Queue(TensorDataset(torch.ones(3)), PATCHES, 8, 2)))
        assert "TypeError: subjects must be Subjects, got tuple" in words
        queue = tio.Queue(numbered_subjects(), PATCHES, 8, 2, subject_sampler=[0, 99])
        assert error_of(lambda: list(queue)).startswith("subject 99 could not be loaded: IndexErr")

    @pytest.mark.parametrize("how", ["break", "raise", "close", "drop"])
    @pytest.mark.parametrize("loading", [None, 0, 2])
    def test_of_the_loop_end_all_threads_and_workers(self, how, loading, remaining_workers):
        queue = tio.Queue(numbered_subjects(30), PATCHES, 8, 2, 3)
        source = queue
        if loading is not None:
            source = tio.SubjectsLoader(queue, batch_size=2, num_workers=loading)

        def loop():
            iterator = iter(source)
            next(iterator)
            assert len(queue_threads()) > 0 or loading == 2
            if how == "raise":
                raise RuntimeError("out of memory")
            if how == "close" and loading is None:
                iterator.close()
                assert remaining_workers() == []

        if how == "raise":
            assert error_of(loop) == "out of memory"
        elif how == "break":
            for _ in source:
                break
        else:
            loop()
        assert remaining_workers() == []
        assert sum(1 for _ in queue) == 60  # and the next epoch is whole

    @pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
    def test_a_killed_worker_raises(self, remaining_workers):
        queue = tio.Queue(KillsWorker(numbered_subjects()), PATCHES, 8, 2, shuffle_subjects=False)
        loader = tio.SubjectsLoader(queue, batch_size=2, num_workers=2, timeout=PATIENCE)
        assert "DataLoader worker" in error_of(lambda: unbatched(loader))
        assert remaining_workers() == []
