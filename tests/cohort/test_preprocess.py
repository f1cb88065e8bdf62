"""Preparation of cohorts: results, records, resumption, failures."""

from __future__ import annotations

import json
import os
import signal
import sys

import pytest
import torch

import torchio_gpu as tio
from tests.cohort.files import (
    augmentation,
    leftovers,
    pipeline,
    results,
    write_cohort,
)
from tests.cohort.runs import wait_for
from torchio_gpu.cohort.preloaded import __name__ as PRELOADED
from torchio_gpu.cohort.preparation import seed_of_case
from torchio_gpu.cohort.progress import Progress
from torchio_gpu.cohort.records import Records
from torchio_gpu.cohort.retrying import retry
from torchio_gpu.cohort.schedulers import Workers, client_of
from torchio_gpu.cohort.shards import parse_shard


def run(cohort, out, transform=None, **arguments):
    return tio.preprocess(transform or pipeline(), cohort, out, progress=False, **arguments)


def records(out):
    return Records(out / "_cohort").latest(Records(out / "_cohort").recipe()["hash"])


@pytest.fixture
def cohort(tmp_path):
    return write_cohort(tmp_path / "data")


def test_results_are_those_of_the_pipeline(cohort, tmp_path):
    out = tmp_path / "out"
    summary = run(cohort, out)
    assert str(summary) == "4 cases: 4 computed"
    assert summary.failed == 0
    expected = pipeline()(cohort[2].subject())
    torch.testing.assert_close(tio.ScalarImage(out / "c2" / "t1.nii.gz").data, expected.t1.data)
    assert torch.equal(tio.LabelMap(out / "c2" / "seg.nii.gz").data, expected.seg.data)
    assert leftovers(out) == []
    prepared = tio.Cohort.from_output(out)
    assert [case.id for case in prepared] == ["c0", "c1", "c2", "c3"]
    assert prepared[0].inputs["seg"].kind == "label"


def test_a_record_says_what_was_done(cohort, tmp_path):
    out = tmp_path / "out"
    run(cohort, out, checksum=True)
    record = records(out)["c1"]
    assert record["status"] == "ok"
    assert record["inputs"]["t1"]["size"] == os.path.getsize(cohort[1].inputs["t1"].path)
    assert len(record["inputs"]["t1"]["checksum"]) == 32
    assert record["outputs"] == {"": {"t1:intensity": "c1/t1.nii.gz", "seg:label": "c1/seg.nii.gz"}}
    assert record["versions"]["torchio_gpu"] == tio.__version__
    assert record["seeds"] == {"": seed_of_case(0, "c1", 0)}
    assert record["seconds"] > 0
    assert record["peak_memory"] is None or record["peak_memory"] > 2**20
    recipe = json.loads((out / "_cohort" / "run.json").read_text())
    assert tio.from_dict(recipe["pipeline"]).to_dict() == pipeline().to_dict()


def test_a_run_goes_on_where_it_stopped(cohort, tmp_path):
    out = tmp_path / "out"
    first = tio.Cohort(list(cohort)[:2])
    assert str(run(first, out)) == "2 cases: 2 computed"
    before = {path: path.stat().st_mtime_ns for path in out.glob("c*/*")}
    assert str(run(cohort, out)) == "4 cases: 2 computed before, 2 computed"
    assert before == {path: path.stat().st_mtime_ns for path in before}
    assert str(run(cohort, out)) == "4 cases: 4 computed before"
    (out / "c3" / "seg.nii.gz").unlink()
    assert str(run(cohort, out)) == "4 cases: 3 computed before, 1 computed"


@pytest.mark.parametrize("checksum", [False, True])
def test_changed_inputs_are_noticed(cohort, tmp_path, checksum):
    out, path = tmp_path / "out", cohort[0].inputs["t1"].path
    run(cohort, out, checksum=checksum)
    os.utime(path)  # another time, the same bytes
    assert run(cohort, out, checksum=checksum).outcomes["ok"] == (0 if checksum else 1)
    tio.ScalarImage(torch.zeros(1, 4, 4, 4) + torch.arange(4)).save(path)
    cohort[0].inputs["seg"].path.unlink()
    labels = tio.LabelMap(torch.zeros(1, 4, 4, 4, dtype=torch.uint8))
    labels.save(cohort[0].inputs["seg"].path)
    assert run(cohort, out, checksum=checksum).outcomes["ok"] == 1
    assert tio.ScalarImage(out / "c0" / "t1.nii.gz").spatial_shape == (2, 2, 2)


def test_another_recipe_does_not_mix(cohort, tmp_path):
    out = tmp_path / "out"
    run(cohort, out)
    for change, name in (
        ({"transform": tio.Flip(0)}, "pipeline"),
        ({"seed": 1}, "seed"),
        ({"copies": 2}, "copies"),
        ({"format": ".nii"}, "format"),
    ):
        with pytest.raises(ValueError, match=f"was written with another {name}: .* --force"):
            run(cohort, out, **change)
    assert run(cohort, out, tio.Flip(0), force=True).outcomes["ok"] == 4
    assert tio.ScalarImage(out / "c0" / "t1.nii.gz").spatial_shape == (8, 9, 10)
    # back again: the records of the first recipe are older than the results
    assert run(cohort, out, force=True).outcomes["ok"] == 4


def test_a_failing_case_is_a_record_and_the_others_go_on(cohort, tmp_path):
    out = tmp_path / "out"
    cohort[2].inputs["seg"].path.unlink()
    assert str(run(cohort, out)) == "4 cases: 3 computed, 1 failed"
    whole = cohort[0].inputs["t1"].path.read_bytes()
    cohort[0].inputs["t1"].path.write_bytes(whole[: len(whole) // 2])
    cohort[1].inputs["t1"].path.write_bytes(b"")
    summary = run(cohort, out)
    assert str(summary) == "4 cases: 1 computed before, 3 failed"
    found = records(out)
    assert "c0_T1w" in found["c0"]["error"]["message"]
    assert "c1_T1w" in found["c1"]["error"]["message"]
    assert found["c2"]["error"]["class"] == "FileNotFoundError"
    assert found["c2"]["error"]["message"].startswith("seg of case 'c2' is missing")
    assert not (out / "c0").exists()  # of the whole file
    assert [case.id for case in tio.Cohort.from_output(out)] == ["c3"]
    cohort[0].inputs["t1"].path.write_bytes(whole)
    assert str(run(cohort, out)) == "4 cases: 1 computed before, 1 computed, 2 failed"


def test_copies_depend_on_seed_and_id_alone(cohort, tmp_path):
    run(cohort, tmp_path / "a", augmentation(), copies=3)
    shuffled = tio.Cohort(list(cohort)[::-1][:2])
    run(shuffled, tmp_path / "b", augmentation(), copies=3)
    a, b = results(tmp_path / "a"), results(tmp_path / "b")
    assert len(a) == 4 * 3 * 2
    assert b == {name: a[name] for name in b}
    run(cohort, tmp_path / "c", augmentation(), copies=3, seed=1)
    c = results(tmp_path / "c")
    assert all(c[name] != a[name] for name in a if "t1" in name)
    assert len({a[f"c0/t1-{n}.nii.gz"] for n in range(3)}) == 3
    run(cohort, tmp_path / "d", augmentation())
    assert results(tmp_path / "d")["c0/t1.nii.gz"] == a["c0/t1-0.nii.gz"]
    assert len(tio.Cohort.from_output(tmp_path / "a")) == 12


def test_shards_together_are_the_whole(cohort, tmp_path):
    run(cohort, tmp_path / "whole")
    for n in range(1, 4):
        run(cohort, tmp_path / "parts", shard=(n, 3))
    assert results(tmp_path / "parts") == results(tmp_path / "whole")


def test_threads_of_the_caller_are_kept_and_do_not_matter(cohort, tmp_path):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        run(cohort, tmp_path / "two", augmentation())
        assert torch.get_num_threads() == 2
        torch.set_num_threads(1)
        run(cohort, tmp_path / "one", augmentation())
    finally:
        torch.set_num_threads(before)
    assert results(tmp_path / "one") == results(tmp_path / "two")


def test_workers_of_this_machine_need_no_imports():
    with client_of(Workers(count=2)) as client:
        for names in client.run(lambda: set(sys.modules)).values():
            assert {PRELOADED, "nibabel", "SimpleITK", "numba.np.linalg"} <= names


def test_outcomes_that_end_with_their_worker_are_asked_for_again(cohort, tmp_path, monkeypatch):
    add, killed = Progress.add, []

    def kill_first(progress, outcomes):
        if not killed:
            killed.append(wait_for(lambda: statuses() == {"finished"}))  # and not yet fetched
            for pid in client.run(os.getpid).values():
                os.kill(pid, signal.SIGKILL)
            wait_for(lambda: "lost" in statuses())
        add(progress, outcomes)

    def statuses():
        return {future.status for future in client.futures.values()}

    monkeypatch.setattr(Progress, "add", kill_first)
    with client_of(Workers(count=2)) as client:
        summary = run(cohort, tmp_path / "out", scheduler=client, batch=1)
    assert killed
    assert summary.outcomes == {"ok": len(cohort)}


def test_warnings_are_kept(cohort, tmp_path):
    transform = tio.CropOrPad(6, include=["none"])
    run(cohort, tmp_path / "out", transform)
    warned = records(tmp_path / "out")["c0"]["warnings"]
    assert any("none" in text for text in warned)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"workers": -1}, ValueError, "workers must be >= 0, got -1"),
        ({"batch": 0}, ValueError, "batch must be >= 1, got 0"),
        ({"copies": 0}, ValueError, "copies must be >= 1, got 0"),
        ({"retries": -1}, ValueError, "retries must be >= 0"),
        ({"timeout": 0}, ValueError, "timeout must be > 0 seconds"),
        ({"memory": "1GB"}, ValueError, "memory must be given with workers"),
        ({"format": ".nigz"}, ValueError, "format must be one of .*, got '.nigz'"),
        ({"shard": "3"}, ValueError, "shard must be K/N, such as 3/64"),
        ({"shard": "4/3"}, ValueError, "shard must be from 1 to their number, got 4/3"),
        ({"transform": tio.Lambda(abs)}, TypeError, "Lambda"),
        ({"transform": abs}, TypeError, "pipeline must be a Transform, got builtin"),
    ],
)
def test_bad_arguments(cohort, tmp_path, arguments, error, message):
    with pytest.raises(error, match=message):
        run(cohort, tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


def test_the_cohort_is_a_cohort(cohort, tmp_path):
    with pytest.raises(TypeError, match="cohort must be a Cohort, got list"):
        run(list(cohort), tmp_path / "out")


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"SLURM_ARRAY_TASK_ID": "0"}, (1, 1)),
        ({"SLURM_ARRAY_TASK_ID": "6", "MIN": "2", "MAX": "8", "STEP": "2", "COUNT": "4"}, (3, 4)),
        ({"SLURM_PROCID": "3", "SLURM_STEP_NUM_TASKS": "8"}, (4, 8)),
        ({"RANK": "1", "WORLD_SIZE": "2"}, (2, 2)),
        ({"SLURM_ARRAY_TASK_ID": "2", "MIN": "1", "MAX": "4", "COUNT": "4", "SLURM_PROCID": "1",
          "SLURM_STEP_NUM_TASKS": "2"}, (4, 8)),
    ],
)  # fmt: skip
def test_shards_of_launchers(variables, expected):
    short = ("MIN", "MAX", "STEP", "COUNT")
    names = {k: f"SLURM_ARRAY_TASK_{k}" if k in short else k for k in variables}
    assert parse_shard("auto", {names[k]: v for k, v in variables.items()}) == expected


def test_shards_of_no_launcher_and_of_arrays_with_gaps():
    with pytest.raises(ValueError, match="found none of SLURM_ARRAY_TASK_ID"):
        parse_shard("auto", {})
    gaps = {"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_MIN": "3", "SLURM_ARRAY_TASK_MAX": "7"}
    with pytest.raises(ValueError, match="numbers of a SLURM array have gaps"):
        parse_shard("auto", {**gaps, "SLURM_ARRAY_TASK_COUNT": "2"})


def test_results_stay_where_inputs_are_gone(cohort, tmp_path):
    out = tmp_path / "out"
    run(cohort, out)
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    assert str(run(cohort, out)) == "4 cases: 4 computed before"
    assert (out / "c0" / "t1.nii.gz").exists()


def test_other_kinds_and_paths_are_other_inputs(cohort, tmp_path):
    out = tmp_path / "out"
    files = {n: cohort[0].inputs[n].path for n in ("t1", "seg")}
    wrong = tio.Case("c0", {"t1": files["t1"], "seg": files["seg"]})
    run(tio.Cohort([wrong]), out)
    right = tio.Case("c0", {"t1": files["t1"], "seg:label": files["seg"]})
    assert run(tio.Cohort([right]), out).outcomes["ok"] == 1
    assert tio.Cohort.from_output(out)[0].inputs["seg"].kind == "label"


def test_folders_that_no_run_wrote_are_not_replaced(cohort, tmp_path):
    out = tmp_path / "out"
    (out / "c2").mkdir(parents=True)
    (out / "c2" / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"results must go to a folder without other things"):
        run(cohort, out)
    assert (out / "c2" / "notes.txt").read_text() == "mine"


def test_inputs_reached_through_a_link_are_not_replaced(cohort, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "data")
    case = tio.Case("c0_T1w.nii.gz", {"t1": link / "c0_T1w.nii.gz"})
    with pytest.raises(ValueError, match="results must go to another folder than inputs"):
        run(tio.Cohort([case]), tmp_path / "data")


def test_bytes_count_once_asked_for(cohort, tmp_path):
    out = tmp_path / "out"
    run(cohort, out)
    assert run(cohort, out, checksum=True).outcomes["ok"] == 4  # only size and time were known
    assert run(cohort, out, checksum=True).before == 4


def test_a_retry_computes_what_has_failed_alone(cohort, tmp_path):
    out, path = tmp_path / "out", cohort[0].inputs["t1"].path
    whole = path.read_bytes()
    path.write_bytes(b"")
    run(cohort, out, shard=parse_shard(f"{shard_of(cohort, 'c0')}/3"))
    path.write_bytes(whole)
    before = set(records(out))
    summary = retry(out, progress=False)
    assert summary.outcomes["ok"] == 1
    assert set(records(out)) == before != {case.id for case in cohort}


def shard_of(cohort, id):
    return next(n for n in (1, 2, 3) if id in {case.id for case in cohort.shard(n, 3)})


def test_drafts_of_other_machines_live_while_they_are_touched(cohort, tmp_path):
    out = tmp_path / "out"
    drafts = out / "_cohort" / "drafts"
    drafts.mkdir(parents=True)
    for n in range(3):
        (drafts / f"c0@elsewhere-{n}-abc").mkdir()
    (drafts / ".DS_Store").touch()
    assert str(run(cohort, out)) == "4 cases: 4 computed"
    assert len(list(drafts.glob("c0@*"))) == 3
    for path in drafts.glob("c1@*"):
        os.utime(path, (0, 0))
    for path in drafts.glob("c0@*"):  # silent for long: three attempts that ended
        os.utime(path, (0, 0))
    (out / "c0" / "t1.nii.gz").unlink()
    assert run(cohort, out).outcomes["killed"] == 1
    assert list(drafts.glob("c0@*")) == []


def test_a_part_of_the_cohort_and_then_the_whole_again(cohort, tmp_path):
    out = tmp_path / "out"
    run(cohort, out)
    assert str(run(tio.Cohort(list(cohort)[:2]), out)) == "2 cases: 2 computed before"
    assert str(run(cohort, out)) == "4 cases: 4 computed before"
