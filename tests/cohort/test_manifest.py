"""Cases from patterns, tables and BIDS folders."""

from __future__ import annotations

import json

import pytest
import torch

import torchio_gpu as tio
from tests.cohort.files import PATTERNS, write_cohort
from torchio_gpu.cohort.tables import number_or_word


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def names(cohort):
    return {c.id: {n: i.path.name for n, i in c.inputs.items()} for c in cohort}


# Cases


@pytest.mark.parametrize("id", ["", "_x", "../up", "a/b", ".hidden", "a b", "ä", None])
def test_an_id_is_a_name_of_a_folder(id):
    with pytest.raises(ValueError, match="the id of a case must consist of letters, digits"):
        tio.Case(id, {"t1": "a.nii"})


@pytest.mark.parametrize(
    ("inputs", "metadata", "message"),
    [
        ({}, {}, "case 'a' must have an input, got none"),
        ({"t1:lable": "x"}, {}, "kind of 't1' must be one of .* got 'lable'; did you mean label?"),
        ({"1t": "x"}, {}, "a role must be NAME or NAME:KIND, such as seg:label, got '1t'"),
        ({"t1": "x", "t1:label": "y"}, {}, "must have each role once, got 't1' twice"),
        ({"t1": "x"}, {"t1": 3}, "metadata of case 'a' must have other names than 't1'"),
    ],
)
def test_bad_cases(inputs, metadata, message):
    with pytest.raises(ValueError, match=message):
        tio.Case("a", inputs, metadata)


def test_a_case_is_a_subject(tmp_path):
    case = write_cohort(tmp_path, 1)[0]
    subject = tio.Case("x", {f"{n}:{i.kind}": i.path for n, i in case.inputs.items()}, {"age": 4})
    subject = subject.subject()
    assert (type(subject.t1), type(subject.seg)) == (tio.ScalarImage, tio.LabelMap)
    assert not subject.t1.loaded
    assert subject.age == 4


def test_points_are_inputs(tmp_path):
    cohort = write_cohort(tmp_path, 1)
    tio.Points(torch.tensor([[1.0, 2, 3]])).save(tmp_path / "c0_marks.csv")
    inputs = {"t1": cohort[0].inputs["t1"].path, "marks:points": tmp_path / "c0_marks.csv"}
    out = tmp_path / "out"
    tio.preprocess(tio.Flip(0), tio.Cohort([tio.Case("c0", inputs)]), out, progress=False)
    moved = tio.Points(out / "c0" / "marks.csv")
    subject = tio.Cohort([tio.Case("c0", inputs)]).subjects()[0]
    torch.testing.assert_close(moved.data, tio.Flip(0)(subject).marks.data)
    (again,) = tio.Cohort.from_output(out)
    assert again.inputs["marks"].kind == "points"


def test_ids_differ_also_where_capitals_are_equal():
    with pytest.raises(ValueError, match="ids of cases must differ, got 'a' and 'A'"):
        tio.Cohort([tio.Case("a", {"t1": "x"}), tio.Case("A", {"t1": "y"})])
    with pytest.raises(ValueError, match="at least one case"):
        tio.Cohort([])


def test_shards_divide_a_cohort_by_ids_alone():
    cases = [tio.Case(f"sub-{n}", {"t1": "x"}) for n in range(200)]
    whole, half = tio.Cohort(cases), tio.Cohort(cases[::-2])
    parts = [{case.id for case in whole.shard(n, 7)} for n in range(1, 8)]
    assert sorted(id for part in parts for id in part) == sorted(case.id for case in cases)
    assert min(map(len, parts)) > 10
    for n in range(1, 8):
        assert {case.id for case in half.shard(n, 7)} <= parts[n - 1]
    for bad in ((0, 3), (4, 3), (1, 0)):
        with pytest.raises(ValueError, match="shard must be from 1 to their number"):
            whole.shard(*bad)


# Patterns


def test_patterns_find_cases(tmp_path):
    touch(tmp_path, "a_T1w.nii.gz", "b_T1w.nii.gz", "a_seg.nii.gz", "._a_T1w.nii.gz", "c_T2w.nii")
    cohort = tio.Cohort.from_pattern(tmp_path, PATTERNS)
    assert names(cohort) == {
        "a": {"t1": "a_T1w.nii.gz", "seg": "a_seg.nii.gz"},
        "b": {"t1": "b_T1w.nii.gz", "seg": "b_seg.nii.gz"},  # missing, which is found when read
    }
    with pytest.raises(FileNotFoundError, match="b_seg"):
        cohort[1].subject()


def test_patterns_of_folders_and_several_fields(tmp_path):
    touch(tmp_path, "p1/v1/x_t1.nii", "p1/v2/t1.nii", "p2/v1/t1.nii", "p2/v1/deep/er/t1.nii")
    found = tio.Cohort.from_pattern(tmp_path, {"t1": "{id}/{visit}/*t1.nii"})
    assert [case.id for case in found] == ["p1_v1", "p1_v2", "p2_v1"]
    assert found[1].metadata == {"visit": "v2"}


def test_an_id_that_occurs_twice_is_the_same_in_both_places(tmp_path):
    touch(tmp_path, "a/a_t1.nii", "a/b_t1.nii", "b/b_t1.nii")
    found = tio.Cohort.from_pattern(tmp_path, {"t1": "{id}/{id}_t1.nii"})
    assert [case.id for case in found] == ["a", "b"]


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        ({"t1": "*_T1w.nii.gz"}, r"the pattern of 't1' must have \{id\}, got"),
        ({"t1": "{id}_T1.nii"}, "the pattern of 't1' matches no file in"),
        (
            {"t1": "{id}_T1w.nii.gz", "seg": "{id}_{x}.nii"},
            r"the pattern of 'seg' must have \{id\}",
        ),
        ({"t1": "{id}_*.nii.gz"}, "must match one file of each case, but for case 'a' it matches"),
        ({}, "patterns must name at least one role"),
    ],
)
def test_bad_patterns(tmp_path, patterns, message):
    touch(tmp_path, "a_T1w.nii.gz", "a_seg.nii.gz")
    with pytest.raises(ValueError, match=message):
        tio.Cohort.from_pattern(tmp_path, patterns)
    with pytest.raises(FileNotFoundError, match="must be a folder"):
        tio.Cohort.from_pattern(tmp_path / "none", {"t1": "{id}.nii"})


# Tables


def test_a_table_with_kinds_paths_and_metadata(tmp_path):
    (tmp_path / "c.csv").write_text(
        "id,t1,seg:label,age,site,note\n"
        "a,x/a.nii.gz,a_seg.nii,41,07,left\n"
        "b,/abs/b.nii.gz,,,3,n/a\n"
    )
    one, two = tio.Cohort.from_table(tmp_path / "c.csv")
    assert one.inputs["t1"].path == tmp_path / "x" / "a.nii.gz"
    assert one.inputs["seg"].kind == "label"
    assert one.metadata == {"age": 41, "site": "07", "note": "left"}
    assert list(two.inputs) == ["t1"]
    assert two.metadata == {"site": 3}


def test_columns_of_inputs_can_be_named(tmp_path):
    (tmp_path / "c.tsv").write_text("participant_id\tct\nA\tseries/1\n")
    (case,) = tio.Cohort.from_table(tmp_path / "c.tsv", images=["ct"])
    assert case.inputs["ct"].path == tmp_path / "series" / "1"


def test_a_cohort_is_saved_and_read(tmp_path):
    cohort = write_cohort(tmp_path / "data", 3)
    cohort.save(tmp_path / "c.jsonl")
    again = tio.Cohort.from_table(tmp_path / "c.jsonl")
    assert list(again) == list(cohort)
    with pytest.raises(ValueError, match=r"path must end in \.jsonl"):
        cohort.save(tmp_path / "c.csv")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("c.csv", "name,t1\nx,a.nii\n", "line 2: a row must have an id"),
        ("c.csv", "id,t1\nx,a.nii,3\n", "line 2: a row must not have more values"),
        ("c.csv", "id,age\nx,3\n", "line 2: case 'x' must have an input"),
        ("c.csv", "id,t1\nx,a.nii\nx,b.nii\n", "ids of cases must differ"),
        ("c.jsonl", '{"id": "a", "t1": "a.nii"}\n{"id"\n', "line 2: not JSON"),
        ("c.jsonl", "[1]\n", "line 1: a line must be a dict"),
        ("c.xlsx", "", "a table must end in .csv, .tsv or .jsonl"),
        ("c.csv", "id,t1\n", "at least one case"),
    ],
)
def test_bad_tables(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        tio.Cohort.from_table(tmp_path / name)
    with pytest.raises((FileNotFoundError, ValueError)):
        tio.Cohort.from_table(tmp_path / "none.csv")
    (tmp_path / "ok.csv").write_text("id,t1\na,a.nii\n")
    with pytest.raises(ValueError, match="images must name columns"):
        tio.Cohort.from_table(tmp_path / "ok.csv", images=["t2"])


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("1", 1),
        ("-2", -2),
        ("1.50", 1.5),
        ("1e3", "1e3"),
        ("007", "007"),
        ("x", "x"),
        ("inf", "inf"),
        ("1_0", "1_0"),
    ],
)
def test_words_that_are_numbers(word, value):
    assert number_or_word(word) == value
    assert type(number_or_word(word)) is type(value)


# BIDS


def test_a_bids_dataset(tmp_path):
    touch(
        tmp_path,
        "sub-01/anat/sub-01_T1w.nii.gz",
        "sub-01/anat/sub-01_T1w.json",
        "sub-02/ses-a/anat/sub-02_ses-a_acq-x_T1w.nii.gz",
        "sub-02/ses-b/anat/sub-02_ses-b_acq-x_T1w.nii.gz",
        "derivatives/masks/sub-01/anat/sub-01_space-orig_label-brain_mask.nii.gz",
        "derivatives/masks/sub-01/anat/sub-01_space-orig_label-lesion_mask.nii.gz",
    )
    (tmp_path / "participants.tsv").write_text(
        "participant_id\tage\tsex\nsub-01\t30\tF\nsub-02\tn/a\tM\n"
    )
    suffixes = {"t1": "T1w", "brain:label": "derivatives/masks/label-brain_mask"}
    cohort = tio.Cohort.from_bids(tmp_path, suffixes)
    assert [case.id for case in cohort] == ["sub-01", "sub-02_ses-a", "sub-02_ses-b"]
    assert cohort[0].inputs["brain"].path.name == "sub-01_space-orig_label-brain_mask.nii.gz"
    assert cohort[0].metadata == {"age": 30, "sex": "F"}
    assert cohort[2].metadata == {"sex": "M"}
    with pytest.raises(FileNotFoundError):  # no mask of it
        cohort[1].subject()
    assert len(tio.Cohort.from_bids(tmp_path)) == 3


@pytest.mark.parametrize(
    ("suffixes", "message"),
    [
        ({"t1": "T1w"}, "'t1' must be one file of each case, but 'T1w' matches .*'run-1_T1w'"),
        ({"t1": "run-3_T1w"}, "no file in '.*' has the suffix of 't1', 'run-3_T1w'"),
    ],
)
def test_bad_bids_datasets(tmp_path, suffixes, message):
    touch(tmp_path, "sub-1/anat/sub-1_run-1_T1w.nii.gz", "sub-1/anat/sub-1_run-2_T1w.nii.gz")
    with pytest.raises(ValueError, match=message):
        tio.Cohort.from_bids(tmp_path, suffixes)
    assert names(tio.Cohort.from_bids(tmp_path, {"t1": "run-2_T1w"})) == {
        "sub-1": {"t1": "sub-1_run-2_T1w.nii.gz"}
    }


def test_rows_of_a_table_can_be_json(tmp_path):
    case = tio.Case("a", {"t1": tmp_path / "a.nii"}, {"age": 3, "scores": [1, 2]})
    assert json.loads(json.dumps(case.to_row()))["scores"] == [1, 2]


@pytest.mark.parametrize("start", ["./", "x/../", "{root}/x/../"])
def test_patterns_as_shells_write_them(tmp_path, start):
    touch(tmp_path, "a_t1.nii", "x/none")
    patterns = {"t1": start.replace("{root}", str(tmp_path)) + "{id}_t1.nii"}
    assert [case.id for case in tio.Cohort.from_pattern(tmp_path, patterns)] == ["a"]
    up = tio.Cohort.from_pattern(tmp_path / "x", {"t1": "../{id}_t1.nii"})
    assert up[0].inputs["t1"].path == tmp_path / "a_t1.nii"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('id,t1,note\na,a.nii,"5 inch\nb,b.nii,x\n', "no table"),
        ("id,t1,t1\na,a.nii,b.nii\n", "must name each column once, got 't1' twice"),
    ],
)
def test_tables_that_would_lose_cases(tmp_path, text, message):
    (tmp_path / "c.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        tio.Cohort.from_table(tmp_path / "c.csv")


def test_metadata_come_back_as_they_were(tmp_path):
    metadata = {"source": "old.nii.gz", "number": "7", "note": 'a "quote"', "scores": [1, 2.5]}
    cohort = tio.Cohort([tio.Case("a", {"t1": tmp_path / "a.nii"}, metadata)])
    cohort.save(tmp_path / "c.jsonl")
    assert tio.Cohort.from_table(tmp_path / "c.jsonl")[0].metadata == metadata


@pytest.mark.parametrize("name", ["shape", "history", "a:b"])
def test_metadata_have_names_of_their_own(name):
    with pytest.raises(ValueError, match=f"must have other names than '{name}'"):
        tio.Case("a", {"t1": "x"}, {name: 3})
    with pytest.raises(ValueError, match="metadata of case 'a' must be values of JSON"):
        tio.Case("a", {"t1": "x"}, {"date": object()})
