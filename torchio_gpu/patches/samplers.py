"""Patches at random places: anywhere, or where a map or labels say."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import count, islice
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from .. import functional as F
from .. import rng
from ..data import LABEL, LOCATION, Subject, SubjectsBatch
from ..functional.pad import check_padding
from ..geometry import SPACE_TOLERANCE_MM, Space, windowed
from ..shapes import Triple
from ..transforms import Pad
from .location import PatchLocation
from .weights import Weigh, Weights

#: First voxels of patches, [N, 3], given their seeds, [N].
Finder = Callable[[np.ndarray], np.ndarray]

_UNIFORM = rng.Layout(((0, 0, 3),))


class PatchSampler:
    """What samplers of patches share. Not for use by itself.

    Called with a Subject, a sampler returns one patch of it, a Subject as well; with a Subject and
    a number, it iterates over so many. Of a SubjectsBatch it takes one patch of each sample.

    Args:
        patch_size: Voxels of a patch along I, J, K; one number stands for three.
        padding_mode: None for patches that lie within the volume. Otherwise what stands outside:
            'constant' for ``fill``, or as for :class:`Pad`.
        fill: Value outside for padding 'constant'; label maps get 0.
    """

    def __init__(
        self, patch_size: Any, padding_mode: str | float | None = None, fill: float = 0
    ) -> None:
        self.patch_size = check_size(patch_size)
        self.padding_mode, self.fill = padding_mode, fill
        if padding_mode is not None:
            check_padding(padding_mode)
        if isinstance(fill, bool) or not isinstance(fill, (int, float)) or not math.isfinite(fill):
            raise ValueError(f"fill must be a number, got {fill!r}")
        if padding_mode != "constant" and fill != 0:
            raise ValueError(f"fill must not be given with padding_mode {padding_mode!r}")

    # Where patches may lie

    def margins(self, shape: Triple) -> tuple[np.ndarray, np.ndarray]:
        """How many voxels patches may leave a volume by, before and after it, [3] each."""
        raise NotImplementedError

    def room(self, shape: Triple) -> tuple[np.ndarray, np.ndarray]:
        """The first and the last voxel at which a patch may begin, [3] each.

        Raises:
            ValueError: A patch is larger than the volume, and there is no padding.
        """
        before, after = self.margins(shape)
        last = np.array(shape) + after - self.patch_size
        if (last < -before).any():
            flat = ", with 1 along the axis of a single slice" if 1 in shape else ""
            raise ValueError(
                f"patch_size must be at most the shape of the volume, {shape}, or padding_mode be "
                f"given{flat}, got {self.patch_size}"
            )
        return -before, last

    def padded(self, x: Any) -> tuple[Any, np.ndarray]:
        """A subject or batch with its margins, and how many voxels were added before it, [3]."""
        space = check_space(x)
        self.room(space.shape)
        before, after = self.margins(space.shape)
        if not (before.any() or after.any()):
            return x, before
        mode: Any = self.fill if self.padding_mode == "constant" else self.padding_mode
        bounds = np.stack([before, after], 1).ravel().tolist()
        pad = Pad(bounds, padding_mode=mode)
        streams, x = x.streams, pad(x)
        (x.history if isinstance(x, Subject) else x.records).pop()  # a patch is not padded itself
        x.streams = streams
        return x, before

    # Cutting

    def cut(self, padded: Subject, before: np.ndarray, corner: np.ndarray, seed: int) -> Subject:
        """A patch of a subject.

        Args:
            padded: The subject with its margins.
            before: How wide they are before it, [3].
            corner: First voxel of the patch, in those of the subject without margins, [3].
            seed: Of whatever happens to the patch at random.
        """
        patch = copy.copy(padded)
        i, j, k = (
            slice(first, first + n)
            for first, n in zip((corner + before).tolist(), self.patch_size, strict=True)
        )
        for name, image in patch.get_images_dict().items():
            part = image[i, j, k]
            # of its own: a view would keep, and send to other processes, the whole volume
            patch.add_image(part._with(part.data.clone()), name)
        a, b, c = corner.tolist()
        location = PatchLocation((a, b, c), self.patch_size)
        patch[LOCATION], patch["patch_location"] = location.to_tensor(), location
        patch.streams = rng.Streams(np.array([seed]), np.ones(1, dtype=np.int64))
        return patch

    def cut_batch(
        self, padded: SubjectsBatch, before: np.ndarray, corner: np.ndarray, seeds: np.ndarray
    ) -> SubjectsBatch:
        """One patch of each sample; arguments as for :meth:`cut`, [B, 3] and [B]."""
        size = self.patch_size
        images = {}
        for name, each in padded.images.items():
            data = F.extract_patches(each.data, corner + before, size)
            space = windowed(each.space, corner + before, size)
            images[name] = each.with_data(data, space.affine)
        batch = padded.replace(images)
        batch.metadata = {**batch.metadata, **located(corner, size)}
        batch.streams = rng.Streams(seeds, np.ones(len(seeds), dtype=np.int64))
        return batch


class RandomSampler(PatchSampler, IterableDataset[Any]):
    """What samplers at random places share. Not for use by itself.

    Iterating over one that has a subject gives ``num_patches`` patches of it; workers of a
    DataLoader share them out.
    """

    def __init__(
        self,
        subject: Subject | None,
        patch_size: Any,
        num_patches: int | None,
        padding_mode: str | float | None,
        fill: float,
    ) -> None:
        super().__init__(patch_size, padding_mode, fill)
        self.subject, self.num_patches = subject, _check_number(num_patches)
        self._epoch = 0

    def margins(self, shape: Triple) -> tuple[np.ndarray, np.ndarray]:
        if self.padding_mode is None:
            return np.zeros(3, dtype=int), np.zeros(3, dtype=int)
        # any voxel may be the middle one of a patch
        before = np.array(self.patch_size) // 2
        return before, np.array(self.patch_size) - 1 - before

    def finder(self, x: Any) -> Finder:
        """What finds places for patches of a Subject, or for one of each sample of a batch."""
        raise NotImplementedError

    @overload
    def __call__(self, subject: Subject) -> Subject: ...
    @overload
    def __call__(self, subject: SubjectsBatch) -> SubjectsBatch: ...
    @overload
    def __call__(self, subject: Any, num_patches: int) -> Iterator[Any]: ...

    def __call__(self, subject: Any, num_patches: int | None = None) -> Any:
        """One patch of a Subject, or one of each sample of a SubjectsBatch; or an iterator.

        The places follow from the seeds that a loader gave the samples, if it did, and from
        torch's generator otherwise.

        Args:
            subject: A Subject or a SubjectsBatch.
            num_patches: How many to iterate over.
        """
        number = 1 if num_patches is None else _check_number(num_patches)
        found = self._patches(subject, number)
        return next(found) if num_patches is None else found

    def _patches(self, x: Any, number: int) -> Iterator[Any]:
        if not isinstance(x, (Subject, SubjectsBatch)):
            raise TypeError(f"subject must be a Subject or a SubjectsBatch, got {type(x).__name__}")
        if number == 0:
            return
        single = isinstance(x, Subject)
        streams = x.streams or rng.streams_for(1 if single else x.batch_size)
        seeds = streams.offspring(number)
        if single:
            x = copy.copy(x)  # files are read into the copy
            if number > 1:
                x.load()
        padded, before = self.padded(x)
        find = self.finder(x)
        for n in range(number):
            corner = find(seeds[:, n])
            if single:
                yield self.cut(padded, before, corner[0], int(seeds[0, n]))
            else:
                yield self.cut_batch(padded, before, corner, seeds[:, n])

    def __iter__(self) -> Iterator[Subject]:
        if self.subject is None:
            raise ValueError(f"{type(self).__name__} must be given a subject to be iterated over")
        subject = copy.copy(self.subject)
        subject.load()
        padded, before = self.padded(subject)
        find = self.finder(subject)
        worker = get_worker_info()
        first, step = (0, 1) if worker is None else (worker.id, worker.num_workers)
        # what workers have in common, and what differs between epochs
        base = int(rng.fresh_seeds(1)[0]) if worker is None else worker.seed - worker.id
        epoch, self._epoch = self._epoch, self._epoch + 1
        numbers: Any = count() if self.num_patches is None else range(self.num_patches)
        for number in islice(numbers, first, None, step):
            seeds = rng.sample_seeds(base, epoch, [number])
            yield self.cut(padded, before, find(seeds)[0], int(seeds[0]))

    def __len__(self) -> int:
        if self.num_patches is None:
            raise TypeError(f"{type(self).__name__} has no length: num_patches is None")
        return self.num_patches


class UniformSampler(RandomSampler):
    """Patches from anywhere, all places equally likely.

    Args:
        subject: What to iterate over; None for a sampler that is called, or given to a Queue.
        patch_size: Voxels of a patch along I, J, K; one number stands for three. For 2D images,
            1 along the axis of the single slice.
        num_patches: How many to iterate over; None for no end.
        padding_mode: None for patches that lie within the volume. Otherwise any voxel may be the
            middle one of a patch, and outside stands ``fill`` for 'constant', or what :class:`Pad`
            says.
        fill: Value outside for padding 'constant'; label maps get 0.

    A number or triple in the place of ``subject`` is the patch size, as in TorchIO 1.x. Patches are
    Subjects that know their place: ``patch.patch_location``, and ``patch[LOCATION]`` as a tensor.

    Raises:
        ValueError: An argument is not as above; or, when a patch is cut, it is larger than the
            volume, or the images of a subject do not lie in one space.

    >>> subject = Subject(t1=ScalarImage(torch.rand(1, 12, 12, 12)))
    >>> [patch.t1.shape for patch in UniformSampler(subject, patch_size=8, num_patches=2)]
    [(1, 8, 8, 8), (1, 8, 8, 8)]
    >>> UniformSampler(4)(subject).patch_location.size
    (4, 4, 4)
    """

    def __init__(
        self,
        subject: Any = None,
        patch_size: Any = None,
        num_patches: int | None = None,
        padding_mode: str | float | None = None,
        fill: float = 0,
    ) -> None:
        subject, patch_size, _ = _sorted_out(subject, patch_size)
        super().__init__(subject, patch_size, num_patches, padding_mode, fill)

    def finder(self, x: Any) -> Finder:
        return partial(self.corners_between, *self.room(space_of(x).shape))

    def corners_between(self, first: np.ndarray, last: np.ndarray, seeds: np.ndarray) -> np.ndarray:
        """First voxels of patches that begin between two voxels, both included, [N, 3]."""
        u = rng.uniforms(seeds, _UNIFORM)[:, :3]
        return first + (u * (last - first + 1)).astype(np.int64)


class WeightedSampler(RandomSampler):
    """Patches whose middle voxel is drawn with the probability that a map gives to it.

    The middle voxel of n is number n // 2. Only voxels around which a patch fits are drawn, unless
    there is padding; one whose weight is 0 never is.

    Args:
        subject, patch_size, num_patches, padding_mode, fill: As for :class:`UniformSampler`.
        probability_map: Name of the image, of one channel, that holds the weights; they need not
            sum to 1.

    As in TorchIO 1.x, ``WeightedSampler(64, "weights")`` names the patch size and the map.

    Raises:
        ValueError: An argument is not as above; or, when a patch is cut, a weight is negative or
            not finite, or all of them are 0.
        KeyError: The subject has no such image.

    The map on a GPU, choosing waits for it: where a patch lies is known on the host.

    >>> weights = torch.zeros(1, 12, 12, 12)
    >>> weights[0, 5, 6, 7] = 1
    >>> subject = Subject(t1=ScalarImage(torch.rand(1, 12, 12, 12)), w=ScalarImage(weights))
    >>> WeightedSampler(patch_size=4, probability_map="w")(subject).patch_location.index
    (3, 4, 5)
    """

    def __init__(
        self,
        subject: Any = None,
        patch_size: Any = None,
        probability_map: str | None = None,
        num_patches: int | None = None,
        padding_mode: str | float | None = None,
        fill: float = 0,
    ) -> None:
        subject, patch_size, probability_map = _sorted_out(
            subject, patch_size, probability_map, "probability_map"
        )
        super().__init__(subject, patch_size, num_patches, padding_mode, fill)
        if not isinstance(probability_map, str):
            raise TypeError(f"probability_map must name an image, got {probability_map!r}")
        self.probability_map = probability_map

    def map_name(self, images: Mapping[str, Any]) -> str:
        """Name of the image that says where to look, among those of a subject or batch."""
        return _named(images, self.probability_map, "probability_map")

    def weigher(self, seen: Tensor) -> Weigh:
        """What weighs voxels, given all that may be drawn."""
        return Tensor.double

    def weights(self, voxels: Tensor, box: np.ndarray | None = None) -> Weights:
        """The weights of the voxels of a map (1, I, J, K).

        Args:
            voxels: The map.
            box: The first and the last voxel that may be drawn, [2, 3]; by default those around
                which a patch fits.
        """
        if voxels.shape[0] != 1:
            raise ValueError(f"{self._what()} must have one channel, got {voxels.shape[0]}")
        if box is None:
            i, j, k = voxels.shape[1:]
            box = np.stack(self.room((i, j, k))) + np.array(self.patch_size) // 2
        first, last = box
        return Weights.of(voxels[0], first, last, self.weigher, self._what())

    def _what(self) -> str:
        return f"the probability map {self.probability_map!r}"

    def finder(self, x: Any) -> Finder:
        half = np.array(self.patch_size) // 2
        images: Mapping[str, Any] = x.get_images_dict()
        data = images[self.map_name(images)].data
        if isinstance(x, Subject):
            weights = self.weights(data)
            return lambda seeds: weights.draw(data[0], seeds) - half
        each = [self.weights(voxels) for voxels in data]

        def find(seeds: np.ndarray) -> np.ndarray:
            rows = zip(each, data, seeds[:, None], strict=True)
            return np.concatenate([w.draw(voxels[0], seed) for w, voxels, seed in rows]) - half

        return find


class LabelSampler(WeightedSampler):
    """Patches whose middle voxel has a label that is drawn first.

    Args:
        subject, patch_size, num_patches, padding_mode, fill: As for :class:`UniformSampler`.
        label_name: Name of the label map; by default the first one.
        label_probabilities: How likely the labels are; they need not sum to 1, and a label that is
            not listed is never in the middle. Each is shared by all voxels of the label around
            which a patch fits; of a label without any, the others take over. By default, all
            voxels with a label > 0 are equally likely.

    Raises:
        ValueError: An argument is not as above; or, when a patch is cut, there is none of the
            labels.
        KeyError: The subject has no such image.

    >>> labels = torch.zeros(1, 12, 12, 12, dtype=torch.uint8)
    >>> labels[0, 5, 6, 7] = 3
    >>> subject = Subject(seg=LabelMap(labels))
    >>> sampler = LabelSampler(subject, 4, "seg", {0: 0.5, 3: 0.5}, num_patches=20)
    >>> sum(patch.seg.data[0, 2, 2, 2].item() == 3 for patch in sampler) > 0
    True
    """

    def __init__(
        self,
        subject: Any = None,
        patch_size: Any = None,
        label_name: Any = None,
        label_probabilities: Mapping[int, float] | None = None,
        num_patches: int | None = None,
        padding_mode: str | float | None = None,
        fill: float = 0,
    ) -> None:
        if not (subject is None or isinstance(subject, Subject)):
            if isinstance(label_name, Mapping):
                if label_probabilities is not None:
                    raise ValueError("label_probabilities must be given once, got it twice")
                label_name, label_probabilities = None, label_name
            subject, patch_size, label_name = _sorted_out(
                subject, patch_size, label_name, "label_name"
            )
        if label_name is not None and not isinstance(label_name, str):
            raise TypeError(f"label_name must name an image, got {label_name!r}")
        super().__init__(subject, patch_size, label_name or "", num_patches, padding_mode, fill)
        self.label_name = label_name
        self.label_probabilities = _check_probabilities(label_probabilities)

    def map_name(self, images: Mapping[str, Any]) -> str:
        if self.label_name is not None:
            return _named(images, self.label_name, "label_name")
        for name, image in images.items():
            if image.kind == LABEL:
                return name
        raise ValueError(f"subject must have a label map, it has {list(images)}")

    def weigher(self, seen: Tensor) -> Weigh:
        if self.label_probabilities is None:
            return lambda voxels: (voxels > 0).double()
        shares = {
            label: probability / (seen == label).sum().clamp(min=1).double()
            for label, probability in self.label_probabilities.items()
        }

        def weigh(voxels: Tensor) -> Tensor:
            weights = torch.zeros(voxels.shape, dtype=torch.float64, device=voxels.device)
            for label, share in shares.items():
                weights += (voxels == label) * share
            return weights

        return weigh

    def _what(self) -> str:
        labels = list(self.label_probabilities) if self.label_probabilities else "above 0"
        name = "" if self.label_name is None else f" {self.label_name!r}"
        return f"the label map{name}, for the labels {labels},"


def located(corner: np.ndarray, size: Triple) -> dict[str, Any]:
    """What a batch of patches says of where they lie, of first voxels [B, 3]."""
    places = [PatchLocation((a, b, c), size) for a, b, c in corner.tolist()]
    return {LOCATION: torch.stack([p.to_tensor() for p in places]), "patch_location": places}


def check_size(patch_size: Any, name: str = "patch_size", least: int = 1) -> Triple:
    """A size as three whole numbers, of one or three."""
    value = patch_size.tolist() if isinstance(patch_size, (np.ndarray, Tensor)) else patch_size
    values = list(value) if isinstance(value, Sequence) else [value] * 3
    whole = all(
        isinstance(n, (int, np.integer)) and not isinstance(n, bool) and n >= least for n in values
    )
    if len(values) != 3 or not whole:
        raise ValueError(f"{name} must be one or three whole numbers >= {least}, got {value!r}")
    i, j, k = (int(n) for n in values)
    return i, j, k


def space_of(x: Subject | SubjectsBatch) -> Space:
    """Where the voxels of the first image lie."""
    images: Mapping[str, Any] = x.get_images_dict()
    space: Space = next(iter(images.values())).space
    return space


def check_space(x: Subject | SubjectsBatch) -> Space:
    """Where the voxels of all images lie, which must be the same.

    Raises:
        ValueError: It is not.
    """
    if isinstance(x, Subject):
        x.check_consistent_space()
        return space_of(x)
    first = space_of(x)
    for name, images in x.images.items():
        if images.spatial_shape != first.shape:
            raise ValueError(
                f"images must share a spatial shape to be cut into patches: {next(iter(x))!r} has "
                f"{first.shape}, {name!r} has {images.spatial_shape}"
            )
        if first.distance_mm(images.space) > SPACE_TOLERANCE_MM:
            raise ValueError(
                f"images must share a space to be cut into patches: corners of {next(iter(x))!r} "
                f"and {name!r} are up to {first.distance_mm(images.space):.3g} mm apart"
            )
    return first


def _sorted_out(
    subject: Any, patch_size: Any, third: Any = None, name: str | None = None
) -> tuple[Any, Any, Any]:
    """Arguments by position in the order of TorchIO 1.x, which has no subject, or in that of 2.

    Args:
        subject, patch_size, third: What was given first, second and third, or by name.
        name: Of the third, if it is a name that 1.x has second.
    """
    if subject is None or isinstance(subject, Subject):
        if patch_size is None:
            raise ValueError("patch_size must be given, got None")
        return subject, patch_size, third
    if patch_size is None:
        return None, subject, third
    if name is None or not isinstance(patch_size, str):
        raise ValueError(f"patch_size must be given once, got {subject!r} and {patch_size!r}")
    if third is not None:
        raise ValueError(f"{name} must be given once, got {patch_size!r} and {third!r}")
    return None, subject, patch_size


def _check_number(number: Any) -> Any:
    whole = isinstance(number, int) and not isinstance(number, bool) and number >= 0
    if number is not None and not whole:
        raise ValueError(f"num_patches must be a whole number >= 0, got {number!r}")
    return number


def _named(images: Mapping[str, Any], name: str, argument: str) -> str:
    if name not in images:
        raise KeyError(
            f"{argument} must name an image of the subject, {name!r} is none of {list(images)}"
        )
    return name


def _check_probabilities(given: Mapping[int, float] | None) -> dict[int, float] | None:
    if given is None:
        return None
    if not isinstance(given, Mapping):
        raise TypeError(f"label_probabilities must be a dict, got {given!r}")
    numbers = all(isinstance(n, (int, float)) for pair in given.items() for n in pair)
    if not given or not numbers or not all(0 <= p < math.inf for p in given.values()):
        raise ValueError(f"label_probabilities must be numbers >= 0 by label, got {given!r}")
    known = {label: float(p) for label, p in given.items()}
    if not sum(known.values()) > 0:
        raise ValueError(f"label_probabilities must sum to more than 0, got {given!r}")
    return known


__all__ = ["LabelSampler", "PatchSampler", "UniformSampler", "WeightedSampler"]
