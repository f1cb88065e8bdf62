"""Volumes that stay in their files: queues read the boxes that patches need, and nothing else."""

import copy
import gzip
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

import torchio_gpu as tio
from torchio_gpu.data import ImagesBatch, files
from torchio_gpu.data.unread import UnreadImages, version_of
from torchio_gpu.transforms.pipeline.warp import PendingFieldOfView, PendingWarp

SHAPE = (40, 44, 48)
UNIFORM = tio.UniformSampler(12)
LABELS = tio.LabelSampler(12, "seg", {0: 1, 1: 3})
AUGMENT = tio.Compose(
    [
        tio.RandomAffine(degrees=15, translation=8),
        tio.RandomElasticDeformation(max_displacement=3),
        tio.RandomFlip((0, 1, 2)),
        tio.RandomBiasField(),
        tio.RandomGamma(),
        tio.RandomNoise(std=3),
    ]
)
#: A flip moves voxels; the crop and the pad leave fields of view; the others interpolate.
TRANSFORMS = {
    "nothing": None,
    "flip": tio.RandomFlip(0),
    "all at once": AUGMENT,
    "fields of view": tio.Compose(
        [tio.Crop(4), tio.Pad(6, padding_mode=-3.0), tio.RandomAffine(translation=20)]
    ),
    "resample": tio.Compose([tio.Resample(1.5), tio.RandomNoise(std=2, rician=True)]),
    "dense": tio.RandomDisplacement(amplitude=2.4),
    "mean": tio.RandomAffine(translation=20, default_pad_value="mean"),
    "otsu": tio.RandomAffine(translation=20, default_pad_value="otsu"),
    "windowed": tio.Resample(1.4, image_interpolation="lanczos"),
    "sometimes": tio.OneOf([tio.RandomFlip(1, p=0.5), tio.RandomAffine()]),
}
transforms = pytest.mark.parametrize(
    ("name", "sampler"),
    [(name, UNIFORM) for name in TRANSFORMS] + [(n, LABELS) for n in ("nothing", "all at once")],
    ids=str,
)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """Return subjects whose images were not read: int16 voxels, labels, a point each."""
    folder, found = tmp_path_factory.mktemp("volumes"), []
    affine = np.diag([1, 1.2, 0.9, 1.0])
    affine[:3, 3] = 3, 4, 5
    for n in range(3):
        source = torch.Generator().manual_seed(n)
        smooth = torch.rand(1, 1, 8, 8, 8, generator=source) * 500 - 50
        voxels = torch.nn.functional.interpolate(smooth, SHAPE, mode="trilinear")[0]
        tio.ScalarImage(voxels.to(torch.int16), affine=affine).save(folder / f"t1_{n}.nii")
        tio.LabelMap((voxels > 300).to(torch.uint8), affine=affine).save(folder / f"seg_{n}.mha")
        points = torch.tensor([[10.0, 12, 20], [30, 30, 30]])
        found.append({"t1": folder / f"t1_{n}.nii", "seg": folder / f"seg_{n}.mha", "at": points})
    return found


def subjects(stored, **more):
    """Return new subjects of the stored files, unread."""
    found = []
    for n, each in enumerate(stored):
        t1, seg = tio.ScalarImage(each["t1"]), tio.LabelMap(each["seg"])
        points = tio.Points(each["at"], axes="IJK", affine=t1.affine)
        found.append(tio.Subject(t1=t1, seg=seg, points=points, number=n, **more))
    return found


def dataset(stored, unread, transform=None):
    return tio.SubjectsDataset(subjects(stored), transform, load_getitem=not unread)


@pytest.fixture
def voxels_read(monkeypatch):
    """Count the voxels that are read from files, in the largest region and in all."""
    counts = {"most": 0, "all": 0}
    before = files.io.read_volume

    def counted(path, region=None):
        volume = before(path, region)
        counts["most"] = max(counts["most"], volume.data.numel())
        counts["all"] += volume.data.numel()
        return volume

    monkeypatch.setattr(files.io, "read_volume", counted)
    return counts


def check_equal(one, other, tolerance=0.0):
    """Check that two subjects or batches are the same, their voxels within a tolerance."""
    assert list(one) == list(other)
    for name in ("t1", "seg"):
        a, b = one[name].data, other[name].data
        assert a.dtype == b.dtype
        # rounding of a coordinate may turn a tie between two labels
        torch.testing.assert_close(a, b, rtol=0, atol=tolerance if name == "t1" else 0)
        np.testing.assert_allclose(one[name].affine, other[name].affine, atol=1e-9)
        assert one[name]["path"] == other[name]["path"]
    assert one.patch_location == other.patch_location
    assert str(one.history) == str(other.history)
    assert (one.streams.seeds == other.streams.seeds).all()


class TestQueue:
    @transforms
    def test_patches_are_those_of_whole_volumes(self, stored, name, sampler):
        """Coordinates are rounded in float32 on regions of other sizes: 1e-5 voxels, times 500."""
        options = {"transform": TRANSFORMS[name], "patches_per_volume": 3, "seed": 4}
        unread, whole = (
            list(tio.Queue(dataset(stored, kind), sampler, 60, num_workers=n, **options))
            for kind, n in ((True, 2), (False, 0))
        )
        assert len(unread) == len(whole) == 9
        for a, b in zip(unread, whole, strict=True):
            check_equal(a, b, 0 if name in ("nothing", "flip") else 0.02)
            torch.testing.assert_close(a.points.data, b.points.data, atol=1e-4, rtol=0)
            np.testing.assert_allclose(a.points.affine, b.points.affine, atol=1e-9)

    @pytest.mark.parametrize("transform", [None, AUGMENT], ids=["nothing", "all at once"])
    @pytest.mark.parametrize(
        "sampler",
        [
            tio.UniformSampler(12, padding_mode="constant", fill=7),
            tio.UniformSampler((50, 12, 12), padding_mode=-2),
            tio.GridSampler(None, 20, 4),
            tio.GridSampler(None, 20, 4, "constant"),
        ],
        ids=str,
    )
    def test_padding_and_grids(self, stored, sampler, transform):
        options = {"transform": transform, "patches_per_volume": 5, "seed": 4}
        unread, whole = (
            list(tio.Queue(dataset(stored, kind), sampler, 60, **options)) for kind in (True, False)
        )
        assert len(unread) == len(whole) == 15
        for a, b in zip(unread, whole, strict=True):
            check_equal(a, b, 0.02 if transform else 0)

    def test_only_boxes_are_read(self, stored, voxels_read):
        source = dataset(stored, True)
        assert len(list(tio.Queue(source, UNIFORM, 60, 4, seed=1))) == 12
        assert voxels_read == {"most": 12**3, "all": 2 * 12 * 12**3}
        flip = tio.Compose([tio.RandomFlip(0), tio.RandomNoise()])
        list(tio.Queue(source, UNIFORM, 60, 4, transform=flip, seed=1))
        assert voxels_read == {"most": 12**3, "all": 2 * 2 * 12 * 12**3}
        assert not any(image.loaded for s in source.dry_iter() for image in s.get_images(False))

    def test_the_displacement_bounds_a_box(self, stored, voxels_read):
        """A box grows with the displacement, and stays far from the volume of 40 x 44 x 48."""
        sides = []
        for displacement in (0.5, 4):
            voxels_read["most"] = 0
            elastic = tio.RandomElasticDeformation(5, displacement, default_pad_value=0)
            list(tio.Queue(dataset(stored, True), UNIFORM, 60, 9, transform=elastic, seed=1))
            sides.append(voxels_read["most"] ** (1 / 3))
        assert 14 <= sides[0] < 16 < sides[1] <= 12 + 2 * (4 / 0.9 + 1) + 1

    def test_the_transform_of_a_dataset_is_computed_for_patches_too(self, stored, voxels_read):
        unread = list(tio.Queue(dataset(stored, True, AUGMENT), UNIFORM, 60, 3, seed=4))
        whole = list(tio.Queue(dataset(stored, False, AUGMENT), UNIFORM, 60, 3, seed=4))
        for a, b in zip(unread, whole, strict=True):
            check_equal(a, b, 0.02)

    def test_noise_is_that_of_the_volume(self, stored):
        """Patches of a volume have different noise, but where they overlap."""
        noise = tio.RandomNoise(std=(10, 10))
        grid = tio.GridSampler(None, 20, (10, 10, 10))
        source = tio.Queue(dataset(stored[:1], True), grid, 60, 60, transform=noise, seed=4)
        volume = tio.ScalarImage(stored[0]["t1"]).data
        total, count = torch.zeros(volume.shape), torch.zeros(volume.shape)
        for patch in source:
            place = (slice(None), *patch.patch_location.to_slices())
            added = patch.t1.data - volume[place]
            known = count[place] > 0
            before = total[place][known] / count[place][known]
            torch.testing.assert_close(added[known], before, atol=1e-2, rtol=0)
            total[place] += added
            count[place] += 1
        noise = total / count
        assert 9.8 < noise.std() < 10.2
        assert (noise[:, :20] * noise[:, 20:]).mean().abs() < 1  # 100, were they the same

    def test_workers_of_a_loader(self, stored):
        def sums(**kwargs):
            queue = tio.Queue(dataset(stored, True), UNIFORM, 60, 2, transform=AUGMENT, seed=4)
            batches = tio.SubjectsLoader(queue, batch_size=2, **kwargs)
            return sorted(data.sum().item() for batch in batches for data in batch.t1.data)

        np.testing.assert_allclose(sums(), sums(num_workers=1), rtol=1e-6)

    def test_samplers_of_users_get_unread_subjects(self, stored, voxels_read):
        def corners(subject, number):
            return (subject[:n, :3, :3] for n in range(1, number + 1))

        patches = list(tio.Queue(dataset(stored, True), corners, 60, 2, seed=1))
        assert sorted(patch.t1.shape[1] for patch in patches) == [1, 1, 1, 2, 2, 2]
        assert voxels_read["most"] == 18


class TestDeviceQueue:
    @transforms
    def test_batches_are_those_of_loaded_volumes(self, stored, name, sampler):
        """Bit for bit, but where a loaded volume is read whole as most of it is needed."""
        epochs = {}
        for unread, threads in ((False, 0), (True, 0), (True, 2)):
            queue = tio.DeviceQueue(
                *(dataset(stored, unread), sampler, TRANSFORMS[name], 2, 2),
                device="cpu",
                seed=4,
                num_workers=threads,
            )
            epochs[unread, threads] = [*queue, *queue]
            kept = [queue.cache._get(n, {}, {}).batch for n in range(3)]
            assert {i.unread for batch in kept for i in batch.images.values()} == {unread}
        for ahead, later, loaded in zip(*epochs.values(), strict=True):
            check_equal(ahead, loaded, 0.02 if name == "dense" else 0)
            check_equal(later, loaded, 0.02 if name == "dense" else 0)

    def test_only_boxes_are_read(self, stored, voxels_read):
        queue = tio.DeviceQueue(dataset(stored, True), UNIFORM, None, 2, 2, device="cpu")
        assert len(list(queue)) == 4
        assert voxels_read == {"most": 12**3, "all": 2 * 6 * 12**3}

    def test_a_minimum_is_computed_once(self, stored, voxels_read):
        """The first epoch looks at each volume, by a box at a time; others read boxes alone."""
        move = tio.RandomAffine(translation=(30, 30), degrees=0, scales=(1, 1))
        queue = tio.DeviceQueue(dataset(stored, True), UNIFORM, move, 1, 1, device="cpu", seed=1)
        epochs = []
        for _ in range(2):
            voxels_read["all"] = 0
            list(queue)
            epochs.append(voxels_read["all"])
        assert epochs[0] > 3 * 40 * 44 * 48
        assert epochs[1] < 3 * 2 * 15**3

    def test_volumes_of_several_shapes_and_places(self, stored, tmp_path):
        """A batch may mix shapes, unread files, others that are read, and volumes in memory."""
        each = subjects(stored)
        t1 = each[1].t1[2:38, 5:40, 1:47]
        t1.save(tmp_path / "t1.nii.gz")
        each[1] = tio.Subject(
            t1=tio.ScalarImage(tmp_path / "t1.nii.gz"), seg=each[1].seg[2:38, 5:40, 1:47]
        )
        each[2].load()
        for one in each:
            one.pop("points", None)
            one["number"] = 0
        batches = []
        for unread in (True, False):
            source = tio.SubjectsDataset(each, load_getitem=not unread)
            options = {"device": "cpu", "seed": 4, "num_workers": 1}
            batches.append(list(tio.DeviceQueue(source, LABELS, AUGMENT, 3, 3, **options)))
        for a, b in zip(*batches, strict=True):
            check_equal(a, b)

    def test_an_error_of_a_file_reaches_the_loop(self, stored, tmp_path):
        shutil.copy(stored[0]["t1"], tmp_path / "t1.nii")
        one = tio.Subject(t1=tio.ScalarImage(tmp_path / "t1.nii"))
        source = tio.SubjectsDataset([one], load_getitem=False)
        queue = tio.DeviceQueue(source, UNIFORM, None, device="cpu", num_workers=1)
        assert len(list(queue)) == 1
        os.truncate(tmp_path / "t1.nii", 1000)
        with pytest.raises(OSError, match=r"t1\.nii.* should hold voxels"):
            list(queue)
        tio.ScalarImage(torch.zeros(1, 20, 20, 20)).save(tmp_path / "t1.nii")
        with pytest.raises(OSError, match=r"must not change while it is used: its shape was .*40"):
            list(queue)


class TestGrid:
    @pytest.mark.parametrize("padding", [None, "constant", 9])
    def test_patches_are_those_of_whole_volumes(self, stored, voxels_read, padding):
        one = subjects(stored)[0]
        whole = tio.GridSampler(one, (20, 12, 24), 4, padding)
        voxels_read["most"] = 0
        unread = tio.GridSampler(one, (20, 12, 24), 4, padding, load=False)
        assert len(unread) == len(whole) > 8
        for loader in (list, lambda grid: unbatched(grid, num_workers=1), lambda g: list(g(one))):
            voxels = [sampler.t1.data for sampler in loader(unread)]
            expected = [sampler.t1.data for sampler in loader(whole)]
            assert all(map(torch.equal, voxels, expected))
        tensors = (grid.tensor("t1", grid.patch_locations[2:5]) for grid in (unread, whole))
        assert torch.equal(*tensors)
        assert not unread.subject.t1.loaded

    def test_padding_that_needs_the_volume(self, stored):
        with pytest.raises(ValueError, match=r"load must be True where .*: padding by 'mean'"):
            tio.GridSampler(subjects(stored)[0], 8, 2, "mean", load=False)

    def test_prediction(self, stored, voxels_read):
        image = tio.ScalarImage([stored[0]["t1"], stored[1]["t1"]])
        arguments = {"patch_size": 16, "patch_overlap": 4, "padding_mode": "constant"}
        predicted = tio.predict_by_patches(lambda x: x * 2, image, load=False, **arguments)
        assert voxels_read["most"] == 16**3
        assert not image.loaded
        assert torch.equal(predicted, tio.predict_by_patches(lambda x: x * 2, image, **arguments))
        several = tio.Subject(a=image, b=image)
        with pytest.raises(ValueError, match="load must be True for several images"):
            tio.predict_by_patches(torch.abs, several, 16, image=["a", "b"], load=False)


def unbatched(grid, **kwargs):
    batches = tio.SubjectsLoader(grid, batch_size=3, **kwargs)
    return [patch for batch in batches for patch in batch.unbatch()]


def shifted(subject):
    return subject


WHOLE = {
    "RandomBlur needs the whole volume": tio.Compose([tio.RandomFlip(), tio.RandomBlur()]),
    "ZNormalization needs the whole volume": tio.ZNormalization(),
    "Pad needs the whole volume": tio.Pad(2, padding_mode="minimum"),
    "Lambda needs the whole volume": tio.Compose([tio.Lambda(torch.abs), tio.RandomFlip()]),
    "shifted takes whole subjects": tio.Compose([shifted, tio.RandomFlip()]),
    "RandomFlip keeps whole images": tio.RandomFlip(keep={"t1": "before"}),
    "RandomAffine interpolates by B-splines": tio.RandomAffine(image_interpolation="bspline"),
    "RandomAffine samples what RandomNoise computes": tio.Compose(
        [tio.RandomNoise(), tio.RandomAffine()]
    ),
}


class TestWhole:
    @pytest.mark.parametrize("why", WHOLE)
    def test_steps_that_need_whole_volumes_are_named_early(self, stored, why):
        source = dataset(stored, True)
        wish = f"load_getitem must be True where whole volumes are needed: {why}"
        for make in (tio.Queue, tio.DeviceQueue):
            with pytest.raises(ValueError, match=wish):
                make(source, UNIFORM, transform=WHOLE[why])
        with pytest.raises(ValueError, match=wish):
            tio.Queue(dataset(stored, True, WHOLE[why]), UNIFORM)

    def test_what_else_needs_whole_volumes(self, stored):
        with pytest.raises(ValueError, match="whole volumes are needed: padding by 'reflect'"):
            tio.Queue(dataset(stored, True), tio.UniformSampler(4, padding_mode="reflect"))
        with pytest.raises(ValueError, match=r"transform takes whole subjects, .*shifted"):
            tio.Queue(dataset(stored, True, shifted), UNIFORM)
        with pytest.raises(ValueError, match=r"RandomGamma.* is applied to what .*RandomFlip"):
            tio.Queue(dataset(stored, True, tio.RandomFlip()), UNIFORM, transform=tio.RandomGamma())
        with pytest.raises(ValueError, match="patch_sampler takes whole subjects"):
            tio.Queue(dataset(stored, True), shifted, transform=tio.RandomGamma())
        with pytest.raises(ValueError, match=r"a DeviceQueue keeps what .*RandomFlip"):
            tio.DeviceQueue(dataset(stored, True, tio.RandomFlip()), UNIFORM)

    def test_a_volume_is_not_read_by_mistake(self, stored):
        images = UnreadImages(tio.ScalarImage(stored[0]["t1"]), {})
        with pytest.raises(RuntimeError, match=r"load_getitem must be True.*t1_0\.nii"):
            images.data  # noqa: B018


class TestFiles:
    def test_files_that_are_sliced(self, stored, tmp_path):
        plain, meta = Path(stored[0]["t1"]), Path(stored[0]["seg"])
        assert files.slices(plain, None)
        assert files.slices(meta, None)
        assert files.slices([plain, plain], None)
        assert not files.slices(plain, lambda path: None)
        packed = tmp_path / "t1.nii"  # gzip by another name
        packed.write_bytes(gzip.compress(plain.read_bytes()))
        image = tio.ScalarImage(plain)
        image.save(tmp_path / "t1.nii.gz")
        image.save(tmp_path / "t1.nrrd")
        nibabel.load(plain)
        import SimpleITK as sitk

        sitk.WriteImage(image.as_sitk(), str(tmp_path / "packed.mha"), useCompression=True)
        for name in ("t1.nii", "t1.nii.gz", "t1.nrrd", "packed.mha"):
            assert not files.slices(tmp_path / name, None), name

    def test_other_files_are_read_once_for_a_subject(self, stored, tmp_path, voxels_read):
        tio.ScalarImage(stored[0]["t1"]).save(tmp_path / "t1.nii.gz")
        voxels_read["all"] = 0
        one = tio.Subject(t1=tio.ScalarImage(tmp_path / "t1.nii.gz"))
        list(tio.Queue(tio.SubjectsDataset([one], load_getitem=False), UNIFORM, 60, 5, seed=1))
        assert voxels_read["all"] == 40 * 44 * 48

    @pytest.mark.parametrize("rule", ["minimum", "mean", "otsu"])
    @pytest.mark.parametrize("box", [(40, 44, 7), (13, 11, 17), (128, 128, 128)])
    def test_fills_are_those_of_the_volume(self, stored, rule, box):
        image = tio.ScalarImage(stored[0]["t1"])
        images = UnreadImages(image, {})
        images.box_at_a_time = box
        whole = tio.ImagesBatch.from_images([copy.copy(image)])
        expected = whole.fill_value(rule)
        assert torch.equal(images.fill_value(rule), expected)
        assert torch.equal(images.floating().fill_value(rule), expected.float())
        assert images.fill_value(5) == 5

    def test_a_file_that_changed_has_another_fill(self, tmp_path):
        path, fills = tmp_path / "t1.nii", []
        move = tio.RandomAffine(translation=(30, 30), degrees=0, scales=(1, 1))
        source = tio.SubjectsDataset(
            [tio.Subject(t1=tio.ScalarImage(path, verify_path=False))], load_getitem=False
        )
        queue = tio.Queue(source, tio.UniformSampler(8), transform=move, seed=1)
        for value in (3.0, 11.0):
            tio.ScalarImage(torch.full((1, 20, 20, 20), value)).save(path)
            os.utime(path, (value, value))
            fills.append({voxel for patch in queue for voxel in patch.t1.data.unique().tolist()})
        assert fills == [{3.0}, {11.0}]

    def test_boxes_outside_are_zero(self, stored):
        image = tio.ScalarImage(stored[0]["t1"])
        images, voxels = UnreadImages(image, {}), copy.copy(image).data
        part = images.part(np.array([[-2, 40, 3]]), (5, 8, 4))
        assert torch.equal(part[0, :, 2:, :4], voxels[:, :3, 40:, 3:7])
        assert part[0, :, :2].count_nonzero() == part[0, :, :, 4:].count_nonzero() == 0
        assert images.part(np.array([[50, 0, 0]]), (2, 2, 2)).count_nonzero() == 0


MEMORY = """
    import sys, threading, time
    import torch, torchio_gpu as tio

    def used():
        lines = (line.split() for line in open("/proc/self/status"))
        return next(int(line[1]) / 1024 for line in lines if line[0] == "RssAnon:")

    def epoch(path):
        steps = [tio.RandomAffine(degrees=5), tio.RandomElasticDeformation(8, 2), tio.RandomNoise()]
        source = tio.SubjectsDataset([tio.Subject(t1=tio.ScalarImage(path))], load_getitem=False)
        options = {"transform": tio.Compose(steps), "patches_per_volume": 6, "seed": 1}
        sampler = tio.UniformSampler(48)
        if sys.argv[1] == "Queue":
            patches = list(tio.Queue(source, sampler, 6, **options))
        else:
            patches = list(tio.DeviceQueue(source, sampler, device="cpu", num_workers=1, **options))
        assert len(patches) == 6

    small, large = sys.argv[2:]
    epoch(small)
    before, most, done = used(), [0], []

    def watch():
        while not done:
            most[0] = max(most[0], used())
            time.sleep(0.001)

    thread = threading.Thread(target=watch)
    thread.start()
    epoch(large)
    done.append(True)
    thread.join()
    print(most[0] - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc of Linux")
@pytest.mark.parametrize("kind", ["Queue", "DeviceQueue"])
def test_memory_does_not_grow_with_the_volume(kind, tmp_path):
    """A volume of 200 MB, whose file has holes, takes 60 MB, as one of 1 GB takes 300.

    Pages of mapped files (RssFile) are not counted: the system drops them when it needs memory.
    """
    for name, side in (("small", 64), ("large", 368)):
        header = nibabel.Nifti1Header()
        header.set_data_dtype(np.float32)
        header.set_data_shape((side, side, side))
        header.set_sform(np.eye(4), 1)
        header["vox_offset"] = 352
        with open(tmp_path / f"{name}.nii", "wb") as file:
            file.write(header.binaryblock + bytes(4))
            file.truncate(352 + 4 * side**3)
    command = [sys.executable, "-c", textwrap.dedent(MEMORY), kind]
    command += [str(tmp_path / "small.nii"), str(tmp_path / "large.nii")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert float(re.findall(r"[\d.-]+", done.stdout)[-1]) < 60


@pytest.mark.parametrize("name", ["x.h5::/a/t1", "x.zarr"])
def test_changes_of_members_and_folders_are_noticed(tmp_path, name):
    pytest.importorskip("h5py" if ".h5" in name else "zarr")
    path = Path(tmp_path, name)
    for value in (1.0, 2.0):
        voxels = torch.full((1, 8, 9, 10), value)
        if ".h5" in name:
            import h5py

            with h5py.File(tmp_path / "x.h5", "w") as file:
                file["a/t1"] = voxels.numpy()
        else:
            tio.ScalarImage(voxels).save(path)
        version = version_of(path)
        assert version == version_of(path)
        assert files.slices(path, None)
        subject = tio.Subject(t1=tio.ScalarImage(path))
        dataset = tio.SubjectsDataset([subject], load_getitem=False)
        queue = tio.Queue(dataset, tio.UniformSampler(8), 4, 2, seed=0)
        assert all((patch.t1.data == value).all() for patch in queue)
    tio.ScalarImage(voxels).save(tmp_path / ("x.h5" if ".h5" in name else name))
    assert version_of(path) != version


@pytest.mark.parametrize("rule", ["minimum", "mean"])
def test_complex_images_in_a_device_queue(rule):
    voxels = torch.rand(1, 10, 10, 10, dtype=torch.complex64)
    dataset = tio.SubjectsDataset([tio.Subject(t1=tio.ScalarImage(voxels))])
    transform = tio.RandomAffine(default_pad_value=rule)
    queue = tio.DeviceQueue(dataset, tio.UniformSampler(6), transform, 2, 2, seed=0, device="cpu")
    for batch in queue:
        assert batch.t1.data.is_complex()


def test_fills_are_known_by_ends_up_to_rounding():
    class Recording(ImagesBatch):
        def known(self, keys, compute):
            keys_seen.append(list(keys))
            return compute()

    keys_seen = []
    images = Recording(torch.rand(1, 1, 6, 6, 6), np.eye(4)[None])
    for shift in (0, 1e-13, -1e-13, 1e-3):
        low, high = np.full((1, 3), shift), np.full((1, 3), 4.5 + shift)
        fields = [PendingFieldOfView(low, high, "minimum")]
        PendingWarp(maps=None, kind="intensity", fields_of_view=fields).resolved_fields(images)
    assert keys_seen[0] == keys_seen[1] == keys_seen[2] != keys_seen[3]
