"""The example of a cohort, from scans to training, on few coarse scans."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

import torchio_gpu as tio

PATH = Path(__file__).parents[1] / "examples" / "cohort.py"


@pytest.fixture(scope="module")
def example():
    """Module of the example, which is in no package."""
    spec = spec_from_file_location(PATH.stem, PATH)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_scans_are_prepared_and_trained_on(example, tmp_path, capfd):
    losses = example.main(str(tmp_path / "out"), cases=4, spacing=8, workers=0)
    assert len(losses) == 2
    assert losses[-1] < losses[0]
    scans = tio.Cohort.from_pattern(tmp_path / "out", {"t1": "scans/{id}_T1w.nii.gz"}).subjects()
    assert len({scan.t1.orientation for scan in scans}) == 4
    assert len({scan.spacing for scan in scans}) == 4
    prepared = tio.Cohort.from_output(tmp_path / "out" / "prepared").subjects()
    assert {s.t1.spatial_shape for s in prepared} == {(20, 24, 20)}
    assert all(abs(s.t1.data.mean()) < 1e-3 for s in prepared)
    assert "4 cases: 4 computed\n" in capfd.readouterr().out
    example.prepare(tmp_path / "out", 8, 0)  # as the script does, run again
    assert "4 cases: 4 computed before\n" in capfd.readouterr().out
