"""Functions on label maps: against scipy, SimpleITK and TorchIO, and at the worst mazes."""

from contextlib import nullcontext

import numpy as np
import pytest
import scipy.ndimage
import SimpleITK as sitk
import torch
import torchio

from benchmarks.clock import waits_refused
from tests.devices import needs_gpu
from torchio_gpu.functional import labels as F

DTYPES = [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64,
          torch.float16, torch.bfloat16, torch.float32, torch.float64]  # fmt: skip


def volume(array, dtype=torch.uint8):
    return torch.from_numpy(np.ascontiguousarray(array)).to(dtype)[None, None]


def line(*labels, dtype=torch.int64):
    return torch.tensor(labels).to(dtype).view(1, 1, 1, 1, -1)


def with_torchio(transform, x):
    return transform(torchio.LabelMap(tensor=x[0])).data[None]


def noise(shape, share, seed=0):
    return np.random.default_rng(seed).random(shape) < share


def spiral(n):
    """Return a spiral path, one voxel wide, from the corner to the middle."""
    out = np.zeros((n, n), dtype=bool)
    i, j, di, dj = 0, 0, 0, 1
    out[0, 0] = True
    for steps in (n - 1, *(m for m in range(n - 1, 0, -2) for _ in range(2))):
        for _ in range(steps):
            i, j = i + di, j + dj
            out[i, j] = True
        di, dj = dj, -di
    return out


def snake(shape):
    """Fill every other plane and line, joined at alternating ends to one long path."""
    out = np.zeros(shape, dtype=bool)
    out[::2, ::2] = True
    out[::2, 1::4, -1] = True
    out[::2, 3::4, 0] = True
    out[1::4, 0, 0] = True
    out[3::4, -1, -1] = True
    return out


def comb(shape):
    """Fill lines that only the last plane joins, so that components merge at the end."""
    out = np.zeros(shape, dtype=bool)
    out[:, ::2, ::2] = True
    out[-1] = True
    return out


MASKS = {
    "nothing": np.zeros((4, 5, 6), dtype=bool),
    "all": np.ones((7, 6, 5), dtype=bool),
    "one voxel": np.eye(1, 60, 37).reshape(3, 4, 5).astype(bool),
    "single voxel of foreground": np.ones((1, 1, 1), dtype=bool),
    "single voxel of background": np.zeros((1, 1, 1), dtype=bool),
    "flat": noise((5, 1, 7), 0.5),
    "line along I": noise((40, 1, 1), 0.6),
    "line along K": noise((1, 1, 40), 0.6),
    "sparse": noise((21, 22, 23), 0.1),
    "percolating": noise((40, 41, 42), 0.3116),
    "dense": noise((21, 22, 23), 0.6),
    "checkerboard": np.indices((9, 8, 7)).sum(0) % 2 == 1,
    "spiral across K": spiral(41)[..., None],
    "spiral across I": spiral(41)[None],
    "spiral across J": spiral(41)[:, None],
    "snake": snake((15, 17, 13)),
    "snake the other way": snake((15, 17, 13)).T,
    "comb": comb((9, 10, 11)),
    "comb the other way": comb((9, 10, 11)).T,
    "opposite corners": np.eye(4)[..., None].repeat(2, 2).astype(bool),
}


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_components_agree_with_scipy(mask):
    """Components are numbered by their first voxel in C order, as by scipy."""
    found = F.connected_components(volume(mask))
    assert found.dtype == torch.int64
    expected, _ = scipy.ndimage.label(mask)
    assert np.array_equal(found[0, 0].numpy(), expected)


def test_maze_masks_have_the_components_they_are_made_with():
    assert scipy.ndimage.label(MASKS["snake"])[1] == 1
    assert scipy.ndimage.label(MASKS["spiral across K"])[1] == 1
    assert scipy.ndimage.label(MASKS["comb"])[1] == 1
    assert scipy.ndimage.label(MASKS["checkerboard"])[1] == MASKS["checkerboard"].sum()


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_the_largest_component_agrees_with_torchio(mask):
    x = volume(mask)
    assert torch.equal(F.largest_component(x), with_torchio(torchio.KeepLargestComponent(), x))


def test_the_component_kept_among_equal_ones_is_that_of_itk():
    ties = 0
    for seed in range(100):
        mask = noise((4, 5, 6), 0.2, seed)
        sizes = np.bincount(scipy.ndimage.label(mask)[0].ravel())[1:]
        ties += (sizes == sizes.max()).sum() > 1
        x = volume(mask)
        image = sitk.GetImageFromArray(mask.T.astype(np.uint8))  # whose fastest axis is I
        kept = sitk.RelabelComponent(sitk.ConnectedComponent(image)) == 1
        expected = sitk.GetArrayFromImage(kept).T
        assert np.array_equal(F.largest_component(x)[0, 0].numpy(), expected)
    assert ties > 10


def test_the_component_that_is_kept_keeps_its_labels():
    x = line(1, 1, 0, 3, 2, 3, 0, 4)
    assert F.largest_component(x).flatten().tolist() == [0, 0, 0, 3, 2, 3, 0, 0]
    assert F.largest_component(-x).flatten().tolist() == [0, 0, 0, -3, -2, -3, 0, 0]


def test_contours_agree_with_itk_also_at_the_ends_of_the_volume():
    """Masks agree; ITK keeps labels other than 1."""
    for shape in ((9, 10, 11), (1, 9, 8), (5, 1, 7), (1, 1, 1), (1, 1, 6)):
        for share in (0.0, 0.5, 0.9, 1.0):
            x = volume(noise(shape, share))
            assert torch.equal(F.contour(x), with_torchio(torchio.Contour(), x))
    assert F.contour(volume(np.ones((3, 3, 3)))).sum() == 0


def test_each_label_has_its_contour():
    """Adjacent labels both have one: the part of the region that erosion removes."""
    labels = (noise((9, 10, 11), 0.9) * np.arange(1, 12) // 4).astype(np.int16)
    expected = np.zeros_like(labels)
    for label in (1, 2):
        region = labels == label
        inside = scipy.ndimage.binary_erosion(region, border_value=1)
        expected[region & ~inside] = label
    assert set(np.unique(labels)) == {0, 1, 2}
    out = F.contour(volume(labels, torch.int16))[0, 0].numpy()
    assert np.array_equal(out, expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_one_hot_agrees_with_torch(dtype):
    x = torch.randint(0, 6, (2, 1, 3, 4, 5)).to(dtype)
    x[0, 0, 0, 0, 0] = 5
    expected = torch.nn.functional.one_hot(x[:, 0].long()).movedim(-1, 1)
    for classes in (-1, 6, 9):
        out = F.one_hot(x, classes)
        assert out.dtype == dtype
        assert torch.equal(out[:, :6].long(), expected)
        assert not out[:, 6:].any()
    assert F.one_hot(x).shape == (2, 6, 3, 4, 5)


def test_one_hot_of_labels_that_require_a_gradient_has_none():
    x = torch.tensor([0.0, 2.0]).view(1, 1, 1, 1, 2).requires_grad_()
    out = F.one_hot(x, 3)
    assert not out.requires_grad
    assert out.flatten().tolist() == [1, 0, 0, 0, 0, 1]


@pytest.mark.parametrize(
    ("dtype", "label"), [(torch.uint8, 255), (torch.int8, 127), (torch.bfloat16, 256)]
)
def test_more_classes_than_the_type_can_count(dtype, label):
    """Numbers that overflow or are rounded in the dtype are not taken as labels."""
    out = F.one_hot(line(0, label, dtype=dtype), 600)
    assert out.long().nonzero()[:, 1].tolist() == [0, label]


@pytest.mark.parametrize("dtype", DTYPES)
def test_remapping_can_swap_labels(dtype):
    x = torch.randint(0, 9, (2, 2, 5, 6, 7)).to(dtype)
    remapping = {0: 1, 1: 0, 2: 3, 3: 4, 4: 2, 8: 7, 1000: 5, -(10**12): 6}
    expected = x.clone()
    for old, new in remapping.items():
        expected[x.long() == old] = new
    out = F.remap_labels(x, remapping)
    assert out.dtype == dtype
    assert torch.equal(out, expected)
    mask = x > 2
    assert torch.equal(F.remap_labels(x, remapping, mask), torch.where(mask, expected, x))


@pytest.mark.parametrize("dtype", DTYPES)
def test_each_sample_is_remapped_by_its_own_table(dtype):
    x = torch.randint(0, 4, (3, 1, 4, 5, 6)).to(dtype)
    old = np.array([[0, 1, 1], [3, 2, 1], [2**32] * 3])  # which is 0 in fewer bits
    new = np.array([[5, 6, 6], [1, 2, 3], [1, 1, 1]])
    out = F.remap_labels(x, (old, new))
    for n in range(3):
        table = dict(zip(old[n].tolist(), new[n].tolist(), strict=True))
        assert torch.equal(out[n : n + 1], F.remap_labels(x[n : n + 1], table))
    assert torch.equal(out[2], x[2])


def test_labels_of_any_magnitude_and_sign():
    least, most = torch.iinfo(torch.int64).min, torch.iinfo(torch.int64).max
    x = line(least, -1, 0, 2**53, 2**53 + 1, most)
    out = F.remap_labels(x, {least: most, 2**53 + 1: 7, -1: least, most: 0})
    assert out.flatten().tolist() == [most, least, 0, 2**53, 7, 0]
    x = line(-32768, -1, 32767, dtype=torch.int16)
    assert F.remap_labels(x, {-32768: 1, 32767: -32768}).flatten().tolist() == [1, -1, -32768]
    x = torch.tensor([0.5, -0.0, float("nan"), 3]).view(1, 1, 1, 1, 4)
    out = F.remap_labels(x, ([0.5, 0, 3], [1, 2, 0.25])).flatten()
    torch.testing.assert_close(out, torch.tensor([1, 2, float("nan"), 0.25]), equal_nan=True)
    assert F.remap_labels(line(0, 1, dtype=torch.bool), {0: 1, 1: 0}).flatten().tolist() == [1, 0]
    x = line(1, 2)
    assert F.remap_labels(x, {}) is x


RUNS = {
    "one_hot": lambda x: F.one_hot(x, 4),
    "remap_labels": lambda x: F.remap_labels(x, {0: 1, 1: 0, 3: 1}),
    "contour": F.contour,
    "connected_components": F.connected_components,
    "largest_component": F.largest_component,
}


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_batch_equals_single_samples(run):
    """Components do not extend from one sample into the next."""
    masks = [noise((6, 7, 8), share, n) for n, share in enumerate((0, 0.3, 1, 1, 0.6, 0, 0.3))]
    x = torch.cat([volume(mask) for mask in masks]) * torch.randint(1, 4, (7, 1, 6, 7, 8))
    together = run(x)
    for n in range(len(x)):
        assert torch.equal(together[n : n + 1], run(x[n : n + 1]))


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
@pytest.mark.parametrize("dtype", [torch.bool, *DTYPES])
def test_dtypes(run, dtype):
    x = torch.randint(0, 2, (2, 1, 5, 6, 7)).to(dtype)
    out = run(x)
    assert out.dtype == (torch.int64 if run is F.connected_components else dtype)
    assert torch.equal(out.long(), run(x.int()).long())


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_any_memory_layout_and_the_input_is_not_changed(run):
    x = torch.randint(0, 4, (2, 1, 5, 6, 7), dtype=torch.int16)
    x *= torch.rand(x.shape) < 0.5
    padded = torch.nn.functional.pad(x, (1,) * 6, value=2)
    layouts = (
        x.permute(4, 2, 0, 1, 3).contiguous().permute(2, 3, 1, 4, 0),
        padded[..., 1:-1, 1:-1, 1:-1],
        x.repeat_interleave(2, 4)[..., ::2],
        x.contiguous(memory_format=torch.channels_last_3d),
        x.flip(4).contiguous().flip(4),
        x[:1].expand(2, -1, -1, -1, -1),
    )
    for y in layouts:
        before = y.clone()
        assert torch.equal(run(y), run(y.contiguous()))
        assert torch.equal(y, before)


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_runs_on_the_meta_device(run):
    x = torch.randint(0, 2, (3, 1, 4, 5, 6), dtype=torch.int16)
    for dtype in (torch.int16, torch.float32):
        out = run(x.to("meta", dtype))
        expected = run(x.to(dtype))
        assert out.is_meta
        assert (out.shape, out.dtype) == (expected.shape, expected.dtype)


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("name", RUNS)
def test_gpu_agrees_with_cpu(name):
    run = RUNS[name]
    for mask in MASKS.values():
        for dtype in (torch.uint8, torch.int32, torch.float32):
            x = volume(mask, dtype).expand(2, -1, -1, -1, -1)
            on_gpu = x.cuda()
            with nullcontext() if "component" in name else waits_refused():
                out = run(on_gpu)
            assert torch.equal(out.cpu(), run(x))


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda x: F.one_hot(x.repeat(1, 2, 1, 1, 1)), "x must have one channel, got 2"),
        (lambda x: F.one_hot(x, 3), "num_classes must be above every label: .* 4, got 3"),
        (lambda x: F.one_hot(x, 0), "num_classes must be -1, or from 1 to 65536, got 0"),
        (lambda x: F.one_hot(-x), "x must hold labels >= 0, got -3"),
        (lambda x: F.one_hot(x / 2), "x must hold integer labels"),
        (lambda x: F.one_hot(x / 0, 5), "x must hold integer labels"),
        (lambda x: F.one_hot(x.to("meta")), "num_classes must be given for meta tensors"),
        (lambda x: F.contour(x.repeat(1, 2, 1, 1, 1)), "x must have one channel, got 2"),
        (lambda x: F.connected_components(x[0]), "x must have shape"),
        (lambda x: F.largest_component(x.repeat(1, 3, 1, 1, 1)), "x must have one channel, got 3"),
        (lambda x: F.remap_labels(x.byte(), {1: 256, 2: -1, 3: 4}), r"torch.uint8 .* \[-1, 256\]"),
        (lambda x: F.remap_labels(x.half(), {1: 2049}), r"torch.float16 can hold, got \[2049\]"),
        (lambda x: F.remap_labels(x, ([1], [0.5])), r"torch.int64 can hold, got \[0.5\]"),
        (lambda x: F.remap_labels(x, ([1, 1], [2, 3])), "must give each label one new label"),
        (lambda x: F.remap_labels(x, ([1, 2], [2])), "remapping must be two arrays of one shape"),
        (lambda x: F.remap_labels(x, (np.ones((3, 2)),) * 2), r"\(N\) or \(1, N\), got \(3, 2\)"),
        (lambda x: F.remap_labels(x, {1: 2}, x), "mask must be bool of shape .* got torch.int64"),
        (lambda x: F.remap_labels(x, {1: 2}, x[..., :2] > 0), "mask must be bool of shape"),
    ],
)
def test_bad_arguments_are_named(run, message):
    with pytest.raises(ValueError, match=message):
        run(line(0, 1, 2, 3))


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda x: F.one_hot(x, 2.5), "num_classes must be an integer, got 2.5"),
        (lambda x: F.one_hot(x, True), "num_classes must be an integer, got True"),
        (lambda x: F.remap_labels(x, {"a": 1}), "remapping must be made of numbers"),
        (lambda x: F.remap_labels(x, 4), "remapping must be a dict of labels, or two arrays"),
        (lambda x: F.contour(x.numpy()), "x must be a tensor"),
    ],
)
def test_bad_types_are_named(run, message):
    with pytest.raises(TypeError, match=message):
        run(line(0, 1, 2, 3))
