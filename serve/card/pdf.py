"""The card as one PDF: its page as a browser prints it, with folded tables open."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from foundation.errors import UserError
from foundation.files import write_bytes, write_text

FILE = "card.pdf"
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
_SECONDS = 120.0
_START = b"%PDF-"
_FOLDED = '<details class="table">'


def find_browser(named: str | None = None) -> str:
    """The program that prints.

    Args:
        named: a path or a name; the first of the usual ones that is installed, if None.

    Raises:
        UserError: if there is none.
    """
    path = shutil.which(named) if named else next(filter(None, map(shutil.which, _BROWSERS)), None)
    if path is None:
        where = f"{named} is no program" if named else f"none of {', '.join(_BROWSERS)} is installed"
        raise UserError(f"browser: {where}; install Chromium, give browser=PATH, or leave pdf=false")
    return path


def print_page(page: str, output: Path, browser: str) -> None:
    """Writes the PDF of a page that needs nothing beside itself.

    Args:
        page: its HTML.
        output: file to write.
        browser: of `find_browser`.

    Raises:
        UserError: if the browser does not print within two minutes.
    """
    # A browser that was ended may still have been writing into its profile.
    with tempfile.TemporaryDirectory(prefix="consilium-", ignore_cleanup_errors=True) as scratch:
        source, made = Path(scratch) / "card.html", Path(scratch) / FILE
        write_text(source, page.replace(_FOLDED, _FOLDED[:-1] + " open>"))
        arguments = [browser, "--headless", "--disable-gpu", "--no-first-run", "--no-pdf-header-footer"]
        arguments += [f"--user-data-dir={scratch}/profile", f"--print-to-pdf={made}"]
        # Chromium's sandbox does not start for root, as in most containers; the page is our own and holds no script.
        arguments += ["--no-sandbox"] if os.geteuid() == 0 else []
        errors = _run([*arguments, source.as_uri()], Path(scratch) / "errors")
        if not made.is_file() or not made.read_bytes().startswith(_START):
            last = errors.strip()[-200:]
            raise UserError(f"browser: {browser} wrote no PDF ({last}); give another browser=, or leave pdf=false")
        write_bytes(output, made.read_bytes())


def _run(command: Sequence[str], errors: Path) -> str:
    """What a browser wrote to its standard error.

    Its processes are ended together: one that was left would go on printing, and hold what it inherited open, so that
    nobody could wait for the end of a pipe. That is why its errors go to a file.
    """
    with errors.open("wb") as file:
        try:
            browser = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=file, start_new_session=True)
        except OSError as error:
            raise _not_printed(command[0], error) from error
        try:
            browser.wait(_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise _not_printed(command[0], f"no end after {_SECONDS:g} seconds") from error
        finally:
            with contextlib.suppress(ProcessLookupError):  # it left nobody
                os.killpg(browser.pid, signal.SIGKILL)
            browser.wait()
    return errors.read_text(errors="replace")


def _not_printed(browser: str, why: object) -> UserError:
    return UserError(f"browser: {browser} did not print ({why}); give another browser=, or pdf=false")


def problem(folder: Path, note: Mapping[str, str], digests: Mapping[str, str]) -> str | None:
    """What is wrong with a card's PDF.

    Args:
        folder: of the card.
        note: what its record holds: digests of the PDF and of the page that it was printed from, by name.
        digests: of the files as they are.
    """
    if not (folder / FILE).is_file():
        return f"{FILE}: missing; write the card again with pdf=true"
    changed = [name for name, digest in note.items() if digests.get(name) != digest]
    if FILE in changed:
        return f"{FILE}: another file than was printed; write the card again with pdf=true"
    return f"{FILE}: printed from another {changed[0]}; write the card again with pdf=true" if changed else None
