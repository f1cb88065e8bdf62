"""Base class of all transforms: common arguments, hooks, and execution."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import wraps
from itertools import count
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from ..data import Image, ImagesBatch, Subject, SubjectsBatch
from ..data.keys import KINDS
from ..signature import check_arguments
from . import compiled, descriptions, naming
from .argument_checks import CHECKS
from .convert import check_batch, to_batch
from .parameters.params import Params
from .pipeline.context import Context, ContextImages
from .pipeline.created import with_created
from .pipeline.executor import run
from .pipeline.maps import SpatialTraits
from .pipeline.plan import Plan
from .pipeline.points import warn_of_points
from .pipeline.steps import SUBJECT, Branches, Step, Steps
from .subject_hooks import SubjectHooks


class Transform(SubjectHooks, nn.Module, ABC):
    """Base of all transforms.

    Called with a Subject, Image, SubjectsBatch, ImagesBatch, tensor (C, I, J, K) or
    (B, C, I, J, K), array, SimpleITK, NiBabel or PIL image, or a dict of these, a transform
    returns the same type. Every sample of a batch gets parameters of its own. The input is left as
    it is; voxels that a transform does not change may be shared between input and output.

    A class of your own derives from a kind: :class:`SpatialTransform`, :class:`PointwiseTransform`,
    :class:`VolumeTransform` or :class:`LabelTransform`, and from :class:`RandomTransform` if it
    draws; it defines the hooks of the kind, which see all samples at once. Or it derives from any
    class here and defines :meth:`apply_transform`, which sees one subject, as in TorchIO 1. It must
    not define a method of the engine, nor name an argument of its constructor like a hook or a
    method: defining such a class raises a TypeError.

    Args:
        p: Probability that a sample is transformed.
        copy: Return a new container. With ``False`` a Subject, Image, batch or dict given is
            itself changed and returned; its old voxel tensors stay as they are.
        include: Names of the only images to transform.
        exclude: Names of images not to transform.
        keys: Older name of ``include``.
        keep: Names of images to keep as they were, each with the name to keep it under.
        parse_input: Take anything above. With ``False`` only a Subject or a batch is taken.
        label_keys: Keys of a dict that hold label maps, ``()`` for none. By default those that hold
            bool or int64, or have a word such as 'label', 'seg' or 'mask' in their name; a warning
            names each of them once.

    Raises:
        ValueError: ``p`` is not between 0 and 1, or an image is both included and excluded.
    """

    #: Execution: 'spatial' steps move content, 'pointwise' ones change each voxel by itself,
    #: 'volume' ones need the whole volume at once, 'subject' ones take one subject at a time, and
    #: 'batch' ones mix samples.
    role: ClassVar[str]
    #: Spatial behaviour; None for a transform that moves no content.
    traits: SpatialTraits | None = SpatialTraits()
    #: True if given voxels are never written to: a dataset need not copy them.
    keeps_input: ClassVar[bool] = True
    #: Number by which a graph of a compiler refers to the transform; of the class, to the class.
    _number: int
    #: Arguments, where the transform was constructed in a graph.
    _given: tuple[tuple[Any, ...], dict[str, Any]] | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Check names, and let the outermost constructor freeze the arguments of an instance."""
        super().__init_subclass__(**kwargs)
        own = naming.is_own(cls)
        naming.check_names(cls, own)
        if "apply_transform" in cls.__dict__:
            cls.role = SUBJECT
            cls.draw = _draw_nothing  # type: ignore[assignment,method-assign]
        cls._number = compiled.register(cls)
        if not own and "keeps_input" not in cls.__dict__:
            cls.keeps_input = False  # a class of the user may write to its input
        construct = cls.__dict__.get("__init__")
        if construct is None:
            return

        @wraps(construct)
        def construct_and_freeze(self: Transform, *args: Any, **kwargs: Any) -> None:
            if torch.compiler.is_dynamo_compiling():
                compiled.construct(self, args, kwargs)
                return
            if own:
                check_arguments(construct, (self, *args), kwargs)
                args = tuple(naming.own_copy(each) for each in args)
                kwargs = {name: naming.own_copy(each) for name, each in kwargs.items()}
            construct(self, *args, **kwargs)
            if type(self).__init__ is construct_and_freeze:
                self.__dict__["_passed"] = frozenset(kwargs)
                self.__dict__["_frozen"] = True

        cls.__init__ = construct_and_freeze  # type: ignore[method-assign]

    def __setattr__(self, name: str, value: Any) -> None:
        cls: Any = type(self)
        if "_frozen" in self.__dict__ and name in naming.frozen_arguments(cls):
            raise AttributeError(
                f"{name} of {self.name} cannot be changed, since ranges and plans depend on it: "
                f"create another transform, {self.name}({name}=...)"
            )
        if name in CHECKS:
            value = CHECKS[name](value)
        _changes.next()
        super().__setattr__(name, value)

    def __init__(
        self,
        p: float = 1.0,
        copy: bool = True,
        include: Sequence[str] | None = None,
        exclude: Sequence[str] | None = None,
        keys: Sequence[str] | None = None,
        keep: Mapping[str, str] | None = None,
        parse_input: bool = True,
        label_keys: Sequence[str] | None = None,
    ) -> None:
        if not hasattr(type(self), "role"):
            raise TypeError(
                f"{type(self).__name__} must derive from a kind of transform, such as "
                "SpatialTransform, or define apply_transform"
            )
        super().__init__()
        self.keys: Sequence[str] | None = keys  # checked by its own name
        if keys is not None:
            warnings.warn("keys is the older name of include", FutureWarning, stacklevel=3)
            if include is not None:
                raise ValueError("include must be given once, got it twice; keys is the same")
            include = keys
        self.p, self.copy, self.parse_input = p, copy, parse_input
        self.keys = None  # include has them
        self.keep: dict[str, str] | None = keep  # type: ignore[assignment]
        self.include: tuple[str, ...] | None = include  # type: ignore[assignment]
        self.exclude: tuple[str, ...] | None = exclude  # type: ignore[assignment]
        self.label_keys: tuple[str, ...] | None = label_keys  # type: ignore[assignment]
        both = set(self.include or ()) & set(self.exclude or ())
        if both:
            raise ValueError(f"include and exclude must not share names, both have {sorted(both)}")
        self._number = compiled.register(self)

    # Hooks

    @property
    def draws(self) -> int:
        """Number of uniform numbers that one set of parameters takes."""
        return 0

    @abstractmethod
    def draw(self, context: Context, u: np.ndarray) -> Params:
        """Return parameters for uniform numbers in (0, 1).

        Args:
            context: The images of the samples.
            u: [B, draws] where the images of a subject share parameters; [B, M, draws] where each
                of the M images gets its own.
        """

    @property
    def shares(self) -> bool:
        """True if all images of a subject share one set of parameters."""
        return False

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of images that are transformed."""
        return KINDS

    def select(
        self, kinds: tuple[tuple[str, str], ...], others: Sequence[str] | None = None
    ) -> tuple[str, ...]:
        """Return the names of the images to transform, among those of a batch.

        Args:
            kinds: Names of the images with their kinds.
            others: Names of images that a subject may lack. None for a recorded transform: names to
                include and exclude were checked when it was applied.
        """
        selected = tuple(name for name, kind in kinds if kind in self.kinds)
        if others is None:
            return selected
        available = {name for name, _ in kinds} | set(others)
        naming.warn_of_absent(type(self), (*(self.include or ()), *(self.exclude or ())), available)
        return tuple(
            name
            for name in selected
            if (self.include is None or name in self.include)
            and (self.exclude is None or name not in self.exclude)
        )

    # Methods

    def forward(self, x: Any) -> Any:
        if torch.compiler.is_compiling() and compiled.is_traced(x):
            return compiled.call(self, x)
        if self._given is not None:
            compiled.complete(self)
        if not (self.parse_input or isinstance(x, (Subject, SubjectsBatch))):
            raise TypeError(
                f"{self.name} with parse_input=False takes a Subject or a batch, "
                f"got {type(x).__name__}"
            )
        batch, restore = to_batch(x, self._image_keys(), self.label_keys)
        plan = self.plan()
        if plan.mixing is not None:
            check_batch(x, plan.mixing)
        if batch.metadata or isinstance(x, dict):
            warn_of_points(x if isinstance(x, dict) else batch.metadata, plan.steps)
        return self._finish(x, restore(run(plan, batch)))

    def sample_params(self, batch: SubjectsBatch, u: np.ndarray | None = None) -> Params:
        """Draw parameters for a batch, without applying them.

        Args:
            batch: The samples.
            u: Uniform numbers to draw from, as for :meth:`draw`; by default derived from the
                samples' seeds, or from torch's generator.
        """
        context = self._context(batch)
        if u is None:
            plan = self.plan()
            u = plan.numbers(batch).of_step(0, plan.steps[0])
        return self.draw(context, u)

    def apply_params(self, x: Any, params: Params) -> Any:
        """Apply the transform with given parameters, as drawn by :meth:`sample_params`.

        Args:
            x: Anything that can be transformed.
            params: One entry per sample, or one for all.
        """
        batch, restore = to_batch(x, self._image_keys(), self.label_keys)
        names = self._context(batch).names
        untouched = tuple(name for name in batch.images if name not in names)
        step = Step(self, params=params, names=names, untouched=untouched)
        return self._finish(x, restore(run(Plan(Steps([step])), batch)))

    def plan(self) -> Plan:
        """Return the steps of the transform and the passes that they share.

        Cached until a transform changes.
        """
        number, structure, plan = self.__dict__.get("_plan", (-1, None, None))
        if number != _changes.number:
            new = self._structure()
            if structure != new:
                steps = Steps()
                self._add_to(steps)
                plan = Plan(steps)
            self.__dict__["_plan"] = _changes.number, new, plan
        return plan  # type: ignore[no-any-return]

    def arguments(self) -> dict[str, Any]:
        """Return the constructor arguments that differ from their defaults.

        Every transform keeps each argument under its own name.
        """
        return naming.arguments(self)

    def to_dict(self, style: str = "_target_") -> dict[str, Any]:
        """Return the class and the arguments as plain numbers, strings, lists and dicts.

        :func:`.from_dict` constructs an equal transform from either style.

        Args:
            style: '_target_', which ``hydra.utils.instantiate`` and MONAI's ConfigParser read; or
                'class_path', with arguments under ``init_args``, which jsonargparse and
                LightningCLI read.

        Raises:
            TypeError: An argument cannot be written, as the function of a :class:`Lambda`.
            ValueError: The style is unknown.

        >>> RandomAffine(degrees=(-5, 5), p=0.5).to_dict()
        {'_target_': 'torchio_gpu.RandomAffine', 'degrees': [-5, 5], 'p': 0.5}
        >>> Blur(2).to_dict("class_path")
        {'class_path': 'torchio_gpu.Blur', 'init_args': {'std': 2}}
        """
        return descriptions.describe_object(self, style)

    def to_hydra_config(self) -> dict[str, Any]:
        """Return :meth:`to_dict` in the style of Hydra; TorchIO 1's name."""
        return self.to_dict()

    @property
    def name(self) -> str:
        """Name of the class."""
        return type(self).__name__

    # Engine

    def _context(self, batch: SubjectsBatch) -> Context:
        images = with_created(self, batch.images)
        kinds = tuple((name, each.kind) for name, each in images.items())
        names = self.select(kinds, tuple(batch.metadata))
        return Context(names, tuple(images[name].space for name in names), ContextImages(images))

    def _add_to(self, steps: Steps, through: Branches = ()) -> None:
        """Add the transform to a pipeline as a step; compositions add several.

        Args:
            steps: The pipeline so far.
            through: Decisions that the transform depends on.
        """
        branches = self._add_decision(steps, through)
        kept = tuple((self.keep or {}).values())
        step = Step(self, steps.position, branches=branches, keep=self.keep, untouched=kept)
        steps.steps.append(step)

    def _add_decision(self, steps: Steps, through: Branches) -> Branches:
        """Return ``through``, extended by a decision with probability ``p`` if it is below 1."""
        if self.p == 1:
            return through
        return *through, (steps.decide(1, lambda u: u < self.p, lambda: (self.p,)), 0)

    def _structure(self) -> tuple[Any, ...]:
        """Return all properties that a plan depends on, of the transform and of its modules."""
        within: Any = self._modules.values()
        return (
            *(self.p == 1, self.include, self.exclude, getattr(self, "fuse", True)),
            self.keep and tuple(self.keep.items()),
            *self._engine_structure(),
            # faster than isinstance with an abstract class
            *[each._structure() for each in within if hasattr(each, "_structure")],
        )

    def _engine_structure(self) -> tuple[Any, ...]:
        """Return the properties of its kind that a plan depends on."""
        return self.role, self.traits

    def _common(self) -> dict[str, Any]:
        """Return the common arguments for a transform that undoes this one."""
        names = ("copy", "include", "exclude", "label_keys")
        return {name: getattr(self, name) for name in names}

    def _image_keys(self) -> tuple[str, ...] | None:
        """Return the keys of a dict to treat as images; None for all that hold images."""
        return self.include

    def _finish(self, x: Any, result: Any) -> Any:
        """Return the result, written to the input container if ``copy`` is False."""
        if self.copy or result is x:
            return result
        if isinstance(x, dict):
            x.update(result)
        elif isinstance(x, (Subject, Image, SubjectsBatch, ImagesBatch)):
            x.__dict__.update(result.__dict__)
        else:  # tensors, arrays and images of other libraries are no containers
            return result
        return x

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        for name in ("_plan", "_portable", "_number"):
            state.pop(name, None)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._number = compiled.register(self)

    def __repr__(self) -> str:
        arguments = ", ".join(
            f"{name}={naming.brief(value)}" for name, value in self.arguments().items()
        )
        return f"{self.name}({arguments})"


class _Changes:
    """Counter of attribute changes of all transforms; a plan is valid until the next change."""

    def __init__(self) -> None:
        self._count = count()
        self.number = next(self._count)

    def next(self) -> None:
        self.number = next(self._count)


_changes = _Changes()


def _draw_nothing(transform: Transform, context: Context, u: np.ndarray) -> Params:
    return Params()


__all__ = ["Branches", "Context", "Transform"]
