"""Load and save pipelines; the form of their files."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from ..data.io import expanded
from ..data.io.writing import write_text
from ..names import nearest
from ..shapes import brief
from ..transforms import Compose, Transform
from ..transforms.building import Builder
from ..transforms.plain_values import DescriptionError, shown
from . import reading
from .short_form import Step, shortened

#: Version of the form of the files.
VERSION = 1
_KEYS = ("torchio_gpu", "pipeline")


def load_pipeline(
    path_or_text: str | os.PathLike[str],
    allow: type[Transform] | Sequence[type[Transform]] = (),
) -> Transform:
    """Return the transform of a file in YAML or JSON.

    A file has the version of its form, 1, and a list of transforms: each a name, or a name with
    arguments. What is no dict is the first argument, and so is a transform where one is taken, as
    in ``Inverse: {Flip: 0}``. Steps of ``OneOf`` and ``SomeOf`` may have a weight. A file may
    instead hold what :meth:`Transform.to_dict` returns, in either style.

    Values are plain: numbers, strings, lists and dicts; and where a range is taken, a
    :class:`Choice` or a distribution of torch by its name. Strings are paths where a transform
    takes a path, as :class:`Resample` does, whose files are read. Files of strangers are safe to
    load: they can name no function, and no class other than these.

    Args:
        path_or_text: Path of a file .yaml, .yml or .json; or a text, which is a string with a line
            break or one that begins with a brace.
        allow: Classes of transforms that the file may name, besides those of this library.

    Raises:
        ValueError: The content does not fit; the message names the line.
        FileNotFoundError: There is no such file.
        ImportError: It is YAML, and PyYAML is not installed.

    >>> load_pipeline('''
    ... torchio_gpu: 1
    ... pipeline:
    ...   - RandomFlip: LR
    ...   - OneOf: [{RandomNoise: {std: [0, 0.1]}, weight: 2}, RandomBlur]
    ... ''')
    Compose([RandomFlip(axes=('LR',)), OneOf({RandomNoise(std=(0, 0.1)): 2, RandomBlur(): 1})])
    >>> load_pipeline('''
    ... torchio_gpu: 1
    ... pipeline:
    ...   - RandomAffine: {degree: 15}
    ... ''')
    Traceback (most recent call last):
    ValueError: line 4: RandomAffine has no argument 'degree'; did you mean degrees?
    """
    document = reading.read(path_or_text)
    try:
        return _pipeline(document.value, Builder(allow))
    except DescriptionError as error:
        message = document.located(error.problem, error.path, shown(error.path))
        raise ValueError(message) from error


def save_pipeline(transform: Transform, path: str | os.PathLike[str]) -> None:
    """Write a transform to a file, in the short form that :func:`load_pipeline` reads.

    Arguments that have their default are left out. The file appears whole or not at all.

    Args:
        transform: The transform, most often a :class:`Compose`.
        path: File to write: .yaml, .yml or .json.

    Raises:
        TypeError: An argument cannot be written, as the function of a :class:`Lambda`, or a dict
            with the name '_target_' or 'class_path', under which files have a class.
        ValueError: The suffix is another, or the file would be too large to be read again.
        ImportError: It is YAML, and PyYAML is not installed.

    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "augment.yaml")
    ...     save_pipeline(Compose([RandomBlur(), RandomNoise(p=0.5)]), path)
    ...     print(path.read_text())
    torchio_gpu: 1
    pipeline:
    - RandomBlur
    - RandomNoise: {p: 0.5}
    """
    if not isinstance(transform, Transform):
        raise TypeError(f"transform must be a Transform, got {brief(transform)}")
    target = expanded(path)
    reading.check_suffix(target)
    write_text(written(transform, target.suffix.lower() == reading.JSON_SUFFIX), target)


def written(transform: Transform, as_json: bool = False) -> str:
    """Return the text of the file that :func:`save_pipeline` writes."""
    step = shortened(transform)
    plain = type(transform) is Compose and list(step) == ["Compose"]
    arguments = step["Compose"] if plain and isinstance(step, Mapping) else None
    pipeline = arguments if isinstance(arguments, list) else step
    document = Step(zip(_KEYS, (VERSION, pipeline), strict=True))
    _check_size(reading.count_values(document), reading.MAX_VALUES, "values")
    text = json.dumps(document, indent=2) + "\n" if as_json else _as_yaml(document)
    _check_size(len(text.encode()), reading.MAX_BYTES, "bytes")
    return text


def _check_size(size: int, most: int, unit: str) -> None:
    if size > most:
        raise ValueError(
            f"transform must take at most {most} {unit} to be read again, got {size}: a pipeline "
            "holds no volumes"
        )


def _pipeline(value: Any, builder: Builder) -> Transform:
    """Return the transform of a document."""
    if not isinstance(value, Mapping):
        got = "nothing" if value is None else brief(value)
        problem = f"a pipeline must begin with torchio_gpu: {VERSION}, and have a list pipeline:"
        raise DescriptionError(f"{problem}, got {got}")
    if "_target_" in value or "class_path" in value:
        return builder.transform(value)
    for key in value:
        if key not in _KEYS:
            hint = nearest(key, _KEYS) if isinstance(key, str) else ""
            problem = f"a pipeline must have the keys {' and '.join(_KEYS)}, got {brief(key)}{hint}"
            raise DescriptionError(problem, (key,))
    for key in _KEYS:
        if key not in value:
            raise DescriptionError(f"a pipeline must have the key {key}, got {list(value)}")
    version = value["torchio_gpu"]
    if type(version) is not int or version < 1:
        problem = f"torchio_gpu must be the version of the form, {VERSION}, got {brief(version)}"
        raise DescriptionError(problem, ("torchio_gpu",))
    if version > VERSION:
        raise DescriptionError(
            f"torchio_gpu must be at most {VERSION}, the newest form that this release reads, got "
            f"{version}: install a newer torchio-gpu",
            ("torchio_gpu",),
        )
    steps, place = value["pipeline"], ("pipeline",)
    if isinstance(steps, list):
        return Compose([builder.transform(each, (*place, n)) for n, each in enumerate(steps)])
    return builder.transform(steps, place)


# YAML


def _as_yaml(document: dict[str, Any]) -> str:
    yaml = reading.import_yaml()

    class Dumper(yaml.SafeDumper):  # type: ignore[misc,name-defined]
        """Dumper that writes what holds steps line by line, and all else in braces."""

        def ignore_aliases(self, data: Any) -> bool:
            return True

    def represent(dumper: Any, value: Any) -> Any:
        flow = not _holds_step(value)
        if isinstance(value, list):
            return dumper.represent_sequence("tag:yaml.org,2002:seq", value, flow)
        return dumper.represent_mapping("tag:yaml.org,2002:map", value.items(), flow)

    for kind in (dict, list, Step):
        Dumper.add_representer(kind, represent)
    # quotes for words that PyYAML takes for strings, and YAML 1.2 for numbers
    for tag, pattern in (("int", reading.INTEGER), ("float", reading.FLOAT)):
        Dumper.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", pattern, list("-+.0123456789"))
    text: str = yaml.dump(document, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=100)
    return text


def _holds_step(value: Any) -> bool:
    if isinstance(value, Step):
        return True
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(map(_holds_step, inner))


__all__ = ["load_pipeline", "save_pipeline", "written"]
