"""Hydra, jsonargparse and LightningCLI build what ``to_dict`` returns."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

import pytest
import torch

import torchio_gpu as tio
from tests.configuration.test_load import expected
from tests.transforms.test_descriptions import CASES, NARROW, voxels

pytestmark = [
    pytest.mark.filterwarnings("ignore:max_displacement should stay below"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of these packages
]


def check_equal(again, transform, name=""):
    assert type(again) is type(transform)
    text = json.loads(json.dumps(transform.to_dict()))
    assert json.loads(json.dumps(again.to_dict())) == text
    if not name.startswith(NARROW):
        for key, x in voxels(transform).items():
            assert torch.equal(voxels(again)[key], x)


# Hydra


@pytest.mark.parametrize("name", CASES)
def test_hydra_instantiates_every_transform(name):
    hydra = pytest.importorskip("hydra.utils", reason="hydra-core is not installed")
    from omegaconf import OmegaConf

    transform = CASES[name]()
    config = OmegaConf.create(json.loads(json.dumps(transform.to_dict())))
    check_equal(hydra.instantiate(config, _convert_="all"), transform, name)


def test_hydra_composes_files_and_overrides(tmp_path):
    hydra = pytest.importorskip("hydra", reason="hydra-core is not installed")
    import yaml

    (tmp_path / "train.yaml").write_text(yaml.safe_dump({"augment": expected().to_dict()}))
    with hydra.initialize_config_dir(str(tmp_path), version_base="1.3"):
        config = hydra.compose("train", ["augment.transforms.3.degrees=[-3,3]"])
    again = hydra.utils.instantiate(config.augment, _convert_="all")
    assert again[3].degrees == [-3, 3]
    assert again[4].to_dict() == expected()[4].to_dict()
    # what Hydra keeps is read by from_dict, too
    assert tio.from_dict(config.augment).to_dict() == again.to_dict()


# jsonargparse


class Model:
    """Class of a user, with transforms in its signature."""

    def __init__(
        self,
        augmentation: tio.Transform,
        others: Sequence[tio.Transform] = (),
        last: tio.Compose | None = None,
    ):
        self.augmentation, self.others, self.last = augmentation, others, last


@pytest.fixture
def parser():
    jsonargparse = pytest.importorskip("jsonargparse", reason="jsonargparse is not installed")
    found = jsonargparse.ArgumentParser(exit_on_error=False)
    found.add_class_arguments(Model, "model")
    found.add_argument("--config", action="config")
    return found


def instantiated(parser, config):
    instantiate = getattr(parser, "instantiate", None) or parser.instantiate_classes
    return instantiate(config).model


@pytest.mark.parametrize("name", CASES)
def test_jsonargparse_instantiates_every_transform(name, parser):
    transform = CASES[name]()
    description = json.loads(json.dumps(transform.to_dict("class_path")))
    config = parser.parse_object({"model": {"augmentation": description}})
    check_equal(instantiated(parser, config).augmentation, transform, name)


def test_jsonargparse_reads_words_and_files(parser, tmp_path):
    import yaml

    path = tmp_path / "model.yaml"
    blur = tio.RandomBlur((0, 1), p=0.5).to_dict("class_path")
    given = {"others": [blur, blur], "last": expected().to_dict("class_path")}
    path.write_text(yaml.safe_dump({"model": given}))
    config = parser.parse_args(
        [
            f"--config={path}",
            "--model.augmentation=torchio_gpu.RandomAffine",
            "--model.augmentation.degrees=[-3,3]",
            "--model.augmentation.p=0.25",
            "--model.augmentation.include=[t1]",
            "--model.augmentation.default_pad_value=mean",
        ]
    )
    model = instantiated(parser, config)
    check_equal(
        model.augmentation,
        tio.RandomAffine(degrees=(-3, 3), p=0.25, include=["t1"], default_pad_value="mean"),
    )
    for each in model.others:
        check_equal(each, tio.RandomBlur((0, 1), p=0.5))
    check_equal(model.last, expected())
    # what jsonargparse writes is read by from_dict, too
    written = yaml.safe_load(parser.dump(config))["model"]["last"]
    assert tio.from_dict(written).to_dict() == expected().to_dict()


@pytest.mark.parametrize(
    ("augmentation", "message"),
    [
        ({"class_path": "torchio_gpu.RandomAffine", "init_args": {"degree": 3}}, "degree"),
        ({"class_path": "torchio_gpu.RandomAffine", "init_args": {"p": "often"}}, "often"),
        ({"class_path": "torchio_gpu.Subject"}, "Subject"),
    ],
)
def test_jsonargparse_names_mistakes(augmentation, message, parser):
    jsonargparse = sys.modules["jsonargparse"]
    with pytest.raises(jsonargparse.ArgumentError, match=message):
        parser.parse_object({"model": {"augmentation": augmentation}})


# Lightning


def test_lightning_cli_builds_a_module_with_its_augmentation(tmp_path, monkeypatch):
    pytest.importorskip("jsonargparse", reason="jsonargparse is not installed")
    cli = pytest.importorskip("lightning.pytorch.cli", reason="lightning is not installed")
    import yaml
    from lightning.pytorch import LightningModule

    class Segmenter(LightningModule):
        def __init__(self, augmentation: tio.Transform, rate: float = 0.1):
            super().__init__()
            self.augmentation, self.rate = augmentation, rate

    path = tmp_path / "config.yaml"
    model = {"augmentation": expected().to_dict("class_path"), "rate": 0.5}
    path.write_text(yaml.safe_dump({"model": model}))
    monkeypatch.setattr(sys, "argv", ["train.py", "--config", str(path)])
    defaults = {"logger": False, "accelerator": "cpu", "enable_checkpointing": False}
    made = cli.LightningCLI(
        Segmenter,
        run=False,
        save_config_callback=None,
        seed_everything_default=False,
        trainer_defaults=defaults,
    )
    check_equal(made.model.augmentation, expected())
    assert made.model.rate == 0.5
