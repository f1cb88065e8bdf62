"""Checks of intensities, artifacts, labels and patches."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .answers import Answer, both, no, partly, yes
from .space import blob, centroid
from .tensors import noise

Call = Callable[[Tensor], Tensor]  # (1, I, J, K) to the same


def bias(call: Call) -> Answer:
    """A smooth factor, of a constant image."""
    y = call(torch.ones(1, 16, 16, 16))
    if not (y > 0).all():
        return no("the field is not positive")
    steps = [y.log().diff(dim=axis).abs().max() for axis in (1, 2, 3)]
    if y.std() < 0.01:
        raise AssertionError("the field is constant")
    return yes() if max(steps) < 0.5 else no("the field jumps from voxel to voxel")


def spectrum(x: Tensor) -> Tensor:
    """k-space of (1, I, J, K), its centre in the middle."""
    return torch.fft.fftshift(torch.fft.fftn(x[0].double()))


def motion(call: Call) -> Answer:
    """Poses differ within k-space: the magnitudes of some parts of it change, others do not.

    A rigid motion of the image would move its energy; here, the blob is cut into echoes.
    """
    x = blob(np.eye(4), (24, 24, 24), np.array([12.0, 12, 12]), 2.0)
    y = call(x.clone())
    if not torch.isfinite(y).all() or y.shape != x.shape:
        return no("the result is not an image")
    # after any rigid motion the blob, round and inside, would have the same norm and peak
    norm, peak = y.norm() / x.norm(), y.max() / x.max()
    return yes() if abs(norm - 1) > 0.005 or abs(peak - 1) > 0.02 else no("a rigid motion")


def ghosting(call: Call) -> Answer:
    """Some planes of k-space are changed, and others are left."""
    x = noise(1, 16, 16, 16)
    change = (spectrum(call(x.clone())) - spectrum(x)).abs()
    changed = change > 1e-3 * change.max()
    for axis in range(3):
        planes = changed.float().mean([other for other in range(3) if other != axis])
        if planes.max() > 0.5 and (planes < 0.05).any():
            return yes()
    return no("k-space is changed everywhere")


def spikes(call: Call) -> Answer:
    """A few points of k-space are changed."""
    x = noise(1, 16, 16, 16)
    change = (spectrum(call(x.clone())) - spectrum(x)).abs()
    if change.max() == 0:
        raise AssertionError("nothing happened")
    count = int((change > 1e-3 * change.max()).sum())
    return yes() if count <= 8 else no(f"{count} points of k-space are changed")


def gibbs(call: Call) -> Answer:
    """The corner of k-space is emptied, and its centre is kept."""
    x = noise(1, 16, 16, 16)
    before, after = spectrum(x).abs(), spectrum(call(x.clone())).abs()
    centre, corner = (slice(7, 10),) * 3, (slice(0, 3),) * 3
    kept = after[centre].norm() / before[centre].norm()
    lost = after[corner].norm() / before[corner].norm()
    return yes() if abs(kept - 1) < 0.05 and lost < 0.2 else no("high frequencies remain")


def aliasing(wrapped: Call, partial: Call) -> Answer:
    """A plane is repeated half a field of view away; a wave becomes flat."""
    x = torch.zeros(1, 16, 16, 16)
    x[:, :, 3] = 1
    found = wrapped(x.clone())[0].mean((0, 2)).abs()
    wave = torch.cos(2 * torch.pi * 7 * torch.arange(16) / 16)[:, None].expand(1, 16, 16, 16)
    flat = partial(wave.clone()).abs()
    twice = found[11] > 0.2 * found[3]
    half = (flat - 0.5).abs().max() < 0.05
    return both(
        yes() if twice else no("nothing folds over"),
        yes() if half else no("lines of both signs are kept"),
        ("wrap-around", "partial Fourier"),
    )


def fat(call: Callable[[Tensor, Tensor], Tensor]) -> Answer:
    """call: image and mask (1, I, J, K) to the image with the voxels of the mask displaced."""
    x, mask = torch.ones(1, 16, 16, 16), torch.zeros(1, 16, 16, 16)
    mask[:, 4:8] = 1
    y = call(x.clone(), mask)
    if (y - x).abs().max() < 0.5:
        return no("nothing moves")
    kept = abs(y.sum() - x.sum()) < 0.02 * x.sum()
    return yes() if kept and (y[:, 12:] - 1).abs().max() < 0.3 else no("all voxels move")


def zipper(call: Call) -> Answer:
    """One plane is noisy."""
    x = noise(1, 16, 16, 16) + 2
    changed = call(x.clone()) != x
    if not changed.any():
        raise AssertionError("nothing happened")
    counts = [int(changed[0].movedim(axis, 0).flatten(1).any(1).sum()) for axis in range(3)]
    return yes() if min(counts) == 1 else no(f"{min(counts)} planes are changed")


def coils(call: Call) -> Answer:
    """Noise of several coils has a larger mean, relative to its deviation, than that of one."""
    y = call(torch.zeros(1, 24, 24, 24))
    ratio = float(y.mean() / y.std())
    return yes() if ratio > 2.2 else no(f"mean over deviation is {ratio:.2f}")


def _fan() -> tuple[Tensor, Tensor]:
    """Return distance from the apex, mm, and the mask of a phased probe of 80 degrees and 60 mm."""
    i, j = torch.meshgrid(torch.arange(96.0) - 47.5, torch.arange(80.0) + 0.5, indexing="ij")
    depth = torch.hypot(i, j)
    inside = (torch.atan2(i, j).abs() <= math.radians(40)) & (depth <= 60)
    return depth, inside


def beam_attenuation(call: Call) -> Answer:
    """A constant image, 60 dB from 0 to 255, falls by 2 dB per cm of depth within the fan alone."""
    y, (depth, inside) = call(torch.full((1, 96, 80, 1), 200.0))[0, ..., 0], _fan()
    if not (y[~inside] == 200).all():
        return no("values outside of the fan change")
    off = ((200 - y) * 60 / 255 - depth / 5)[inside].abs().max()
    return yes() if off < 0.1 else no(f"levels are {off:.1f} dB off")


def acoustic_shadow(call: Call) -> Answer:
    """A constant image, 60 dB from 0 to 255, is 20 dB darker in a sector of the fan alone."""
    y, (depth, inside) = call(torch.full((1, 96, 80, 1), 200.0))[0, ..., 0], _fan()
    i, j = torch.meshgrid(torch.arange(96.0) - 47.5, torch.arange(80.0) + 0.5, indexing="ij")
    dark = inside & (depth > 20) & (torch.atan2(i, j).abs() < math.radians(8))
    off = ((200 - y) * 60 / 255 - 20 * dark).abs().max()
    return yes() if off < 0.1 else no(f"levels are {off:.1f} dB off")


def reverberation(call: Call) -> Answer:
    """A row of 255, 60 dB from 0 to 255, has two echoes, 10 rows and 6 dB apart."""
    x = torch.zeros(1, 41, 60, 1)
    x[:, :, 12] = 255
    want = x.clone()
    for n in (1, 2):
        want[:, :, 12 + 10 * n] = 255 - n * 20 * math.log10(2) * 255 / 60
    off = (call(x) - want)[:, 1:-1].abs().max() * 60 / 255
    return yes() if off < 0.1 else no(f"levels are {off:.1f} dB off")


def labels_to_ultrasound(call: Callable[[Any], Tensor]) -> Answer:
    """Mean intensities of one label fall by 3 dB per cm."""
    import torchio_gpu as tio

    y = call(tio.Subject(seg=tio.LabelMap(torch.ones(1, 80, 60, 1, dtype=torch.uint8))))
    power = 10 ** (y[0, ..., 0] * 6 / 255)
    upper, lower = power[:, :30].mean(), power[:, 30:].mean()
    lost = 10 * math.log10(float(upper / lower))
    return yes() if abs(lost - 9) < 1 else no(f"the level falls by {lost:.1f} dB in 30 mm")


def speckle(call: Call) -> Answer:
    """The level of a constant image, 60 dB from 0 to 255, deviates by 5.57 dB within the fan."""
    y, (_, inside) = call(torch.full((1, 96, 80, 1), 150.0))[0, ..., 0], _fan()
    if not (y[~inside] == 150).all():
        return no("values outside of the fan change")
    deviation = float((y[inside] * 60 / 255).std())
    return yes() if abs(deviation - 5.57) < 0.3 else no(f"levels deviate by {deviation:.1f} dB")


def haze(call: Call) -> Answer:
    """A black image becomes brighter within the fan, near the probe most."""
    y, (depth, inside) = call(torch.zeros(1, 96, 80, 1))[0, ..., 0], _fan()
    if not (y[~inside] == 0).all():
        return no("values outside of the fan change")
    near, far = (float(y[inside & (abs(depth - at) < 5)].mean()) for at in (15, 50))
    return yes() if near > far + 10 else no(f"{near:.0f} near the probe, {far:.0f} far from it")


def low_field(call: Call) -> Answer:
    """Noise of a constant image grows as the field falls."""
    y = call(torch.ones(1, 24, 24, 24))
    ratio = float(y.mean() / y.std())
    return yes() if abs(ratio - 10) < 1 else no(f"mean over deviation is {ratio:.1f}")


def rods(value: float) -> torch.Tensor:
    """Return water in air with two rods on a line along the second axis, in Hounsfield units."""
    at = torch.arange(48) - 23.5
    x = torch.where(torch.hypot(at[:, None], at) < 22, 0.0, -1000.0)
    for place in (-12, 12):
        x = torch.where(torch.hypot(at[:, None], at - place) < 4, value, x)
    return x[None, :, :, None].repeat(1, 1, 1, 6)


def low_dose(call: Call) -> Answer:
    """Noise is stronger where fewer photons pass."""
    at = torch.arange(48) - 23.5
    disc = torch.where(torch.hypot(at[:, None], at) < 18, 2000.0, -1000.0)
    noise = call(disc[None, :, :, None].repeat(1, 1, 1, 6)) - disc[None, :, :, None]
    middle, corner = (float(noise[:, a:b, a:b].std()) for a, b in ((20, 28), (0, 8)))
    return yes() if middle > 1.5 * corner > 0 else no(f"{middle:.1f} HU, {corner:.1f} in corners")


def streaks(call: Call) -> Answer:
    """Changes lie between dense rods."""
    change = (call(rods(4000)) - rods(4000))[0]
    between, beside = (float(change[a].square().mean()) for a in _BETWEEN_AND_BESIDE)
    return yes() if between > 100 * beside else no(f"{between:.1f} between, {beside:.1f} beside")


def beam_hardening(call: Call) -> Answer:
    """A band between rods of bone is dark."""
    change = (call(rods(1200)) - rods(1200))[0]
    between, beside = (float(change[a].mean()) for a in _BETWEEN_AND_BESIDE)
    return yes() if between < beside - 3 else no(f"{between:.1f} HU between, {beside:.1f} beside")


#: The middle of the line that joins rods, and places across it.
_BETWEEN_AND_BESIDE = (
    (slice(22, 26), slice(20, 28)),
    (torch.tensor([6, 7, 8, 9, 38, 39, 40, 41]), slice(20, 28)),
)


def b0(call: Call) -> Answer:
    """Content moves along one axis, and sums along it stay."""
    x = blob(np.eye(4), (32, 32, 32), np.array([16.0, 16, 16]), 4.0)
    y = call(x.clone())
    if (y - x).abs().max() < 0.02 * x.max():
        raise AssertionError("nothing happened")
    changes = []
    for axis in (1, 2, 3):
        before, after = x.sum(axis), y.sum(axis)
        changes.append(float((after - before).abs().max() / before.max()))
    return yes() if min(changes) < 0.03 else no(f"sums along lines change by {min(changes):.0%}")


def slices(call: Call) -> Answer:
    """A rod along one axis is no straight line afterwards."""
    found = []
    for axis in range(3):
        x = torch.zeros(1, 24, 24, 24)
        x.movedim(1 + axis, 1)[:, :, 9:15, 9:15] = 1
        y = call(x.clone()).movedim(1 + axis, 1)[0]
        mass = y.sum((1, 2)).clamp(min=1e-6)
        for other in (1, 2):
            place = torch.arange(24.0).view(-1, 1) if other == 1 else torch.arange(24.0)
            centre = ((y * place).sum((1, 2)) / mass)[4:-4]
            found.append(float(centre.diff(n=2).abs().max()))  # 0 after any affine motion
    return yes() if max(found) > 0.3 else no("slices move together")


def curves(call: Call) -> Answer:
    """A curve that keeps order and ends, and is not straight."""
    x = torch.linspace(0, 1, 4096).view(1, 16, 16, 16)
    y = call(x.clone()).flatten()
    if (y.diff() < -1e-4).any():
        return no("the order of values changes")
    if abs(y[0]) > 1e-3 or abs(y[-1] - 1) > 1e-3:
        return no("the range of values changes")
    return yes() if (y - x.flatten()).abs().max() > 0.01 else no("differences are kept")


def morphology(grown: Call, shrunk: Call) -> Answer:
    """A cube of labels gains or loses voxels."""
    x = torch.zeros(1, 24, 24, 24, dtype=torch.int64)
    x[:, 8:16, 8:16, 8:16] = 1
    more, less = int((grown(x.clone()) == 1).sum()), int((shrunk(x.clone()) == 1).sum())
    return yes() if more > 512 > less > 0 else no(f"512 voxels became {more} and {less}")


def anisotropy(call: Call) -> Answer:
    """Neighbours become more alike along one axis than along another."""
    x = noise(1, 24, 24, 24)
    y = call(x.clone())
    rough = [y.diff(dim=axis).std() / x.diff(dim=axis).std() for axis in (1, 2, 3)]
    return yes() if min(rough) < 0.7 * max(rough) else no("no axis is smoother than another")


def ct_kernel(sharp: Call, soft: Call) -> Answer:
    """Frequencies within planes along K are weighed, each plane by itself."""
    x = 0.4 + 0.2 * noise(1, 32, 32, 8)
    other = x.clone()
    other[..., 3] = 0.5
    answers = []
    for call, grows in ((sharp, True), (soft, False)):
        y = call(x.clone())
        if (call(torch.full_like(x, 0.5))[:, 8:24, 8:24, 2:6] - 0.5).abs().max() > 1e-3:
            return no("constants change")
        if not torch.allclose(call(other)[..., 4], y[..., 4], atol=1e-4):
            return no("planes mix")
        gain = (torch.fft.fft2(y, dim=(1, 2)) / torch.fft.fft2(x, dim=(1, 2))).abs()
        low, high = gain[:, 1:5, 1:5].mean(), gain[:, 12:16, 12:16].mean()
        answers.append(high > 1.3 * low if grows else high < 0.7 * low)
    return yes() if all(answers) else no("frequencies keep their shares")


def ct_thickness(call: Call) -> Answer:
    """Noise of means over three voxels along an axis."""
    x = noise(1, 32, 32, 32)
    y = call(x.clone())
    found = []
    for axis in (1, 2, 3):
        z = y.movedim(axis, 1)[:, 4:-4] - y.mean()
        shared = [(z[:, n:] * z[:, : z.shape[1] - n]).mean() / x.var() for n in (0, 1, 2, 3)]
        expected = torch.tensor([3, 2, 1, 0]) / 9
        found.append(float((torch.stack(shared) - expected).abs().max()))
    return yes() if min(found) < 0.02 else no(f"variances differ by {min(found):.2f}")


def ct_rings(call: Call) -> Answer:
    """Rings about the centre of planes across the last axis."""
    change = call(torch.zeros(1, 32, 32, 4))
    if change.std() < 1e-3:
        raise AssertionError("nothing happened")
    turned = change.rot90(1, (1, 2))
    return yes() if (turned - change).abs().max() < 0.01 * change.std() else no("not round")


def ct_views(sparse: Call, limited: Call) -> Answer:
    """Streaks outside of a disc; edges of a square that differ by their direction."""
    place = torch.arange(64.0) - 31.5
    inside = place[:, None].square() + place.square() < 16**2
    x = torch.where(inside, 0.0, -1000.0)[None, :, :, None].repeat(1, 1, 1, 2)
    streaks = (sparse(x.clone()) - x)[:, ~inside].std()
    square = (place.abs() < 12)[:, None] & (place.abs() < 12)
    x = torch.where(square, 0.0, -1000.0)[None, :, :, None].repeat(1, 1, 1, 2)
    y = limited(x.clone())[0, ..., 0]
    steps = [(each[21:24, 30:34].mean() - each[15:18, 30:34].mean()).abs() for each in (y, y.mT)]
    return both(
        yes() if streaks > 10 else no("no streaks"),
        yes() if max(steps) > 2 * min(steps) else no("edges of all directions stay"),
        ("sparse views", "limited angle"),
    )


def ct_metal(call: Callable[[Tensor, Tensor], Tensor]) -> Answer:
    """call: image in HU and mask of metal (1, I, J, K) to the image with artifacts."""
    place = torch.arange(64.0) - 31.5
    x = torch.where(place[:, None].square() + place.square() < 28**2, 0.0, -1000.0)
    mask = place[:, None].square() + (place.abs() - 16).square() < 9
    y = call(x[None, :, :, None].repeat(1, 1, 1, 2), mask[None, :, :, None].repeat(1, 1, 1, 2))
    band, beside = y[0, 31:33, 24:40].mean(), y[0, 12:20, 24:40].mean()
    return yes() if band < beside - 15 else no("no dark band between rods")


def ct_window(call: Call) -> Answer:
    """Intensities of a window, linearly, and its ends outside."""
    x = torch.linspace(-1000, 1000, 4096).view(1, 16, 16, 16)
    apart = (call(x.clone()) - (x / 80).clamp(0, 1)).abs().max()
    return yes() if apart < 1e-5 else no(f"values differ by {apart:.2g}")


def synthesis(call: Call) -> Answer:
    """An image of label maps has a mean for each label, other ones at each call."""
    x = torch.zeros(1, 16, 16, 16, dtype=torch.uint8)
    x[:, :8, 2:14], x[:, 8:, 2:14] = 1, 2
    images = [call(x).float().reshape(x.shape) for _ in range(3)]
    means = [[y[x == label].mean() for label in (0, 1, 2)] for y in images]
    spread = torch.tensor(means)
    inside = torch.stack([y[x == label].std() for y in images for label in (1, 2)]).mean()
    if spread.std(0).mean() == 0 or spread.std(1).mean() == 0:
        return no("labels do not differ, or not at random")
    return yes() if spread.std() > inside / 4 else no("labels cannot be told apart")


def dropout(call: Call) -> Answer:
    """Boxes are changed, all else is left."""
    x = noise(1, 24, 24, 24) + 1
    share = (call(x.clone()) != x).float().mean()
    if share == 0:
        raise AssertionError("nothing happened")
    return yes() if share < 0.9 else no("all voxels are changed")


def mixing(call: Call) -> Answer:
    """call: Batch (2, 1, I, J, K) of zeros and of ones to a mixture."""
    x = torch.stack([torch.zeros(1, 8, 8, 8), torch.ones(1, 8, 8, 8)])
    for _ in range(5):  # which may draw that nothing is mixed
        y = call(x.clone()).flatten(1).mean(1)
        if ((y > 0.01) & (y < 0.99)).any():
            return yes()
    return no("samples are not mixed")


#: Posterior, superior, left; 1.5, 1 and 2 mm.
RAW = np.array([[0, 0, -2, 40], [-1.5, 0, 0, 30], [0, 1, 0, -5], [0, 0, 0, 1.0]])


def regrid(call: Callable[[Tensor, np.ndarray], tuple[Tensor, Any]]) -> Answer:
    """call: Image and affine to both, in RAS and at 1 mm."""
    place = RAW[:3, :3] @ [8, 13, 6] + RAW[:3, 3]
    x = blob(RAW, (18, 24, 12), place, 3.0)
    y, affine = call(x, RAW)
    affine = np.asarray(affine, dtype=float)
    if not np.allclose(affine[:3, :3], np.eye(3), atol=1e-6):
        return no(f"the axes become {affine[:3, :3].round(3).tolist()}")
    apart = np.linalg.norm(centroid(y, affine) - place)
    return yes() if apart < 0.3 else no(f"the blob is {apart:.1f} mm from its place")


def landmarks(call: Callable[[list[Tensor]], list[Tensor]]) -> Answer:
    """call: Images to the same, standardized by what was learnt from all of them."""
    x = noise(1, 12, 12, 12)
    y, z = call([x, 3 * x + 5])
    apart, spread = (y - z).abs().mean(), y.std()
    return yes() if apart < 0.05 * spread else no(f"they differ by {apart / spread:.2f} sd")


def component(call: Call) -> Answer:
    """The larger of two cubes is left."""
    x = torch.zeros(1, 12, 12, 12, dtype=torch.uint8)
    x[:, :2, :2, :2], truth = 1, torch.zeros(1, 12, 12, 12)
    x[:, 5:9, 5:9, 5:9] = truth[:, 5:9, 5:9, 5:9] = 1
    return yes() if torch.equal(call(x).float(), truth) else no("another one is left")


#: Side of the patches that samplers give, of volumes of 20 voxels a side.
SIDE = 5


def samplers(calls: Mapping[str, Callable[[Tensor], Tensor]]) -> Answer:
    """calls: 'uniform', 'weighted' and 'label', a map (1, I, J, K) to a patch of it.

    The map is 1 in a small cube, and the middle voxel of a patch must be so too, if probabilities
    are followed; a label map is 1 there as well.
    """
    x = torch.zeros(1, 20, 20, 20)
    x[:, 12:15, 6:8, 9:12] = 1
    right = []
    for name, call in calls.items():
        patches = [call(x) for _ in range(4)]
        if any(tuple(p.shape[-3:]) != (SIDE,) * 3 for p in patches):
            return no(f"patches of {name} are {list(patches[0].shape)}")
        if name == "uniform" or all(p.reshape((SIDE,) * 3)[2, 2, 2] == 1 for p in patches):
            right.append(name)
    if len(right) == 3:
        return yes()
    return partly(f"{' and '.join(right)} only") if right else no("patches are not centred")


def blending(call: Callable[[Tensor, int, int], Tensor], note: str) -> Answer:
    """call: Ones (1, I, J, K), patch size and overlap to what the patches add up to."""
    x = torch.ones(1, 20, 20, 20)
    y = call(x, 8, 4)
    wrong = (y.reshape(x.shape) - x).abs()
    # sums and quotients of a few weights: tens of roundings
    if wrong.max() < 1e-5:
        return yes(note)
    share = (wrong > 1e-5).float().mean()
    return partly(f"{note}, but {100 * share:.0f} % of ones are wrong, by up to {wrong.max():.2g}")


def queue(patches: Iterable[Tensor]) -> Answer:
    """patches: Of subjects whose voxels are all 0, all 1 and all 2, four of each."""
    numbers = [int(patch.flatten()[0]) for patch in patches]
    if sorted(numbers) != sorted([0, 1, 2] * 4):
        return no(f"patches come from subjects {numbers}")
    return yes() if numbers != sorted(numbers) else no("they come subject by subject")
