"""Extraction: contents as they are, and hostile archives of each kind refused with nothing left."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import random
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from torchio_gpu.datasets.archives import ArchiveError, Limits, extract

FILES = {"a/one.txt": b"1" * 1000, "a/b/two.bin": random.Random(0).randbytes(5000), "three": b""}
Member = tuple[tarfile.TarInfo, bytes]


def tar(path: Path, members: list[Member], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
    return path


def file(name: str, data: bytes = b"data") -> Member:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    return info, data


def entry(name: str, kind: bytes, target: str = "") -> Member:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info, b""


def zipped(path: Path, members: dict[str, bytes], mode: int = 0) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, data)
    return path


def content(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def refused(archive: Path, reason: str, limits: Limits | None = None) -> None:
    """Assert that an archive is refused by a sentence that names it, and that nothing is left."""
    before = sorted(archive.parent.parent.rglob("*"))
    with pytest.raises(ArchiveError, match=reason) as error:
        extract(archive, archive.parent / "out", limits)
    assert str(archive) in str(error.value)
    assert sorted(archive.parent.parent.rglob("*")) == before


@pytest.fixture
def place(tmp_path: Path) -> Path:
    folder = tmp_path / "inner"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz", "zip"])
def test_files_are_extracted(place, mode):
    path = place / "archive"
    if mode == "zip":
        zipped(path, FILES)
    else:
        folder = entry("./a", tarfile.DIRTYPE)
        tar(path, [folder, *(file(f"./{n}", data) for n, data in FILES.items())], mode)
    assert extract(path, place / "deep" / "out") == place / "deep" / "out"
    assert content(place / "deep" / "out") == FILES
    assert [each.name for each in (place / "deep").iterdir()] == ["out"]


def test_permissions_are_those_of_new_files(place):
    info, data = file("run")
    info.mode = 0o6777
    mode = extract(tar(place / "t", [(info, data)]), place / "out").joinpath("run").stat().st_mode
    (place / "new").touch()
    assert mode == (place / "new").stat().st_mode


def test_an_existing_folder_is_kept(place):
    with pytest.raises(FileExistsError, match="folder must not exist yet"):
        extract(tar(place / "t", [file("a")]), place)
    assert content(place).keys() == {"t"}


LEAVING = ["../x", "a/../../x", "/x", "//x", "..", "a/..\\..\\x", "\\x", "C:\\x", "c:x", "a/C:x"]


@pytest.mark.parametrize("name", LEAVING)
def test_paths_that_leave_the_folder_are_refused(place, name):
    reason = "its member .* leaves the folder"
    refused(tar(place / "t", [file("good"), file(name)]), reason)
    refused(zipped(place / "z", {"good": b"", name: b""}), reason)


@pytest.mark.parametrize("target", [*LEAVING[:6], "../../x"])
@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_links_that_leave_the_folder_are_refused(place, kind, target):
    (place.parent / "x").write_text("outside")
    refused(tar(place / "t", [entry("link", kind, target)]), "member 'link' leaves the folder")


def test_links_in_zip_archives_that_leave_the_folder_are_refused(place):
    archive = zipped(place / "z", {"a/link": b"../../x"}, stat.S_IFLNK | 0o777)
    refused(archive, "member 'a/link' leaves the folder, by the path '../x'")


def test_nothing_is_written_through_a_link(place):
    members = [entry("link", tarfile.SYMTYPE, "."), file("link/x")]
    refused(tar(place / "t", members), "is a link to what is no file")
    members = [entry("link", tarfile.SYMTYPE, str(place)), file("link/x")]
    refused(tar(place / "t", members), "leaves the folder")
    members = [file("x"), entry("x", tarfile.SYMTYPE, "x")]
    refused(tar(place / "t", members), "is there twice")


def test_links_within_the_folder_become_copies(place):
    members = [
        entry("a/first", tarfile.SYMTYPE, "../b/file"),
        file("b/file", b"content"),
        entry("hard", tarfile.LNKTYPE, "b/file"),
    ]
    out = extract(tar(place / "t", members), place / "out")
    assert content(out) == dict.fromkeys(("a/first", "b/file", "hard"), b"content")
    assert not any(path.is_symlink() for path in out.rglob("*"))
    assert os.stat(out / "hard").st_nlink == 1


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_devices_and_pipes_are_refused(place, kind):
    refused(tar(place / "t", [entry("special", kind)]), "'special' is neither a file")


def test_devices_and_pipes_in_zip_archives_are_refused(place):
    for mode in (stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK):
        refused(zipped(place / "z", {"special": b""}, mode), "'special' is neither a file")


def test_names_that_are_there_twice_are_refused(place):
    refused(tar(place / "t", [file("a"), file("./a")]), r"'./a' is there twice")
    refused(tar(place / "t", [file("a"), file("a/b")]), "'a/b' has the path of a file")


def bomb(path: Path, kind: str, size: int) -> Path:
    """Write an archive of zeros, which compress a thousandfold."""
    if kind == "zip":
        return zipped(path, {"zeros": bytes(size)})
    return tar(path, [file("zeros", bytes(size))], kind)


@pytest.mark.parametrize("kind", ["zip", "w:gz"])
def test_bombs_are_refused(place, kind):
    archive = bomb(place / "bomb", kind, 130 << 20)
    assert archive.stat().st_size < 1 << 20
    refused(archive, "member 'zeros' exceeds the limit of [0-9]+ bytes in all")


@pytest.mark.parametrize("kind", ["zip", "w", "w:gz"])
def test_limits_of_size_count_all_members(place, kind):
    members = {str(n): bytes(1000) for n in range(3)}
    if kind == "zip":
        archive = zipped(place / "t", members)
    else:
        archive = tar(place / "t", [file(*each) for each in members.items()], kind)
    refused(archive, "member '2' exceeds the limit of 2500 bytes", Limits(size=2500))
    assert len(content(extract(archive, place / "out", Limits(size=3000)))) == 3


def test_copies_of_links_count(place):
    links = [entry(f"l{n}", tarfile.LNKTYPE, "file") for n in range(9)]
    archive = tar(place / "t", [file("file", bytes(1000)), *links])
    refused(archive, "'l4' exceeds the limit of 5000 bytes", Limits(size=5000))


def test_holes_of_sparse_files_count(place):
    """A GNU sparse file of a few bytes claims to be of many, which are holes."""
    info, _ = file("sparse")
    info.size = 0
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[156:157] = tarfile.GNUTYPE_SPARSE
    header[483:495] = b"%011o\0" % (1 << 32)
    checksum = sum(header[:148]) + 8 * 32 + sum(header[156:512])
    header[148:156] = b"%06o\0 " % checksum
    (place / "t").write_bytes(bytes(header) + bytes(1024))
    refused(place / "t", "'sparse' exceeds the limit")


def test_numbers_of_members_are_limited(place):
    archive = tar(place / "t", [entry(str(n), tarfile.DIRTYPE) for n in range(5)])
    refused(archive, "member '3' is beyond the limit of 3 members", Limits(members=3))
    archive = zipped(place / "z", {str(n): b"" for n in range(5)})
    refused(archive, "member '3' is beyond the limit of 3 members", Limits(members=3))


def test_headers_are_limited(place):
    """A compressed archive whose first header asks for a gigabyte of memory."""
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 1 << 30
    (place / "t").write_bytes(gzip.compress(info.tobuf() + bytes(1 << 20)))
    refused(place / "t", "a header has 1073741824 bytes")


def test_encrypted_members_are_refused(place):
    archive = zipped(place / "z", {"secret": b"data"})
    data = bytearray(archive.read_bytes())
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(bytes(data))
    refused(archive, "encrypted")


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_checksums_of_compressed_archives_are_compared(place, mode):
    """Those at the end of a stream, which a reader of tar does not reach by itself."""
    archive = tar(place / "t", [file("a", bytes(5000))], mode)
    data = bytearray(archive.read_bytes())
    data[{"w:gz": -8, "w:bz2": -4, "w:xz": -20}[mode]] ^= 1
    archive.write_bytes(bytes(data))
    refused(archive, "is damaged")


def test_bytes_after_the_last_member_are_limited(place):
    archive = tar(place / "t", [file("a")])
    archive.write_bytes(gzip.compress(archive.read_bytes() + bytes(1 << 25)))
    refused(archive, "there are bytes after its last member")


def test_members_without_a_name_are_refused(place):
    archive = zipped(place / "z", {"x": b""})
    data = archive.read_bytes()
    at = data.index(b"PK\x01\x02")
    directory = data[at : at + 28] + b"\0\0" + data[at + 30 : at + 46] + data[at + 47 :]
    end = directory.index(b"PK\x05\x06")
    size = (end).to_bytes(4, "little")
    archive.write_bytes(data[:at] + directory[: end + 12] + size + directory[end + 16 :])
    refused(archive, "is damaged")


@pytest.mark.parametrize(
    "data",
    [b"", b"PK", b"<html>" + bytes(600), gzip.compress(b"x" * 600, mtime=0)],
    ids=["empty", "short", "html", "gzip"],
)
def test_other_files_are_refused(place, data):
    (place / "t").write_bytes(data)
    refused(place / "t", "is damaged, or of a kind not known")


def test_the_last_bytes_must_be_there(place):
    archive = tar(place / "t", [file("a", bytes(5000))])
    archive.write_bytes(archive.read_bytes()[:3000])
    refused(archive, "is damaged")


WRITERS: dict[str, Callable[[Path], Path]] = {
    "zip": lambda path: zipped(path, FILES),
    **{
        mode: lambda path, mode=mode: tar(path, [file(*each) for each in FILES.items()], mode)
        for mode in ("w", "w:gz", "w:bz2", "w:xz")
    },
}


@pytest.mark.parametrize("kind", WRITERS)
def test_damaged_archives_raise_one_kind_of_error(place, kind):
    """Bytes are changed at random: what is extracted stays within limits, or nothing is left."""
    numbers = random.Random(0)
    good = WRITERS[kind](place / "good").read_bytes()
    failed = 0
    for n in range(150):
        data = bytearray(good)
        for _ in range(numbers.choice((1, 2, 10))):
            data[numbers.randrange(len(data))] = numbers.randrange(256)
        path = place / f"{n}"
        path.write_bytes(bytes(data[: numbers.choice((len(data), numbers.randrange(len(data))))]))
        try:
            extract(path, place / f"out{n}")
        except ArchiveError:
            failed += 1
            assert not (place / f"out{n}").exists()
    assert failed > 20
    names = {path.name for path in place.iterdir()}
    assert not {name for name in names if name.startswith(".")}


def test_decompressors_are_those_of_the_bytes(place):
    plain = tar(place / "t", [file("a")]).read_bytes()
    for n, compress in enumerate((gzip.compress, bz2.compress, lzma.compress)):
        (place / "misnamed.zip").write_bytes(compress(plain))
        assert content(extract(place / "misnamed.zip", place / f"out{n}")) == {"a": b"data"}
