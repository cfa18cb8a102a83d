"""Images that are built and run by the engine that is here: Podman, Docker or Buildah."""

import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BASE = "docker.io/library/python:3.11-slim-bookworm"


@dataclass(frozen=True)
class Engine:
    """A command line that builds and runs images.

    Attributes:
        words: it begins with; `CONSILIUM_ENGINE` if that is set (`buildah --root /var/tmp/images`).
        base: image to build on; `CONSILIUM_BASE`, of a registry that is reached, if that is set.
        options: of a build; `CONSILIUM_BUILD_OPTIONS` (mounts of pip's configuration, `--pull-never`).
        containers: that Buildah made; the others remove their own.
    """

    words: tuple[str, ...]
    base: str
    options: tuple[str, ...]
    containers: list[str] = field(default_factory=list)

    @classmethod
    def here(cls) -> "Engine":
        """The first that is installed; the test is skipped where none is."""
        given = shlex.split(os.environ.get("CONSILIUM_ENGINE", ""))
        words = given or [name for name in ("podman", "docker", "buildah") if shutil.which(name)][:1]
        if not words:
            pytest.skip("no podman, docker or buildah is installed")
        options = shlex.split(os.environ.get("CONSILIUM_BUILD_OPTIONS", ""))
        engine = cls(tuple(words), os.environ.get("CONSILIUM_BASE", BASE), tuple(options))
        held = subprocess.run([*words, "images", "-q", engine.base], capture_output=True, text=True)
        if not held.stdout.strip() and subprocess.run([*words, "pull", engine.base], capture_output=True).returncode:
            pytest.skip(f"{engine.base} is not here and cannot be pulled; name another by CONSILIUM_BASE")
        return engine

    @property
    def _runs(self) -> bool:
        return Path(self.words[0]).name != "buildah"

    def build(self, file: Path, tag: str) -> None:
        """An image of the project as it stands."""
        arguments = ["--network=host", "--build-arg", f"BASE={self.base}", *self.options, "-t", tag, "-f", str(file)]
        layers = [] if self._runs else ["--layers"]
        subprocess.run([*self.words, "build", *layers, *arguments, "."], cwd=ROOT, check=True)

    def command(self, tag: str, user: str, mounts: Mapping[Path, str], words: Sequence[str]) -> list[str]:
        """What runs a program in an image, in the host's network."""
        volumes = [word for path, place in mounts.items() for word in ("-v", f"{path}:{place}")]
        common = ["--network=host", "--user", user, *volumes]
        if self._runs:
            return [*self.words, "run", "--rm", *common, "--entrypoint", words[0], tag, *words[1:]]
        made = subprocess.run([*self.words, "from", "--pull-never", tag], check=True, capture_output=True, text=True)
        container = made.stdout.strip()
        self.containers.append(container)
        for place in mounts.values():  # a volume of the image lies above what is mounted there
            subprocess.run([*self.words, "config", "--volume", f"{place}-", container], check=True)
        return [*self.words, "run", *common, container, "--", *words]

    def output(self, tag: str, user: str, mounts: Mapping[Path, str], *words: str) -> str:
        """What a program in an image prints."""
        done = subprocess.run(self.command(tag, user, mounts, words), capture_output=True, text=True)
        return done.stdout + done.stderr

    def remove_containers(self) -> None:
        """Those that are left; images stay, so that the next build is quick."""
        if self.containers:
            subprocess.run([*self.words, "rm", *self.containers], stdout=subprocess.DEVNULL, check=True)
