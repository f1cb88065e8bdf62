"""Brain atlases of the Montreal Neurological Institute."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from ..data import Image, LabelMap, ScalarImage, Subject
from ..signature import checked
from .store import install_in_cache, nifti

TISSUES_2008 = {
    1: "Cerebro-spinal fluid",
    2: "Gray Matter",
    3: "White Matter",
    4: "Fat",
    5: "Muscles",
    6: "Skin and Muscles",
    7: "Skull",
    9: "Fat 2",
    10: "Dura",
    11: "Marrow",
    12: "Vessels",
}
_TISSUES = "colin27_cls_tal_hires"


class SubjectMNI(Subject):
    """Atlas of https://nist.mni.mcgill.ca/atlases, downloaded to the cache folder unless there."""

    #: Address of the folder of archives.
    url_base = "http://packages.bic.mni.mcgill.ca/mni-models/"


class Colin27(SubjectMNI):
    """Average of 27 MRI of one man, in MNI space; downloaded to the cache folder unless there.

    Holmes et al. 1998, doi:10.1097/00004728-199803000-00032, at 1 mm: ``t1``, and label maps of
    the ``head`` and ``brain``. Aubert-Broche et al. 2006, doi:10.1016/j.neuroimage.2006.03.017, at
    0.5 mm: ``t1``, ``t2``, ``pd``, and ``cls``, tissues, with their names by number as metadata
    ``labels``.

    Args:
        version: 1998 or 2008. Images of 2008 have (362, 434, 362) voxels.
    """

    #: Number of each tissue of ``cls``.
    NAME_TO_LABEL: ClassVar = {name: label for label, name in TISSUES_2008.items()}
    version: int = 0  # declared here, as it is an attribute and no metadata

    @checked
    def __init__(self, version: int = 1998) -> None:
        if version not in (1998, 2008):
            raise ValueError(f"version must be 1998 or 2008, got {version!r}")
        name = f"mni_colin27_{version}_nifti"
        prepare = _whole_tissues if version == 2008 else None
        folder = install_in_cache(f"{self.url_base}colin27/{name}.zip", name, prepare=prepare)
        images: dict[str, Image]
        if version == 1998:
            images = {
                "t1": ScalarImage(nifti(folder, "colin27_t1_tal_lin")),
                "head": LabelMap(nifti(folder, "colin27_t1_tal_lin_headmask")),
                "brain": LabelMap(nifti(folder, "colin27_t1_tal_lin_mask")),
            }
        else:
            images = {
                name: ScalarImage(nifti(folder, f"colin27_{name}_tal_hires"))
                for name in ("t1", "t2", "pd")
            }
            images["cls"] = LabelMap(nifti(folder, _TISSUES), labels=dict(TISSUES_2008))
        super().__init__(images)
        self.version = int(version)


def _whole_tissues(folder: Path) -> None:
    """Round labels of 2008, which the file stores scaled, and so a little beside whole numbers."""
    image = LabelMap(nifti(folder, _TISSUES))
    image.set_data(image.data.round().to(torch.uint8))
    assert isinstance(image.path, Path)
    image.save(image.path)


class ICBM2009CNonlinearSymmetric(SubjectMNI):
    """Average of 152 brains, ICBM 2009c nonlinear symmetric; downloaded to the cache folder.

    Fonov et al. 2011, doi:10.1016/j.neuroimage.2010.07.033, at 1 mm: ``t1``, ``t2`` and ``pd``;
    label maps of the ``eyes``, ``face`` and ``brain``; and probabilities of grey and white matter
    and of cerebrospinal fluid, ``tissues`` or ``gm``, ``wm`` and ``csf``, label maps as well.

    Args:
        load_4d_tissues: Return the probabilities as three channels of one image.
    """

    url_base = "http://www.bic.mni.mcgill.ca/~vfonov/icbm/2009/"

    @checked
    def __init__(self, load_4d_tissues: bool = True) -> None:
        name = "mni_icbm152_nlin_sym_09c_nifti"
        folder = install_in_cache(f"{self.url_base}{name}.zip", name) / "mni_icbm152_nlin_sym_09c"

        def path(part: str, mask: str = "") -> Path:
            return nifti(folder, f"mni_icbm152_{part}_tal_nlin_sym_09c{mask}")

        images: dict[str, Image] = {
            "t1": ScalarImage(path("t1")),
            "eyes": LabelMap(path("t1", "_eye_mask")),
            "face": LabelMap(path("t1", "_face_mask")),
            "brain": LabelMap(path("t1", "_mask")),
            "t2": ScalarImage(path("t2")),
            "pd": ScalarImage(path("pd")),
        }
        tissues = {name: path(name) for name in ("gm", "wm", "csf")}
        if load_4d_tissues:
            images["tissues"] = LabelMap([*tissues.values()])
        else:
            images.update({name: LabelMap(file) for name, file in tissues.items()})
        super().__init__(images)


#: Ranges of age in years of the pediatric atlases.
SUPPORTED_YEARS = ((4.5, 18.5), (4.5, 8.5), (7, 11), (7.5, 13.5), (10, 14), (13, 18.5))


class Pediatric(SubjectMNI):
    """Average brain of children, ``t1``, ``t2``, ``pd``, ``mask``; downloaded to the cache folder.

    Fonov et al. 2011, doi:10.1016/j.neuroimage.2010.07.033,
    https://nist.mni.mcgill.ca/pediatric-atlases-4-5-18-5y.

    Args:
        years: Ages of the youngest and oldest child: (4.5, 18.5), (4.5, 8.5), (7, 11), (7.5, 13.5),
            (10, 14) or (13, 18.5).
        symmetric: Take the atlas whose left and right mirror each other.
    """

    url_base = "http://www.bic.mni.mcgill.ca/~vfonov/nihpd/obj1/"

    @checked
    def __init__(self, years: tuple[float, float], symmetric: bool = False) -> None:
        if years not in SUPPORTED_YEARS:
            raise ValueError(f"years must be one of {SUPPORTED_YEARS}, got {years!r}")
        ages = "-".join(f"{float(age):04.1f}" for age in years)
        stem = f"nihpd_{'sym' if symmetric else 'asym'}_{ages}"
        folder = install_in_cache(f"{self.url_base}{stem}_nifti.zip", f"{stem}_nifti")
        images: dict[str, Image] = {
            name: ScalarImage(nifti(folder, f"{stem}_{name}w")) for name in ("t1", "t2", "pd")
        }
        super().__init__({**images, "mask": LabelMap(nifti(folder, f"{stem}_mask"))})


class Sheep(SubjectMNI):
    """Average of sheep brains at 0.5 mm, ``t1``; downloaded to the cache folder unless there.

    Nitzsche et al. 2015, doi:10.3389/fnana.2015.00069.
    """

    def __init__(self) -> None:
        name = "NIFTI_ovine_05mm"
        folder = install_in_cache(f"{self.url_base}sheep/{name}.zip", name)
        super().__init__(t1=ScalarImage(nifti(folder, "ovine_model_05")))


def mni152() -> Subject:
    """Load the average of 152 healthy brains at 1 mm, with tissue maps; nothing is downloaded.

    ICBM 152 nonlinear symmetric 2009a, without the skull (Fonov et al. 2011,
    doi:10.1016/j.neuroimage.2010.07.033). Left and right mirror each other exactly.

    Returns:
        A subject with four images (1, 197, 233, 189) in RAS+ and MNI coordinates:

        - ``t1``: T1-weighted MRI, float32 in [0, 1], 0 outside the brain;
        - ``grey``, ``white``: probability of grey and of white matter, float32 in [0, 1];
        - ``seg``: the likeliest tissue, uint8: 0 neither, 1 grey matter, 2 white matter.

    Raises:
        ImportError: nilearn is not installed.
    """
    folder = _folder()

    def read(name: str) -> ScalarImage:
        image = ScalarImage(folder / f"mni_icbm152_{name}_tal_nlin_sym_09a_converted.nii.gz")
        return ScalarImage(image.data / 255, affine=image.affine)  # the files hold 0..255

    t1, grey, white = read("t1"), read("gm"), read("wm")
    seg = LabelMap(_likeliest(grey.data, white.data), affine=t1.affine)
    return Subject(t1=t1, grey=grey, white=white, seg=seg)


def _likeliest(grey: Tensor, white: Tensor) -> Tensor:
    """Return 0, 1 or 2 where neither, grey or white is likeliest; the first one of a tie."""
    neither = 1 - grey - white
    seg = (grey > neither).to(torch.uint8)
    return seg.masked_fill_(white > torch.maximum(grey, neither), 2)


def _folder() -> Path:
    """Return the folder of the files of nilearn, without importing it, which would take seconds."""
    spec = find_spec("nilearn")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(
            "mni152 needs the files of the nilearn package, which is not installed: "
            'pip install "torchio-gpu[demo]"'
        )
    return Path(spec.submodule_search_locations[0], "datasets", "data")
