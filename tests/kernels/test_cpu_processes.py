"""CPU kernels in workers, children and threads: the same bits; and without numba, plain torch."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

import torchio_gpu as tio

ROOT = Path(__file__).parents[2]
needs_numba = pytest.mark.usefixtures("_numba")
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.fixture
def _numba():
    pytest.importorskip("numba")
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def subject() -> tio.Subject:
    x = torch.rand(1, 31, 32, 35, generator=torch.Generator().manual_seed(0))
    return tio.Subject(t1=tio.ScalarImage(x), seg=tio.LabelMap((x > 0.5).byte()))


AUGMENT = tio.Compose(
    [
        tio.RandomAffine(degrees=15),
        tio.RandomElasticDeformation(max_displacement=2),
        tio.RandomBiasField(),
        tio.RandomGamma(),
        tio.RandomNoise(std=(0.1, 0.2)),
    ]
)


@pytest.fixture(scope="module")
def replays() -> list[tio.Transform]:
    """Pipelines with all parameters and seeds."""
    torch.manual_seed(0)
    return [AUGMENT(subject()).get_composed_history() for _ in range(4)]


def voxels(replay: tio.Transform) -> torch.Tensor:
    """Return an image and labels after a pipeline, which runs in kernels."""
    with tio.backend("numba"):
        out = replay(subject())
    return torch.cat([out.t1.data, out.seg.data])


class Replayed(Dataset):
    """Voxels of pipelines, computed in workers."""

    def __init__(self, replays: list[tio.Transform]) -> None:
        self.replays = replays

    def __len__(self) -> int:
        return len(self.replays)

    def __getitem__(self, index: int) -> torch.Tensor:
        return voxels(self.replays[index])


@needs_numba
def test_kernels_run(replays):
    from torchio_gpu_kernels.cpu.warp import warp_kernel

    voxels(replays[0])
    assert warp_kernel.dispatcher.signatures


@needs_numba
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("method", [pytest.param("fork", marks=needs_fork), "spawn"])
def test_workers_compute_what_the_main_process_does(replays, method):
    """Workers are started after kernels, and their threads, have run in the parent."""
    expected = torch.stack([voxels(replay) for replay in replays])
    loader = DataLoader(
        Replayed(replays), batch_size=2, num_workers=2, multiprocessing_context=method
    )
    assert torch.equal(torch.cat(list(loader)), expected)


@needs_numba
@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_workers_start_while_kernels_run(replays):
    expected = torch.stack([voxels(replay) for replay in replays])
    ended = threading.Event()

    def run() -> None:
        while not ended.is_set():
            voxels(replays[0])

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run)
        try:
            loader = DataLoader(
                Replayed(replays), num_workers=2, multiprocessing_context="fork", timeout=60
            )
            assert torch.equal(torch.cat(list(loader)), expected)
        finally:
            ended.set()
        running.result(60)


@needs_numba
def test_threads_of_python_compute_the_same(replays):
    expected = [voxels(replay) for replay in replays]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(voxels, replays * 6))
    assert all(map(torch.equal, found, expected * 6))


@needs_numba
def test_any_number_of_threads_computes_the_same(replays):
    found = []
    for number in (1, 2, 3, 7):
        torch.set_num_threads(number)
        found.append(voxels(replays[0]))
    assert all(torch.equal(one, found[0]) for one in found[1:])


WITHOUT = """
import sys
sys.modules["numba"] = sys.modules["llvmlite"] = None  # as if they were not installed
import torch, torchio_gpu as tio
from tests.kernels.test_cpu_processes import AUGMENT, subject

torch.manual_seed(0)
auto = AUGMENT(subject())
with tio.backend("torch"):
    plain = auto.get_composed_history()(subject())
print(torch.equal(auto.t1.data, plain.t1.data), torch.equal(auto.seg.data, plain.seg.data))
try:
    with tio.backend("numba"):
        AUGMENT(subject())
except RuntimeError as error:
    print(error)
"""


def test_without_numba_plain_torch_runs():
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", WITHOUT],
        capture_output=True,
        encoding="utf-8",
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "kernels")])},
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    equal, error = done.stdout.splitlines()
    assert equal == "True True"
    assert error.startswith("backend 'numba' cannot run: numba is not installed")
    assert "torchio-gpu[cpu]" in error
