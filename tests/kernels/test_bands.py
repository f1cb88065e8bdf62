"""Products that voxels which are not finite have spoilt, mended on the device alone."""

import pytest
import torch
from torch.library import opcheck
from torchio_gpu_kernels import load

from torchio_gpu.functional.eager.local import _by_masks, _spread

NAN, INF = float("nan"), float("inf")


def banded(batch, rows, columns):
    """Positive and negative weights within two places of the diagonal, none elsewhere."""
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(batch, rows, columns, generator=generator)
    apart = torch.arange(rows)[:, None] * columns / rows - torch.arange(columns)
    return weights * (apart.abs() <= 2)


@pytest.mark.filterwarnings("ignore:invalid value encountered")  # by numpy, of infinities
@pytest.mark.parametrize("values", [(NAN,), (INF,), (-INF,), (INF, -INF), (INF, NAN)])
@pytest.mark.parametrize("dim", [2, 3, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_products_are_mended(values, dim, dtype, device):
    x = torch.randn(4, 3, 6, 7, 8, generator=torch.Generator().manual_seed(1)).to(dtype)
    for n, value in enumerate(values):
        x[1, 0, 2, 3, 3 + n] = value
    matrix = banded(4, 9, x.shape[dim]).to(dtype)

    def product(y, weights):
        return (y.movedim(dim, -1) @ weights[:, None, None].mT).movedim(-1, dim)

    expected = _by_masks(product, x, matrix)
    out = product(x, matrix).to(device)
    on_device = x.to(device), matrix.to(device)
    spoilt = out.clone()
    parts = _spread(out, dim), _spread(on_device[0], dim), on_device[1]
    load().mend_bands_(*parts, torch.tensor(True, device=device))
    torch.testing.assert_close(out.cpu(), expected, equal_nan=True, rtol=1e-5, atol=1e-5)
    assert (~expected.isfinite()).sum() < 60
    # where nothing is in doubt, nothing is done
    again = spoilt.clone()
    parts = _spread(again, dim), _spread(on_device[0], dim), on_device[1]
    load().mend_bands_(*parts, torch.tensor(False, device=device))
    torch.testing.assert_close(again, spoilt, equal_nan=True, rtol=0, atol=0)


def test_the_operator_is_well_formed(device):
    x, matrix = torch.randn(2, 3, 4, 5, device=device), banded(2, 6, 5).to(device)
    doubt = torch.tensor(True, device=device)
    opcheck(load().mend_bands_.default, (torch.zeros(2, 3, 4, 6, device=device), x, matrix, doubt))
