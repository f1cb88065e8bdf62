"""Kernels that cut and add patches against their reference: values, gradients, and theirs."""

import numpy as np
import pytest
import torch
from torch.autograd import grad
from torch.library import opcheck
from torchio_gpu_kernels import patches as kernels

import torchio_gpu as tio
from benchmarks.clock import waits_refused
from tests.devices import needs_gpu
from tests.kernels.cases import agree, hold, volume
from torchio_gpu.functional import aggregate_patches, extract_patches
from torchio_gpu.functional.eager.patches import places
from torchio_gpu.functional.stitching import Stitcher, stream, table

MODES = ("crop", "average", "hann", "gaussian")
FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
DTYPES = (*FLOATS, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool)
VOLUME, SIZE = (5, 6, 4), (3, 4, 2)
#: Within, over every end, and twice the same place; the middle of each lies in the volume.
FIRST = np.array([(0, 0, 0), (-1, 2, 1), (1, 2, 2), (1, 2, 2), (3, 3, 0), (1, -2, 2)])
#: Nothing of these lies in it.
OUTSIDE = np.array([(9, 0, 0), (0, -7, 0), (0, 0, 4)])
#: Of volumes and patches: one voxel; nothing alike; one voxel more than tiles along each axis.
SHAPES = [
    ((1, 1, 1), (1, 1, 1)),
    ((7, 11, 13), (2, 3, 5)),
    ((2, 1, 33), (2, 1, 33)),
    ((5, 9, 34), (4, 9, 33)),
    ((1, 260, 1), (1, 257, 1)),
]
ROUNDING = "weights are products of two rounded numbers, and are rounded themselves"


def scattered(n, shape, size, seed=0):
    """First voxels of patches whose middle lies in a volume."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, shape, (n, 3)) - np.array(size) // 2


def two(x):
    """Two volumes of different shapes, and of strides that none has who comes from a file."""
    n = 2 * 2 * 5 * 6 * 4
    one = x[:n].view(5, 2, 4, 2, 6).permute(1, 3, 0, 4, 2)
    return [one, x[n:].view(1, 2, 3, 40, 2).transpose(3, 4)]


def of_two(x):
    first, sample = np.concatenate([FIRST, OUTSIDE, FIRST + 1]), [0, 1, 2] * 5
    return extract_patches(two(x), first, SIZE, sample=sample)


NUMBERS = 2 * 2 * 5 * 6 * 4 + 2 * 3 * 40 * 2


class TestGather:
    @pytest.mark.parametrize("dtype", DTYPES)
    def test_equals_the_reference(self, dtype, triton):
        agree(of_two, volume([NUMBERS], dtype), target=triton)

    @pytest.mark.parametrize(("shape", "size"), SHAPES)
    def test_odd_shapes(self, shape, size, triton):
        first = np.concatenate([scattered(3, shape, size), np.array([(0, 0, 0)])])
        x = volume((2, 1, *shape))
        agree(lambda x: extract_patches(x, first, size, sample=[0, 1, 1, 0]), x, target=triton)

    @pytest.mark.parametrize("dtype", FLOATS)
    def test_gradient(self, dtype, triton):
        x = volume([NUMBERS], dtype).requires_grad_()
        hold(of_two, x, target=triton, slack=1e-7, reason="sums in another order")

    def test_gradient_of_one_of_two(self, device):
        x = volume([NUMBERS], torch.float64).to(device)
        first, last = (v.detach().clone() for v in two(x))
        last.requires_grad_()
        with tio.backend("triton"):
            out = extract_patches([first, last], FIRST, SIZE, sample=[2, 2, 1, 0, 0, 2])
            (ours,) = grad(out.square().sum(), last)
        with tio.backend("reference"):
            out = extract_patches([first, last], FIRST, SIZE, sample=[2, 2, 1, 0, 0, 2])
            (theirs,) = grad(out.square().sum(), last)
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-14)  # sums of up to two terms
        assert ours.any()

    def test_gradient_of_the_gradient(self, device):
        """Which, of what is linear, is cutting out again."""
        x = volume([NUMBERS]).to(device).requires_grad_()
        with tio.backend("triton"):
            out = of_two(x)
            seed = torch.randn_like(out).requires_grad_()
            (g,) = grad(out, x, seed, create_graph=True)
            (gg,) = grad((g * x.detach()).sum(), seed)
        assert torch.equal(gg, out)


def grid(shape, size, overlap):
    step = np.array(size) - overlap
    along = [
        sorted({min(n, s - z) for n in range(0, s, d)})
        for s, z, d in zip(shape, size, step, strict=True)
    ]
    return np.stack(np.meshgrid(*along, indexing="ij"), -1).reshape(-1, 3)


class TestScatter:
    @pytest.mark.parametrize("mode", MODES)
    @pytest.mark.parametrize("dtype", FLOATS)
    def test_value_and_gradient(self, mode, dtype, triton):
        """Patches overlap, and their weights are summed up in a volume."""
        x = volume((len(FIRST), 2, *SIZE), dtype).requires_grad_()

        def f(x):
            return aggregate_patches(x, FIRST, VOLUME, mode=mode, overlap=(2, 1, 1))

        slack = 1e-15 if dtype == torch.float64 else 3e-7
        hold(f, x, target=triton, slack=slack, reason=ROUNDING)

    @pytest.mark.parametrize("mode", MODES)
    @pytest.mark.parametrize(("shape", "size"), SHAPES)
    def test_odd_shapes(self, mode, shape, size, triton):
        first = grid(shape, size, tuple(n // 2 for n in size))[-8:]
        x = volume((len(first), 1, *size))
        hold(
            lambda x: aggregate_patches(x, first, shape, mode=mode),
            x,
            target=triton,
            slack=3e-7,
            reason=ROUNDING,
            gradients=False,
        )

    @pytest.mark.parametrize("dtype", DTYPES[4:])
    def test_integers(self, dtype, triton):
        x = volume((len(FIRST), 2, *SIZE), dtype)
        agree(lambda x: aggregate_patches(x, FIRST, VOLUME, mode="crop"), x, target=triton)
        # sums of some whole numbers are exact, and so are their quotients rounded
        agree(lambda x: aggregate_patches(x, FIRST, VOLUME, mode="average"), x, target=triton)

    @pytest.mark.parametrize("mode", ["crop", "hann"])
    def test_any_strides(self, mode, triton):
        x = volume((len(FIRST), *SIZE, 2)).requires_grad_()

        def last(x):
            return aggregate_patches(x.movedim(-1, 1), FIRST, VOLUME, mode=mode)

        def same(x):
            return aggregate_patches(x[:1].movedim(-1, 1).expand(6, -1, -1, -1, -1), FIRST, VOLUME)

        for f in (last, same):
            hold(f, x, target=triton, slack=3e-7, reason=ROUNDING)

    @pytest.mark.parametrize("mode", MODES)
    def test_constants_stay(self, mode, device):
        shape, size, overlap = (5, 4, 7), (3, 4, 5), (2, 2, 3)
        first = grid(shape, size, overlap)
        x = torch.tensor([1.0, 20000, 0.1, -1 / 3], device=device).view(1, 4, 1, 1, 1)
        patches = x.expand(len(first), 4, *size)
        with tio.backend("triton"):
            out = aggregate_patches(patches, first, shape, mode=mode, overlap=overlap)
        assert ((out / x - 1).abs() <= 1e-6).all()

    def test_does_not_depend_on_batches(self, device):
        """Bit for bit; with more patches than a word has bits, and some that are no grid."""
        shape, size = (3, 5, 6), (2, 3, 2)
        first = scattered(36, shape, size)
        x = volume((36, 1, *size)).to(device)
        outs = []
        for batch in (36, 33, 12):
            stitcher = Stitcher(shape, shape, "hann")
            with tio.backend("triton"):
                for n in range(0, 36, batch):
                    stitcher.add(x[n : n + batch], first[n : n + batch], size)
                outs.append(stitcher.result())
        assert torch.equal(outs[0], outs[1])
        assert torch.equal(outs[0], outs[2])
        with tio.backend("reference"):
            exact = aggregate_patches(x.double(), first, shape, mode="hann")[0]
        assert (outs[0] - exact).abs().max() <= 1e-6 * exact.abs().max()

    @pytest.mark.parametrize("mode", ["crop", "hann"])
    @pytest.mark.parametrize("alike", [False, True])
    def test_gradients_of_some_batches(self, mode, alike, triton):
        """Batches without a gradient are there already; batches may differ in strides."""
        x = volume((4, 2, *SIZE)).requires_grad_()
        before = volume((2, 2, *SIZE), seed=1)

        def f(x):
            stitcher = Stitcher(VOLUME, VOLUME, mode)
            stitcher.add(before.to(x), FIRST[:2], SIZE)
            stitcher.add(x[:3], FIRST[2:5], SIZE)
            rest = x[3:] if alike else x[3:].transpose(3, 4).contiguous().transpose(3, 4)
            stitcher.add(rest, FIRST[5:], SIZE)
            return stitcher.result()

        hold(f, x, target=triton, slack=3e-7, reason=ROUNDING)

    def test_batches_of_different_types(self, device):
        """Integers become float32, and so are like it."""
        x = volume((3, 2, *SIZE)).requires_grad_()
        more = volume((3, 2, *SIZE), torch.uint8)

        def f(x):
            stitcher = Stitcher(VOLUME, VOLUME, "average")
            for batch, some in ((x, FIRST[:3]), (more, FIRST[3:])):
                stitcher.add(batch.to(device), some, SIZE)
            return stitcher.result()

        results = []
        for name in ("triton", "reference"):
            with tio.backend(name):
                out = f(x)
                results.append((out.detach(), *grad(out.square().sum(), x)))
        for ours, theirs in zip(*results, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)  # rounding of sums to 15

    def test_gradient_of_the_gradient(self, device):
        """Which, of what is linear, is adding up again."""
        x = volume((len(FIRST), 1, *SIZE)).to(device).requires_grad_()
        with tio.backend("triton"):
            for mode in ("crop", "average"):
                out = aggregate_patches(x, FIRST, VOLUME, mode=mode)
                seed = torch.randn_like(out).requires_grad_()
                (g,) = grad(out, x, seed, create_graph=True)
                (gg,) = grad((g * x.detach()).sum(), seed)
                torch.testing.assert_close(gg, out, rtol=0, atol=1e-6)  # rounding of sums

    def test_what_no_patch_holds_stays(self, device):
        """Tiles of the volume that no patch touches are not even read."""
        onto = volume((1, 1, 9, 9, 40)).to(device)
        where = places(np.array([(2, 1, 30)]), SIZE, (9, 9, 40))
        x = volume((1, 1, *SIZE), seed=1).to(device)
        expected = onto.clone()
        expected[0, :, 2:5, 1:5, 30:32] += x[0]
        kernels.scatter_patches_(onto, [x], table(where), [], False)
        assert torch.equal(onto, expected)

    @pytest.mark.parametrize("mode", MODES)
    def test_rows_as_they_are_done(self, mode, device):
        shape, size, overlap = (9, 5, 5), (4, 3, 4), (2, 1, 2)
        first = grid(shape, size, overlap)
        x = volume((len(first), 1, *size)).to(device)

        def batches():
            for n in range(0, len(first), 5):
                yield x[n : n + 5], first[n : n + 5], size

        with tio.backend("triton"):
            whole = aggregate_patches(x, first, shape, mode=mode, overlap=overlap)[0]
            rows = [row.data for row in stream(Stitcher(shape, shape, mode, overlap), batches())]
        assert len(rows) > 2
        # the same sums, divided by products of sums that are rounded in another order
        atol = 0 if mode == "crop" else 1e-6
        torch.testing.assert_close(torch.cat(rows, 1), whole, rtol=0, atol=atol)

    def test_many_go_on_in_float64(self, device):
        x = torch.full((40, 1, 2, 2, 2), 0.1, device=device)
        stitcher = Stitcher((3, 2, 2), (3, 2, 2), "hann")
        with tio.backend("triton"):
            stitcher.add(x, np.zeros((40, 3), dtype=np.int64), (2, 2, 2))
            assert stitcher.total.dtype == torch.float64
            out = stitcher.result()
        assert out.dtype == torch.float32
        assert torch.equal(out[0, :, 0, 0], torch.tensor([0.1, 0.1, 0], device=device))


def test_what_no_kernel_can(device):
    x = torch.zeros(1, 1, 2, 2, 2, dtype=torch.complex64, device=device)
    with tio.backend("triton"):
        for f in (lambda: extract_patches(x, [(0, 0, 0)], (2, 2, 2)),
                  lambda: aggregate_patches(x, [(0, 0, 0)], (2, 2, 2))):  # fmt: skip
            with pytest.raises(
                RuntimeError, match=r"must be floats or integers, got torch.complex"
            ):
                f()


# torch traces operators with memory of its own
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", ["gather", "scatter", "scatter_", "divide"])
def test_operators_are_well_formed(name, device):
    rows = table(places(FIRST, SIZE, VOLUME))
    x = volume((1, 2, *VOLUME)).to(device)
    patches = volume((len(FIRST), 2, *SIZE)).to(device)
    weights = [torch.rand(n, device=device) + 0.1 for n in SIZE]
    wanted = x.clone().requires_grad_(), patches.clone().requires_grad_()
    shape = list(x.shape)
    operator, arguments = {
        "gather": (kernels.gather_patches, ([wanted[0]], rows, weights, list(SIZE))),
        "scatter": (kernels.scatter_patches, ([wanted[1]], rows, weights, shape, False, x)),
        "scatter_": (kernels.scatter_patches_, (x, [patches], rows, weights, True)),
        "divide": (
            kernels.divide_by_product_,
            (x[0].clone(), *(torch.rand(n, device=device) for n in VOLUME)),
        ),
    }[name]
    opcheck(operator, arguments)


@pytest.mark.gpu
@needs_gpu
def test_nothing_is_waited_for():
    x = torch.rand(1, 2, *VOLUME, device="cuda")
    with waits_refused():
        for mode in MODES:
            patches = extract_patches(x, FIRST, SIZE).requires_grad_()
            aggregate_patches(patches.detach(), FIRST, VOLUME, mode=mode)
            aggregate_patches(patches, FIRST, VOLUME, mode=mode).sum().backward()
