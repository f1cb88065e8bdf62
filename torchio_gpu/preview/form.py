"""Controls of transforms, from the types, defaults and documentation of their arguments."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import chain
from typing import Any

from .. import transforms
from ..docstrings import meaning, parsed, plain_text
from ..names import TRANSFORMS
from ..transforms import RandomTransform
from ..transforms.naming import COMMON, parameters
from ..transforms.plain_values import DescriptionError

#: Common arguments that have a control.
_SHOWN = ("p", "include", "exclude")
#: Arguments that are rarely changed, and are folded away.
_FOLDED = frozenset(
    (
        *("image_interpolation", "label_interpolation", "default_pad_value", "default_pad_label"),
        *("check_shape", "center", "by_channel", "channel_p", "include", "exclude", "affine"),
        *("pca_kwargs", "to_kwargs", "antialias", "scalars_only", "pre_affine_name"),
    )
)
#: Argument types whose values no page can hold, with the reason.
_UNFIT = {
    "Callable": "takes a function",
    "SlicesLike": "takes a pose for each slice",
    "VectorsLike": "takes a field with a value for each voxel",
}
#: Arguments that may name a file.
_FILES = ("Path", "Landmarks", "GridLike", "VectorsLike")
#: Values that needed arguments begin with.
_STARTS: dict[str, Any] = {
    "axis": 0, "downsampling": 4, "std": 2, "factor": 1.3, "cropping": 10, "target_multiple": 16,
    "gamma": 1.5, "num_ghosts": 4, "intensity": 0.8, "cutoff": 0.5, "zoom": 0.5, "labels": [1],
    "degrees": [[8, 0, 0], [0, 8, 0]], "translation": [[0, 3, 0], [0, 0, 3]], "times": [0.4, 0.7],
    "remapping": {"1": 2}, "target_shape": 96, "spikes_positions": [[0.4, 0.5, 0.6]],
    "patch_size": 15, "target": "torch.float16", "gain": 5, "radius": 2, "shift": [0.4, -0.2, 0.1],
    "locations": [[[10, 10, 10], [30, 30, 10]]],
    "transforms": [{"RandomBlur": {}}, {"RandomNoise": {}}], "masking_method": "Left",
    "coefficients": [0, 0.3, 0, 0, 0.3, 0, 0, 0, 0, 0, 0.3, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    "reference": [[64, 64, 64], [[3, 0, 0, -96], [0, 3, 0, -96], [0, 0, 3, -96], [0, 0, 0, 1]]],
    "share": 0.625, "acceleration": 2, "position": 0.4, "field_strength": 0.3,
    "ratio": 2, "thickness": 5, "dose": 0.25,
    "distance": 10,
    "geometry": "linear", "attenuation": 2, "gains": [-6, 0, 6], "strength": 1, "brightness": 0.5,
    "landmarks": [0, 8, 15, 22, 30, 38, 46, 54, 62, 71, 80, 90, 100],
}  # fmt: skip
_RING, _BUMP = [[0, 0, 0]] * 5, [[0, 0, 0], [0, 0, 0], [6, 6, 0], [0, 0, 0], [0, 0, 0]]
#: Displacements, mm, that bend the middle of an image.
_BEND = [[_RING] * 5, [_RING] * 5, [_RING, _RING, _BUMP, _RING, _RING], [_RING] * 5, [_RING] * 5]
#: The same of arguments that mean another thing in one transform, or without which it does nothing.
_STARTS_OF: dict[tuple[str, str], Any] = {
    ("Spike", "intensity"): 0.3, ("ElasticDeformation", "control_points"): _BEND,
    ("AffineElasticDeformation", "elastic_params"): {"control_points": _BEND},
    ("CropOrPad", "target_shape"): 96, ("Pad", "padding"): 10,
    ("LabelsToImage", "used_labels"): [0, 1, 2], ("LabelsToImage", "mean"): [0, 0.4, 0.8],
    ("Cutout", "first"): [[40, 40, 40]], ("Cutout", "size"): [[30, 30, 30]],
    ("LabelsToImage", "std"): [0.05, 0.05, 0.05], ("ChemicalShift", "shift"): 2,
    ("Zipper", "phase_axis"): 1, ("Zipper", "intensity"): 0.3, ("CoilNoise", "std"): 0.1,
    ("Window", "window"): "brain", ("Streaks", "photons"): 700, ("Rings", "strength"): 0.005,
    ("SparseView", "count"): 60, ("LimitedAngle", "degrees"): 120,
    ("LabelsToUltrasound", "mean"): {"0": 0.02, "1": 0.2},
    ("AcousticShadow", "loss"): 12,
    ("LabelAttenuation", "attenuation"): {"1": 2}, ("Reverberation", "strength"): 0.4,
    ("RandomLabelAttenuation", "attenuation"): {"1": [0.5, 3]},
}  # fmt: skip
_AXES = ("LR", "AP", "IS", 0, 1, 2)
_HALVES = ("Left", "Right", "Anterior", "Posterior", "Superior", "Inferior")
#: Ends of sliders of some arguments.
_ENDS = {"scales": (0.5, 1.5), "factor": (0.1, 2.0), "width": (0.3, 3.0), "from_field": (0.5, 7.0)}
#: Extents of sliders by unit, where the documentation names no ends and the default is 0.
_EXTENTS = {"°": 45.0, "mm": 30.0, "voxels": 40.0}


@cache
def why_no_form(name: str) -> str:
    """Return the reason for which a transform cannot be tuned on a page; '' if it can.

    >>> why_no_form("Lambda")
    'Lambda takes a function, which a page cannot hold'
    """
    if issubclass(getattr(transforms, name), transforms.BatchTransform):
        return f"{name} mixes the samples of a batch, and a page has one"
    for parameter in _own(getattr(transforms, name)).values():
        if parameter.default is parameter.empty:
            for word, reason in _UNFIT.items():
                if re.search(rf"\b{word}", str(parameter.annotation)):
                    return f"{name} {reason}, which a page cannot hold"
    return ""


def form(name: str, images: Mapping[str, str], spread: float = 1.0) -> dict[str, Any]:
    """Return the controls of a transform as plain values.

    Args:
        name: One of ``TRANSFORMS``.
        images: Kind of each image of the subject, by its name.
        spread: Difference between a high and a low intensity of the image, to which controls in
            its own units reach.

    Returns:
        ``name``, ``summary``, ``random``, ``why_not``, and ``controls``: for each argument
        ``name``, ``kind``, ``meaning``, ``unit``, ``default``, ``start`` (the value of a needed
    XX

    >>> control = form("RandomBlur", {"t1": "intensity"})["controls"][0]
    >>> [control[key] for key in ("name", "kind", "unit", "default", "min", "max")]
    ['std', 'range', 'mm', [0, 2], 0.0, 6.0]
    """
    cls = getattr(transforms, name)
    paragraph = plain_text(" ".join(parsed(cls)[0][:1]))
    summary = re.split(r"(?<!al)\. ", paragraph)[0].rstrip(".") + "."
    reason = why_no_form(name)
    shown = {} if reason else _own(cls)
    controls = [_control(cls, each, images, spread) for each in shown.values()]
    return {
        "name": name,
        "summary": summary,
        "random": issubclass(cls, RandomTransform),
        "why_not": reason,
        "controls": sorted(controls, key=lambda each: each["folded"]),
    }


def forms(images: Mapping[str, str], spread: float = 1.0) -> list[dict[str, Any]]:
    """Return the controls of all transforms; see :func:`form`."""
    return [form(name, images, spread) for name in TRANSFORMS]


def check_files(description: Any, images: Sequence[str]) -> None:
    """Raise if a description of transforms could name a file.

    A transform that takes a path among its arguments may hold the names of images and the words of
    its documentation, and no other string.

    Args:
        description: Plain values in any form that :func:`.from_dict` reads.
        images: Names of the images of the subject.

    Raises:
        DescriptionError: It holds another string.

    >>> check_files({"Resample": "t1"}, ["t1"])
    >>> check_files([{"Resample": "/etc/passwd"}], ["t1"])
    Traceback (most recent call last):
    torchio_gpu.transforms.plain_values.DescriptionError: Resample must name an image of the ...
    """
    if isinstance(description, Mapping):
        for key, value in description.items():
            check_files(value, images)
            for name in (key, value):
                known = _words(name.rpartition(".")[2]) if isinstance(name, str) else None
                if known is not None:
                    under = value if name is key else description
                    _check_strings(name, under, {*images, *known, name})
    elif isinstance(description, Sequence) and not isinstance(description, str):
        for each in description:
            check_files(each, images)


@cache
def counts_voxels(name: str) -> bool:
    """Return True for a transform with an argument in voxels, which depends on their size."""
    return any(control["unit"] == "voxels" for control in form(name, {})["controls"])


def takes_integers(name: str, argument: str) -> bool:
    """Return True for a dict whose keys are whole numbers, which JSON has as strings."""
    known = _own(getattr(transforms, name)).get(argument)
    return known is not None and "Mapping[int" in str(known.annotation)


@cache
def _words(name: str) -> frozenset[str] | None:
    """Return the words that arguments of a transform may be; None unless it can name a file."""
    if name not in TRANSFORMS:
        return None
    cls = getattr(transforms, name)
    hints = " ".join(str(p.annotation) for p in _own(cls).values())
    if not any(word in hints for word in _FILES):
        return None
    quoted = (re.findall(r"'([\w.]+)'", meaning(cls, n, transforms)) for n in parameters(cls))
    defaults = (p.default for p in parameters(cls).values() if isinstance(p.default, str))
    return frozenset([*_HALVES, *_interpolations(), *defaults, *chain.from_iterable(quoted)])


def _check_strings(owner: str, value: Any, known: set[str]) -> None:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, str):
        if value not in known:
            raise DescriptionError(
                f"{owner.rpartition('.')[2]} must name an image of the subject here, since only "
                f"files of the command line are read, got {value[:80]!r}"
            )
    elif isinstance(value, Sequence):
        for each in value:
            _check_strings(owner, each, known)


@cache
def _own(cls: Any) -> dict[str, inspect.Parameter]:
    shown = _SHOWN if cls is not transforms.To else _SHOWN[1:]  # which takes no other p than 1
    return {n: p for n, p in parameters(cls).items() if n not in COMMON or n in shown}


@cache
def _interpolations() -> tuple[str, ...]:
    text = meaning(transforms.Affine, "image_interpolation", transforms)
    return tuple(re.findall(r"'(\w+)'", text))


def _control(
    cls: Any, parameter: inspect.Parameter, images: Mapping[str, str], spread: float
) -> dict[str, Any]:
    name, hint = parameter.name, str(parameter.annotation).removesuffix(" | None")
    text = meaning(cls, name, transforms)
    needed = parameter.default is parameter.empty
    default = None if needed else _plain(parameter.default)
    labels = [each for each, kind in images.items() if kind == "label"]
    found: dict[str, Any] = {
        "name": name, "meaning": plain_text(text), "unit": _unit(name, text), "needed": needed,
        "default": default, "folded": name in _FOLDED,
    }  # fmt: skip
    options = list(dict.fromkeys(re.findall(r"'(\w+)'", text)))
    if name == "image_interpolation" and "As for" in text:
        options = [*_interpolations(), *options]
    if hint == "bool":
        kind = "flag"
    elif name in ("include", "exclude"):
        kind, options = "names", list(images)
    elif name in ("mask_name", "label_key"):
        kind, options = "option", labels
    elif hint == "str" and len(options) > 1:
        kind = "option"
    elif name == "target" and hint == "str":
        kind, options = "option", list(images)
    elif "AxesLike" in hint:
        kind, options = "axes", list(_AXES)
    elif "AxisLike" in hint:
        kind, options = "option", list(_AXES)
    elif hint in ("RangeLike", "RangesLike") or (hint == "Numbers" and "d means" in text):
        kind = "range"
    elif hint in ("int", "float") and default != -1:  # which stands for something else
        kind = "number"
    elif "Masking" in hint:
        kind, options = "text", [*labels, *_HALVES]
    else:
        kind = "text"
    start = _STARTS_OF.get((cls.__name__, name), default)
    if needed and start is None:
        start = _start(cls, name, images, labels, options)
    if kind == "text" and _is_numbers(hint) and not isinstance(start, (list, dict, str)):
        kind = "numbers" if name != "num_transforms" else "text"
    numeric = kind in ("number", "range", "numbers")
    if not (numeric or hint.startswith("ByImage[PointsLike")):
        found["unit"] = ""
    found |= {"kind": kind, "start": start, "options": [] if numeric else options}
    if numeric:
        found |= _extent(name, text, hint, start, found["unit"], spread)
    if kind == "range":
        around = re.search(r"d means \(([^)]*)\)", text)
        alone = "d, d" if "a number is that number" in text else "-d, d"
        found |= {"around": around[1] if around else alone, "random": "Range" in hint}
    return found


def _is_numbers(hint: str) -> bool:
    words = r"\bNumbers|PerSample|TripleLike|ShapeLike|int \| Sequence\[int\]"
    return re.search(words, hint) is not None


def _plain(value: Any) -> Any:
    return list(map(_plain, value)) if isinstance(value, tuple) else value


def _start(
    cls: Any, name: str, images: Mapping[str, str], labels: Sequence[str], options: Sequence[Any]
) -> Any:
    """Return the value that a needed argument has when its transform is added."""
    scalars = [each for each, kind in images.items() if kind == "intensity"]
    if cls.__name__ == "CopyAffine":
        return next(iter(images), "")
    if name == "masking_method" and labels:
        return labels[0]
    if name == "landmarks":
        return dict.fromkeys(scalars, _STARTS[name])
    return _STARTS.get(name, options[0] if options else None)


def _unit(name: str, text: str) -> str:
    """Return the unit of an argument, from its documentation; '' for a number without one."""
    if name == "in_min_max":  # the documentation speaks of percentiles, which it replaces
        return "intensity"
    patterns = {
        "°": r"\b[Aa]ngles?\b", "intensity": r"image's own units", "voxels": r"\b[Vv]oxels\b",
        "mm": r"\bmm\b|[Mm]illimet", "%": r"[Pp]ercentile",
    }  # fmt: skip
    return next((unit for unit, pattern in patterns.items() if re.search(pattern, text)), "")


def _extent(
    name: str, text: str, hint: str, start: Any, unit: str, spread: float
) -> dict[str, Any]:
    """Return the ends and the step of a slider.

    Ends are those that the documentation names; where it names none, three times the default, or
    what is usual for the unit.
    """
    around = re.search(r"d means (\([^)]*\))", text)
    low, high = _documented_ends(text, around[1] if around else "", unit)
    if low is None and "std" in name:
        low = 0.0
    if name in ("channel_p", "num_control_points"):  # more than the least: 0, and 4 all locked
        low = {"channel_p": 0.05, "num_control_points": 5.0}[name]
    whole = bool(
        hint == "int"
        or re.search(r"TripleLike|int \| Sequence|WholePerSample|ShapeLike", hint)
        or re.search(r"whole number|ends included", text)
    )
    reach = max(map(abs, _flat(start)), default=0.0) * 3 or _EXTENTS.get(unit, 1.0)
    if unit == "intensity":
        reach = max(spread, 1e-6)
    elif name in _ENDS:
        low, high = _ENDS[name]
    elif name == "target":
        reach, low = 8.0, 0.5
    elif unit == "°":
        reach = max(reach, 45.0)
    elif whole:
        reach = max(reach, 10.0)
        low = (min(0, start) if isinstance(start, int) else 0.0) if low is None else low
    low = -reach if low is None else low
    high = max(reach, low + 1) if high is None else high
    if whole:
        least = (
            1
            if re.search(r"[Nn]umber of|patch\b|[Vv]oxels along|times", text + hint)
            else round(low)
        )
        return {"min": max(round(low), least), "max": round(high), "step": 1}
    return {"min": round(low, 6), "max": round(high, 6), "step": _step(high - low)}


def _documented_ends(text: str, around: str, unit: str) -> tuple[float | None, float | None]:
    """Return the least and the greatest value that the documentation of an argument names.

    Args:
        text: The documentation.
        around: Pair that a single number d stands for, as '(0, d)'; '' if it does not say.
        unit: Unit of the argument.
    """
    low: float | None = None
    high: float | None = None
    if re.search(r"[Ll]argest|[Nn]umber of|[Ss]tandard deviation|[Pp]atch|[Tt]hickness", text):
        low = 0.0
    first, _, last = around.strip("()").partition(", ")
    low = float(first) if first.isdigit() else low
    high = float(last) if last.isdigit() else high
    if least := re.search(r">= (\d+)|at least (\d+)", text):
        low = float(least[1] or least[2])
    if re.search(r"> 0|[Ee]xponent:|half a voxel|multiple|of a patch", text):
        low = 0.1 if unit != "mm" else 2.0
    if re.search(r"from 0 to 1|between 0 and 1|[Pp]robability|\b[Ss]hare of", text):
        low, high = 0.0, 1.0
    if ends := re.search(r"from (-?\d[.\d]*) to (-?\d[.\d]*\d|\d)\b", text):
        low, high = float(ends[1]), float(ends[2])
    if "<= 1" in text:
        high = 1.0
    if choice := re.search(r"\b0, 1 or (\d)", text):
        high = float(choice[1])
    return (0.0, 100.0) if unit == "%" else (low, high)


def _flat(value: Any) -> list[float]:
    if isinstance(value, (list, tuple)):
        return list(chain.from_iterable(map(_flat, value)))
    return [float(value)] if isinstance(value, (int, float)) else []


def _step(span: float) -> float:
    """Return a round number that divides a slider into 100 to 1000 parts."""
    power: float = 10.0 ** (len(str(int(span))) - 3) if span >= 1 else 10.0**-2
    while span / power < 60:
        power /= 10
    return power


__all__ = ["check_files", "counts_voxels", "form", "forms", "takes_integers", "why_no_form"]
