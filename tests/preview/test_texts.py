"""Pipelines as Python, YAML and command lines: each works where it is pasted, and is read again."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
import yaml

import torchio_gpu as tio
from tests.preview.subjects import subject
from torchio_gpu.preview.session import Session, Wish
from torchio_gpu.preview.texts import Input, as_command, as_python, from_text, steps_of

PIPELINES = {
    "one step": tio.Compose([tio.RandomAffine(degrees=(-20, 20), center="origin")]),
    "none": tio.Compose([]),
    "several": tio.Compose(
        [tio.RandomFlip(axes=("LR", 1)), tio.RandomBlur(std=(0, 1, 0, 2, 0, 0), p=0.5)]
    ),
    "a choice": tio.Compose([tio.RandomBlur(std=tio.Choice([0.5, 2], [1, 3]))]),
    "a distribution": tio.Compose([tio.RandomGamma(log_gamma=torch.distributions.Normal(0, 0.25))]),
    "branches": tio.Compose(
        [tio.OneOf({tio.RandomBlur(): 2, tio.RandomNoise(std=1): 1}), tio.RandomSpike()]
    ),
    "a seed": tio.Compose([tio.Noise(std=2, seed=7)]),
    "an integer dict": tio.Compose([tio.RemapLabels({1: 2, 2: 1})]),
    "include": tio.Compose([tio.RandomNoise(include=("t1",))]),
    "quotes": tio.Compose(
        [tio.LabelsToImage(mean=(0, 1, 2), std=(1, 1, 1), image_key="it's \"new\"")]
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PIPELINES)
@pytest.mark.parametrize("language", ["python", "yaml", "command"])
def test_what_is_copied_is_read_again(name, language):
    session = Session(subject((8, 8, 8)), [Input("t1", "a b.nii.gz")])
    steps = [{**step, "on": True} for step in steps_of(PIPELINES[name])]
    text = session.texts(Wish(steps, 5))[language]
    found = session.load(text)
    assert found["steps"] == steps
    if language == "python" or (language == "command" and name not in ("a seed", "quotes")):
        assert found["seed"] == 5


@pytest.mark.parametrize("name", ["one step", "several", "a choice", "branches", "quotes"])
def test_python_that_is_copied_runs(tmp_path, name):
    subject().t1.save(tmp_path / "it's.nii.gz")
    subject().seg.save(tmp_path / "seg.nii.gz")
    read = tio.Subject(
        t1=tio.ScalarImage(tmp_path / "it's.nii.gz"), seg=tio.LabelMap(tmp_path / "seg.nii.gz")
    )
    inputs = [
        Input("t1", str(tmp_path / "it's.nii.gz")),
        Input("seg", str(tmp_path / "seg.nii.gz"), True),
    ]
    session = Session(read, inputs)
    steps = steps_of(PIPELINES[name])
    names: dict = {}
    exec(session.texts(Wish(steps, 3))["python"], names)
    torch.manual_seed(3)
    expected = PIPELINES[name](subject())
    assert torch.allclose(names["result"].t1.data, expected.t1.data)
    assert torch.equal(names["result"].seg.data, expected.seg.data)


@pytest.mark.parametrize("name", ["one step", "several", "a seed"])
def test_command_that_is_copied_runs_in_a_shell(tmp_path, name):
    subject().t1.save(tmp_path / "t1.nii.gz")
    command = as_command(PIPELINES[name], [Input("default_image_name", "t1.nii.gz")], 3)
    assert ("augment.yaml" in command) == (name == "several")
    (tmp_path / "torchio-gpu").write_text(
        f'#!/bin/sh\nexec "{sys.executable}" -m torchio_gpu "$@"\n'
    )
    (tmp_path / "torchio-gpu").chmod(0o755)
    roots = os.pathsep.join(p for p in sys.path if p)
    path = os.pathsep.join([str(tmp_path), os.environ["PATH"]])
    subprocess.run(
        ["sh", "-ec", command], cwd=tmp_path, check=True, timeout=120,
        env={**os.environ, "PATH": path, "PYTHONPATH": roots},
    )  # fmt: skip
    torch.manual_seed(3)
    read = tio.Subject(default_image_name=tio.ScalarImage(tmp_path / "t1.nii.gz"))
    expected = PIPELINES[name](read)
    found = tio.ScalarImage(tmp_path / "out.nii.gz")
    assert torch.allclose(found.data, expected.default_image_name.data.float(), atol=1e-3)


def test_yaml_that_is_copied_is_a_pipeline_file(tmp_path):
    session = Session(subject((8, 8, 8)))
    steps = steps_of(PIPELINES["branches"])
    (tmp_path / "augment.yaml").write_text(session.texts(Wish(steps))["yaml"])
    loaded = tio.load_pipeline(tmp_path / "augment.yaml")
    assert steps_of(loaded) == steps
    assert yaml.safe_load((tmp_path / "augment.yaml").read_text())["torchio_gpu"] == 1


def test_python_of_other_hands_is_read():
    text = """
    augment = tio.Compose((
        tio.transforms.RandomAffine(0.2, degrees=5),  # a remark
        OneOf({tio.RandomBlur(): 0.75, tio.RandomNoise(std=[0, .5]): 0.25}),
    ))
    torch.manual_seed(-0 + 12) if False else None
    """
    import textwrap

    made, seed = from_text(textwrap.dedent(text), ["t1"])
    assert steps_of(made) == [
        {"name": "RandomAffine", "arguments": {"scales": 0.2, "degrees": 5}},
        {"name": "OneOf", "arguments": {"transforms": [
            {"RandomBlur": {}, "weight": 0.75}, {"RandomNoise": {"std": [0, 0.5]}, "weight": 0.25},
        ]}},
    ]  # fmt: skip
    assert seed is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "text must make a transform"),
        ("tio.Compose([tio.RandomAfine()])", "there is no transform 'tio.RandomAfine'"),
        ("tio.Compose([tio.RandomBlur(std=-1)])", "std must be a range"),
        ("tio.Compose([__import__('os').system('true')])", "there is no transform"),
        ("tio.Compose([tio.RandomBlur(std=open('x').read())])", "there is no transform .*read"),
        ("tio.Compose([tio.RandomBlur(std=x)])", "line 1: values must be plain, got x"),
        ("tio.Compose([tio.RandomBlur(**x)])", "must be given arguments by name"),
        ("tio.Compose([", "text must be Python, YAML or a command line: .*, line 1"),
        ("(" * 500, "text must be Python, YAML or a command line: "),
        ("torchio_gpu: 1\npipeline: [RandomBlr]", "line 2: there is no transform .* did you mean"),
        ("torchio-gpu transform a.nii b.nii RandomBlur --std", "std"),
        ("torchio-gpu transform a.nii b.nii --pipeline p.yaml", "command must name a transform"),
        ("torchio-gpu transform 'a.nii", "command must be words"),
        ("tio.Compose([tio.Resample('/etc/passwd')])", "must name an image of the subject"),
        ("torchio_gpu: 1\npipeline: [Resample: /etc/passwd]", "must name an image of the subject"),
        ("torchio-gpu transform a.nii b.nii Resample --target /x.nii", "must name an image of the"),
    ],
)  # fmt: skip
def test_texts_that_do_not_fit_are_refused_in_a_sentence(text, said):
    with pytest.raises(ValueError, match=said):
        Session(subject((8, 8, 8))).load(text)


def test_python_ends_with_the_result():
    assert as_python(tio.Compose([]), "subject = 1", 2).endswith("result = transform(subject)\n")
