"""Example of a spatial transformer, on small volumes."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import torch

PATH = Path(__file__).parents[1] / "examples" / "spatial_transformer.py"


@pytest.fixture(scope="module")
def example():
    """Module of the example, which is in no package."""
    spec = spec_from_file_location(PATH.stem, PATH)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_layer_learns_to_undo_the_motion(example, capsys):
    torch._dynamo.reset()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        losses = example.main(steps=80, size=12, backend="aot_eager")
    assert sum(losses[-20:]) < 0.6 * sum(losses[:20])
    assert capsys.readouterr().out.count("loss") == 4
