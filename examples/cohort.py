"""A cohort from scans to training: ``python examples/cohort.py``.

Twenty variants of the MNI152 brain are written as files, each with a spacing, an orientation and a
contrast of its own, as scans of several hospitals have. ``torchio-gpu preprocess`` brings them to
one grid and one range of intensities, with two worker processes; run the script again, and nothing
is computed twice. A small network is then trained on what was written, for one epoch.

Needs nilearn, which carries the brain, and the extras cohort and config:
``pip install "torchio-gpu[demo,cohort,config]"``.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import torch
from torch import nn

import torchio_gpu as tio
from torchio_gpu.datasets import mni152

TISSUES = 3  # neither, grey matter, white matter
ORIENTATIONS = ("RAS", "LPS", "LIA", "PIR")
ROLES = ("t1=scans/{id}_T1w.nii.gz", "seg:label=scans/{id}_seg.nii.gz")


def write_scans(folder: Path, count: int, spacing: float) -> None:
    """Write variants of the brain whose voxels have sides of about ``spacing`` mm."""
    folder.mkdir(parents=True, exist_ok=True)
    brain = mni152()
    brain = tio.Resample(spacing)(tio.Subject(t1=brain.t1, seg=brain.seg))
    for n in range(count):
        torch.manual_seed(n)
        sides = (spacing * torch.empty(3).uniform_(0.8, 1.3)).tolist()
        scanner = tio.Compose(
            [
                tio.RandomAffine(scales=0.1, degrees=5),
                tio.Resample(sides),
                tio.ToOrientation(ORIENTATIONS[n % len(ORIENTATIONS)]),
                tio.RandomGamma(0.4),
                tio.RandomBiasField(),
                tio.RandomNoise(std=(0, 0.03)),
                tio.RescaleIntensity((0, 200 + 100 * n)),
            ]
        )
        scan = scanner(brain)
        scan.t1.save(folder / f"sub-{n:02}_T1w.nii.gz")
        scan.seg.save(folder / f"sub-{n:02}_seg.nii.gz")


def prepare(folder: Path, spacing: float, workers: int) -> None:
    """Bring all scans to one grid and range, by the command that one would type."""
    size = [4 * round(side / spacing / 4) for side in (152, 192, 152)]  # mm
    steps = [tio.ToCanonical(), tio.Resample(spacing), tio.CropOrPad(size), tio.ZNormalization()]
    tio.save_pipeline(tio.Compose(steps), folder / "prepare.yaml")
    words = ["preprocess", "prepare.yaml", "prepared", *ROLES, "--workers", str(workers)]
    print("torchio-gpu", *words, flush=True)
    subprocess.run([sys.executable, "-m", "torchio_gpu", *words], cwd=folder, check=True)


def train(folder: Path) -> list[float]:
    """Train a small network for one epoch, and return the loss of each batch."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    subjects = tio.Cohort.from_output(folder).subjects()
    augment = tio.Compose([tio.RandomAffine(), tio.RandomFlip("LR"), tio.RandomGamma()])
    torch.manual_seed(0)
    layers = [nn.Conv3d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv3d(8, TISSUES, 3, padding=1)]
    model = nn.Sequential(*layers).to(device)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    losses = []
    for batch in tio.SubjectsLoader(tio.SubjectsDataset(subjects), 2, shuffle=True, num_workers=0):
        batch = augment(batch.to(device))
        loss = nn.functional.cross_entropy(model(batch.t1.data), batch.seg.data[:, 0].long())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
        print(f"loss {losses[-1]:.3f}")
    return losses


def main(
    output: str = "cohort-output", cases: int = 20, spacing: float = 2.0, workers: int = 2
) -> list[float]:
    """Write scans, prepare them, train on them, and return the losses.

    Args:
        output: Folder to write to.
        cases: Number of scans.
        spacing: Side of a voxel of the prepared scans, mm.
        workers: Processes that prepare; 0 for one, without Dask.
    """
    folder = Path(output)
    if not (folder / "scans").exists():
        write_scans(folder / "scans", cases, spacing)
    prepare(folder, spacing, workers)
    return train(folder / "prepared")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", default="cohort-output", help="folder to write to")
    parser.add_argument("--cases", type=int, default=20, help="number of scans")
    parser.add_argument("--spacing", type=float, default=2.0, help="side of a voxel, mm")
    parser.add_argument("--workers", type=int, default=2, help="processes; 0 for one without Dask")
    main(**vars(parser.parse_args()))
