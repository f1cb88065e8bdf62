"""Types, files, caches and patches."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .asking import Op, Part, group, noise, parts

asks = group("Data and patches")

SPACING = (1.5, 2.0, 3.0)


def _array() -> np.ndarray:
    """Return voxels (I, J, K), int16: what DICOM can hold."""
    return (noise(9, 8, 7) * 1000).numpy().astype(np.int16)


def write_nifti(path: Path, voxels: np.ndarray, affine: Any) -> Path:
    """Write voxels (I, J, K) and where they lie."""
    import nibabel as nib

    nib.save(nib.Nifti1Image(voxels, np.asarray(affine)), path)
    return path


def _given(kind: str) -> Any:
    x = _array().astype(np.float32)
    if kind == "numpy":
        return x[None]
    if kind == "dict":
        return {"image": torch.from_numpy(x)[None]}
    if kind == "NiBabel":
        import nibabel as nib

        return nib.Nifti1Image(x, np.diag([*SPACING, 1]))
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(x.T)
    image.SetSpacing(SPACING)
    return image


@asks("same type out as in")
def types(ops: dict[str, Op]) -> str | None:
    """A numpy array, a SimpleITK image, a NiBabel image and a dict of tensors, each where the
    library takes it."""

    def same(kind: str) -> bool:
        x = _given(kind)
        y = ops[kind](x)
        return isinstance(y["image"], Tensor) if kind == "dict" else isinstance(y, type(x))

    kinds = ("numpy", "SimpleITK", "NiBabel", "dict")
    wrong = {kind: None if kind in ops and same(kind) else "tensors" for kind in kinds}
    right = [kind for kind in kinds if wrong[kind] is None]
    if len(right) == len(kinds):
        return None
    return Part(f"{' and '.join(right)} only") if right else "tensors only"


@asks("reads NIfTI and DICOM with their place in space")
def files(read: Callable[[Path], tuple[Any, Any]]) -> str | None:
    """A NIfTI file and a DICOM series of 1.5x2x3 mm: voxels and spacing."""

    def wrong(path: Path) -> str | None:
        try:
            voxels, spacing = read(path)
        except Exception as error:
            return f"the other is refused: {type(error).__name__}"
        if spacing is None or not np.allclose(np.asarray(spacing), SPACING, atol=1e-4):
            return "without the place in space"
        # slices may come in another order
        right = np.allclose(np.sort(np.asarray(voxels).ravel()), np.sort(_array().ravel()))
        return None if right else "voxels differ"

    with tempfile.TemporaryDirectory() as folder:
        nifti = write_nifti(Path(folder, "image.nii.gz"), _array(), np.diag([*SPACING, 1]))
        return parts(NIfTI=wrong(nifti), DICOM=wrong(_dicom(Path(folder, "series"))))


def _dicom(folder: Path) -> Path:
    import SimpleITK as sitk

    folder.mkdir()
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for index, plane in enumerate(_array().T):
        image = sitk.GetImageFromArray(plane[None])
        image.SetSpacing(SPACING)
        place = (0.0, 0.0, index * SPACING[2])
        image.SetOrigin(place)
        tags = {
            "0008|0016": "1.2.840.10008.5.1.4.1.1.4",  # MR image
            "0008|0018": f"1.2.3.4.{index + 1}",
            "0008|0060": "MR",
            "0020|000d": "1.2.3.1",
            "0020|000e": "1.2.3.2",
            "0020|0013": str(index),
            "0020|0032": "\\".join(map(str, place)),
            "0020|0037": "1\\0\\0\\0\\1\\0",
            "0018|0050": str(SPACING[2]),
        }
        for tag, value in tags.items():
            image.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{index}.dcm"))
        writer.Execute(image)
    return folder


@asks("keeps prepared samples, in memory or on disk", "cache", "persist")
def cache(make: Callable[[Callable[[Any], Any]], Any]) -> str | None:
    """A dataset of one sample whose preparation runs once in two epochs."""
    calls = []

    def prepare(x: Any) -> Any:
        calls.append(1)
        return x

    dataset = make(prepare)
    for _ in range(2):
        dataset[0]
    return None if len(calls) == 1 else f"prepared {len(calls)} times in two epochs"


#: Side of the patches that samplers give, of volumes of 20 voxels a side.
SIDE = 5


@asks("random patches by uniform, given or label probabilities", "sampler", "crop", "patch")
def samplers(ops: dict[str, Op]) -> str | None:
    """Uniform ones; ones centred where a map (1, I, J, K) is 1; ones centred on a rare label."""
    x = torch.zeros(1, 20, 20, 20)
    x[:, 12:15, 6:8, 9:12] = 1
    wrong: dict[str, str | None] = {}
    for name in ("uniform", "weighted", "label"):
        patches = [ops[name](x).reshape((SIDE,) * 3) for _ in range(4)] if name in ops else []
        right = all(p[2, 2, 2] == 1 for p in patches) if name != "uniform" else True
        wrong[name] = None if patches and right else "others are not offered or not centred"
    return parts(**wrong)


@asks("a queue of patches of several subjects", "queue")
def queue(patches: Callable[[list[Tensor]], Iterable[Tensor]]) -> str | None:
    """Patches of three subjects, whose voxels are all 0, all 1 and all 2, four of each, come
    mixed."""
    subjects = [torch.full((1, 8, 8, 8), float(n)) for n in range(3)]
    numbers = [int(patch.flatten()[0]) for patch in patches(subjects)]
    if sorted(numbers) != sorted([0, 1, 2] * 4):
        return f"patches come from subjects {numbers}"
    return None if numbers != sorted(numbers) else "they come subject by subject"


@asks("networks and losses", "unet", "loss", "dice")
def networks(make: Callable[[], tuple[nn.Module, Op]]) -> str | None:
    """A U-Net is called and a Dice loss goes back through it."""
    net, loss = make()
    x = noise(1, 1, 8, 8, 8)
    loss(net(x), (x > 0.5).float()).backward()
    return None if all(p.grad is not None for p in net.parameters()) else "no gradients"


@asks("pretrained models to download", "pretrained", "modelzoo")
def models(names: object) -> str | None:
    """Offered by name; nothing is fetched."""
    return None if names else "none"
