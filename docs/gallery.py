"""Cards of the gallery: a picture of each transform, and facts about it.

Facts come from :mod:`docs.facts`, times from the stored results of ``python -m benchmarks.costs``.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

import torchio_gpu as tio
from benchmarks import costs, records
from benchmarks.markdown import number
from torchio_gpu.datasets import mni152
from torchio_gpu.demo import pictures
from torchio_gpu.demo.script import BRAIN
from torchio_gpu.docstrings import plain_text
from torchio_gpu.names import TRANSFORMS
from torchio_gpu.plot import plot_gallery

from .facts import Facts, facts_of
from .phantoms import BEAMS, ct_phantom, ultrasound_phantom

#: Transforms as they are shown, beside those of the gallery of the demo; others by their defaults.
_SHOWN = (
    tio.RandomAcousticShadow(BEAMS, (25, 30), (0.3, 0.7), (0.1, 0.15), (30, 40)),
    tio.RandomAnisotropy(axes=("IS",), downsampling=(6, 8)),
    tio.RandomAttenuation(BEAMS, attenuation=(2, 2.5)),
    tio.RandomB0Distortion(max_displacement=(15, 16), smoothness=20),
    tio.RandomBeamHardening(strength=(0.8, 1), water_corrected=False),
    tio.RandomBrightness(factor=(0.5, 0.6)),
    tio.RandomChemicalShift(bandwidth=(30, 35), axes=("AP",), brightest=0.15),
    tio.RandomCoilNoise(std=(0.04, 0.05)),
    tio.RandomContrast(factor=(0.4, 0.5)),
    tio.RandomCutout(num_boxes=(4, 6), size=(40, 60)),
    tio.RandomDiffeomorphism(amplitude=(20, 25), smoothness=20),
    tio.RandomDilateLabels(radius=(3.5, 4)),
    tio.RandomDisplacement(amplitude=(6, 7), smoothness=28),
    tio.RandomErodeLabels(radius=(3, 3.5)),
    tio.RandomGibbs(cutoff=(0.15, 0.2), axes=("AP",)),
    tio.RandomHaze(BEAMS, brightness=(0.75, 0.8), decay=(20, 25), texture=0.8),
    tio.RandomHistogramShift(num_control_points=4, shift=(0.4, 0.5)),
    tio.RandomLowDose(dose=(0.1, 0.15)),
    tio.RandomLabelAttenuation(BEAMS, {1: (0.2, 0.3), 2: (3, 4)}, "seg"),
    tio.RandomLabelsToUltrasound(
        BEAMS,
        label_key="seg",
        used_labels=(1, 2, 3),
        mean={1: 0.06, 2: 0.002, 3: 0.3},
        std=0.002,
        impedance={1: 1.6, 2: 1.5, 3: (4, 6)},
        axial=0.8,
        lateral=2,
    ),
    tio.RandomLowField(field_strength=(0.05, 0.06)),
    tio.RandomLowResolution(zoom=(0.25, 0.3)),
    tio.RandomMetal("metal", hu=(8000, 9000)),
    tio.RandomMotion(degrees=8, num_transforms=4, axes=("AP",)),
    tio.RandomPartialFourier(share=(0.55, 0.56), axes=("AP",)),
    tio.RandomReconstructionKernel(ratio=(4, 5), frequency=0.4),
    tio.RandomStreaks(photons=(550, 600)),
    tio.RandomSigmoidContrast(gain=(9, 10)),
    tio.RandomSliceMotion(degrees=15, share=(0.4, 0.5)),
    tio.RandomLimitedAngle(degrees=(140, 150), start=100),
    tio.RandomRings(strength=(0.012, 0.015), share=(0.3, 0.4)),
    tio.RandomSparseView(count=(30, 40)),
    tio.RandomReverberation(BEAMS, strength=(0.3, 0.4), distance=(11, 13)),
    tio.RandomSpeckle(BEAMS, strength=(0.9, 1), axial=(2, 2.5), lateral=(5, 6)),
    tio.RandomTimeGain(BEAMS, gain=15, num_gains=6),
    tio.RandomSliceThickness(thickness=(12, 15)),
    tio.RandomWindow(window="brain", out_min_max=(-1000, 1000)),  # HU, as before it
    tio.RandomSmoothLabels(std=(4, 5)),
    tio.RandomWrap(acceleration=(2, 2), axes=("AP",), intensity=(0.7, 0.8)),
    tio.RandomZipper(intensity=(0.5, 0.6), axes=("AP",)),
    tio.Clamp(out_min=0.2, out_max=0.7),
    tio.Crop(cropping=20),
    tio.CropOrPad(target_shape=(120, 240, 120)),
    tio.EnsureShapeMultiple(target_multiple=64),
    tio.Mask(masking_method="seg"),
    tio.Pad(padding=20),
    tio.RemapLabels(remapping={1: 2, 2: 1}),
    tio.RemoveLabels(labels=[1]),
    tio.Resample(target=4),
    tio.RescaleIntensity(out_min_max=(0, 0.5)),
    tio.Resize(target_shape=64),
)
SHOWN = {each.name: each for each in (*reversed(pictures.SHOWN), *_SHOWN)}
#: Transforms without a card, and the reason.
WITHOUT = {
    "ClassMix": "mixes the samples of a batch",
    "CopyAffine": "changes headers alone",
    "CutMix": "mixes the samples of a batch",
    "HistogramStandardization": "needs landmarks that were learnt from many images",
    "KeepLargestComponent": "drops small regions, of which the head of the pictures has few",
    "Lambda": "does what its function does",
    "MixUp": "mixes the samples of a batch",
    "OneHot": "gives each label a channel",
    "OneOf": "does what the transforms do that it holds",
    "PCA": "is for images with several channels",
    "SequentialLabels": "numbers labels anew; regions stay as they are",
    "SomeOf": "does what the transforms do that it holds",
    "To": "changes the dtype or the device",
    "ToCanonical": "reorders voxels; content stays in place",
    "ToOrientation": "reorders voxels; content stays in place",
    "ToReferenceSpace": "gives an array without a position in the world that of an image",
    "Transpose": "reorders voxels; content stays in place",
}
#: Titles of the families, by the package that the class is defined in.
FAMILIES = {
    "spatial": "Motion and deformation",
    "kspace": "Artifacts of k-space",
    "ct": "CT",
    "intensity": "Intensity, noise and resolution",
    "grid": "Grid: spacing, shape, field of view",
    "normalization": "Normalisation",
    "ultrasound": "Ultrasound",
    "labels": "Label maps",
}
#: Axis that the drawn plane cuts; by default IS, for an axial plane.
_CUTS = {"RandomAnisotropy": 1, "RandomSliceMotion": 1, "RandomSliceThickness": 1}
#: Place in the world through which planes of the CT phantom are drawn, and their window in HU.
CT_PLACE, CT_WINDOW = (0.0, -6.0, -5.0), (-80, 160)
SEED = 0
HERE = "<!-- cards -->"
#: Place of a page where the picture of a card stands, by the name of the transform.
_PICTURE = re.compile(r"<!-- picture (\w+) -->")


def names() -> list[str]:
    """Return the transforms that have a card: twins that are given parameters share one."""
    twins = {f"Random{name}" for name in TRANSFORMS} & set(TRANSFORMS)
    return [n for n in TRANSFORMS if n not in WITHOUT and f"Random{n}" not in twins]


def shown(name: str) -> tio.Transform:
    """Return a transform with the arguments that its card shows.

    >>> shown("RandomNoise")
    RandomNoise(std=(0.15, 0.15))
    """
    return SHOWN.get(name) or getattr(tio, name)()


def head() -> tio.Subject:
    """Return the head of the pictures, with labels of grey and of white matter."""
    brain = mni152()
    return tio.Subject(t1=brain.t1[BRAIN], seg=brain.seg[BRAIN])


def subject_of(name: str) -> tio.Subject:
    """Return the subject that the card of a transform shows."""
    phantoms = {FAMILIES["ct"]: ct_phantom, FAMILIES["ultrasound"]: ultrasound_phantom}
    return phantoms.get(family(name), head)()


def after(name: str, before: tio.Subject) -> tio.Subject:
    """Return a subject as the card of a transform shows it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        return shown(name)(before)


def draw(name: str, before: tio.Subject, facts: Facts, file: Path) -> None:
    """Draw a plane of a subject before and after a transform, in one scale and one window."""
    cut = _CUTS.get(name, 2)
    scan = next(each for each in ("ct", "us", "t1") if each in before)
    drawn = [scan] if "intensity" in facts.changes else []
    drawn += ["seg"] if "label" in facts.changes else []
    places = {"t1": pictures.DRAWN, "us": (0, 0, 0)}  # voxels
    place = np.array((*CT_PLACE, 1.0)) if scan == "ct" else before[scan].affine @ (*places[scan], 1)
    subjects = {"before": before, "after": after(name, before)}
    regrids = len({subject[drawn[0]].spatial_shape for subject in subjects.values()}) == 2
    rows = {}
    for word, subject in subjects.items():
        planes = {each: _plane(subject[each], place, cut) for each in drawn}
        if len(drawn) == 2:  # one outline, which can be seen in a small picture
            planes["seg"].set_data((planes["seg"].data > 0).byte())
        rows[f"{word}: {_extent(subject[drawn[0]], regrids)}"] = tio.Subject(planes)
    window = {"ct": CT_WINDOW, "us": (0, 255)}.get(scan)  # None for that of the plane before
    if name == "RandomWindow":
        window = None
    if family(name) == FAMILIES["normalization"]:  # which gives values another range
        values = torch.cat([row[drawn[0]].data.flatten() for row in rows.values()])
        window = values.min().item(), values.max().item()
    saved = {"dpi": 200, "pil_kwargs": {"quality": 82}}
    plot_gallery(rows, file, window=window, figsize=(3.4, 2.3), savefig_kwargs=saved)


def _extent(image: tio.Image, shape: bool) -> str:
    """Return the shape of an image, or the range of its values, as text."""
    if shape:
        return " x ".join(map(str, image.spatial_shape))
    low, high = (value.item() for value in image.data.aminmax())
    return " to ".join(f"{each:.0f}" if abs(each) > 99 else f"{each:.2g}" for each in (low, high))


def _plane(image: tio.Image, place: torch.Tensor, cut: int) -> tio.Image:
    """Return the plane of an image that lies nearest to a place in the world."""
    voxel = torch.linalg.solve(torch.as_tensor(image.affine), torch.as_tensor(place))
    middle = int(voxel[cut].round().clamp(0, image.spatial_shape[cut] - 1))
    box = [slice(None)] * 3
    box[cut] = slice(middle, middle + 1)
    return image[tuple(box)]


def with_pictures(text: str, root: str) -> str:
    """Return a page in which the pictures of cards stand where it asks for them.

    Args:
        text: Markdown.
        root: Path from the page to the folder of :file:`gallery.md`.

    >>> with_pictures("<!-- picture RandomGibbs -->", "..")[:44]
    '[![RandomGibbs, before and after: Let edges '
    """
    return _PICTURE.sub(lambda match: _picture(match[1], root, "{ width=480 }"), text)


def _picture(name: str, root: str, style: str = "") -> str:
    sentence = re.sub(r"[`\[\]]", "", first_sentence(getattr(tio, name)))
    file = f"{root}/gallery/{name}.jpg"
    return f"[![{name}, before and after: {sentence}]({file}){style}]({file})"


def card(name: str, facts: Facts, time: str) -> str:
    """Return a card as Markdown, for a page beside the folders of pictures and of the reference."""
    cls, twin = getattr(tio, name), name.removeprefix("Random")
    title = f"[{name}](reference/{name}.md)"
    paired = twin != name and twin in TRANSFORMS
    given = f" With given parameters: [`{twin}`](reference/{twin}.md)." if paired else ""
    sentence = first_sentence(cls)
    rows = {
        "Time": time,
        "Can be undone": "yes" if facts.invertible else "no",
        "Gradients reach": _gradient(facts),
        "Changes": " and ".join(_KINDS[kind] for kind in facts.changes),
        "Passes": facts.passes,
    }
    return "\n".join(
        [
            '<div class="card" markdown>',
            "",
            _picture(name, "."),
            "",
            f"### {title}",
            "",
            f"{sentence}{given}",
            "",
            f"```python\ntio.{shown(name)!r}\n```",
            "",
            *[f"- **{key}:** {value}" for key, value in rows.items()],
            "",
            "</div>",
        ]
    )


_KINDS = {"intensity": "images", "label": "label maps"}


def _gradient(facts: Facts) -> str:
    reached = ["image"] if facts.image_gradient else []
    reached += [f"`{name}`" for name in facts.parameter_gradients]
    return ", ".join(reached) or "nothing"


def first_sentence(cls: type) -> str:
    """Return the first sentence of a docstring, as Markdown.

    >>> first_sentence(tio.RandomSpike)
    'Add bright points to k-space at random.'
    """
    text = plain_text((inspect.getdoc(cls) or "").partition("\n\n")[0].replace("``", "`"))
    return re.sub(r"[:;] see \w+(?=\.)", "", text)


def times() -> dict[str, str]:
    """Return the time of each transform that was measured, as text."""
    result = costs.newest()
    rows = result["rows"] if result else []
    return {row["name"]: f"{number(row['median'])} ms" for row in rows}


def measured() -> str:
    """Return what was timed, when and where, as a sentence."""
    result = costs.newest()
    if result is None:
        return "Times have not been measured."
    size = " x ".join(map(str, result["shape"]))
    return (
        f"Times are those of a call with default parameters on {result['batch']} volumes of "
        f"{size} voxels with their label maps. {records.origin(result)}"
    )


def family(name: str) -> str:
    """Return the title of the family of a transform.

    >>> family("RandomGhosting")
    'Artifacts of k-space'
    """
    return FAMILIES[getattr(tio, name).__module__.split(".")[2]]


def page(folder: Path) -> str:
    """Draw the pictures of all cards into a folder, and return the cards as Markdown."""
    folder.mkdir(parents=True, exist_ok=True)
    known = times()
    made: dict[str, list[str]] = {title: [] for title in FAMILIES.values()}
    for name in sorted(names(), key=lambda name: name.removeprefix("Random")):
        facts = facts_of(shown(name))
        draw(name, subject_of(name), facts, folder / f"{name}.jpg")
        made[family(name)].append(card(name, facts, known.get(name, "not measured")))
    return "\n\n".join(_sections(made))


def _sections(made: dict[str, list[str]]) -> Iterator[str]:
    yield measured()
    for title, cards in made.items():
        yield f"## {title}"
        yield '<div class="cards" markdown>'
        yield from cards
        yield "</div>"
    yield "## Without a picture"
    yield "\n".join(f"- [`{n}`](reference/{n}.md) {why}." for n, why in WITHOUT.items())
