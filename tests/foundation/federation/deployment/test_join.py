"""A hospital that joins by itself: its key is made where it is used, and the operator admits it by its fingerprint."""

import json
import re
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from hydra import compose, initialize_config_module

from foundation.errors import UserError
from foundation.federation.deployment import admission, join, provision
from foundation.federation.deployment.admission import admit_request
from foundation.federation.deployment.control_client import Node, ServerFolder, UnreachableError
from foundation.federation.deployment.pki import read_public_key
from foundation.federation.deployment.requests import read_request, write_request
from foundation.federation.ledger.seal import read_private, read_public
from foundation.federation.site.config import Site

pytestmark = pytest.mark.attack
_ON_SM2 = """-----BEGIN CERTIFICATE REQUEST-----
MIHGMG4CAQAwDDEKMAgGA1UEAwwBeDBZMBMGByqGSM49AgEGCCqBHM9VAYItA0IA
BJeBjjQ8hflnZi9C7+eIGPxI4/nWdZu322WFNC5cXakVWd49TtNVQA0zqi0dM4ll
bldbD6Ad6YycGWan69JcDligADAKBggqgRzPVQGDdQNIADBFAiEA9+Pa81e8LrD2
Ty8mEIl+raqO7+w9TUPpTlRVOhduGRICIAFkQlVZSbLqxugLV9GgWgN280O6HkHn
JPZg7ecrkCVk
-----END CERTIFICATE REQUEST-----
"""  # a curve that the library does not know


def called(command: object, name: str, *overrides: str) -> None:
    with initialize_config_module("configs", version_base="1.3"):
        cfg = compose(name, list(overrides))
    command.main.__wrapped__(cfg)  # type: ignore[attr-defined]


@pytest.fixture
def federation(tmp_path: Path, small_cohort: Path) -> Path:
    called(provision, "provision", f"output={tmp_path / 'federation'}", "address=fed.org", f"dictionary={small_cohort}")
    return tmp_path / "federation"


@pytest.fixture
def server(federation: Path, monkeypatch: pytest.MonkeyPatch) -> ServerFolder:
    """The SuperLink's folder; it does not run."""

    def nobody(_: ServerFolder, operator_key: Path | None) -> None:
        raise UnreachableError("nobody")

    monkeypatch.setattr(admission, "connect", nobody)
    return ServerFolder.load(federation / "server")


def joined(federation: Path, home: Path, *more: str, site: str = "riverside") -> None:
    called(join, "join", f"site={site}", f"invitation={federation / 'invitation'}", f"output={home}", *more)


def mark(printed: str) -> str:
    (found,) = re.findall(r"by telephone: ([0-9a-f-]+)", printed)
    return str(found)


def test_a_hospital_makes_its_own_folder_and_no_key_of_it_lies_at_the_operators(
    federation: Path, server: ServerFolder, tmp_path: Path, small_cohort: Path, capsys: pytest.CaptureFixture[str]
):
    home = tmp_path / "site"
    joined(federation, home, f"data={small_cohort}")
    said = mark(capsys.readouterr().out)
    site = Site.load(home / "site.yaml")
    assert (site.name, site.data, site.key) == ("riverside", small_cohort, home / "node.key")
    assert (
        stat.S_IMODE((home / "node.key").stat().st_mode) == 0o600 and "fed.org:8000" in (home / "start.sh").read_text()
    )
    assert site.policy.approval == "owner"
    assert admit_request(server, home / "riverside.csr", said) == "riverside: admitted when the SuperLink starts"
    assert read_public(server.keys()["riverside"]) == read_private(home / "node.key").public_key()
    secrets = [path for path in federation.rglob("*") if path.is_file() and b"PRIVATE KEY" in path.read_bytes()]
    assert {path.name for path in secrets} == {"ca.key", "superlink.key"}


def test_attack_by_a_request_that_another_put_in_its_place(
    federation: Path, server: ServerFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    joined(federation, tmp_path / "site")
    said = mark(capsys.readouterr().out)
    forged = tmp_path / "forged.csr"
    write_request(forged, ec.generate_private_key(ec.SECP384R1()), "riverside")
    for fingerprint in (said, None, "", "0000-0000-0000-0000-0000"):
        with pytest.raises(UserError, match="fingerprint: not .* ask riverside by telephone"):
            admit_request(server, forged, fingerprint)
    assert server.keys() == {}


@pytest.mark.parametrize(
    "attack", ["a name that is a path", "an altered name", "another curve", "noise", "nothing", "a key"]
)
def test_attack_by_a_request_of(attack: str, server: ServerFolder, tmp_path: Path):
    path, key = tmp_path / "x.csr", ec.generate_private_key(ec.SECP384R1())
    said = write_request(path, key, "../../ca/x" if attack == "a name that is a path" else "riverside")
    content = path.read_bytes()
    match attack:
        case "an altered name":
            lines = content.splitlines()
            path.write_bytes(b"\n".join([lines[0], lines[1][:20] + b"AAAA" + lines[1][24:], *lines[2:]]))
        case "another curve":
            said = write_request(path, ec.generate_private_key(ec.SECP256R1()), "riverside")
        case "noise":
            path.write_bytes(b"\x00" * 500)
        case "nothing":
            path.unlink()
        case "a key":
            path.write_bytes(b"x" * 100_000)
    with pytest.raises(UserError) as refused:
        admit_request(server, path, said)
    assert "\n" not in str(refused.value).split("(")[0] and server.keys() == {}
    assert not list((server.path.parent / "ca").glob("x*"))


def test_a_key_that_is_rotated_takes_the_place_of_the_earlier_one_at_once(
    federation: Path, server: ServerFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch
):
    home, calls = tmp_path / "site", []
    joined(federation, home)
    admit_request(server, home / "riverside.csr", mark(capsys.readouterr().out))
    with pytest.raises(UserError, match="has a key already; rotate=true makes another"):
        joined(federation, home)
    (home / "policy.yaml").write_text("approval: rules\n")
    first = read_private(home / "node.key").public_key()
    joined(federation, home, "rotate=true")
    said = mark(capsys.readouterr().out)
    second = read_private(home / "node.key").public_key()
    assert first != second and read_private(home / "node.key.before").public_key() == first
    assert (home / "policy.yaml").read_text() == "approval: rules\n", "what the hospital decided stays"
    running = SimpleNamespace(
        nodes=lambda: [Node("riverside", "online", 7)],
        revoke=lambda site: calls.append(("revoke", site)),
        admit=lambda site, key: calls.append(("admit", site)),
    )
    monkeypatch.setattr(admission, "connect", lambda _, key: running)
    line = admit_request(server, home / "riverside.csr", said)
    assert line == "riverside: admitted from now on; its earlier key is refused"
    assert calls == [("revoke", "riverside"), ("admit", "riverside")]
    admit_request(server, home / "riverside.csr", said)
    assert len(calls) == 2 and read_public(server.keys()["riverside"]) == second


def test_a_cohort_is_held_to_the_federations_dictionary_field_by_field(
    federation: Path, tmp_path: Path, small_cohort: Path
):
    other = tmp_path / "cohort"
    other.mkdir()
    content = json.loads((small_cohort / "cohort.json").read_text())
    content["dictionary"]["expression_unit"] = "log2_cpm"
    (other / "cohort.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"its dictionary is not the federation's \(expression_unit differ\)"):
        joined(federation, tmp_path / "site", f"data={other}")
    assert not (tmp_path / "site").exists()


def test_what_is_no_invitation_is_one_line(tmp_path: Path):
    with pytest.raises(UserError, match="give the invitation folder"):
        joined(tmp_path, tmp_path / "site")
    with pytest.raises(UserError, match="site: not given"):
        called(join, "join", f"output={tmp_path / 'site'}")


def test_a_request_says_its_name_and_holds_its_key(tmp_path: Path):
    key = ec.generate_private_key(ec.SECP384R1())
    write_request(tmp_path / "a.csr", key, "riverside")
    assert read_request(tmp_path / "a.csr") == ("riverside", key.public_key())


def test_keys_of_other_kinds_are_one_line(tmp_path: Path):
    (tmp_path / "other.csr").write_text(_ON_SM2)
    with pytest.raises(UserError, match=r"no certificate request \(Curve"):
        read_request(tmp_path / "other.csr")
    (tmp_path / "other.pub").write_text("ssh-foo AAAAB3NzaC1 x")
    for read in (read_public, read_public_key):
        with pytest.raises(UserError, match="no public key can be read"):
            read(tmp_path / "other.pub")
    key = ec.generate_private_key(ec.SECP384R1())
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    (tmp_path / "node.key").write_bytes(locked)
    with pytest.raises(UserError, match=r"no private key can be read \(Password"):
        read_private(tmp_path / "node.key")


@pytest.mark.parametrize("address", ["fed.org", '}"; touch owned; "${X:-fed.org:1', "$(id):8000", "fed.org:8000\n"])
def test_attack_by_an_invitation_whose_address_is_a_program(federation: Path, tmp_path: Path, address: str):
    (federation / "invitation" / "federation.yaml").write_text(json.dumps({"superlink": address}))
    with pytest.raises(UserError, match="superlink: no host:port"):
        joined(federation, tmp_path / "site")
    assert not (tmp_path / "site").exists()


def test_a_key_is_rotated_under_the_folders_own_name(federation: Path, tmp_path: Path):
    home = tmp_path / "site"
    joined(federation, home)
    first = (home / "node.key").read_bytes()
    with pytest.raises(UserError, match="is the folder of riverside, not of lakeside; say site=riverside"):
        joined(federation, home, "rotate=true", site="lakeside")
    assert (home / "node.key").read_bytes() == first and not (home / "lakeside.csr").exists()
