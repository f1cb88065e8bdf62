"""The command line on several images of one subject; commands with TorchIO's syntax."""

from __future__ import annotations

import inspect
import re
import shlex
from pathlib import Path

import pytest
import torch

import torchio_gpu as tio
from tests.test_cli import error_message, run
from torchio_gpu import names
from torchio_gpu.cli import torchio_syntax
from torchio_gpu.cli.documentation import documentation


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Enter a folder with two scans and a label map of one subject."""
    monkeypatch.chdir(tmp_path)
    x = torch.rand(1, 10, 12, 8)
    tio.ScalarImage(x).save("t1.nii.gz")
    tio.ScalarImage(x + 1).save("t2.mha")
    tio.LabelMap((x > 0.5).byte()).save("seg.nii")
    return tmp_path


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_images_of_a_subject_share_parameters(folder):
    words = ("RandomAffine", "--degrees", 15, "--seed", 3)
    result = run("transform", "t1.nii.gz", "t2.mha", "out/new/", *words)
    assert result.exit_code == 0, result.output
    assert result.stdout == "out/new/t1.nii.gz\nout/new/t2.mha\n"
    torch.manual_seed(3)
    subject = tio.Subject(t1=tio.ScalarImage("t1.nii.gz"), t2=tio.ScalarImage("t2.mha"))
    expected = tio.RandomAffine(degrees=15, default_pad_value="minimum")(subject)
    assert not torch.equal(expected.t1.data, subject.t1.data)
    t1, t2 = tio.ScalarImage("out/new/t1.nii.gz").data, tio.ScalarImage("out/new/t2.mha").data
    assert torch.equal(t1, expected.t1.data)
    assert torch.equal(t2, expected.t2.data)
    torch.testing.assert_close(t1 + 1, t2)  # what one map does to x and to x + 1


def test_named_images_and_label_maps_are_one_subject(folder):
    named = ("--image", "a=t1.nii.gz", "--label", "b=seg.nii", "t2.mha")
    result = run("transform", *named, ".", "RandomAffine", "--seed", 3, "--exclude", "t2")
    assert "t2.mha' is read" in error_message(result)
    result = run("transform", *named, "out", "RandomAffine", "--seed", 3, "--exclude", "t2")
    assert result.exit_code == 0, result.output
    assert sorted(result.stdout.split()) == ["out/a.nii.gz", "out/b.nii", "out/t2.mha"]
    torch.manual_seed(3)
    images = {"t2": tio.ScalarImage("t2.mha"), "a": tio.ScalarImage("t1.nii.gz")}
    expected = tio.RandomAffine(exclude=["t2"])(tio.Subject(images, b=tio.LabelMap("seg.nii")))
    assert torch.equal(tio.ScalarImage("out/a.nii.gz").data, expected.a.data)
    assert torch.equal(tio.LabelMap("out/b.nii").data, expected.b.data)
    assert torch.equal(tio.ScalarImage("out/t2.mha").data, tio.ScalarImage("t2.mha").data)
    assert set(expected.b.data.unique().tolist()) == {0, 1}


def test_images_that_a_transform_adds_are_written(folder):
    words = ("--label", "seg=seg.nii", "out/", "RandomLabelsToImage", "--image-key", "t1")
    assert run("transform", *words).stdout == "out/seg.nii\nout/t1.nii.gz\n"
    assert tio.ScalarImage("out/t1.nii.gz").spatial_shape == (10, 12, 8)


def test_lone_images_can_go_to_a_folder(folder):
    (folder / "out").mkdir()
    assert run("transform", "t1.nii.gz", "out", "Flip").stdout == "out/t1.nii.gz\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "transform needs IN OUT NAME, .*; got nothing"),
        ("Flip", "transform needs IN OUT NAME, .*; got Flip"),
        ("t1.nii.gz Flip", "transform needs IN OUT NAME"),
        ("--image t1=t1.nii.gz Flip", "transform needs OUT NAME"),
        ("--sed 3 t1.nii.gz x.nii Flip", r"got '--sed'; did you mean --seed\?"),
        ("--image t1.nii.gz x.nii Flip", "--image must be NAME=FILE, .*got 't1.nii.gz'"),
        ("--label ../x=seg.nii x.nii Flip", "--label must be NAME=FILE"),
        ("--label x= x.nii Flip", "--label must be NAME=FILE"),
        ("none.nii x.nii Flip", "'none.nii' does not exist"),
        ("--label seg=none.nii x.nii Flip", "'none.nii' does not exist"),
        ("t1.nii.gz t2.mha x.nii Flip", "OUT must be a folder for several images, got 'x.nii'"),
        ("t1.nii.gz t2.mha seg.nii Flip", "OUT must be a folder for several images"),
        ("t1.nii.gz seg.nii/ Flip", "OUT must be a folder"),
        ("t1.nii.gz none/x.nii Flip", "OUT must be in an existing folder: 'none' is none"),
        ("t1.nii.gz ./t1.nii.gz Flip", "'t1.nii.gz' is read"),
        ("t1.nii.gz linked.nii.gz Flip", "'linked.nii.gz' is read"),
        ("pair.hdr pair.img Flip", "'pair.img' is read"),
        ("t1.nii.gz t2.mha . Flip", "'t1.nii.gz' is read"),
        ("t1.nii.gz other/t1.nii.gz out Flip", "different names, got 't1' 2 times"),
        ("--image a=t1.nii.gz --image b=other/t1.nii.gz --label a=seg.nii out Flip", "'a' 2 times"),
        ("t1.nii.gz t2.mha other Flip", "'other/t2.mha' would be written twice"),
        ("--label seg=seg.nii new.nii RandomLabelsToImage --image-key t1", "since t1 is added"),
        ("--label seg=seg.nii . RandomLabelsToImage --image-key t1", "'seg.nii' is read"),
    ],
)
def test_mistakes_change_no_file(folder, words, message):
    tio.ScalarImage(torch.rand(1, 4, 4, 4)).save("pair.hdr")
    (folder / "other").mkdir()
    (folder / "other" / "t1.nii.gz").write_bytes(Path("t1.nii.gz").read_bytes())
    (folder / "other" / "t2.mha").symlink_to("t1.nii.gz")
    (folder / "linked.nii.gz").symlink_to("t1.nii.gz")
    before = {name: (folder / name).read_bytes() for name in files(folder)}
    assert re.search(message, error_message(run("transform", *words.split())))
    assert {name: (folder / name).read_bytes() for name in files(folder)} == before


@pytest.mark.parametrize("name", names.TRANSFORMS)
def test_documentation_of_a_transform(name):
    shown = run("transform", name, "--help")
    assert shown.exit_code == 0, shown.output
    assert shown.stdout == f"{documentation(name)}\n"
    assert shown.stdout.startswith(f"{name}(")
    text = " ".join(shown.stdout.split())
    assert not re.search(r":class:|``|>>>|[*]kwargs|--kwargs", text)
    documented = dict(re.findall(r" --([\w-]+): (.*?)(?= --[\w-]+: |$)", text))
    taken = {
        option.replace("_", "-")
        for cls in (tio.Transform, getattr(tio, name))
        for option, parameter in inspect.signature(cls).parameters.items()
        if parameter.kind is not parameter.VAR_KEYWORD
    }
    assert set(documented) == taken
    for option, meaning in documented.items():
        assert re.match(r"\S.{8,} \((default: .+|needed)\)", meaning), (option, meaning)


def test_documentation_resolves_references_and_names_defaults():
    text = " ".join(documentation("RandomAffine").split())
    assert "--center: 'image' for the centre of the first image" in text
    assert "--degrees: Range of the angle about each axis. (default: 10)" in text
    assert "--function: From voxels" in documentation("Lambda")
    assert "(needed)" in documentation("Lambda")
    misspelt = error_message(run("transform", "RandomAfine", "--help"))
    assert "did you mean RandomAffine?" in misspelt


def test_commands_of_the_documentation_run(folder):
    for name in ("t2.nii.gz", "seg.nii.gz"):
        (folder / name).write_bytes(Path("t1.nii.gz").read_bytes())
    tio.save_pipeline(tio.Compose([tio.RandomFlip("LR"), tio.RandomNoise()]), "augment.yaml")
    page = Path(__file__).parent.parent / "docs" / "how_to" / "command_line.md"
    text = page.read_text(encoding="utf-8")
    lines = re.findall(r"^torchio-gpu (.*)$", text, re.MULTILINE)
    assert len(lines) >= 6
    for line in lines:
        result = run(*shlex.split(line))
        assert result.exit_code == 0, (line, result.output)
    assert {"out.nii.gz", "out/t1.nii.gz", "out/t2.nii.gz", "out/seg.nii.gz"} <= set(files(folder))


def test_tiotr_equals_the_library(folder):
    words = ("--kwargs", "degrees=(10, 20) scales=0.2 center=origin", "--seed", 42, "-v")
    result = run("tiotr", "t1.nii.gz", "RandomAffine", "out.nii", *words, "--hide-progress")
    assert result.exit_code == 0, result.output
    torch.manual_seed(42)
    transform = tio.RandomAffine(degrees=(10, 20), scales=0.2, center="origin")
    expected = transform(tio.Subject(image=tio.ScalarImage("t1.nii.gz")))
    assert torch.equal(tio.ScalarImage("out.nii").data, expected.image.data)
    assert result.stdout == f"{expected.history[0]}\nout.nii\n"
    result = run("tiotr", "seg.nii", "RandomAffine", "out.nii", "-c", "LabelMap", "-s", 1, "-p")
    assert result.stdout == "out.nii\n"
    torch.manual_seed(1)
    assert torch.equal(
        tio.LabelMap("out.nii").data, tio.RandomAffine()(tio.LabelMap("seg.nii")).data
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("RandomAfine", "x.nii"), r"did you mean RandomAffine\?"),
        (("RandomAffine", "x.nii", "-k", "degree=3"), r"did you mean degrees\?"),
        (("RandomAffine", "x.nii", "-k", "15"), "kwargs must look like 'degrees=.*got '15'"),
        (("RandomAffine", "x.nii", "-k", "p= degrees=3"), "kwargs must look like"),
        (("RandomAffine", "x.nii", "-c", "LabelMp"), r"imclass must .*did you mean LabelMap\?"),
        (("RandomAffine", "t1.nii.gz"), "'t1.nii.gz' is read"),
    ],
)
def test_mistakes_of_tiotr(folder, words, message):
    assert re.search(message, error_message(run("tiotr", "t1.nii.gz", *words)))
    assert not (folder / "x.nii").exists()


def test_tiohd_prints_and_opens(folder, monkeypatch):
    opened: list[str] = []
    monkeypatch.setattr(torchio_syntax.typer, "launch", lambda path: opened.append(path) or 0)
    assert run("tiohd", "t1.nii.gz").stdout.startswith("ScalarImage(shape=(1, 10, 12, 8)")
    assert not opened
    result = run("tiohd", "seg.nii", "--label", "--load", "--plot", "--show")
    head, size, picture = result.stdout.splitlines()
    assert head.startswith("LabelMap(shape=(1, 10, 12, 8)")
    assert size == "0.000916 MiB"  # 960 bytes
    assert Path(picture).read_bytes().startswith(b"\x89PNG")
    assert opened == [picture, "seg.nii"]
    monkeypatch.setattr(torchio_syntax.typer, "launch", lambda path: 1)
    failed = run("tiohd", "seg.nii", "-s")
    assert failed.exit_code == 2
    assert "no program of this system opens 'seg.nii'" in failed.stderr


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("command", "module"), [("tiotr", "apply_transform"), ("tiohd", "print_info")]
)
def test_options_are_those_of_torchio(command, module):
    """Every option of TorchIO's commands is there, and takes a value where it does there."""
    import importlib

    from typer.main import get_command

    from torchio_gpu.cli import app

    theirs = get_command(importlib.import_module(f"torchio.cli.{module}").app)
    ours = get_command(app).commands[command]

    def options(found):
        return {
            (option, param.is_flag)
            for param in found.params
            if param.param_type_name == "option" and "completion" not in param.name
            for option in (*param.opts, *param.secondary_opts)
        }

    assert options(theirs) <= options(ours)
    positional = [sum(p.param_type_name == "argument" for p in c.params) for c in (theirs, ours)]
    assert positional[0] == positional[1]
