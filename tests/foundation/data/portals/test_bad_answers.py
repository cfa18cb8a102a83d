"""What portals can answer wrongly: each ends in one line, or passes at the next attempt; nothing half written."""

import json
import logging
from collections.abc import Callable

import pytest
from hydra.core.global_hydra import GlobalHydra

from foundation.data.portals.__main__ import main
from tests.foundation.data.portals.recorded import STUDY, Recorded, recorded, says, status, well

ALL = "modalities=[pathology,radiology,expression,mutations,copy_number,record]"
CALLS = f"/cbio/molecular-profiles/{STUDY}_gistic/discrete-copy-number/fetch"
Break = Callable[[Recorded], object]


def listed(kind: str, **changed: object) -> Break:
    return lambda server: server.file(kind).update(changed)


def replaced(kind: str, content: bytes) -> Break:
    """Another content, listed with its own size and digest."""

    def change(server: Recorded) -> None:
        hit = server.file(kind)
        server.content.files[hit["id"]] = content
        server.content.relist(hit)

    return change


def data(kind: str, *faults: object) -> Break:
    return lambda server: server.faults[f"/gdc/data/{server.file(kind)['id']}"].extend(faults)  # type: ignore[arg-type]


def at(path: str, *faults: object) -> Break:
    return lambda server: server.faults[path].extend(faults)  # type: ignore[arg-type]


def answers(path: str, content: object) -> Break:
    return lambda server: server.answers.update({path: content})


def archive(change: Callable[[bytes], bytes]) -> Break:
    return lambda server: server.content.archives.update({"1.2.3.0": change(server.content.archives["1.2.3.0"])})


BROKEN: dict[str, tuple[Break, tuple[str, ...]]] = {
    "no such project": (lambda server: server.content.hits.update(cases=[]), ("/gdc/cases", "no patient", "project")),
    "patients' list cut short": (at("/gdc/cases", *[says(b'{"data": {"hits": [')] * 3), ("/gdc/cases", "no JSON")),
    "web page for JSON": (at("/gdc/status", *[says(b"<html>Maintenance", "text/html")] * 3), ("/gdc/status", "web")),
    "field missing": (answers("/gdc/status", {"status": "OK"}), ("/gdc/status", "field data_release")),
    "field of another kind": (listed("Slide", file_size="big"), ("/gdc/files", "file_size")),
    "controlled file": (listed("Slide", access="controlled"), ("/gdc/files", "not open", "access")),
    "a name that leads out": (listed("Slide", file_name="../../x.svs"), ("/gdc/files", "no plain name", "file_name")),
    "wrong MD5": (listed("Slide", md5sum="0" * 32), ("/gdc/data/", "not the portal's", "expected 000")),
    "file of another size": (listed("Slide", file_size=5), ("/gdc/data/", "more than the 5 bytes")),
    "server failure that stays": (at("/gdc/status", *[status(500)] * 3), ("/gdc/status", "status 500", "3 times")),
    "forbidden": (data("Slide", status(403)), ("/gdc/data/", "status 403", "open files")),
    "not found": (at(f"/cbio/studies/{STUDY}", status(404)), (f"/cbio/studies/{STUDY}", "status 404", "study")),
    "asks to wait for an hour": (at("/gdc/status", status(429, Retry_After="3600")), ("/gdc/status", "3600 s")),
    "web page for a file": (data("Slide", *[says(b"<html>", "text/html")] * 3), ("/gdc/data/", "a web page came")),
    "no TPM column": (replaced("Gene", b"gene_id\ttpm\nENSG1\t1\n"), ("tsv", "tpm_unstranded", "no such column")),
    "negative TPM": (replaced("Gene", b"gene_id\ttpm_unstranded\nENSG1\t-1\n"), ("tsv", "ENSG1", "no TPM")),
    "another gene model": (replaced("Gene", b"gene_id\ttpm_unstranded\nENSG1\t1\n"), ("tsv", "gene", "genes")),
    "MAF cut off": (replaced("Masked", b"\x1f\x8b\x08\x00"), (".maf.gz", "not readable")),
    "MAF of somebody else": (
        replaced("Masked", b"Hugo_Symbol\tTumor_Sample_Barcode\nTP53\tTCGA-ZZ-9999-01A\n"),
        (".maf.gz", "another patient", "TCGA-ZZ-9999"),
    ),
    "MAF without barcode": (replaced("Masked", b"Hugo_Symbol\nTP53\n"), (".maf.gz", "Tumor_Sample_Barcode")),
    "calls of another sample": (
        answers(CALLS, [{"sampleId": "X-01", "patientId": "X", "entrezGeneId": 1956, "alteration": 0}]),
        ("fetch", "not the sample asked for", "sampleId"),
    ),
    "a call that is none": (
        answers(CALLS, [{"sampleId": "X-01", "patientId": "X", "entrezGeneId": 1956, "alteration": 7}]),
        ("fetch", "alteration", "7"),
    ),
    "no copy number profile": (answers(f"/cbio/studies/{STUDY}/molecular-profiles", []), ("no profile", "study")),
    "archive cut off": (archive(lambda content: content[:-100]), (".zip", "no ZIP archive")),
    "archive changed": (archive(lambda content: content.replace(b"DICM", b"DICN", 1)), (".zip",)),
    "archive lacks an image": (
        lambda server: server.content.series[0].update(ImageCount=7),
        (".zip", "6 DICOM files", "7"),
    ),
    "nothing of a modality": (lambda server: server.content.series.clear(), ("no patient has radiology", "modalities")),
}


@pytest.fixture
def portal(content):
    with recorded(content) as server:
        yield server


@pytest.fixture
def assemble(portal, tmp_path, monkeypatch, capsys):
    """Runs the command in this process: exit code and the last line of stderr."""

    def called(*more: str) -> tuple[int, str]:
        arguments = ["assemble", *portal.settings, f"output={tmp_path / 'luad'}", "transfer.threads=1", ALL, *more]
        monkeypatch.setattr("sys.argv", arguments)
        GlobalHydra.instance().clear()
        handlers = logging.root.handlers[:]
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        finally:
            GlobalHydra.instance().clear()
            logging.root.handlers[:] = handlers
        return code, capsys.readouterr().err.strip()

    return called


@pytest.mark.parametrize("name", BROKEN)
def test_a_bad_answer_is_one_line_and_no_cohort(name, portal, assemble, tmp_path):
    change, words = BROKEN[name]
    change(portal)
    code, said = assemble()
    assert code == 2
    assert said.count("\n") == 0 and said.startswith("error: "), said
    assert [word for word in words if word not in said] == [], said
    assert not any((tmp_path / "luad" / file).exists() for file in ("manifest.json", "cohort.yaml"))


PASSING: dict[str, Break] = {
    "a failure that passes": at("/gdc/status", status(503), status(502)),
    "asked to wait a moment": at("/gdc/cases", status(429, Retry_After="0")),
    "a connection cut in the middle of a slide": data("Slide", says(b"x" * 100, "application/octet-stream", cut=50)),
    "a connection cut in an answer": at("/gdc/files", well, says(b'{"data": []}', cut=5)),
    "an archive cut off once": at("/tcia/getImageWithMD5Hash", says(b"PK" * 100, "application/zip", cut=10)),
}


@pytest.mark.parametrize("name", PASSING)
def test_what_passes_is_tried_again(name, portal, assemble, tmp_path):
    PASSING[name](portal)
    assert assemble() == (0, "")
    assert len(json.loads((tmp_path / "luad" / "manifest.json").read_text())["files"]) > 20


def test_a_part_that_came_is_gone_on_with(portal, assemble):
    slide = portal.file("Slide")
    whole = portal.content.files[slide["id"]]
    ranges = []

    def cut(handler):
        handler.send(whole, "application/octet-stream", cut=len(whole) // 2)
        return True

    def note(handler):
        ranges.append(handler.headers.get("Range"))
        return False

    data("Slide", cut, note)(portal)
    assert assemble() == (0, "")
    (asked,) = ranges
    assert asked.startswith("bytes=") and 0 < int(asked[6:-1]) <= len(whole) - len(whole) // 2


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("project=LUAD", ("project", "TCGA-LUAD")),
        ("modalities=[slides]", ("modalities",)),
        ("patients=0", ("patients",)),
        ("study=no/such", ("study",)),
        ("portals.gdc=nowhere", ("no URL",)),
    ],
)
def test_a_selection_that_cannot_be_is_one_line(override, words, assemble):
    code, said = assemble(override)
    assert code == 2 and said.count("\n") == 0
    assert all(word in said for word in words), said


def test_a_folder_of_somebody_elses_is_not_written_to(assemble, tmp_path):
    (tmp_path / "luad").mkdir()
    (tmp_path / "luad" / "patients.csv").write_text("patient_id\n")
    code, said = assemble()
    assert code == 2 and "not written by this command" in said
    assert (tmp_path / "luad" / "patients.csv").read_text() == "patient_id\n"
