"""Session of a page: the subject that was read, and its transforms as pages ask for them."""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from ..data import Image, LabelMap, ScalarImage, Subject
from ..transforms import Compose, Transform
from ..transforms.building import from_dict
from ..transforms.plain_values import DescriptionError
from . import texts, wire
from .errors import StaleError, StepError
from .form import check_files, counts_voxels, forms, takes_integers

#: Voxels of the subject while a control is dragged, at most about.
COARSE = 350_000
#: Axes with fewer voxels are not thinned.
_SHORT = 32
#: Steps of a pipeline, and pictures of a strip, at most.
MOST_STEPS, MOST_PICTURES = 40, 12
_SLICED = {"axial": 2, "coronal": 1, "sagittal": 0}


@dataclass(frozen=True)
class Wish:
    """Pipeline and what is to be seen of its result.

    Args:
        steps: For each step ``name``, ``arguments`` and ``on``.
        seed: Seed of torch.
        image: Name of the image to send; the first one if there is none of this name.
        overlay: Name of the label map to send with it; '' for none.
        channel: Channel to send.
        coarse: Transform a part of the voxels, for a quick answer.
    """

    steps: Sequence[Mapping[str, Any]] = ()
    seed: int = 0
    image: str = ""
    overlay: str = ""
    channel: int = 0
    coarse: bool = False


@dataclass
class Session:
    """The subject, and where texts say that it comes from.

    Args:
        subject: Images, and points if any.
        inputs: Its images as files.
        subject_lines: Lines of Python that assign ``subject``; by default those that read files.
        pipeline: Pipeline that a page begins with; None for an example.
    """

    subject: Subject
    inputs: Sequence[texts.Input] = ()
    subject_lines: str = ""
    pipeline: Transform | None = None
    _thin: Subject | None = field(default=None, init=False)
    _last: tuple[Any, ...] = field(default=(), init=False)

    def __post_init__(self) -> None:
        self.subject.load()
        images = self.subject.get_images_dict(intensity_only=False)
        self._kinds = {name: each.kind for name, each in images.items()}
        self._scalars = [name for name, kind in self._kinds.items() if kind == "intensity"]
        self._spread = 1.0
        if self._scalars:
            low, high = wire.volume(images[self._scalars[0]])[0]["window"]
            self._spread = float(high - low) or 1.0
        if not self.subject_lines:
            self.subject_lines = texts.subject_as_python(self.inputs)

    def state(self) -> dict[str, Any]:
        """Return what a page needs to begin: images, and the controls of all transforms."""
        files = {each.name: each.path.rpartition("/")[2] for each in self.inputs}
        return {
            "images": [
                {"name": name, "kind": kind, "title": files.get(name, name)}
                for name, kind in self._kinds.items()
            ],
            "points": list(self.subject.get_points()),
            "steps": None if self.pipeline is None else _steps(self.pipeline),
            "forms": forms(self._kinds, round(self._spread, 6)),
        }

    def result(self, wish: Wish) -> bytes:
        """Return the result of a pipeline as bytes; see :mod:`.wire`.

        The header has ``image``, ``overlay`` (None without one), ``images`` (names and kinds),
        ``points`` (world mm by name), ``ms``, ``coarse``, ``notes`` (warnings) and ``drawn`` (what
        was applied, with the parameters that were drawn).

        Raises:
            StepError: A step cannot be made or applied.
        """
        pipeline, places = self._pipeline(wish)
        coarse = wish.coarse and not _counts_voxels(wish)
        key = (repr(wish.steps), wish.seed, coarse)
        if self._last[:1] != (key,):
            self._last = (key, *self._apply(pipeline, places, wish.seed, coarse))
        _, after, ms, notes = self._last
        found = after.get_images_dict(intensity_only=False)
        kinds = {name: each.kind for name, each in found.items()}
        name = wish.image if wish.image in found else next(iter(found))
        header: dict[str, Any] = {
            "image": name, "ms": ms, "coarse": coarse, "notes": notes,
            "images": [{"name": n, "kind": kind} for n, kind in kinds.items()],
            "points": {n: each.world().tolist() for n, each in after.get_points().items()},
            "drawn": _drawn(after.history[len(self.subject.history) :]),
            "volumes": {}, "overlay": None,
        }  # fmt: skip
        for place in header["points"].values():
            place[:] = [row for row in place if np.isfinite(row).all()]
        arrays = {}
        header["volumes"]["image"], arrays["image"] = wire.volume(found[name], wish.channel)
        if wish.overlay in found and kinds[wish.overlay] == "label":
            header["overlay"] = wish.overlay
            header["volumes"]["label"], arrays["label"] = wire.volume(found[wish.overlay])
        return wire.message(header, arrays)

    def strip(
        self,
        wish: Wish,
        variants: Sequence[Mapping[str, Any]],
        plane: str,
        at: Sequence[float],
        is_stale: Callable[[], bool] = lambda: False,
    ) -> bytes:
        """Return one plane of the result for each of several variants of a pipeline, coarsely.

        Args:
            wish: The pipeline.
            variants: Each has ``seed``, or ``step``, ``argument`` and ``value``.
            plane: 'axial', 'coronal' or 'sagittal'.
            at: Point of the world that the plane goes through, mm.
            is_stale: Function that returns True once the answer is superfluous.

        Raises:
            StaleError: It is.
        """
        if plane not in _SLICED:
            raise ValueError(f"plane must be one of {', '.join(_SLICED)}, got {plane!r}")
        if len(variants) > MOST_PICTURES:
            raise ValueError(f"a strip must have at most {MOST_PICTURES} pictures")
        header: dict[str, Any] = {"volumes": {}, "plane": plane}
        arrays = {}
        coarse = not _counts_voxels(wish)
        for n, variant in enumerate(variants):
            if is_stale():
                raise StaleError
            steps = [dict(step) for step in wish.steps]
            if "argument" in variant:
                place: Any = variant.get("step")
                if place not in range(len(steps)):
                    raise ValueError(f"step of a variant must be one of the pipeline, got {place}")
                step = steps[place]
                step["arguments"] = {
                    **step.get("arguments", {}), variant["argument"]: variant["value"]
                }  # fmt: skip
            seed = int(variant.get("seed", wish.seed))
            pipeline, places = self._pipeline(Wish(steps, seed))
            after = self._apply(pipeline, places, seed, coarse)[0]
            found = after.get_images_dict(intensity_only=False)
            image = found.get(wish.image) or next(iter(found.values()))
            head, voxels = wire.volume(image, wish.channel)
            axis = _SLICED[plane]
            affine = np.array(head["affine"]).reshape(4, 4)
            voxel = np.linalg.inv(affine) @ [*at, 1]
            index = int(np.clip(round(voxel[axis]), 0, head["shape"][axis] - 1))
            # numpy's axes are K, J, I
            arrays[str(n)] = np.ascontiguousarray(voxels.take(index, 2 - axis))
            header["volumes"][str(n)] = {**head, "index": index}
        return wire.message(header, arrays)

    def explain(self, wish: Wish) -> str:
        """Return the plan of a pipeline for the subject, in words."""
        pipeline, places = self._pipeline(wish)
        if not len(pipeline):
            return "There are no steps: images are as they were read."
        try:
            return pipeline.explain(self.subject)
        except Exception as error:
            raise self._located(error, pipeline, places, wish.seed) from error

    def texts(self, wish: Wish) -> dict[str, str]:
        """Return the pipeline in Python, YAML and as a command line.

        Raises:
            StepError: A step cannot be made.
        """
        pipeline, _ = self._pipeline(wish)
        inputs = self.inputs or [texts.Input("t1", "t1.nii.gz")]
        return {
            "python": texts.as_python(pipeline, self.subject_lines, wish.seed),
            "yaml": texts.as_yaml(pipeline),
            "command": texts.as_command(pipeline, inputs, wish.seed),
        }

    def load(self, text: str) -> dict[str, Any]:
        """Return the ``steps`` of a text and its ``seed`` or None; see :func:`.texts.from_text`."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            transform, seed = texts.from_text(text, list(self._kinds))
        return {"steps": _steps(transform), "seed": seed}

    # Pipelines

    def _pipeline(self, wish: Wish) -> tuple[Compose, list[int]]:
        """Return the steps that are on as a pipeline, and their positions among all steps."""
        if len(wish.steps) > MOST_STEPS:
            raise ValueError(f"a pipeline must have at most {MOST_STEPS} steps here")
        made: dict[int, Transform] = {}
        for n, step in enumerate(wish.steps):
            if step.get("on", True):
                made[n] = self._transform(step, n)
        return Compose(list(made.values())), list(made)

    def _transform(self, step: Mapping[str, Any], place: int) -> Transform:
        name, given = str(step.get("name")), dict(step.get("arguments") or {})
        for argument, value in given.items():
            if isinstance(value, dict) and takes_integers(name, argument):
                given[argument] = {
                    int(k) if re.fullmatch(r"-?\d+", str(k)) else k: v for k, v in value.items()
                }
        try:
            check_files({name: given}, list(self._kinds))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                # by the class alone, so that a dict is never taken for something else
                return from_dict({"class_path": f"torchio_gpu.{name}", "init_args": given})
        except DescriptionError as error:
            raise StepError(error.problem.removeprefix(f"{name}: "), place) from error
        except Exception as error:
            raise StepError(_sentence(error), place) from error

    def _apply(
        self, pipeline: Compose, places: Sequence[int], seed: int, coarse: bool
    ) -> tuple[Subject, float, list[str]]:
        """Return the result, the time in ms, and warnings."""
        subject = self._thinned() if coarse else self.subject
        start = time.perf_counter()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                torch.manual_seed(seed)
                after = pipeline(subject) if len(pipeline) else subject
            except Exception as error:
                raise self._located(error, pipeline, places, seed) from error
        notes = dict.fromkeys(str(each.message) for each in caught)
        return after, 1e3 * (time.perf_counter() - start), list(notes)

    def _located(
        self, error: Exception, pipeline: Compose, places: Sequence[int], seed: int
    ) -> Exception:
        """Return an error of the first step that fails by itself, coarsely."""
        subject, sentence = self._thinned(), _sentence(error)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for place, transform in zip(places, pipeline.transforms, strict=True):
                torch.manual_seed(seed)
                try:
                    subject = transform(subject)
                except Exception as alone:
                    if not isinstance(alone, MemoryError) and str(alone):
                        sentence = sentence or _sentence(alone)
                    return StepError(sentence, place)
        return StepError(sentence, places[-1] if places else 0)

    def _thinned(self) -> Subject:
        """Return the subject with fewer voxels."""
        if self._thin is None:
            images = self.subject.get_images_dict(intensity_only=False)
            made: dict[str, Any] = {name: _thinned(each) for name, each in images.items()}
            rest = {name: self.subject[name] for name in self.subject if name not in made}
            self._thin = Subject({**made, **rest})
        return self._thin


def demo() -> Session:
    """Return a session with the average head of nilearn at 2 mm, or else a phantom."""
    try:
        from ..datasets import mni152

        head = mni152()
    except ImportError:
        return Session(_phantom(), (), _PHANTOM_LINES)
    from ..transforms import Resample

    return Session(Resample(2)(Subject(t1=head.t1, seg=head.seg)), (), _HEAD_LINES)


_HEAD_LINES = """from torchio_gpu.datasets import mni152

head = mni152()
subject = tio.Resample(2)(tio.Subject(t1=head.t1, seg=head.seg))"""
_PHANTOM_LINES = """# the phantom of the preview; name a file to tune transforms for it
from torchio_gpu.preview.session import demo

subject = demo().subject"""


def _phantom() -> Subject:
    """Return ellipsoids one within another, with a bright lesion on the left, at 2 mm."""
    axes = [torch.linspace(-1, 1, n) for n in (91, 109, 91)]
    x, y, z = torch.meshgrid(*axes, indexing="ij")
    r = torch.sqrt((x / 0.8) ** 2 + (y / 0.9) ** 2 + (z / 0.8) ** 2)
    folds = 0.05 * torch.sin(9 * torch.atan2(y, x)) * torch.cos(7 * z)
    seg = (r < 0.95).byte() + (r + folds < 0.75).byte()
    ventricle = ((x.abs() - 0.15) / 0.1) ** 2 + (y / 0.3) ** 2 + ((z - 0.05) / 0.15) ** 2 < 1
    lesion = ((x + 0.4) ** 2 + (y - 0.2) ** 2 + (z - 0.1) ** 2) < 0.01
    seg[ventricle], seg[lesion] = 0, 3
    t1 = torch.tensor([0.02, 0.55, 0.85, 1.0])[seg.long()]
    t1 = torch.nn.functional.avg_pool3d(t1[None, None], 3, 1, 1)[0]
    affine = np.diag([2.0, 2, 2, 1])
    affine[:3, 3] = -90, -108, -90
    return Subject(t1=ScalarImage(t1, affine=affine), seg=LabelMap(seg[None], affine=affine))


def _thinned(image: Image) -> Image:
    """Return an image with each second, or n-th, of its voxels along long axes."""
    shape = image.spatial_shape
    long = [n > _SHORT for n in shape]
    stride = 2
    while np.prod([n / stride if far else n for n, far in zip(shape, long, strict=True)]) > COARSE:
        stride += 1
    strides = [stride if far else 1 for far in long]
    i, j, k = strides
    affine = image.affine @ np.diag([*strides, 1])
    data = image.data[:, ::i, ::j, ::k].contiguous()
    return type(image)(data, affine=affine)


def _counts_voxels(wish: Wish) -> bool:
    """Return True if a step that is on means another thing where voxels are larger."""
    return any(counts_voxels(str(s.get("name"))) for s in wish.steps if s.get("on", True))


def _steps(transform: Transform) -> list[dict[str, Any]]:
    return [{**step, "on": True} for step in texts.steps_of(transform)]


def _drawn(history: Sequence[Any]) -> list[str]:
    """Return one line for each applied transform, with its parameters to three digits."""

    def shorter(match: re.Match[str]) -> str:
        return f"{float(match[0]):.3g}"

    lines = (re.sub(r"-?\d+\.\d+(e-?\d+)?", shorter, repr(each)) for each in history)
    return [line if len(line) <= 400 else f"{line[:400]}…" for line in lines]


def _sentence(error: Exception) -> str:
    text = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
    if isinstance(error, MemoryError) or "allocate memory" in text:
        return "there is not enough memory for the result"
    return text.partition("\n")[0] or type(error).__name__


__all__ = ["Session", "Wish", "demo"]
