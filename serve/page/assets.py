"""The page's own files as the endpoint sends them: public, for they hold nothing of model or patient."""

from functools import cache
from http import HTTPStatus
from importlib import resources

from serve.host import Reply

_KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
_PATHS = {"/": "index.html"}
_FOLDER = "/page/"
# Nothing but these files runs, nothing but this endpoint is asked, nobody frames the page, and no text becomes markup.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-cache",
}


def page_reply(path: str) -> Reply | None:
    """The file of the page at a path; None where there is none.

    Args:
        path: of the request.
    """
    name = _PATHS.get(path) or (path.removeprefix(_FOLDER) if path.startswith(_FOLDER) else "")
    content = _files().get(name)
    if content is None:
        return None
    kind = _KINDS["." + name.rpartition(".")[2]]
    return Reply(HTTPStatus.OK, content, {"content-type": f"{kind}; charset=utf-8", **_HEADERS})


@cache
def _files() -> dict[str, bytes]:
    folder = resources.files("serve.page") / "static"
    return {file.name: file.read_bytes() for file in folder.iterdir() if "." + file.name.rpartition(".")[2] in _KINDS}
