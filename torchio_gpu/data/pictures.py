"""Pictures of images: plots, Pillow images, animations, other programs."""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..geometry import anatomical_axes
from ..signature import checked
from . import files, io
from .facts import COLUMNS, facts_of
from .placed import Placed
from .widget import show_widget

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image as PillowImage

_RATE = 100  # frames per second, at most: GIF counts in hundredths of a second


class Pictures(Placed):
    """Base of images: what shows them."""

    path: files.Paths | None

    @property
    def data(self) -> Tensor:
        """Voxels (C, I, J, K)."""
        raise NotImplementedError

    @property
    def type(self) -> str:
        """'intensity', 'label' or 'sampling_map'."""
        raise NotImplementedError

    @property
    def loaded(self) -> bool:
        """True if the voxels are in memory."""
        raise NotImplementedError

    def plot(self, return_fig: bool = True, **kwargs: Any) -> Figure:
        """Draw the three middle planes, and return the figure.

        Args:
            return_fig: Accepted as in TorchIO 1; the figure is always returned.
            kwargs: As for :func:`torchio_gpu.plot.plot_image`, such as ``show``, ``output_path``,
                ``indices``, ``cmap``, ``window`` or ``axes``.
        """
        from ..plot import plot_image

        return plot_image(self, **kwargs)  # type: ignore[arg-type]

    def plot_difference(self, after: Any, **kwargs: Any) -> Figure:
        """Draw this image, another one on its grid, and the other minus this one.

        Arguments as for :func:`torchio_gpu.plot.plot_difference`.
        """
        from ..plot import plot_difference

        return plot_difference(self, after, **kwargs)  # type: ignore[arg-type]

    def _facts(self) -> list[str]:
        """Return type, shape, spacing, orientation, dtype, device and file as texts.

        Of a header that cannot be read: type and error.
        """
        paths = self.path if isinstance(self.path, list) else [self.path] if self.path else []
        file = ", ".join(map(io.shown, paths))
        device = self.data.device if self.loaded else None
        name = self.__class__.__name__
        try:
            return facts_of(name, self.shape, self.affine[None], self.dtype, device, file)
        except OSError as error:
            return [name, str(error)]

    def _repr_html_(self) -> str:
        """Return HTML with the planes and a table of facts, for notebooks.

        As in TorchIO, an image that is the value of a cell is read for its picture. Without
        matplotlib there is the table alone, from the header.
        """
        from ..plot import html_of, table_of

        return html_of(self, self.plot, lambda: table_of([self._facts()], COLUMNS))

    def show(self, viewer_path: str | os.PathLike[str] | None = None) -> None:
        """Open the image in a notebook, by NiiVue, or in another program.

        In a notebook, ``ipyniivue`` (``pip install "torchio-gpu[notebook]"``) shows the image for
        turning, scrolling and windowing in the browser, labels in colours. Without it, a warning
        says so, and the middle planes are drawn.

        Args:
            viewer_path: The program; by default that of the environment variable SITK_SHOW_COMMAND,
                ITK-SNAP, 3D Slicer or one that SimpleITK finds. Where it or the variable is given,
                the program opens from a notebook, too.

        Raises:
            RuntimeError: There is no such program, or it does not start.
        """
        from ..plot import in_notebook

        label = self.type == "label"
        if viewer_path is None and "SITK_SHOW_COMMAND" not in os.environ and in_notebook():
            if not show_widget(self.data.detach(), self.affine, label):
                self.plot(show=True)
            return
        affine = torch.tensor(self.affine)
        io.show(self.data.detach().cpu(), affine, label, viewer_path)

    @checked
    def as_pil(self, transpose: bool = True) -> PillowImage:
        """Return a 2D image with 1, 3 or 4 channels as an RGB or RGBA image of Pillow.

        Values are clamped to 0..255, and fractions are cut off.

        Args:
            transpose: Let I run across and J down; otherwise I runs down and J across.

        Raises:
            ImportError: Pillow is not installed.
            RuntimeError: The image has more than one slice, or another number of channels.
        """
        pillow = _pillow()
        self.check_is_2d()
        if self.num_channels not in (1, 3, 4):
            raise RuntimeError(f"image must have 1, 3 or 4 channels, got {self.num_channels}")
        pixels = _bytes(self.data[..., 0])  # [C, I, J]
        pixels = pixels.expand(3, -1, -1) if len(pixels) == 1 else pixels
        pixels = pixels.permute(2, 1, 0) if transpose else pixels.permute(1, 2, 0)
        return pillow.fromarray(np.ascontiguousarray(pixels.numpy()))  # type: ignore[no-any-return]

    @checked
    def to_gif(
        self,
        axis: int,
        duration: float,
        output_path: str | os.PathLike[str],
        loop: int = 0,
        rescale: bool = True,
        optimize: bool = True,
        reverse: bool = False,
        index: int | None = None,
    ) -> None:
        """Write a GIF that runs through the slices along an axis, or through the channels of one.

        Slices are drawn as by :meth:`plot`: superior or anterior is up, and the patient's right, or
        anterior, is at the left. Pixels are voxels, whatever their spacing.

        Args:
            axis: Voxel axis, 0, 1 or 2.
            duration: Seconds that the whole takes.
            output_path: File to write.
            loop: Number of repetitions; 0 for ever.
            rescale: Map the range of the finite values to 0..255; otherwise they are clamped to it.
            optimize: Keep only the colours that are used, where that makes the file smaller.
            reverse: Start with the last slice, or channel.
            index: Number of a slice along the axis, whose channels, such as time points, are the
                frames.

        Raises:
            ImportError: Pillow is not installed.
            ValueError: There are not 1 or 3 channels and no ``index`` is given, ``axis`` is no
                axis, there is no slice ``index``, or ``duration`` is not greater than 0.
        """
        pillow = _pillow()
        if axis not in (0, 1, 2):
            raise ValueError(f"axis must be 0, 1 or 2, got {axis}")
        if not duration > 0:
            raise ValueError(f"duration must be > 0, got {duration}")
        voxels = self._frames(axis)
        if index is not None:
            if not 0 <= index < voxels.shape[1]:
                raise ValueError(f"index must be in 0..{voxels.shape[1] - 1}, got {index}")
            voxels = voxels[:, index][None]
        elif self.num_channels not in (1, 3):
            raise ValueError(
                f"image must have 1 or 3 channels for GIF, got {self.num_channels}: give index, a "
                "slice, for one that runs through its channels"
            )
        if rescale:
            voxels = _rescaled(voxels)
        pixels = _bytes(voxels).permute(1, 2, 3, 0).numpy()  # [frame, down, across, C]
        pixels = pixels[..., 0] if len(voxels) == 1 else pixels
        frames = [pillow.fromarray(np.ascontiguousarray(frame)) for frame in pixels]
        if reverse:
            frames.reverse()
        count = len(frames)
        if duration * _RATE < count:
            what = "slices" if index is None else "channels"
            warnings.warn(
                f"duration must be at least {count / _RATE} s for {count} {what}, and is set to "
                f"that: GIF shows {_RATE} a second at most, got {duration}",
                RuntimeWarning,
                stacklevel=3,
            )
            duration = count / _RATE
        ends = np.rint(np.linspace(0, duration * _RATE, count + 1))
        each = (np.diff(ends) * 1000 / _RATE).astype(int).tolist()  # ms
        first, *others = frames
        first.save(
            os.fspath(output_path),
            format="GIF",
            save_all=True,
            append_images=others,
            duration=each,
            loop=loop,
            optimize=optimize,
        )

    def _frames(self, axis: int) -> Tensor:
        """Return slices along a voxel axis as they are drawn, [C, frame, down, across]."""
        world, forward = anatomical_axes(self.affine[None])
        across, up = sorted((n for n in range(3) if n != axis), key=lambda n: int(world[0, n]))
        # Down and across run towards I, P or L: against the world axes.
        flips = [1 + position for position, n in ((1, up), (2, across)) if forward[0, n]]
        return self.data.detach().permute(0, 1 + axis, 1 + up, 1 + across).flip(flips)


def _bytes(voxels: Tensor) -> Tensor:
    """Return values clamped to 0..255 as uint8 on the host."""
    return _real(voxels).nan_to_num(0).clamp(0, 255).to("cpu", torch.uint8)


def _rescaled(voxels: Tensor) -> Tensor:
    """Return values of which the lowest finite one is 0 and the highest 255."""
    voxels = _real(voxels)
    finite = voxels[voxels.isfinite()]
    low, high = finite.aminmax() if len(finite) else (voxels.new_zeros(()), voxels.new_ones(()))
    return (voxels - low) * (255 / (high - low).clamp(min=1e-300))


def _real(voxels: Tensor) -> Tensor:
    return (voxels.abs() if voxels.is_complex() else voxels).double()


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError("Pillow is needed for it: pip install pillow") from error
    return Image
