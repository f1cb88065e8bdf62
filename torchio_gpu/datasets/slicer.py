"""Sample data of 3D Slicer."""

from __future__ import annotations

from ..data import ScalarImage, Subject
from ..signature import checked
from .download import cache_folder, download

#: Files of each sample with the path of their address, which ends in their SHA-256 checksum. The
#: last file is the one to read.
URLS_DICT: dict[str, dict[str, str]] = {
    "MRHead": {
        "MRHead.nrrd": "SHA256/cc211f0dfd9a05ca3841ce1141b292898b2dd2d3f08286affadf823a7e58df93",
    },
    "DTIBrain": {
        "DTI_Brain.nrrd": "SHA256/5c78d00c86ae8d968caa7a49b870ef8e1c04525b1abc53845751d8bce1f0b91a",
    },
    "DTIVolume": {
        "DTIVolume.raw.gz": (
            "SHA256/d785837276758ddd9d21d76a3694e7fd866505a05bc305793517774c117cb38d"
        ),
        "DTIVolume.nhdr": "SHA256/67564aa42c7e2eec5c3fd68afb5a910e9eab837b61da780933716a3b922e50fe",
    },
    "CTChest": {
        "CT_chest.nrrd": "SHA256/4507b664690840abb6cb9af2d919377ffc4ef75b167cb6fd0f747befdb12e38e",
    },
    "CTACardio": {
        "CTA_cardio.nrrd": (
            "SHA256/3b0d4eb1a7d8ebb0c5a89cc0504640f76a030b4e869e33ff34c564c3d3b88ad2"
        ),
    },
}


class Slicer(Subject):
    """Sample image of 3D Slicer, https://www.slicer.org/wiki/SampleData, which says who made it.

    The image has the name of its file: ``MRHead``, ``DTI_Brain``, ``DTIVolume``, ``CT_chest`` or
    ``CTA_cardio``. It is downloaded to the cache folder unless it is there.

    Args:
        name: 'MRHead', 'DTIBrain', 'DTIVolume', 'CTChest' or 'CTACardio'.
    """

    #: Address of the folder of files.
    url_base = "https://github.com/Slicer/SlicerTestingData/releases/download/"

    @checked
    def __init__(self, name: str = "MRHead") -> None:
        if name not in URLS_DICT:
            raise ValueError(f"name must be one of {[*URLS_DICT]}, got {name!r}")
        for file, place in URLS_DICT[name].items():
            path = cache_folder() / "slicer" / file
            download(self.url_base + place, path, sha256=place.rpartition("/")[2])
        super().__init__({path.name.partition(".")[0]: ScalarImage(path)})
