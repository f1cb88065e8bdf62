"""Let torchvision from PyPI be imported beside a CPU build of torch, in the test environment.

nnU-Net and Lightning import torchvision on the way. Its wheel for Linux is linked to CUDA: beside a
torch without it, its operators are absent, and the import fails where torchvision describes two of
them to torch. A ``.pth`` file calls :func:`install` when Python starts; the operators are declared
when torchvision is imported, and not before, since torch takes seconds to import.
"""

import importlib.abc
import sys

OPERATORS = ("nms", "qnms")
libraries = []


class DeclareOperators(importlib.abc.MetaPathFinder):
    """Import hook that finds nothing, but is asked before torchvision is found."""

    def find_spec(self, name, path, target=None):
        if name != "torchvision":
            return
        sys.meta_path.remove(self)
        import torch

        library = torch.library.Library("torchvision", "DEF")
        for operator in OPERATORS:
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        libraries.append(library)  # declarations end with it


def install():
    """Add the hook, once: Python may read a ``.pth`` file by two names of its folder."""
    if not any(type(finder).__name__ == DeclareOperators.__name__ for finder in sys.meta_path):
        sys.meta_path.insert(0, DeclareOperators())
