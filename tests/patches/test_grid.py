"""Grid sampler: patches cover the volume, keep world coordinates and can be aggregated."""

import itertools
from collections import Counter

import numpy as np
import pytest
import torch
import torchio
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader

import torchio_gpu as tio
from tests.devices import interpreted
from tests.volumes import oblique_affine, smooth, subject
from torchio_gpu.functional.dispatch import backend

MODES = ("crop", "average", "hann", "gaussian")
#: Volume, patch, overlap: nothing divides anything; an axis that is the patch; single slices.
GRIDS = [
    ((12, 14, 16), (8, 8, 8), (4, 4, 4)),
    ((11, 9, 13), (4, 5, 6), (0, 0, 0)),
    ((11, 9, 13), (4, 9, 6), (2, 4, 0)),
    ((10, 7, 5), (10, 7, 5), (4, 2, 2)),
    ((9, 8, 1), (4, 5, 1), (2, 4, 0)),
    ((1, 8, 9), (1, 8, 4), (0, 0, 2)),
]
PADDED = [
    *GRIDS,
    ((5, 9, 3), (8, 8, 8), (2, 4, 0)),  # larger than the volume
    ((9, 8, 1), (4, 4, 3), (2, 2, 2)),
    ((9, 8, 1), (4, 4, 4), (2, 2, 2)),
]


def image_of_indices(shape, **kwargs):
    """Return an image whose voxels are their flat index."""
    return tio.ScalarImage(torch.arange(float(np.prod(shape))).view(1, *shape), **kwargs)


def first_indices(sampler, axis):
    """Return the first indices of patches along an axis."""
    return sorted({location.index[axis] for location in sampler.patch_locations})


def aggregated(sampler, mode="crop", loader=None):
    """Aggregate the patches of a sampler."""
    aggregator = tio.GridAggregator(sampler, mode)
    for batch in sampler if loader is None else loader:
        aggregator.add_batch(batch.t1.data, batch.patch_location)
    return aggregator.get_output()


class TestLocations:
    @pytest.mark.parametrize(("shape", "size", "overlap"), GRIDS)
    def test_neighbours_share_the_overlap_and_the_last_one_ends_with_the_volume(
        self, shape, size, overlap
    ):
        sampler = tio.GridSampler(subject(shape), size, overlap)
        count = torch.zeros(shape)
        for location in sampler.patch_locations:
            assert location.size == size
            count[location.to_slices()] += 1
        assert count.min() > 0
        for axis in range(3):
            first = first_indices(sampler, axis)
            assert first[0] == 0
            assert first[-1] == shape[axis] - size[axis]
            shared = [one + size[axis] - two for one, two in itertools.pairwise(first)]
            assert all(n == overlap[axis] for n in shared[:-1])
            assert all(overlap[axis] <= n < size[axis] for n in shared[-1:])
        assert len(sampler) == np.prod([len(first_indices(sampler, axis)) for axis in range(3)])

    @pytest.mark.parametrize("padding", [None, "edge"])
    @pytest.mark.parametrize(("shape", "size", "overlap"), GRIDS)
    def test_agree_with_torchio(self, shape, size, overlap, padding):
        """Locations agree; with padding, TorchIO counts from the first padded voxel."""
        data = torch.zeros(1, *shape)
        theirs = torchio.GridSampler(
            torchio.Subject(t1=torchio.ScalarImage(tensor=data)), size, overlap, padding
        ).locations
        ours = tio.GridSampler(
            tio.Subject(t1=tio.ScalarImage(data)), size, overlap, padding
        ).locations
        if padding is not None:
            theirs = theirs - np.tile(np.array(overlap) // 2, 2)
        assert sorted(ours.tolist()) == sorted(theirs.tolist())

    def test_one_number_stands_for_three(self):
        one, three = (
            tio.GridSampler(subject(), 6, 2),
            tio.GridSampler(subject(), (6,) * 3, (2,) * 3),
        )
        assert torch.equal(one.locations, three.locations)

    def test_are_in_c_order_and_equal_in_all_attributes(self):
        sampler = tio.GridSampler(subject(), 6, 2, "edge")
        places = [location.index for location in sampler.patch_locations]
        assert places == list(
            itertools.product(*(first_indices(sampler, axis) for axis in range(3)))
        )
        assert torch.equal(sampler.locations, torch.stack([patch.location for patch in sampler]))
        assert [patch.patch_location for patch in sampler] == sampler.patch_locations
        assert sampler[0].patch_location.index == (-1, -1, -1)

    def test_negative_indices_count_from_the_end(self):
        sampler = tio.GridSampler(subject(), 6, 2)
        for n in (0, 5, len(sampler) - 1):
            other = sampler[n - len(sampler)]
            assert other.patch_location == sampler[n].patch_location
            assert torch.equal(other.t1.data, sampler[n].t1.data)
        assert sampler[torch.tensor(3)].patch_location == sampler[3].patch_location
        for n in (len(sampler), -len(sampler) - 1):
            with pytest.raises(IndexError):
                sampler[n]


class TestRoundTrip:
    @pytest.mark.parametrize("mode", MODES)
    @pytest.mark.parametrize(("shape", "size", "overlap"), GRIDS)
    def test_without_padding(self, shape, size, overlap, mode):
        s = subject(shape)
        out = aggregated(tio.GridSampler(s, size, overlap), mode)
        self.check_equal(out, s.t1.data, mode)

    @pytest.mark.parametrize("mode", MODES)
    @pytest.mark.parametrize(("shape", "size", "overlap"), PADDED)
    def test_with_padding(self, shape, size, overlap, mode):
        s = subject(shape)
        sampler = tio.GridSampler(s, size, overlap, "constant", fill=1e4)
        assert all(patch.t1.spatial_shape == size for patch in sampler)
        self.check_equal(aggregated(sampler, mode), s.t1.data, mode)

    def check_equal(self, out, expected, mode):
        # float32 rounds products and sums of values up to 6, and a quotient; 'crop' copies
        atol = 0 if mode == "crop" else 6e-6
        torch.testing.assert_close(out, expected, rtol=0, atol=atol)

    @pytest.mark.parametrize("workers", [0, 2])
    @pytest.mark.parametrize("make", [DataLoader, tio.SubjectsLoader])
    def test_through_loaders(self, make, workers):
        s = subject()
        sampler = tio.GridSampler(s, 8, 4, "edge")
        loader = make(sampler, batch_size=5, num_workers=workers)
        assert torch.equal(aggregated(sampler, loader=loader), s.t1.data)
        batch = next(iter(loader))
        assert isinstance(batch, tio.SubjectsBatch)
        assert torch.equal(batch.location, sampler.locations[:5])
        assert batch[tio.LOCATION] is batch.location
        assert batch.patch_location == sampler.patch_locations[:5]
        assert batch.age.tolist() == [45] * 5


class TestVoxels:
    @pytest.mark.parametrize("padding", [None, "edge"])
    def test_keep_their_world_coordinates(self, padding):
        shape, affine = (9, 8, 7), oblique_affine(left_handed=True)
        s = tio.Subject(t1=image_of_indices(shape, affine=affine))
        for patch in tio.GridSampler(s, (4, 3, 5), (2, 0, 4), padding):
            inner = np.stack(np.indices(patch.t1.spatial_shape), -1).reshape(-1, 3)
            number = patch.t1.data.flatten().long().numpy()
            outer = np.stack(np.unravel_index(number, shape), -1)
            place = inner @ patch.t1.affine[:3, :3].T + patch.t1.affine[:3, 3]
            expected = outer @ affine[:3, :3].T + affine[:3, 3]
            known = np.array(patch.patch_location.index) + inner
            within = ((known >= 0) & (known < shape)).all(1)
            assert within.any()
            assert (outer == known)[within].all()
            # numbers up to 40 mm, added up in float64
            np.testing.assert_allclose(place[within], expected[within], rtol=0, atol=1e-12)

    @pytest.mark.parametrize(
        "mode",
        ["edge", "wrap", "symmetric", "reflect", "linear_ramp", "empty", "constant", 7, -2.5,
         "minimum", "maximum", "mean", "median"],
    )  # fmt: skip
    def test_outside_are_padded_as_by_numpy(self, mode):
        x = smooth((1, 2, 6, 7, 5))[0]
        s = tio.Subject(t1=tio.ScalarImage(x), seg=tio.LabelMap((x > 0).to(torch.uint8)))
        sampler = tio.GridSampler(s, (4, 6, 8), (2, 4, 2), mode)  # 3 more along K: no voxel fits
        before = -sampler.locations[:, :3].amin(0)
        after = sampler.locations[:, 3:].amax(0) - torch.tensor(x.shape[1:])
        assert (before + after).tolist() == [2, 4, 3]
        width = [(0, 0), *zip(before.tolist(), after.tolist(), strict=True)]
        statistic = {"minimum": np.min, "maximum": np.max, "mean": np.mean, "median": np.median}
        if mode in statistic:  # of the whole sample, where numpy takes that of each line
            padded = np.pad(x, width, constant_values=statistic[mode](x.numpy()))
        elif isinstance(mode, str):
            padded = np.pad(x, width, "constant" if mode == "empty" else mode)
        else:
            padded = np.pad(x, width, constant_values=mode)
        for patch in sampler:
            i, j, k = np.array(patch.patch_location.index) + before.numpy()
            expected = padded[:, i : i + 4, j : j + 6, k : k + 8]
            # float64 rounds a mean of 420 values, and the shares of a ramp
            np.testing.assert_allclose(patch.t1.data, expected, rtol=0, atol=1e-13)
            assert patch.seg.data.dtype == torch.uint8
            assert set(patch.seg.data.unique().tolist()) <= {0, 1}

    def test_fill(self):
        s = subject()
        corner = tio.GridSampler(s, 6, 4, "constant", fill=7)[0]
        assert (corner.t1.data[0, :2] == 7).all()
        assert torch.equal(corner.t1.data[0, 2:, 2:, 2:], s.t1.data[0, :4, :4, :4])
        assert (corner.seg.data[0, :2] == 0).all()

    def test_files_are_read_once_and_not_into_the_subject(self, tmp_path):
        path, x = tmp_path / "t1.nii", smooth((1, 1, 8, 9, 10))[0].float()
        tio.ScalarImage(x, affine=oblique_affine()).save(path)
        s = tio.Subject(t1=tio.ScalarImage(path), seg=tio.LabelMap(path))
        sampler = tio.GridSampler(s, 6, 2)
        assert not s.t1.loaded
        assert not s.seg.loaded
        path.unlink()
        assert torch.equal(aggregated(sampler), x)
        assert not s.t1.loaded

    def test_patches_own_their_memory(self):
        """A view would keep the whole volume in memory, and send it to other processes."""
        s = subject()
        before = s.t1.data.clone()
        patch = tio.GridSampler(s, 6)[1]
        assert patch.t1.data.untyped_storage().nbytes() == 6**3 * 4
        patch.t1.data.zero_()
        assert torch.equal(s.t1.data, before)


class TestMetadata:
    @pytest.mark.parametrize("padding", [None, "edge"])
    def test_is_kept_and_the_subject_is_not_changed(self, padding):
        s = tio.Flip(0)(subject())
        s["name"] = "somebody"
        names, data = list(s.keys()), s.t1.data
        sampler = tio.GridSampler(s, 6, 2, padding)
        for patch in sampler:
            assert (patch.age, patch.name) == (45, "somebody")
            assert [str(record) for record in patch.history] == [str(s.history[0])]
            assert patch.seg.data.dtype == torch.uint8
            assert isinstance(patch.seg, tio.LabelMap)
        patch["name"] = "nobody"
        patch.history.clear()
        assert sampler[-1].name == "somebody"
        assert len(sampler[-1].history) == 1
        assert list(s.keys()) == names
        assert s.t1.data is data
        assert len(s.history) == 1

    def test_the_class_of_a_subject_is_kept(self):
        class Patient(tio.Subject):
            pass

        s = Patient(t1=image_of_indices((4, 4, 4)))
        assert type(tio.GridSampler(s, 2, 0)[0]) is Patient

    def test_each_patch_has_a_seed_of_its_own(self):
        noise = tio.RandomNoise()

        def noisy(seed, order=range(8)):
            torch.manual_seed(seed)
            sampler = tio.GridSampler(subject((4, 4, 4)), 2)
            found = {n: noise(sampler[n]).t1.data - sampler[n].t1.data for n in order}
            return torch.stack([found[n] for n in range(8)])

        first = noisy(0)
        assert torch.equal(first, noisy(0, order=[5, 3, 7, 0, 1, 6, 2, 4]))
        assert len({tuple(x.flatten().tolist()) for x in first}) == 8
        assert not torch.equal(first, noisy(1))


class TestWithoutASubject:
    def test_is_called_with_subjects(self):
        sampler = tio.GridSampler(patch_size=6, patch_overlap=2, padding_mode="constant", fill=3)
        for s in (subject(), subject((7, 8, 9), seed=1)):
            own = tio.GridSampler(s, 6, 2, "constant", 3)
            for patch, expected in zip(sampler(s), own, strict=True):
                assert patch.patch_location == expected.patch_location
                assert torch.equal(patch.t1.data, expected.t1.data)
            assert len(list(sampler(s, 3))) == 3
            assert len(list(sampler(s, 10000))) == len(own)

    @pytest.mark.parametrize("use", [len, lambda s: s[0], lambda s: s.locations, list])
    def test_has_no_patches(self, use):
        with pytest.raises(ValueError, match="subject must be given for a GridSampler"):
            use(tio.GridSampler(patch_size=4))

    def test_aggregators_are_refused(self):
        for what in (tio.GridSampler(patch_size=4), subject()):
            with pytest.raises(TypeError, match="sampler must be a GridSampler of a subject"):
                tio.GridAggregator(what)


@pytest.mark.parametrize(
    ("kwargs", "error"),
    [
        ({"patch_size": None}, "patch_size must be given, got None"),
        (
            {"patch_size": (13, 4, 4)},
            r"patch_size must be at most .*\(12, 14, 16\), .*\(13, 4, 4\)",
        ),
        ({"patch_size": (4, 4)}, "patch_size must be integers > 0, one or three"),
        ({"patch_size": 0}, "patch_size must be integers > 0, one or three, got 0"),
        ({"patch_size": 4.5}, "patch_size must be integers > 0, one or three, got 4.5"),
        ({"patch_size": (8, 8, 1), "patch_overlap": 1}, "patch_overlap must be >= 0 and smaller"),
        ({"patch_overlap": 8}, "patch_overlap must be >= 0 and smaller than the patch"),
        ({"patch_overlap": -2}, "patch_overlap must be integers >= 0, one or three"),
        ({"patch_overlap": (2, 3, 2), "padding_mode": "edge"}, r"must be even .* got \(2, 3, 2\)"),
        ({"padding_mode": "mirror"}, "padding_mode must be a number or one of constant, "),
        ({"padding_mode": "edge", "fill": 3}, "fill must not be given with padding_mode 'edge'"),
    ],
)
def test_errors(kwargs, error):
    with pytest.raises(ValueError, match=error):
        tio.GridSampler(subject(), **{"patch_size": 8, **kwargs})


def test_images_in_different_spaces_are_refused():
    t1 = image_of_indices((8, 8, 8))
    moved = image_of_indices((8, 8, 8), affine=np.diag([1.0, 1, 1.5, 1]))
    with pytest.raises(ValueError, match=r"'t1' and 't2' are up to 3\.5 mm apart"):
        tio.GridSampler(tio.Subject(t1=t1, t2=moved), 4)
    with pytest.raises(ValueError, match=r"images must share a spatial shape.*\(8, 8, 9\)"):
        tio.GridSampler(tio.Subject(t1=t1, t2=image_of_indices((8, 8, 9))), 4)
    with pytest.raises(TypeError, match="subject must be a Subject, got ScalarImage"):
        tio.GridSampler(t1, 4)


def test_the_error_for_single_slices_names_the_patch_size():
    with pytest.raises(ValueError, match="with 1 along the axis of a single slice"):
        tio.GridSampler(subject((8, 8, 1)), 4)


class CountLaunches(TorchDispatchMode):
    """Count operators that write voxels on the device."""

    def __init__(self):
        super().__init__()
        self.found = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor) and out.is_meta and not func.is_view:
            self.found[func._schema.name.partition("::")[2]] += 1
        return out


def test_a_loader_cuts_a_batch_in_one_launch(monkeypatch):
    monkeypatch.setattr(backend, "_why_no_triton", lambda device: None)
    one = subject((12, 14, 16)).to("meta")
    with backend.rehearsing(torch.device("cuda")):
        sampler = tio.GridSampler(one, 4, 2)
        with CountLaunches() as count:
            batch = next(iter(tio.SubjectsLoader(sampler, batch_size=6)))
    assert batch.t1.shape == (6, 1, 4, 4, 4)
    assert count.found == {"gather_patches": 2, "stack": 2}  # one for each image


@interpreted
def test_patches_that_are_cut_together():
    one = subject((9, 10, 11))
    one["where"] = tio.Points(torch.tensor([[1.0, 2.0, 3.0]]), axes="RAS")
    sampler = tio.GridSampler(one, 4, 2, padding_mode="reflect")
    numbers = [3, 0, -1]
    with tio.backend("triton"):
        found = sampler.__getitems__(numbers)
    for patch, number in zip(found, numbers, strict=True):
        other = sampler[number]
        assert torch.equal(patch.t1.data, other.t1.data)
        assert torch.equal(patch.seg.data, other.seg.data)
        np.testing.assert_array_equal(patch.seg.affine, other.seg.affine)
        assert patch.patch_location == other.patch_location
        assert torch.equal(patch.where.data, other.where.data)
        assert patch.streams.seeds == other.streams.seeds
    batch = next(iter(tio.SubjectsLoader(sampler, batch_size=3, seed=4)))
    with tio.backend("triton"):
        same = next(iter(tio.SubjectsLoader(sampler, batch_size=3, seed=4)))
    assert torch.equal(batch.t1.data, same.t1.data)
    assert np.array_equal(batch.streams.seeds, same.streams.seeds)


class Sevens(tio.GridSampler):
    def __getitem__(self, index):
        patch = super().__getitem__(index)
        patch["t1"].set_data(torch.full_like(patch["t1"].data, 7))
        return patch


def test_a_loader_asks_a_subclass_for_its_own_patches():
    sampler = Sevens(tio.Subject(t1=tio.ScalarImage(torch.rand(1, 6, 6, 6))), 3)
    for batch in tio.SubjectsLoader(sampler, batch_size=2):
        assert (batch["t1"].data == 7).all()
