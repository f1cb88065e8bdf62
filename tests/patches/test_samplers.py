"""Random samplers: probabilities of locations, padding, and voxels of patches."""

import copy
import pickle

import numpy as np
import pytest
import torch

import torchio_gpu as tio
from tests.volumes import oblique_affine
from torchio_gpu.patches.sampling import weights as weights_module

#: With fixed seeds a test of frequencies never changes its mind; this says how sure it is.
LEVEL = 1e-3

EVERY = [
    lambda *args, **kwargs: tio.UniformSampler(*args, **kwargs),
    lambda *args, **kwargs: tio.WeightedSampler(*args, probability_map="t1", **kwargs),
    lambda *args, **kwargs: tio.LabelSampler(*args, label_name="seg", **kwargs),
]
every = pytest.mark.parametrize("make", EVERY, ids=["uniform", "weighted", "label"])


def image_and_labels(shape=(7, 6, 5), channels=1, seed=0, **more):
    """Return a subject whose images can both be probability maps."""
    generator, affine = torch.Generator().manual_seed(seed), oblique_affine()
    voxels = torch.rand(channels, *shape, generator=generator) + 0.1
    labels = torch.randint(0, 3, (1, *shape), generator=generator, dtype=torch.uint8)
    return tio.Subject(
        t1=tio.ScalarImage(voxels, affine=affine), seg=tio.LabelMap(labels, affine=affine), **more
    )


def with_weights(weights, **more):
    weights = torch.as_tensor(weights)[None]
    return tio.Subject(w=tio.ScalarImage(weights), **more)


def with_labels(labels):
    return tio.Subject(seg=tio.LabelMap(torch.as_tensor(labels, dtype=torch.int16)[None]))


def counts_of_locations(sampler, s, number, middle=True):
    """Count how often each voxel of a subject was the centre, or the first voxel, of a patch."""
    counts = np.zeros(s.spatial_shape, dtype=int)
    for patch in sampler(s, number):
        at = np.array(patch.patch_location.index)
        counts[tuple(at + np.array(sampler.patch_size) // 2 if middle else at)] += 1
    return counts


def is_likely(counts, shares):
    """Test counts against probabilities by chi-square; zero probabilities need zero counts."""
    counts, shares = np.ravel(counts), np.ravel(shares).astype(np.float64)
    assert (counts[shares == 0] == 0).all()
    counts, shares = counts[shares > 0], shares[shares > 0]
    expected = shares / shares.sum() * counts.sum()
    assert expected.min() >= 5  # or the test would not be one
    statistic = ((counts - expected) ** 2 / expected).sum()
    freedom = torch.tensor(len(counts) - 1, dtype=torch.float64)
    return torch.special.gammaincc(freedom / 2, torch.tensor(statistic / 2)) > LEVEL  # chi-square


def possible_centres(shape, size):
    """Mask of the voxels that may be the centre of a patch, [I, J, K] of 0 and 1."""
    inside = np.zeros(shape)
    ends = [(n // 2, whole - n + n // 2 + 1) for n, whole in zip(size, shape, strict=True)]
    inside[tuple(slice(*each) for each in ends)] = 1
    return inside


def indices(patches):
    return [patch.patch_location.index for patch in patches]


class TestArguments:
    def test_uniform(self):
        s = image_and_labels()
        for size in (3, (3, 2, 4), np.array([3, 2, 4]), torch.tensor([3, 2, 4])):
            expected = (3, 3, 3) if isinstance(size, int) else (3, 2, 4)
            for sampler in (tio.UniformSampler(size), tio.UniformSampler(patch_size=size)):
                assert (sampler.subject, sampler.patch_size) == (None, expected)
            for sampler in (tio.UniformSampler(s, size), tio.UniformSampler(s, patch_size=size)):
                assert (sampler.subject, sampler.patch_size) == (s, expected)

    def test_weighted(self):
        s = image_and_labels()
        for sampler in (
            tio.WeightedSampler(4, "t1"),
            tio.WeightedSampler((4, 4, 4), probability_map="t1"),
            tio.WeightedSampler(patch_size=4, probability_map="t1"),
            tio.WeightedSampler(s, 4, "t1"),
            tio.WeightedSampler(s, patch_size=4, probability_map="t1"),
        ):
            assert (sampler.patch_size, sampler.probability_map) == ((4, 4, 4), "t1")
            assert sampler(s).t1.shape == (1, 4, 4, 4)

    def test_label(self):
        s, shares = image_and_labels(), {0: 1.0, 1: 2}
        for sampler in (
            tio.LabelSampler(4, "seg", shares),
            tio.LabelSampler(4, label_name="seg", label_probabilities=shares),
            tio.LabelSampler(patch_size=4, label_name="seg", label_probabilities=shares),
            tio.LabelSampler(s, 4, "seg", shares),
            tio.LabelSampler(s, 4, label_name="seg", label_probabilities=shares),
        ):
            assert (sampler.patch_size, sampler.label_name) == ((4, 4, 4), "seg")
            assert sampler.label_probabilities == shares
        assert tio.LabelSampler(4).label_name is None
        assert tio.LabelSampler(4)(s).seg.shape == (1, 4, 4, 4)

    @pytest.mark.parametrize(
        ("kind", "args", "kwargs", "match"),
        [
            ("Uniform", (), {}, "patch_size must be given, got None"),
            ("Uniform", (8, 8), {}, "patch_size must be given once"),
            ("Uniform", (8,), {"patch_size": 8}, "patch_size must be given once"),
            ("Uniform", (8, "t1"), {}, "t1"),
            ("Weighted", (8, "t1", "t2"), {}, "_map must be given once, got 't1' and 't2'"),
            ("Weighted", (8, "t1"), {"probability_map": "t2"}, "_map must be given once"),
            ("Weighted", (8,), {}, "probability_map must name an image"),
            ("Label", (8, "seg"), {"label_name": "other"}, "label_name must be given once"),
            (
                "Label",
                (8, "seg", {1: 1}),
                {"label_probabilities": {1: 1}},
                "ies must be given once",
            ),
            ("Label", (8,), {"label_name": 5}, "label_name must"),
        ],
    )
    def test_missing_and_repeated_arguments_are_refused(self, kind, args, kwargs, match):
        with pytest.raises((TypeError, ValueError), match=match):
            getattr(tio, f"{kind}Sampler")(*args, **kwargs)


class TestFrequencies:
    @pytest.mark.parametrize("size", [(2, 3, 1), (5, 4, 2), (1, 1, 3)])
    def test_uniform_over_all_possible_corners(self, size):
        s = image_and_labels((5, 4, 3))
        ends = [slice(0, whole - n + 1) for n, whole in zip(size, (5, 4, 3), strict=True)]
        shares = np.zeros((5, 4, 3))
        shares[tuple(ends)] = 1
        assert is_likely(
            counts_of_locations(tio.UniformSampler(size), s, 4000, middle=False), shares
        )

    @pytest.mark.parametrize("padding", [None, "constant"])
    @pytest.mark.parametrize("size", [(1, 2, 3), (4, 3, 2), (3, 3, 1), (2, 4, 5)])
    def test_proportional_to_the_weights(self, size, padding):
        shape = (6, 5, 6)
        rng = np.random.default_rng(5)
        weights = rng.integers(1, 6, shape) * rng.integers(0, 2, shape)
        weights[0], weights[:, :, -1] = 0, 0
        s = with_weights(weights.astype(np.float32))
        sampler = tio.WeightedSampler(size, "w", padding_mode=padding)
        shares = weights * possible_centres(shape, size) if padding is None else weights
        assert 0 < (shares > 0).sum() < weights.size
        assert is_likely(counts_of_locations(sampler, s, 4000), shares)

    @pytest.mark.parametrize("size", [(1, 1, 1), (2, 3, 2)])
    def test_labels_first_and_then_voxels(self, size):
        shape = (6, 7, 5)
        labels = np.random.default_rng(2).choice([0, 1, 2, 7], shape, p=[0.7, 0.2, 0.05, 0.05])
        wanted = {0: 1.0, 1: 1, 2: 2, 7: 0}
        inside = possible_centres(shape, size)
        counts = counts_of_locations(
            tio.LabelSampler(size, "seg", wanted), with_labels(labels), 6000
        )
        here = {label: (labels == label) * inside for label in wanted}
        assert min(mask.sum() for mask in here.values()) > 0
        assert is_likely([(counts * here[label]).sum() for label in wanted], list(wanted.values()))
        for label in (0, 1, 2):
            assert is_likely(counts * here[label], here[label])
        assert (counts * here[7]).sum() == 0

    def test_labels_without_voxels_are_not_drawn(self):
        labels = np.zeros((6, 6, 6))
        labels[2:4] = 1
        labels[0] = 2  # around which no patch fits
        sampler = tio.LabelSampler(3, "seg", {1: 0.3, 2: 0.5, 9: 0.2})
        counts = counts_of_locations(sampler, with_labels(labels), 3000)
        assert is_likely(counts, (labels == 1) * possible_centres((6, 6, 6), (3, 3, 3)))

    def test_labelled_voxels_are_equally_likely_by_default(self):
        labels = np.random.default_rng(1).choice([-1, 0, 1, 4], (5, 4, 4))
        assert is_likely(
            counts_of_locations(tio.LabelSampler(1), with_labels(labels), 3000), labels > 0
        )

    def test_label_probabilities_of_any_magnitude(self):
        labels = np.random.default_rng(1).choice([0, 1], (5, 4, 4))
        for scale in (1e-60, 1e60):
            sampler = tio.LabelSampler(1, "seg", {0: scale, 1: 3 * scale})
            counts = counts_of_locations(sampler, with_labels(labels), 2000)
            assert is_likely([counts[labels == 0].sum(), counts[labels == 1].sum()], [1, 3])


class TestZeroWeights:
    @pytest.mark.parametrize("values", [(1e30, 1e-30), (1e-30, 1e-45), (1.0, 1e-8), (1e-45, 1e-45)])
    def test_never_drawn_beside_weights_of_any_magnitude(self, values):
        """1e-45 is the smallest number in float32."""
        generator = np.random.default_rng(3)
        weights = generator.choice([0, *values], (8, 8, 8), p=[0.8, 0.1, 0.1]).astype(np.float32)
        assert len(np.unique(weights)) == len({0, *values})
        counts = counts_of_locations(tio.WeightedSampler(1, "w"), with_weights(weights), 3000)
        assert counts[weights == 0].sum() == 0
        # what the sum of all does not notice is not drawn either: expected 3e-8 times or less
        if values[0] > values[1] * 1e10:
            assert counts[weights == np.float32(values[1])].sum() == 0

    @pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.float16, torch.float64])
    def test_a_single_voxel_is_found(self, dtype):
        for at in ((0, 0, 0), (3, 4, 5), (2, 0, 5), (0, 4, 0)):
            weights = torch.zeros(4, 5, 6, dtype=dtype)
            weights[at] = 1
            patches = tio.WeightedSampler(1, "w")(with_weights(weights), 20)
            assert set(indices(patches)) == {at}

    @pytest.mark.parametrize("u", [2.0**-33, 1 - 2.0**-33])
    def test_the_smallest_and_largest_uniform_numbers(self, u, monkeypatch):
        """The smallest and the largest number that can be drawn, with zeros at both ends."""
        weights = torch.zeros(4, 5, 6, dtype=torch.float64)
        inner = torch.rand(2, 3, 4, dtype=torch.float64)
        for scale in (1.0, 1e300, 5e-324):
            weights[1:3, 1:4, 1:5] = (inner * scale).clamp(min=5e-324)
            with monkeypatch.context() as patched:
                patched.setattr(
                    weights_module.random, "uniforms", lambda seeds, *_: np.full((len(seeds), 4), u)
                )
                found = tio.WeightedSampler(1, "w")(with_weights(weights)).patch_location.index
            assert found == ((1, 1, 1) if u < 0.5 else (2, 3, 4)) or weights[found] > 0
            assert weights[found] > 0

    def test_sums_of_rows_and_voxels_that_differ_by_rounding(self):
        """The weight of a row and the cumulative sum of its voxels may differ by rounding."""
        weights = torch.zeros(200, 1, 300, dtype=torch.float64)
        weights[:, :, 50:250] = torch.rand(200, 1, 200, dtype=torch.float64)
        for n in range(200):
            with pytest.MonkeyPatch.context() as patched:
                highest = np.full((1, 4), 1 - 2.0**-33)
                patched.setattr(weights_module.random, "uniforms", lambda *_, u=highest: u)
                s = with_weights(weights[n : n + 1])
                (_, _, k) = tio.WeightedSampler(1, "w")(s).patch_location.index
            assert weights[n, 0, k] > 0

    @pytest.mark.parametrize(("second", "expected"), [(0.25, 0), (0.75, 1)])
    def test_voxels_that_share_a_uniform_number(self, second, expected, monkeypatch):
        """Uniform numbers have 32 bits; a second one selects among more voxels than that."""
        edge = 0.5 + 0.5 * 2.0**-32
        weights = torch.tensor([edge, 1 - edge], dtype=torch.float64).view(1, 2, 1)
        drawn = np.array([[0.5, second, 0, 0]])
        monkeypatch.setattr(weights_module.random, "uniforms", lambda *_: drawn)
        patch = tio.WeightedSampler(1, "w")(with_weights(weights))
        assert patch.patch_location.index == (0, expected, 0)

    @pytest.mark.parametrize("seen_by_torch", [True, False])
    def test_a_map_that_changes_is_read_again(self, seen_by_torch):
        """Mining of hard examples writes to the map of a subject between epochs."""
        weights = torch.zeros(1, 8, 8, 8)
        writable = weights if seen_by_torch else weights.numpy()
        s = tio.Subject(w=tio.ScalarImage(weights))
        sampler = tio.WeightedSampler(s, 3, "w", num_patches=4)
        for at in (4, 2, 5):
            writable[...] = 0
            writable[0, at, at, at] = 1
            patches = list(sampler)
            assert {patch.w.spatial_shape for patch in patches} == {(3, 3, 3)}
            assert set(indices(patches)) == {(at - 1,) * 3}


class TestPadding:
    @pytest.mark.parametrize("size", [(3, 4, 2), (9, 8, 1)])
    @pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "wrap", 5.0])
    @every
    def test_as_numpy_pads(self, make, mode, size):
        s = image_and_labels((7, 6, 5))
        fill = {"fill": 3} if mode == "constant" else {}
        sampler = make(size, padding_mode=mode, **fill)
        before = [n // 2 for n in size]
        ends = [(0, 0)] + [(n // 2, n - 1 - n // 2) for n in size]
        for name in ("t1", "seg"):
            how = {"mode": mode}
            if mode in ("constant", 5.0):
                value = {"constant": 3, 5.0: 5}[mode] if name == "t1" else 0  # no such label
                how = {"mode": "constant", "constant_values": value}
            whole = np.pad(s[name].numpy(), ends, **how)
            for patch in sampler(s, 30):
                at = [a + b for a, b in zip(patch.patch_location.index, before, strict=True)]
                i, j, k = (slice(a, a + n) for a, n in zip(at, size, strict=True))
                assert patch[name].data.dtype == s[name].data.dtype
                assert np.array_equal(patch[name].numpy(), whole[:, i, j, k])

    def test_any_voxel_may_be_the_centre(self):
        s = image_and_labels((4, 3, 2))
        for size in ((4, 3, 2), (9, 2, 1)):
            sampler = tio.UniformSampler(size, padding_mode=0)
            assert is_likely(counts_of_locations(sampler, s, 1000), np.ones((4, 3, 2)))

    @every
    def test_padding_is_not_recorded_in_the_history(self, make):
        s = tio.RandomFlip(p=1)(image_and_labels())
        before = (list(s.history), s.t1.data.clone(), list(s.keys()))
        patch = make(5, padding_mode="edge")(s)
        assert patch.history == s.history == before[0]
        assert torch.equal(s.t1.data, before[1])
        assert list(s.keys()) == before[2]
        batch = tio.SubjectsBatch.from_subjects([s, s])
        assert make(5, padding_mode="edge")(batch).records == batch.records == []


class TestCutting:
    @every
    def test_patches_equal_regions_of_the_volume(self, make, tmp_path):
        s = image_and_labels((7, 6, 5), name="x")
        for name in ("t1", "seg"):
            s[name].save(tmp_path / f"{name}.nii.gz")
        names = {"t1": tio.ScalarImage, "seg": tio.LabelMap}
        stored = tio.Subject({n: cls(tmp_path / f"{n}.nii.gz") for n, cls in names.items()})
        sampler = make((3, 2, 4))
        for patch in (sampler(s), *sampler(s, 8), sampler(stored), *sampler(stored, 8)):
            at = patch.patch_location.index
            i, j, k = (slice(a, a + n) for a, n in zip(at, (3, 2, 4), strict=True))
            assert patch.patch_location == tio.PatchLocation(at, (3, 2, 4))
            assert patch[tio.LOCATION].tolist() == [
                i.start,
                j.start,
                k.start,
                i.stop,
                j.stop,
                k.stop,
            ]
            for name, cls in names.items():
                assert type(patch[name]) is cls
                assert patch[name].data.dtype == s[name].data.dtype
                assert torch.equal(patch[name].data, s[name].data[:, i, j, k])
                # NIfTI keeps affines in float32; a matrix product in float64 otherwise
                close = 1e-5 if patch[name].path else 1e-12
                first = s[name].affine @ [*at, 1]
                assert np.allclose(patch[name].affine[:, 3], first, rtol=0, atol=close)
                assert np.allclose(patch[name].affine[:, :3], s[name].affine[:, :3], atol=close)

    @every
    def test_subjects_are_not_changed(self, make):
        s = image_and_labels((7, 6, 5), age=4)
        before, labels = s.t1.data.clone(), s.seg.data.clone()
        for patch in (make(3)(s), *make(3)(s, 2), *make(s, 3, num_patches=2)):
            patch.t1.data.fill_(9), patch.seg.data.fill_(9)
            assert patch.age == 4
        assert torch.equal(s.t1.data, before)
        assert torch.equal(s.seg.data, labels)
        assert (list(s.keys()), s.history, s.streams) == (["t1", "seg", "age"], [], None)
        assert np.array_equal(s.t1.affine, oblique_affine())

    @pytest.mark.parametrize("padding", [None, "edge"])
    @every
    def test_files_are_not_read_into_the_subject(self, make, padding, tmp_path):
        s = image_and_labels()
        s.t1.save(tmp_path / "t1.nii.gz"), s.seg.save(tmp_path / "seg.nii.gz")
        stored = tio.Subject(
            t1=tio.ScalarImage(tmp_path / "t1.nii.gz"), seg=tio.LabelMap(tmp_path / "seg.nii.gz")
        )
        next(iter(make(stored, 3, num_patches=2, padding_mode=padding)))
        list(make(3, padding_mode=padding)(stored, 2))
        make(3, padding_mode=padding)(stored)
        assert not stored.t1.loaded
        assert not stored.seg.loaded

    @pytest.mark.parametrize("padding", [None, "edge"])
    @every
    def test_patches_own_their_memory(self, make, padding):
        s = image_and_labels((30, 30, 30), channels=1)
        sampler = make(4, padding_mode=padding)
        batch = sampler(tio.SubjectsBatch.from_subjects([s, s]))
        for data in (sampler(s).t1.data, next(sampler(s, 2)).t1.data, batch.t1.data):
            assert data.untyped_storage().nbytes() == data.numel() * 4
        assert len(pickle.dumps(sampler(s))) < 5000  # 64 voxels, not 27,000

    @every
    def test_single_slices(self, make):
        s = image_and_labels((8, 1, 9))
        assert make((4, 1, 3))(s).t1.shape == (1, 4, 1, 3)
        with pytest.raises(ValueError, match=r"with 1 along the axis .* got \(4, 4, 4\)"):
            make(4)(s)
        assert make(4, padding_mode=0)(s).t1.shape == (1, 4, 4, 4)

    @every
    def test_a_patch_as_large_as_the_volume_or_larger(self, make):
        s = image_and_labels((5, 4, 3))
        middle = s.t1.data[0, 2, 2, 1], s.seg.data[0, 2, 2, 1]
        assert min(middle) > 0  # the only one around which a patch fits
        for patch in make((5, 4, 3))(s, 5):
            assert patch.patch_location.index == (0, 0, 0)
            assert torch.equal(patch.t1.data, s.t1.data)
        for x in (s, tio.SubjectsBatch.from_subjects([s])):
            with pytest.raises(ValueError, match=r"at most the shape of the volume, \(5, 4, 3\)"):
                make((5, 5, 3))(x)
            assert make((5, 5, 3), padding_mode="edge")(x).t1.spatial_shape == (5, 5, 3)

    def test_all_channels(self):
        s = image_and_labels(channels=3)
        patch = tio.LabelSampler(3)(s)
        i, j, k = patch.patch_location.to_slices()
        assert torch.equal(patch.t1.data, s.t1.data[:, i, j, k])

    @every
    def test_in_inference_mode(self, make):
        with torch.inference_mode():
            assert make(3)(image_and_labels()).t1.shape == (1, 3, 3, 3)


class TestInput:
    @pytest.mark.parametrize("size", [0, -1, 2.0, True, (1, 2), (1, 2, 3, 4), "8", None, (4, 4, 0)])
    def test_invalid_sizes_are_refused(self, size):
        with pytest.raises(ValueError, match="patch_size must be"):
            tio.UniformSampler(patch_size=size)

    @pytest.mark.parametrize("number", [-1, 2.5, "3"])
    def test_invalid_numbers_of_patches_are_refused(self, number):
        with pytest.raises((TypeError, ValueError), match="num_patches must be"):
            tio.UniformSampler(image_and_labels(), 3, num_patches=number)
        with pytest.raises((TypeError, ValueError), match="num_patches must be"):
            list(tio.UniformSampler(3)(image_and_labels(), number))

    def test_zero_patches(self):
        assert list(tio.UniformSampler(image_and_labels(), 3, num_patches=0)) == []
        assert list(tio.UniformSampler(3)(image_and_labels(), 0)) == []

    @pytest.mark.parametrize("padding", ["mirror", True])
    def test_invalid_paddings_are_refused(self, padding):
        with pytest.raises(ValueError, match="padding_mode must be"):
            tio.UniformSampler(3, padding_mode=padding)
        with pytest.raises(ValueError, match="fill must not be given with padding_mode 'edge'"):
            tio.UniformSampler(3, padding_mode="edge", fill=1)

    @pytest.mark.parametrize(
        "arguments",
        [
            {"padding_mode": "constant", "fill": "a"},
            {"padding_mode": "constant", "fill": float("nan")},
            {"fill": 1},
        ],
    )
    def test_invalid_fills_are_refused(self, arguments):
        """Errors are raised by the constructor and not by the first patch."""
        with pytest.raises((TypeError, ValueError), match="fill"):
            tio.UniformSampler(3, **arguments)

    @pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
    def test_invalid_weights_are_refused(self, value):
        weights = torch.ones(6, 6, 6)
        weights[3, 3, 3] = value
        with pytest.raises(ValueError, match="map 'w' must hold finite weights >= 0"):
            tio.WeightedSampler(3, "w")(with_weights(weights))

    def test_invalid_maps_are_refused(self):
        weights = torch.ones(6, 6, 6)
        weights[1:-1, 1:-1, 1:-1] = 0  # what is left is too near the ends
        with pytest.raises(ValueError, match=r"above 0 among the \(4, 4, 4\) voxels"):
            tio.WeightedSampler(3, "w")(with_weights(weights))
        two = tio.Subject(w=tio.ScalarImage(torch.ones(2, 6, 6, 6)))
        with pytest.raises(ValueError, match="must have one channel, got 2"):
            tio.WeightedSampler(3, "w")(two)
        with pytest.raises(KeyError, match=r"probability_map must name .* 'x' is none of \['w'\]"):
            tio.WeightedSampler(3, "x")(two)
        with pytest.raises(KeyError, match="label_name must name"):
            tio.LabelSampler(3, "x")(two)
        with pytest.raises(ValueError, match=r"must have a label map, got images \['w'\]"):
            tio.LabelSampler(3)(two)

    def test_invalid_labels_are_refused(self):
        s = with_labels(np.zeros((6, 6, 6)))
        with pytest.raises(ValueError, match=r"for the labels \[5\], must have a weight above 0"):
            tio.LabelSampler(3, "seg", {5: 1})(s)
        with pytest.raises(ValueError, match="labels above 0"):
            tio.LabelSampler(3, "seg")(s)
        for wrong in ({}, {1: -1}, {1: float("nan")}, {1: float("inf")}, {1: 0, 2: 0.0}):
            with pytest.raises(ValueError, match="label_probabilities must"):
                tio.LabelSampler(3, "seg", wrong)

    @every
    def test_invalid_subjects_are_refused(self, make):
        s = image_and_labels()
        with pytest.raises(ValueError, match="subject must be given to iterate over a"):
            next(iter(make(3)))
        with pytest.raises(TypeError, match="must be a Subject or a SubjectsBatch, got ScalarIm"):
            make(3)(s.t1)
        with pytest.raises(TypeError, match="num_patches must be given for a length"):
            len(make(s, 3))
        moved = copy.deepcopy(s)
        moved.seg.affine = oblique_affine(origin=(0, 0, 0))
        other = tio.Subject(t1=s.t1, seg=tio.LabelMap(torch.ones(1, 7, 6, 4)))
        for wrong in (moved, other):
            for x in (wrong, tio.SubjectsBatch.from_subjects([wrong])):
                with pytest.raises(ValueError, match="images must share"):
                    make(3)(x)
