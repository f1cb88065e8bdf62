"""The augmentation of a sample does not depend on batch, order, worker or other samples."""

import copy

import numpy as np
import pytest
import torch
from torch.utils.data import IterableDataset, Subset

import torchio_gpu as tio
from tests.volumes import subject

AUGMENT = tio.Compose([
    tio.RandomAffine(p=0.8), tio.RandomFlip((0, 1, 2)), tio.RandomBiasField(p=0.5),
    tio.RandomNoise(p=0.5),
])  # fmt: skip


class Indexed(tio.SubjectsDataset):
    """Dataset of eight small subjects with an index each."""

    def __init__(self, transform=None):
        subjects = [subject((6, 7, 8), seed=n) for n in range(8)]
        for n, s in enumerate(subjects):
            s["index"] = n
        super().__init__(subjects, transform)


def records_of(batch):
    """Return the records of each sample as text, by index."""
    return {s.index: [str(record) for record in s.history] for s in batch.unbatch()}


def epoch_records(loader, transform=None):
    found = {}
    for batch in loader:
        found.update(records_of(batch if transform is None else transform(batch)))
    return found


@pytest.mark.parametrize("where", ["dataset", "batch"])
def test_parameters_do_not_depend_on_batch_size_workers_and_order(where):
    inside = AUGMENT if where == "dataset" else None
    outside = AUGMENT if where == "batch" else None
    expected = epoch_records(tio.SubjectsLoader(Indexed(inside), batch_size=8, seed=12), outside)
    assert len(expected) == 8
    assert len(set(map(str, expected.values()))) == 8
    assert any(expected.values())
    for arguments in (
        {"batch_size": 1, "num_workers": 2},
        {"batch_size": 3, "num_workers": 2},
        {"batch_size": 2, "shuffle": True},
    ):
        loader = tio.SubjectsLoader(Indexed(inside), seed=12, **arguments)
        assert epoch_records(loader, outside) == expected
    other = epoch_records(tio.SubjectsLoader(Indexed(inside), batch_size=8, seed=8), outside)
    assert other != expected


def test_voxels_do_not_depend_on_batch_size_and_workers():
    def voxels(batch_size, workers):
        loader = tio.SubjectsLoader(Indexed(), batch_size=batch_size, num_workers=workers, seed=1)
        return torch.cat([AUGMENT(batch).t1.data for batch in loader])

    torch.testing.assert_close(voxels(4, 0), voxels(1, 2), atol=1e-5, rtol=1e-5)


def test_epochs_differ_and_can_be_resumed():
    loader = tio.SubjectsLoader(Indexed(AUGMENT), batch_size=2, seed=3)
    first, second = epoch_records(loader), epoch_records(loader)
    assert first != second
    loader.set_epoch(1)
    assert epoch_records(loader) == second


def test_persistent_workers_see_new_epochs():
    arguments = {"batch_size": 2, "num_workers": 1, "seed": 3}
    persistent = tio.SubjectsLoader(Indexed(AUGMENT), persistent_workers=True, **arguments)
    plain = tio.SubjectsLoader(Indexed(AUGMENT), **arguments)
    for _ in range(2):
        assert epoch_records(persistent) == epoch_records(plain)


def test_without_a_seed_torch_manual_seed_is_used():
    def run(seed):
        torch.manual_seed(seed)
        return epoch_records(tio.SubjectsLoader(Indexed(AUGMENT), batch_size=2))

    assert run(0) == run(0)
    assert run(0) != run(1)


def test_a_subset_does_not_depend_on_batch_size_and_workers():
    subset = Subset(Indexed(AUGMENT), [2, 3])
    found = epoch_records(tio.SubjectsLoader(subset, batch_size=2, seed=7))
    again = epoch_records(tio.SubjectsLoader(subset, batch_size=1, num_workers=1, seed=7))
    assert set(found) == {2, 3}
    assert found == again


def test_two_augmentations_of_a_batch_differ():
    batch = next(iter(tio.SubjectsLoader(Indexed(), batch_size=4, seed=1)))
    noise = tio.RandomNoise()
    first, second = noise(batch), noise(batch)
    assert not torch.equal(first.t1.data, second.t1.data)


def test_a_pipeline_and_its_single_steps_draw_the_same_numbers():
    steps = list(AUGMENT)

    def run(apply):
        return records_of(apply(next(iter(tio.SubjectsLoader(Indexed(), batch_size=4, seed=5)))))

    def one_by_one(batch):
        for step in steps:
            batch = step(batch)
        return batch

    assert run(AUGMENT) == run(one_by_one)


def test_an_iterable_dataset_is_batched():
    class Stream(IterableDataset):
        def __iter__(self):
            return iter([subject((4, 4, 4), seed=n) for n in range(3)])

    sizes = [batch.batch_size for batch in tio.SubjectsLoader(Stream(), batch_size=2)]
    assert sizes == [2, 1]


def test_length_and_streams():
    loader = tio.SubjectsLoader(Indexed(), batch_size=3, seed=1)
    assert len(loader) == 3
    batch = next(iter(loader))
    assert batch.streams.seeds.shape == (3,)
    assert batch.streams.seeds.dtype == np.int64
    with pytest.raises(ValueError, match="batch_size must be given for a SubjectsLoader, got None"):
        iter(tio.SubjectsLoader(Indexed(), batch_size=None))


def test_two_augmentations_of_a_loaded_subject_differ():
    s = next(iter(tio.SubjectsLoader(Indexed(), batch_size=1, seed=1))).unbatch()[0]
    noise = tio.RandomNoise()
    assert not torch.equal(noise(s).t1.data, noise(s).t1.data)


def test_dataset_and_batch_transforms_draw_different_numbers():
    noise = tio.RandomNoise()
    loader = tio.SubjectsLoader(Indexed(noise), batch_size=2, seed=1)
    for s in noise(next(iter(loader))).unbatch():
        first, second = (record.params.seed.item() for record in s.history)
        assert first != second


def test_a_list_of_subjects_as_a_dataset_is_not_changed():
    """Subjects of a list are not changed, and epochs differ."""
    subjects = [subject((4, 4, 4), seed=n) for n in range(2)]
    for n, s in enumerate(subjects):
        s["index"] = n
    loader = tio.SubjectsLoader(subjects, batch_size=2, seed=1)
    noise = tio.RandomNoise()
    first, second = epoch_records(loader, noise), epoch_records(loader, noise)
    assert first != second
    assert all(s.streams is None for s in subjects)


def test_draws_do_not_depend_on_stream_positions_of_other_samples():
    """Samples that drew different amounts of numbers before draw as each does alone."""
    noise = tio.RandomNoise()
    subjects = [subject((4, 4, 4), seed=n) for n in range(2)]
    for n, s in enumerate(subjects):
        s.streams = tio.random.Streams(np.array([n + 5]))
    advanced = noise(noise(subjects[0]))  # two positions further than the other
    alone = [noise(copy.deepcopy(s)).t1.data for s in (advanced, subjects[1])]
    together = noise(tio.SubjectsBatch.from_subjects([advanced, subjects[1]])).t1.data
    for n in range(2):
        torch.testing.assert_close(together[n], alone[n])


class TestRepeatedSamples:
    """Repetitions of a sample by a sampler with replacement differ."""

    def fields(self, order, **options):
        subject = tio.Subject(t1=tio.ScalarImage(torch.zeros(1, 4, 4, 4)))
        dataset = tio.SubjectsDataset([subject] * 3, tio.RandomNoise(std=(1, 1)))
        loader = tio.SubjectsLoader(dataset, sampler=order, seed=5, **options)
        return torch.cat([batch.t1.data for batch in loader])

    def test_each_repetition_differs(self):
        fields = self.fields([0] * 6, batch_size=2)
        assert len({field.sum().item() for field in fields}) == 6

    @pytest.mark.parametrize("options", [{"batch_size": 1}, {"batch_size": 6, "num_workers": 2}])
    def test_do_not_depend_on_batch_size_and_workers(self, options):
        order = [0, 2, 0, 1, 0, 2]
        expected = self.fields(order, batch_size=4)
        assert torch.equal(self.fields(order, **options), expected)

    def test_do_not_depend_on_other_samples(self):
        one, other = self.fields([0, 1, 0], batch_size=3), self.fields([1, 0, 0, 2], batch_size=2)
        assert torch.equal(one[[0, 2, 1]], other[[1, 2, 0]])

    def test_sampling_without_repetition_has_the_seeds_of_sample_seeds(self):
        seeds = tio.random.sample_seeds(5, 0, [0, 1, 2])
        dataset = tio.SubjectsDataset(
            [tio.Subject(t1=tio.ScalarImage(torch.zeros(1, 2, 2, 2)))] * 3
        )
        (batch,) = tio.SubjectsLoader(dataset, batch_size=3, seed=5)
        assert batch.streams.seeds.tolist() == seeds.tolist()

    def test_weighted_sampling_with_replacement(self):
        weights = torch.utils.data.WeightedRandomSampler([1.0, 0, 0], 5, replacement=True)
        fields = self.fields(weights, batch_size=5)
        assert len({field.sum().item() for field in fields}) == 5


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    "make", [lambda s: {"x": s.t1.data, "age": 3}, lambda s: s.t1.data, lambda s: (s.t1.data, 1)]
)
def test_items_other_than_subjects_are_collated_by_torch(make, workers):
    subjects = [
        tio.Subject(t1=tio.ScalarImage(torch.full((1, 2, 2, 2), float(n)))) for n in range(4)
    ]
    dataset = tio.SubjectsDataset(subjects, make)
    expected = list(torch.utils.data.DataLoader(dataset, batch_size=2))
    for loader in (tio.SubjectsLoader(dataset, batch_size=2, num_workers=workers),):
        for batch, other_batch in zip(loader, expected, strict=True):
            flat, other = (torch.utils._pytree.tree_leaves(each) for each in (batch, other_batch))
            assert all(torch.equal(a, b) for a, b in zip(flat, other, strict=True))
            assert type(batch) is type(other_batch)
