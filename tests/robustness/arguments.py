"""Bad arguments of the public interface: each is refused by name or has a use.

A case is a call that is right but for one argument. What is allowed: an error of a usual type whose
message names the argument, or a result without NaN where all that was given is finite.
"""

from __future__ import annotations

import copy
import inspect
import itertools
import random
import signal
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

import torchio_gpu as tio
from torchio_gpu import functional as F

NAN, INF = float("nan"), float("inf")
SECONDS = 10
#: Values that hardly any argument takes, by name.
VALUES: dict[str, Any] = {
    "NaN": NAN, "inf": INF, "-inf": -INF, "flag": True, "flags": (True,) * 3, "name": "x",
    "names": ["a", "b", "c"], "bytes": b"x", "empty": [], "dict": {}, "object": object(),
    "None": None, "complex": 1j, "-1": -1, "2": 2, "0.5": 0.5, "huge": 10**12,
    "overflow": 1e300, "NaNs": (NAN,) * 3,
    "two": (1, 2), "seven": (1,) * 7, "array": np.full(3, NAN), "scalar tensor": torch.tensor(NAN),
    "complex tensor": torch.zeros(3, dtype=torch.complex64), "nested": [[1, 2], [3]],
    "matrix": np.full((4, 4), NAN),
}  # fmt: skip
#: Words for arguments in the errors of the functions that they are passed to.
WORDS = {
    "default_pad_value": ["fill"], "default_pad_label": ["fill"], "mode": ["fill"],
    "padding_mode": ["padding", "fill"], "rule": ["fill"], "labels_fill": ["fill"],
    "outside_value": ["value"], "out_min": ["low must"], "out_max": ["high must"],
    "label_key": ["label map"], "log_gamma": ["gamma", "parameters"], "values": ["labels"],
    "tensor": ["path must name", "Image"],
    "subject": ["tensor of ScalarImage", "given once", "path must name"],
    "subject_sampler": ["could not be loaded"],
    "output_shape": ["batch must hold"], "views": ["count"],
}  # fmt: skip
#: Fill values and ends of ranges need not be finite.
UNBOUNDED = {
    "default_pad_value", "padding_mode", "outside_value", "fill", "mode", "low", "high", "out_min",
    "out_max", "labels_fill", "x", "rule",
    "outside",
}  # fmt: skip


#: Arguments that only the library itself passes.
INTERNAL = {"known", "operations", "view"}


class Call(NamedTuple):
    """Function, valid arguments, and a use of the result."""

    function: Callable[..., Any]
    arguments: dict[str, Any]
    use: Callable[[Any], Any] = lambda result: result


def subject() -> tio.Subject:
    chance = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 4, (1, 9, 10, 8), generator=chance).to(torch.uint8)
    t1 = torch.rand(1, 9, 10, 8, generator=chance)
    return tio.Subject(t1=tio.ScalarImage(t1), seg=tio.LabelMap(labels))


def volume() -> torch.Tensor:
    return torch.rand(1, 1, 9, 10, 8, generator=torch.Generator().manual_seed(0))


def transforms() -> dict[str, Call]:
    """Return calls of each transform, with the arguments it needs."""
    points, beams = np.zeros((5, 5, 5, 3)), tio.BeamGeometry("linear")
    needed: dict[str, dict[str, Any]] = {
        "AcousticShadow": {"loss": 9, "geometry": "linear"},
        "Affine": {"scales": (1.1, 0.9, 1), "degrees": (5, -10, 15), "translation": (1, 2, 3)},
        "AffineElasticDeformation": {
            "affine_params": {"degrees": (5, -10, 15)},
            "elastic_params": {"control_points": points},
        },
        "Anisotropy": {"axis": 1, "downsampling": 2.5},
        "Attenuation": {"attenuation": 2, "geometry": beams},
        "B0Distortion": {"field": np.zeros((9, 10, 8)), "affine": np.eye(4)},
        "BiasField": {"coefficients": np.linspace(-0.3, 0.4, 20)},
        "Blur": {"std": (1, 2, 3)},
        "Brightness": {"factor": 1.3},
        "ChemicalShift": {"shift": 2, "axis": 1},
        "CoilNoise": {"std": 0.1, "num_coils": 2},
        "Compose": {"transforms": [tio.RandomNoise()]},
        "Contrast": {"factor": 1.3},
        "ClassMix": {"label_key": "seg"},
        "CopyAffine": {"target": "t1"},
        "Crop": {"cropping": 1},
        "CropOrPad": {"target_shape": 8},
        "Cutout": {"first": [(1, 2, 3)], "size": [(3, 3, 2)]},
        "Diffeomorphism": {"velocity": np.zeros((3, 9, 10, 8)), "affine": np.eye(4)},
        "DilateLabels": {"radius": 1},
        "Displacement": {"displacement": np.zeros((3, 9, 10, 8)), "affine": np.eye(4)},
        "ElasticDeformation": {"control_points": points},
        "EnsureShapeMultiple": {"target_multiple": 4},
        "ErodeLabels": {"radius": 1},
        "Gamma": {"gamma": 1.3},
        "Ghosting": {"num_ghosts": 3, "axis": 1, "intensity": 0.7},
        "Gibbs": {"cutoff": 0.6, "axis": 1},
        "Haze": {"brightness": 0.5, "geometry": beams},
        "HistogramShift": {"shift": [0.4, -0.2]},
        "HistogramStandardization": {"landmarks": {"t1": np.linspace(0, 100, 13)}},
        "LabelAttenuation": {"attenuation": {1: 3}, "geometry": "convex"},
        "LabelsToUltrasound": {"mean": {1: 0.3}, "geometry": "convex"},
        "RandomAcousticShadow": {"geometry": "linear"},
        "RandomLabelAttenuation": {"attenuation": {1: 3}, "geometry": "convex"},
        "RandomLabelsToUltrasound": {"geometry": "convex"},
        "RandomReverberation": {"geometry": "linear"},
        "Reverberation": {"strength": 0.3, "distance": 2, "geometry": "linear"},
        "LabelsToImage": {"label_key": "seg", "mean": [0.0, 1, 2, 3], "std": [0.1] * 4},
        "Lambda": {"function": torch.neg, "types_to_apply": ["intensity"]},
        "LimitedAngle": {"degrees": 150, "views": 10},
        "Metal": {"threshold": 0.9, "views": 10},
        "LowDose": {"dose": 0.3},
        "LowField": {"field_strength": 0.3},
        "LowResolution": {"zoom": 0.5},
        "Mask": {"masking_method": "seg"},
        "Motion": {"degrees": [(20, -10, 5)], "translation": [(1, 2, 3)], "times": (0.3,)},
        "Noise": {"mean": 0.1, "std": 0.5, "seed": 7},
        "OneOf": {"transforms": [tio.RandomNoise()]},
        "Pad": {"padding": 1},
        "PartialFourier": {"share": 0.75, "axis": 1},
        "RandomAttenuation": {"geometry": beams},
        "RandomB0Distortion": {"max_displacement": 1, "smoothness": 5},
        "RandomDiffeomorphism": {"amplitude": 1, "smoothness": 5},
        "RandomDisplacement": {"amplitude": 1, "smoothness": 5},
        "RandomElasticDeformation": {"num_control_points": 5, "max_displacement": 1},
        "RandomHaze": {"geometry": beams},
        "RandomLabelsToImage": {"label_key": "seg"},
        "RandomLimitedAngle": {"degrees": (120, 150), "views": 10},
        "RandomMetal": {"threshold": 0.9, "views": 10},
        "RandomSparseView": {"count": (3, 5), "views": 10},
        "RandomSpeckle": {"geometry": beams},
        "RandomSwap": {"patch_size": 2, "num_iterations": 3},
        "RandomTimeGain": {"geometry": beams},
        "ReconstructionKernel": {"ratio": 2},
        "SliceThickness": {"thickness": 3},
        "Streaks": {"photons": 600},
        "Window": {"window": (40, 400)},
        "SliceMotion": {"degrees": np.ones((10, 3)), "translation": np.ones((10, 3))},
        "RemapLabels": {"remapping": {1: 2}},
        "RemoveLabels": {"labels": [1]},
        "Resample": {"target": 2},
        "Resize": {"target_shape": 7},
        "SigmoidContrast": {"gain": 5},
        "Rings": {"strength": 0.01},
        "SparseView": {"count": 3, "views": 10},
        "SmoothLabels": {"std": 1},
        "SomeOf": {"transforms": [tio.RandomNoise()]},
        "MixUp": {"exclude": ["seg"]},
        "MonaiAdapter": {"monai_transform": torch.neg, "include": ["t1"]},
        "SubjectFunction": {"function": copy.copy},
        "Speckle": {"strength": 1, "geometry": beams},
        "Spike": {"spikes_positions": [(0.3, 0.6, 0.7)], "intensity": (0.2,)},
        "Swap": {"patch_size": 1, "locations": [[(0, 0, 0), (1, 2, 0)]]},
        "TimeGain": {"gains": (1, 2), "geometry": beams},
        "To": {"target": "cpu"},
        "ToReferenceSpace": {"reference": tio.ScalarImage(torch.rand(1, 9, 10, 8))},
        "Wrap": {"acceleration": 2, "axis": 1},
        "Zipper": {"intensity": 0.3, "position": 0.4, "axis": 1, "phase_axis": 0},
    }
    names = [
        name
        for name in tio.transforms.__all__
        if name not in ("Recorded", "PCA") and is_made(getattr(tio, name))
    ]
    calls = {n: Call(getattr(tio, n), needed.get(n, {}), lambda t: t(subject())) for n in names}
    pair = tio.SubjectsBatch.from_subjects([subject(), subject()])
    for name, each in calls.items():
        if issubclass(getattr(tio, name), tio.BatchTransform):
            calls[name] = each._replace(use=lambda t: t(pair))
    channels = tio.ScalarImage(volume()[0].expand(4, -1, -1, -1) * torch.rand(4, 1, 1, 1))
    calls["PCA"] = Call(tio.PCA, {"num_components": 2}, lambda t: t(channels))
    return calls


def is_made(what: Any) -> bool:
    """Return True for a class of transforms that can be instantiated."""
    transform = inspect.isclass(what) and issubclass(what, tio.Transform)
    return transform and not inspect.isabstract(what)


def functions() -> dict[str, Call]:
    """Return calls of each function of volumes."""
    x, labels = volume(), subject().seg.data[None]
    shift = torch.eye(4)[None].clone()
    shift[:, 0, 3] = 0.5
    points, field = torch.zeros(1, 3, 5, 5, 5), torch.zeros(1, 3, 9, 10, 8)
    needed: dict[str, dict[str, Any]] = {
        "acoustic_shadow": {"loss": 9, "geometry": "linear"},
        "affine_warp": {"matrix": shift},
        "aggregate_patches": {"x": None, "patches": x, "first": [[0, 0, 0]], "size": (9, 10, 8)},
        "anisotropy": {"factor": 2},
        "attenuate": {"attenuation": 2, "geometry": "linear"},
        "b0_distortion": {"displacement": field[:, 0]},
        "bias_field": {"coefficients": np.linspace(-0.3, 0.4, 20)},
        "blur": {"std": 1},
        "bspline_warp": {"control_points": points},
        "chemical_shift": {"fat": x, "shift": 1.5},
        "clamp": {"low": 0.2, "high": 0.8},
        "contour": {"x": labels},
        "contrast": {"factor": 1.5},
        "ct_window": {"center": 40, "width": 400},
        "cutout": {"first": [(1, 2, 3)], "size": [(3, 3, 2)]},
        "connected_components": {"x": labels > 1},
        "dilate_labels": {"x": labels, "radius": 1},
        "displacement_warp": {"displacement": field},
        "erode_labels": {"x": labels, "radius": 1},
        "exponentiate": {"x": None, "velocity": field},
        "extract_patches": {"first": [[0, 0, 0]], "size": (4, 4, 4)},
        "fill_value": {"rule": "mean"},
        "filtered_back_projection": {
            "x": None, "projections": F.project(x, 6, 1.0), "angles": 6,
            "shape": tuple(x.shape[2:]), "spacing": 1.0,
        },
        "flip": {"axes": (0,)},
        "gamma": {"log_gamma": 0.2},
        "gibbs": {"cutoff": 0.6},
        "project": {"angles": 6, "spacing": 1.0},
        "partial_fourier": {"share": 0.75},
        "haze": {"brightness": 0.5, "geometry": "linear"},
        "histogram_shift": {"shift": [0.4, -0.2]},
        "jacobian_determinant": {"x": None, "displacement": field},
        "label_attenuation": {"labels": labels, "attenuation": 9, "values": [1],
                              "geometry": "linear"},
        "labels_to_ultrasound": {"x": None, "labels": labels, "mean": [0.3], "std": 0.1,
                                 "density": 1, "attenuation": 1, "impedance": 1.5,
                                 "geometry": "linear"},
        "reverberation": {"strength": 0.3, "distance": 2, "geometry": "linear"},
        "labels_to_image": {"x": None, "labels": labels, "mean": np.zeros((1, 4)),
                            "std": np.ones((1, 4))},
        "largest_component": {"x": labels},
        "limited_angle": {"degrees": 150, "views": 10},
        "metal": {"mask": x > 0.9, "views": 10},
        "sparse_views": {"count": 3, "views": 10},
        "low_dose": {"dose": 0.3, "views": 12},
        "low_field": {"field_strength": 0.3},
        "low_resolution": {"zoom": 0.5},
        "mask_voxels": {"mask": x > 0.5},
        "match_landmarks": {"landmarks": np.linspace(0, 100, 13)},
        "motion": {"degrees": [(20, -10, 5)], "translation": [(1, 2, 3)], "times": [0.3]},
        "one_hot": {"x": labels},
        "percentile": {"q": 50},
        "principal_components": {"x": torch.rand(1, 4, 5, 6, 4), "num_components": 2},
        "reconstruction_kernel": {"ratio": 2},
        "slice_thickness": {"thickness": 3},
        "remap_labels": {"x": labels, "remapping": {1: 2}},
        "resample": {"size": (5, 5, 5)},
        "sigmoid_contrast": {"gain": 5},
        "smooth_labels": {"x": labels, "std": 1},
        "slice_motion": {"degrees": (20, -10, 5), "translation": 1},
        "speckle": {"strength": 1, "geometry": "linear"},
        "streaks": {"photons": 600, "views": 12},
        "spike": {"positions": [(0.3, 0.6, 0.7)]},
        "time_gain": {"gains": (1, 2), "geometry": "linear"},
        "swap": {"locations": [[[0, 0, 0], [4, 4, 4]]], "patch_size": 2},
        "warp": {"matrix": shift},
        "warp_pair": {"labels": labels, "matrix": shift},
        "window": {"first": (0, 0, 0), "size": (4, 4, 4)},
    }  # fmt: skip
    others = {"VoxelMap", "is_exact", "is_parallel", "motion_owner", "pointwise", "moments"}
    calls = {}
    for name in F.__all__:
        if name not in others:
            arguments = {"x": x, **needed.get(name, {})}
            calls[f"F.{name}"] = Call(
                getattr(F, name), {n: v for n, v in arguments.items() if v is not None}
            )
    return calls


def containers() -> dict[str, Call]:
    """Return calls of images, datasets, loaders, samplers, queues and aggregators."""
    subjects = [subject(), subject()]
    grid = tio.GridSampler(subject(), 4, 2)
    small = tio.Crop(1)(subject())
    size = {"patch_size": 4}

    def draw(sampler: Any) -> Any:
        return next(iter(sampler(subject())))

    return {
        "ScalarImage": Call(tio.ScalarImage, {"tensor": volume()[0]}, lambda i: i.data),
        "LabelMap": Call(tio.LabelMap, {"tensor": volume()[0] > 0.5}, lambda i: i.data),
        "Choice": Call(tio.Choice, {"values": [1, 2]}),
        "UniformSampler": Call(tio.UniformSampler, size, draw),
        "LabelSampler": Call(tio.LabelSampler, {**size, "label_name": "seg"}, draw),
        "WeightedSampler": Call(tio.WeightedSampler, {**size, "probability_map": "t1"}, draw),
        "GridSampler": Call(tio.GridSampler, {"subject": subject(), **size}, lambda s: s[0]),
        "GridAggregator": Call(tio.GridAggregator, {"sampler": grid}),
        "PatchAggregator": Call(
            tio.PatchAggregator, {"spatial_shape": (9, 10, 8), "patch_overlap": 2}
        ),
        "SubjectsDataset": Call(tio.SubjectsDataset, {"subjects": subjects}, lambda d: d[0]),
        "Queue": Call(
            tio.Queue,
            {"subjects": subjects, "patch_sampler": tio.UniformSampler(4), "max_length": 4,
             "patches_per_volume": 2},
            lambda q: next(iter(q), None),
        ),
        "predict_by_patches": Call(
            tio.predict_by_patches, {"model": torch.neg, "subject": volume()[0], "patch_size": 4}
        ),
        "predict": Call(
            tio.predict, {"model": torch.neg, "subject": subject(), "preprocessing": tio.Crop(1),
                          "patch_size": 4, "image": "t1"},
        ),
        "test_time_augmentation": Call(
            tio.test_time_augmentation, {"model": torch.neg, "subject": subject(), "n": 1,
                                         "transform": tio.RandomFlip(), "image": "t1"},
            lambda result: result.mean,
        ),
        "to_original_space": Call(
            tio.to_original_space, {"prediction": small.t1.data, "history": small, "image": "t1"}
        ),
    }  # fmt: skip


class LateError(Exception):
    """Raised if a call takes too long."""


def is_finite(out: Any) -> bool:
    """Return whether the voxels of a result have no NaN and are not infinite."""
    if isinstance(out, tio.Subject):
        return all(is_finite(i.data) for i in out.get_images(intensity_only=False))
    if isinstance(out, tio.Image):
        return is_finite(out.data)
    return not isinstance(out, torch.Tensor) or bool(out.isfinite().all())


def names_of(call: Call) -> list[str]:
    """Return the names of the arguments that get bad values."""
    known = inspect.signature(call.function).parameters
    names = [n for n, p in known.items() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    transform = inspect.isclass(call.function) and issubclass(call.function, tio.Transform)
    if transform and "kwargs" in known:
        names += [n for n in inspect.signature(tio.Transform.__init__).parameters if n != "self"]
    return [n for n in dict.fromkeys(names) if n not in INTERNAL]


def trial(call: Call, bad: dict[str, Any]) -> tuple[str, str]:
    """Return outcome and details of a call with some arguments replaced."""

    def alarm(*_: Any) -> None:
        raise LateError

    before = signal.signal(signal.SIGALRM, alarm)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.manual_seed(0)
            out = call.use(call.function(**{**call.arguments, **bad}))
    except LateError:
        return "bad: late", f"no answer in {SECONDS} s"
    except (ValueError, TypeError, KeyError, RuntimeError, OSError) as error:
        words = [w for name in bad for w in (name, *WORDS.get(name, ()))]
        text = f"{type(error).__name__}: {error}"[:300]
        own = str(error)
        for text_of_value in sorted(map(repr, bad.values()), key=len, reverse=True):
            own = own.replace(text_of_value, "")  # the longest first: 'nan' stands in arrays too
        if "\n" in own or not any(word in str(error) for word in words):
            return "bad: unnamed", text
        return "refused", text
    except Exception as error:
        return "bad: error", f"{type(error).__name__}: {error}"[:300]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    large = any(value is VALUES[name] for value in bad.values() for name in ("huge", "overflow"))
    if is_finite(out) or large or set(bad) & UNBOUNDED:  # large numbers may overflow
        return "used", ""
    return "bad: not finite", ""


CALLS: dict[str, Call] = {}


def prepare(_: Path | None = None) -> None:
    """Make the calls."""
    if not CALLS:
        CALLS.update({**transforms(), **functions(), **containers()})


def run(number: int, seed: int) -> tuple[str, str]:
    """Run one case: first each value for each argument, then two arguments at a time."""
    chance = random.Random(f"{number} {seed}")
    table = [(n, a) for n, call in CALLS.items() for a in names_of(call)]
    places = list(itertools.product(table, VALUES))
    if number < len(places):
        (name, argument), value = places[number]
        bad = {argument: value}
    else:
        name = chance.choice(list(CALLS))
        known = names_of(CALLS[name])
        bad = {a: chance.choice(list(VALUES)) for a in chance.sample(known, min(2, len(known)))}
    outcome, detail = trial(CALLS[name], {a: VALUES[v] for a, v in bad.items()})
    return outcome, f"{name}({bad}): {detail}"
