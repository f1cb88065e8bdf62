"""Formulas of k-space artifacts: a Fourier transform over I, J, K, a change, and back.

k-space is centred: frequency f of an axis of n voxels is line ``f + n // 2``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ...shapes import Affine, Triple, Volume
from .spatial import warp
from .statistics import fill_value

SPACE = (-3, -2, -1)


def spectrum(x: Tensor) -> Tensor:
    """Centred k-space of volumes [..., I, J, K]."""
    return torch.fft.fftshift(torch.fft.fftn(x, dim=SPACE), dim=SPACE)


def image(k_space: Tensor) -> Tensor:
    """Complex image of centred k-space [..., I, J, K]."""
    return torch.fft.ifftn(torch.fft.ifftshift(k_space, dim=SPACE), dim=SPACE)


def ghosting(
    x: Volume, num_ghosts: Tensor, intensity: Tensor, restore: Tensor, axis: Sequence[int]
) -> Volume:
    """Scale every n-th plane of k-space, counted from the centre, by ``1 - intensity``.

    The central plane is kept, and so is the share ``restore`` of all planes about it.

    Args:
        x: [B, C, I, J, K].
        num_ghosts, intensity, restore: [B].
        axis: Phase-encode axis of each sample, (B).
    """
    k_space = spectrum(x)
    for b, a in enumerate(axis):
        n = x.shape[2 + a]
        for line in range(n):
            frequency = line - n // 2
            outside = abs(frequency) > (restore[b] * n / 2 + 1e-4) // 1 and frequency != 0
            if outside and frequency % num_ghosts[b] == 0:
                k_space[b].select(1 + a, line).mul_(1 - intensity[b])
    return image(k_space) if x.is_complex() else image(k_space).real


def gibbs(x: Volume, cutoff: Tensor, axis: Sequence[int], softness: Tensor) -> Volume:
    """Keep the planes of k-space of ``|frequency| <= cutoff n / 2``, the last by a raised cosine.

    The weight falls to 0 over the share ``softness`` of the kept planes, unless all are kept.

    Args:
        x: [B, C, I, J, K].
        cutoff, softness: [B].
        axis: Axis of each sample along which planes are cut off, (B).
    """
    k_space = spectrum(x)
    for b, a in enumerate(axis):
        n = x.shape[2 + a]
        last, width = cutoff[b] * n / 2, softness[b] * cutoff[b] * n / 2
        for line in range(n if cutoff[b] < 1 else 0):
            frequency = abs(line - n // 2)
            weight = torch.tensor(float(frequency <= last + 1e-4 or frequency == 0))
            if width > 0 and 0 < frequency <= last:
                weight = (
                    1 + torch.cos(torch.pi * ((frequency - last + width) / width).clip(0))
                ) / 2
            k_space[b].select(1 + a, line).mul_(weight)
    return image(k_space) if x.is_complex() else image(k_space).real


def wrap(
    x: Volume, acceleration: Tensor, intensity: Tensor, restore: Tensor, axis: Sequence[int]
) -> Volume:
    """Scale the planes that an accelerated acquisition leaves out by ``1 - intensity``.

    Every n-th plane from the central one is acquired, and the share ``restore`` of all about it.

    Args:
        x: [B, C, I, J, K].
        acceleration, intensity, restore: [B].
        axis: Phase-encode axis of each sample, (B).
    """
    k_space = spectrum(x)
    for b, a in enumerate(axis):
        n = x.shape[2 + a]
        for line in range(n):
            frequency = abs(line - n // 2)
            if frequency % acceleration[b] != 0 and frequency > (restore[b] * n / 2 + 1e-4) // 1:
                k_space[b].select(1 + a, line).mul_(1 - intensity[b])
    return image(k_space) if x.is_complex() else image(k_space).real


def partial_fourier(
    x: Volume, share: Tensor, axis: Sequence[int], reconstruction: str, output: str
) -> Volume:
    """Replace planes of the most negative frequencies by 0, or by the conjugate of opposite points.

    Opposite points of k-space have the negative frequency along each of the three axes.

    Args:
        x: [B, C, I, J, K].
        share: Share of the planes that is acquired, [B].
        axis: Phase-encode axis of each sample, (B).
        reconstruction: 'zero' or 'conjugate'.
        output: 'real' or 'magnitude', of real volumes.
    """
    k_space, out = spectrum(x), x.clone()
    opposite = spectrum(x.conj()) * (reconstruction == "conjugate")
    for b, a in enumerate(axis):
        n = x.shape[2 + a]
        missing = n - math.ceil(share[b] * n - 1e-4)
        k_space[b].narrow(1 + a, 0, missing).copy_(opposite[b].narrow(1 + a, 0, missing))
        found = image(k_space[b])
        shown = found.abs() if output == "magnitude" else found.real
        out[b] = found if x.is_complex() else shown
    return x if reconstruction == "conjugate" and not x.is_complex() else out


def spike(x: Volume, positions: Tensor, intensity: Tensor) -> Volume:
    """Add ``intensity max|X|`` at points of k-space, and take the real part as TorchIO 1.2.1 does.

    Args:
        x: [B, C, I, J, K].
        positions: From 0 to 1 along each axis of centred k-space, [B, P, 3].
        intensity: [B, P].
    """
    k_space = spectrum(x)
    largest = k_space.abs().amax(SPACE)  # [B, C]
    for b in range(len(x)):
        for at, strength in zip(positions[b].tolist(), intensity[b], strict=True):
            i, j, k = (min(int(p * n), n - 1) for p, n in zip(at, x.shape[2:], strict=True))
            k_space[b, :, i, j, k] += strength * largest[b]
    return image(k_space).real


def motion(
    x: Volume,
    degrees: Tensor,
    translation: Tensor,
    times: Tensor,
    axis: Sequence[int],
    *,
    affine: Affine,
    output: str = "real",
    mode: str = "linear",
    fill: str | float = "minimum",
) -> Volume:
    """Take each line of centred k-space from the pose that owns it: Shaw et al. 2019.

    See http://proceedings.mlr.press/v102/shaw19a.html.

    Args:
        x: [B, C, I, J, K].
        degrees, translation: Of the poses other than the reference, [B, P, 3].
        times: When the content moves, [B, P].
        axis: Phase-encode axis of each sample, (B).
        affine: Voxel to world, [B, 4, 4].
        output: 'real' or 'magnitude'.
        mode, fill: As for :func:`~.spatial.warp`, or a rule of :func:`~.statistics.fill_value`.
    """
    moved = [
        warp(x, pose_matrix((x.shape[2], x.shape[3], x.shape[4]), d, t, affine), mode=mode,
             fill=fill_value(x, fill))
        for d, t in zip(degrees.unbind(1), translation.unbind(1), strict=True)
    ]  # fmt: skip
    owner = [motion_owner(t, x.shape[2 + a]) for t, a in zip(times.tolist(), axis, strict=True)]
    return of_poses([x, *moved], owner, axis, output)


def slice_motion(
    x: Volume,
    degrees: Tensor,
    translation: Tensor,
    axis: Sequence[int],
    gain: Tensor,
    *,
    affine: Affine,
    mode: str = "linear",
    fill: str | float = "minimum",
) -> Volume:
    """Take each slice from the whole volume in its pose, and multiply it by its gain.

    Args:
        x: [B, C, I, J, K].
        degrees, translation: Of the pose of each slice, [B, N, 3].
        axis: Axis of slices of each sample, (B).
        gain: [B, N].
        affine: Voxel to world, [B, 4, 4].
        mode, fill: As for :func:`motion`.
    """
    out, size = x.clone(), (x.shape[2], x.shape[3], x.shape[4])
    for n in range(degrees.shape[1]):
        matrix = pose_matrix(size, degrees[:, n], translation[:, n], affine)
        moved = warp(x, matrix, mode=mode, fill=fill_value(x, fill))
        for b, a in enumerate(axis):
            if n < size[a]:
                out[b].select(1 + a, n).copy_(moved[b].select(1 + a, n) * gain[b, n])
    return out


def susceptibility_field(x: Volume, spacing: Tensor, direction: Tensor) -> Volume:
    """Multiply k-space of the volume, in zeros of twice its size, by ``1/3 - (k b)^2 / k^2``.

    Args:
        x: [B, C, I, J, K].
        spacing: Distance of voxels, [B, 3].
        direction: Of the main field, [B, 3].
    """
    size, out = [2 * n - 1 for n in x.shape[2:]], []
    unit = direction / direction.norm(dim=1)[:, None]
    for volume, side, b in zip(x, spacing.tolist(), unit, strict=True):
        cycles = [
            torch.fft.fftfreq(n, d, dtype=torch.float64) for n, d in zip(size, side, strict=True)
        ]
        k = torch.stack(torch.meshgrid(*cycles, indexing="ij"), -1)
        kernel = (1 / 3 - (k @ b) ** 2 / (k**2).sum(-1)).nan_to_num(0)
        padded = torch.zeros(len(volume), *size, dtype=torch.float64)
        padded[:, : x.shape[2], : x.shape[3], : x.shape[4]] = volume
        out.append(torch.fft.ifftn(torch.fft.fftn(padded, dim=(1, 2, 3)) * kernel, dim=(1, 2, 3)))
    return torch.stack(out).real[:, :, : x.shape[2], : x.shape[3], : x.shape[4]]


def of_poses(
    poses: Sequence[Volume], owner: Sequence[Sequence[int]], axis: Sequence[int], output: str
) -> Volume:
    """Image whose lines of centred k-space are taken from volumes in several poses.

    Args:
        poses: [B, C, I, J, K] each.
        owner: Number of the pose that each line of each sample is taken from.
        axis: Phase-encode axis of each sample, (B).
        output: 'real' or 'magnitude'.
    """
    k_spaces = [spectrum(volume) for volume in poses]
    k_space = torch.empty_like(k_spaces[0])
    for b, a in enumerate(axis):
        for line, pose in enumerate(owner[b]):
            k_space[b].select(1 + a, line).copy_(k_spaces[pose][b].select(1 + a, line))
    return image(k_space).abs() if output == "magnitude" else image(k_space).real


def motion_owner(times: Sequence[float], lines: int) -> list[int]:
    """Pose of each line of one sample: 0 for the segment of the central line, others in order.

    Line m belongs to the segment that begins last of those that begin at ``floor(t lines) <= m``.
    """
    segments = [sum(m >= int(t * lines) for t in times) for m in range(lines)]
    reference = segments[lines // 2]
    others = [segment for segment in range(len(times) + 1) if segment != reference]
    return [0 if s == reference else 1 + others.index(s) for s in segments]


def pose_matrix(size: Triple, degrees: Tensor, translation: Tensor, affine: Affine) -> Affine:
    """Output voxel to input voxel of content that goes to ``c + R (x - c) + t``, [B, 4, 4].

    Args:
        size: Voxels; c is the world position of their middle.
        degrees, translation: About and along x, y, z of the world, [B, 3].
        affine: Voxel to world, [B, 4, 4].
    """
    middle = torch.tensor([(n - 1) / 2 for n in size], dtype=torch.float64)
    centre = affine[:, :3, :3] @ middle + affine[:, :3, 3]
    motion = torch.eye(4, dtype=torch.float64).repeat(len(affine), 1, 1)
    motion[:, :3, :3] = rotation(degrees)
    motion[:, :3, 3] = centre + translation - (motion[:, :3, :3] @ centre[..., None])[..., 0]
    return affine.inverse() @ motion.inverse() @ affine


def rotation(degrees: Tensor) -> Tensor:
    """``Rz Rx Ry``, right-handed: +90 degrees about z take x to y. [B, 3, 3] of angles [B, 3].

    Each factor is the exponential of its cross product, as SimpleITK's Euler3DTransform orders
    them.
    """
    out = torch.eye(3, dtype=torch.float64)
    for axis in (2, 0, 1):
        cross = torch.linalg.cross(torch.eye(3)[axis].expand(3, 3), torch.eye(3)).mT.double()
        out = out @ torch.linalg.matrix_exp(degrees[:, axis, None, None].deg2rad() * cross)
    return out


def chemical_shift(x: Volume, fat: Tensor, shift: Tensor, axis: Sequence[int]) -> Volume:
    """Take the signal of fat away, and add it where its readout places it.

    Args:
        x: [B, C, I, J, K].
        fat: Share of each voxel, [B, 1 or C, I, J, K].
        shift: Voxels, [B].
        axis: Readout axis of each sample, (B).
    """
    moved = spectrum(fat * x)
    for b, a in enumerate(axis):
        n = x.shape[2 + a]
        for line in range(n):
            angle = -2 * math.pi * (line - n // 2) * shift[b] / n
            paired = 2 * (line - n // 2) != -n
            factor = torch.complex(angle.cos(), angle.sin() * paired)
            moved[b].select(1 + a, line).mul_(factor)
    out = x - fat * x + image(moved)
    return out if x.is_complex() else out.real


def zipper(
    x: Volume,
    intensity: Tensor,
    position: Tensor,
    axes: Sequence[tuple[int, int]],
    phases: Sequence[Tensor],
    output: str,
) -> Volume:
    """Add a tone of random phase to each phase-encode line, seen in one plane of the readout.

    Args:
        x: [B, C, I, J, K].
        intensity, position: [B].
        axes: Readout and phase-encode axis of each sample.
        phases: Phase of each channel, line and slice of each sample, [C, P, Q].
        output: 'real' or 'magnitude', of real volumes.
    """
    out = x.clone()
    for b, (a, p) in enumerate(axes):
        n, lines = x.shape[2 + a], torch.arange(x.shape[2 + p], dtype=torch.float64)
        angle = -2 * math.pi * lines * lines[:, None] / len(lines)
        dft = torch.complex(angle.cos(), angle.sin()) / math.sqrt(len(lines))
        noise = torch.einsum("kl,clq->ckq", dft, torch.exp(1j * phases[b]))
        noise = noise * (intensity[b] * x[b].abs().amax(SPACE))[:, None, None]
        plane = out[b].select(1 + a, min(int(position[b] * n), n - 1))
        found = plane + (noise if p < 3 - a - p else noise.mT)
        shown = found.abs() if output == "magnitude" else found.real
        plane.copy_(found if x.is_complex() else shown)
    return out
