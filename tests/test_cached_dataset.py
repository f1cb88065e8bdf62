"""Dataset that keeps prepared subjects, in memory and in a folder."""

from __future__ import annotations

import json
import multiprocessing
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import torchio_gpu as tio
from tests.cached_subjects import AFFINE, assert_equal, subjects, write_files
from torchio_gpu import random

FIXED = [tio.ToCanonical(), tio.Resample(2), tio.CropOrPad(8), tio.ZNormalization()]
RANDOM = [tio.RandomFlip(), tio.RandomNoise(std=1), tio.RandomAffine()]


class Adding(tio.IntensityTransform):
    """Transform of a user, which adds a number."""

    def __init__(self, amount: float = 1, **kwargs):
        super().__init__(**kwargs)
        self.amount = amount

    def apply_transform(self, subject):
        subject.t1.set_data(subject.t1.data + self.amount)
        return subject


class Counting(tio.CachedDataset):
    """Dataset that writes a line to a file whenever it prepares a subject."""

    log: ClassVar[Path]

    def _prepare(self, base):
        with self.log.open("a") as file:
            file.write("1\n")
        return super()._prepare(base)


@pytest.fixture
def files(tmp_path) -> list[Path]:
    return write_files(tmp_path / "images")


def place(tmp_path: Path, where: str) -> Path | None:
    return tmp_path / "cache" if where == "folder" else None


@pytest.fixture(autouse=True)
def _log(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(Counting, "log", tmp_path / "log", raising=False)
    Counting.log.touch()


def count() -> int:
    return len(Counting.log.read_text().splitlines())


WHERE = pytest.mark.parametrize("where", ["memory", "folder"])


# ---- The results are those of the dataset


@WHERE
@pytest.mark.parametrize(
    "transform",
    [
        None,
        tio.Compose(FIXED),
        tio.ZNormalization(),
        tio.Compose([*FIXED, *RANDOM]),
        tio.Compose([tio.Compose(FIXED[:2]), tio.Compose([*FIXED[2:], *RANDOM[:1]]), *RANDOM[1:]]),
        tio.Compose(RANDOM),
        tio.RandomNoise(),
    ],
    ids=["none", "fixed", "single", "both", "nested", "random", "single random"],
)
def test_samples_are_those_of_the_dataset(tmp_path, files, where, transform):
    plain = tio.SubjectsDataset(subjects(files), transform)
    cached = tio.CachedDataset(plain, place(tmp_path, where))
    assert len(cached) == 3
    for _ in range(3):
        for n in (0, 2, -1):
            torch.manual_seed(n)
            expected, after = plain[n], torch.rand(1)
            torch.manual_seed(n)
            sample = cached[n]
            assert transform is None or torch.rand(1) == after  # one seed was drawn
            assert_equal(sample, expected)
            assert sample.age == expected.age
            assert sample.streams is expected.streams is None
    batches = [
        [batch.t1.data for batch in tio.SubjectsLoader(dataset, batch_size=2, seed=4)]
        for dataset in (plain, cached)
    ]
    assert all(torch.equal(*pair) for pair in zip(*batches, strict=True))


def test_division_of_the_transform():
    def divided(*steps):
        transform = tio.Compose(steps) if len(steps) != 1 else steps[0]
        cached = tio.CachedDataset(tio.SubjectsDataset([tio.Subject(t1=image)], transform))
        return [
            None if part is None else [step.name for step in getattr(part, "transforms", [part])]
            for part in (cached.prepared, cached.transform)
        ]

    image = tio.ScalarImage(torch.rand(1, 8, 8, 8))
    blur, flip = tio.Blur(1), tio.RandomFlip()
    assert divided(blur, flip, blur) == [["Blur"], ["RandomFlip", "Blur"]]
    assert divided(blur, tio.Blur(1, p=0.5)) == [["Blur"], ["Blur"]]
    assert divided(blur, tio.OneOf([blur, tio.Flip(0)])) == [["Blur"], ["OneOf"]]
    assert divided(blur, tio.Noise(std=1), flip) == [["Blur", "Noise"], ["RandomFlip"]]
    assert divided(blur, tio.Lambda(torch.abs), blur) == [["Blur"], ["Lambda", "Blur"]]
    assert divided(blur, lambda subject: subject) == [["Blur"], ["<lambda>"]]
    assert divided(tio.Compose([blur, flip]), blur) == [["Blur"], ["RandomFlip", "Blur"]]
    assert divided(tio.Compose([blur, flip], p=0.5), blur) == [None, ["Compose", "Blur"]]
    assert divided(tio.Compose([blur, blur], include=["t1"]), flip) == [["Compose"], ["RandomFlip"]]
    assert divided(blur) == [["Blur"], None]
    assert divided(flip) == [None, ["RandomFlip"]]


# ---- Preparation happens once


@WHERE
def test_a_subject_is_prepared_once(tmp_path, files, where):
    transform = tio.Compose([Adding(), tio.RandomFlip()])
    cached = Counting(tio.SubjectsDataset(subjects(files), transform), place(tmp_path, where))
    for _ in range(3):
        for n in range(3):
            assert cached[n].history[0].name == "Adding"
    assert count() == 3
    again = Counting(tio.SubjectsDataset(subjects(files), transform), place(tmp_path, where))
    again[0]
    assert count() == (3 if where == "folder" else 4)


@WHERE
@pytest.mark.parametrize("part", ["t1", "seg"])
def test_a_changed_file_is_noticed(tmp_path, files, where, part):
    cached = Counting(tio.SubjectsDataset(subjects(files), Adding()), place(tmp_path, where))
    before = cached[1]
    path = cached.dry_iter()[1][part].path
    tio.Image(torch.ones(1, 14, 15, 16, dtype=before[part].dtype), affine=AFFINE).save(path)
    after = cached[1]
    assert (after[part].data == (2 if part == "t1" else 1)).all()
    assert count() == 2
    cached[1]
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    cached[1]
    assert count() == 3
    if where == "folder":  # the former entry is gone
        names = sorted(each.name for each in (tmp_path / "cache").rglob("*") if each.is_file())
        assert len(names) == 3
        path.unlink()
        with pytest.raises(FileNotFoundError, match=path.name):
            cached[1]


@WHERE
def test_changed_voxels_in_memory_are_noticed(tmp_path, where):
    subject = tio.Subject(t1=tio.ScalarImage(torch.zeros(1, 4, 4, 4)))
    cached = Counting(tio.SubjectsDataset([subject], Adding()), place(tmp_path, where))
    assert (cached[0].t1.data == 1).all()
    subject.t1.data.add_(5)
    assert (cached[0].t1.data == 6).all()
    subject.t1.set_data(torch.full((1, 4, 4, 4), 8.0))
    assert (cached[0].t1.data == 9).all()
    cached[0]
    assert count() == 3
    subject.t1.affine = np.diag([1, 2, 3, 1])
    assert cached[0].t1.spacing == (1, 2, 3)
    assert (subject.t1.data == 8).all()


def test_changed_metadata_are_noticed_in_a_folder(tmp_path, files):
    given = subjects(files)
    cached = tio.CachedDataset(tio.SubjectsDataset(given), tmp_path / "cache")
    assert cached[0].age == 0
    given[0]["age"] = 7
    assert cached[0].age == 7
    given[0].t1["echo"] = 8
    assert cached[0].t1.echo == 8


@WHERE
def test_another_transform_has_other_entries(tmp_path, files, where):
    folder = place(tmp_path, where)
    given = subjects(files)
    one, three = (tio.RescaleIntensity((0, n)) for n in (1, 3))
    cached = Counting(tio.SubjectsDataset(given, one), folder)
    first = cached[0].t1.data
    cached.set_transform(three)
    torch.testing.assert_close(cached[0].t1.data, first * 3)
    cached.set_transform(one)
    assert torch.equal(cached[0].t1.data, first)
    assert count() == (2 if where == "folder" else 3)


def test_a_file_that_a_transform_names_is_part_of_the_key(tmp_path, files):
    target = tmp_path / "target.nii"
    tio.ScalarImage(torch.rand(1, 5, 5, 5)).save(target)
    for shape in ((5, 5, 5), (6, 7, 8)):
        tio.ScalarImage(torch.rand(1, *shape)).save(target)
        dataset = tio.SubjectsDataset(subjects(files), tio.Resample(str(target)))
        assert tio.CachedDataset(dataset, tmp_path / "cache")[0].spatial_shape == shape


def test_a_folder_that_a_transform_names_is_part_of_the_key(tmp_path, files):
    target = tmp_path / "target.zarr"
    for shape in ((5, 5, 5), (6, 7, 8)):
        tio.ScalarImage(torch.rand(1, *shape)).save(target)
        dataset = tio.SubjectsDataset(subjects(files), tio.Resample(str(target)))
        assert tio.CachedDataset(dataset, tmp_path / "cache")[0].spatial_shape == shape


def test_code_of_the_user_is_not_kept_in_a_folder(tmp_path, files):
    transform = tio.Compose([tio.ZNormalization(), Adding(), tio.ZNormalization()])
    dataset = tio.SubjectsDataset(subjects(files), transform)
    assert tio.CachedDataset(dataset).prepared is transform
    cached = tio.CachedDataset(dataset, tmp_path / "cache")
    assert repr(cached.prepared) == "Compose([ZNormalization()])"
    assert_equal(cached[0], dataset[0])
    image = tio.ScalarImage(files[0], reader=lambda path: (torch.ones(1, 4, 4, 4), None))
    dataset = tio.SubjectsDataset([tio.Subject(t1=image)])
    assert tio.CachedDataset(dataset)[0].t1.shape == (1, 4, 4, 4)
    with pytest.raises(TypeError, match="image 't1' must have no reader to be kept in a folder"):
        tio.CachedDataset(dataset, tmp_path / "cache")[0]


def test_subjects_of_one_file_have_entries_of_their_own(tmp_path, files):
    given = [tio.Subject(t1=tio.ScalarImage(files[0], echo=n % 2), age=n // 2) for n in range(4)]
    cached = Counting(tio.SubjectsDataset(given), tmp_path / "cache")
    for _ in range(2):
        assert [(each.age, each.t1.echo) for each in cached] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert count() == 4


@WHERE
def test_voxels_of_inference_mode(tmp_path, where):
    with torch.inference_mode():
        subject = tio.Subject(t1=tio.ScalarImage(torch.ones(1, 4, 4, 4)))
    cached = tio.CachedDataset(tio.SubjectsDataset([subject]), place(tmp_path, where))
    assert cached[0].t1.data.all()
    with torch.inference_mode():
        subject.t1.data.zero_()
    assert not cached[0].t1.data.any()


@WHERE
def test_what_is_returned_may_be_written_to(tmp_path, files, where):
    for transform in (None, tio.ZNormalization(), tio.Compose([tio.ZNormalization(), tio.Flip(0)])):
        cached = tio.CachedDataset(
            tio.SubjectsDataset(subjects(files), transform), place(tmp_path, where)
        )
        expected = cached[0].t1.data.clone()
        for _ in range(2):
            sample = cached[0]
            sample.t1.data.zero_()
            sample.t1["echo"] = 99
            sample["age"] = 99
            assert torch.equal(cached[0].t1.data, expected)
            assert (cached[0].t1.echo, cached[0].age) == (3, 0)


# ---- Damage, and several writers


@pytest.mark.parametrize(
    "damage", ["json", "truncated json", "voxels", "missing", "other", "device"]
)
def test_a_damaged_entry_is_made_again(tmp_path, files, damage):
    folder = tmp_path / "cache"
    transform = tio.Compose(FIXED)
    expected = tio.CachedDataset(tio.SubjectsDataset(subjects(files), transform), folder)[0]
    (entry,) = folder.rglob("*.json")
    voxels = sorted(folder.rglob("*.b2nd"))[0]
    content = entry.read_text()
    if damage == "json":
        entry.write_text("[]")
    elif damage == "truncated json":
        entry.write_text(content[: len(content) // 2])
    elif damage == "voxels":
        voxels.write_bytes(voxels.read_bytes()[:100])
    elif damage == "missing":
        voxels.unlink()
    else:
        values = json.loads(content)
        if damage == "other":
            values["history"][0]["transform"] = "os.system"
        else:
            values["items"]["t1"]["device"] = "cuda:99"
        entry.write_text(json.dumps(values))
    again = tio.CachedDataset(tio.SubjectsDataset(subjects(files), transform), folder)
    assert_equal(again[0], expected)
    assert_equal(again[0], expected)
    assert entry.read_text() == content


def _fill(folder: str, paths: list[Path], start: int) -> list[float]:
    cached = tio.CachedDataset(tio.SubjectsDataset(subjects(paths), tio.Compose(FIXED)), folder)
    order = [(n + start) % 3 for n in range(3)] * 2
    return [float(cached[n].t1.data.double().sum()) for n in sorted(order, key=order.index)]


def test_several_processes_and_threads_write_one_folder(tmp_path, files):
    folder = str(tmp_path / "cache")
    arguments = [(folder, files, n) for n in range(4)]
    context = multiprocessing.get_context("fork")
    with context.Pool(2) as pool:
        sums = pool.starmap(_fill, arguments)
    with ThreadPoolExecutor(4) as threads:
        sums += threads.map(lambda args: _fill(*args), arguments)
    expected = tio.SubjectsDataset(subjects(files), tio.Compose(FIXED))
    totals = [float(expected[n].t1.data.double().sum()) for n in range(3)]
    for n, found in enumerate(sums):
        assert sorted(set(found)) == sorted(totals), n
    left = [each for each in Path(folder).rglob("*") if each.is_file()]
    assert sorted(each.suffix for each in left) == [".b2nd"] * 6 + [".json"] * 3
    assert not list(Path(folder).rglob(".torchio_gpu-*"))


@pytest.mark.parametrize(
    ("where", "method"), [("memory", "fork"), ("folder", "fork"), ("folder", "spawn")]
)
def test_workers(tmp_path, files, where, method):
    transform = tio.Compose([*FIXED, tio.RandomNoise()])
    plain = tio.SubjectsDataset(subjects(files), transform)
    cached = tio.CachedDataset(plain, place(tmp_path, where))
    options = {"num_workers": 2, "multiprocessing_context": method, "seed": 5}
    expected = [batch.t1.data for batch in tio.SubjectsLoader(plain, seed=5)]
    for _ in range(1 if method == "spawn" else 2):
        found = [batch.t1.data for batch in tio.SubjectsLoader(cached, **options)]
        assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True))
    assert len(list(DataLoader(cached, batch_size=3, collate_fn=list))) == 1


@WHERE
def test_queues(tmp_path, files, where):
    transform = tio.Compose([Adding(), tio.RandomFlip()])
    plain = tio.SubjectsDataset(subjects(files), transform)
    cached = Counting(plain, place(tmp_path, where))
    results = []
    for dataset in (plain, cached, cached):
        queue = tio.Queue(dataset, tio.UniformSampler(6), 8, 4, num_workers=2, seed=3)
        results.append(torch.cat([batch.t1.data for batch in tio.SubjectsLoader(queue, 4)]))
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])
    assert count() == 3
    device = [
        torch.cat([batch.t1.data for batch in tio.DeviceQueue(
            dataset, tio.UniformSampler(6), batch_size=2, patches_per_volume=2, seed=3, device="cpu"
        )])
        for dataset in (plain, cached)
    ]  # fmt: skip
    assert torch.equal(*device)


def test_streams_count_the_positions_of_the_fixed_part(files):
    transform = tio.Compose([*FIXED, tio.RandomNoise()])
    plain = tio.SubjectsDataset(subjects(files), transform)
    cached = tio.CachedDataset(plain)
    later = tio.RandomNoise()
    samples = []
    for dataset in (plain, cached, cached):
        with random.use_seed(9):
            samples.append(later(dataset[0]).t1.data)
    assert torch.equal(samples[0], samples[1])
    assert torch.equal(samples[0], samples[2])
