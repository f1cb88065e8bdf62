"""MRI artifacts of the lines of k-space on volumes (B, C, I, J, K): lines weakened or left out.

k-space is computed in float32, or float64 where the volume is. Integers become float32, and complex
volumes stay complex. A gradient flows to the volume and to intensities; the choice of lines is
piecewise constant, and has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from torch import Tensor

from ..arrays import Array, as_array, host, on_host
from ..shapes import Volume, check_volume
from .compiled import traceable
from .dispatch.arguments import as_given, at_least, per_item, real, within
from .kspace import check_output
from .line_operations import Ghosts, LineOperation, OneSided, Truncation, Undersampling
from .lines import change_lines

#: Axis of all samples, or of each, (B) on the host.
Axis: TypeAlias = int | Sequence[int] | Array
RECONSTRUCTIONS = ("zero", "conjugate")


@traceable
def ghosting(
    x: Volume,
    num_ghosts: float | Array = 4,
    intensity: float | Array = 1.0,
    restore: float | Array | None = None,
    axis: Axis = 2,
) -> Volume:
    """Weaken every n-th plane of k-space: n copies of the content, shifted along an axis.

    Periodic motion, such as breathing and pulsating vessels, does so along the phase-encode axis.
    Planes are counted from the central one, so the image stays real, and its mean is kept.

    Args:
        x: Volume, (B, C, I, J, K). Complex voxels are changed as they are.
        num_ghosts: Number n of copies, the content included; 0, or a whole number >= 2; or one per
            sample (B). They stand N / n of the axis's N voxels apart; where that is less than
            two voxels, there is no n-th plane but the central one, and nothing happens.
        intensity: Share that is removed from each n-th plane: 0 for none, 1 for all of it; above 1
            the planes change their sign. A number or one per sample (B).
        restore: Share of k-space, about its centre, that is kept, from 0 to 1: the larger, the
            more of the ghosts' smooth parts vanish. None, as 0, keeps the central plane alone.
        axis: The phase-encode axis: 0, 1, 2, or one per sample (B) on the host.

    Returns:
        Volume; integers become float32.

    Raises:
        ValueError: A parameter is not as above.

    >>> x = torch.zeros(1, 1, 1, 8, 1)
    >>> x[0, 0, 0, 1, 0] = 8
    >>> ghosting(x, num_ghosts=2, axis=1).round().flatten().tolist()
    [1.0, 5.0, 1.0, 1.0, 1.0, -3.0, 1.0, 1.0]
    """
    check_volume(x)
    ghosts = per_item(num_ghosts, x, "num_ghosts")
    strength = per_item(intensity, x, "intensity")
    kept = per_item(0.0 if restore is None else restore, x, "restore")
    return change_lines(x, [ghosting_lines(ghosts, strength, kept, axis)])


@traceable
def gibbs(
    x: Volume,
    cutoff: float | Array,
    axis: Axis = 2,
    softness: float | Array = 0.0,
) -> Volume:
    """Acquire the central lines of k-space alone, the others being 0: edges overshoot and ring.

    Truncation artifact, or Gibbs ringing: Czervionke et al. 1988, Characteristic features of MR
    truncation artifacts, AJR 151:1219. Beside an edge the image overshoots by 8.95 % of the jump
    however many lines are kept; the fewer there are, the wider the rings. Of N lines, those with
    ``|frequency| <= cutoff * N / 2`` are kept, so the image stays real, and its mean is kept.

    Args:
        x: Volume, (B, C, I, J, K). Complex voxels are filtered as they are.
        cutoff: Share of the lines that is kept, about the central one, from 0 to 1: 0 keeps the
            central line alone, 1 all of them, which leaves the volume as it is, bit for bit. A
            number or one per sample (B).
        axis: Axis along which lines are cut off: 0, 1, 2, or one per sample (B) on the host. An
            axis of a single voxel has the central line only: nothing happens along it.
        softness: Share of the kept lines, from 0 to 1, over which their weight falls to 0 as a
            raised cosine, the outermost ones first; 0 for a hard edge. A number or one per
            sample (B). Without a meaning where all lines are kept.

    No gradient flows to ``cutoff`` and ``softness``, which say what lines are kept.

    Returns:
        Volume; integers become float32.

    Raises:
        ValueError: A parameter is not as above.

    >>> x = torch.tensor([0.0, 0, 0, 0, 1, 1, 1, 1]).view(1, 1, 1, 1, 8)
    >>> (gibbs(x, cutoff=0.5) * 100).round().flatten().tolist()
    [25.0, -10.0, -10.0, 25.0, 75.0, 110.0, 110.0, 75.0]
    """
    check_volume(x)
    kept, soft = per_item(cutoff, x, "cutoff"), per_item(softness, x, "softness")
    return change_lines(x, [gibbs_lines(kept, soft, axis)])


@traceable
def wrap(
    x: Volume,
    acceleration: float | Array = 2,
    intensity: float | Array = 1.0,
    restore: float | Array | None = None,
    axis: Axis = 2,
) -> Volume:
    """Acquire every n-th line of k-space: the field of view shrinks n-fold, and content folds over.

    Wrap-around, or aliasing, of content beyond a small field of view, and of an accelerated
    acquisition whose lines are not filled in: Pruessmann et al. 1999, SENSE: sensitivity encoding
    for fast MRI, Magn Reson Med 42:952. Lines are counted from the central one, so the image stays
    real, and its mean is kept: where n divides the N voxels of the axis, the result is the mean of
    the volume and of its n - 1 circular shifts by multiples of N / n voxels.

    Args:
        x: Volume, (B, C, I, J, K). Complex voxels are changed as they are.
        acceleration: Whole number n >= 1; 1 for no change. A number or one per sample (B).
        intensity: Share that is removed from each line left out: 1 for all of it, and less for what
            an imperfect reconstruction leaves. A number or one per sample (B).
        restore: Share of k-space, about its centre, of which all lines are acquired, from 0 to 1,
            as for calibration: the smooth parts of the content do not fold. None, as 0, for none.
        axis: The phase-encode axis: 0, 1, 2, or one per sample (B) on the host.

    Returns:
        Volume; integers become float32.

    Raises:
        ValueError: A parameter is not as above.

    >>> x = torch.tensor([0.0, 8, 0, 0, 0, 0, 0, 0]).view(1, 1, 1, 1, 8)
    >>> wrap(x, acceleration=2).round().flatten().tolist()
    [0.0, 4.0, 0.0, 0.0, 0.0, 4.0, 0.0, 0.0]
    """
    check_volume(x)
    every = per_item(acceleration, x, "acceleration")
    strength = per_item(intensity, x, "intensity")
    kept = per_item(0.0 if restore is None else restore, x, "restore")
    return change_lines(x, [wrap_lines(every, strength, kept, axis)])


@traceable
def partial_fourier(
    x: Volume,
    share: float | Array,
    axis: Axis = 2,
    reconstruction: str = "zero",
    output: str = "magnitude",
) -> Volume:
    """Acquire a share of the lines of k-space, those of the most negative frequencies left out.

    Partial Fourier acquisition: McGibney et al. 1993, Quantitative evaluation of several partial
    Fourier reconstruction algorithms used in MRI, doi:10.1002/mrm.1910300109. Of N lines,
    ``ceil(share N)`` are acquired. Zero-filled, the image loses sharpness along the axis, and gains
    an imaginary part at edges.

    Args:
        x: Volume, (B, C, I, J, K). Complex voxels stay complex.
        share: Share of the lines that is acquired, from 0.5, with the central one, to 1 for all of
            them. A number or one per sample (B).
        axis: The phase-encode axis: 0, 1, 2, or one per sample (B) on the host.
        reconstruction: 'zero' leaves missing lines 0. 'conjugate' fills them by the conjugate
            symmetry of the k-space of real images: real voxels are returned as they are, complex
            ones show where their phase varies. The line -N / 2 of an even number N, which is its
            own opposite, is then kept.
        output: 'magnitude' of the image as a scanner shows it, or 'real' for its real part, with
            which all lines are the volume as it is, bit for bit. Of real voxels only.

    No gradient flows to ``share``.

    Returns:
        Volume; integers become float32.

    Raises:
        ValueError: A parameter is not as above.

    >>> x = torch.tensor([0.0, 0, 0, 0, 1, 1, 1, 1]).view(1, 1, 1, 1, 8)
    >>> (partial_fourier(x, share=0.75, output="real") * 100).round().flatten().tolist()
    [12.0, -5.0, -5.0, 12.0, 88.0, 105.0, 105.0, 88.0]
    """
    check_volume(x)
    check_reconstruction(reconstruction)
    lines = partial_fourier_lines(per_item(share, x, "share"), axis, output)
    if reconstruction == "zero":
        return change_lines(x, [lines])
    if not x.is_complex():
        return as_given(real(x).clone(), x)
    opposite = x.conj().resolve_conj()  # whose line f is the conjugate of line -f
    return change_lines(x, [lines]) + opposite - change_lines(opposite, [lines])


def ghosting_lines(
    num_ghosts: Array, intensity: Array, restore: Array, axis: Axis
) -> LineOperation:
    """Return what :func:`ghosting` does to lines; arguments are [1 or B], or raise a ValueError."""
    check_ghosts(num_ghosts)
    at_least(intensity, 0, "intensity")
    within(restore, 0, 1, "restore")
    return LineOperation(Ghosts(num_ghosts, intensity, restore), axis)


def gibbs_lines(cutoff: Array, softness: Array, axis: Axis) -> LineOperation:
    """Return what :func:`gibbs` does to lines; arguments are [1 or B], or raise a ValueError."""
    weights = Truncation(check_share(cutoff, "cutoff"), check_share(softness, "softness"))
    return LineOperation(weights, axis)


def wrap_lines(acceleration: Array, intensity: Array, restore: Array, axis: Axis) -> LineOperation:
    """Return what :func:`wrap` does to lines; arguments are [1 or B], or raise a ValueError."""
    check_acceleration(acceleration)
    within(intensity, 0, 1, "intensity")
    within(restore, 0, 1, "restore")
    return LineOperation(Undersampling(acceleration, intensity, restore), axis)


def partial_fourier_lines(share: Array, axis: Axis, output: str) -> LineOperation:
    """Return what :func:`partial_fourier` leaves out; ``share`` is [1 or B], or raise an error."""
    weights = OneSided(check_acquired(share, "share"))
    return LineOperation(weights, axis, magnitude=check_output(output) == "magnitude")


def check_share(share: Any, name: str) -> Array:
    """Shares of lines, without their gradients, if they lie in [0, 1]."""
    array = as_array(share, name)
    return within(array.detach() if isinstance(array, Tensor) else array, 0, 1, name)


def check_ghosts(num_ghosts: Any) -> Array:
    """Return numbers of ghosts if they are 0, or whole and at least 2; raise otherwise."""
    array = as_array(num_ghosts, "num_ghosts")
    if on_host(array) and (host(array) % 1).any():
        raise ValueError(f"num_ghosts must be whole numbers, got {host(array).tolist()}")
    if on_host(array) and not ((host(array) >= 2) | (host(array) == 0)).all():
        raise ValueError(f"num_ghosts must be >= 2, or 0 for none, got {host(array).tolist()}")
    return array


def check_acceleration(acceleration: Any) -> Array:
    """Return accelerations if they are whole and at least 1; raise otherwise."""
    array = at_least(as_array(acceleration, "acceleration"), 1, "acceleration")
    if on_host(array) and (host(array) % 1).any():
        raise ValueError(f"acceleration must be whole numbers, got {host(array).tolist()}")
    return array


def check_acquired(share: Any, name: str) -> Array:
    """Return shares of lines of which the central one is, from 0.5 to 1; raise otherwise."""
    return within(check_share(share, name), 0.5, 1, name)


def check_reconstruction(reconstruction: str) -> str:
    """Return ``reconstruction`` if it is the name of one; raise otherwise."""
    if reconstruction not in RECONSTRUCTIONS:
        names = ", ".join(RECONSTRUCTIONS)
        raise ValueError(f"reconstruction must be one of {names}, got {reconstruction!r}")
    return reconstruction


__all__ = [
    "check_acceleration",
    "check_acquired",
    "check_ghosts",
    "check_reconstruction",
    "check_share",
    "ghosting",
    "ghosting_lines",
    "gibbs",
    "gibbs_lines",
    "partial_fourier",
    "partial_fourier_lines",
    "wrap",
    "wrap_lines",
]
