"""The JSON schema accepts what is loaded, and refuses what is not."""

import json

import pytest
from jsonschema import Draft202012Validator

import torchio_gpu as tio
from tests.configuration.test_load import HEAD, SHORT, WRONG
from tests.transforms.test_descriptions import CASES
from torchio_gpu.configuration import reading, schema
from torchio_gpu.names import TRANSFORMS
from torchio_gpu.transforms.building import CLASSES

pytestmark = pytest.mark.filterwarnings("ignore:max_displacement should stay below")


@pytest.fixture(scope="module")
def validator():
    found = json.loads(json.dumps(schema()))
    Draft202012Validator.check_schema(found)
    return Draft202012Validator(found)


def test_valid_files_are_valid(validator):
    validator.validate(reading.read(SHORT).value)


@pytest.mark.parametrize("name", CASES)
def test_what_is_saved_is_valid(validator, name, tmp_path):
    if name.startswith("Inverse"):
        pytest.skip("Inverse is no public class: only histories hold it")
    tio.save_pipeline(CASES[name](), tmp_path / "p.json")
    validator.validate(json.loads((tmp_path / "p.json").read_text()))


#: What only a constructor knows, and what YAML itself refuses.
NOT_SEEN = (
    *("axes: LR, axes", "[1, 2}", "\tpadding", "scale: -1", "- -1", "Choice: []", "[1, 2, 3, 4]"),
    *("_target_: torchio_gpu.R", "_target_: torchio_gpu.C", "{loc: 0}", "loc: a", "weights: ["),
)


@pytest.mark.parametrize("step", [s for s in WRONG if not any(part in s for part in NOT_SEEN)])
def test_invalid_files_are_invalid(validator, step):
    assert not validator.is_valid(reading.read(f"{HEAD}{step}\n").value)


def test_the_frame_is_checked(validator):
    for text in ("torchio_gpu: 2\npipeline: []\n", "pipeline: []\n", "torchio_gpu: 1\n",
                 "torchio_gpu: 1\npipelin: []\n", "- RandomFlip\n- x\n"):  # fmt: skip
        assert not validator.is_valid(reading.read(text).value)


def test_every_transform_and_argument_is_described():
    found = schema()
    for name in CLASSES:
        if name in ("Inverse", "Lambda"):
            assert name not in found["$defs"]
            continue
        entry = found["$defs"][name]
        assert entry["description"].endswith(".")
        assert "`" not in entry["description"]
        for argument, each in entry["anyOf"][0]["properties"].items():
            common = "$ref" in each and each["$ref"].rpartition("/")[2]
            described = found["$defs"][common] if common and "common" in common else each
            assert described.get("description"), f"{argument} of {name}"
            assert "`" not in described["description"]
    assert len(json.dumps(found)) < 2000 * len(TRANSFORMS)  # which editors read at each start
