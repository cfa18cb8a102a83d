"""A provisioned federation: certificates that verify, keys that stay apart, folders that commands can read."""

import asyncio
import ipaddress
import socket
import ssl
import stat
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_private_key
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError
from hydra import compose, initialize_config_module

from foundation.errors import UserError
from foundation.federation.deployment import provision
from foundation.federation.deployment.app_bundle import check_bundle, write_bundle
from foundation.federation.deployment.command_gate import SitesStayOutside
from foundation.federation.deployment.control_client import ServerFolder, check_connection
from foundation.federation.deployment.pki import read_public_key, write_authority, write_certificate, write_node_key
from foundation.federation.deployment.registration import only_one
from foundation.federation.policy import SitePolicy
from foundation.federation.site.config import Site


def provisioned(folder: Path, *overrides: str) -> Path:
    with initialize_config_module("configs", version_base="1.3"):
        cfg = compose("provision", [f"output={folder / 'federation'}", *overrides])
    provision.main.__wrapped__(cfg)
    return folder / "federation"


@pytest.fixture(scope="module")
def federation(tmp_path_factory) -> Path:
    overrides = ["sites=[riverside,northgate]", "address=superlink.example.org", "hosts=[10.1.2.3]", "data=somewhere"]
    return provisioned(tmp_path_factory.mktemp("provision"), *overrides)


def certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def verify(federation: Path, subject: x509.GeneralName, authority: Path | None = None) -> None:
    store = Store([certificate((authority or federation / "ca") / "ca.pem")])
    verifier = PolicyBuilder().store(store).time(datetime.now(UTC)).build_server_verifier(subject)
    verifier.verify(certificate(federation / "server" / "superlink.pem"), [])


@pytest.mark.parametrize("name", ["superlink.example.org", "localhost"])
def test_the_authority_vouches_for_the_names_that_were_given(federation, name):
    verify(federation, x509.DNSName(name))


@pytest.mark.parametrize("address", ["10.1.2.3", "127.0.0.1"])
def test_and_for_the_addresses(federation, address):
    verify(federation, x509.IPAddress(ipaddress.ip_address(address)))


def test_but_for_no_other_name_and_under_no_other_authority(federation, tmp_path):
    with pytest.raises(VerificationError):
        verify(federation, x509.DNSName("elsewhere.example.org"))
    write_authority(tmp_path, "other", 30)
    with pytest.raises(VerificationError):
        verify(federation, x509.DNSName("localhost"), tmp_path)


def test_the_certificate_of_a_site_could_sign_nothing(federation):
    found = certificate(federation / "server" / "superlink.pem").extensions
    assert not found.get_extension_for_class(x509.BasicConstraints).value.ca
    assert certificate(federation / "ca" / "ca.pem").extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_secrets_are_for_their_owner_alone_and_lie_in_one_place(federation):
    secrets = [path for path in federation.rglob("*") if path.suffix in (".key", ".secret")]
    assert sorted(path.relative_to(federation).as_posix() for path in secrets) == [
        "ca/ca.key",
        "server/superlink.key",
        "sites/northgate/node.key",
        "sites/northgate/runtime.secret",
        "sites/riverside/node.key",
        "sites/riverside/runtime.secret",
    ]
    assert {stat.S_IMODE(path.stat().st_mode) for path in secrets} == {0o600}
    assert len({path.read_bytes() for path in secrets}) == len(secrets)


def test_the_server_knows_each_site_by_its_own_key(federation):
    keys = ServerFolder.load(federation / "server").keys()
    assert list(keys) == ["northgate", "riverside"]
    for name, path in keys.items():
        private = load_ssh_private_key((federation / "sites" / name / "node.key").read_bytes(), None)
        public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        assert read_public_key(path) == public


def test_a_site_folder_is_read_as_it_is(federation):
    site = Site.load(federation / "sites" / "riverside" / "site.yaml")
    assert (site.name, site.data) == ("riverside", Path("somewhere").resolve())
    assert site.ledger == (federation / "sites" / "riverside" / "ledger.jsonl").resolve()
    assert site.policy == SitePolicy.load(federation / "sites" / "riverside" / "policy.yaml")
    assert site.policy.patients.training > 1, "a hospital starts from the template, not from the defaults"


@pytest.mark.parametrize("script", ["server/start.sh", "sites/riverside/start.sh"])
def test_start_scripts_run_and_name_their_settings(federation, script):
    path = federation / script
    assert stat.S_IMODE(path.stat().st_mode) == 0o755
    subprocess.run(["bash", "-n", str(path)], check=True)
    if "sites" in script:
        assert "superlink.example.org:8000" in path.read_text()


def test_a_second_call_adds_a_site_and_keeps_every_key(tmp_path):
    before = provisioned(tmp_path, "sites=[riverside]")
    kept = {path: path.read_bytes() for path in before.rglob("*") if path.name in ("ca.key", "ca.pem", "node.key")}
    provisioned(tmp_path, "sites=[lakeview,riverside]")
    assert {path: path.read_bytes() for path in kept} == kept
    assert list(ServerFolder.load(before / "server").keys()) == ["lakeview", "riverside"]
    scripts = [(before / "sites" / name / "start.sh").read_text() for name in ("riverside", "lakeview")]
    assert ["9094" in scripts[0], "9095" in scripts[1]] == [True, True], "each has a port of its own"


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("sites=[a,a]", "sites: 'a' is given twice"),
        ("sites=['a/b']", "sites: 'a/b' is no name of a folder"),
        ("sites=['..']", "sites: '..' is no name of a folder"),
        ("port=0", "port: found 0; give a whole number from 1 to 65535"),
    ],
)
def test_bad_settings_are_named_before_anything_is_written(tmp_path, override, line):
    with pytest.raises(UserError, match=f"^{line}"):
        provisioned(tmp_path, "sites=[a]", override)
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_names_the_release_and_holds_no_code():
    bundle = write_bundle("1.2.3", "abc", "/run")
    with zipfile.ZipFile(BytesIO(bundle)) as file:
        assert set(file.namelist()) == {"pyproject.toml", ".info/CONTENT"}
        text = file.read("pyproject.toml").decode()
    for word in ('version = "1.2.3"', "foundation.federation.site.app:app", "abc"):
        assert word in text
    assert bundle == write_bundle("1.2.3", "abc", "/run"), "the same run, the same bundle"
    check_bundle(bundle, "1.2.3")


def test_a_site_declines_another_release_by_name():
    with pytest.raises(UserError, match=r"names release 1\.2\.4, and 1\.2\.3 is installed here"):
        check_bundle(write_bundle("1.2.4", "abc", "/run"), "1.2.3")


def test_a_bundle_that_carries_code_is_refused():
    content = BytesIO(write_bundle("1.2.3", "abc", "/run"))
    with zipfile.ZipFile(content, "a") as file:
        file.writestr("app.py", "print('hello')")
    with pytest.raises(UserError, match=r"carries app\.py, and no code may travel"):
        check_bundle(content.getvalue(), "1.2.3")


def test_a_bundle_that_names_another_app_is_refused():
    bundle = BytesIO(write_bundle("1.2.3", "abc", "/run"))
    with zipfile.ZipFile(bundle) as file:
        text = file.read("pyproject.toml").decode().replace("foundation.federation.site.app:app", "os:system")
    other = BytesIO()
    with zipfile.ZipFile(other, "w") as file:
        file.writestr("pyproject.toml", text)
    with pytest.raises(UserError, match="names os:system"):
        check_bundle(other.getvalue(), "1.2.3")


@pytest.mark.parametrize(
    ("client", "path", "status"),
    [
        ("10.0.0.9", "/v1/control/start-run", 403),
        ("10.0.0.9", "/v1/runtime/acquire-task", 403),
        ("10.0.0.9", "/docs", 403),
        ("10.0.0.9", "/v1/fleet/../control/start-run", 403),
        ("10.0.0.9", "/v1/fleet/pull-messages", 200),
        ("127.0.0.1", "/v1/control/start-run", 200),
        (None, "/v1/control/start-run", 403),
    ],
)
def test_other_machines_reach_the_nodes_interface_alone(client, path, status):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})

    sent = []

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "client": client and (client, 1), "path": path}
    asyncio.run(SitesStayOutside(app)(scope, None, send))
    assert sent[0]["status"] == status


@pytest.fixture
def listener(tmp_path) -> Iterator[tuple[str, Path]]:
    """Somebody who answers over TLS at 127.0.0.1: address, and the folder of the authority that vouches."""
    write_authority(tmp_path / "ca", "test", 30)
    write_certificate(tmp_path / "ca", tmp_path, ["127.0.0.1"], 30)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "superlink.pem", tmp_path / "superlink.key")
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            while True:
                try:
                    plain, _ = server.accept()
                    context.wrap_socket(plain, server_side=True).close()
                except ssl.SSLError:
                    continue
                except OSError:
                    return

        threading.Thread(target=answer, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}", tmp_path / "ca"
        server.shutdown(socket.SHUT_RDWR)


def test_a_trusted_connection_is_let_pass(listener):
    address, authority = listener
    check_connection(address, authority / "ca.pem")


def test_a_connection_is_trusted_by_who_took_the_new_authority_before_the_superlink_did(listener):
    address, authority = listener
    write_authority(authority, "test", 30)
    check_connection(address, authority / "ca.pem")


def test_a_wrong_authority_is_one_line(listener, federation):
    address, _ = listener
    with pytest.raises(UserError, match=f"ca.pem: does not vouch for the SuperLink at {address}"):
        check_connection(address, federation / "ca" / "ca.pem")


def test_nobody_there_and_no_certificate_are_one_line(tmp_path, federation):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    with pytest.raises(UserError, match=f"^{address}: no SuperLink reached"):
        check_connection(address, federation / "ca" / "ca.pem")
    (tmp_path / "ca.pem").write_text("nothing")
    with pytest.raises(UserError, match="no certificate"):
        check_connection(address, tmp_path / "ca.pem")


def test_one_node_a_folder(tmp_path):
    with only_one(tmp_path), pytest.raises(UserError, match="a node of this folder runs already"), only_one(tmp_path):
        pass
    with only_one(tmp_path):
        pass


@pytest.mark.parametrize("content", ["", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGJhZA== x"])
def test_a_file_without_an_ec_key_is_named(tmp_path, content):
    (tmp_path / "a.pub").write_text(content)
    with pytest.raises(UserError, match=f"^{tmp_path / 'a.pub'}: no"):
        read_public_key(tmp_path / "a.pub")


def test_the_key_that_ssh_keygen_would_make_is_taken(tmp_path):
    (tmp_path / "a.pub").write_bytes(write_node_key(tmp_path / "a.key", "a"))
    assert read_public_key(tmp_path / "a.pub").startswith(b"-----BEGIN PUBLIC KEY-----")


@pytest.mark.process
@pytest.mark.parametrize(
    ("command", "line"),
    [
        (["superlink", "server={}"], "error: {}/server.yaml: missing"),
        (["superlink", "actoin=nodes"], "error: Could not override 'actoin'; did you mean 'action'?"),
        (["supernode", "site={}/site.yaml"], "error: {}/site.yaml: not readable"),
        (["provision", "site=[a]"], "error: Could not override 'site'; did you mean 'sites'?"),
    ],
)
def test_bad_input_is_one_line(tmp_path, command, line):
    module, *settings = (part.format(tmp_path) for part in command)
    done = subprocess.run(
        [sys.executable, "-m", f"foundation.federation.deployment.{module}", *settings],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1].startswith(line.format(tmp_path))
    assert len(done.stderr.splitlines()) == 1
