"""Predictions of patches put together: a true mean, of any size and type, with gradients."""

import itertools

import numpy as np
import pytest
import torch
import torchio
from torch import nn
from torch.autograd import gradcheck
from torch.utils._python_dispatch import TorchDispatchMode

import torchio_gpu as tio
from tests.functional.test_patches import weighted_mean
from torchio_gpu.functional import extract_patches
from torchio_gpu.functional.eager import patches as reference
from torchio_gpu.functional.stitching import Stitcher

MODES = ("crop", "average", "hann", "gaussian")
MEANS = MODES[1:]
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
#: Overlaps of patches of 16 voxels, with volumes that they do not divide.
GRIDS = [
    (0, (32, 32, 32)), (4, (33, 37, 41)), (8, (32, 32, 32)), (8, (33, 37, 41)),
    ((15, 0, 0), (33, 37, 41)), (15, (19, 18, 21)), (0, (16, 16, 16)), (0, (33, 37, 41)),
]  # fmt: skip
#: Another grid: volume, patches, overlap; below, where the patches lie.
SHAPE, SIZE, OVERLAP = (6, 5, 7), (4, 3, 4), (2, 1, 2)


def grid(shape, size, overlap):
    """Locations (N, 6) of a grid."""
    image = tio.ScalarImage(torch.zeros(1, 1, 1, 1).expand(1, *shape))
    return tio.GridSampler(tio.Subject(t1=image), size, overlap).locations


LOCATIONS = grid(SHAPE, SIZE, OVERLAP)


def scattered(n, shape, size, seed=0):
    """Locations (N, 6) of patches anywhere, over the ends too; in order along I."""
    generator = np.random.default_rng(seed)
    half = np.array(size) // 2
    first = np.concatenate([generator.integers(0, shape, (n - 2, 3)) - half, [-half] * 2])
    first = first[np.argsort(first[:, 0], kind="stable")]
    return torch.from_numpy(np.concatenate([first, first + size], 1))


def predictions(n, size, channels=2, dtype=torch.float64, seed=0, **kwargs):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn((n, channels, *size), generator=generator, dtype=torch.float64)
    return x.to(dtype).requires_grad_(**kwargs) if kwargs else x.to(dtype)


def aggregate(aggregator, patches, locations, batch=None):
    batch = batch or len(patches)
    for x, at in zip(patches.split(batch), locations.split(batch), strict=True):
        aggregator.add_batch(x, at)
    return aggregator.get_output()


def expected_mean(patches, locations, shape, mode):
    return weighted_mean(patches, locations[:, :3].numpy(), shape, mode)[0]


class TestConstantPatches:
    @pytest.mark.parametrize("mode", MODES)
    @pytest.mark.parametrize(("overlap", "shape"), GRIDS)
    def test_are_kept(self, mode, overlap, shape):
        at = grid(shape, 16, overlap)
        half = tuple((n + 1) // 2 for n in shape)
        for dtype, (size, out) in itertools.product(DTYPES, ((16, None), (8, half))):
            x = torch.tensor([1.0, 20000, 0.1, -1 / 3]).to(dtype)
            patches = x.view(1, 4, 1, 1, 1).expand(len(at), 4, size, size, size)
            result = aggregate(tio.PatchAggregator(shape, mode, overlap, out), patches, at)
            assert result.shape == (4, *(out or shape))
            assert result.dtype == dtype
            error = (result.double() / x.double().view(4, 1, 1, 1) - 1).abs().max()
            # half precision is added up in float32 and rounded: back to the constant
            assert error <= {torch.float32: 1e-6, torch.float64: 1e-13}.get(dtype, 0), dtype

    @pytest.mark.parametrize("mode", MEANS)
    def test_are_kept_where_many_patches_overlap(self, mode):
        """A thousand patches overlap, and the last one of the batch lies elsewhere."""
        at = torch.tensor([[0, 0, 0, 4, 4, 4]]).repeat(1001, 1)
        at[-1] += 8
        aggregator = tio.PatchAggregator((12, 12, 12), mode)
        out = aggregate(
            aggregator, torch.full((1, 1, 4, 4, 4), 0.1).expand(1001, -1, -1, -1, -1), at
        )
        assert ((out[:, :4, :4, :4] / 0.1 - 1).abs() <= 1e-6).all()

    @pytest.mark.parametrize("mode", MODES)
    def test_are_kept_where_the_output_is_rounded_up(self, mode):
        """A stride of 4 makes 17 voxels of 65, and 4 of 16: patches end where others begin."""
        at = grid((65, 16, 16), 16, 0)
        aggregator = tio.PatchAggregator((65, 16, 16), mode, 0, (17, 4, 4))
        out = aggregate(aggregator, torch.ones(len(at), 1, 4, 4, 4), at)
        assert ((out - 1).abs() <= 1e-6).all()


class TestMeans:
    @pytest.mark.parametrize("mode", MODES)
    def test_are_placed_by_the_ratio_of_the_shapes(self, mode):
        """Patches of 3 of 40 voxels are 2.25 of 30, rounded up to 3."""
        at = grid((40, 1, 1), (3, 1, 1), 0)
        patches = at[:, 0].double().view(-1, 1, 1, 1, 1).expand(-1, 1, 3, 1, 1)
        aggregator = tio.PatchAggregator((40, 1, 1), mode, 0, (30, 1, 1))
        out = aggregate(aggregator, patches, at)
        # the patch of a row begins at most its own 3 voxels and a rounded one away from it
        assert ((out.flatten() - torch.arange(30) * 40 / 30).abs() <= 4).all()
        found, _ = streamed(aggregator, patches, at)
        torch.testing.assert_close(found, out, rtol=0, atol=1e-13)  # rounding of sums

    @pytest.mark.parametrize("mode", MEANS)
    @pytest.mark.parametrize("dtype", DTYPES)
    def test_of_scattered_patches(self, mode, dtype):
        shape, size = (10, 9, 12), (5, 4, 6)
        at = scattered(16, shape, size)
        patches = predictions(16, size, dtype=dtype)
        out = aggregate(tio.PatchAggregator(shape, mode), patches, at, batch=3)
        assert out.dtype == dtype
        expected = expected_mean(patches, at, shape, mode)
        assert (expected == 0).any()
        # float32 sums of some terms up to 4, divided and rounded once
        atol = {torch.float32: 4e-6, torch.float64: 1e-14}.get(dtype, 4 * torch.finfo(dtype).eps)
        torch.testing.assert_close(out.double(), expected, rtol=0, atol=atol)

    @pytest.mark.parametrize("mode", MEANS)
    def test_of_a_grid_use_separable_weights(self, mode, monkeypatch):
        patches = predictions(len(LOCATIONS), SIZE)
        with monkeypatch.context() as patch:
            patch.setattr(Stitcher, "_weight", None)
            separable = aggregate(tio.PatchAggregator(SHAPE, mode), patches, LOCATIONS, batch=3)
        monkeypatch.setattr(reference, "weight_sums", lambda *_: None)
        out = aggregate(tio.PatchAggregator(SHAPE, mode), patches, LOCATIONS, batch=3)
        # sums of products against products of sums, in float64
        torch.testing.assert_close(separable, out, rtol=0, atol=1e-14)
        expected = expected_mean(patches, LOCATIONS, SHAPE, mode)
        torch.testing.assert_close(separable, expected, rtol=0, atol=1e-14)

    def test_of_a_part_of_a_grid_or_of_repeated_patches(self):
        patches = predictions(len(LOCATIONS), SIZE)
        for rows in (
            slice(1, None),
            [*range(len(LOCATIONS)), 3],
            [*range(len(LOCATIONS))] * 2,
        ):
            out = aggregate(tio.PatchAggregator(SHAPE, "hann"), patches[rows], LOCATIONS[rows])
            expected = expected_mean(patches[rows], LOCATIONS[rows], SHAPE, "hann")
            torch.testing.assert_close(out, expected, rtol=0, atol=1e-14)  # rounding of sums

    @pytest.mark.parametrize("mode", MODES)
    @pytest.mark.parametrize("factor", [0.5, 2])
    def test_of_networks_that_change_the_resolution(self, mode, factor):
        """Aggregated outputs equal the output for the whole volume."""
        shape, size, overlap = ((14, 6, 10), (6, 6, 4), (2, 0, 2))
        x = predictions(1, shape)
        at = grid(shape, size, overlap)
        network = nn.AvgPool3d(2) if factor < 1 else nn.Upsample(scale_factor=2)
        patches = network(extract_patches(x, at[:, :3], size))
        expected = network(x)[0]
        aggregator = tio.PatchAggregator(shape, mode, overlap, expected.shape[1:])
        out = aggregate(aggregator, patches, at)
        atol = 0 if mode == "crop" else 1e-14  # sums of equal numbers
        torch.testing.assert_close(out, expected, rtol=0, atol=atol)

    @pytest.mark.parametrize("mode", ["crop", "average"])
    @pytest.mark.parametrize("overlap", [(0, 0, 0), (4, 2, 2), (6, 0, 4)])
    def test_agree_with_torchio(self, mode, overlap):
        shape, size = (19, 17, 15), (8, 7, 6)
        theirs = torchio.Subject(t1=torchio.ScalarImage(tensor=torch.zeros(1, *shape)))
        sampler = torchio.GridSampler(theirs, size, overlap)
        at = torch.from_numpy(sampler.locations)
        patches = predictions(len(at), size, dtype=torch.float32)
        oracle = torchio.GridAggregator(sampler, overlap_mode=mode)
        oracle.add_batch(patches.clone(), at)
        out = aggregate(tio.PatchAggregator(shape, mode, overlap), patches, at)
        # up to 27 terms of size 4, added up in float32 by both
        atol = 0 if mode == "crop" else 4e-6
        torch.testing.assert_close(out, oracle.get_output_tensor(), rtol=0, atol=atol)


class TestTypes:
    @pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int64, torch.bool])
    def test_integers_are_kept_by_crop_and_become_float32_otherwise(self, dtype):
        patches = predictions(len(LOCATIONS), SIZE).abs().mul(40).to(dtype)
        out = aggregate(tio.PatchAggregator(SHAPE, "crop", OVERLAP), patches, LOCATIONS)
        assert out.dtype == dtype
        expected = aggregate(
            tio.PatchAggregator(SHAPE, "crop", OVERLAP), patches.double(), LOCATIONS
        )
        assert torch.equal(out.double(), expected)
        average = aggregate(tio.PatchAggregator(SHAPE, "average"), patches, LOCATIONS)
        assert average.dtype == torch.float32
        # float32 rounds numbers up to 160
        expected = expected_mean(patches, LOCATIONS, SHAPE, "average")
        torch.testing.assert_close(average.double(), expected, rtol=0, atol=4e-5)

    @pytest.mark.parametrize("mode", MODES)
    def test_batches_may_be_added_in_inference_mode(self, mode):
        patches = predictions(len(LOCATIONS), SIZE)
        aggregator = tio.PatchAggregator(SHAPE, mode, OVERLAP)
        with torch.inference_mode():
            aggregator.add_batch(patches[:2] * 1, LOCATIONS[:2])
        aggregator.add_batch(patches[2:], LOCATIONS[2:])
        expected = aggregate(tio.PatchAggregator(SHAPE, mode, OVERLAP), patches, LOCATIONS)
        assert torch.equal(aggregator.get_output(), expected)


class TestLocations:
    @pytest.mark.parametrize("form", ["tensor", "array", "six", "places"])
    def test_of_any_type(self, form):
        patches = predictions(len(LOCATIONS), SIZE)
        expected = aggregate(tio.PatchAggregator(SHAPE, "average"), patches, LOCATIONS)
        six = [tuple(row) for row in LOCATIONS.tolist()]
        forms = {"tensor": LOCATIONS, "array": LOCATIONS.numpy(), "six": six}
        forms["places"] = [tio.PatchLocation.from_tensor(row) for row in LOCATIONS]
        aggregator = tio.PatchAggregator(SHAPE, "average")
        aggregator.add_batch(patches, forms[form])
        assert torch.equal(aggregator.get_output(), expected)
        single = tio.PatchAggregator(SHAPE, "average")
        for patch, one in zip(patches, forms[form], strict=True):
            single.add_batch(patch, [one] if form == "six" else one)
        assert torch.equal(single.get_output(), expected)


class TestOutputs:
    def test_by_name(self):
        fine, coarse = (
            predictions(len(LOCATIONS), SIZE),
            predictions(len(LOCATIONS), (2, 2, 2), 3).float(),
        )
        aggregator = tio.PatchAggregator(SHAPE, "average", output_shape={"coarse": (3, 3, 3)})
        for rows in torch.arange(len(LOCATIONS)).split(3):
            aggregator.add_batch({"fine": fine[rows], "coarse": coarse[rows]}, LOCATIONS[rows])
        expected = aggregate(tio.PatchAggregator(SHAPE, "average"), fine, LOCATIONS, 3)
        assert torch.equal(aggregator.get_output("fine"), expected)
        alone = tio.PatchAggregator(SHAPE, "average", output_shape=(3, 3, 3))
        assert torch.equal(aggregator.get_output("coarse"), aggregate(alone, coarse, LOCATIONS, 3))
        for key in (None, "other"):
            with pytest.raises(KeyError, match=r"one of the outputs \['fine', 'coarse'\]"):
                aggregator.get_output(key)

    @pytest.mark.parametrize("mode", MODES)
    def test_can_be_read_repeatedly(self, mode):
        aggregator = tio.PatchAggregator(SHAPE, mode, OVERLAP)
        first = aggregate(aggregator, predictions(len(LOCATIONS), SIZE), LOCATIONS).clone()
        assert torch.equal(aggregator.get_output(), first)
        assert torch.equal(aggregator.get_output_tensor(), first)
        with pytest.raises(ValueError, match="before the first call of get_output, got it after"):
            aggregator.add_batch(predictions(len(LOCATIONS), SIZE), LOCATIONS)
        assert torch.equal(aggregator.get_output(), first)

    @pytest.mark.parametrize("mode", ["crop", "hann"])
    def test_of_a_sampler_that_knows_shape_and_overlap(self, mode):
        image = tio.ScalarImage(torch.zeros(1, *SHAPE))
        sampler = tio.GridSampler(tio.Subject(t1=image), SIZE, OVERLAP)
        patches = predictions(len(LOCATIONS), SIZE)
        out = aggregate(tio.GridAggregator(sampler, mode), patches, LOCATIONS)
        assert torch.equal(
            out, aggregate(tio.PatchAggregator(SHAPE, mode, OVERLAP), patches, LOCATIONS)
        )

    def test_are_refused_before_a_batch(self):
        aggregator = tio.PatchAggregator((4, 4, 4))
        with pytest.raises(ValueError, match="batch must be added before the first call"):
            aggregator.get_output()

    def test_are_on_the_device_that_is_given(self):
        aggregator = tio.PatchAggregator((2, 2, 2), "hann", device="meta")
        aggregator.add_batch(torch.ones(1, 1, 2, 2, 2), torch.tensor([[0, 0, 0, 2, 2, 2]]))
        assert aggregator.get_output().device.type == "meta"


class TestGradients:
    @pytest.mark.parametrize("mode", MODES)
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
    def test_do_not_change_the_output(self, mode, dtype):
        for at in (LOCATIONS, scattered(9, SHAPE, SIZE)):
            patches = predictions(len(at), SIZE, dtype=dtype)
            out = aggregate(tio.PatchAggregator(SHAPE, mode, OVERLAP), patches, at, 3)
            assert not out.requires_grad
            wanted = patches.clone().requires_grad_()
            same = aggregate(tio.PatchAggregator(SHAPE, mode, OVERLAP), wanted, at, 3)
            assert same.requires_grad
            assert torch.equal(same, out)
            aggregator = tio.PatchAggregator(SHAPE, mode, OVERLAP)
            with torch.no_grad():
                aggregator.add_batch(wanted, at)
                wanted.zero_()  # what has no gradient is not waited for
            same = aggregator.get_output()
            assert not same.requires_grad
            assert torch.equal(same, out)

    @pytest.mark.parametrize("mode", ["average", "hann", "crop"])
    def test_agree_with_finite_differences(self, mode):
        shape, size = (5, 3, 4), (3, 2, 2)
        for at in (grid(shape, size, (1, 1, 0)), scattered(6, shape, size)):

            def output(patches, at=at):
                return aggregate(tio.PatchAggregator(shape, mode, (1, 1, 0)), patches, at, 5)

            assert gradcheck(output, (predictions(len(at), size, 1, requires_grad=True),))

    @pytest.mark.parametrize("mode", ["average", "crop"])
    @pytest.mark.parametrize("with_gradient", [(0,), (1,), (2,), (0, 2)])
    def test_reach_only_batches_that_require_them(self, mode, with_gradient):
        at = scattered(9, SHAPE, SIZE)
        every = predictions(9, SIZE, requires_grad=True)
        weight = predictions(1, SHAPE)[0]
        expected = aggregate(tio.PatchAggregator(SHAPE, mode), every, at, 3)
        (expected * weight).sum().backward()
        batches = [part.detach().clone() for part in every.split(3)]
        for n in with_gradient:
            batches[n].requires_grad_()
        aggregator = tio.PatchAggregator(SHAPE, mode)
        for batch, some in zip(batches, at.split(3), strict=True):
            aggregator.add_batch(batch, some)
        out = aggregator.get_output()
        assert torch.equal(out, expected)
        (out * weight).sum().backward()
        for n, grad in enumerate(every.grad.split(3)):
            assert n not in with_gradient or torch.equal(batches[n].grad, grad)


class TestErrors:
    @pytest.mark.parametrize(
        ("batch", "locations", "error"),
        [
            (
                torch.zeros(2, 1, 3, 4, 4),
                [[0, 0, 0, 4, 4, 4]] * 2,
                "patches of 4x4x4 voxels: .* got",
            ),
            (torch.zeros(2, 1, 4, 4, 4), [[0, 0, 0, 4, 4, 4]], "expected 2, got 1"),
            (torch.zeros(1, 4, 4, 4), [[0, 0, 0, 4, 4, 4]] * 2, "expected 1, got 2"),
            (torch.zeros(1, 0, 4, 4, 4), [[0, 0, 0, 4, 4, 4]], "with no empty axis, got"),
            (torch.zeros(1, 4, 4, 4), [[6, 0, 0, 10, 4, 4]], "patches must lie in the volume"),
            (torch.zeros(1, 4, 4, 4), [[0, -3, 0, 4, 1, 4]], r"patch 0 .* begins at \[0, -3, 0\]"),
            (torch.zeros(2, 1, 4, 4, 4), [[0] * 3 + [4] * 3, [0] * 3 + [3] * 3], "of one size"),
            (torch.zeros(0, 1, 4, 4, 4), [], "of one size, got none"),
            (
                torch.zeros(4, 4, 4),
                [[0, 0, 0, 4, 4, 4]],
                r"batch must have shape \(B, C, I, J, K\)",
            ),
            ({}, [[0, 0, 0, 4, 4, 4]], "batch must hold the outputs of a network"),
        ],
    )
    def test_of_batches(self, batch, locations, error):
        aggregator = tio.PatchAggregator((6, 6, 6))
        with pytest.raises(ValueError, match=error):
            aggregator.add_batch(batch, locations)
        with pytest.raises(ValueError, match="batch must be added before"):
            aggregator.get_output()

    @pytest.mark.parametrize(
        "other",
        [torch.ones(1, 3, 4, 4, 4), *(torch.ones(1, 2, 4, 4, 4).to(d) for d in DTYPES[::3])],
    )
    @pytest.mark.parametrize("mode", ["crop", "average"])
    def test_of_batches_that_differ_from_earlier_ones(self, mode, other):
        """A refused batch adds nothing to the output."""
        at = torch.tensor([[0, 0, 0, 4, 4, 4]])
        aggregator = tio.PatchAggregator((4, 4, 4), mode)
        good = {"a": torch.zeros(1, 2, 4, 4, 4), "b": torch.zeros(1, 2, 4, 4, 4)}
        aggregator.add_batch(good, at)
        with pytest.raises(ValueError, match="batch must be like the ones before"):
            aggregator.add_batch({"a": torch.ones(1, 2, 4, 4, 4), "b": other}, at)
        for names in (["a"], ["a", "b", "c"], [""]):
            with pytest.raises(ValueError, match=r"batch must hold the outputs \['a', 'b'\]"):
                aggregator.add_batch(dict.fromkeys(names, torch.ones(1, 2, 4, 4, 4)), at)
        assert not aggregator.get_output("a").any()
        assert not aggregator.get_output("b").any()

    def test_of_arguments(self):
        with pytest.raises(ValueError, match="overlap_mode must be one of crop"):
            tio.PatchAggregator((4, 4, 4), "max")
        with pytest.raises(ValueError, match="spatial_shape must be"):
            tio.PatchAggregator((4, 4))
        with pytest.raises(ValueError, match="output_shape must be"):
            tio.PatchAggregator((4, 4, 4), output_shape={"a": (0, 1, 1)})
        with pytest.raises(ValueError, match="patch_overlap must be"):
            tio.PatchAggregator((4, 4, 4), patch_overlap=-1)
        with pytest.raises(ValueError, match="patch_overlap must be >= 0 and smaller"):
            tio.PatchAggregator((4, 4, 4), patch_overlap=4).add_batch(
                torch.zeros(1, 4, 4, 4), tio.PatchLocation((0,) * 3, (4,) * 3)
            )
        with pytest.raises(TypeError, match=r"batch\['a'\] must be a tensor, got list"):
            tio.PatchAggregator((4, 4, 4)).add_batch({"a": [1]}, [[0, 0, 0, 4, 4, 4]])


def streamed(aggregator, patches, locations, batch=3, **kwargs):
    """Return the planes of all slabs, which must be adjacent, and their number in each slab."""
    pairs = zip(patches.split(batch), locations.split(batch), strict=True)
    slabs = list(aggregator.stream(pairs, **kwargs))
    planes = [slab.data.shape[1] for slab in slabs]
    assert [slab.first for slab in slabs] == np.cumsum([0, *planes[:-1]]).tolist()
    return torch.cat([slab.data for slab in slabs], 1), planes


class TestStream:
    @pytest.mark.parametrize("mode", MODES)
    @pytest.mark.parametrize("case", ["grid", "scattered", "coarse", "one by one"])
    def test_slabs_equal_the_output(self, mode, case):
        shape, size, overlap = (13, 5, 7), (4, 3, 4), (2, 1, 2)
        at = scattered(20, shape, size) if case == "scattered" else grid(shape, size, overlap)
        out = (7, 5, 7) if case == "coarse" else None
        patches = predictions(len(at), (2, 3, 4) if out else size)
        aggregator = tio.PatchAggregator(shape, mode, overlap, out)
        batch = 1 if case == "one by one" else 5
        found, rows = streamed(aggregator, patches, at, batch)
        expected = aggregate(tio.PatchAggregator(shape, mode, overlap, out), patches, at)
        # the same sums of numbers up to 4, divided by products rounded in another order
        atol = 0 if mode == "crop" else 1e-14
        torch.testing.assert_close(found, expected, rtol=0, atol=atol)
        assert len(rows) > 3
        with pytest.raises(ValueError, match="batch must be added before"):
            aggregator.get_output()

    @pytest.mark.parametrize("dtype", [torch.float16, torch.uint8])
    def test_types(self, dtype):
        patches = predictions(len(LOCATIONS), SIZE).abs().mul(9).to(dtype)
        for mode in ("crop", "average"):
            found, _ = streamed(tio.PatchAggregator(SHAPE, mode, OVERLAP), patches, LOCATIONS)
            expected = aggregate(tio.PatchAggregator(SHAPE, mode, OVERLAP), patches, LOCATIONS)
            assert torch.equal(found, expected)

    def test_a_reduction_is_applied_to_each_slab(self):
        patches = predictions(len(LOCATIONS), SIZE, 4)
        aggregator = tio.PatchAggregator(SHAPE, "hann")
        found, _ = streamed(aggregator, patches, LOCATIONS, reduction=lambda x: x.argmax(0)[None])
        expected = aggregate(tio.PatchAggregator(SHAPE, "hann"), patches, LOCATIONS).argmax(0)[None]
        assert torch.equal(found, expected)

    @pytest.mark.parametrize("batch", [1, 3])
    def test_planes_without_patches_are_zero(self, batch):
        at = torch.tensor([[n, 0, 0, n + 2, 2, 2] for n in (2, 5, 11)])
        for mode in MODES:
            aggregator = tio.PatchAggregator((14, 2, 2), mode)
            found, _ = streamed(aggregator, torch.ones(3, 1, 2, 2, 2), at, batch)
            assert found[0, :, 0, 0].tolist() == [0, 0, 1, 1, 0, 1, 1, 0, 0, 0, 0, 1, 1, 0]

    def test_unordered_patches_are_refused(self):
        at = torch.tensor([[0, 0, 0, 4, 4, 4], [4, 0, 0, 8, 4, 4], [3, 0, 0, 7, 4, 4]])
        slabs = tio.PatchAggregator((8, 4, 4), "average").stream([(torch.ones(3, 1, 4, 4, 4), at)])
        assert next(slabs).first == 0
        with pytest.raises(ValueError, match=r"in order along I.* begins in plane 3, .* before 4"):
            list(slabs)

    def test_batches_that_differ_are_refused(self):
        at = torch.tensor([[0, 0, 0, 4, 4, 4]])
        pairs = [(torch.ones(1, n, 4, 4, 4), at) for n in (1, 2)]
        with pytest.raises(ValueError, match="batch must be like the ones before"):
            list(tio.PatchAggregator((8, 4, 4)).stream(pairs))


class AllocatedMemory(TorchDispatchMode):
    """Record the memory of the tensors that are created, in elements."""

    def __init__(self):
        super().__init__()
        self.made = {}
        self.kept = []  # so that no memory is used twice

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor):
            self.kept.append(out)
            memory = out.untyped_storage()
            self.made[memory.data_ptr()] = memory.nbytes() // out.element_size()
        return out


class TestMemory:
    shape, size, overlap = (40, 9, 10), (8, 5, 4), (4, 2, 2)

    @pytest.mark.parametrize("mode", MODES)
    def test_of_a_grid_is_that_of_the_output(self, mode):
        at = grid(self.shape, self.size, self.overlap)
        patches = torch.ones(1, 3, *self.size).expand(len(at), -1, -1, -1, -1)
        output = 3 * np.prod(self.shape)
        with AllocatedMemory() as sizes:
            aggregate(tio.PatchAggregator(self.shape, mode, self.overlap), patches, at, 7)
        large = [n for n in sizes.made.values() if n > output / 2]
        assert large == [output]

    @pytest.mark.parametrize("mode", MODES)
    def test_of_a_stream_is_that_of_one_row_of_patches(self, mode):
        at = grid(self.shape, self.size, self.overlap)
        patches = torch.ones(1, 3, *self.size).expand(len(at), -1, -1, -1, -1)
        with AllocatedMemory() as sizes:
            streamed(tio.PatchAggregator(self.shape, mode, self.overlap), patches, at)
        joined = 3 * np.prod(self.shape)  # by what is tested with
        assert max(n for n in sizes.made.values() if n != joined) == joined // 40 * 8
