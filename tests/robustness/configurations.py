"""Damaged files of pipelines: each is loaded, and written and read alike, or refused by a line."""

from __future__ import annotations

import json
import random
import re
import tempfile
import warnings
from pathlib import Path

import torchio_gpu as tio
from torchio_gpu.configuration.pipelines import written

TEXT = """\
torchio_gpu: 1
pipeline:
  - ToCanonical
  - Resample: 1.5
  - CropOrPad: [16, 19, null]
  - RandomAffine: {degrees: 15, scales: [0.9, 1.1], p: 0.8, include: [t1, "t2"]}
  - OneOf:
      - RandomMotion: {degrees: 5}
        weight: 2
      - RandomGhosting: {num_ghosts: [2, 4], axes: [LR, 0]}
        weight: 1e-1
  - RandomNoise: {std: {Choice: [0.1, .2]}}
  - RandomGamma: {log_gamma: {Normal: {loc: 0, scale: 0.5}}}
  - {_target_: torchio_gpu.RandomBlur, std: [0, 2]}
  - class_path: torchio_gpu.Compose
    init_args:
      transforms: [RandomFlip, {RandomSwap: {patch_size: 3, num_iterations: 5}}]
  - RemapLabels: {remapping: {1: 2, 2: 1}, masking_method: Left}
  - SomeOf: {transforms: [RandomFlip, RandomSpike], num_transforms: [0, 2], weights: [1, 2]}
"""
#: Pieces that are inserted.
PIECES = (
    *("&a ", "*a", "!!python/name:os.system ", "!!str ", "!!int ", "!x ", "- ", "? ", ": ", "{"),
    *("}", "[", "]", "'", '"', "#", "|\n", ">\n", "---\n", "...\n", "\t", "\n", "  ", "null", "~"),
    *("true", "1e999", "-1", "9" * 40, ".nan", "-.inf", "0x", "RandomNoise", "_target_: os.system"),
    *("weight: 3", "\x00", "\ud800", "\u2028", "é", "\\", "%", "<<: *a", "class_path", "params: 1"),
)
ORIGINALS: list[str] = []


def prepare(_: Path | None = None) -> None:
    """Make the texts: the short form in YAML and JSON, and a history."""
    if not ORIGINALS:
        pipeline = tio.load_pipeline(TEXT)
        ORIGINALS.extend([TEXT, TEXT, written(pipeline, as_json=True)])
        ORIGINALS.append(json.dumps(pipeline.to_dict(), indent=1))


def damage(text: str, chance: random.Random) -> str:
    """Return a text with a few places changed, removed, repeated or filled in."""
    for _ in range(chance.choice((1, 1, 2, 4))):
        words = [match.span() for match in re.finditer(r"[\w.]+|\S|\n *", text)]
        if not words:
            return text
        start, end = chance.choice(words)
        other = text[slice(*chance.choice(words))]
        kind = chance.randrange(6)
        if kind == 0:
            text = text[:start] + text[end:]
        elif kind == 1:
            text = text[:start] + other + text[end:]
        elif kind == 2:
            text = text[:start] + chance.choice(PIECES) + text[start:]
        elif kind == 3:
            text = text[:start] + chance.choice(PIECES) + text[end:]
        elif kind == 4:
            text = text[:start] + text[start:end] * 2 + text[end:]
        else:
            text = text[: chance.randrange(len(text) + 1)]
    return text


def run(number: int, seed: int) -> tuple[str, str]:
    """Load one damaged text."""
    chance = random.Random(f"{number} {seed}")
    text = damage(chance.choice(ORIGINALS), chance) + "\n"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loaded = tio.load_pipeline(text)
    except ValueError as error:
        sentence = str(error)
        return ("bad: long" if len(sentence) > 1500 or "\n" in sentence else "refused"), sentence
    except Exception as error:
        return "bad: error", f"{type(error).__name__}: {error}: {text!r}"[:1500]
    return _again(loaded, text)


def _again(loaded: tio.Transform, text: str) -> tuple[str, str]:
    """Write what was loaded, and load it again."""
    with tempfile.TemporaryDirectory() as folder:
        for suffix in ("yaml", "json"):
            path = Path(folder, f"p.{suffix}")
            try:
                tio.save_pipeline(loaded, path)
                again = tio.load_pipeline(path)
            except Exception as error:
                return "bad: not saved", f"{type(error).__name__}: {error}: {text!r}"[:1500]
            # NaN is not equal to itself
            if json.dumps(again.to_dict()) != json.dumps(loaded.to_dict()):
                return "bad: changed", repr(text)
    return "loaded", ""
