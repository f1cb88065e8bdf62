"""The example that registers two brains, at a coarse spacing."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def register():
    """Module of the example, which is in no package."""
    path = Path(__file__).parents[1] / "examples" / "register.py"
    spec = spec_from_file_location("register", path)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_brains_are_registered(register, tmp_path, capsys):
    picture = tmp_path / "registration.png"
    report = register.main(8.0, affine_steps=40, velocity_steps=50, picture=str(picture))
    # 0.043, 0.015 and 0.006 here
    assert report["loss with the affine map"] < 0.6 * report["loss at first"]
    assert report["loss in the end"] < 0.6 * report["loss with the affine map"]
    assert report["overlap in the end"] > report["overlap at first"] + 0.15
    assert report["smallest determinant"] > 0
    assert picture.stat().st_size > 10_000
    assert "contours are tissues" in capsys.readouterr().out
