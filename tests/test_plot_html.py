"""HTML of images, subjects, batches, datasets and pipelines, as a notebook asks for it."""

import base64
import io
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
import torch

import torchio_gpu as tio

pytest.importorskip("matplotlib")
from matplotlib.image import imread

COLUMNS = ["type", "shape", "spacing in mm", "orientation", "dtype", "device", "file"]
MATPLOTLIB = "matplotlib.figure"


class Parsed(HTMLParser):
    """Cells of the tables, texts outside of them, and pictures; raise at tags that do not match."""

    def __init__(self, html):
        super().__init__()
        self.rows, self.texts, self.pictures, self._open = [], [], [], []
        self.feed(html)
        self.close()
        assert not self._open

    def handle_starttag(self, tag, attributes):
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag == "img":
            self.pictures.append(dict(attributes))
        else:
            self._open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open[-1] in ("td", "th"):
            self.rows[-1][-1] += data
        else:
            self.texts.append(data)


def parsed(value):
    return Parsed(value._repr_html_())


def image(cls=tio.ScalarImage, shape=(6, 8, 10), **kwargs):
    dtype = torch.uint8 if cls is tio.LabelMap else torch.float32
    return cls((torch.rand(1, *shape) * 3).to(dtype), **kwargs)


@pytest.mark.parametrize(
    "value", [image(), image(tio.LabelMap), tio.Subject(t1=image(), seg=image(tio.LabelMap))]
)
def test_html_holds_the_figure(value):
    (picture,) = parsed(value).pictures
    data = base64.b64decode(picture["src"].removeprefix("data:image/png;base64,"))
    pixels = imread(io.BytesIO(data), format="png")
    value.plot().savefig(buffer := io.BytesIO(), format="png")
    buffer.seek(0)
    np.testing.assert_array_equal(pixels, imread(buffer, format="png"))
    text = picture["alt"].removesuffix("...")
    assert repr(value).startswith(text)
    assert text.startswith(type(value).__name__)


def test_html_holds_no_large_values():
    subject = tio.Subject(t1=image(), header={"lines": ["x" * 80] * 1000})
    less = tio.Subject(t1=subject.t1, header={})
    batch = tio.SubjectsBatch.from_subjects([subject])
    for value, other in ((subject, less), (batch, tio.SubjectsBatch.from_subjects([less]))):
        assert len(value._repr_html_()) < len(other._repr_html_()) + 1000


def test_facts_of_an_image(tmp_path):
    path = tmp_path / "<t1>.nii"
    affine = np.array([[0, -2, 0, 1], [1, 0, 0, 2], [0, 0, 2.5, 3], [0, 0, 0, 1.0]])
    image(affine=affine).save(path)
    head, row = parsed(tio.ScalarImage(path)).rows
    assert head == COLUMNS
    facts = ["ScalarImage", "1 x 6 x 8 x 10", "1 x 2 x 2.5", "ALS+", "float32", "cpu", str(path)]
    assert row == facts
    (channels,) = parsed(tio.ScalarImage([path, path])).rows[1:]
    assert channels[1] == "2 x 6 x 8 x 10"
    assert channels[-1] == f"{path}, {path}"


def test_without_matplotlib_there_is_a_table_and_nothing_is_read(tmp_path, monkeypatch):
    image().save(tmp_path / "t1.nii")
    monkeypatch.setitem(sys.modules, MATPLOTLIB, None)
    lazy = tio.ScalarImage(tmp_path / "t1.nii")
    subject = tio.Subject(t1=lazy, name="<b>")
    for value in (lazy, subject):
        found = parsed(value)
        assert not found.pictures
        assert "not read" in found.rows[1]
    assert not lazy.loaded
    assert parsed(subject).rows[2] == ["name", "str", "<b>"]
    batch = tio.SubjectsBatch.from_subjects([tio.Subject(t1=image())])
    assert parsed(batch).texts == ["batch of 1"]


def test_a_subject_has_a_row_for_each_value_and_its_history():
    points = tio.Points([[1.0, 2, 3]])
    subject = tio.Subject(
        t1=image(), seg=image(tio.LabelMap, (4, 5, 6), spacing=(1, 1, 3)), tips=points, age=45,
        note="a & b " * 30, missing=None, weights=np.ones((3, 2), np.float32),
    )  # fmt: skip
    found = parsed(subject)
    assert found.rows[0] == ["", *COLUMNS]
    assert found.rows[1][:4] == ["t1", "ScalarImage", "1 x 6 x 8 x 10", "1 x 1 x 1"]
    assert found.rows[2][:6] == ["seg", "LabelMap", "1 x 4 x 5 x 6", "1 x 1 x 3", "RAS+", "uint8"]
    assert found.rows[3] == ["tips", "Points", str(points)]
    assert found.rows[4] == ["age", "int", "45"]
    assert found.rows[5][:2] == ["note", "str"]
    assert found.rows[5][2].startswith("a & b a & b")
    assert len(found.rows[5][2]) == 60
    assert found.rows[6] == ["missing", "", "None"]
    assert found.rows[7] == ["weights", "ndarray", "3 x 2, float32"]
    assert found.texts == []
    out = tio.Compose([tio.RandomNoise(), tio.RandomFlip(flip_probability=1)])(subject)
    assert parsed(out).texts == ["history: RandomNoise -> RandomFlip"]


def test_a_batch_says_what_its_samples_share():
    turned = np.diag([1.0, -1, 2, 1])
    subjects = [
        tio.Subject(t1=image(affine=affine), seg=image(tio.LabelMap), age=age)
        for affine, age in ((np.eye(4), 3), (turned, 4))
    ]
    found = parsed(tio.SubjectsBatch.from_subjects(subjects))
    assert found.texts == ["batch of 2"]
    assert found.rows[1] == [
        *("t1", "ScalarImage", "2 x 1 x 6 x 8 x 10", "differs", "differs", "float32", "cpu", ""),
    ]
    assert found.rows[2][3:5] == ["1 x 1 x 1", "RAS+"]
    assert found.rows[3] == ["age", "list", "[3, 4]"]
    assert len(found.pictures) == 1


def test_a_dataset_is_a_table_of_headers(tmp_path):
    def subject(n):
        image().save(tmp_path / f"{n}.nii")
        return tio.Subject(t1=tio.ScalarImage(tmp_path / f"{n}.nii"), note=f"<{n}>" * 30)

    dataset = tio.SubjectsDataset([subject(n) for n in range(7)])
    found = parsed(dataset)
    assert found.rows[0] == ["", "t1", "note"]
    assert [row[0] for row in found.rows[1:]] == ["0", "1", "2", "3", "4", "…"]
    assert found.rows[4][1] == "ScalarImage 1 x 6 x 8 x 10, 1 x 1 x 1 mm, RAS+"
    assert found.rows[4][2].startswith("<3>")
    assert found.rows[6][1] == "and 2 more"
    assert found.texts == [repr(dataset)]
    assert not any(one.t1.loaded for one in dataset.dry_iter())


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    header, voxels = tmp_path / "header.nii.gz", tmp_path / "voxels.nii.gz"
    image(shape=(20, 20, 20)).save(voxels)
    voxels.write_bytes(voxels.read_bytes()[:2000])
    header.write_bytes(b"no image")
    for path, count in ((header, 2), (voxels, len(COLUMNS))):
        found = parsed(tio.ScalarImage(path))
        assert str(path) in found.texts[0]
        assert not found.pictures
        assert len(found.rows[1]) == count
        subject = tio.Subject(t1=tio.ScalarImage(path), seg=image(tio.LabelMap))
        found = parsed(subject)
        assert str(path) in found.texts[0]
        assert str(path) in found.rows[1][-1]
        assert found.rows[2][:2] == ["seg", "LabelMap"]
        rows = parsed(tio.SubjectsDataset([subject])).rows
        assert (str(path) in rows[1][1]) == (path is header)


def test_a_dataset_shows_the_values_of_each_subject():
    subjects = [tio.Subject(t1=image(), age=None), tio.Subject(t1=image(), seg=image(tio.LabelMap))]
    rows = parsed(tio.SubjectsDataset(subjects)).rows
    assert rows[0] == ["", "t1", "age", "seg"]
    assert rows[1][2:] == ["None", ""]
    assert rows[2][2:] == ["", "LabelMap 1 x 6 x 8 x 10, 1 x 1 x 1 mm, RAS+"]


# Pipelines


def explained(rows):
    """Return the text of ``explain()`` that rows of a table stand for."""
    lines, names, role = [], [], ""
    for passed, name, *_, ends in rows:
        role, names = (passed.partition(" ")[2], [name]) if passed else (role, [*names, name])
        if ends:
            lines.append(f"{role}: {' -> '.join(names)}  (ends: {ends})")
    return "\n".join(lines)


def pipeline():
    return tio.Compose(
        [
            tio.RandomAffine(degrees=5, p=0.5),
            tio.RandomFlip(),
            tio.OneOf({tio.RandomNoise(p=0.5): 3, tio.RandomGamma(): 1}, p=0.8),
            tio.SomeOf([tio.RandomBiasField(), tio.RandomBlur(), tio.Lambda(abs)], (1, 2)),
            tio.SomeOf({tio.RandomSpike(): 1, tio.RandomGhosting(): 3}),
        ]
    )


def test_steps_share_passes_as_explained():
    augment = pipeline()
    found = parsed(augment)
    assert found.rows[0] == ["pass", "transform", "probability", "arguments", "pass ends"]
    assert explained(found.rows[1:]) == augment.explain()
    assert len(found.rows) == 1 + len(augment.plan().steps)
    passes = [row[0] for row in found.rows[1:] if row[0]]
    assert [int(each.split()[0]) for each in passes] == list(range(1, len(passes) + 1))
    assert found.texts == [f"Compose: {len(found.rows) - 1} steps in {len(passes)} passes"]
    assert found.rows[1][3] == "degrees=5, p=0.5"


def test_probabilities_are_those_of_histories():
    """The oracle is how often each step is in the histories of many samples."""
    augment, count = pipeline(), 600
    subjects = [tio.Subject(t1=tio.ScalarImage(torch.rand(1, 2, 2, 2))) for _ in range(count)]
    torch.manual_seed(0)
    out = augment(tio.SubjectsBatch.from_subjects(subjects))
    rows = {row[1]: float(row[2]) for row in parsed(augment).rows[1:]}
    for name, chance in rows.items():
        found = sum(name in [record.name for record in each] for each in out.history) / count
        spread = (chance * (1 - chance) / count) ** 0.5
        assert abs(found - chance) <= 4 * spread, name
    assert rows["RandomNoise"] == 0.3  # 0.8 * 3/4 * 0.5
    weighted = tio.SomeOf({tio.RandomNoise(): 1, tio.RandomGamma(): 3, tio.RandomBlur(): 1}, (1, 2))
    assert [row[2] for row in parsed(weighted).rows[1:]] == ["varies"] * 3


def test_a_probability_that_is_changed_is_shown():
    noise = tio.RandomNoise(p=0.5)
    augment = tio.Compose([noise])
    assert parsed(augment).rows[1][2] == "0.5"
    noise.p = 0.25
    assert parsed(augment).rows[1][2] == "0.25"


def test_a_history_shows_parameters():
    subject = tio.Subject(t1=image(shape=(9, 9, 9)))
    out = tio.Compose([
        tio.RandomAffine(degrees=20), tio.RandomElasticDeformation(max_displacement=0.5),
        tio.RandomNoise(),
    ])(subject)  # fmt: skip
    history = out.get_composed_history()
    found = parsed(history)
    assert found.rows[0] == ["pass", "transform", "parameters", "pass ends"]
    assert [row[1] for row in found.rows[1:]] == [record.name for record in out.history]
    assert explained(found.rows[1:]) == history.explain()
    degrees = out.history[0].params.degrees[0]
    text = found.rows[1][2].partition("degrees=[")[2].partition("]")[0]
    np.testing.assert_allclose([float(part) for part in text.split(",")], degrees, atol=1e-4)
    assert "<3 x 7 x 7 x 7>" in found.rows[2][2] or "<7 x 7 x 7 x 3>" in found.rows[2][2]
    std = out.history[2].params.std.item()
    shown = float(found.rows[3][2].partition("std=")[2].partition(",")[0])
    assert shown == pytest.approx(std, abs=1e-4)


def test_any_pipeline_has_a_table():
    subject = tio.Subject(t1=image(shape=(9, 9, 9)))
    out = tio.RandomAffine()(subject)
    for augment in (
        tio.Compose([]), tio.Compose([lambda x: x]), tio.OneOf([tio.RandomNoise()]),
        out.get_inverse_transform(), tio.Compose({"<a>": tio.RandomNoise()}),
        tio.Compose([tio.Compose([tio.RandomNoise()], p=0.5), out.get_composed_history()]),
    ):  # fmt: skip
        assert len(parsed(augment).rows) == 1 + len(augment.plan().steps)
