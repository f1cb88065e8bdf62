"""Writing: files of other images are not changed, and interruptions lose no data."""

import os
import stat
import subprocess
import sys
import time

import nibabel
import pytest
import SimpleITK as sitk
import torch

import torchio_gpu as tio
from torchio_gpu.data import io

AFFINE = torch.diag(torch.tensor([1.0, 2.0, 3.0, 1.0], dtype=torch.float64))
OLD = torch.arange(120, dtype=torch.int16).reshape(1, 4, 5, 6)
NEW = OLD.flip(1) + 1000
WRITABLE = [".nii", ".nii.gz", ".hdr", ".img", ".nrrd", ".nhdr", ".mha", ".mhd"]
posix = pytest.mark.skipif(os.name != "posix", reason="permissions and links of POSIX")


@pytest.mark.parametrize("first", [".mhd", ".nhdr", ".hdr", ".img"])
@pytest.mark.parametrize("second", [".mhd", ".nhdr", ".mha", ".nrrd"])
def test_headers_of_one_stem_do_not_share_a_data_file(tmp_path, first, second):
    if first == second:
        pytest.skip("the same file")
    (tmp_path / "x.raw").write_bytes(b"of someone else")
    io.write(OLD, AFFINE, tmp_path / f"x{first}")
    io.write(NEW, AFFINE, tmp_path / f"x{second}")
    io.write(NEW, AFFINE, tmp_path / f"x{second}")
    assert torch.equal(io.read(tmp_path / f"x{first}")[0], OLD)
    assert torch.equal(io.read(tmp_path / f"x{second}")[0], NEW)
    assert (tmp_path / "x.raw").read_bytes() == b"of someone else"


@pytest.mark.parametrize("suffix", [".mhd", ".nhdr"])
def test_unused_data_files_are_removed(tmp_path, suffix):
    for n in range(5):
        io.write(OLD + n, AFFINE, tmp_path / f"x{suffix}")
        assert torch.equal(io.read(tmp_path / f"x{suffix}")[0], OLD + n)
        # any other program follows the header's name
        image = sitk.ReadImage(str(tmp_path / f"x{suffix}"))
        assert torch.equal(io.from_sitk(image)[0], OLD + n)
        assert len(list(tmp_path.iterdir())) == 2


INTERRUPTED = """
import os, pathlib, shutil, sys, torch
from torchio_gpu.data import io
import nibabel, SimpleITK

def interrupt_at(n):
    count = 0
    def wrap(owner, name):
        plain = getattr(owner, name)
        def step(*args, **kwargs):
            nonlocal count
            if count == n:
                os._exit(7)
            count += 1
            return plain(*args, **kwargs)
        setattr(owner, name, step)
    for owner, name in ((os, "replace"), (pathlib.Path, "unlink"), (pathlib.Path, "touch"),
                        (shutil, "rmtree")):
        wrap(owner, name)

for line in sys.stdin:
    n, new, path = line.split()
    child = os.fork()
    if child == 0:
        interrupt_at(int(n))
        io.write(torch.load(new), torch.eye(4), path)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
STEPS = 10  # more changes of names than any format needs


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_an_interruption_at_any_step_leaves_the_old_or_the_new_image(tmp_path):
    """The process ends without clean-up before its n-th change of a name, for every n."""
    news = {"larger": torch.cat([NEW] * 3, 3), "smaller": NEW[:, :2].clone()}
    cases = []
    for size, new in news.items():
        torch.save(new, tmp_path / f"{size}.pt")
        for suffix in (".nii", ".hdr", ".img", ".mhd", ".nhdr"):
            for n in range(STEPS):
                path = tmp_path / f"{size}{suffix}-{n}" / f"x{suffix}"
                path.parent.mkdir()
                io.write(OLD, AFFINE, path)
                cases.append((n, tmp_path / f"{size}.pt", path))
    given = "\n".join(" ".join(map(str, case)) for case in cases)
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", INTERRUPTED],
        input=given, capture_output=True, text=True,
    )  # fmt: skip
    codes = list(map(int, result.stdout.split()))
    assert len(codes) == len(cases), result.stderr
    for code, (n, new, path) in zip(codes, cases, strict=True):
        y, matrix = io.read(path)
        x = torch.load(new)
        old = torch.equal(y, OLD) and torch.equal(matrix, AFFINE)
        assert old or (torch.equal(y, x) and torch.equal(matrix, torch.eye(4).double())), path
        assert code in (0, 7)
        if n in (0, STEPS - 1):
            assert (code == 7) == old == (n == 0)


def test_a_header_without_its_data_file_is_replaced(tmp_path):
    for lost in (".hdr", ".img"):
        io.write(OLD, AFFINE, tmp_path / "x.img")
        (tmp_path / f"x{lost}").unlink()
        io.write(NEW, AFFINE, tmp_path / "x.img")
        assert torch.equal(io.read(tmp_path / "x.hdr")[0], NEW)
        assert nibabel.load(tmp_path / "x.hdr").dataobj.offset == 0


@posix
@pytest.mark.parametrize("suffix", [*WRITABLE, ".png"])
def test_permissions_and_links_survive(tmp_path, suffix):
    x = (OLD[..., :1] if suffix == ".png" else OLD).to(torch.uint8)
    (tmp_path / "real").mkdir()
    io.write(x, AFFINE, tmp_path / "real" / f"x{suffix}")
    for file in (tmp_path / "real").iterdir():
        file.chmod(0o640)
        (tmp_path / file.name).symlink_to(file)
    io.write(x + 1, AFFINE, tmp_path / f"x{suffix}")
    assert (tmp_path / f"x{suffix}").is_symlink()
    assert torch.equal(io.read(tmp_path / "real" / f"x{suffix}")[0], x + 1)
    for file in (tmp_path / "real").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o640


@posix
def test_new_files_have_the_usual_permissions(tmp_path):
    (tmp_path / "plain").touch()
    usual = stat.S_IMODE((tmp_path / "plain").stat().st_mode)
    for suffix in WRITABLE:
        io.write(OLD, AFFINE, tmp_path / f"x{suffix}")
    for file in tmp_path.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == usual


def test_temporary_files_are_removed_after_a_day(tmp_path):
    old, fresh = tmp_path / ".torchio_gpu-a", tmp_path / ".torchio_gpu-b"
    for folder in (old, fresh):
        folder.mkdir()
        (folder / "x.nii").write_bytes(b"half")
    yesterday = time.time() - 25 * 3600
    os.utime(old, (yesterday, yesterday))
    io.write(OLD, AFFINE, tmp_path / "x.nii")
    assert sorted(path.name for path in tmp_path.iterdir()) == [fresh.name, "x.nii"]


def test_folders_are_not_replaced(tmp_path):
    (tmp_path / "x.nii").mkdir()
    with pytest.raises(ValueError, match=r"x\.nii' is neither"):
        io.write(OLD, AFFINE, tmp_path / "x.nii")


def test_a_changed_image_keeps_its_path(tmp_path):
    tio.ScalarImage(OLD).save(tmp_path / "x.nii")
    image = tio.RandomFlip(axes=(0,), flip_probability=1)(tio.ScalarImage(tmp_path / "x.nii"))
    assert image.path == tmp_path / "x.nii"
    image.save(image.path)
    assert torch.equal(tio.ScalarImage(tmp_path / "x.nii").data, OLD.flip(1))


# Names


@pytest.mark.parametrize("suffix", [".mhd", ".nhdr"])
@pytest.mark.parametrize(
    "stem",
    ["LIST", "LIST_x", "LISTEN", "LIST x", "list", "LOCAL", "LOCALS", "p%d", "50%", "%s%s", "LIST%",
     " x", "x ", "a b", "x 1 2", "a#b", "a:b", "a=b", "'a'", "x.y", "é", "-", "a\nb", "_LIST"],
)  # fmt: skip
def test_file_stems_that_are_keywords_of_the_format(tmp_path, suffix, stem):
    path = tmp_path / f"{stem}{suffix}"
    for n in range(3):
        io.write(OLD + n, AFFINE, path)
        assert torch.equal(io.read(path)[0], OLD + n)
        image = sitk.ReadImage(str(path))  # others read it, too
        assert torch.equal(io.from_sitk(image)[0], OLD + n)
        assert len(list(tmp_path.iterdir())) == 2
    (tmp_path / "y.raw").touch()
    io.write(NEW, AFFINE, tmp_path / f"y{suffix}")
    assert torch.equal(io.read(path)[0], OLD + 2)


@pytest.mark.parametrize("suffix", [*WRITABLE, ".png", ".jpg", ".jpeg", ".tif", ".tiff"])
@pytest.mark.parametrize("style", [str.upper, str.title, str.swapcase, str.lower])
@pytest.mark.parametrize("stem", ["w", "W.x", "p%d", "%"])
def test_suffixes_in_any_case(tmp_path, suffix, style, stem):
    x = OLD[:, :, :, :1].to(torch.uint8) if suffix in (".png", ".jpg", ".jpeg") else OLD
    written = style(suffix) if style is not str.swapcase else suffix[:-1] + suffix[-1].upper()
    path = tmp_path / f"{stem}{written}"
    for n in range(2):
        tio.ScalarImage(x + n, affine=AFFINE).save(path)
        y = tio.ScalarImage(path).data
        close = 9 if suffix in (".jpg", ".jpeg") else 0
        assert (y.int() - x.int() - n).abs().max() <= close
    pair = (".hdr", ".img", ".mhd", ".nhdr")
    assert len(list(tmp_path.iterdir())) == (2 if suffix in pair else 1)
    assert path.is_file()


@pytest.mark.parametrize("suffix", WRITABLE)
def test_folders_with_a_percent_sign(tmp_path, suffix):
    path = tmp_path / "50%d" / f"x{suffix}"
    path.parent.mkdir()
    if suffix == ".mhd":
        with pytest.raises(ValueError, match=r"a folder without % for \.mhd: got '.*x\.mhd'"):
            io.write(OLD, AFFINE, path)
        io.write(OLD, AFFINE, tmp_path / "x.mhd")
        for name in ("x.mhd", "x.raw"):
            (tmp_path / name).rename(path.with_name(name))
    else:
        io.write(OLD, AFFINE, path)
    assert torch.equal(io.read(path)[0], OLD)


@pytest.mark.parametrize(("one", "other"), [(".hdr", ".HDR"), (".img", ".Img"), (".hDr", ".HdR")])
def test_pairs_whose_names_differ_in_case(tmp_path, one, other):
    io.write(OLD, AFFINE, tmp_path / f"x{one}")
    if (tmp_path / f"x{other}").exists():
        pytest.skip("file names without case")
    io.write(NEW, AFFINE, tmp_path / f"x{other}")
    assert torch.equal(io.read(tmp_path / f"x{one}")[0], OLD)
    assert torch.equal(io.read(tmp_path / f"x{other}")[0], NEW)
    assert len(list(tmp_path.iterdir())) == 4


# Data files of several headers


@pytest.mark.parametrize("suffix", [".mhd", ".nhdr", ".MHD"])
@pytest.mark.parametrize("other", ["y{}", "z.mha", "a b{}", "x.y{}"])
@pytest.mark.parametrize("form", [" {}", " ./{}", "{}"])
def test_a_data_file_named_by_another_header_is_kept(tmp_path, suffix, other, form):
    if form == "{}" and suffix == ".nhdr":
        pytest.skip("NRRD needs the space")
    path, copied = tmp_path / f"x{suffix}", tmp_path / other.format(suffix)
    if other == "z.mha" and suffix == ".nhdr":
        copied = tmp_path / "z.nrrd"
    (tmp_path / "x.raw").write_bytes(b"of someone else")
    io.write(OLD, AFFINE, path)
    copied.write_text(path.read_text().replace(" x.2.raw", form.format("x.2.raw")))
    for _ in range(2):
        io.write(NEW, AFFINE, path)
        assert torch.equal(io.read(path)[0], NEW)
        assert torch.equal(io.read(copied)[0], OLD)
    copied.unlink()
    io.write(NEW, AFFINE, path)
    assert len(list(tmp_path.glob("x.*.raw"))) == 2  # that of the removed header is no one's


@pytest.mark.parametrize("listed", ["x.raw\n", "other.raw\nx.raw"])
def test_a_data_file_listed_by_another_header_is_kept(tmp_path, listed):
    io.write(OLD, AFFINE, tmp_path / "x.mhd")
    text = (tmp_path / "x.mhd").read_text()
    (tmp_path / "y.mhd").write_text(text.replace("x.raw", "LIST\n" + listed))
    io.write(NEW, AFFINE, tmp_path / "x.mhd")
    assert (tmp_path / "x.raw").exists()


def test_data_files_of_similar_names_are_removed(tmp_path):
    for name in ("ax", "x", "x.raw"):
        io.write(OLD, AFFINE, tmp_path / f"{name}.mhd")
    io.write(NEW, AFFINE, tmp_path / "x.mhd")
    io.write(NEW, AFFINE, tmp_path / "x.mhd")
    assert len(list(tmp_path.iterdir())) == 6
