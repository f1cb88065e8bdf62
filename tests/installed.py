"""Steps of a user with an installed package: ``python -I tests/installed.py [REMOVED]``.

REMOVED is a package that was removed from the environment, which has no extra besides 'cpu'.
``noxfile.py`` runs it, in an empty folder.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module, metadata, util
from importlib.resources import files
from pathlib import Path

os.environ["TRITON_INTERPRET"] = "1"

import torch

import torchio_gpu as tio

SUFFIXES = {"nibabel": ".nii.gz", "SimpleITK": ".nrrd"}
NRRD = b"NRRD0004\ntype: uint8\ndimension: 3\nsizes: 2 2 2\nencoding: raw\n\n"
PIPELINE = [
    tio.RandomAffine(scales=0.1, degrees=15, translation=5, p=0.8),
    tio.RandomElasticDeformation(max_displacement=2, p=0.5),
    tio.RandomFlip(axes=("LR",)),
    tio.RandomBiasField(p=0.5),
    tio.RandomGamma(p=0.5),
    tio.RandomNoise(std=(0, 0.1), p=0.5),
]


def refused(call: Callable[[], object], *words: str) -> None:
    """Check that a call fails with an error that says what to install."""
    message = "no error"
    try:
        call()
    except (ImportError, RuntimeError) as error:
        message = repr(error)
    assert all(word in message for word in ("pip install", *words)), f"{message}, not {words}"


def check_package() -> None:
    """Check version, typing markers, and where the package lies."""
    assert metadata.version("torchio-gpu") == tio.__version__
    for name in ("torchio_gpu", "torchio_gpu_kernels"):
        assert (files(name) / "py.typed").is_file(), name
        assert Path(str(files(name))).is_relative_to(sys.prefix), files(name)


def check_pipeline(subject: tio.Subject) -> None:
    """Augment batches of two processes, and undo it."""
    dataset = tio.SubjectsDataset([subject] * 2, tio.Compose(PIPELINE))
    for batch in tio.SubjectsLoader(dataset, batch_size=2, num_workers=2):
        assert batch.t1.data.shape == (2, *subject.t1.shape)
        assert batch.t1.data.isfinite().all()
    undone = tio.RandomFlip(("LR",), 1)(subject).apply_inverse_transform()
    torch.testing.assert_close(undone.t1.data, subject.t1.data, rtol=0, atol=0)


def check_files(image: tio.ScalarImage, removed: str) -> None:
    """Write and read a file with each library, or be told to install it."""
    for library, suffix in SUFFIXES.items():
        path = Path(f"t1{suffix}").absolute()
        if library == removed:
            path.write_bytes(NRRD + bytes(400))
            refused(lambda path=path: image.save(path), library)
            refused(tio.ScalarImage(path).load, library)
            continue
        image.save(path)
        torch.testing.assert_close(tio.ScalarImage(path).data, image.data, rtol=0, atol=0)


def check_kernels(x: torch.Tensor, removed: str) -> None:
    """Compare kernels with plain torch, or be told to install their compiler."""
    with tio.backend("torch"):
        expected = tio.functional.gamma(x, 0.3)
    for backend, package in {"triton": "triton", "numba": "torchio-gpu[cpu]"}.items():
        with tio.backend(backend):
            if backend == removed:
                refused(lambda: tio.functional.gamma(x, 0.3), package)
            else:
                torch.testing.assert_close(tio.functional.gamma(x, 0.3), expected)


def check_extras(subject: tio.Subject) -> None:
    """Be told what to install, by all that needs an extra or another framework."""
    compose, image = tio.Compose(PIPELINE), subject.t1
    cohort = tio.Cohort([tio.Case("a", {"t1": "t1.nrrd"})])
    calls: dict[str, Callable[[], object]] = {
        "torchio-gpu[plot]": image.plot,
        "torchio-gpu[config]": lambda: tio.save_pipeline(compose, "augment.yaml"),
        "torchio-gpu[demo]": tio.datasets.mni152,
        "torchio-gpu[cohort]": lambda: tio.preprocess(compose, cohort, "out", workers=2),
        "pillow": tio.ScalarImage(torch.rand(1, 4, 4, 1)).as_pil,
        "torchio": lambda: tio.adapters.torchio.to_torchio(subject),
        "monai": lambda: tio.adapters.monai,
        "nnunetv2": lambda: import_module("torchio_gpu.adapters.nnunet.trainer"),
    }
    for words, call in calls.items():
        refused(call, words)
    zarr = (".zarr",) if sys.version_info >= (3, 11) else ()  # which needs it
    for suffix in (".b2nd", ".h5", *zarr):
        refused(lambda suffix=suffix: image.save(f"t1{suffix}"), "torchio-gpu[store]")


def check_commands(removed: str) -> None:
    """Run the console script."""
    script = Path(sys.prefix, "bin", "torchio-gpu")

    def run(*words: str) -> subprocess.CompletedProcess:
        return subprocess.run([script, *words], capture_output=True, text=True)

    assert "transform" in run("--help").stdout
    assert run("--version").stdout.strip() == tio.__version__
    for library, suffix in SUFFIXES.items():
        done = run("info", f"t1{suffix}")
        assert "Traceback" not in done.stderr, done.stderr
        assert ("shape" in done.stdout) == (library != removed), done
    assert "torchio-gpu[preview]" in run("preview").stderr


if __name__ == "__main__":
    removed = sys.argv[1] if len(sys.argv) > 1 else ""
    torch.manual_seed(0)
    subject = tio.Subject(t1=tio.ScalarImage(torch.rand(1, 24, 20, 16)))
    assert not removed or util.find_spec(removed) is None, f"{removed} is installed"
    check_package()
    check_pipeline(subject)
    check_files(subject.t1, removed)
    check_kernels(subject.t1.data[None], removed)
    check_extras(subject)
    check_commands(removed)
    without = f" without {removed}" if removed else ""
    print(f"Python {sys.version.split()[0]}, torch {torch.__version__}{without}: passed")
