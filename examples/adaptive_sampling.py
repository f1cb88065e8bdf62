"""Patches drawn where errors are, to segment CT: ``python examples/adaptive_sampling.py``.

Volumes too large for a network are seen in patches: the detail, and the context around the same
centre at a third of the resolution, which tells a nodule of the lung from a lump in the gas of the
stomach. After each epoch the training volumes are predicted, and patches of the next one are drawn
by the map of the errors (Berger et al. 2018, doi:10.1007/978-3-319-95921-4_26), so that small
structures are seen more often. The volumes are synthetic: chests in Hounsfield units.

With the 240 steps of the default, on a CPU, nodules reach a Dice coefficient of 0.51, and of 0.46
with uniform sampling, which is a little better for lungs (0.94 and 0.90) and bones (0.95 and 0.91).
"""

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate, one_hot

import torchio_gpu as tio

SHAPE, SPACING = (64, 56, 48), (4.0, 4.0, 5.0)  # voxels, and mm
LABELS = ("rest", "lung", "bone", "nodule")
REST, LUNG, BONE, NODULE = range(4)
DETAIL, FACTOR = 12, 3  # voxels of both patches, and the spacing of the context to that of detail
FIELD = DETAIL * FACTOR  # voxels of the patch at full resolution that both are made of
MARGIN = (FIELD - DETAIL) // 2  # its voxels before the detail
AIR = -1000.0
BATCH = 8

#: Function from detail and context [B, 1, n, n, n] to scores of the labels in the detail.
Network = Callable[[Tensor, Tensor], Tensor]


def chest(seed: int) -> tio.Subject:
    """Return a phantom with the images ``ct`` in HU, ``seg``, and ``weights``, all 1."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(shape, generator=generator)

    spacing = torch.tensor(SPACING)
    voxels = torch.stack(torch.meshgrid(*map(torch.arange, SHAPE), indexing="ij"), -1)
    x = (voxels - (torch.tensor(SHAPE) - 1) / 2) * spacing  # mm from the centre, [I, J, K, 3]
    ct, seg = torch.full(SHAPE, AIR), torch.zeros(SHAPE, dtype=torch.uint8)

    def occupied(distance: Tensor) -> Tensor:
        """Return the part of each voxel that is within a surface, at a signed distance in mm."""
        return (0.5 - distance / spacing.mean()).clamp(0, 1)

    def direction() -> Tensor:
        return nn.functional.normalize(uniform(-1, 1, 3), dim=0)

    def ball(centre: Tensor, radii: Tensor) -> Tensor:
        return occupied((((x - centre) / radii).norm(dim=-1) - 1) * radii.min())

    def paint(part: Tensor, hu: float, label: int = REST) -> None:
        ct.lerp_(torch.full_like(ct, hu), part)  # partial volume: a mixture at the surface
        seg.masked_fill_(part > 0.5, label)

    size = uniform(0.9, 1.05, 3)
    for radii, hu in (((118.0, 98.0, 1e4), -100.0), ((108.0, 88.0, 1e4), 50.0)):  # fat, muscle
        paint(ball(torch.zeros(3), size * torch.tensor(radii)), hu)
    around = ((x[..., :2] / (size[:2] * torch.tensor((100.0, 80.0)))).norm(dim=-1) - 1) * 80
    along = (x[..., 2] + 0.4 * x[..., 1] + uniform(0, 32)).remainder(32) - 16
    paint(occupied(torch.hypot(around, along) - 5), 500, BONE)  # ribs
    paint(ball(torch.tensor((0.0, 55, 0)), torch.tensor((17.0, 17, 1e4))), 400, BONE)  # spine
    for side in (-1, 1):
        centre, radii = torch.tensor((side * 50.0, -5, 25)), size * torch.tensor((36.0, 55, 75))
        lung = ball(centre, radii)
        paint(lung, -850, LUNG)
        for _ in range(6):  # vessels, from the root of the lung to its surface
            root = torch.tensor((side * 18.0, 0, 20))
            way = centre + radii * direction() - root
            share = (((x - root) @ way) / way.square().sum()).clamp(0, 1)
            paint(occupied((x - root - share[..., None] * way).norm(dim=-1) - 3.5) * lung, 40, LUNG)
        for _ in range(4):
            place = centre + 0.7 * radii * direction()
            paint(ball(place, uniform(7, 12).expand(3)), 40, NODULE)
    gas = torch.tensor((35.0, -20, -85))
    paint(ball(gas, torch.tensor((34.0, 34, 28))), -850)  # the stomach
    for sign in (-1, 1):
        paint(ball(gas + sign * uniform(4, 16, 3), uniform(7, 12).expand(3)), 40)
    ct += 30 * torch.randn(SHAPE, generator=generator)
    affine = torch.diag(torch.tensor((*SPACING, 1.0), dtype=torch.float64)).numpy()
    return tio.Subject(
        ct=tio.ScalarImage(ct[None], affine=affine),
        seg=tio.LabelMap(seg[None], affine=affine),
        weights=tio.ScalarImage(torch.ones(1, *SHAPE), affine=affine),
    )


def sampler() -> tio.WeightedSampler:
    """Return the sampler of patches of ``FIELD`` voxels, centred where ``weights`` are high."""
    return tio.WeightedSampler(FIELD, "weights", padding_mode="constant", fill=AIR)


def views(batch: tio.SubjectsBatch) -> tuple[tio.SubjectsBatch, tio.SubjectsBatch]:
    """Return detail and context of patches of ``FIELD`` voxels, around the same centres."""
    clip, scale = tio.Clamp(AIR, 1000), tio.Lambda(lambda x: x / 500, batched=True)
    batch = tio.Compose([clip, scale], include=["ct"])(batch)
    coarse = tuple(FACTOR * mm for mm in SPACING)
    return tio.CropOrPad(DETAIL)(batch), tio.Resample(coarse, antialias=True, include=["ct"])(batch)


class TwoBranches(nn.Module):
    """Network of a branch for the detail and one for the context, which meet before the end.

    As in Kamnitsas et al. 2017 (doi:10.1016/j.media.2016.10.004).
    """

    def __init__(self, width: int = 12) -> None:
        super().__init__()
        self.detail, self.context = self.branch(width), self.branch(width)
        self.head = nn.Sequential(nn.Conv3d(2 * width, 2 * width, 1), nn.ReLU())
        self.head.append(nn.Conv3d(2 * width, len(LABELS), 1))
        for name, parameter in self.named_parameters():
            if name.endswith("weight"):
                nn.init.kaiming_normal_(parameter)  # the default makes few steps too few

    @staticmethod
    def branch(width: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        for channels in (1, width, width):
            layers += [nn.Conv3d(channels, width, 3, padding=1), nn.ReLU()]
        return nn.Sequential(*layers)

    def forward(self, detail: Tensor, context: Tensor) -> Tensor:
        around = enlarged(self.context(context))
        return self.head(torch.cat([self.detail(detail), around], 1))


def enlarged(context: Tensor) -> Tensor:
    """Return the middle of a context at the voxels of the detail, [B, C, n, n, n]."""
    cut = (..., *[slice(DETAIL // 4, -(DETAIL // 4))] * 3)
    # of the half in the middle, FACTOR = 3 makes the detail and a quarter of it on each side
    return interpolate(context[cut], scale_factor=3, mode="trilinear", align_corners=False)[cut]


@torch.no_grad()
def predict(
    network: Network, subject: tio.Subject, overlap: int = 4, device: str = "cpu"
) -> tio.ScalarImage:
    """Return the scores of a network for a whole CT; neighbours share ``overlap`` voxels."""
    # fields whose details overlap by so much, and cover the volume; it is surrounded by air
    grid = tio.GridSampler(tio.Subject(ct=subject.ct), FIELD, 2 * MARGIN + overlap, "constant", AIR)
    aggregator = tio.PatchAggregator(subject.spatial_shape, overlap_mode="hann")
    for batch in tio.SubjectsLoader(grid, batch_size=2 * BATCH):
        detail, context = views(batch.to(device))
        first = torch.stack([place.to_tensor()[:3] for place in batch.patch_location]) + MARGIN
        scores = network(detail.ct.data, context.ct.data)
        aggregator.add_batch(scores, torch.cat([first, first + DETAIL], 1))
    return tio.ScalarImage(aggregator.get_output().cpu(), affine=subject.ct.affine)


def add_error_map(network: Network, subject: tio.Subject, device: str = "cpu") -> None:
    """Set the ``weights`` of a subject to the probability of a wrong label in each voxel."""
    scores = predict(network, subject, overlap=0, device=device).data
    wrong = 1 - scores.softmax(0).gather(0, subject.seg.data.long())
    subject.add_image(tio.ScalarImage(wrong, affine=subject.ct.affine), "weights")


def train(
    subjects: list[tio.Subject], steps: int, epochs: int, adaptive: bool, seed: int, device: str
) -> tuple[TwoBranches, list[float]]:
    """Return the network and the loss of each step; sampling is ``adaptive`` or uniform."""
    torch.manual_seed(seed)
    model = TwoBranches().to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    queue = tio.Queue(
        subjects,
        sampler(),
        patches_per_volume=-(-steps * BATCH // (epochs * len(subjects))),
        transform=tio.RandomAffine(scales=0.1, degrees=10),  # moves the weights as well
        seed=seed,
    )
    losses = []
    for epoch in range(epochs):
        for batch in tio.SubjectsLoader(queue, batch_size=BATCH):
            detail, context = views(batch.to(device))
            scores = model(detail.ct.data, context.ct.data)
            loss = cross_entropy(scores, detail.seg.data[:, 0].long())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        if adaptive and epoch < epochs - 1:
            for subject in subjects:  # which the queue reads again in the next epoch
                add_error_map(model, subject, device)
    return model, losses


def dice(found: Tensor, true: Tensor) -> Tensor:
    """Return the Dice coefficient of each label, [4]."""
    found, true = (one_hot(x.long().flatten(), len(LABELS)) for x in (found, true))
    return 2 * (found * true).sum(0) / (found.sum(0) + true.sum(0)).clamp(min=1)


def main(
    steps: int = 240, epochs: int = 8, training: int = 4, test: int = 3, seed: int = 0
) -> dict[str, dict[str, float]]:
    """Train with uniform and with adaptive sampling; return losses, and Dice on new phantoms."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    report = {}
    for name in ("uniform", "adaptive"):
        start = time.perf_counter()
        subjects = [chest(n) for n in range(training)]
        model, losses = train(subjects, steps, epochs, name == "adaptive", seed, device)
        scores = []
        for new in (chest(1000 + n) for n in range(test)):
            labels = predict(model, new, device=device).data.argmax(0, keepdim=True)
            scores.append(dice(labels, new.seg.data))
        # losses are those of the patches drawn: adaptive ones are harder
        ends = {"first loss": losses[:5], "last loss": losses[-5:]}
        numbers = {key: sum(values) / len(values) for key, values in ends.items()}
        each = torch.stack(scores).mean(0).tolist()
        numbers |= {f"Dice of {key}": value for key, value in zip(LABELS, each, strict=True)}
        seconds = time.perf_counter() - start
        print(f"{name} sampling, {len(losses)} steps, {seconds:.0f} s")
        print("  " + ", ".join(f"{key} {value:.3f}" for key, value in numbers.items()))
        report[name] = numbers
    return report


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Learn to segment synthetic CT by patches.")
    parser.add_argument("--steps", type=int, default=240, help="batches to learn from")
    parser.add_argument("--epochs", type=int, default=8, help="each has error maps of its own")
    arguments = parser.parse_args()
    main(arguments.steps, arguments.epochs)
