"""Folders that nnU-Net itself has preprocessed are read, without their pickles."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import torchio_gpu as tio

pytest.importorskip("nnunetv2")
pytest.importorskip("blosc2")


def test_cases_of_nnunet(tmp_path):
    from nnunetv2.training.dataloading.nnunet_dataset import (
        comp_blosc2_params,
        nnUNetDatasetBlosc2,
    )

    rng = np.random.default_rng(0)
    data = rng.normal(size=(2, 50, 60, 70)).astype(np.float32)  # (C, z, y, x)
    seg = rng.integers(-1, 3, (1, 50, 60, 70)).astype(np.int8)
    blocks, chunks = comp_blosc2_params(data.shape, (32, 32, 32))
    properties = {"spacing": [3.0, 0.5, 0.25]}
    nnUNetDatasetBlosc2.save_case(
        data, seg, properties, str(tmp_path / "case"), chunks=chunks, blocks=blocks
    )
    image, labels = (
        tio.ScalarImage(tmp_path / "case.b2nd"),
        tio.LabelMap(tmp_path / "case_seg.b2nd"),
    )
    assert image.shape == (2, 70, 60, 50)
    assert np.array_equal(image.affine, np.eye(4))
    expected = torch.from_numpy(data).permute(0, 3, 2, 1)
    assert torch.equal(image[5:40, 3:, 17].data, expected[:, 5:40, 3:, 17:18])
    assert torch.equal(image.data, expected)
    assert torch.equal(labels.data, torch.from_numpy(seg).permute(0, 3, 2, 1))
