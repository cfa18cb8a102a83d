"""An archive of images, unpacked where nothing in it can reach further than its folder."""

import csv
import hashlib
import io
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from foundation.data.problems import refuse

HASHES = "md5hashes.csv"
_AGAIN = "start again, it is received anew; report it to the portal if it stays so"
_CHUNK = 1 << 20


def unpack(archive: Path, folder: Path, count: int, most: int) -> None:
    """Unpacks the DICOM files of an archive, each checked by the archive's CRC and, where it lists them, MD5.

    Args:
        archive: ZIP.
        folder: made; empty before.
        count: DICOM files that must be in it.
        most: bytes that all of them may have.

    Raises:
        DataError: if it is no whole archive, would write outside of the folder or too much, or lacks a file.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [member for member in opened.infolist() if not member.is_dir()]
            for member in members:
                _check_name(archive, member)
            images = [member for member in members if member.filename.lower().endswith(".dcm")]
            _check_amount(archive, images, count, most)
            hashes = _hashes(archive, opened, members)
            folder.mkdir(parents=True)
            for member in images:
                _write(archive, opened, member, folder, hashes)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        raise refuse(archive, f"no ZIP archive, or damaged ({error})", _AGAIN) from error
    except OSError as error:
        raise refuse(folder, str(error.strerror or error), "make room, or give another output") from error


def _check_name(archive: Path, member: zipfile.ZipInfo) -> None:
    name = PurePosixPath(member.filename)
    if name.is_absolute() or ".." in name.parts or "\\" in member.filename or ":" in member.filename:
        raise refuse(archive, "a name that leads out of the archive's folder", _AGAIN, value=member.filename)
    if stat.S_ISLNK(member.external_attr >> 16):
        raise refuse(archive, "a link instead of a file", _AGAIN, value=member.filename)


def _check_amount(archive: Path, images: list[zipfile.ZipInfo], count: int, most: int) -> None:
    names = [PurePosixPath(image.filename).name for image in images]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise refuse(archive, "two files of one name", _AGAIN, value=twice)
    if len(images) != count:
        raise refuse(archive, f"{len(images)} DICOM files where the portal names {count}", _AGAIN, field="ImageCount")
    size = sum(image.file_size for image in images)
    if size > most:
        raise refuse(archive, f"unpacks to {size:,} bytes, more than {most:,}", _AGAIN, field="FileSize")


def _hashes(archive: Path, opened: zipfile.ZipFile, members: list[zipfile.ZipInfo]) -> dict[str, str]:
    listed = [member for member in members if PurePosixPath(member.filename).name == HASHES]
    if not listed:
        return {}
    if listed[0].file_size > _CHUNK * 64:
        raise refuse(archive, "too long a list of digests", _AGAIN, value=HASHES)
    text = opened.read(listed[0]).decode("utf-8", errors="replace")
    rows = [row for row in csv.reader(io.StringIO(text)) if len(row) == 2]
    return {PurePosixPath(row[0].strip()).name: row[1].strip().lower() for row in rows[1:]}


def _write(
    archive: Path, opened: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path, hashes: dict[str, str]
) -> None:
    name = PurePosixPath(member.filename).name
    digest = hashlib.md5(usedforsecurity=False)
    with opened.open(member) as source, (folder / name).open("xb") as target:
        while chunk := source.read(_CHUNK):
            digest.update(chunk)
            target.write(chunk)
    if hashes and hashes.get(name) != digest.hexdigest():
        expected = hashes.get(name, "none is listed")
        raise refuse(archive, f"MD5 of {name} is {digest.hexdigest()}, expected {expected}", _AGAIN, field=HASHES)
