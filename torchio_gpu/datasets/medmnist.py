"""MedMNIST: small volumes of several organs, with labels for classification."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
import torch

from ..data import ScalarImage, Subject, SubjectsDataset
from ..signature import checked
from .download import cache_folder, download

_SPLITS = {"training": "train", "validation": "val", "testing": "test"}


class MedMNIST(SubjectsDataset):
    """Volumes (1, 28, 28, 28), uint8, with a label: base of the six datasets of MedMNIST 3D.

    Yang et al. 2023, doi:10.1038/s41597-022-01721-8, https://medmnist.com, with the licence of
    each. A subject has an ``image`` and ``labels``, a tensor (1,). The file is downloaded to the
    cache folder; its publisher gives no checksum for it in the address.

    Args:
        split: 'train' or 'training', 'val' or 'validation', 'test' or 'testing'.
        kwargs: Arguments of :class:`SubjectsDataset`, such as ``transform``.
    """

    #: Address of the folder of files.
    BASE_URL = "https://zenodo.org/record/5208230/files"
    #: Splits by all their names.
    SPLITS: ClassVar[tuple[str, ...]] = tuple(n for pair in _SPLITS.items() for n in pair[::-1])

    @checked
    def __init__(
        self,
        split: Literal["train", "training", "val", "validation", "test", "testing"],
        **kwargs: Any,
    ) -> None:
        if split not in self.SPLITS:
            raise ValueError(f"split must be one of {self.SPLITS}, got {split!r}")
        path = cache_folder() / "MedMNIST" / self.filename
        download(f"{self.BASE_URL}/{self.filename}?download=1", path)
        name = _SPLITS.get(split, split)
        with np.load(path) as arrays:
            images, labels = arrays[f"{name}_images"], arrays[f"{name}_labels"]
        subjects = [
            Subject(image=ScalarImage(image[None]), labels=torch.tensor(label))
            for image, label in zip(images, labels, strict=True)
        ]
        super().__init__(subjects, **kwargs)

    @property
    def filename(self) -> str:
        """Name of the file of the dataset."""
        return f"{type(self).__name__.lower()}.npz"


class OrganMNIST3D(MedMNIST):
    """Abdominal CT: which of 11 organs. Arguments are those of :class:`MedMNIST`."""


class NoduleMNIST3D(MedMNIST):
    """Chest CT: nodule benign or malignant. Arguments are those of :class:`MedMNIST`."""


class AdrenalMNIST3D(MedMNIST):
    """Shape of adrenal glands in CT: normal or not. Arguments are those of :class:`MedMNIST`."""


class FractureMNIST3D(MedMNIST):
    """Chest CT: which of 3 kinds of rib fracture. Arguments are those of :class:`MedMNIST`."""


class VesselMNIST3D(MedMNIST):
    """Shape of brain vessels in MRA: healthy or aneurysm; arguments as for :class:`MedMNIST`."""


class SynapseMNIST3D(MedMNIST):
    """Electron microscopy: synapse excitatory or inhibitory; arguments as for :class:`MedMNIST`."""
