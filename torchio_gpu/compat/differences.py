"""Differences from TorchIO 1.2.1 that stay, of which ``COMING_FROM_TORCHIO.md`` is made."""

from __future__ import annotations

from typing import NamedTuple


class Difference(NamedTuple):
    """Difference that stays on purpose.

    Args:
        key: Name of the test that shows it, without ``test_``.
        torchio: What TorchIO 1.2.1 does.
        here: What this library does.
        reason: Reason for the difference.
        advice: What to do in a script that depends on it.
    """

    key: str
    torchio: str
    here: str
    reason: str
    advice: str


DIFFERENCES = (
    Difference(
        "a_called_sampler_returns_one_patch",
        "`sampler(subject)` is an endless iterator",
        "`sampler(subject)` is one patch",
        "a sampler then works as a transform, on batches too",
        "`sampler(subject, n)` iterates over n patches",
    ),
    Difference(
        "errors_have_other_types",
        "wrong values raise RuntimeError, KeyError, AssertionError or ValueError",
        "TypeError for a wrong type, ValueError for a wrong value, before anything is computed",
        "the type says what is wrong; the text names argument, wish and fact",
        "catch `(TypeError, ValueError, KeyError)`",
    ),
    Difference(
        "random_numbers_are_others",
        "`torch.manual_seed` gives one sequence for all",
        "each sample has a seed; `torch.manual_seed` draws these",
        "a sample gets the same augmentation in any batch, order, worker and device",
        "compare distributions, or repeat transforms with given parameters",
    ),
    Difference(
        "a_history_names_the_transforms_that_were_called",
        "`subject.history` holds `Affine(...)` for `RandomAffine`",
        "it holds a record that prints as `RandomAffine(...)` with the parameters drawn",
        "one class draws, applies, repeats and undoes",
        "`record.name.removeprefix('Random')`; records are called like transforms",
    ),
    Difference(
        "arguments_are_kept_as_given",
        "`RandomAffine(degrees=10).degrees` is `(-10, 10, -10, 10, -10, 10)`",
        "it is `10`",
        "`repr` and configurations say what was written",
        "draw by `transform.sample_params(batch)` to see numbers",
    ),
    Difference(
        "subjects_and_batches_are_no_dicts",
        "`isinstance(subject, dict)`; batches are dicts",
        "`Subject`, `Image` and `SubjectsBatch` have the methods of a dict",
        "torch takes dicts apart where it converts or pins samples",
        "`dict(subject)`; `hasattr(x, 'keys')` in place of `isinstance(x, dict)`",
    ),
    Difference(
        "names_of_attributes_are_refused",
        "a value of a subject may be called `copy` or `shape`, and hides the attribute",
        "such names raise ValueError",
        "`subject.shape` has one meaning",
        "another name",
    ),
    Difference(
        "an_unknown_mask_name_raises",
        "`CropOrPad(mask_name='absent')` warns and crops about the centre",
        "KeyError",
        "a misspelt name would crop the wrong place",
        "leave `mask_name` out for subjects without the mask",
    ),
    Difference(
        "labels_are_padded_with_zero",
        "`Pad(2, padding_mode=5)` pads label maps with 5",
        "with 0",
        "5 is an intensity, and would be a label of its own",
        "`RemapLabels` after the pad",
    ),
    Difference(
        "several_spikes_do_not_compound",
        "each spike scales with the maximum of a spectrum that has the former spikes",
        "all scale with the maximum of the image's own spectrum",
        "the strength of a spike does not depend on their number",
        "lower `intensity` for one spike, raise it for several",
    ),
    Difference(
        "ghosts_are_counted_from_the_centre_of_k_space",
        "every n-th plane is counted from the edge of k-space",
        "from the central plane, which is kept",
        "the mean of the image is kept, whatever its size",
        "nothing",
    ),
    Difference(
        "control_points_follow_the_voxel_axes",
        "elastic control points lie along axes that ITK chooses, displacements are in LPS+",
        "along the voxel axes, displacements are in RAS+",
        "they mean the same for every orientation",
        "`tio.compat.elastic_control_points(points, image)` converts them",
    ),
    Difference(
        "one_centre_for_all_images_of_a_subject",
        "each image is rotated about its own centre",
        "all about the centre of the first",
        "images of one subject stay aligned",
        "one image a call, where they are to move apart",
    ),
    Difference(
        "halves_follow_the_orientation",
        "`masking_method='Left'` takes images to be in RAS+",
        "it follows each image's orientation",
        "left is left",
        "nothing",
    ),
    Difference(
        "a_constant_image_is_normalized_to_zero",
        "`ZNormalization` raises where the standard deviation is 0",
        "it warns, and the image becomes 0",
        "one sample does not stop an epoch; on a GPU nothing waits",
        "`warnings.filterwarnings('error')` to stop",
    ),
    Difference(
        "transforms_of_the_user_are_recorded_once",
        "a transform of one's own and those that it calls are both recorded",
        "itself, if it draws nothing; else those that it calls",
        "repeating a history applies each step once",
        "nothing",
    ),
    Difference(
        "helpers_of_transforms_are_not_here",
        "a transform has `parse_params`, `parse_bounds`, `get_mask_from_masking_method` and others",
        "it has `get_images`, `get_images_dict` and `sample_uniform`",
        "ranges, bounds and masks are parsed by the library's own classes",
        "check arguments in the class, or pass them to a transform of the library",
    ),
    Difference(
        "an_inverse_needs_the_history_where_arguments_do_not_suffice",
        "`compose.inverse()` leaves random transforms out, with a warning",
        "RuntimeError for what draws; the inverse of a history undoes all",
        "a warning is easily missed, and the result is wrong",
        "`subject.get_inverse_transform()`",
    ),
    Difference(
        "more_can_be_undone",
        "`apply_inverse_transform` skips `Resample`, `ToCanonical`, `Gamma` and others",
        "it undoes them: the result is on the original grid",
        "a prediction belongs on the scan that it is of",
        "`tio.predict` and `tio.test_time_augmentation`, which undo what is to be undone; by hand, "
        "`clear_history()` after what is to stay",
    ),
    Difference(
        "neighbours_share_a_sampling",
        "each spatial transform of a Compose samples the image anew",
        "neighbours are sampled once; voxels of a label map at a tie may come from the other side",
        "images are blurred once, and time is saved",
        "`Compose(..., fuse=False)`",
    ),
    Difference(
        "a_two_dimensional_image_stays_three_dimensional_in_sitk",
        "`image.as_sitk()` of one slice has two axes",
        "three; `as_sitk(force_3d=False)` has two",
        "the position of the slice is kept",
        "`force_3d=False`",
    ),
    Difference(
        "a_plot_is_returned_and_not_shown",
        "`image.plot()` opens a window, and returns None",
        "it returns the figure, which a notebook displays",
        "scripts that save figures need no display, and stop at none",
        "`plot(show=True)`",
    ),
    Difference(
        "indices_of_plots_are_voxels_of_the_image",
        "`plot(indices=)` counts voxels after `ToCanonical`",
        "it counts those of the image, as `image.data` does",
        "a voxel that was found in the data is the one that is drawn",
        "`ToCanonical` before the plot, where indices were counted after it",
    ),
    Difference(
        "files_of_one_image_must_share_an_affine",
        "a list of paths with different affines warns, and takes the first",
        "ValueError",
        "channels would not show the same place",
        "resample them before",
    ),
    Difference(
        "a_loader_takes_the_arguments_of_torch",
        "the second argument of `SubjectsLoader` is `collate_fn`",
        "it is `batch_size`, as of `DataLoader`",
        "it is a DataLoader",
        "name the argument",
    ),
    Difference(
        "a_queue_is_iterated",
        "`queue[0]` pops a patch; loading starts when the queue is made",
        "a queue is an iterable dataset; loading starts with the iteration",
        "the order is known from the seed; patches come before the queue is full",
        "pass it to a loader, or iterate; `start_background` has no effect",
    ),
    Difference(
        "padding_modes_are_names_and_numbers",
        "`padding_mode` may be a function for `numpy.pad`",
        "a number or one of `Pad.PADDING_MODES`",
        "it would not run on a GPU",
        "a transform of one's own",
    ),
    Difference(
        "float64_stays_float64_in_an_aggregator",
        "overlap mode 'hann' returns float32",
        "the dtype of the predictions, and float32 for half precision",
        "nothing is rounded that was given",
        "`.float()`",
    ),
)

#: Arguments of TorchIO 1.2.1 that are not, or not so, here: reason by class and argument.
ARGUMENTS = {
    ("Queue", "shuffle_subjects"): "None: True, unless there is a subject_sampler",
    ("SubjectsLoader", "collate_fn"): "by name; the second argument is batch_size",
    ("Image", "reader"): "None stands for the readers of the library",
    ("ScalarImage", "reader"): "None stands for the readers of the library",
    ("LabelMap", "reader"): "None stands for the readers of the library",
    ("GridSampler", "patch_overlap"): "0 stands for (0, 0, 0)",
}
#: Names of TorchIO 1.2.1 that are not here, with the reason.
NAMES = {
    "DATA_REPO": "address of TorchIO's own repository",
    "REPO_URL": "address of TorchIO's own repository",
    "reference": "TorchIO's citation",
}


def page() -> str:
    """Return the text of ``COMING_FROM_TORCHIO.md``."""
    rows = [f"| {d.torchio} | {d.here} | {d.reason} | {d.advice} |" for d in DIFFERENCES]
    arguments = [f"| `{cls}({name}=)` | {text} |" for (cls, name), text in ARGUMENTS.items()]
    names = [f"| `{name}` | {text} |" for name, text in NAMES.items()]
    return "\n".join((_BEFORE, *rows, _ARGUMENTS, *arguments, *names, _AFTER))


_BEFORE = """\
# Coming from TorchIO

A script for TorchIO 1.2.1 runs when its import line changes:

```python
import torchio_gpu as tio  # was: import torchio as tio
```

Names, arguments, their order and defaults, modules (`tio.utils`, `tio.io`, `tio.data`,
`tio.sampler`, `tio.inference`, `tio.datasets`), mappings and transforms of one's own are those of
TorchIO 1; tests compare them with the installed TorchIO, argument by argument. What stays
different, on purpose, is listed here; a test shows each row with both libraries. Images, subjects
and batches of an installed TorchIO, 1 or 2, become those of this library by
`tio.adapters.torchio.from_torchio`, and back by `to_torchio`.

`python -m torchio_gpu.compat.differences` writes this page.

| TorchIO 1.2.1 | here | reason | what to do |
|---|---|---|---|"""

_ARGUMENTS = """
Arguments and names:

| of TorchIO 1.2.1 | here |
|---|---|"""

_AFTER = """
Transforms of one's own work as in TorchIO 1, by `apply_transform(subject)`, and by hooks that see
all samples of a batch at once; see [Transforms of your own](docs/how_to/own_transforms.md).
"""

if __name__ == "__main__":
    from pathlib import Path

    Path("COMING_FROM_TORCHIO.md").write_text(page(), encoding="utf-8")
