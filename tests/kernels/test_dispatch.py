"""Who carries out an operation: the setting, what it promises, and whole pipelines either way."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

import torchio_gpu as tio
from tests.close import assert_close
from tests.devices import INTERPRETED
from tests.kernels.cases import matrices, volume
from tests.volumes import oblique_affine, smooth
from torchio_gpu import functional as F
from torchio_gpu.functional.dispatch import backend as backend_room
from torchio_gpu.functional.dispatch.backend import use_kernel

backend = tio.backend


@pytest.fixture(autouse=True)
def _automatic():
    """Whatever a test sets, the next one begins with the default."""
    yield
    backend("auto")


def test_auto_is_the_default():
    assert backend.current() == "auto"


def test_a_setting_holds_until_the_next():
    backend("reference")
    assert backend.current() == "torch"
    backend("triton")
    assert backend.current() == "triton"


def test_contexts_nest_and_end():
    with backend("reference"):
        with backend("triton"):
            assert backend.current() == "triton"
            with backend("auto"):
                assert backend.current() == "auto"
            assert backend.current() == "triton"
        assert backend.current() == "torch"
    assert backend.current() == "auto"


def test_exceptions_end_contexts():
    backend("reference")
    with pytest.raises(KeyError), backend("triton"):
        raise KeyError
    assert backend.current() == "torch"


@pytest.mark.parametrize("name", ["cuda", "Triton", "", None, 3, ["auto"]])
def test_unknown_backends(name):
    with backend("reference"):
        with pytest.raises(ValueError, match=r"one of auto, torch, triton, numba, got"):
            backend(name)
        assert backend.current() == "torch"


def forbid(monkeypatch, *names):
    """Let operators raise."""

    def refuse(*arguments, **options):
        raise AssertionError("an operator was asked for")

    from torchio_gpu.functional.dispatch import kernels

    for name in names or ("warp", "pointwise"):
        monkeypatch.setattr(kernels, name, refuse)


@pytest.mark.parametrize("name", ["auto", "reference"])
def test_cpu_tensors_keep_clear_of_kernels(name, monkeypatch):
    x, matrix = volume(), matrices((3, 5, 6))
    expected = F.warp(x, matrix), F.gamma(x, 0.3)
    forbid(monkeypatch)
    with backend(name):
        out = F.warp(x, matrix), F.gamma(x, 0.3)
    assert all(torch.equal(a, b) for a, b in zip(out, expected, strict=True))


def test_kernels_are_what_is_asked_for(target, monkeypatch):
    forbid(monkeypatch)
    x = volume().to(target.device)
    with backend(target.name):
        with pytest.raises(AssertionError, match="operator"):
            F.gamma(x, 0.3)
        with pytest.raises(AssertionError, match="operator"):
            F.warp(x, matrices((3, 5, 6)))
    with backend("reference"):
        F.gamma(x, 0.3)
        F.warp(x, matrices((3, 5, 6)))


@pytest.mark.filterwarnings("ignore:operations run in plain torch")
def test_auto_takes_kernels_on_gpus_where_they_can():
    cuda = torch.device("cuda")
    with backend("auto"):
        # the interpreter takes the place of all GPUs
        assert use_kernel(cuda) == (torch.version.hip is None and not INTERPRETED)
        assert not use_kernel(cuda, lambda: "something")
        assert not use_kernel(torch.device("cpu"))
        assert not use_kernel(torch.device("meta"))
    with backend("reference"):
        assert not use_kernel(cuda)
    with backend("triton"), pytest.raises(RuntimeError, match=r"voxels must be on .*'meta'"):
        use_kernel(torch.device("meta"))


@pytest.fixture
def _fresh(monkeypatch):
    """Clear what is known of the reasons against kernels, before and after."""
    for known in (backend_room._why_no_triton, backend_room._warn_once):
        known.cache_clear()
    monkeypatch.setattr(backend_room, "AUTOMATIC", ("cpu" if INTERPRETED else "cuda",))
    yield
    for known in (backend_room._why_no_triton, backend_room._warn_once):
        known.cache_clear()


def refuses(message: str) -> None:
    where = torch.device("cpu" if INTERPRETED else "cuda")
    with pytest.warns(RuntimeWarning, match=f"operations run in plain torch.*{message}"):
        assert not use_kernel(where)
    assert not use_kernel(where)  # which says nothing again: warnings are errors
    with backend("triton"), pytest.raises(RuntimeError, match=message):
        use_kernel(where)


@pytest.mark.usefixtures("_fresh")
def test_without_triton(monkeypatch):
    monkeypatch.setitem(sys.modules, "triton", None)
    refuses("triton is not installed: pip install triton")


@pytest.mark.usefixtures("_fresh")
def test_old_versions_of_triton(monkeypatch):
    import triton

    monkeypatch.setattr(triton, "__version__", "3.4.0")
    refuses(r"triton must be 3\.6 or newer, got 3\.4\.0")


def test_a_cpu_without_the_interpreter():
    """In a process of its own: Triton looks at the variable when it is imported."""
    code = (
        "import torch, torchio_gpu as tio\n"
        "x = torch.rand(1, 1, 2, 3, 4)\n"
        "plain = tio.functional.gamma(x, 0.3)\n"
        "with tio.backend('triton'):\n"
        "    try:\n"
        "        tio.functional.gamma(x, 0.3)\n"
        "    except RuntimeError as error:\n"
        "        print(error)\n"
        "import sys\n"
        "print(bool((tio.functional.gamma(x, 0.3) == plain).all()))\n"
        "print('torchio_gpu_kernels.pointwise' in sys.modules)\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    message, same, loaded = done.stdout.strip().splitlines()
    assert message == ("backend 'triton' cannot run: voxels must be on an NVIDIA GPU, got 'cpu'")
    assert (same, loaded) == ("True", "False")  # nobody loads what nobody needs


def subjects() -> list[tio.Subject]:
    out = []
    for seed in range(2):
        affine = oblique_affine((1, 1.2, 1.1))
        x = smooth((1, 1, 5, 6, 7), seed)[0].float()
        labels = (x > 0.3).byte() + (x > 1).byte()
        image = tio.ScalarImage(x, affine=affine)
        out.append(tio.Subject(t1=image, seg=tio.LabelMap(labels, affine=affine)))
    return out


def pipe6(p: float) -> tio.Compose:
    """The pipeline of the benchmarks."""
    return tio.Compose(
        [
            tio.RandomAffine(scales=0.1, degrees=15, translation=1, p=p),
            tio.RandomElasticDeformation(
                num_control_points=7, max_displacement=0.45, locked_borders=2, p=p
            ),
            tio.RandomFlip(axes=(0, 1, 2), flip_probability=0.5, p=p),
            tio.RandomBiasField(p=p),
            tio.RandomGamma(log_gamma=(-0.3, 0.3), p=p),
            tio.RandomNoise(std=(0, 0.25), p=p),
        ]
    )


def augmented(p: float, name: str, device, seed: int = 5) -> tio.SubjectsBatch:
    torch.manual_seed(seed)
    batch = tio.SubjectsBatch.from_subjects(subjects()).to(device)
    with backend(name):
        return pipe6(p)(batch)


def alike(out: tio.SubjectsBatch, expected: tio.SubjectsBatch) -> None:
    assert_close(
        out.t1.data.cpu(),
        expected.t1.data.cpu(),
        share=2e-5,
        reason="coordinates, exponents and logarithms in float32, rounded elsewhere",
    )
    assert out.seg.data.dtype == expected.seg.data.dtype == torch.uint8
    differ = (out.seg.data.cpu() != expected.seg.data.cpu()).double().mean().item()
    assert differ <= 2 / out.seg.data.numel()  # voxels on the very border of two
    assert np.array_equal(out.t1.affine, expected.t1.affine)


@pytest.mark.parametrize("p", [1.0, 0.5])
def test_a_pipeline_of_six(p, target):
    out = augmented(p, target.name, target.device)
    alike(out, augmented(p, "reference", "cpu"))
    start = tio.SubjectsBatch.from_subjects(subjects())
    for one, two in zip(out.t1.data.cpu(), start.t1.data, strict=True):
        assert not torch.equal(one, two)  # something happens to each sample


def test_history_replays_exactly(target):
    out = augmented(0.5, target.name, target.device)
    start = tio.SubjectsBatch.from_subjects(subjects()).to(target.device).unbatch()
    for subject, first in zip(out.unbatch(), start, strict=True):
        with backend(target.name):
            again = subject.get_composed_history()(first)
        for name in ("t1", "seg"):
            # the same maps and numbers, in a batch of one
            assert torch.equal(again[name].data, subject[name].data)


def test_auto_on_a_cpu_is_the_reference():
    one, two = augmented(0.5, "auto", "cpu"), augmented(0.5, "reference", "cpu")
    assert torch.equal(one.t1.data, two.t1.data)
    assert torch.equal(one.seg.data, two.seg.data)


def test_the_older_name_of_plain_torch():
    with backend("reference"):
        assert backend.current() == "torch"


def test_threads_of_a_queue_run_with_the_backend_around_it():
    seen = []

    def look(subject):
        seen.append(backend.current())
        return subject

    subjects = [tio.Subject(a=tio.ScalarImage(torch.rand(1, 6, 6, 6))) for _ in range(3)]
    queue = tio.Queue(
        tio.SubjectsDataset(subjects, look), 3, 1, tio.UniformSampler(3), num_workers=2
    )
    with backend("torch"):
        list(queue)
    assert seen == ["torch"] * 3
    assert backend.current() == "auto"
