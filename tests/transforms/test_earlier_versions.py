"""Entries of histories that earlier versions wrote are read, and do what they did.

``python -m tests.transforms.test_earlier_versions`` writes those of this version, once a release.
"""

import gzip
import json
import warnings
from pathlib import Path

import pytest
import torch

import torchio_gpu as tio
from tests.transforms.test_all_transforms import REGRIDS, TRANSFORMS
from tests.volumes import subject

FOLDER = Path(__file__).parent / "earlier_versions"
FILES = sorted(FOLDER.glob("*.json.gz"))


def means(transformed: tio.Subject) -> list[float]:
    """Return the mean of an image, and that of its square."""
    x = transformed.t1.data.double()
    return [x.mean().item(), x.square().mean().item()]


@pytest.mark.filterwarnings("ignore")  # small volumes fold
@pytest.mark.parametrize("file", FILES, ids=[file.name for file in FILES])
def test_entries_of_earlier_versions_do_what_they_did(file):
    found = json.loads(gzip.decompress(file.read_bytes()))
    assert found
    for name, (entries, expected) in found.items():
        again = means(tio.Compose([tio.from_dict(each) for each in entries])(subject()))
        # other processors round otherwise, and a voxel of nearest neighbours may be another
        assert again == pytest.approx(expected, rel=1e-2, abs=1e-3), name


def test_there_are_entries_of_the_first_release():
    assert "0.2.0.json.gz" in {file.name for file in FILES}


def main() -> None:
    """Write entries of all transforms that can be described."""
    found = {}
    for name, make in {**TRANSFORMS, **REGRIDS}.items():
        if name.partition(",")[0] == "Lambda":
            continue  # functions are not described
        torch.manual_seed(0)
        transformed = make()(subject())
        entries = [each.to_dict() for each in transformed.history]
        found[name] = entries, means(transformed)
    FOLDER.mkdir(exist_ok=True)
    text = json.dumps(found, separators=(",", ":"))
    (FOLDER / f"{tio.__version__}.json.gz").write_bytes(gzip.compress(text.encode(), 9, mtime=0))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
