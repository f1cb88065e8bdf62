"""GPU settings of training: a second card, autocast, channels last, several ranks."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import distributed, multiprocessing

import torchio_gpu as tio
from tests.close import assert_close
from tests.devices import needs_gpu, needs_two_gpus
from tests.transforms.test_all_transforms import REGRIDS, TRANSFORMS
from tests.volumes import batch_of, smooth, subject

gpu = pytest.mark.gpu
every = pytest.mark.parametrize("name", [*TRANSFORMS, *REGRIDS])
pytestmark = pytest.mark.filterwarnings("ignore:max_displacement should stay below")


def make_transform(name: str):
    return {**TRANSFORMS, **REGRIDS}[name]()


@gpu
@needs_two_gpus
@every
def test_second_gpu_agrees_with_the_first(name):
    """Kernels are launched on the device of the voxels and not on the current one."""
    subjects = [subject((6, 8, 9), seed=n) for n in range(2)]
    first, second = (
        make_transform(name)(batch_of(subjects, [1, 2]).to(f"cuda:{n}")) for n in range(2)
    )
    assert second.t1.data.device == torch.device("cuda:1")
    assert torch.equal(second.t1.data.cpu(), first.t1.data.cpu())
    assert torch.equal(second.seg.data.cpu(), first.seg.data.cpu())


@gpu
@needs_two_gpus
def test_captured_graph_on_the_second_gpu():
    augment = tio.Compose([tio.RandomAffine(), tio.RandomNoise()])
    x = smooth((2, 1, 8, 9, 10)).float().to("cuda:1")
    torch.manual_seed(0)
    expected = augment(x)
    torch.manual_seed(0)
    assert torch.equal(tio.Captured(augment)(x), expected)


@gpu
@needs_gpu
@every
def test_autocast_does_not_change_the_result(name):
    x = smooth((2, 1, 12, 13, 14)).float().cuda()
    torch.manual_seed(4)
    expected = make_transform(name)(x)
    torch.manual_seed(4)
    with torch.autocast("cuda", torch.bfloat16):
        out = make_transform(name)(x)
    assert out.dtype == expected.dtype
    assert torch.equal(out, expected)


@gpu
@needs_gpu
@every
@pytest.mark.parametrize("channels", [2, 16])
def test_channels_last(name, channels):
    x = smooth((2, channels, 8, 9, 10)).float().cuda()
    outs = []
    for voxels in (x.contiguous(memory_format=torch.channels_last_3d), x):
        torch.manual_seed(1)
        outs.append(make_transform(name)(voxels))
    assert_close(*outs, share=2e-6, reason="sums may be taken in another order")


def _rank(rank: int, folder: str, device: str, seeds: list[int]) -> None:
    """Run one training step of one of two processes; save the augmented batch and gradients."""
    warnings.simplefilter("ignore")
    file = Path(folder) / "rendezvous"
    distributed.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
    torch.manual_seed(seeds[rank])
    augment = tio.Compose([tio.RandomAffine(), tio.RandomGamma(), tio.RandomNoise()])
    model = torch.nn.Conv3d(1, 1, 3).to(device)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(0.1)
    parallel = torch.nn.parallel.DistributedDataParallel(model)
    x = augment(smooth((2, 1, 8, 9, 10)).float().to(device))
    parallel(x).square().mean().backward()
    grads = [p.grad.cpu() for p in model.parameters()]
    torch.save((x.cpu(), grads), Path(folder) / f"{rank}.pt")
    distributed.destroy_process_group()


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=[gpu, needs_gpu])])
@pytest.mark.parametrize("seeds", [[5, 6], [5, 5]], ids=["a seed per rank", "one seed"])
def test_ranks_augment_by_their_seeds(device, seeds, tmp_path):
    """Tensors are augmented by the seed of the process, which the guide sets per rank."""
    arguments = (str(tmp_path), device, seeds)
    multiprocessing.spawn(_rank, args=arguments, nprocs=2)
    (one, grads), (other, same) = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    assert torch.equal(one, other) == (seeds[0] == seeds[1])
    assert all(torch.equal(a, b) for a, b in zip(grads, same, strict=True))
    assert np.isfinite(one.numpy()).all()
