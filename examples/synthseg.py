"""MRI of any contrast, made of labels: ``python examples/synthseg.py``.

A network that has seen random contrasts and resolutions works on real ones. Labels are deformed,
each tissue gets random intensities, and the image gets the flaws of an acquisition: Billot et al.
2020 (http://proceedings.mlr.press/v121/billot20a.html), and Iglesias et al. 2020
(arXiv:2012.13340), who learn to make a sharp T1 of it.
"""

import argparse

import torch

import torchio_gpu as tio
from torchio_gpu.datasets import mni152
from torchio_gpu.plot import plot_gallery

CSF = 3
HEAD = slice(14, 183), slice(14, 221), slice(0, 170)  # of the template's voxels, with a margin


def synthesis() -> tio.Compose:
    """Adds the image ``synthetic`` to a subject with the label map ``seg``.

    Other images, such as a real T1 to be predicted, move with the labels and stay intact.
    """
    return tio.Compose(
        [
            # The same for all images of the subject, which are sampled once.
            tio.RandomAffine(scales=0.1, degrees=15),
            tio.RandomElasticDeformation(max_displacement=8),
            # A Gaussian mixture: random mean and spread for each label but air, which stays 0.
            tio.RandomLabelsToImage(
                label_key="seg",
                image_key="synthetic",
                default_mean=(0.1, 1),
                default_std=(0.01, 0.08),
                ignore_background=True,
            ),
            # What happens to an acquired image, not to its labels. The paper's `Resample`, down to
            # the resolution of a scan and up again, is what anisotropy does at random.
            tio.Compose(
                [
                    tio.RandomBiasField(coefficients=0.3),
                    tio.RandomAnisotropy(downsampling=(1, 5), antialias=True),
                    # registered to the labels, though not perfectly
                    tio.RandomAffine(scales=0, degrees=1, translation=0.5),
                    tio.Lambda(normalise, batched=True),
                ],
                include=["synthetic"],
            ),
        ]
    )


def normalise(x: torch.Tensor) -> torch.Tensor:
    """Let the brightest voxel of each sample [B, C, I, J, K] be 1."""
    return x / x.amax((1, 2, 3, 4), keepdim=True).clamp_min(1e-6)  # which may hold no tissue


def brain() -> tio.Subject:
    """T1 and labels of the MNI152 brain: 0 air, 1 grey matter, 2 white matter, 3 CSF."""
    template = mni152()
    t1, tissue = template.t1[HEAD], template.seg[HEAD]
    fluid = (t1.data > 0) & (tissue.data == 0)
    labels = tissue.data.masked_fill(fluid, CSF)
    return tio.Subject(t1=t1, seg=tio.LabelMap(labels, affine=tissue.affine))


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw synthetic contrasts of one head.")
    parser.add_argument("output", nargs="?", default="synthseg.png", help="picture to write")
    parser.add_argument("--seed", type=int, default=4, help="another seed, other contrasts")
    arguments = parser.parse_args()

    torch.manual_seed(arguments.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    head, augment = brain(), synthesis()
    print(augment.explain())
    batch = tio.SubjectsBatch.from_subjects([head] * 3).to(device)
    batch = augment(batch)  # to train: batch.synthetic.data, batch.seg.data

    rows = {"T1": tio.Subject(image=head.t1)}
    for number, sample in enumerate(batch.unbatch(), 1):
        rows[f"Synthetic {number}"] = tio.Subject(image=sample.synthetic)
    middle = tuple(n * 9 // 20 for n in head.spatial_shape)
    plot_gallery(rows, arguments.output, window=(0, 1), indices=middle)


if __name__ == "__main__":
    main()
