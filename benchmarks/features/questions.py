"""What is asked of every library, and how it is found out.

To add a question: a line here, and a function of its key in the modules of libraries that have it.
"""

from __future__ import annotations

from typing import NamedTuple


class Question(NamedTuple):
    """A row of the table.

    Args:
        title: The row's head.
        asked: What exactly is tried.
    """

    title: str
    asked: str


#: What a module without a probe means.
ABSENT = "not offered"

GROUPS: dict[str, dict[str, Question]] = {
    "Batches, devices, gradients": {
        "batch": Question(
            "a batch in one call",
            "An affine of a tensor (3, 1, I, J, K) of equal samples gives three different ones.",
        ),
        "device": Question(
            "voxels never leave torch",
            "Affine, elastic and noise of a tensor: neither voxels nor fields of their size pass "
            "through numpy, as they would on their way to the CPU.",
        ),
        "seeds": Question(
            "a sample's augmentation depends on the seed alone",
            "Four samples, one by one in order, or two by two in another order, with the same "
            "seed: each sample is augmented alike.",
        ),
        "grad_image": Question(
            "gradients reach the voxels",
            "Backward through an affine and a change of contrast.",
        ),
        "grad_params": Question(
            "gradients reach the angles of an affine",
            "Backward to a tensor of degrees, against a finite difference.",
        ),
        "compile": Question(
            "inside torch.compile(fullgraph=True)",
            "Affine and noise in one graph, with new random numbers at each call.",
        ),
        "graphs": Question(
            "replays CUDA graphs with new random numbers", "Offered as a class or an option."
        ),
        "kernels": Question("GPU kernels of its own", "Whether they are run by this table."),
    },
    "Geometry": {
        "labels": Question(
            "label maps move with the image",
            "An affine of a blob and its mask of 3: no other label appears, and the mask of the "
            "moved blob is the moved mask (Dice above 0.9).",
        ),
        "spacing": Question(
            "images of different spacing stay aligned in mm",
            "A blob at 1 mm and at 2 mm, rotated together: centroids within 0.5 mm.",
        ),
        "millimetres": Question(
            "rotates in mm on anisotropic voxels",
            "A bar turned by 45 degrees in a volume of 1x1x2 mm keeps its lengths in mm.",
        ),
        "anatomy": Question(
            "axes by anatomy ('LR')", "Flips left and right, stored along K, by their name."
        ),
        "fused": Question(
            "composed affines, flip and elastic: one interpolation",
            "Two affines, a flip and an elastic deformation of white noise: the variance that is "
            "left is that of one interpolation. Partly: for less than these.",
        ),
        "replay": Question(
            "what was drawn is recorded and replayed",
            "A random affine and flip, applied again as recorded: the same voxels.",
        ),
        "inverse": Question(
            "transforms can be undone",
            "A random affine and flip, undone: a smooth image is what it was at its centre.",
        ),
        "points": Question("points move with the image", "A point at the peak of a blob stays so."),
        "planes": Question("2D images", "An image of one slice is rotated within it."),
        "dtypes": Question("dtypes of labels are kept", "uint8 and int16, through an affine."),
    },
    "Data": {
        "types": Question(
            "same type out as in",
            "A numpy array, a SimpleITK image, a NiBabel image and a dict of tensors.",
        ),
        "files": Question(
            "reads NIfTI and DICOM with their place in space",
            "A NIfTI file and a DICOM series of 1.5x2x3 mm: voxels and spacing.",
        ),
        "cache": Question(
            "keeps prepared samples, in memory or on disk",
            "A dataset whose preparation runs once in two epochs.",
        ),
    },
    "Artifacts and synthesis": {
        "bias": Question("MRI bias field", "Of a constant image: positive, smooth, not constant."),
        "motion": Question("MRI motion", "Several poses within k-space: no rigid motion."),
        "ghosting": Question(
            "MRI ghosts and spikes",
            "Ghosts change some planes of k-space and leave others; spikes change a few points.",
        ),
        "gibbs": Question("Gibbs ringing", "High frequencies of noise are cut off, others kept."),
        "aliasing": Question(
            "MRI wrap-around and partial Fourier",
            "A plane is seen again, half a field of view away; of a wave whose lines of negative "
            "frequencies are missing, half of its magnitude is left, everywhere.",
        ),
        "fat": Question(
            "MRI chemical shift of fat", "Voxels of a mask move along an axis, others stay."
        ),
        "zipper": Question("MRI zipper", "Noise in one plane, all other voxels are left."),
        "coils": Question(
            "MRI noise of several coils",
            "Of zeros: mean over deviation is above that of one coil, 1.91.",
        ),
        "beam_attenuation": Question(
            "ultrasound attenuation along beams",
            "Of a constant B-mode image of a phased probe at 2 dB per cm: grey values fall by 2 dB "
            "for each cm of distance from the apex, to 0.1 dB, and stay outside of the fan.",
        ),
        "acoustic_shadow": Question(
            "ultrasound acoustic shadow",
            "Of a constant B-mode image with a shadow of 20 dB behind 20 mm, a fifth of the fan "
            "wide: levels fall by 20 dB there, to 0.1 dB, and nowhere else.",
        ),
        "reverberation": Question(
            "ultrasound reverberation",
            "Of a bright row with echoes of half the amplitude each 10 mm: rows 10 and 20 mm "
            "further down are 6 and 12 dB darker, to 0.1 dB, and others stay.",
        ),
        "labels_to_ultrasound": Question(
            "ultrasound images made of label maps",
            "Of one label that attenuates by 3 dB per cm: mean intensities of the lower half are "
            "9 dB below those of the upper one, 30 mm higher, to 1 dB.",
        ),
        "speckle": Question(
            "ultrasound speckle along beams",
            "Of a constant B-mode image: levels deviate by 5.57 dB, to 0.3 dB, and values outside "
            "of the fan stay.",
        ),
        "haze": Question(
            "ultrasound haze that fades with depth",
            "Of a black B-mode image: rows near the probe become brighter than those below, and "
            "values outside of the fan stay.",
        ),
        "low_field": Question(
            "MRI of a weaker magnet",
            "Of a constant image at a tenth of the field and a signal-to-noise ratio of 100: mean "
            "over deviation becomes 10, to 10 %.",
        ),
        "low_dose": Question(
            "CT of low dose",
            "Of a dense disc in air: fine noise, stronger in its middle than in the corners.",
        ),
        "streaks": Question(
            "CT streaks of photon starvation",
            "Of two dense rods in water: changes between them, on the line that joins them, are "
            "more than ten times those beside it.",
        ),
        "beam_hardening": Question(
            "CT beam hardening",
            "Of two rods of bone in water: darker on the line that joins them than beside it.",
        ),
        "b0": Question(
            "MRI distortion by B0 that conserves intensity",
            "A blob changes, and its sum along each line of one axis does not, to 3 %.",
        ),
        "slices": Question(
            "MRI motion between slices", "A straight rod is displaced from slice to slice."
        ),
        "anisotropy": Question(
            "thick slices", "Noise becomes smoother along one axis than along another."
        ),
        "ct_kernel": Question(
            "CT of a sharper or softer reconstruction kernel",
            "Noise, sharpened and softened: high frequencies within planes grow or shrink against "
            "low ones, constants stay, and planes do not mix.",
        ),
        "ct_thickness": Question(
            "CT of thicker slices, on the same grid",
            "Noise, averaged over three slices: a third of its variance along one axis, of which "
            "neighbours share two thirds.",
        ),
        "synthesis": Question(
            "images from label maps, as SynthSeg", "A mean of its own for each label, at random."
        ),
        "dropout": Question("cuts boxes out", "Voxels change within boxes only."),
        "mixing": Question("mixes samples (MixUp or CutMix)", "Of a batch of zeros and ones."),
    },
    "Preprocessing and labels": {
        "regrid": Question(
            "orientation and spacing",
            "A blob in an image of other orientation and spacing, brought to RAS and 1 mm, stays "
            "where it was in mm.",
        ),
        "ct_rings": Question(
            "CT rings", "Of a constant image: a pattern that is the same after a quarter turn."
        ),
        "ct_views": Question(
            "CT sparse views and limited angle",
            "Of a disc: streaks outside; of a square: edges along some direction are lost.",
        ),
        "ct_metal": Question(
            "CT metal", "A band between two rods is darker than what lies beside it."
        ),
        "ct_window": Question(
            "a window of Hounsfield units",
            "A ramp of -1000 to 1000: linear from 0 to 1 between 0 and 80, constant outside.",
        ),
        "landmarks": Question(
            "histogram standardization by landmarks",
            "Learnt from images of different contrast, it makes them alike.",
        ),
        "curves": Question(
            "random monotone curves of intensities",
            "Order and range of the values are kept, and differences between them are not.",
        ),
        "morphology": Question(
            "labels grown and shrunk by a radius", "A cube gains voxels, and loses some."
        ),
        "component": Question("largest component of labels", "Of two blobs, the larger is kept."),
    },
    "Patches": {
        "samplers": Question(
            "random patches by uniform, given or label probabilities",
            "Uniform ones; ones centred where a map is 1; ones centred on a rare label.",
        ),
        "blending": Question(
            "dense inference with smooth weights",
            "Overlapping patches of ones, with Hann or Gaussian weights: all voxels are 1.",
        ),
        "queue": Question(
            "a queue of patches of several subjects", "Patches of three subjects come mixed."
        ),
        "windows": Question(
            "computes the voxels of a patch alone",
            "A patch of 12³ of an affinely and elastically deformed volume of 48³, without any "
            "other tensor a quarter of the volume's size.",
        ),
    },
    "Around it": {
        "networks": Question(
            "networks and losses", "A U-Net is called and a Dice loss goes back through it."
        ),
        "models": Question("pretrained models to download", "Offered by name; nothing is fetched."),
    },
}
QUESTIONS = {key: question for group in GROUPS.values() for key, question in group.items()}

#: Not asked for, but read off the installed distribution.
FACTS = {
    "transforms": "public transform classes",
    "licence": "licence",
    "python": "Python",
    "dependencies": "required packages besides torch",
    "typed": "typed (py.typed)",
    "status": "development status",
}
