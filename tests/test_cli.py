"""The command line does what the library does, and says what went wrong in a sentence."""

import platform
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner, Result

import torchio_gpu as tio
from torchio_gpu import cli


def run(*words: object) -> Result:
    return CliRunner().invoke(cli.app, [str(word) for word in words])


def error_message(result: Result) -> str:
    """Return the error message, one sentence on stderr, of a failed command."""
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("torchio-gpu: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


@pytest.fixture
def oblique(tmp_path: Path) -> Path:
    """Write an anisotropic oblique volume whose first axis points left."""
    turn = np.deg2rad(20)
    affine = np.eye(4)
    affine[:3, :3] = [
        [-np.cos(turn), np.sin(turn), 0],
        [-np.sin(turn), -np.cos(turn), 0],
        [0, 0, 1],
    ] @ np.diag([0.5, 1.25, 3])
    affine[:3, 3] = 12, -34.5, 7
    path = tmp_path / "oblique.nii.gz"
    data = torch.randint(0, 900, (2, 10, 12, 8), dtype=torch.int16)
    tio.ScalarImage(data, affine=affine).save(path)
    return path


def test_info_prints_the_header_without_reading_voxels(oblique, monkeypatch):
    monkeypatch.setattr(tio.data.io, "read", lambda *_: pytest.fail("voxels were read"))
    result = run("info", oblique, oblique)
    assert result.exit_code == 0, result.output
    once = f"""\
{oblique}
  shape        10 12 8 (I J K), 2 channels
  spacing      0.5 1.25 3 mm
  orientation  LPS+
  origin       12 -34.5 7 mm
  dtype        int16
"""
    assert result.stdout == once * 2


def test_info_without_files_describes_the_environment(monkeypatch):
    monkeypatch.setattr(cli.reports, "_PACKAGES", ("torch", "absent-package"))
    result = run("info")
    assert result.exit_code == 0, result.output
    lines = [line.split(maxsplit=1) for line in result.stdout.splitlines()]
    found = dict(lines)
    assert list(found) == ["torchio-gpu", "Python", "system", "torch", "absent-package", "device"]
    assert found["torchio-gpu"] == tio.__version__
    assert found["Python"] == platform.python_version()
    assert found["torch"] == torch.__version__
    assert found["absent-package"] == "not installed"


@pytest.mark.parametrize(
    ("words", "transform"),
    [
        (
            "RandomAffine --degrees 15 --scales 0.9,1.1 --image-interpolation nearest",
            tio.RandomAffine(degrees=15, scales=(0.9, 1.1), image_interpolation="nearest"),
        ),
        ("Affine --translation -5,0,2.5", tio.Affine(translation=(-5, 0, 2.5))),
        ("RandomFlip --axes LR,AP", tio.RandomFlip(axes=("LR", "AP"))),
        ("Flip --axes=IS", tio.Flip("IS")),
        ("RandomNoise --std (90,90) --rician", tio.RandomNoise(std=(90, 90), rician=True)),
        ("Noise --rician --std 90", tio.Noise(std=90, rician=True, seed=3)),
        ("RandomGamma --log-gamma 0.3 --p 1", tio.RandomGamma(log_gamma=0.3)),
    ],
)
def test_transform_equals_the_library(words, transform, oblique, tmp_path):
    target = tmp_path / "out.nii"
    result = run("transform", oblique, target, *words.split(), "--seed", 3)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{target}\n"
    torch.manual_seed(3)
    image = tio.ScalarImage(oblique)
    expected = transform(image)
    assert not torch.equal(expected.data, image.data), "the transform must do something"
    written = tio.ScalarImage(target)
    assert torch.equal(written.data, expected.data)
    # NIfTI keeps affines in float32.
    assert np.allclose(written.affine, expected.affine, rtol=1e-6, atol=1e-6)


def test_labels_stay_labels(oblique, tmp_path):
    target = tmp_path / "out.nii"
    words = (target, "RandomAffine", "--degrees", "15", "--seed", "1")
    assert run("transform", "--label", f"image={oblique}", *words).exit_code == 0
    written = tio.LabelMap(target)
    assert written.data.dtype == torch.int16
    torch.manual_seed(1)
    assert torch.equal(written.data, tio.RandomAffine(degrees=15)(tio.LabelMap(oblique)).data)
    assert run("transform", oblique, *words).exit_code == 0
    assert tio.ScalarImage(target).data.dtype == torch.float32


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("Blurr", r"no transform 'Blurr'; did you mean Blur\?$"),
        ("randomflip", r"no transform 'randomflip'; did you mean RandomFlip\?$"),
        ("Abacus", "no transform 'Abacus'; torchio-gpu transform --help lists all$"),
        ("Compose", "no transform 'Compose'"),
        ("Transform", "no transform 'Transform'"),
        ("RandomAffine --degree 3", r"no argument 'degree'; did you mean degrees\?$"),
        ("RandomAffine --sed 3", r"no argument 'sed'; did you mean seed\?$"),
        ("RandomAffine --xyz 3", "no argument 'xyz'; it takes scales, degrees.* p, "),
        ("RandomAffine --degrees LR", "degrees must be .*got 'LR'"),
        ("RandomAffine --degrees --scales 2", "degrees of RandomAffine needs a value"),
        ("RandomAffine --scales 2,1", r"scales must be a range .*got \(2, 1\)"),
        ("RandomAffine --p 2", "p must be a probability"),
        ("RandomFlip --axes LR,XY", "axes must be .*got 'XY'"),
        ("RandomFlip 3", "look like --degrees 15, got '3'"),
        ("Gamma", "Gamma needs gamma"),
        ("Resample --target 1e-9", "^torchio-gpu: target must give images of .* got 1e-09"),
        ("Pad --padding 1000000", "^torchio-gpu: padding must give images of .* got 1000000"),
        ("Resize --target-shape 4000", "^torchio-gpu: there is not enough memory for .* bytes$"),
    ],
)
def test_invalid_arguments(words, message, oblique, tmp_path):
    target = tmp_path / "out.nii"
    found = error_message(run("transform", oblique, target, *words.split()))
    assert re.search(message, found.strip())
    assert not target.exists()


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("no\nsuch luck"), MemoryError("x")])
def test_errors_of_other_libraries_become_one_sentence(error, oblique, tmp_path, monkeypatch):
    def fail(*_):
        raise error

    monkeypatch.setattr(tio.Flip, "__call__", fail)
    words = ("transform", oblique, tmp_path / "out.nii", "Flip", "--axes", 0)
    said = error_message(run(*words))
    assert said in ("torchio-gpu: there is not enough memory\n", "torchio-gpu: no\n")


def test_invalid_files(oblique, tmp_path):
    assert "none.nii does not exist" in error_message(run("info", tmp_path / "none.nii"))
    broken = tmp_path / "broken.nii"
    broken.write_bytes(b"no header")
    assert "broken.nii" in error_message(run("info", broken))
    assert "none.nii" in error_message(run("transform", tmp_path / "none.nii", "out.nii", "Flip"))
    assert "path must end in" in error_message(
        run("transform", oblique, tmp_path / "x.abc", "Flip")
    )


def test_demo_forwards_its_options_and_prints_the_report(monkeypatch, tmp_path):
    from torchio_gpu import demo

    seen = []

    def stub(*arguments: object, **named: object) -> dict[str, object]:
        seen.append((arguments, named))
        return {
            "losses": [1.5, 0.25],
            "milliseconds": {"loading": 1, "augmentation": 2.25, "model_step": 3},
            "dice": {"hann": {"grey": 0.5, "white": 0.75}, "crop": {"grey": 0.25, "white": 0}},
            "device": {"name": "abacus"},
        }

    monkeypatch.setattr(demo, "run", stub)
    result = run("demo", "--output", tmp_path, "--device", "cpu", "--steps", 2, "--seed", 7)
    assert result.exit_code == 0, result.output
    assert seen == [((tmp_path, "cpu", 2, 7), {"patches": False})]
    assert "abacus" in result.stdout
    assert "1.500 at step 1, 0.250 at step 2" in result.stdout
    assert "2.2 ms" in result.stdout
    assert re.search(r"hann +grey 0.500, white 0.750", result.stdout)
    assert re.search(r"crop +grey 0.250, white 0.000", result.stdout)
    for name in ("gallery.png", "prediction.png"):
        assert str(tmp_path / name) in result.stdout
    assert run("demo", "--patches").exit_code == 0
    assert seen[1][1] == {"patches": True}
    monkeypatch.undo()
    assert "steps must be at least 1" in error_message(
        run("demo", "--steps", 0, "--output", tmp_path)
    )


def test_version_and_help():
    assert run("--version").stdout == f"{tio.__version__}\n"
    shown = run("--help")
    assert shown.exit_code == 0
    assert all(command in shown.stdout for command in ("demo", "info", "transform"))


def test_entry_point(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["torchio-gpu", "--version"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 0
    assert capsys.readouterr().out == f"{tio.__version__}\n"


def test_bench_times_the_named_transforms():
    result = run("bench", "RandomFlip", "pipeline", "--shape", 9, 10, 11, "--device", "cpu")
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert "2x1x9x10x11 float32" in lines[1]
    assert [line.split()[0] for line in lines[2:]] == ["RandomFlip", "pipeline"]
    assert all(float(line.split()[1]) > 0 and line.endswith("x copy") for line in lines[2:])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("RandomFlp",), "no transform 'RandomFlp'; did you mean RandomFlip?"),
        (("Lambda",), "got 'Lambda'"),
        (("RandomFlip", "--shape", 8, 0, 8), "shape must be integers > 0"),
        (("RandomFlip", "--device", "abacus"), "device must be available to torch"),
    ],
)
def test_bench_refuses_invalid_arguments(words, said):
    result = run("bench", *words)
    assert result.exit_code == 2
    assert said in result.output


def test_bench_measures_every_random_transform():
    from torchio_gpu import bench

    random = [
        name
        for name in tio.transforms.__all__
        if name.startswith("Random") and name != "RandomTransform"
    ]
    assert set(random) < set(bench.names())
    costs = list(bench.measure((9, 8, 7), batch=1))
    assert [cost.name for cost in costs] == bench.names()
    for cost in costs:
        assert 0 < cost.low <= cost.median <= cost.high
        assert cost.copies > 0
