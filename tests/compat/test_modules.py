"""Modules of TorchIO 1: each name of them resolves, in every way in which scripts import it."""

import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import torchio_gpu as tio

#: Names that scripts find in each module, after ``import torchio_gpu``.
NAMES = {
    "data": (
        *("UniformSampler", "WeightedSampler", "LabelSampler", "GridSampler", "GridAggregator"),
        *("PatchSampler", "Queue", "SubjectsLoader", "SubjectsDataset", "Subject", "Image"),
        *("ScalarImage", "LabelMap", "io", "inference", "sampler"),
    ),
    "data.io": (
        *("read_image", "write_image", "read_shape", "read_affine", "read_matrix"),
        *("write_matrix", "sitk_to_nib", "nib_to_sitk"),
    ),
    "inference": ("GridAggregator", "GridSampler"),
    "sampler": (
        *("GridSampler", "LabelSampler", "UniformSampler", "WeightedSampler", "PatchSampler"),
        "RandomSampler",
    ),
    "transforms": ("RandomAffine", "Compose", "ZNormalization", "Transform", "SpatialTransform"),
    "utils": (
        *("get_first_item", "get_subjects_from_batch", "history_collate", "get_subclasses"),
        *("add_images_from_batch", "create_dummy_dataset", "apply_transform_to_file"),
        *("to_tuple", "get_stem", "compress", "parse_spatial_shape"),
        "get_batch_images_and_size",
    ),
    "io": (
        *("read_image", "write_image", "read_shape", "read_affine", "read_matrix"),
        *("write_matrix", "sitk_to_nib", "nib_to_sitk"),
    ),
    "datasets": ("IXI", "IXITiny", "Colin27", "Sheep"),
}
PATHS = [f"{module}.{name}" for module, names in NAMES.items() for name in names]
CONSTANTS = {
    "PATH": "path",
    "STEM": "stem",
    "HISTORY": "history",
    "IMAGE": "image",
    "TENSOR": "tensor",
    "CHANNELS_DIMENSION": 1,
    "NUM_SAMPLES": "num_samples",
    "SAMPLING_MAP": "sampling_map",
    "DATA": "data",
    "AFFINE": "affine",
    "TYPE": "type",
    "LOCATION": "location",
    "INTENSITY": "intensity",
    "LABEL": "label",
}


def in_a_new_process(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_names_are_attributes_after_a_plain_import():
    uses = "\n".join(f"torchio_gpu.{path}" for path in PATHS)
    assert in_a_new_process(f"import torchio_gpu\n{uses}\nprint('done')") == "done\n"


@pytest.mark.parametrize("module", ["data", "data.io", "inference", "sampler", "utils", "io"])
def test_each_module_can_be_imported_first(module):
    names = ", ".join(name for name in NAMES[module])
    code = f"import torchio_gpu.{module} as m\nfrom torchio_gpu.{module} import {names}"
    assert in_a_new_process(f"{code}\nprint(m.__name__)") == f"torchio_gpu.{module}\n"


def test_a_plain_import_is_quick():
    loaded = (
        "import sys, torchio_gpu; print(sorted({'torch', 'numpy', 'SimpleITK'} & set(sys.modules)))"
    )
    assert in_a_new_process(loaded) == "[]\n"


@pytest.mark.parametrize("path", PATHS)
def test_the_names_are_those_of_torchio(path):
    torchio = pytest.importorskip("torchio")
    theirs = mine = None
    for root in ("mine", "theirs"):
        value = tio if root == "mine" else torchio
        for part in path.split("."):
            value = getattr(value, part)
        mine, theirs = (value, theirs) if root == "mine" else (mine, value)
    assert type(mine).__name__ == type(theirs).__name__ or inspect.isclass(mine)
    assert mine.__name__.split(".")[-1] == theirs.__name__.split(".")[-1]


@pytest.mark.parametrize("module", ["utils", "io"])
def test_functions_take_the_arguments_of_torchio(module):
    torchio = pytest.importorskip("torchio")
    for name in NAMES[module]:
        mine = inspect.signature(getattr(getattr(tio, module), name)).parameters
        theirs = inspect.signature(getattr(getattr(torchio, module), name)).parameters
        assert list(mine) == list(theirs), name
        for argument in mine:
            assert mine[argument].default == theirs[argument].default, f"{argument} of {name}"


@pytest.mark.parametrize("name", CONSTANTS)
def test_constants(name):
    torchio = pytest.importorskip("torchio")
    assert getattr(tio, name) == CONSTANTS[name] == getattr(torchio, name)


def test_the_smallest_step_of_float32():
    torchio = pytest.importorskip("torchio")
    assert tio.MIN_FLOAT_32 == torchio.constants.MIN_FLOAT_32


@pytest.mark.parametrize("module", ["data", "data.io", "utils", "io", "sampler", "inference"])
def test_unknown_names_raise(module):
    found = importlib.import_module(f"torchio_gpu.{module}")
    with pytest.raises(AttributeError, match=f"'torchio_gpu.{module}' has no attribute 'Nothing'"):
        found.Nothing  # noqa: B018
    with pytest.raises(ImportError, match="Nothing"):
        exec(f"from torchio_gpu.{module} import Nothing")


def test_a_name_is_one_object_by_all_paths():
    assert tio.data.Queue is tio.Queue
    for module in ("sampler", "inference"):
        here, there = getattr(tio.data, module), getattr(tio, module)
        assert here is importlib.import_module(f"torchio_gpu.data.{module}")
        assert all(getattr(here, name) is getattr(there, name) for name in there.__all__)
    assert tio.data.inference.GridAggregator is tio.inference.GridAggregator is tio.GridAggregator
    assert tio.sampler.UniformSampler is tio.data.UniformSampler is tio.UniformSampler
    assert tio.data.io.read_image is tio.io.read_image
    assert tio.data.io.write_matrix is tio.io.write_matrix
    assert tio.data.SubjectsLoader is tio.SubjectsLoader


def test_star_imports_give_what_the_modules_list():
    for module in ("utils", "io", "sampler", "inference"):
        space = {}
        exec(f"from torchio_gpu.{module} import *", space)
        assert set(NAMES[module]) <= set(space)
        if module in ("sampler", "inference"):
            again = {}
            exec(f"from torchio_gpu.data.{module} import *", again)
            assert again.keys() == space.keys()
        assert {name for name in space if not name.startswith("_")} == set(
            importlib.import_module(f"torchio_gpu.{module}").__all__
        )


@pytest.mark.parametrize(
    "line",
    [
        "from torchio_gpu.data.inference import GridAggregator, GridSampler",
        "from torchio_gpu.data.sampler import UniformSampler, WeightedSampler, LabelSampler",
        "from torchio_gpu.data.io import read_image, write_image, nib_to_sitk, sitk_to_nib",
        "from torchio_gpu.transforms.augmentation import RandomTransform",
        "from torchio_gpu.transforms.preprocessing import ZNormalization",
        "from torchio_gpu.transforms.fourier import FourierTransform",
    ],
)
def test_imports_from_modules_of_torchio(line):
    code = (
        f"{line}\nimport torchio_gpu.data as d; d.inference.GridAggregator, d.sampler.GridSampler"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr


def test_modules_look_upwards_by_name_only_for_names_of_torchio():
    """Layers point downwards, but for these modules, whose old names are found when asked for."""
    folder = Path(tio.__file__).parent
    found = set()
    for path in folder.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if "import_module(" in text and '"torchio_gpu' in text:
            found.add(path.relative_to(folder).as_posix())
    names = ("__init__", "io/__init__", "inference", "sampler")
    assert found - {"__init__.py"} == {f"data/{name}.py" for name in names}
