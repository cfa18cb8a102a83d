"""The audit trail: what stands in it, what does not, and that no edit of it goes unseen."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from foundation.errors import UserError
from serve.monitoring.audit import FILE, AuditTrail, verify

BODY = b'{"report": "Kryptonite", "record": {"age": 61}}'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    trail = AuditTrail(tmp_path, "abc")
    for place in range(4):
        trail.add("clinic", f"case-{place}", BODY, 200)
    trail.add(None, "made", b"", 401)
    trail.close()
    return tmp_path


def lines(folder: Path) -> list[bytes]:
    return (folder / FILE).read_bytes().splitlines(keepends=True)


def test_trail_says_who_asked_what_when_and_nothing_of_a_patient(folder: Path):
    entry = json.loads(lines(folder)[1])
    trail = AuditTrail(folder, "abc")
    assert {name: entry[name] for name in ("index", "caller", "version", "status")} == {
        "index": 1,
        "caller": "clinic",
        "version": "abc",
        "status": 200,
    }
    assert entry["input"] == trail.mac(BODY) and entry["request"] == trail.mac(b"case-1")
    text = (folder / FILE).read_text()
    assert "case-1" not in text and "ryptonite" not in text
    assert all(path.stat().st_mode & 0o077 == 0 for path in (folder / FILE, folder / "audit.key"))


def test_trail_goes_on_where_it_ended(folder: Path):
    with (folder / FILE).open("ab") as stream:
        stream.write(b'{"index": 5, "unfin')  # a crash
    trail = AuditTrail(folder, "def")
    trail.add("clinic", "later", b"", 200)
    trail.close()
    assert verify(folder)[0] == 6
    assert json.loads(lines(folder)[5])["version"] == "def"


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from serve.monitoring.audit import FILE, AuditTrail
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
folder = Path(sys.argv[1])
trail = AuditTrail(folder, "abc")
resource.setrlimit(resource.RLIMIT_FSIZE, ((folder / FILE).stat().st_size + 100, resource.RLIM_INFINITY))
try:
    trail.add("clinic", "no room", b"", 200)
    sys.exit("there was room")
except OSError:
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
trail.add("clinic", "room again", b"", 200)
trail.close()
"""


def test_trail_goes_on_after_a_full_disk(folder: Path):
    subprocess.run([sys.executable, "-c", FULL_DISK, str(folder)], check=True)
    assert verify(folder)[0] == 6


@pytest.mark.parametrize("place", range(5))
def test_no_edit_of_a_line_goes_unseen(folder: Path, place: int):
    original = lines(folder)
    edits = [
        original[:place] + original[place + 1 :],
        [*original[:place], original[place], *original[place:]],
        [*original[:place], original[place].replace(b'"status": ', b'"status":  '), *original[place + 1 :]],
        [*original[:place], original[place].replace(b"abc", b"abd"), *original[place + 1 :]],
        [*original[:place], b"[]\n", *original[place + 1 :]],
        [*original[:place], b"\xff\n", *original[place + 1 :]],
        original[:place],
    ]
    for edit in edits:
        (folder / FILE).write_bytes(b"".join(edit))
        with pytest.raises(UserError, match=r"audit\.jsonl"):
            verify(folder)
        with pytest.raises(UserError):
            AuditTrail(folder, "abc")
    (folder / FILE).write_bytes(b"".join(original))
    assert verify(folder)[0] == 5


@pytest.mark.parametrize("left", [("audit.key",), ("audit.jsonl.head",), ("audit.key", "audit.jsonl.head")])
def test_a_trail_that_was_deleted_is_no_new_one(folder: Path, left: tuple[str, ...]):
    for path in list(folder.iterdir()):
        if path.name not in left:
            path.unlink()
    for attempt in (lambda: AuditTrail(folder, "abc"), lambda: verify(folder)):
        with pytest.raises(UserError, match=r"audit\.jsonl: missing, though .*audit\."):
            attempt()
    assert {path.name for path in folder.iterdir()} == set(left)


def test_a_trail_without_its_key_is_not_gone_on_with(folder: Path):
    (folder / "audit.key").unlink()
    with pytest.raises(UserError, match=r"audit\.key: missing, by which the digests of audit\.jsonl were made"):
        AuditTrail(folder, "abc")


def test_no_trail_is_one_line(tmp_path: Path):
    with pytest.raises(UserError, match="no audit trail was kept there"):
        verify(tmp_path)
