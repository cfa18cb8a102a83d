"""De-identification: hashes that need the key, a key that others cannot read, identifiers found and masked."""

import hashlib
import hmac
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foundation.data.deidentify import keyed_hash, read_or_make_key
from foundation.data.identifiers import KINDS, mask_text, scan_text
from foundation.data.problems import DataError
from foundation.errors import UserError

KEY = bytes(range(32))


def test_a_hash_is_the_keyed_digest_of_the_id() -> None:
    digest = hmac.new(KEY, b"TCGA-02-0001", hashlib.sha256).hexdigest()
    assert keyed_hash(["TCGA-02-0001"], KEY) == [f"P-{digest[:16]}"]
    assert keyed_hash(["TCGA-02-0001"], KEY, "site", 64) == [f"site-{digest}"]
    assert keyed_hash(["TCGA-02-0001"], KEY[::-1]) != keyed_hash(["TCGA-02-0001"], KEY)


@given(st.lists(st.text(), max_size=20))
def test_same_ids_same_hashes_and_other_ids_other_hashes(ids: list[str]) -> None:
    hashes = keyed_hash(ids, KEY)
    assert len(hashes) == len(ids)
    assert {(ids.index(name)) for name in ids} == {hashes.index(name) for name in hashes}


def test_a_collision_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Same:
        def hexdigest(self) -> str:
            return "0" * 64

    monkeypatch.setattr(hmac, "new", lambda *_: Same())
    with pytest.raises(UserError, match="two patient ids get one hash"):
        keyed_hash(["a", "b"], KEY)
    assert len(keyed_hash(["a", "a"], KEY)) == 2


def test_short_keys_and_hashes_are_defects() -> None:
    with pytest.raises(ValueError, match="the key has 3 bytes"):
        keyed_hash(["a"], b"abc")
    with pytest.raises(ValueError, match="digits=8"):
        keyed_hash(["a"], KEY, digits=8)


def test_the_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "site.key"
    key = read_or_make_key(path, tmp_path / "packed")
    assert len(key) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_or_make_key(path) == key
    assert [file.name for file in tmp_path.iterdir()] == ["site.key"]
    assert read_or_make_key(tmp_path / "other.key") != key


def holding(content: bytes, mode: int = 0o600) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        path = folder / "site.key"
        path.write_bytes(content)
        path.chmod(mode)
        return path

    return build


def inside(folder: Path) -> Path:
    (folder / "packed").mkdir()
    return folder / "packed" / ".." / "packed" / "site.key"


def a_folder(folder: Path) -> Path:
    (folder / "site.key").mkdir(mode=0o700)
    return folder / "site.key"


HEX = KEY.hex().encode()
CORRUPT: dict[str, tuple[Callable[[Path], Path], str]] = {
    "group reads": (holding(HEX, 0o640), r"site\.key: others may read the key \(mode 0640\); run: chmod 600"),
    "world reads": (holding(HEX, 0o604), r"site\.key: others may read the key \(mode 0604\)"),
    "world writes": (holding(HEX, 0o602), r"others may read the key \(mode 0602\)"),
    "empty": (holding(b""), r"site\.key: holds no key: 0 characters"),
    "short": (holding(HEX[:-2]), r"site\.key: holds no key: 62 characters"),
    "long": (holding(HEX + b"00"), r"site\.key: holds no key: 66 characters"),
    "not hexadecimal": (holding(b"g" * 64), r"site\.key: holds no key"),
    "two lines": (holding(HEX[:32] + b"\n" + HEX[32:]), r"site\.key: holds no key"),
    "raw bytes": (holding(bytes(range(200, 232))), r"site\.key: holds no key"),
    "in the output": (inside, r"site\.key: the key lies where the cohort is packed"),
    "a folder": (a_folder, r"site\.key: no file"),
    "no folder": (lambda folder: folder / "none" / "site.key", r"site\.key: the key cannot be written"),
}


@pytest.mark.parametrize(("build", "line"), CORRUPT.values(), ids=CORRUPT)
def test_a_damaged_key_is_refused_and_never_shown(tmp_path: Path, build: Callable[[Path], Path], line: str) -> None:
    path = build(tmp_path)
    with pytest.raises(DataError, match=line) as caught:
        read_or_make_key(path, tmp_path / "packed")
    assert "\n" not in str(caught.value)
    assert HEX.decode()[:8] not in str(caught.value)
    assert not [name for _, _, files in os.walk(tmp_path) for name in files if name != "site.key"]


FOUND = {
    "DATE": [
        "2019-03-12",
        "2019-03-12T10:00:00Z",
        "2019/03/12",
        "20190312",
        "12/03/2019",
        "3/12/19",
        "12.03.2019",
        "1.2.2019",
        "12-03-2019",
        "03/2019",
        "3 March 2019",
        "3rd of March, 2019",
        "March 3, 2019",
        "MAR 2019",
        "03-Mar-2019",
        "3. März 2019",
        "12 de mayo de 2020",
        "March 3rd",
    ],
    "PHONE": ["+1 555-123-4567", "(555) 123-4567", "555-123-4567", "+49 30 1234567", "030 1234567"],
    "EMAIL": ["jane.doe+x@mail.hospital.org"],
    "URL": ["https://hospital.org/a?b=1", "www.hospital.de"],
    "IP": ["192.168.1.10"],
    "SSN": ["123-45-6789"],
    "ZIP": ["02139-4307"],
    "RECORD": ["S19-12345", "1234567890"],
}


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in FOUND.items() for text in texts])
def test_identifiers_are_found_whole(kind: str, text: str) -> None:
    sentence = f"Seen on {text}, then sent on."
    findings = scan_text(pd.Series({"p": sentence}))
    assert findings.to_numpy().tolist() == [["p", kind, 8, 8 + len(text)]]


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("MRN: 123456", "MRN: [RECORD]"),
        ("Medical record number 0012", "Medical record number [RECORD]"),
        ("Case no. 19-123 received", "Case no. [RECORD] received"),
        ("Patient ID AB1234", "Patient ID [RECORD]"),
        ("Fall-Nr. 2019/1234", "Fall-Nr. [RECORD]"),
        ("Tel. 555 1234", "Tel. [PHONE]"),
        ("Fax: 5551234567", "Fax: [PHONE]"),
        ("a 92-year-old man", "a [AGE]-year-old man"),
        ("aged 95.", "aged [AGE]."),
        ("Age: 101, male", "Age: [AGE], male"),
        ("93 y/o woman", "[AGE] y/o woman"),
        ("Dr. Smith agrees", "Dr. [NAME] agrees"),
        ("Prof. Dr. med. Jean-Luc O'Neil", "Prof. Dr. med. [NAME]"),
        ("Patient name: JANE DOE Age 40", "Patient name: [NAME] Age 40"),
        ("Name: Doe, Jane\nG2", "Name: [NAME]\nG2"),
        ("Pathologist: A. B. Clark", "Pathologist: [NAME]"),
        ("Frau Müller", "Frau [NAME]"),
        (
            "Mrs. Jones, MRN 12345, born 1/2/1950, call 555-123-4567.",
            "Mrs. [NAME], MRN [RECORD], born [DATE], call [PHONE].",
        ),
    ],
)
def test_identifiers_are_masked_and_their_labels_stay(text: str, masked: str) -> None:
    assert mask_text(pd.Series([text])).tolist() == [masked]


MEDICAL = [
    "The tumour measures 3 x 2 x 12 cm.",
    "Metastases in 10/14 nodes, pT2 pN1a (3/14) M0, G2, stage IIIA.",
    "HER2 2+, Ki-67 20 %, ER 90%, PR 80%, HER-2/neu negative.",
    "Mitoses 5/10 HPF; 12 per 10 HPF; 5/10/50 HPF.",
    "ICD-O 8500/3, ICD-10 C50.9, SNOMED 44054006.",
    "EGFR c.2573T>G, p.L858R at chr7:55249071, rs121913529, hg19, exon 19.",
    "ENSG00000146648, NM_005228.3, IDH1 R132H, BRAF V600E, 1p/19q codeleted.",
    "CD3/CD20/Ki67, CK7/CK20, clones SP142 and 22C3, MIB-1 12-15%.",
    "Gleason 3+4=7, score 12/20, grade 2 of 3, IHC 3/4/5.",
    "An 89-year-old man; weight 95 kg; 95% of cells; 90 years survival.",
    "Blocks A1-A12, sections 10-12-14 mm, 2.3.1, 0.5-1.2, 8.5 x 11 x 2.",
    "The margin may be 3 mm. Case 1 of 3. Sample TCGA-02-0001.",
    "Patient: alive. The patient no longer smokes. In 2019.",
    "Read depth 1,200,000 reads, titres 200-300-400, 1-2-3.",
    "MR imaging, MS lesions, CT of the name of the organ.",
]


@pytest.mark.parametrize("text", MEDICAL)
def test_measurements_and_genes_are_left_alone(text: str) -> None:
    assert scan_text(pd.Series([text])).to_numpy().tolist() == []
    assert mask_text(pd.Series([text])).tolist() == [text]


def test_kinds_can_be_chosen_and_missing_texts_stay_missing() -> None:
    texts = pd.Series({"a": "Dr. Smith, 1/2/1950", "b": None})
    assert mask_text(texts, ["DATE"])["a"] == "Dr. Smith, [DATE]"
    assert mask_text(texts).isna().tolist() == [False, True]
    assert scan_text(texts, ["NAME"])["kind"].tolist() == ["NAME"]


PIECES = [
    *(text for texts in FOUND.values() for text in texts),
    *("Dr. ", "Mr ", "Smith", "MRN: ", "Case no. ", "Tel ", "Age ", "95", "March", "Name: ", "[DATE]", "[NAME]"),
    *(" ", ". ", "/", "-", ":", ",", "@", "+", "(", ")", "1", "23", "2019", "a", "x", "\n", "www.", "y/o"),
]


@settings(max_examples=300)
@given(st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=3)), max_size=12))
def test_masking_leaves_nothing_to_mask(parts: list[str]) -> None:
    masked = mask_text(pd.Series(["".join(parts)]))
    assert scan_text(masked).empty
    assert mask_text(masked).equals(masked)


@given(st.lists(st.sampled_from(PIECES), max_size=12))
def test_findings_do_not_overlap(parts: list[str]) -> None:
    text = " ".join(parts)
    findings = scan_text(pd.Series([text])).sort_values("start")
    assert (findings["start"].to_numpy()[1:] >= findings["end"].to_numpy()[:-1]).all()
    assert (findings["end"] <= len(text)).all()
    assert set(findings["kind"]) <= set(KINDS)
