"""Image: voxels (C, I, J, K), their affine, and metadata."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from .. import geometry
from ..shapes import AffineLike, converted
from . import files, io, meta_tensor
from .checks import (
    ImageSource,
    check_names,
    check_reading,
    check_source,
    check_voxels,
    from_spacing,
    region_of,
)
from .keys import AFFINE, DATA, INTENSITY, LABEL, TYPE
from .pickling import Transferable
from .placed import Placed

if TYPE_CHECKING:
    import SimpleITK
    from matplotlib.figure import Figure

#: Attributes of an image instance; all others are metadata.
_OWN = frozenset(
    ("path", "reader", "check_nans", "metadata", "_data", "_affine", "_header", "_nifti")
)


class Image(Placed, Transferable):
    """3D image with channels; 2D images have one slice, time and diffusion are channels.

    Voxels are read from the file when they are first needed. Shape, affine and what follows from
    them come from the header alone.

    Units become millimetres. The time step of a 4D NIfTI file, and its sform and qform codes while
    the affine is the file's, are kept until :meth:`save`. Metadata are not rotated with the image:
    b-vectors, for example, stay as they were given. A changed image keeps the ``path`` that its
    voxels were read from, as in TorchIO 1, so ``image.save(image.path)`` overwrites that file.

    Args:
        source: Path of a file or DICOM folder (NIfTI, NRRD, MetaImage, PNG, JPEG, TIFF; by NiBabel
            MGH, MINC, PAR/REC, AFNI), list of paths whose channels are stacked, tensor or array
            (C, I, J, K), SimpleITK image, NiBabel image, or another :class:`Image`.
        path, tensor: ``source`` as a path, or as a tensor or array.
        affine: Voxel to world (RAS+ mm), (4, 4); by default the file's, or the identity.
        spacing: Distance between voxels of a tensor or array in mm, instead of an affine without
            rotation.
        type: 'intensity' or 'label', as older code spells it; must be the class's own.
        reader: Function that takes a path and returns voxels (C, I, J, K) and an affine (4, 4), or
            None for the identity; by default, the file's format decides.
        check_nans: Warn if there are NaN among the voxels that are read or given.
        verify_path: Raise at once if there is no such file; otherwise when it is read.
        metadata: Anything else, kept and returned by ``image[name]``.

    Raises:
        FileNotFoundError: The path does not exist.
        ValueError: The tensor does not have four dimensions, the affine is singular, not finite
            or not (4, 4), the spacing is not three positive numbers, or a name of metadata is one
            that the image uses itself.

    >>> image = ScalarImage(tensor=torch.rand(1, 4, 4, 2), affine=np.diag([1, 1, 3, 1]))
    >>> image.shape, image.spacing, image.orientation
    ((1, 4, 4, 2), (1.0, 1.0, 3.0), ('R', 'A', 'S'))
    """

    kind: ClassVar[str] = INTENSITY

    def __init__(
        self,
        source: Image | ImageSource | None = None,
        *,
        path: str | Path | Sequence[str | Path] | None = None,
        tensor: Tensor | np.ndarray | None = None,
        affine: AffineLike | None = None,
        spacing: Sequence[float] | None = None,
        type: str | None = None,
        reader: files.Reader | None = None,
        check_nans: bool = False,
        verify_path: bool = True,
        **metadata: Any,
    ) -> None:
        given = [s for s in (source, path, tensor) if s is not None]
        check_source(self.__class__.__name__, len(given), type, self.kind)
        check_names(self.__class__, _OWN, metadata)
        check_reading(reader, check_nans=check_nans, verify_path=verify_path)
        if spacing is not None:
            affine = from_spacing(spacing, affine, given[0])
        self.path: files.Paths | None = None
        self.reader = reader
        self.check_nans = check_nans
        self.metadata: dict[str, Any] = {**self.__dict__.get("metadata", {}), **metadata}
        self._data: Tensor | None = None
        self._affine: np.ndarray | None = None  # None for that of the file
        self._header: io.Header | None = None
        self._nifti: io.NiftiFields | None = None
        self._read(given[0], verify_path)
        if affine is not None:
            self._affine = geometry.check_affine(affine)

    def _read(self, source: Any, verify_path: bool) -> None:
        affine: Any = np.eye(4)
        if files.is_path(source):
            self.path = files.parse(source, verify_path)
            return
        if isinstance(source, Image):
            self.path, self._data, self._header = source.path, source._data, source._header
            self._affine, self._nifti = source._affine, source._nifti
            self.reader = self.reader or source.reader
            self.check_nans = self.check_nans or source.check_nans
            self.metadata = {**source.metadata, **self.metadata}
            return
        if meta_tensor.is_meta_tensor(source):
            source, affine = meta_tensor.split(source)
        elif io.is_sitk(source):
            self._nifti, (source, affine) = io.sitk_fields(source), io.from_sitk(source)
        elif io.is_nibabel(source):
            self._nifti, (source, affine) = io.nifti_fields(source), io.from_nibabel(source)
        self._data = self._check_data(source)
        self._affine = geometry.check_affine(affine)

    def _check_data(self, data: Any) -> Tensor:
        owner = self.__class__.__name__ if self.path is None else files.shown(self.path)
        return check_voxels(data, owner, self.check_nans)

    # Voxels

    @property
    def data(self) -> Tensor:
        """Voxels (C, I, J, K), read from the file if they have not been yet."""
        self.load()
        assert self._data is not None
        return self._data

    @data.setter
    def data(self, data: Tensor | np.ndarray) -> None:
        self.set_data(data)

    @property
    def tensor(self) -> Tensor:
        """Voxels (C, I, J, K): :attr:`data` by another name."""
        return self.data

    def set_data(self, data: Tensor | np.ndarray) -> None:
        """Replace the voxels; the affine stays.

        Raises:
            ValueError: They are a MetaTensor that lies elsewhere.
        """
        if meta_tensor.is_meta_tensor(data):
            data = meta_tensor.voxels_at(data, self.affine)
        self._data, self._affine = self._check_data(data), self.affine

    def load(self) -> None:
        """Read the voxels from the file, if they have not been read yet."""
        if self._data is not None:
            return
        assert self.path is not None
        volume = files.volume(self.path, self.reader)
        self._data = self._check_data(volume.data)
        self._set_header(volume.header)

    def _set_header(self, header: io.Header) -> None:
        # from the latest read: the file may have changed, and voxels must match their affine
        self._header, self._nifti = header, header.nifti

    def _in_memory(self) -> Image:
        """Return this image if its voxels are in memory, else a copy that has read them."""
        if self._data is not None:
            return self
        new = copy.copy(self)
        new.load()
        return new

    @property
    def loaded(self) -> bool:
        """True if the voxels are in memory."""
        return self._data is not None

    def numpy(self) -> np.ndarray:
        """Return the voxels as an array (C, I, J, K)."""
        return self.data.detach().cpu().numpy()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.numpy(), dtype=dtype)

    def to(self, *args: Any, **kwargs: Any) -> Image:
        """Return a copy with voxels on another device or of another dtype, as ``Tensor.to``."""
        return self._with(converted(self.data, *args, **kwargs))

    def _with(self, data: Tensor | None, affine: np.ndarray | None = None) -> Image:
        """Return a copy with other voxels, or none, and, if given, another affine."""
        new = copy.copy(self)
        new.metadata = dict(self.metadata)
        new._affine = self.affine if affine is None else affine
        new._data = data
        return new

    # Geometry

    def _read_header(self) -> io.Header:
        if self._header is None:
            assert self.path is not None
            if self.reader is None:
                self._set_header(files.header(self.path))
            else:
                self.load()  # a reader of the user returns no header without voxels
        assert self._header is not None
        return self._header

    @property
    def affine(self) -> np.ndarray:
        """Voxel to world, RAS+ mm, (4, 4) float64."""
        affine = self._read_header().affine.numpy() if self._affine is None else self._affine
        affine.flags.writeable = False  # assignment checks the affine, writing to it would not
        return affine

    @affine.setter
    def affine(self, affine: Any) -> None:
        self._affine = geometry.check_affine(affine)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape (C, I, J, K)."""
        c, i, j, k = self._read_header().shape if self._data is None else self._data.shape
        return c, i, j, k

    @property
    def dtype(self) -> torch.dtype:
        """dtype of the voxels."""
        return self._read_header().dtype if self._data is None else self._data.dtype

    # Mapping

    @property
    def type(self) -> str:
        """'intensity' or 'label'."""
        return self.kind

    def __getitem__(self, item: Any) -> Any:
        if isinstance(item, str):
            if item in (DATA, AFFINE, TYPE):
                return getattr(self, item)
            return self.metadata[item]
        return self._crop(item)

    def __setitem__(self, name: str, value: Any) -> None:
        if name in (DATA, AFFINE):
            setattr(self, name, value)
        else:
            check_names(type(self), _OWN, (name,))
            self.metadata[name] = value

    def __setattr__(self, name: str, value: Any) -> None:
        # metadata are accessible both as attributes and as items
        if name in _OWN or hasattr(type(self), name):
            object.__setattr__(self, name, value)
        else:
            self.__dict__.setdefault("metadata", {})[name] = value

    def __contains__(self, name: object) -> bool:
        return name in (DATA, AFFINE, TYPE) or name in self.metadata

    def __iter__(self) -> Iterator[str]:
        return iter((DATA, AFFINE, TYPE, *self.metadata))

    def __getattr__(self, name: str) -> Any:
        # only called for names that are no attribute of the class or the instance
        metadata = self.__dict__.get("metadata", {})
        if name in metadata:
            return metadata[name]
        raise AttributeError(f"{type(self).__name__} has no attribute or metadata {name!r}")

    def _crop(self, item: Any) -> Image:
        """Return the part within up to three spatial slices; of a file, only that part is read."""
        region = region_of(item, self.spatial_shape)
        if self._data is None:
            assert self.path is not None
            data, _, header = files.volume(self.path, self.reader, region)
            changed = header.shape != self.shape  # the file was replaced in the meantime
            self._set_header(header)
            if changed:
                return self._crop(item)
        else:
            i, j, k = region
            data = self._data[:, i, j, k].clone()  # a view would keep the whole image in memory
        start = [s.start for s in region] + [1]
        affine = self.affine.copy()
        affine[:, 3] = affine @ start
        return self._with(data, affine)

    def as_sitk(self) -> SimpleITK.Image:
        """Return a SimpleITK image; channels become vector components."""
        return io.to_sitk(*self._on_host())

    @classmethod
    def from_sitk(cls, image: SimpleITK.Image) -> Image:
        """Create an image from a SimpleITK image."""
        return cls(image)

    def save(self, path: str | Path) -> None:
        """Write the image in the format that the path's suffix names.

        An interruption leaves the former file or the new one. Permissions are kept, links followed.
        NIfTI keeps the time step that was read, and while the affine is the same qform and codes.
        """
        image = self._in_memory()
        io.write(*image._on_host(), path, image._nifti)

    def _as_nibabel(self) -> Any:
        return io.to_nibabel(*self._on_host(), self._nifti)

    def _on_host(self) -> tuple[Tensor, Tensor]:
        return self.data.detach().cpu(), torch.tensor(self.affine)

    def plot(self, **kwargs: Any) -> Figure:
        """Draw the three middle planes; see :func:`torchio_gpu.plot.plot_image`."""
        from ..plot import plot_image

        return plot_image(self, **kwargs)

    def __copy__(self) -> Image:
        new = self.__class__.__new__(self.__class__)
        new.__dict__.update(self.__dict__)
        new.metadata = dict(self.metadata)
        return new

    def __repr__(self) -> str:
        where = "in memory" if self.path is None else f"path={files.shown(self.path)}"
        if self._data is None and self._header is None:
            return f"{self.__class__.__name__}({where}, not read)"
        spacing = ", ".join(f"{s:.2f}" for s in self.spacing)
        return (
            f"{self.__class__.__name__}(shape={self.shape}, spacing=({spacing}), "
            f"orientation={self.orientation_str}+, dtype={self.dtype}, {where})"
        )


class ScalarImage(Image):
    """Image whose voxels measure something: MRI, CT, a probability map.

    Takes the arguments of :class:`Image`. Intensity transforms change it, and spatial ones
    interpolate it.

    >>> ScalarImage(torch.zeros(1, 2, 2, 2)).type
    'intensity'
    """

    kind = INTENSITY


class LabelMap(Image):
    """Image whose voxels are labels: a segmentation.

    Takes the arguments of :class:`Image`. Its values are never mixed, and its dtype is kept.

    >>> LabelMap(torch.zeros(1, 2, 2, 2, dtype=torch.uint8)).type
    'label'
    """

    kind = LABEL


def image_class(kind: str) -> type[Image]:
    """Return the class of images of a kind, 'intensity' or 'label'."""
    return {INTENSITY: ScalarImage, LABEL: LabelMap}[kind]
