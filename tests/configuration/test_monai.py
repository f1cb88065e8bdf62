"""MONAI's ConfigParser builds what ``to_dict`` returns."""

import json

import pytest
import torch
from monai.bundle import ConfigParser

import torchio_gpu as tio
from tests.configuration.test_load import expected
from tests.transforms.test_descriptions import CASES, NARROW, voxels

pytestmark = pytest.mark.filterwarnings("ignore:max_displacement should stay below")


def built(description):
    return ConfigParser({"augment": description}).get_parsed_content("augment")


@pytest.mark.parametrize("name", [name for name in CASES if not name.startswith(NARROW)])
def test_every_transform_is_built(name):
    transform = CASES[name]()
    text = json.loads(json.dumps(transform.to_dict()))
    again = built(text)
    assert type(again) is type(transform)
    assert json.loads(json.dumps(again.to_dict())) == text
    for key, x in voxels(transform).items():
        assert torch.equal(voxels(again)[key], x)


def test_a_file_of_a_bundle_is_read(tmp_path):
    path = tmp_path / "train.json"
    path.write_text(json.dumps({"p": 0.5, "augment": expected().to_dict()}))
    parser = ConfigParser()
    parser.read_config(str(path))
    parser["augment"]["transforms"][3]["p"] = "@p"
    again = parser.get_parsed_content("augment")
    assert isinstance(again, tio.Compose)
    assert again[3].p == 0.5
    assert again[4].to_dict() == expected()[4].to_dict()
