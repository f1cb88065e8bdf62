"""Names of the package, as strings: known without importing torch.

``torchio_gpu/public.py`` imports what they name; a test compares the two, and says what is missing.
"""

from __future__ import annotations

from collections.abc import Iterable

#: Transforms that the command line can construct.
TRANSFORMS = (
    "PCA",
    "Affine",
    "AffineElasticDeformation",
    "Anisotropy",
    "BiasField",
    "Blur",
    "Clamp",
    "Contour",
    "CopyAffine",
    "Crop",
    "CropOrPad",
    "Diffeomorphism",
    "Displacement",
    "ElasticDeformation",
    "EnsureShapeMultiple",
    "Flip",
    "Gamma",
    "Ghosting",
    "Gibbs",
    "HistogramStandardization",
    "KeepLargestComponent",
    "LabelsToImage",
    "Lambda",
    "Mask",
    "Motion",
    "Noise",
    "OneHot",
    "OneOf",
    "Pad",
    "RandomAffine",
    "RandomAffineElasticDeformation",
    "RandomAnisotropy",
    "RandomBiasField",
    "RandomBlur",
    "RandomDiffeomorphism",
    "RandomDisplacement",
    "RandomElasticDeformation",
    "RandomFlip",
    "RandomGamma",
    "RandomGhosting",
    "RandomGibbs",
    "RandomLabelsToImage",
    "RandomMotion",
    "RandomNoise",
    "RandomSpike",
    "RandomSwap",
    "RemapLabels",
    "RemoveLabels",
    "Resample",
    "RescaleIntensity",
    "Resize",
    "SequentialLabels",
    "SomeOf",
    "Spike",
    "Swap",
    "To",
    "ToCanonical",
    "ToOrientation",
    "ToReferenceSpace",
    "Transpose",
    "ZNormalization",
)

#: All other public names.
NAMES = (
    "AFFINE",
    "CHANNELS_DIMENSION",
    "DATA",
    "HISTORY",
    "IMAGE",
    "INTENSITY",
    "LABEL",
    "LOCATION",
    "MIN_FLOAT_32",
    "NUM_SAMPLES",
    "PATH",
    "SAMPLING_MAP",
    "STEM",
    "TENSOR",
    "TYPE",
    "BoundingBoxes",
    "Captured",
    "Choice",
    "Compose",
    "Context",
    "DeviceQueue",
    "FourierTransform",
    "GridAggregator",
    "GridSampler",
    "Image",
    "ImagesBatch",
    "IntensityTransform",
    "Interpolation",
    "LabelMap",
    "LabelSampler",
    "LabelTransform",
    "MonaiAdapter",
    "Params",
    "PatchAggregator",
    "PatchLocation",
    "PatchSampler",
    "Points",
    "PointwiseTransform",
    "Queue",
    "QueueStatistics",
    "RandomTransform",
    "Recorded",
    "ScalarImage",
    "Slab",
    "SpatialMap",
    "SpatialTraits",
    "SpatialTransform",
    "Subject",
    "SubjectFunction",
    "SubjectsBatch",
    "SubjectsDataset",
    "SubjectsLoader",
    "Transform",
    "UniformSampler",
    "VolumeTransform",
    "WeightedSampler",
    "backend",
    "from_dict",
    "functional",
    "geometry",
    "load_pipeline",
    "predict_by_patches",
    "random",
    "save_pipeline",
    "train_histogram",
    "transforms",
)

#: Modules that are attributes of the package; each is imported when asked for.
MODULES = (
    "compat",
    "configuration",
    "data",
    "datasets",
    "functional",
    "geometry",
    "inference",
    "io",
    "loader",
    "patches",
    "plot",
    "random",
    "sampler",
    "transforms",
    "utils",
)


def nearest(word: str, names: Iterable[str]) -> str:
    """Return the end of an error message that says which names look like ``word``; '' if none.

    >>> nearest("randomaffin", ["RandomAffine", "Blur"])
    '; did you mean RandomAffine?'
    """
    from difflib import SequenceMatcher

    if len(word) > 100:  # no name, and slow to compare
        return ""
    scores = {n: SequenceMatcher(None, word.lower(), n.lower()).ratio() for n in names}
    # many names begin alike, and have a high score without being meant
    least = max(0.6, 0.9 * max(scores.values(), default=0))
    found = [n for n in sorted(scores, key=lambda n: -scores[n]) if scores[n] >= least][:3]
    return f"; did you mean {' or '.join(found)}?" if found else ""
