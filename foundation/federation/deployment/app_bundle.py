"""The app bundle of a run: it names the installed release and holds no code."""

import io
import tomllib
import zipfile

from flwr.cli.build import build_fab_from_files

from foundation.errors import UserError

CLIENT = "foundation.federation.site.app:app"
_SERVER = "foundation.federation.runtime.server_process:app"
_PROJECT = "pyproject.toml"
_FILES = {_PROJECT, ".info/CONTENT"}
# Flower asks for name, version and both apps; the run's own folder is for the SuperLink's machine alone.
_TEXT = """
[project]
name = "consilium"
version = "{release}"
description = "Names the installed release; holds no code"
dependencies = []

[tool.hatch.build.targets.wheel]
packages = []

[tool.flwr.app]
publisher = "consilium"

[tool.flwr.app.components]
serverapp = "{server}"
clientapp = "{client}"

[tool.flwr.app.config]
config-digest = "{digest}"
run = "{run}"
"""


def write_bundle(release: str, digest: str, run: str) -> bytes:
    """The bundle of a run.

    Args:
        release: of this project, which sites must have installed.
        digest: of the run's config.
        run: folder of the run on the SuperLink's machine.
    """
    text = _TEXT.format(release=release, server=_SERVER, client=CLIENT, digest=digest, run=run)
    content, _ = build_fab_from_files({_PROJECT: text.encode()})
    return content


def check_bundle(content: bytes, release: str | None) -> None:
    """What a site asks of a bundle before it looks at the order.

    Args:
        content: of the bundle.
        release: that is installed here; None lets any pass.

    Raises:
        UserError: if it carries anything but the name of this release and of its app.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        more = sorted(set(file.namelist()) - _FILES)
        if more:
            raise UserError(f"app bundle: carries {more[0]}, and no code may travel; nothing of it was run")
        project = tomllib.loads(file.read(_PROJECT).decode())
    named = project["project"]["version"]
    if release is not None and named != release:
        raise UserError(f"app bundle: names release {named}, and {release} is installed here; install the same")
    app = project["tool"]["flwr"]["app"]["components"]["clientapp"]
    if app != CLIENT:
        raise UserError(f"app bundle: names {app}, and this release answers with {CLIENT}")
