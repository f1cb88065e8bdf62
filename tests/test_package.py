"""Package: imports, documentation, and calls of guides for TorchIO."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

import torchio_gpu as tio

ROOT = Path(__file__).parent.parent
FILE_LIBRARIES = ("SimpleITK", "nibabel")


def run(code: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", cwd=ROOT
    )


def test_import_loads_no_heavy_library():
    heavy = ["triton", "numba", "SimpleITK", "nibabel", "matplotlib", "scipy", "typer", "torchio"]
    code = f"import sys, torchio_gpu; print([m for m in {heavy} if m in sys.modules])"
    out = run(code)
    assert out.returncode == 0, out.stderr
    assert out.stdout.strip() == "[]"


def test_tensors_need_no_file_libraries():
    """Without SimpleITK and nibabel, tensors work, and files raise an error that names them."""
    code = f"""
import sys
for name in {FILE_LIBRARIES}:
    sys.modules[name] = None
import torch, torchio_gpu as tio
x = torch.rand(1, 8, 8, 8)
s = tio.Subject(t1=tio.ScalarImage(x), seg=tio.LabelMap(x > 0.5))
out = tio.Compose([tio.RandomAffine(), tio.RandomFlip("LR"), tio.RandomNoise()])(s)
print(out.apply_inverse_transform(warn=False).t1.shape)
try:
    s.t1.save("x.nii")
except ImportError as error:
    print(error)
"""
    out = run(code)
    assert out.returncode == 0, out.stderr
    assert "(1, 8, 8, 8)" in out.stdout
    assert "nibabel" in out.stdout


def test_every_name_is_documented():
    for name in tio.__all__:
        value = getattr(tio, name)
        if callable(value):
            assert value.__doc__, f"{name} has no docstring"


@pytest.mark.parametrize("name", tio.transforms.__all__)
def test_transforms_can_be_imported_from_their_module(name):
    assert getattr(tio.transforms, name) is getattr(tio, name)


def test_loader_has_the_module_that_the_guides_import():
    from torchio_gpu.loader import SubjectsLoader

    assert SubjectsLoader is tio.SubjectsLoader


def test_augmentation_of_a_torchio_guide():
    """The calls of a guide to TorchIO, with the import changed and nothing else."""
    x = torch.rand(1, 32, 32, 32)
    subject = tio.Subject(t1=tio.ScalarImage(tensor=x), seg=tio.LabelMap(tensor=(x > 0.5).byte()))
    steps = [
        tio.RandomAffine(scales=(0.9, 1.1), degrees=10, translation=5, p=0.75),
        tio.RandomElasticDeformation(num_control_points=7, max_displacement=1.5, locked_borders=2),
        tio.RandomFlip(axes=("LR",), flip_probability=0.5),
        tio.RandomBiasField(coefficients=0.5, p=0.5),
        tio.RandomNoise(mean=0, std=(0, 0.1), p=0.5),
        tio.RandomBlur(std=(0, 2), p=0.5),
        tio.RandomGamma(log_gamma=(-0.3, 0.3), p=0.5),
        tio.RandomMotion(degrees=10, translation=10, num_transforms=2, p=0.25),
        tio.RandomGhosting(num_ghosts=(4, 10), axes=(0, 1, 2), intensity=(0.5, 1), p=0.25),
        tio.RandomSpike(num_spikes=1, intensity=(1, 3), p=0.25),
        tio.OneOf({tio.RandomElasticDeformation(max_displacement=1): 0.2, tio.RandomAffine(): 0.8}),
        tio.RandomAnisotropy(axes=(0, 1, 2), downsampling=(1.5, 5)),
        tio.RandomSwap(patch_size=15, num_iterations=100),
        tio.RandomLabelsToImage(label_key="seg", image_key="t1"),
        tio.Lambda(lambda x: 2 * x, types_to_apply=[tio.INTENSITY]),
    ]
    augmented = subject
    for step in steps:
        augmented = step(augmented)
    together = tio.Compose(steps)(subject)
    for out in (augmented, together):
        assert out.t1.shape == (1, 32, 32, 32)
        assert torch.isfinite(out.t1.data).all()
        assert set(out.seg.data.unique().tolist()) <= {0, 1}


def test_version_is_that_of_the_metadata():
    from importlib.metadata import version

    assert version("torchio-gpu") == tio.__version__


def test_citation_and_changelog_are_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == tio.__version__
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    (torchio,) = citation["references"]
    assert torchio["doi"] == "10.1016/j.cmpb.2021.106236"
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (\S+)", changes, re.MULTILINE)[0] == tio.__version__


def code_blocks(path: Path) -> list[tuple[str, str]]:
    """Return the Python blocks of a page, each with the text that it is said to print, or ''."""
    return re.findall(
        r"^```python\n(.*?)^```$(?:\n\n```text\n(.*?)^```$)?",
        path.read_text(encoding="utf-8"),
        re.MULTILINE | re.DOTALL,
    )


def test_code_blocks_of_the_readme_run_and_print_what_it_shows(tmp_path, monkeypatch, capsys):
    """Run the blocks in order, as one session, in a folder with the files that they name."""
    monkeypatch.chdir(tmp_path)
    x = torch.rand(1, 32, 32, 32)
    tio.ScalarImage(x).save("t1.nii.gz")
    tio.LabelMap((x > 0.5).byte()).save("seg.nii.gz")
    found = code_blocks(ROOT / "README.md")
    assert found
    scope: dict = {}
    for n, (block, shown) in enumerate(found):
        capsys.readouterr()
        exec(compile(block, f"README.md block {n}", "exec"), scope)
        assert capsys.readouterr().out == shown, f"README.md block {n} prints something else"
        assert bool(shown) == ("print(" in block)


def test_no_file_names_a_path_of_this_machine():
    """No tracked file holds a path of the machine that the tests run on."""
    listed = subprocess.run(["git", "ls-files", "-z"], capture_output=True, cwd=ROOT)
    if listed.returncode:
        pytest.skip("not a git checkout")
    paths = [f"{path}/".encode() for path in (ROOT, Path.home(), sys.prefix) if str(path) != "/"]
    names = [name for name in listed.stdout.decode().split("\0") if name]
    assert names
    for name in names:
        if (ROOT / name).is_file():
            content = (ROOT / name).read_bytes()
            assert not [path for path in paths if path in content], name


#: Attributes of os and modules that Windows or macOS lacks.
_ABSENT = {
    "Windows": ["register_at_fork", "fork", "sched_getaffinity", "sysconf", "mkfifo", "killpg",
                "resource", "fcntl", "termios", "triton"],
    "macOS": ["sched_getaffinity", "memfd_create", "posix_fadvise", "triton"],
}  # fmt: skip


@pytest.mark.parametrize("system", _ABSENT)
def test_other_systems_import_and_run_in_plain_torch(system, tmp_path):
    """Features that only Linux has are guarded: files, loaders and transforms work."""
    code = f"""
import os, sys
import torch, nibabel, SimpleITK  # which look at the system by themselves
for name in {_ABSENT[system]}:
    if hasattr(os, name):
        delattr(os, name)
    else:
        sys.modules[name] = None
os.environ.pop("TRITON_INTERPRET", None)
import torchio_gpu as tio
from benchmarks import machine
x = torch.rand(1, 8, 8, 8)
s = tio.Subject(t1=tio.ScalarImage(x), seg=tio.LabelMap((x > 0.5).byte()))
s.t1.save("t1.nii.gz")
s = tio.Subject(t1=tio.ScalarImage("t1.nii.gz"), seg=s.seg)
augment = tio.Compose([tio.RandomAffine(), tio.RandomElasticDeformation(max_displacement=0.2),
                       tio.RandomMotion(), tio.RandomNoise(), tio.ZNormalization()])
for batch in tio.SubjectsLoader(tio.SubjectsDataset([s] * 2, augment), batch_size=2):
    print(tuple(batch.t1.data.shape))
try:
    with tio.backend("triton"):
        augment(s)
except RuntimeError as error:
    print(error)
print(machine.describe()["cores"] > 0)
"""
    done = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-c", code],
        capture_output=True,
        encoding="utf-8",
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    assert "(2, 1, 8, 8, 8)" in done.stdout
    assert "backend 'triton' cannot run" in done.stdout
    assert done.stdout.strip().endswith("True")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_parameters_may_have_half_precision(dtype):
    x, half = torch.rand(2, 1, 4, 5, 6), torch.tensor([0.5, 0.25], dtype=dtype)
    for function in (
        tio.functional.gamma,
        lambda x, intensity: tio.functional.ghosting(x, 2, intensity),
        lambda x, std: tio.functional.blur(x, std[:, None].expand(2, 3)),
    ):
        torch.testing.assert_close(function(x, half), function(x, half.double()))
