"""Augmentation in Lightning: in training alone, of every type of batch, and in two processes."""

import json
import os
import socket
import subprocess
import sys
from collections import OrderedDict, defaultdict, namedtuple
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.utilities.combined_loader import CombinedLoader
from torch import nn
from torch.utils.data import DataLoader

import torchio_gpu as tio
from tests.devices import needs_gpu
from torchio_gpu.adapters.lightning import AugmentOnDevice

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore:.*number of training batches.*"),
    pytest.mark.filterwarnings("ignore:.*no `val_dataloader`.*"),
    pytest.mark.filterwarnings(
        "ignore:.*`srun` command is available.*"
    ),  # where SLURM is installed
]
ROOT, PATIENCE = Path(__file__).parents[2], 120  # seconds until a test gives up


def subjects(number=6):
    return [
        tio.Subject(t1=tio.ScalarImage(torch.full((1, 4, 4, 4), float(n))), name=f"s{n}", number=n)
        for n in range(number)
    ]


def loader(number=6, **options):
    return tio.SubjectsLoader(tio.SubjectsDataset(subjects(number)), seed=3, **options)


def trainer(**options):
    return Trainer(
        logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, accelerator="cpu", **{"max_epochs": 1, **options},
    )  # fmt: skip


class Plain(LightningModule):
    """Module that keeps the batches it gets."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.seen = {"train": [], "val": [], "test": [], "predict": []}

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def _loss(self, stage, batch):
        self.seen[stage].append(batch)
        return self.layer(torch.ones(1)).sum() * 0

    def training_step(self, batch):
        return self._loss("train", batch)

    def validation_step(self, batch):
        self._loss("val", batch)

    def test_step(self, batch):
        self._loss("test", batch)

    def predict_step(self, batch):
        return self._loss("predict", batch)


class Augmented(AugmentOnDevice, Plain):
    def __init__(self, augmentation):
        super().__init__()
        self.augmentation = augmentation


def voxels(batches):
    return torch.cat([batch.t1.data for batch in batches])


def test_in_training_only():
    model, runner = Augmented(tio.RandomNoise(std=1)), trainer()
    runner.fit(model, loader(batch_size=2), loader(batch_size=2))
    runner.validate(model, loader(batch_size=2), verbose=False)
    runner.test(model, loader(batch_size=2), verbose=False)
    runner.predict(model, loader(batch_size=2))
    assert len(model.seen["val"]) == 2 + 3 + 3  # the sanity check, training, validation
    for stage in ("val", "test", "predict"):
        for batch in model.seen[stage]:
            assert torch.equal(batch.t1.data[:, 0, 0, 0, 0], batch["number"].float())
            assert batch.history == [[], []]
    for batch in model.seen["train"]:
        assert type(batch) is tio.SubjectsBatch
        assert [[record.name for record in h] for h in batch.history] == [["RandomNoise"]] * 2
        assert batch.t1.data.std() > 0.5


def test_seeds_come_from_the_loader():
    model = Augmented(tio.RandomNoise())
    trainer().fit(model, loader(batch_size=2))
    expected = [tio.RandomNoise()(batch) for batch in loader(batch_size=3)]
    assert torch.equal(voxels(model.seen["train"]), voxels(expected))


def test_other_types_of_batches():
    def run(batches, augment):
        model = Augmented(augment)
        trainer().fit(model, DataLoader(batches, batch_size=None))
        return model.seen["train"]

    x = torch.arange(4.0).view(1, 1, 4, 1, 1)
    flip = tio.Flip(0, label_keys=["seg"])
    assert torch.equal(run([x], flip)[0], x.flip(2))
    (out,) = run([{"t1": x, "seg": x.byte(), "number": 3}], flip)
    assert type(out) is dict
    assert torch.equal(out["seg"], x.byte().flip(2))
    assert out["number"] == 3
    assert run([(x, 1)], lambda pair: (-pair[0], pair[1]))[0][1] == 1
    with pytest.raises(TypeError, match="a transform takes a Subject"):
        run([(x, 1)], flip)
    assert torch.equal(run([x], None)[0], x)


def test_several_loaders():
    for made in (dict, list, tuple):
        given = {"one": loader(batch_size=2), "two": loader(batch_size=3)}
        model = Augmented(tio.Gamma(2.0))
        several = given if made is dict else made(given.values())
        trainer().fit(model, CombinedLoader(several, "min_size"))
        for batch in model.seen["train"]:
            assert type(batch) is made
            for each in batch.values() if made is dict else batch:
                assert torch.equal(each.t1.data[:, 0, 0, 0, 0], each["number"] ** 2.0)


def test_nested_batches_of_several_loaders():
    """Batches are augmented at any depth; what holds them keeps its type and its other values."""
    pair = namedtuple("pair", ("one", "two"))
    given = {
        "a": [loader(batch_size=2), loader(batch_size=3)],
        "b": pair(loader(batch_size=2), {"c": (loader(batch_size=2), DataLoader(torch.ones(3)))}),
    }
    model = Augmented(tio.Gamma(2.0))
    trainer().fit(model, CombinedLoader(given, "min_size"))
    assert len(model.seen["train"]) == 2
    for batch in model.seen["train"]:
        inner, values = batch["b"].two["c"]
        assert [type(each) for each in (batch["a"], batch["b"], batch["b"].two)] == [
            list, pair, dict,
        ]  # fmt: skip
        assert torch.equal(values, torch.ones(1))
        for each in (*batch["a"], batch["b"].one, inner):
            assert torch.equal(each.t1.data[:, 0, 0, 0, 0], each["number"] ** 2.0)
    (batch,) = loader(2, batch_size=2)
    several = defaultdict(int, a=OrderedDict(b=[batch]))
    moved = model.transfer_batch_to_device(several, torch.device("meta"), 0)
    assert moved["a"]["b"][0].t1.data.is_meta
    assert (type(moved), type(moved["a"]), moved["missing"]) == (defaultdict, OrderedDict, 0)


def test_a_hook_of_the_user_and_a_method():
    class Own(AugmentOnDevice, Plain):
        def on_after_batch_transfer(self, batch, dataloader_idx):
            batch.t1.data = batch.t1.data + 1
            return super().on_after_batch_transfer(batch, dataloader_idx)

        def augmentation(self, batch):
            return tio.Gamma(2.0)(batch)

    model = Own()
    trainer().fit(model, loader(batch_size=6))
    (batch,) = model.seen["train"]
    assert torch.equal(batch.t1.data[:, 0, 0, 0, 0], (batch["number"] + 1) ** 2.0)


def test_what_is_wrong_is_said():
    class Missing(AugmentOnDevice, Plain):
        pass

    with pytest.raises(AttributeError, match=r"Missing must set self\.augmentation"):
        trainer().fit(Missing(), loader(batch_size=2))
    with pytest.raises(TypeError, match="AugmentOnDevice must come before LightningModule"):

        class Wrong(LightningModule, AugmentOnDevice):
            pass

    model = Missing()
    assert model.on_after_batch_transfer(3, 0) == 3  # without a trainer, as for an export


def test_the_other_package_of_lightning():
    package = pytest.importorskip("pytorch_lightning")

    class Other(AugmentOnDevice, package.LightningModule):
        def __init__(self):
            super().__init__()
            self.layer, self.augmentation = nn.Linear(1, 1), tio.Gamma(2.0)

        def training_step(self, batch):
            self.log("mean", batch.t1.data.mean(), on_epoch=True, on_step=False)
            return self.layer(torch.ones(1)).sum()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    runner = package.Trainer(
        logger=False, enable_checkpointing=False, enable_progress_bar=False, max_epochs=1,
        enable_model_summary=False, accelerator="cpu",
    )  # fmt: skip
    runner.fit(Other(), loader(batch_size=4))
    assert runner.callback_metrics["mean"] == pytest.approx(sum(n**2 for n in range(6)) / 6)
    with pytest.raises(TypeError, match="must come before LightningModule"):

        class Wrong(package.LightningModule, AugmentOnDevice):
            pass


def test_logged_values_are_weighted_by_the_batch_size():
    """The mean over batches of 4 and 2; Lightning alone refuses to guess from a SubjectsBatch."""

    class Logging(AugmentOnDevice, Plain):
        augmentation = staticmethod(tio.RandomNoise())

        def training_step(self, batch):
            self.log_dict({"train": batch["number"].float().mean()}, on_epoch=True, on_step=False)
            return super().training_step(batch)

        def validation_step(self, batch):
            self.log("val", batch["number"].float().mean())

    runner = trainer()
    runner.fit(Logging(), loader(batch_size=4), loader(batch_size=4))
    assert runner.callback_metrics["train"] == runner.callback_metrics["val"] == 2.5

    class Alone(Plain):
        validation_step = Logging.validation_step

    with pytest.raises(Exception, match="could not infer the batch_size"):
        trainer().validate(Alone(), loader(batch_size=4), verbose=False)


@pytest.mark.parametrize("made", [dict, list])
def test_logged_values_of_several_loaders_are_weighted_by_the_first(made):
    """The mean over first batches of 4 and 2, beside others of 1; the rule of Lightning."""

    class Logging(AugmentOnDevice, Plain):
        augmentation = staticmethod(tio.RandomNoise())

        def training_step(self, batch):
            first = batch["a"][0] if made is dict else batch[0]
            self.log("mean", first["number"].float().mean(), on_epoch=True, on_step=False)
            return super().training_step(batch)

    one, other = loader(batch_size=4), loader(batch_size=1)
    several = {"a": [one, other]} if made is dict else [one, other]
    runner = trainer()
    runner.fit(Logging(), CombinedLoader(several, "min_size"))
    assert runner.callback_metrics["mean"] == 2.5


def test_in_a_data_module():
    class Data(AugmentOnDevice, LightningDataModule):
        def __init__(self):
            super().__init__()
            self.augmentation = tio.Gamma(2.0)

        def train_dataloader(self):
            return loader(batch_size=6)

        def val_dataloader(self):
            return loader(batch_size=6)

    model = Plain()
    trainer().fit(model, Data())
    assert voxels(model.seen["train"])[-1, 0, 0, 0, 0] == 25
    assert voxels(model.seen["val"])[-1, 0, 0, 0, 0] == 5


def test_batches_are_moved():
    (batch,) = loader(2, batch_size=2)
    meta = torch.device("meta")
    for model in (Plain(), Augmented(None)):
        moved = model.transfer_batch_to_device(batch, meta, 0)
        assert type(moved) is tio.SubjectsBatch
        assert moved.t1.device.type == "meta"
        assert model.transfer_batch_to_device({"x": torch.ones(1)}, meta, 0)["x"].is_meta


@pytest.mark.gpu
@needs_gpu
def test_pinned_batches_are_moved_without_a_wait():
    (batch,) = loader(2, batch_size=2, pin_memory=True)
    torch.cuda.init()
    torch.cuda.set_sync_debug_mode("error")
    try:
        moved = Augmented(None).transfer_batch_to_device(batch, torch.device("cuda"), 0)
    finally:
        torch.cuda.set_sync_debug_mode(0)
    assert moved.t1.data.is_cuda


def test_lightning_is_not_imported():
    code = (
        "import sys, torchio_gpu as tio; tio.adapters.lightning; print('lightning' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout == "False\n", done.stderr


def test_example():
    spec = spec_from_file_location("example", ROOT / "examples" / "lightning_training.py")
    example = module_from_spec(spec)
    spec.loader.exec_module(example)
    before, after = example.train(3, accelerator="cpu")
    assert after < 0.5 * before


# ---- Two processes

RANK = """
import json, os, sys, torch
from lightning.pytorch.strategies import DDPStrategy
from tests.adapters.test_lightning import Augmented, loader, trainer
import torchio_gpu as tio

torch.manual_seed(100 + int(os.environ["LOCAL_RANK"]))  # ranks need not agree on it
model = Augmented(tio.RandomNoise())
strategy = DDPStrategy(process_group_backend="gloo")
runner = trainer(strategy=strategy, devices=2, max_epochs=2)
runner.fit(model, loader(batch_size=2, shuffle=True))
assert torch.distributed.get_world_size() == 2
found = [[int(n), b.streams.seeds.tolist()[i], float(b.t1.data[i].sum())]
         for b in model.seen["train"] for i, n in enumerate(b["number"])]
open(sys.argv[1], "w").write(json.dumps(found))
torch.distributed.barrier()
torch.distributed.destroy_process_group()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="gloo is told the interface of Linux")
def test_two_processes_augment_disjoint_samples_as_one_does(tmp_path):
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    shared = {
        **os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2",
        "NODE_RANK": "0", "PYTHONWARNINGS": "ignore", "GLOO_SOCKET_IFNAME": "lo",
        "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
    }  # fmt: skip
    files = [tmp_path / f"{rank}.json" for rank in range(2)]
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", RANK, str(file)], env={**shared, "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE, text=True, cwd=ROOT,
        )
        for rank, file in enumerate(files)
    ]  # fmt: skip
    try:
        for process in ranks:
            _, errors = process.communicate(timeout=PATIENCE)
            assert process.returncode == 0, errors[-2000:]
    finally:
        for process in ranks:
            process.kill()
            process.wait()
    found = [json.loads(file.read_text()) for file in files]
    assert [len(each) for each in found] == [6, 6]
    for epoch in range(2):
        one, two = ({n for n, *_ in each[3 * epoch : 3 * epoch + 3]} for each in found)
        assert one | two == set(range(6))
        assert not one & two
    model = Augmented(tio.RandomNoise())
    trainer(max_epochs=2).fit(model, loader(batch_size=3))
    alone = [
        (int(n), b.streams.seeds.tolist()[i], float(b.t1.data[i].sum()))
        for b in model.seen["train"]
        for i, n in enumerate(b["number"])
    ]
    assert sorted(alone) == sorted(map(tuple, [*found[0], *found[1]]))
