"""What every transform has: arguments common to all, and the way from input to output."""

from __future__ import annotations

import inspect
import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, wraps
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ..data import Image, ImagesBatch, Subject, SubjectsBatch
from ..data.image import INTENSITY, LABEL
from ..functional.operations import Operation
from ..geometry import Space
from ..shapes import Volume
from ..signature import check_arguments, is_flag, is_number
from . import compiled
from .convert import to_batch
from .parameters.params import Params
from .pipeline.moves import Move, Present, Sampling, Scene
from .pipeline.plan import Plan
from .pipeline.steps import Outline, Step
from .pipeline.volumes import Made, with_made

_LIBRARY = __name__.partition(".")[0] + "."
#: Decisions that a step hangs on: the number of each, and which branch of it.
Branches = tuple[tuple[int, int], ...]


class Transform(nn.Module, ABC):
    """Base of all transforms.

    Called with a Subject, Image, SubjectsBatch, ImagesBatch, tensor (C, I, J, K) or
    (B, C, I, J, K), array, SimpleITK, NiBabel or PIL image, or a dict of these, a transform
    returns the same type. Every sample of a batch gets parameters of its own. The input is left as
    it is; voxels that a transform does not change may be shared between input and output.

    Args:
        p: Probability that a sample is transformed.
        copy: Return a new container. With ``False`` a Subject, Image, batch or dict given is
            itself changed and returned; its old voxel tensors stay as they are.
        include: Names of the only images to transform.
        exclude: Names of images not to transform.
        keep: Names of images to keep as they were, each with the name to keep it under.
        label_keys: Of a dict, the keys that hold label maps.

    Raises:
        ValueError: ``p`` is not between 0 and 1, or an image is both included and excluded.
    """

    #: 'spatial' transforms move content, 'pointwise' ones change each voxel by itself, 'volume'
    #: ones need the whole volume at once.
    role: ClassVar[str]
    #: Whether it may share a pass with its neighbours.
    fuse: bool = True
    #: Of a spatial transform: whether its map bends; whether it keeps voxel axes parallel; and if
    #: so, whether it may give them another order.
    bends: ClassVar[bool] = False
    parallel: bool = False
    permutes: ClassVar[bool] = False
    #: Whether it gives each image a grid of its own; and whether that may add to the field of
    #: view, or cut something off it.
    regrids: ClassVar[bool] = False
    pads: bool = False
    cuts: bool = False
    #: Of a volume transform: whether it is one increasing linear map of the intensities of each
    #: sample, so that it may be carried out before the voxels are interpolated.
    commutes: bool = False
    #: Whether voxels that are given stay as they are: a dataset need not copy them.
    keeps_input: ClassVar[bool] = True
    #: Whether it calls a function of the user, of which nothing is known.
    foreign: ClassVar[bool] = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Let the outermost constructor say that an instance is made: its arguments are fixed."""
        super().__init_subclass__(**kwargs)
        if not _is_own(cls) and "keeps_input" not in cls.__dict__:
            cls.keeps_input = False  # of others' classes nobody knows
        construct = cls.__dict__.get("__init__")
        if construct is None:
            return

        @wraps(construct)
        def made(self: Transform, *args: Any, **kwargs: Any) -> None:
            if _is_own(cls):
                check_arguments(construct, (self, *args), kwargs)
            construct(self, *args, **kwargs)
            if type(self).__init__ is made:
                self.__dict__["_made"] = True

        cls.__init__ = made  # type: ignore[method-assign]

    def __setattr__(self, name: str, value: Any) -> None:
        if "_made" in self.__dict__ and name in _fixed(type(self)):
            raise AttributeError(
                f"{name} of {self.name} cannot be changed, since ranges and plans are made of it: "
                f"make another one, {self.name}({name}=...)"
            )
        super().__setattr__(name, value)

    def __init__(
        self,
        p: float = 1.0,
        copy: bool = True,
        include: Sequence[str] | None = None,
        exclude: Sequence[str] | None = None,
        keep: Mapping[str, str] | None = None,
        label_keys: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        if not is_number(p) or not 0 <= p <= 1:
            raise ValueError(f"p must be a probability between 0 and 1, got {p!r}")
        if not is_flag(copy):
            raise TypeError(f"copy must be True or False, got {copy!r}")
        if keep is not None and not isinstance(keep, Mapping):
            raise TypeError(f"keep must be a dict of names or None, got {keep!r}")
        self.p = float(p)
        self.copy = copy
        self.include = _names(include, "include")
        self.exclude = _names(exclude, "exclude")
        self.label_keys = _names(label_keys, "label_keys")
        both = set(self.include or ()) & set(self.exclude or ())
        if both:
            raise ValueError(f"include and exclude must not share names, both have {sorted(both)}")
        self.keep = dict(keep) if keep else None
        self.number = compiled.register(self)

    # What a transform defines

    @property
    def draws(self) -> int:
        """How many uniform numbers one set of parameters takes."""
        return 0

    @abstractmethod
    def draw(self, scene: Scene, u: np.ndarray) -> Params:
        """Parameters from uniform numbers in (0, 1).

        Args:
            scene: What is known of the samples.
            u: [B, draws] where the images of a subject share parameters; [B, M, draws] where each
                of the M images gets its own.
        """

    @property
    def shares(self) -> bool:
        """Whether all images of a subject share one set of parameters."""
        return self.role == "spatial"

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of images that are transformed."""
        return (INTENSITY,) if self.role in ("pointwise", "volume") else (INTENSITY, LABEL)

    def moves(self, params: Any, scene: Scene) -> tuple[Move, ...]:
        """Of a spatial transform: where the content goes, step by step."""
        raise NotImplementedError

    def sampling(self) -> Sampling | None:
        """Of a spatial transform: how voxels are read, or None if it does not matter."""
        return None

    def column(self, params: Any, known: Sequence[str], name: str, space: Space) -> int | None:
        """Of which image in recorded parameters those for an image are, or None for none.

        Args:
            params: The parameters.
            known: The images that they are of.
            name: The image. One that was added later follows the others if they share parameters.
            space: Where its voxels lie.
        """
        if name in known:
            return known.index(name)
        return 0 if self.shares else None

    def regrid(self, params: Any, column: int | None, space: Space) -> Move:
        """Of a spatial transform that regrids: what happens to one image.

        Args:
            params: The parameters.
            column: Of which image in them; None for one that was added later.
            space: Where its voxels lie.
        """
        raise NotImplementedError

    def operation(self, params: Any, active: np.ndarray | None) -> Operation:
        """Of a pointwise transform: what happens to the voxels of one image."""
        raise NotImplementedError

    def voxels(self, images: Mapping[str, ImagesBatch], name: str, params: Any) -> Volume:
        """Of a volume transform: the new voxels of one image.

        Args:
            images: All images of the samples to transform.
            name: The image.
            params: Its parameters; [B] or [B, ...] each.
        """
        raise NotImplementedError

    def placed(self, images: Mapping[str, ImagesBatch], name: str, params: Any) -> np.ndarray:
        """Of a volume transform: where the new voxels of one image lie, [B, 4, 4]."""
        return images[name].affine

    @property
    def computes(self) -> bool:
        """Of a volume transform: whether it computes with voxels, so that integers become float32,
        or merely moves them."""
        return True

    def makes(self, kinds: tuple[tuple[str, str], ...]) -> Made | None:
        """Of a volume transform: the image that it adds to those of some names and kinds."""
        return None

    def invert(self, params: Any) -> Params:
        """Parameters with which the transform undoes what it did with ``params``."""
        raise NotImplementedError(f"{type(self).__name__} cannot be undone")

    @property
    def is_invertible(self) -> bool:
        """Whether what the transform does can be undone."""
        return type(self).invert is not Transform.invert

    # What a transform can do

    def forward(self, x: Any) -> Any:
        if torch.compiler.is_compiling():
            return compiled.call(self, x)
        batch, restore = to_batch(x, self._only(), self.label_keys)
        plan = self.plan()
        if batch.metadata or isinstance(x, dict):
            _warn_of_points(x if isinstance(x, dict) else batch.metadata, plan)
        return self._finish(x, restore(plan.run(batch)))

    def sample(self, batch: SubjectsBatch, u: np.ndarray | None = None) -> Params:
        """Draw parameters for a batch, without applying them.

        Args:
            batch: The samples.
            u: Uniform numbers to draw from, as for :meth:`draw`; by default made from the
                samples' seeds, or from torch's generator.
        """
        scene = self.scene(batch)
        if u is None:
            u = self.plan().draw(batch).numbers(0, self)
        return self.draw(scene, u)

    def apply(self, x: Any, params: Params | None = None) -> Any:
        """Apply the transform with given parameters, as drawn by :meth:`sample`.

        Without parameters this is ``torch.nn.Module.apply``, which torch calls on every module of
        a model: ``x`` is then a function of modules.
        """
        if params is None:
            return super().apply(x)
        batch, restore = to_batch(x, self._only(), self.label_keys)
        scene = self.scene(batch)
        untouched = tuple(name for name in batch.images if name not in scene.names)
        step = Step(self, params=params, names=scene.names, untouched=untouched)
        plan = Plan(Outline([step]))
        return self._finish(x, restore(plan.run(batch)))

    def scene(self, batch: SubjectsBatch) -> Scene:
        """What the transform may know of a batch."""
        images = with_made(self, batch.images)
        kinds = tuple((name, each.kind) for name, each in images.items())
        names = self.select(kinds, tuple(batch.metadata))
        return Scene(names, tuple(images[name].space for name in names), Present(images))

    def select(
        self, kinds: tuple[tuple[str, str], ...], others: Sequence[str] | None = None
    ) -> tuple[str, ...]:
        """Names of the images to transform, among those of a batch.

        Args:
            kinds: Names of the images with their kinds.
            others: Names that stand for images a subject does not have. None for what is
                recorded: names to include and exclude were settled when it was applied.
        """
        selected = tuple(name for name, kind in kinds if kind in self.kinds)
        if others is None:
            return selected
        known = {name for name, _ in kinds} | set(others)
        for name in (*(self.include or ()), *(self.exclude or ())):
            if name not in known:
                raise KeyError(
                    f"include and exclude of {type(self).__name__} must name images of the "
                    f"subject, {name!r} is none of {sorted(known)}"
                )
        return tuple(
            name
            for name in selected
            if (self.include is None or name in self.include)
            and (self.exclude is None or name not in self.exclude)
        )

    def outline(self, outline: Outline, through: Branches = ()) -> None:
        """Add the transform to a pipeline, as a step; compositions add several.

        Args:
            outline: The pipeline so far.
            through: The decisions that the transform hangs on.
        """
        gates = self._coin(outline, through)
        kept = tuple((self.keep or {}).values())
        step = Step(self, outline.position, gates=gates, keep=self.keep, untouched=kept)
        outline.steps.append(step)

    def _coin(self, outline: Outline, through: Branches) -> Branches:
        """Let ``p`` decide as well."""
        return through if self.p == 1 else (*through, (outline.gate(1, lambda u: u < self.p), 0))

    def plan(self) -> Plan:
        """How the transform is carried out; made at the first call, and when it has changed."""
        structure = self._structure()
        known, plan = self.__dict__.get("_plan", (None, None))
        if known != structure:
            outline = Outline()
            self.outline(outline)
            plan = Plan(outline)
            self.__dict__["_plan"] = structure, plan
        return plan  # type: ignore[no-any-return]

    def _structure(self) -> tuple[Any, ...]:
        """All that a plan depends on, of the transform and of those within."""
        within: Any = self._modules.values()
        return (
            self.p == 1,
            self.include,
            self.exclude,
            self.fuse,
            self.keep and tuple(self.keep.items()),
            self.sampling(),
            self.role,
            self.commutes,
            # quicker to ask for than an instance of an abstract class
            *[each._structure() for each in within if hasattr(each, "_structure")],
        )

    def _only(self) -> tuple[str, ...] | None:
        """Of a dict, the keys to take as images."""
        return self.include

    def _finish(self, x: Any, result: Any) -> Any:
        """Hand out the result, in the container that came in if so asked."""
        if self.copy or result is x:
            return result
        if isinstance(x, dict):
            x.update(result)
        elif isinstance(x, (Subject, Image, SubjectsBatch, ImagesBatch)):
            x.__dict__.update(result.__dict__)
        else:  # tensors, arrays and foreign images are values, not containers
            return result
        return x

    # How a transform is written down

    def arguments(self) -> dict[str, Any]:
        """Constructor arguments that differ from their defaults.

        Every transform keeps each argument under its own name.
        """
        found = {}
        for cls in (type(self), Transform):
            for name, parameter in inspect.signature(cls.__init__).parameters.items():
                if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
                    continue
                if name == "self" or name in found:
                    continue
                value = getattr(self, name)
                default = parameter.default
                same = value is default or (
                    isinstance(value, (int, float, str, tuple)) and value == default
                )
                if not same:
                    found[name] = value
        return found

    @property
    def name(self) -> str:
        """Name of the class."""
        return type(self).__name__

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        for name in ("_plan", "_portable", "number"):
            state.pop(name, None)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self.number = compiled.register(self)

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={_brief(v)}" for name, v in self.arguments().items())
        return f"{self.name}({arguments})"


def _brief(value: Any) -> str:
    """A value in one line: of large arrays, their shape."""
    if isinstance(value, (torch.Tensor, np.ndarray)):
        large = math.prod(value.shape) > 16
        return f"<{' x '.join(map(str, value.shape))}>" if large else repr(value.tolist())
    if isinstance(value, tuple):
        inner = ", ".join(map(_brief, value))
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    if isinstance(value, list):
        return f"[{', '.join(map(_brief, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key!r}: {_brief(each)}' for key, each in value.items())}}}"
    return " ".join(repr(value).split())


def _warn_of_points(values: Mapping[str, Any], plan: Plan) -> None:
    """Warn, once for each name, of what looks like landmarks and stays while content moves."""
    movers = [s.transform for s in plan.steps if s.transform.role == "spatial"]
    movers = [transform for transform in movers if not transform.regrids]
    for name, value in values.items() if movers else ():
        one = value[0] if isinstance(value, list) and value else value
        if not isinstance(one, (torch.Tensor, np.ndarray)) or one.ndim != 2 or name in _POINTS:
            continue
        if one.shape[1] == 3:
            _POINTS.add(name)
            warnings.warn(
                f"{name!r} has shape {tuple(one.shape)}, as landmarks have, and stays as it is: "
                f"{movers[0].name} moves images alone",
                RuntimeWarning,
                stacklevel=4,
            )


#: Names that were warned of.
_POINTS: set[str] = set()


@cache
def _fixed(cls: type[Transform]) -> frozenset[str]:
    """Names of arguments of this library's constructors that are not common to all transforms."""
    common = frozenset(inspect.signature(Transform.__init__).parameters)
    own: list[Any] = [vars(c).get("__init__") for c in cls.__mro__ if _is_own(c)]
    named = (inspect.signature(each).parameters for each in own if each is not None)
    return frozenset(name for names in named for name in names) - common


def _is_own(cls: type) -> bool:
    """Return whether a class is one of this library."""
    return cls.__module__.startswith(_LIBRARY)


def _names(names: Sequence[str] | None, argument: str) -> tuple[str, ...] | None:
    if names is None:
        return None
    usable = isinstance(names, Iterable) and not isinstance(names, (str, Tensor))
    known: tuple[Any, ...] = (
        tuple(names) if usable else (names,)
    )  # once: a generator is then at its end
    if not usable or not all(isinstance(name, str) for name in known):
        raise TypeError(f"{argument} must be a sequence of names or None, got {names!r}")
    return known


__all__ = ["Branches", "Scene", "Transform"]
