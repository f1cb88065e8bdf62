"""FPG: MRI of one volunteer."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from ..data import Image, LabelMap, ScalarImage, Subject, io
from ..signature import checked
from .download import cache_folder, download


def _colors(table: str) -> dict[int, tuple[int, int, int]]:
    """Return red, green and blue, 0 to 255, by label, of entries 'first-last:rrggbb'."""
    colors = {}
    for entry in table.split():
        labels, _, color = entry.partition(":")
        first, _, last = labels.partition("-")
        red, green, blue = bytes.fromhex(color)
        colors.update(dict.fromkeys(range(int(first), int(last or first) + 1), (red, green, blue)))
    return colors


#: Colours of the labels of GIF, red, green and blue.
GIF_COLORS = _colors("""
    0-1:000000 5:7fffd4 12:f0e68c 16:b03060 24:30b060 31:30b060 32-33:67ffff 35:eebaf3 36:779fb0
    37-38:7abadc 39-40:60cc60 41-42:dcf7a4 43-44:cd3e4e 45-46:e1e1e1 47:3c3c3c 48-49:dcd814
    50-51:c43afa 52-53:781286 54-55:ffa500 56:0c30ff 57:0c30e1 58-59:ec0db0 60-61:00760e
    62-63:a52a2a 64-65:a020f0 66-67:38c0ff 70:ffe1e1 72:b8edc2 73:b4e7fa 74:e1b7e7 76-77:b4b4b4
    81:f5ffc8 82:ffe6ff 83:f5f5f5 84:dcffdc 85:dcdcdc 86:c8ffff 87:fadcc8 89:f5ffc8 90:ffe6ff
    91:f5f5f5 92:dcffdc 93:dcdcdc 94:c8ffff 96-97:8c7dff 101-102:ff3e96 103-104:a0522d
    105-106:a52a2a 107-108:cd5b45 109-110:6495ed 113-114:87ceeb 115-116:fa8072 117-118:ffff00
    119-120:dda0dd 121-122:00ee00 123-124:cd5c5c 125-126:b03060 129-130:98fb98 133-134:32cd32
    135-136:006400 137-138:add8e6 139-140:9932cc 141-142:a020f0 143-144:00ced0 145-146:333287
    147-148:87324a 149-150:da70d6 151-152:f0e68c 153-154:ffff00 155-156:ff6eb4 157-158:00ffff
    161-162:643264 163-164:b22222 165-166:ff00ff 167-168:27408b 169-170:ff6347 171-172:ff4500
    173-174:d2b48c 175-176:00ff7f 177-178:4a9b3c 179-180:ffd700 181-182:ee0000 183-184:2e8b57
    185-186:eec900 187-188:66cdaa 191-192:ffdab9 193-194:ee82ee 195-196:ffa500 197-198:ffc0cb
    199-200:f4deb3 201-202:d02090 203-204:228b22 205:7dffd4 206:7fffd4 207-208:000080
""")


class FPG(Subject):
    """T1-weighted MRI of a volunteer at 3 T, ``t1``, and its parcellation, ``seg``.

    Given by the author of TorchIO, https://github.com/TorchIO-project/torchio-data; parcellated by
    GIF (Cardoso et al. 2015, doi:10.1109/TMI.2015.2418298). The metadata ``rigid_matrix`` and
    ``affine_matrix`` of both register them to MNI space: (4, 4) float64 tensors, from RAS+ mm of
    the image to RAS+ mm of the template. Files are downloaded to the cache folder unless they are
    there.

    Args:
        load_all: Add ``t2``, T2-weighted, ``fmri``, functional, and ``dmri``, diffusion MRI.
    """

    #: Address of the folder of files.
    url_base = "https://github.com/TorchIO-project/torchio-data/raw/main/data/fernando/"
    GIF_COLORS: ClassVar = GIF_COLORS

    @checked
    def __init__(self, load_all: bool = False) -> None:
        def path(name: str) -> Path:
            return download(self.url_base + name, cache_folder() / "fpg" / name)

        matrices: dict[str, Any] = {
            "rigid_matrix": io.read_matrix(path("t1_to_mni.tfm")),
            "affine_matrix": io.read_matrix(path("t1_to_mni_affine.h5")),
        }
        images: dict[str, Image] = {
            "t1": ScalarImage(path("t1.nii.gz"), **matrices),
            "seg": LabelMap(path("t1_seg_gif.nii.gz"), **matrices),
        }
        if load_all:
            for file in ("t2.nii.gz", "fmri.nrrd", "dmri.nrrd"):
                images[file.partition(".")[0]] = ScalarImage(path(file))
        super().__init__(images)
