"""Transfer from a portal: answers in JSON and files, checked before they get their names.

What was received is kept and not asked for again, so that a run that was killed goes on where it stopped, and one whose
files are all there needs no network.
"""

import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from rich.progress import Progress, TaskID

from foundation.data.portals.attempts import PassingError, StoppedError, plain_url
from foundation.data.portals.connection import Connection
from foundation.data.portals.manifest import Entry, Manifest, digest_file
from foundation.data.problems import refuse, refuse_invalid
from foundation.files import replacing

RESPONSES = "downloads/responses"
_CHUNK = 1 << 18
_LONGEST_ANSWER = 1 << 29
Answer = TypeVar("Answer")
Item = TypeVar("Item")


@dataclass(frozen=True)
class Download:
    """A file to be received.

    Args:
        url: of it.
        path: in the cohort's folder.
        kind: modality.
        portal: that has it.
        id: by which the portal knows it.
        patient: whose it is.
        bytes: its size; None where the portal does not say.
        md5: its digest; empty where the portal gives none.
        most: bytes beyond which it is not received, where the size is not known.
    """

    url: str
    path: str
    kind: str
    portal: str
    id: str
    patient: str
    bytes: int | None
    md5: str
    most: int = 0

    def entry(self, size: int, sha256: str) -> Entry:
        """Its line in the manifest, once it is here."""
        fields = ("path", "kind", "portal", "url", "id", "patient", "md5")
        return Entry(**{name: getattr(self, name) for name in fields}, bytes=size, sha256=sha256)


class Transfer:
    """Asks portals, and receives files, several at a time.

    Args:
        manifest: of the cohort's folder.
        connection: to the portals.
        threads: files received at a time.
        refresh: whether answers that were kept are asked for again.
    """

    def __init__(self, manifest: Manifest, connection: Connection, threads: int, refresh: bool) -> None:
        self.manifest = manifest
        self.folder = manifest.folder
        self.threads = threads
        self._connection, self._refresh = connection, refresh

    def ask(
        self,
        portal: str,
        url: str,
        shape: type[Answer],
        params: dict[str, str] | None = None,
        body: Any = None,
        empty: bytes = b"",
    ) -> Answer:
        """A portal's answer in JSON; the one that was kept, if there is one.

        Args:
            portal: that is asked.
            url: without query.
            shape: that the answer must have.
            params: of the query.
            body: posted as JSON; a plain GET if None.
            empty: what an empty answer stands for.

        Raises:
            DataError: naming the URL, and what was found instead of such an answer.
        """
        asked = json.dumps([url, params, body], sort_keys=True)
        path = f"{RESPONSES}/{portal}/{hashlib.sha256(asked.encode()).hexdigest()[:32]}.json.gz"
        adapter = TypeAdapter[Answer](shape)
        if not self._refresh and self.manifest.holds(path):
            return _parse(adapter, _unzip(self.folder / path), url)

        def once(_: int) -> tuple[bytes, Answer]:
            content = self._answer(url, params, body) or empty
            return content, _parse(adapter, content, url)

        content, answer = self._connection.attempts.make(url, once)
        with replacing(self.folder / path) as new:
            new.write_bytes(gzip.compress(content, mtime=0))
            size, digest = digest_file(new)
            self.manifest.add(
                Entry(path=path, kind="answer", portal=portal, url=url, id=asked[:500], bytes=size, sha256=digest)
            )
        return answer

    def fetch(self, wanted: Download, bars: Progress | None = None, task: TaskID | None = None) -> Path:
        """Receives a file, unless it is there already; a part that was received is gone on with.

        Raises:
            DataError: naming the URL, if the file cannot be had, or is not what the portal says it is.
        """
        path = self.folder / wanted.path
        if self.manifest.holds(wanted.path, wanted.md5):
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.part")
        if path.exists() and not part.exists():
            os.replace(path, part)  # of an unknown past, or damaged: checked like any part, received anew if wrong

        def once(_: int) -> Entry:
            try:
                return self._receive(wanted, part, bars, task)
            except OSError as error:
                raise refuse(part, str(error.strerror or error), "make room, or give another output") from error

        self.manifest.add(self._connection.attempts.make(wanted.url, once))
        os.replace(part, path)
        return path

    def each(self, work: Callable[[Item], object], items: Iterable[Item]) -> None:
        """Does the work on all items, several at a time; stops all at the first that fails.

        Raises:
            DataError: of the item that failed.
        """
        with ThreadPoolExecutor(self.threads) as pool:
            futures = [pool.submit(work, item) for item in items]
            try:
                wait(futures, return_when=FIRST_EXCEPTION)
            finally:
                if any(not future.done() or future.exception() for future in futures):
                    self._connection.attempts.stop.set()
                    pool.shutdown(cancel_futures=True)
        errors = [error for future in futures if not future.cancelled() and (error := future.exception())]
        for error in sorted(errors, key=lambda error: isinstance(error, StoppedError)):
            raise error

    def _answer(self, url: str, params: dict[str, str] | None, body: Any) -> bytes:
        content = bytearray()
        with self._connection.open(url, params=params, json=body) as response:
            for chunk in self._connection.chunks(response):
                content += chunk
                if len(content) > _LONGEST_ANSWER:
                    finding = f"an answer of more than {_LONGEST_ANSWER:,} bytes"
                    raise refuse(plain_url(url), finding, "ask for fewer patients at a time")
        return bytes(content)

    def _receive(self, wanted: Download, part: Path, bars: Progress | None, task: TaskID | None) -> Entry:
        # Without digest nothing tells whether a part belongs to what would follow it.
        start = part.stat().st_size if part.exists() and wanted.md5 else 0
        if wanted.bytes is None or start < wanted.bytes:
            self._append(wanted, part, start, bars, task)
        md5, sha256, size = _digests(part)
        if (wanted.bytes is not None and size != wanted.bytes) or (wanted.md5 and md5 != wanted.md5):
            if wanted.bytes is not None and size < wanted.bytes:
                raise PassingError(f"{size:,} of {wanted.bytes:,} bytes came", "try again; what came is kept")
            part.unlink()
            raise PassingError(
                f"received bytes are not the portal's (MD5 {md5}, expected {wanted.md5}; {size:,} bytes)",
                "try again later; report it to the portal if it stays so",
            )
        return wanted.entry(size, sha256)

    def _append(self, wanted: Download, part: Path, start: int, bars: Progress | None, task: TaskID | None) -> None:
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
        most = wanted.most if wanted.bytes is None else wanted.bytes
        with self._connection.open(wanted.url, headers=headers) as response:
            if response.status_code == 206 and not response.headers.get("Content-Range", "").startswith(
                f"bytes {start}-"
            ):
                raise PassingError("another range came than was asked for", "try again later")
            if response.headers.get("Content-Type", "").startswith("text/html"):
                raise PassingError("a web page came instead of the file", "try again later; the portal may be closed")
            size = start if response.status_code == 206 else 0
            with part.open("ab" if size else "wb") as file:
                for chunk in self._connection.chunks(response):
                    size += len(chunk)
                    if size > most:
                        file.close()
                        part.unlink()
                        raise PassingError(f"more than the {most:,} bytes that it should be came", "try again later")
                    file.write(chunk)
                    if bars is not None and task is not None:
                        bars.advance(task, len(chunk))


def _parse(adapter: TypeAdapter[Answer], content: bytes, url: str) -> Answer:
    if content.lstrip()[:1] == b"<":
        raise PassingError("a web page came instead of JSON", "try again later; the portal may be closed")
    try:
        return adapter.validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            raise PassingError(f"no JSON, or cut off ({first['msg']})", "try again later") from error
        raise refuse_invalid(plain_url(url), error, "the portal's interface may have changed: report it") from error


def _unzip(path: Path) -> bytes:
    try:
        return gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise refuse(path, "damaged", "remove it; it is asked for again") from error


def _digests(path: Path) -> tuple[str, str, int]:
    md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            md5.update(chunk)
            sha256.update(chunk)
    return md5.hexdigest(), sha256.hexdigest(), path.stat().st_size
