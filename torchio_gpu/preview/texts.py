"""Pipelines as texts that work elsewhere: Python, YAML, and a command line; and read from them."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.distributions import Distribution

from .. import transforms
from ..configuration import load_pipeline
from ..configuration.pipelines import written
from ..configuration.reading import read
from ..configuration.short_form import shortened
from ..names import TRANSFORMS
from ..transforms import Choice, Compose, Transform
from ..transforms.building import from_dict
from ..transforms.descriptions import describe
from ..transforms.naming import first_parameter, parameters
from ..words import as_options, parse_options
from .form import check_files

_PARTS = re.compile(r"<<'YAML'\n(.*?)^YAML$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Input:
    """Image of the subject as texts name it.

    Args:
        name: Name in the subject.
        path: File as the command line named it.
        is_label: The image is a label map.
    """

    name: str
    path: str
    is_label: bool = False


def as_python(pipeline: Compose, subject: str, seed: int) -> str:
    """Return a script that makes a pipeline and applies it.

    Args:
        pipeline: The pipeline.
        subject: Lines that assign ``subject``.
        seed: Seed of torch.
    """
    steps = "".join(f"    {_python(each)},\n" for each in pipeline.transforms)
    body = f"[\n{steps}]" if steps else "[]"
    return (
        f"import torch\nimport torchio_gpu as tio\n\n{subject}\n"
        f"transform = tio.Compose({body})\ntorch.manual_seed({seed})\nresult = transform(subject)\n"
    )


def subject_as_python(inputs: Sequence[Input]) -> str:
    """Return the line that reads a subject.

    >>> subject_as_python([Input("t1", "a.nii.gz"), Input("seg", "b.nii.gz", True)])
    "subject = tio.Subject({'t1': tio.ScalarImage('a.nii.gz'), 'seg': tio.LabelMap('b.nii.gz')})"
    """
    images = (
        f"{each.name!r}: tio.{'LabelMap' if each.is_label else 'ScalarImage'}({each.path!r})"
        for each in inputs
    )
    return f"subject = tio.Subject({{{', '.join(images)}}})"


def as_command(pipeline: Compose, inputs: Sequence[Input], seed: int) -> str:
    """Return lines for a shell that apply a pipeline to files; the result goes to ``out``.

    One step whose arguments are words is given by its name; any other pipeline by a file that the
    lines write.
    """
    lone = len(inputs) == 1 and not inputs[0].is_label
    out = "out.nii.gz" if lone else "out/"
    if lone and inputs[0].name == "default_image_name":
        files = [shlex.quote(inputs[0].path)]
    else:
        files = [
            f"--{'label' if each.is_label else 'image'} {shlex.quote(f'{each.name}={each.path}')}"
            for each in inputs
        ]
        out = "out/"
    words = ["torchio-gpu transform", *files, out]
    if len(pipeline) == 1:
        (step,) = pipeline.transforms
        cls: Any = type(step)
        known = parameters(cls)
        given = describe(step.arguments(), owner=step.name)
        own = given.get("seed", 0) if "seed" in known else seed
        if "seed" not in known or step.p == 1:  # --seed stands for an argument of that name
            try:
                if any(isinstance(value, (Mapping, type(None))) for value in given.values()):
                    raise ValueError("not a word")
                options = as_options({n: v for n, v in given.items() if n != "seed"})
                return " ".join([*words, step.name, options, f"--seed {own}"]).replace("  ", " ")
            except ValueError:
                pass
    words += ["--pipeline augment.yaml", f"--seed {seed}"]
    return f"cat > augment.yaml <<'YAML'\n{written(pipeline)}YAML\n{' '.join(words)}\n"


def as_yaml(pipeline: Compose) -> str:
    """Return the text of a file that ``load_pipeline`` reads."""
    return written(pipeline)


def steps_of(transform: Transform) -> list[dict[str, Any]]:
    """Return the steps of a pipeline as plain values: ``name`` and ``arguments`` of each.

    >>> steps_of(transforms.Compose([transforms.Blur(2)]))
    [{'name': 'Blur', 'arguments': {'std': 2}}]
    """
    plain = type(transform) is Compose and set(transform.arguments()) <= {"transforms"}
    found = []
    for each in transform.transforms if plain else [transform]:  # type: ignore[union-attr]
        step = shortened(each)
        name, given = (step, {}) if isinstance(step, str) else next(iter(step.items()))
        if not isinstance(given, Mapping):
            given = {first_parameter(type(each)): given}
        if name not in TRANSFORMS:
            raise ValueError(f"steps must be single transforms here, got {name}")
        found.append({"name": name, "arguments": dict(given)})
    return found


def from_text(text: str, images: Sequence[str]) -> tuple[Transform, int | None]:
    """Return the transform of a text in Python, YAML, JSON or words of a command line, and a seed.

    Python is parsed and never run: constructors with plain values are read, and a call of
    ``torch.manual_seed``.

    Args:
        text: The text.
        images: Names of the images of the subject; no other file may be named.

    Raises:
        ValueError: It is none of these, or what it says does not fit.
    """
    heredoc = _PARTS.search(text)
    words = re.search(r"^.*\btransform\b.*$", text, re.MULTILINE)
    command = words[0] if words and re.match(r"\s*(torchio-gpu|python)", words[0]) else ""
    if heredoc:
        return _from_yaml(heredoc[1], images), _seed(command)
    if command:
        return _from_command(command, images), _seed(command)
    if re.match(r"\s*(\{|#|---|torchio_gpu\s*:|pipeline\s*:)", text) and "import " not in text:
        return _from_yaml(text, images), None
    return _from_python(text, images)


def _from_yaml(text: str, images: Sequence[str]) -> Transform:
    text = text.strip() + "\n"  # with a line break, it is no path
    check_files(read(text).value, images)
    return load_pipeline(text)


def _seed(command: str) -> int | None:
    found = re.search(r"--seed[ =](-?\d+)", command)
    return int(found[1]) if found else None


def _from_command(command: str, images: Sequence[str]) -> Transform:
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise ValueError(f"command must be words, quotes in pairs: {error}") from error
    places = [n for n, word in enumerate(words) if word in TRANSFORMS]
    if not places:
        raise ValueError("command must name a transform, or write the file of --pipeline first")
    name, given = words[places[0]], parse_options(words[places[0] + 1 :])
    known = parameters(getattr(transforms, name))
    if "seed" not in known:
        given.pop("seed", None)
    for argument in ("include", "exclude"):
        if isinstance(given.get(argument), str):
            given[argument] = (given[argument],)
    description = {name: given}
    check_files(description, images)
    return from_dict(description)


# Python


def _python(value: Any) -> str:
    """Return an expression that makes a transform or an argument of one."""
    if isinstance(value, Transform):
        given = value.arguments()
        if type(value) is Compose and value._named:
            given["transforms"] = list(value.transforms)
        return f"tio.{value.name}({_keywords(given)})"
    if isinstance(value, Choice):
        return f"tio.Choice({_keywords(value.arguments())})"
    if isinstance(value, Distribution):
        plain = describe(value)
        name = plain.pop("_target_")
        given = {n: torch.tensor(v) if isinstance(v, list) else v for n, v in plain.items()}
        return f"{name}({_keywords(given)})"
    if isinstance(value, torch.Tensor):
        return f"torch.tensor({_python(value.tolist())})"
    if isinstance(value, (np.ndarray, np.generic)):
        return _python(value.tolist())
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key!r}: {_python(each)}" for key, each in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        inner = ", ".join(map(_python, value))
        return f"[{inner}]" if isinstance(value, list) else f"({inner}{',' * (len(value) == 1)})"
    if isinstance(value, float) and value in (float("inf"), -float("inf")):
        return f"float({str(value)!r})"
    plain = describe(value)
    return repr(plain)


def _keywords(given: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={_python(value)}" for name, value in given.items())


def _from_python(text: str, images: Sequence[str]) -> tuple[Transform, int | None]:
    try:
        tree = ast.parse(text.strip())
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        reason = getattr(error, "msg", None) or "it is nested too deeply"
        line = getattr(error, "lineno", None)
        where = f", line {line}" if line else ""
        raise ValueError(f"text must be Python, YAML or a command line: {reason}{where}") from error
    found, seed = None, None
    for statement in tree.body:
        value = getattr(statement, "value", None)
        if isinstance(value, ast.Call) and _called(value).endswith("manual_seed") and value.args:
            seed = int(ast.literal_eval(value.args[0]))
        elif isinstance(value, ast.List):
            found = [_described(each) for each in value.elts]
        elif isinstance(value, ast.Call) and _called(value).rpartition(".")[2] in (
            "Compose",
            *TRANSFORMS,
        ):
            if isinstance(value.func, ast.Attribute) and isinstance(value.func.value, ast.Call):
                continue
            subject = isinstance(statement, ast.Assign) and any(
                isinstance(target, ast.Name) and target.id == "subject"
                for target in statement.targets
            )
            found = found if subject else _described(value)
    if found is None:
        raise ValueError("text must make a transform, as tio.Compose([tio.RandomBlur()]) does")
    check_files(found, images)
    return from_dict(found), seed


def _called(call: ast.Call) -> str:
    """Return the dotted name that is called; '' for anything else."""
    return ast.unparse(call.func) if isinstance(call.func, (ast.Name, ast.Attribute)) else ""


def _described(node: ast.expr) -> Any:
    """Return the plain value of an expression; a call becomes a description of its result."""
    if isinstance(node, ast.Call):
        name = _called(node)
        last = name.rpartition(".")[2]
        if last in ("tensor", "array", "tuple", "list", "Path") and len(node.args) == 1:
            return _described(node.args[0])
        if name == "float" and len(node.args) == 1:
            return float(ast.literal_eval(node.args[0]))
        package = "torch.distributions" if "distributions" in name else "torchio_gpu"
        cls = getattr(transforms if package == "torchio_gpu" else torch.distributions, last, None)
        if not isinstance(cls, type):
            raise ValueError(f"line {node.lineno}: there is no transform {name or 'here'!r}")
        names = list(parameters(cls))
        if len(node.args) > len(names) or any(each.arg is None for each in node.keywords):
            raise ValueError(f"line {node.lineno}: {last} must be given arguments by name")
        given = dict(zip(names, map(_described, node.args), strict=False))
        given |= {str(each.arg): _described(each.value) for each in node.keywords}
        steps = given.get("transforms")
        if isinstance(steps, _Pairs):
            given |= {"transforms": steps.keys, "weights": steps.values}
        return {"_target_": f"{package}.{last}", **given}
    if isinstance(node, (ast.List, ast.Tuple)):
        return [_described(each) for each in node.elts]
    if isinstance(node, ast.Dict) and None not in node.keys:
        keys = [_described(key) for key in node.keys if key is not None]
        values = [_described(each) for each in node.values]
        if any(isinstance(key, dict) for key in keys):
            return _Pairs(keys, values)
        return dict(zip(keys, values, strict=True))
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError) as error:
        line = getattr(node, "lineno", 1)
        raise ValueError(
            f"line {line}: values must be plain, got {ast.unparse(node)[:60]}"
        ) from error


@dataclass
class _Pairs:
    """Transforms with their weights, as of ``OneOf({blur: 2, noise: 1})``."""

    keys: list[Any]
    values: list[Any]


__all__ = [
    "Input",
    "as_command",
    "as_python",
    "as_yaml",
    "from_text",
    "steps_of",
    "subject_as_python",
]
