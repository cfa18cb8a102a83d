"""A local server that answers as the GDC, cBioPortal and TCIA do, for six invented patients, and can misbehave."""

import copy
import json
import re
import socket
import threading
from collections import Counter, defaultdict
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.foundation.data.portals.recorded_content import GENES, PATIENTS, Content

STUDY = "luad_tcga_pan_can_atlas_2018"
Answer = Callable[["Recorded", dict[str, Any]], Any]


class Recorded(ThreadingHTTPServer):
    """The server; `with recorded(content) as portal`.

    Attributes:
        content: its own copy.
        answers: path → JSON, or what makes it of the query and body.
        asked: requests by path.
        faults: path → what is done to the next requests, in turn.
        page: most hits of one answer.
    """

    daemon_threads = True

    def __init__(self, content: Content) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content = copy.deepcopy(content)
        self.asked: Counter[str] = Counter()
        self.faults: dict[str, list[Callable[[_Handler], bool]]] = defaultdict(list)
        self.page = 4
        self.answers: dict[str, Any] = {
            "/gdc/status": {"data_release": "Data Release 99.0 - January 01, 2031", "status": "OK"},
            f"/cbio/studies/{STUDY}": {"studyId": STUDY, "importDate": "2031-01-02 03:04:05"},
            "/cbio/info": {"portalVersion": "7.0.0"},
            f"/cbio/sample-lists/{STUDY}_cna/sample-ids": [f"{patient}-01" for patient in PATIENTS[:5]],
            f"/cbio/studies/{STUDY}/molecular-profiles": [
                {
                    "molecularProfileId": f"{STUDY}_gistic",
                    "molecularAlterationType": "COPY_NUMBER_ALTERATION",
                    "datatype": "DISCRETE",
                }
            ],
            f"/cbio/molecular-profiles/{STUDY}_gistic/discrete-copy-number/fetch": _calls,
            "/cbio/genes/fetch": [{"entrezGeneId": key, "hugoGeneSymbol": name} for key, name in GENES.items()],
            f"/cbio/studies/{STUDY}/clinical-data": [
                {"patientId": patient, "value": "A" if index % 2 else "B"} for index, patient in enumerate(PATIENTS)
            ],
            "/tcia/getSeries": lambda server, _: server.content.series,
        }

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is part of the tests."""

    @property
    def settings(self) -> list[str]:
        """Overrides that lead the command here."""
        root = f"http://127.0.0.1:{self.server_port}"
        return [
            "project=TCGA-LUAD",
            f"portals.gdc={root}/gdc",
            f"portals.cbioportal={root}/cbio",
            f"portals.tcia={root}/tcia",
            "transfer.pause=0.01",
            "transfer.attempts=3",
            "transfer.timeout=10",
            "smallest_hospital=1",
            "smallest_series=2",
        ]

    @property
    def received(self) -> int:
        """Requests for files."""
        return sum(count for path, count in self.asked.items() if "/data/" in path or "getImage" in path)

    def file(self, kind: str, patient: str = PATIENTS[0]) -> dict[str, Any]:
        """The first listed file of a kind and patient."""
        return next(
            hit
            for hit in self.content.hits["files"]
            if hit["data_type"].startswith(kind) and hit["cases"][0]["submitter_id"] == patient
        )


class _Handler(BaseHTTPRequestHandler):
    server: Recorded
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Tests read no log."""

    def do_GET(self) -> None:
        self._answer({})

    def do_POST(self) -> None:
        self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def _answer(self, body: Any) -> None:
        parts = urlsplit(self.path)
        self.server.asked[parts.path] += 1
        if self.server.faults[parts.path] and self.server.faults[parts.path].pop(0)(self):
            return
        if match := re.fullmatch(r"/gdc/data/(.+)", parts.path):
            self.send_file(self.server.content.files[match[1]])
        elif parts.path == "/tcia/getImageWithMD5Hash":
            self.send_file(self.server.content.archives[parse_qs(parts.query)["SeriesInstanceUID"][0]], ranges=False)
        elif match := re.fullmatch(r"/gdc/(files|cases)", parts.path):
            self.send_json(_listed(self.server, match[1], body))
        elif parts.path in self.server.answers:
            answer = self.server.answers[parts.path]
            self.send_json(answer(self.server, body) if callable(answer) else answer)
        else:
            self.send_error(404)

    def send_json(self, content: Any) -> None:
        self.send(json.dumps(content).encode(), "application/json")

    def send_file(self, content: bytes, ranges: bool = True) -> None:
        """The file, or the range asked for."""
        start = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")) if ranges else None
        first = int(start[1]) if start else 0
        more = {"Content-Range": f"bytes {first}-{len(content) - 1}/{len(content)}"} if start else {}
        self.send(content[first:], "application/octet-stream", 206 if start else 200, more)

    def send(
        self, content: bytes, kind: str, status: int = 200, headers: dict[str, str] | None = None, cut: int = 0
    ) -> None:
        """A response; `cut` bytes short of what it announces."""
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content[: len(content) - cut])
        if cut:
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)


def status(code: int, **headers: str) -> Callable[[_Handler], bool]:
    """A fault: another status."""

    def fault(handler: _Handler) -> bool:
        handler.send(b"no", "text/plain", code, {name.replace("_", "-"): value for name, value in headers.items()})
        return True

    return fault


def says(content: bytes, kind: str = "application/json", cut: int = 0) -> Callable[[_Handler], bool]:
    """A fault: another answer."""

    def fault(handler: _Handler) -> bool:
        handler.send(content, kind, cut=cut)
        return True

    return fault


def well(_: _Handler) -> bool:
    """No fault, this time."""
    return False


class recorded:  # noqa: N801
    """The server, running while the block does."""

    def __init__(self, content: Content) -> None:
        self.server = Recorded(content)

    def __enter__(self) -> Recorded:
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))
        self.thread.start()
        return self.server

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


def _listed(server: Recorded, endpoint: str, body: dict[str, Any]) -> dict[str, Any]:
    wanted = {each["content"]["field"]: each["content"]["value"][0] for each in body["filters"]["content"]}
    plain = {name: value for name, value in wanted.items() if name in ("data_type", "experimental_strategy")}
    hits = [hit for hit in server.content.hits[endpoint] if all(hit[name] == value for name, value in plain.items())]
    start, size = body["from"], min(body["size"], server.page)
    return {"data": {"hits": hits[start : start + size], "pagination": {"total": len(hits), "from": start}}}


def _calls(_: Recorded, body: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "sampleId": sample,
            "patientId": sample[:12],
            "entrezGeneId": gene,
            "alteration": (int(sample[11]) + gene) % 5 - 2,
        }
        for sample in body["sampleIds"]
        for gene in GENES
    ]
