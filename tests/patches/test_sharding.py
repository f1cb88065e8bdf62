"""Seeds of patches, and their distribution over workers of a loader and ranks of a group."""

import copy
import json
import pickle
from collections import Counter

import numpy as np
import pytest
import torch
from torch import distributed, multiprocessing
from torch.utils.data import DataLoader, RandomSampler

import torchio_gpu as tio
from tests.patches.test_queue import (
    PATCHES,
    identities,
    numbered_subjects,
    numbers,
    unbatched,
    workers,
)
from tests.patches.test_samplers import every, image_and_labels, indices, is_likely

SUBJECTS, EPOCHS, RANKS, PATIENCE = 7, 2, 2, 60  # seconds until a test gives up


class TestSeeds:
    @pytest.mark.parametrize("padding", [None, "reflect"])
    @every
    def test_batch_equals_single_samples(self, make, padding):
        subjects, seeds = (
            [image_and_labels(seed=n, number=n) for n in range(3)],
            np.array([5, -7, 2**62]),
        )
        for n, s in enumerate(subjects):
            s.streams = tio.random.Streams(seeds[n : n + 1])
        batch = tio.SubjectsBatch.from_subjects(subjects)
        sampler = make((3, 4, 2), padding_mode=padding)
        for number in (None, 2):
            patch_batches = sampler(batch, number) if number else [sampler(batch)]
            items = [list(sampler(s, number)) if number else [sampler(s)] for s in subjects]
            for n, patch_batch in enumerate(patch_batches):
                assert torch.equal(
                    patch_batch[tio.LOCATION], torch.stack([i[n].location for i in items])
                )
                for b, patch in enumerate(patch_batch.unbatch()):
                    expected = items[b][n]
                    assert patch.number == b
                    assert patch.patch_location == expected.patch_location
                    assert patch.streams.seeds == expected.streams.seeds
                    assert patch.streams.used == expected.streams.used
                    for name in ("t1", "seg"):
                        assert torch.equal(patch[name].data, expected[name].data)
                        assert np.allclose(patch[name].affine, expected[name].affine, atol=1e-12)
        assert list(batch.keys()) == ["t1", "seg", "number"]

    @every
    def test_is_a_function_of_torch_manual_seed(self, make):
        s = image_and_labels()

        def run(seed):
            torch.manual_seed(seed)
            found = [make(3)(s), *make(3)(s, 3), *make(s, 3, num_patches=3)]
            found += make(3)(tio.SubjectsBatch.from_subjects([s, s])).unbatch()
            return indices(found), [patch.streams.seeds.item() for patch in found]

        places, seeds = run(0)
        assert (places, seeds) == run(0)
        assert places != run(1)[0]
        assert len(set(seeds)) == len(seeds) == 9
        assert len(set(places)) > 1

    def test_one_seeded_subject_gives_other_patches_at_each_call(self):
        s = image_and_labels((30, 30, 30))
        s.streams = tio.random.Streams(np.array([3]))
        sampler = tio.UniformSampler(2)
        found = indices([sampler(s), sampler(s), *sampler(s, 2), *sampler(s, 2)])
        assert len(set(found)) == len(found)

    @every
    def test_patches_draw_different_random_numbers(self, make):
        s = tio.Subject(
            t1=tio.ScalarImage(torch.ones(1, 5, 5, 5)), seg=tio.LabelMap(torch.ones(1, 5, 5, 5))
        )
        noise = tio.RandomNoise()
        for patches in (make(5)(s, 4), make(s, 5, num_patches=4)):
            fields = [noise(patch).t1.data for patch in patches]
            batch = tio.SubjectsBatch.from_subjects(list(make(5)(s, 4)))
            fields += list(noise(batch).t1.data)
            assert all(not torch.equal(a, b) for n, a in enumerate(fields) for b in fields[:n])

    @every
    def test_samplers_can_be_pickled_and_copied(self, make):
        s = image_and_labels()
        fresh = make(s, 3, num_patches=4, padding_mode="edge")
        used = copy.deepcopy(fresh)
        list(used), used(s)
        for sampler in (pickle.loads(pickle.dumps(fresh)), pickle.loads(pickle.dumps(used))):
            assert len(sampler) == 4
            torch.manual_seed(3)
            expected = indices(fresh(s, 4))
            torch.manual_seed(3)
            assert indices(sampler(s, 4)) == expected
            assert len(list(sampler)) == 4


class TestWorkers:
    """Loaders over a sampler that has a subject."""

    def loader(self, make, workers, number=9, seed=5, **arguments):
        generator = torch.Generator().manual_seed(seed)
        sampler = make(image_and_labels((30, 30, 30)), 3, num_patches=number)
        return tio.SubjectsLoader(
            sampler, num_workers=workers, generator=generator, timeout=PATIENCE * (workers > 0),
            **arguments,
        )  # fmt: skip

    def seeds_and_locations(self, loader):
        """Return the seed and the first voxel of each patch."""
        return [(p.streams.seeds.item(), p.patch_location.index) for p in unbatched(loader)]

    @every
    def test_share_patches_without_duplicates(self, make):
        """Batches of one patch come in order, since workers alternate."""
        alone = self.seeds_and_locations(self.loader(make, 1, batch_size=1))
        assert len(alone) == len(set(alone)) == 9
        assert self.seeds_and_locations(self.loader(make, 2, batch_size=1)) == alone
        assert sorted(self.seeds_and_locations(self.loader(make, 2, batch_size=2))) == sorted(alone)
        assert self.seeds_and_locations(self.loader(make, 2, batch_size=1, seed=6)) != alone
        here = self.seeds_and_locations(self.loader(make, 0, batch_size=4))
        assert len(here) == len(set(here)) == 9

    @pytest.mark.parametrize("persistent", [False, True])
    def test_epochs_differ(self, persistent):
        make = tio.UniformSampler
        loader = self.loader(make, 2, batch_size=1, persistent_workers=persistent)
        epochs = [self.seeds_and_locations(loader) for _ in range(3)]
        assert (
            len({seed for seeds_and_locations in epochs for seed, _ in seeds_and_locations}) == 27
        )
        here = self.loader(make, 0, batch_size=1)
        assert len({seed for _ in range(3) for seed, _ in self.seeds_and_locations(here)}) == 27

    def test_without_num_patches_the_stream_is_endless(self):
        loader = self.loader(tio.UniformSampler, 2, number=None, batch_size=2)
        found = []
        for batch in loader:
            found += batch.streams.seeds.tolist()
            if len(found) >= 20:
                break
        assert len(set(found)) == 20

    def test_a_plain_loader(self):
        sampler = tio.UniformSampler(image_and_labels(), 3, num_patches=5)
        batches = list(DataLoader(sampler, batch_size=2, num_workers=2, timeout=PATIENCE))
        assert sum(batch.batch_size for batch in batches) == 5


class TestOrderOfAQueue:
    """Subjects that a queue loads, and the order of their patches."""

    def test_of_shuffled_subjects_and_patches(self):
        def run(subjects, patches, seed=0):
            torch.manual_seed(seed)
            options = {"shuffle_subjects": subjects, "shuffle_patches": patches}
            return numbers(tio.Queue(numbered_subjects(9), PATCHES, 9, 3, **options))

        blocks = [n for n in range(9) for _ in range(3)]
        assert run(False, False) == blocks
        mixed = run(False, True)
        assert mixed != blocks
        assert mixed[0] == 0  # of the only subject that is there
        shuffled = run(True, False)
        assert shuffled[::3] == shuffled[1::3] == shuffled[2::3] != blocks[::3]
        assert run(True, True) not in (shuffled, run(True, True, seed=1))

    def test_patches_are_mixed_however_few_a_subject_has(self):
        queue = tio.Queue(numbered_subjects(9), PATCHES, 9, 1, shuffle_subjects=False)
        assert numbers(queue) != list(range(9))

    def test_any_patch_of_the_queue_may_be_next(self):
        first = []
        for seed in range(200):
            queue = tio.Queue(numbered_subjects(1), PATCHES, 4, 4, seed=seed)
            plain = tio.Queue(numbered_subjects(1), PATCHES, 4, 4, seed=seed, shuffle_patches=False)
            first.append(identities(plain).index(identities(queue)[0]))
        assert is_likely(np.bincount(first, minlength=4), np.ones(4))

    @workers
    def test_of_a_subject_sampler(self, number):
        subjects = tio.SubjectsDataset(numbered_subjects())
        options = {"num_workers": number, "batch_size": 2}
        queue = tio.Queue(subjects, PATCHES, 8, 2, subject_sampler=[5, 0, 3], shuffle_patches=False)
        assert (queue.num_subjects, len(queue)) == (3, 6)
        assert Counter(numbers(unbatched(tio.SubjectsLoader(queue, **options)))) == {
            5: 2,
            0: 2,
            3: 2,
        }
        if number == 0:
            assert numbers(queue) == [5, 5, 0, 0, 3, 3]
        queue = tio.Queue(subjects, PATCHES, 8, 2, subject_sampler=RandomSampler(subjects))
        patches = unbatched(tio.SubjectsLoader(queue, **options))
        assert Counter(numbers(patches)) == dict.fromkeys(range(6), 2)

    @pytest.mark.parametrize("seed", [None, 5])
    @pytest.mark.parametrize("persistent", [False, True])
    def test_of_a_subject_sampler_differs_between_epochs(self, persistent, seed):
        subjects = tio.SubjectsDataset(numbered_subjects())
        queue = tio.Queue(
            subjects, PATCHES, 8, 1, subject_sampler=RandomSampler(subjects), seed=seed
        )
        loader = tio.SubjectsLoader(
            queue, batch_size=1, num_workers=2, persistent_workers=persistent
        )
        assert len({tuple(numbers(unbatched(loader))) for _ in range(3)}) == 3

    def test_a_subject_that_is_taken_twice_gives_other_patches(self):
        """Oversampled subjects give different patches each time."""
        queue = tio.Queue(
            numbered_subjects(shape=(30, 30, 30)), PATCHES, 8, 2, subject_sampler=[1, 1, 1]
        )
        assert len({index for _, index, _ in identities(queue)}) == 6


# ---- Ranks


def run_rank(rank, folder):
    """Run one rank and write its results to a folder."""
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=RANKS
    )
    try:
        torch.manual_seed(100 + rank)  # ranks need not agree on it
        found = {}
        arguments = {"max_length": 6, "patches_per_volume": 3}
        # this process was spawned, and would spawn its workers, which takes seconds
        how = "fork" if "fork" in multiprocessing.get_all_start_methods() else None
        for name, seed, threads, workers in (
            ("alone", None, 0, None),
            ("seed", 5, 0, None),
            ("threads", None, 2, None),
            ("loader", None, 1, 0),
            ("workers", None, 0, 2),
            ("workers and seed", 5, 0, 2),
        ):
            queue = tio.Queue(
                numbered_subjects(SUBJECTS), PATCHES, seed=seed, num_workers=threads, **arguments
            )
            if workers is None:
                epochs = [numbers(queue) for _ in range(EPOCHS)]
            else:
                options = {"multiprocessing_context": how, "timeout": PATIENCE} if workers else {}
                loader = tio.SubjectsLoader(queue, batch_size=2, num_workers=workers, **options)
                epochs = [numbers(unbatched(loader)) for _ in range(EPOCHS)]
            found[name] = {"epochs": epochs, "subjects": queue.num_subjects, "length": len(queue)}
        (folder / f"{rank}.json").write_text(json.dumps(found))
        queue = tio.Queue(
            numbered_subjects(SUBJECTS), PATCHES, shuffle_subjects=False, shuffle_patches=False
        )
        (folder / f"{rank}.pickle").write_bytes(pickle.dumps(queue))
        distributed.barrier()
    finally:
        distributed.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """Run the two processes of a group once; the folder with their results."""
    if not distributed.is_available():
        pytest.skip("this torch has no torch.distributed")
    folder = tmp_path_factory.mktemp("ranks")
    context = multiprocessing.spawn(run_rank, (folder,), nprocs=RANKS, join=False)
    try:
        assert context.join(timeout=PATIENCE) or context.join(timeout=PATIENCE), "ranks hang"
    finally:
        for process in context.processes:
            process.kill()
            process.join()
    return folder


class TestRanks:
    @pytest.mark.parametrize(
        "how", ["alone", "seed", "threads", "loader", "workers", "workers and seed"]
    )
    def test_share_subjects(self, ranks, how):
        found = [json.loads((ranks / f"{rank}.json").read_text())[how] for rank in range(RANKS)]
        assert [each["subjects"] for each in found] == [4, 3]
        assert [each["length"] for each in found] == [12, 9]
        splits = []
        for epoch in range(EPOCHS):
            one, two = (each["epochs"][epoch] for each in found)
            assert sorted(one + two) == sorted(list(range(SUBJECTS)) * 3)
            assert not set(one) & set(two)
            splits.append(set(one))
        assert splits[0] != splits[1]  # another split at each epoch: 1 in 35 would not differ

    def test_a_pickled_queue_keeps_its_rank(self, ranks):
        """A spawned worker is in no group and takes the rank of the pickled queue."""
        assert not distributed.is_initialized()
        queues = [pickle.loads((ranks / f"{rank}.pickle").read_bytes()) for rank in range(RANKS)]
        assert [queue.num_subjects for queue in queues] == [4, 3]
        assert [numbers(queue)[::10] for queue in queues] == [[0, 2, 4, 6], [1, 3, 5]]
