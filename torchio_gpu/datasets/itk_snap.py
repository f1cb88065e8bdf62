"""Example images of ITK-SNAP."""

from __future__ import annotations

from typing import ClassVar

from ..data import Image, LabelMap, ScalarImage, Subject
from .store import existing, install_in_cache


class SubjectITKSNAP(Subject):
    """Subject of an archive of ITK-SNAP, http://www.itksnap.org/pmwiki/pmwiki.php?n=Downloads.Data.

    The archive is downloaded to the cache folder unless it is there.
    """

    #: Address of the folder of archives.
    url_base = "https://www.nitrc.org/frs/download.php/"
    _place: ClassVar[str]  # of the archive, in the folder of archives, without suffix
    _files: ClassVar[dict[str, tuple[type[Image], str]]]

    def __init__(self) -> None:
        name = self._place.rpartition("/")[2]
        folder = install_in_cache(f"{self.url_base}{self._place}.zip", name) / name
        super().__init__(
            {key: kind(existing(folder, file)) for key, (kind, file) in self._files.items()}
        )


class BrainTumor(SubjectITKSNAP):
    """MRI of a tumour, ``t1``, ``t1c`` with contrast agent, ``t2``, ``flair``, and its ``seg``.

    Case HG0015 of the BRATS challenge, Menze et al. 2015, doi:10.1109/TMI.2014.2377694. The archive
    is downloaded to the cache folder unless it is there.
    """

    _place = "6161/braintumor"
    _files: ClassVar = {
        "t1": (ScalarImage, "BRATS_HG0015_T1.mha"),
        "t1c": (ScalarImage, "BRATS_HG0015_T1C.mha"),
        "t2": (ScalarImage, "BRATS_HG0015_T2.mha"),
        "flair": (ScalarImage, "BRATS_HG0015_FLAIR.mha"),
        "seg": (LabelMap, "BRATS_HG0015_truth.mha"),
    }


class T1T2(SubjectITKSNAP):
    """Whole-brain T1-weighted MRI at 3 T, ``mprage``, and T2-weighted one of hippocampi, ``tse``.

    Test data of ASHS, Yushkevich et al. 2015, doi:10.1002/hbm.22627. The archive is downloaded to
    the cache folder unless it is there.
    """

    _place = "10983/ashs_test"
    _files: ClassVar = {
        "mprage": (ScalarImage, "mprage_3T_bet_dr.nii"),
        "tse": (ScalarImage, "tse_3t_dr.nii"),
    }


class AorticValve(SubjectITKSNAP):
    """Ultrasound of a bicuspid aortic valve, frames ``b14`` and ``b25``, with segmentations.

    ``b14_seg`` and ``b25_seg`` were drawn by hand. The archive is downloaded to the cache folder
    unless it is there.
    """

    _place = "11021/bav_example"
    _files: ClassVar = {
        "b14": (ScalarImage, "bav_frame_14.nii.gz"),
        "b14_seg": (LabelMap, "bav_frame_14_manseg.nii.gz"),
        "b25": (ScalarImage, "bav_frame_25.nii.gz"),
        "b25_seg": (LabelMap, "bav_frame_25_manseg.nii.gz"),
    }
