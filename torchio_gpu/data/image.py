"""Image: voxels (C, I, J, K), their affine, and metadata."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

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
from .exports import Exports
from .keys import INTENSITY, KINDS, LABEL, SAMPLING_MAP
from .mapping import OWN, ImageValues
from .pickling import Transferable
from .pictures import Pictures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_Image = TypeVar("_Image", bound="Image")


class Image(ImageValues, Exports, Pictures, Transferable):
    """3D image with channels; 2D images have one slice, time and diffusion are channels.

    Voxels are read from the file when they are first needed. Shape, affine and what follows from
    them come from the header alone.

    Units become millimetres. The time step of a 4D NIfTI file, and its sform and qform codes while
    the affine is the file's, are kept until :meth:`save`. Metadata are not rotated with the image:
    b-vectors, for example, stay as they were given. A changed image keeps the ``path`` that its
    voxels were read from, as in TorchIO 1, so ``image.save(image.path)`` overwrites that file.

    =====================  =========================================================================
    .nii .hdr .img (.gz)   NIfTI; .mha .mhd .nrrd .nhdr, MetaImage and NRRD; .mnc, MINC
    .png .jpg .tif         2D (TIFF: stacks), without an affine
    .b2nd .h5 .zarr        Blosc2, HDF5 (``x.h5::/raw/t1``), Zarr with OME-Zarr and NIfTI-Zarr; .npy
    read alone             DICOM, .mgh .par .BRIK, what SimpleITK or :func:`register_source` knows
    =====================  =========================================================================

    Args:
        source: Path of a file or folder, list of paths whose channels are stacked, tensor or array
            (C, I, J, K), SimpleITK image, NiBabel image, or another :class:`Image`.
        type: 'intensity', 'label' or 'sampling_map': ``Image`` makes a :class:`ScalarImage`, a
            :class:`LabelMap` or a map of weights for sampling; others have a type of their own.
        tensor, path: ``source`` as a tensor or array, or as a path.
        affine: Voxel to world (RAS+ mm), (4, 4); by default the file's, or the identity.
        check_nans: Warn if there are NaN among the voxels that are read or given.
        reader: Function that takes a path and returns voxels (C, I, J, K), (I, J, K), (I, J),
            (3, I, J) or (I, J, 3), and an affine (4, 4), or None for the identity; by default, the
            file's format decides.
        verify_path: Raise at once if there is no such file; otherwise when it is read.
        spacing: Distance between voxels of a tensor or array in mm, instead of an affine without
            rotation.
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

    def __new__(
        cls: type[_Image], source: Any = None, type: str | None = None, *_: Any, **__: Any
    ) -> _Image:
        if cls is not Image:
            return object.__new__(cls)
        if type is None:
            type = source.kind if isinstance(source, Image) else INTENSITY
        return object.__new__(image_class(type))  # type: ignore[return-value]

    # positional arguments in the order of TorchIO 1
    def __init__(
        self,
        source: Image | ImageSource | None = None,
        type: str | None = None,
        tensor: Tensor | np.ndarray | None = None,
        affine: AffineLike | None = None,
        check_nans: bool = False,
        reader: files.Reader | None = None,
        verify_path: bool = True,
        *,
        path: str | Path | Sequence[str | Path] | None = None,
        spacing: Sequence[float] | None = None,
        **metadata: Any,
    ) -> None:
        given = [s for s in (source, path, tensor) if s is not None]
        check_source(self.__class__.__name__, len(given), type, self.kind)
        check_names(self.__class__, OWN, metadata)
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
            self._affine = None if source._affine is None else source._affine.copy()
            self._nifti = source._nifti
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

    def set_data(self, tensor: Tensor | np.ndarray) -> None:
        """Replace the voxels; the affine stays.

        Raises:
            ValueError: They are a MetaTensor that lies elsewhere.
        """
        if meta_tensor.is_meta_tensor(tensor):
            tensor = meta_tensor.voxels_at(tensor, self.affine)
        self._data, self._affine = self._check_data(tensor), self.affine

    def load(self) -> None:
        """Read the voxels from the file, if they have not been read yet."""
        if self._data is not None:
            return
        assert self.path is not None
        volume = files.volume(self.path, self.reader)
        self._data = self._check_data(volume.data)
        self._set_header(volume.header)

    def unload(self) -> None:
        """Forget the voxels, and an affine that was set: both are read again when needed.

        Changes of the image since it was read are lost.

        Raises:
            RuntimeError: The voxels are not in memory, or there is no file to read them from.
        """
        if self._data is None:
            raise RuntimeError("image must be loaded to be unloaded, its voxels are not in memory")
        if self.path is None:
            raise RuntimeError("image must have a path to be unloaded, or its voxels would be lost")
        self._data = self._affine = self._header = self._nifti = None

    def set_check_nans(self, check_nans: bool) -> None:
        """Set whether voxels that are read or set from now on are checked for NaN."""
        check_reading(None, check_nans=check_nans)
        self.check_nans = check_nans

    def _set_header(self, header: io.Header) -> None:
        # from the latest read: the file may have changed, and voxels must match their affine
        before = self._header
        if before is not None and np.array_equal(before.affine.numpy(), self.affine):
            self._affine = None
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

    def to(self, *args: Any, **kwargs: Any) -> Image:
        """Return a copy with voxels on another device or of another dtype, as ``Tensor.to``."""
        return self._with(converted(self.data, *args, **kwargs))

    def _with(self, data: Tensor | None, affine: np.ndarray | None = None) -> Image:
        """Return a copy with other voxels, or none, and, if given, another affine."""
        new = copy.copy(self)
        new.metadata = dict(self.metadata)
        new._affine = np.array(self.affine if affine is None else affine)
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
        if self._affine is None:
            self._affine = self._read_header().affine.numpy().copy()  # the user may write to it
        return self._affine

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

    def to_ras(self) -> Image:
        """Return the image with axes that grow to the right, anterior and superior.

        Voxels are reordered, as by :class:`ToCanonical`; an image in that order is returned itself.
        """
        if self.orientation_str == "RAS":
            return self
        after = geometry.reoriented(self.space, "RAS").affine[0]
        steps = np.rint(np.linalg.inv(self.affine) @ after)[:3, :3]  # old axes by new ones
        axes = [1 + int(n) for n in np.abs(steps).argmax(0)]
        flips = [1 + n for n in range(3) if steps[:, n].sum() < 0]
        return self._with(self.data.permute(0, *axes).flip(flips).contiguous(), after)

    # Values by name

    @property
    def type(self) -> str:
        """'intensity', 'label' or 'sampling_map'."""
        return self.kind

    def __getitem__(self, item: Any) -> Any:
        return super().__getitem__(item) if isinstance(item, str) else self._crop(item)

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

    def __copy__(self) -> Image:
        new = self.__class__.__new__(self.__class__)
        new.__dict__.update(self.__dict__)
        new.metadata = dict(self.metadata)
        new._affine = None if self._affine is None else self._affine.copy()
        return new

    def __repr__(self) -> str:
        where = "in memory" if self.path is None else f"path={files.shown(self.path)}"
        if self._data is None and self._header is None:
            return f"{self.__class__.__name__}({where}, not read)"
        spacing = ", ".join(f"{s:.2f}" for s in self.spacing)
        memory = f"memory={self.memory / 2**20:.1f} MiB, " if self.loaded else ""
        return (
            f"{self.__class__.__name__}(shape={self.shape}, spacing=({spacing}), "
            f"orientation={self.orientation_str}+, dtype={self.dtype}, {memory}{where})"
        )


class ScalarImage(Image):
    """Image whose voxels measure something: MRI, CT, a probability map.

    Takes the arguments of :class:`Image`. Intensity transforms change it, and spatial ones
    interpolate it.

    >>> ScalarImage(torch.zeros(1, 2, 2, 2)).type
    'intensity'
    """

    kind = INTENSITY

    def hist(self, **kwargs: Any) -> Figure:
        """Draw a histogram of the values; see :func:`torchio_gpu.plot.plot_histogram`."""
        from ..plot import plot_histogram

        voxels = self.data.detach().cpu()
        real = voxels.abs() if voxels.is_complex() else voxels.float()
        return plot_histogram(real.numpy(), **kwargs)


class LabelMap(Image):
    """Image whose voxels are labels: a segmentation.

    Takes the arguments of :class:`Image`. Its values are never mixed, and its dtype is kept.

    >>> LabelMap(torch.zeros(1, 2, 2, 2, dtype=torch.uint8)).type
    'label'
    """

    kind = LABEL

    def count_nonzero(self) -> int:
        """Return the number of values that are not 0."""
        return int(self.data.count_nonzero())

    def count_labels(self) -> dict[int, int]:
        """Return the number of voxels of each label, from the smallest label on.

        >>> LabelMap(torch.tensor([[[[0, 2, 2]]]])).count_labels()
        {0: 1, 2: 2}
        """
        labels, counts = torch.unique(self.data, return_counts=True)  # type: ignore[no-untyped-call]
        return dict(zip(labels.tolist(), counts.tolist(), strict=True))


class SamplingMap(Image):
    """Image whose voxels are weights for sampling patches: ``Image(x, type="sampling_map")``.

    Takes the arguments of :class:`Image`. Spatial transforms interpolate it, and intensity
    transforms leave it alone.
    """

    kind = SAMPLING_MAP


_CLASSES: dict[str, type[Image]] = {cls.kind: cls for cls in (ScalarImage, LabelMap, SamplingMap)}


def image_class(kind: str) -> type[Image]:
    """Return the class of images of a kind, 'intensity', 'label' or 'sampling_map'."""
    if kind not in KINDS:
        raise ValueError(f"type of an image must be one of {KINDS}, got {kind!r}")
    return _CLASSES[kind]
