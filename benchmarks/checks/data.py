"""Types, files, caches and patches."""

import tempfile
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .asking import Op, WrongError, need, noise, parts, row

asks = partial(row, "Data and patches")

SPACING = (1.5, 2.0, 3.0)
#: Side of the patches that samplers give, of volumes of 20 voxels a side.
SIDE = 5
#: Voxels (I, J, K), int16: what DICOM can hold.
_VOXELS = (noise(9, 8, 7) * 1000).numpy().astype(np.int16)


def _itk(voxels: np.ndarray) -> Any:
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(voxels.T)
    image.SetSpacing(SPACING)
    return image


def _given(kind: str) -> Any:
    x = _VOXELS.astype(np.float32)
    if kind == "SimpleITK":
        return _itk(x)
    if kind == "NiBabel":
        import nibabel as nib

        return nib.Nifti1Image(x, np.eye(4))
    return x[None] if kind == "numpy" else {"image": torch.from_numpy(x)[None]}


@asks("same type out as in")
def types(ops: dict[str, Op]) -> None:
    """A numpy array, a SimpleITK image, a NiBabel image and a dict of tensors."""
    kinds, right = ["numpy", "SimpleITK", "NiBabel", "dict"], []
    for kind in (kind for kind in kinds if kind in ops):
        x = _given(kind)
        y = ops[kind](x)
        same = isinstance(y["image"], Tensor) if kind == "dict" else isinstance(y, type(x))
        right += [kind] if same else []
    need(right, "tensors only")
    need(right == kinds, f"{' and '.join(right)} only", part=True)


@asks("reads NIfTI and DICOM with their place in space")
def files(read: Callable[[Path], tuple[Any, Any]]) -> None:
    """A NIfTI file and a DICOM series of 1.5x2x3 mm: voxels and spacing."""
    import SimpleITK as sitk

    def is_read(path: Path) -> None:
        try:
            voxels, spacing = read(path)
        except Exception as error:
            raise WrongError(f"the other is refused: {type(error).__name__}") from error
        near = spacing is not None and np.allclose(np.asarray(spacing), SPACING, atol=1e-4)
        need(near, "without the place in space")
        found, right = (np.sort(np.asarray(each).ravel()) for each in (voxels, _VOXELS))
        need(np.allclose(found, right), "voxels differ")  # slices may come in another order

    volume, writer = _itk(_VOXELS), sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    with tempfile.TemporaryDirectory() as folder:
        nifti, dicom = Path(folder, "image.nii.gz"), Path(folder, "series")
        sitk.WriteImage(volume, str(nifti))
        dicom.mkdir()
        for n in range(volume.GetSize()[2]):
            image = volume[:, :, n : n + 1]
            image.SetMetaData("0008|0060", "MR")
            image.SetMetaData("0020|000e", "1.2.3")  # of the series
            image.SetMetaData("0008|0018", f"1.2.3.{n + 1}")  # of the image
            image.SetMetaData("0020|0013", str(n))
            writer.Execute(image, str(dicom / f"{n}.dcm"), False, -1)
        parts(is_read, {"NIfTI": nifti, "DICOM": dicom})


@asks("keeps prepared samples, in memory or on disk", "cache", "persist")
def cache(make: Callable[[Callable[[Any], Any]], Any]) -> None:
    """A dataset of one sample whose preparation runs once in two epochs."""
    calls: list[Any] = []
    dataset = make(lambda x: calls.append(x) or x)
    _ = dataset[0], dataset[0]
    need(len(calls) == 1, f"prepared {len(calls)} times in two epochs")


@asks("random patches by uniform, given or label probabilities", "sampler", "crop", "patch")
def samplers(ops: dict[str, Op]) -> None:
    """Uniform ones; ones centred where a map (1, I, J, K) is 1; ones centred on a rare label."""
    x = torch.zeros(1, 20, 20, 20)
    x[:, 12:15, 6:8, 9:12] = 1
    right = []
    for name in (name for name in ("uniform", "weighted", "label") if name in ops):
        centres = [ops[name](x).reshape((SIDE,) * 3)[2, 2, 2] for _ in range(4)]
        right += [name] if name == "uniform" or all(centres) else []
    only = f"{' and '.join(right)} only; others are not offered or not centred"
    need(len(right) == 3, only, part=True)


@asks("a queue of patches of several subjects", "queue")
def queue(patches: Callable[[list[Tensor]], Iterable[Tensor]]) -> None:
    """Patches of subjects whose voxels are all 0, 1 or 2, four of each, come mixed."""
    subjects = [torch.full((1, 8, 8, 8), float(n)) for n in range(3)]
    numbers = [int(patch.flatten()[0]) for patch in patches(subjects)]
    need(sorted(numbers) == [n // 4 for n in range(12)], f"patches come from subjects {numbers}")
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
