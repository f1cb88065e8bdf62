"""Commands about pipelines in files."""

import json
import re
from pathlib import Path

import pytest
import torch
from jsonschema import Draft202012Validator

import torchio_gpu as tio
from tests.test_cli import error_message, run
from tests.volumes import subject

TEXT = """\
torchio_gpu: 1
pipeline:
- ToCanonical
- RandomAffine: {degrees: 15, p: 0.9}
- RandomNoise
- Mask: {masking_method: seg}
"""
WITHOUT_MASK = TEXT.replace("- Mask: {masking_method: seg}\n", "")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "p.yaml").write_text(TEXT)
    (tmp_path / "plain.yaml").write_text(WITHOUT_MASK)
    (tmp_path / "wrong.yaml").write_text(TEXT.replace("degrees", "degree"))
    s = subject()
    s.t1.save(tmp_path / "t1.nii")
    s.seg.save(tmp_path / "seg.nii")
    return tmp_path


def images(folder: Path) -> list[str]:
    return ["--image", f"t1={folder / 't1.nii'}", "--label", f"seg={folder / 'seg.nii'}"]


def test_check_prints_the_plan(folder):
    loaded = tio.load_pipeline(folder / "p.yaml")
    result = run("check", folder / "p.yaml")
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{loaded.explain()}\n"
    result = run("check", folder / "p.yaml", *images(folder))
    read = tio.Subject(t1=tio.ScalarImage(folder / "t1.nii"), seg=tio.LabelMap(folder / "seg.nii"))
    assert result.stdout == f"{loaded.explain(read)}\n"
    assert "12x14x16" in result.stdout
    alone = run("check", folder / "plain.yaml", folder / "t1.nii")
    assert "default_image_name: 12x14x16" in alone.stdout
    (folder / "one.json").write_text(json.dumps(tio.RandomBlur().to_dict()))
    assert "volume: RandomBlur" in run("check", folder / "one.json").stdout
    assert sorted(each.name for each in folder.iterdir()) == [
        "one.json", "p.yaml", "plain.yaml", "seg.nii", "t1.nii", "wrong.yaml",
    ]  # fmt: skip


def test_check_names_the_line(folder):
    said = error_message(run("check", folder / "wrong.yaml"))
    assert said == (
        f"torchio-gpu: {folder / 'wrong.yaml'}:4: RandomAffine has no argument 'degree'; "
        "did you mean degrees?\n"
    )
    assert "masking_method must name a label map" in error_message(
        run("check", folder / "p.yaml", folder / "t1.nii")
    )
    assert "'none.nii' does not exist" in error_message(run("check", folder / "p.yaml", "none.nii"))
    assert "must name a file" in error_message(run("check", folder / "none.yaml"))


def test_transform_applies_a_pipeline(folder):
    out = folder / "out.nii"
    words = ("transform", folder / "t1.nii", out, "--pipeline", folder / "plain.yaml", "--seed", 3)
    result = run(*words)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{out}\n"
    torch.manual_seed(3)
    expected = tio.load_pipeline(folder / "plain.yaml")(tio.ScalarImage(folder / "t1.nii"))
    assert torch.equal(tio.ScalarImage(out).data, expected.data)


def test_transform_applies_a_pipeline_to_several_images(folder):
    target = folder / "new"
    words = ("transform", *images(folder), "--pipeline", folder / "p.yaml", "--seed", 3, target)
    result = run(*words)
    assert result.exit_code == 0, result.output
    torch.manual_seed(3)
    expected = tio.load_pipeline(folder / "p.yaml")(
        tio.Subject(t1=tio.ScalarImage(folder / "t1.nii"), seg=tio.LabelMap(folder / "seg.nii"))
    )
    assert torch.equal(tio.ScalarImage(target / "t1.nii").data, expected.t1.data)
    assert torch.equal(tio.LabelMap(target / "seg.nii").data, expected.seg.data)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("{0}/t1.nii {0}/out.nii --pipeline {0}/wrong.yaml", "wrong.yaml:4: RandomAffine has no"),
        ("{0}/t1.nii --pipeline {0}/p.yaml", "transform --pipeline needs IN OUT; got"),
        ("--pipeline {0}/p.yaml", "transform --pipeline needs IN OUT; got nothing"),
        ("--image a={0}/t1.nii --pipeline {0}/p.yaml", "transform --pipeline needs OUT; got noth"),
        ("{0}/t1.nii {0}/out.nii RandomFlip --pipeline {0}/p.yaml", "RandomFlip must not be given"),
        ("{0}/t1.nii {0}/out.nii --pipeline {0}/p.yaml --p 1", "options beside --pipeline are"),
        ("{0}/t1.nii {0}/out.nii --pipelin {0}/p.yaml Flip", r"did you mean --pipeline\?"),
    ],
)
def test_errors_of_transform(folder, words, message):

    assert re.search(message, error_message(run("transform", *words.format(folder).split())))
    assert not (folder / "out.nii").exists()


def test_schema_is_printed():
    result = run("schema")
    assert result.exit_code == 0
    printed = json.loads(result.stdout)
    assert printed == json.loads(json.dumps(tio.configuration.schema()))
    Draft202012Validator.check_schema(printed)
