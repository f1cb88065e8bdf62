"""Names of the package: a table of strings, which holds for what is imported on first use."""

from __future__ import annotations

import ast
import inspect
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import torchio_gpu as tio
from torchio_gpu import names, public

FOLDER = Path(tio.__file__).parent


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True, encoding="utf-8", timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_table_names_what_is_public() -> None:
    listed = [*names.NAMES, *names.TRANSFORMS]
    assert len(set(listed)) == len(listed)
    found = {name for name in vars(public) if name.isidentifier() and name[0] != "_"}
    assert not found - set(listed), "add these names to torchio_gpu/names.py"
    assert not set(listed) - found, "import these names in torchio_gpu/public.py"
    assert set(tio.transforms.__all__) | set(tio.patches.__all__) <= found
    for name in listed:
        assert getattr(tio, name) is getattr(public, name)
        assert name in vars(tio)


def test_the_table_tells_which_transforms_can_be_constructed() -> None:
    found = {
        name
        for name, value in vars(public).items()
        if inspect.isclass(value)
        and issubclass(value, tio.Transform)
        and not inspect.isabstract(value)
        and value not in (tio.Compose, tio.Recorded, tio.MonaiAdapter, tio.SubjectFunction)
    }
    assert found == set(names.TRANSFORMS), "list transforms in TRANSFORMS of torchio_gpu/names.py"


def test_modules_are_attributes() -> None:
    out = run(f"""
import sys, torchio_gpu as tio
for name in {names.MODULES}:
    before = set(sys.modules)
    assert getattr(tio, name) is sys.modules["torchio_gpu." + name]
    assert name in vars(tio)
    if name == "datasets":
        assert "torchio_gpu.datasets" not in before
print("done")
""")
    assert out == "done"


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            yield from (each.asname or each.name for each in node.names)


def test_type_checkers_see_the_modules() -> None:
    seen = {*imported(FOLDER / "__init__.py"), *imported(FOLDER / "public.py")}
    assert set(names.MODULES) <= seen, "import these modules for TYPE_CHECKING in __init__.py"


def test_torch_is_imported_on_first_use() -> None:
    out = run("""
import sys, torchio_gpu as tio
assert not {"torch", "numpy", "torchio_gpu.public"} & set(sys.modules)
assert {"RandomAffine", "datasets", "functional", "__version__"} <= set(dir(tio))
assert "RandomAffine" in tio.__all__
try:
    tio.RandomAfine
except AttributeError as error:
    print(error)
assert "torch" not in sys.modules
tio.RandomAffine
assert set(tio.__all__) <= set(vars(tio))
assert "torchio_gpu.datasets" not in sys.modules
""")
    assert out == "module 'torchio_gpu' has no attribute 'RandomAfine'"


@pytest.mark.parametrize(
    "statement",
    [
        "from torchio_gpu import *",
        "from torchio_gpu import RandomFlip, transforms",
        "import torchio_gpu.transforms; from torchio_gpu.transforms import RandomFlip",
        "import torchio_gpu.patches; RandomFlip = torchio_gpu.RandomFlip",
    ],
)
def test_all_ways_of_importing(statement: str) -> None:
    assert run(f"{statement}; print(RandomFlip(p=1).p)") == "1.0"


def test_objects_can_be_unpickled_in_a_new_process(tmp_path: Path) -> None:
    x = torch.rand(1, 4, 4, 4)
    subject = tio.RandomFlip(p=1)(tio.Subject(t1=tio.ScalarImage(x), of=3))
    path = tmp_path / "x.pickle"
    path.write_bytes(pickle.dumps((tio.Compose([tio.RandomNoise(std=(1, 2))]), subject)))
    out = run(f"""
import pickle
transform, subject = pickle.load(open({str(path)!r}, "rb"))
print(type(transform).__name__, subject.of, len(subject.history), tuple(subject.t1.shape))
""")
    assert out == "Compose 3 1 (1, 4, 4, 4)"


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_children_use_names_first(method: str, tmp_path: Path) -> None:
    """Children import what the parent did not, and wait for no thread of the parent's torch."""
    if method == "fork" and not hasattr(os, "fork"):
        pytest.skip("needs fork")
    script = tmp_path / "script.py"
    script.write_text(f"""
import multiprocessing, sys, torch, torchio_gpu as tio

def work(n):
    return tio.Blur(2)(torch.full((2, 1, 64, 64, 64), float(n))).mean().item()

if __name__ == "__main__":
    torch.set_num_threads(2)
    torch.rand(2, 1, 64, 64, 64).exp().sum()  # the pool of threads is there
    assert "torchio_gpu.public" not in sys.modules
    with multiprocessing.get_context({method!r}).Pool(1) as pool:
        print([round(x, 3) for x in pool.map_async(work, [1, 2]).get(60)])
""")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", script],
        capture_output=True, encoding="utf-8", timeout=120,
        env={**os.environ, "OMP_NUM_THREADS": "2"},
    )  # fmt: skip
    assert done.stdout.strip() == "[1.0, 2.0]", done.stderr
