"""The example that learns to find landmarks, on small volumes."""

import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import torch

import torchio_gpu as tio


@pytest.fixture(scope="module")
def keypoints():
    """Module of the example, which is in no package."""
    path = Path(__file__).parents[1] / "examples" / "keypoints.py"
    spec = spec_from_file_location("keypoints", path)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_landmarks_stay_on_their_blobs(keypoints):
    batch = tio.SubjectsBatch.from_subjects([keypoints.sample(24) for _ in range(4)])
    augmented = keypoints.augmentation()(batch)
    rows = list(keypoints.BLOBS)
    for before, after in zip(batch.unbatch(), augmented.unbatch(), strict=True):
        assert not torch.allclose(after.landmarks.data, before.landmarks.data, atol=0.1)
        assert after.landmarks.labels == rows
        assert after.landmarks.inside(after.scan).all()
        for name, sign in (("bright", 1), ("dark", -1)):
            flat = (sign * after.scan.data[0]).flatten().argmax()
            peak = torch.stack(torch.unravel_index(flat, after.scan.spatial_shape))
            # blobs overlap a little, and there is noise
            assert (peak - after.landmarks.data[rows.index(name)]).norm() < 1.5


def test_the_error_of_the_network_falls(keypoints, capsys):
    before, after = keypoints.main(steps=100, size=20)
    assert after < before / 3  # 9.4 and 1.1 mm here, with voxels of 1.5 to 2 mm
    losses = [float(found) for found in re.findall(r"loss (\d+\.\d+)", capsys.readouterr().out)]
    assert len(losses) == 10
    assert losses[-1] < losses[2] < losses[0]


def test_places_are_those_of_the_heat_map(keypoints):
    """A network that has learnt everything has no error: its heat is at the landmarks."""
    batch = keypoints.augmentation()(tio.SubjectsBatch.from_subjects([keypoints.sample(24)] * 2))
    heat = torch.zeros(2, len(keypoints.BLOBS), 12, 12, 12)
    true = torch.stack([points.data for points in batch.landmarks])
    distance = (true[:, :, None] - keypoints.cells(heat)).square().sum(-1)
    heat = (-distance / 4).view_as(heat)
    assert keypoints.errors(heat, batch).max() < 0.2
    assert keypoints.loss_of(heat, batch) < keypoints.loss_of(torch.zeros_like(heat), batch)
