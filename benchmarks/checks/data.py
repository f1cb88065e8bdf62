"""Types, files, caches and patches."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .asking import Op, PartError, WrongError, need, noise, parts, row

asks = partial(row, "Data and patches")

SPACING = (1.5, 2.0, 3.0)


def _array() -> np.ndarray:
    """Return voxels (I, J, K), int16: what DICOM can hold."""
    return (noise(9, 8, 7) * 1000).numpy().astype(np.int16)


def _given(kind: str) -> Any:
    x = _array().astype(np.float32)
    if kind == "SimpleITK":
        import SimpleITK as sitk

        return sitk.GetImageFromArray(x.T)
    if kind == "NiBabel":
        import nibabel as nib

        return nib.Nifti1Image(x, np.diag([*SPACING, 1]))
    return x[None] if kind == "numpy" else {"image": torch.from_numpy(x)[None]}


@asks("same type out as in")
def types(ops: dict[str, Op]) -> None:
    """A numpy array, a SimpleITK image, a NiBabel image and a dict of tensors, each where the
    library takes it."""

    def same(kind: str) -> bool:
        x = _given(kind)
        y = ops[kind](x)
        return isinstance(y["image"], Tensor) if kind == "dict" else isinstance(y, type(x))

    kinds = ["numpy", "SimpleITK", "NiBabel", "dict"]
    right = [kind for kind in kinds if kind in ops and same(kind)]
    need(right, "tensors only")
    need(right == kinds, f"{' and '.join(right)} only", PartError)


@asks("reads NIfTI and DICOM with their place in space")
def files(read: Callable[[Path], tuple[Any, Any]]) -> None:
    """A NIfTI file and a DICOM series of 1.5x2x3 mm: voxels and spacing."""
    import nibabel as nib

    def is_read(path: Path) -> None:
        try:
            voxels, spacing = read(path)
        except Exception as error:
            raise WrongError(f"the other is refused: {type(error).__name__}") from error
        near = spacing is not None and np.allclose(np.asarray(spacing), SPACING, atol=1e-4)
        need(near, "without the place in space")
        # slices may come in another order
        right = np.allclose(np.sort(np.asarray(voxels).ravel()), np.sort(_array().ravel()))
        need(right, "voxels differ")

    with tempfile.TemporaryDirectory() as folder:
        nifti, dicom = Path(folder, "image.nii.gz"), Path(folder, "series")
        nib.save(nib.Nifti1Image(_array(), np.diag([*SPACING, 1])), nifti)
        _write_dicom(dicom)
        parts(is_read, {"NIfTI": nifti, "DICOM": dicom})


def _write_dicom(folder: Path) -> None:
    import SimpleITK as sitk

    folder.mkdir()
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for index, plane in enumerate(_array().T):
        image = sitk.GetImageFromArray(plane[None])
        image.SetSpacing(SPACING)
        image.SetOrigin((0.0, 0.0, index * SPACING[2]))
        tags = {
            "0008|0016": "1.2.840.10008.5.1.4.1.1.4",  # MR image
            "0008|0018": f"1.2.3.4.{index + 1}",
            "0008|0060": "MR",
            "0020|000d": "1.2.3.1",
            "0020|000e": "1.2.3.2",
            "0020|0013": str(index),
            "0020|0032": f"0\\0\\{index * SPACING[2]}",
            "0020|0037": "1\\0\\0\\0\\1\\0",
            "0018|0050": str(SPACING[2]),
        }
        for tag, value in tags.items():
            image.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{index}.dcm"))
        writer.Execute(image)


@asks("keeps prepared samples, in memory or on disk", "cache", "persist")
def cache(make: Callable[[Callable[[Any], Any]], Any]) -> None:
    """A dataset of one sample whose preparation runs once in two epochs."""
    calls = []
    dataset = make(lambda x: calls.append(1) or x)
    for _ in range(2):
        dataset[0]
    need(len(calls) == 1, f"prepared {len(calls)} times in two epochs")


#: Side of the patches that samplers give, of volumes of 20 voxels a side.
SIDE = 5


@asks("random patches by uniform, given or label probabilities", "sampler", "crop", "patch")
def samplers(ops: dict[str, Op]) -> None:
    """Uniform ones; ones centred where a map (1, I, J, K) is 1; ones centred on a rare label."""
    x = torch.zeros(1, 20, 20, 20)
    x[:, 12:15, 6:8, 9:12] = 1

    def are_right(name: str) -> None:
        patches = [ops[name](x).reshape((SIDE,) * 3) for _ in range(4)] if name in ops else []
        centred = name == "uniform" or all(patch[2, 2, 2] == 1 for patch in patches)
        need(patches and centred, "others are not offered or not centred")

    parts(are_right, {name: name for name in ("uniform", "weighted", "label")})


@asks("a queue of patches of several subjects", "queue")
def queue(patches: Callable[[list[Tensor]], Iterable[Tensor]]) -> None:
    """Patches of three subjects, whose voxels are all 0, all 1 and all 2, four of each, come
    mixed."""
    subjects = [torch.full((1, 8, 8, 8), float(n)) for n in range(3)]
    numbers = [int(patch.flatten()[0]) for patch in patches(subjects)]
    need(sorted(numbers) == sorted([0, 1, 2] * 4), f"patches come from subjects {numbers}")
    need(numbers != sorted(numbers), "they come subject by subject")


@asks("networks and losses", "unet", "loss", "dice")
def networks(make: Callable[[], tuple[nn.Module, Op]]) -> None:
    """A U-Net is called and a Dice loss goes back through it."""
    net, loss = make()
    x = noise(1, 1, 8, 8, 8)
    loss(net(x), (x > 0.5).float()).backward()
    need(all(p.grad is not None for p in net.parameters()), "no gradients")


@asks("pretrained models to download", "pretrained", "modelzoo")
def models(names: object) -> None:
    """Offered by name; nothing is fetched."""
    need(names, "none")
