"""The bundle in which the model is given out: name, version, digest of its manifest, signature."""

from foundation.errors import UserError
from serve import manifest
from serve.card.chain import Evidence, Run
from serve.card.document import Section, Table, line
from serve.card.graph import sha256

_HEAD = "head.safetensors"


def bundle(evidence: Evidence) -> Section | None:
    """Facts of the exported bundle; None where no export was named.

    Raises:
        UserError: if a file of the bundle is not as its manifest says, or its head is not the evaluated one.
    """
    run = evidence.export
    if run is None:
        return None
    graph, folder = evidence.graph, run.folder / "bundle"
    digests = manifest.verify(folder)
    evaluated = _same_head(evidence, run, digests.get(f"{manifest.MODEL}/{_HEAD}"))
    file, rows = graph.read(folder / manifest.FILE), []
    for key in ("name", "version", "archive"):
        if run.file.at("notes", "model", key) is not None:
            rows.append((line(key), line(graph.value(f"bundle/{key}", run.file, "notes", "model", key))))
    digest = graph.derived("bundle/manifest", file.digest, "digest of the manifest", [file.source()], style="digest")
    files = graph.derived("bundle/files", len(file.content), "number of entries", [file.source()], unit="files")
    rows += [(line("digest of its manifest"), line(digest)), (line("files with a digest"), line(files))]
    if evaluated is not None:
        sources = [file.source(f"{manifest.MODEL}/{_HEAD}"), evaluated.file.source()]
        same = graph.derived("bundle/unchanged", True, "the digest of its head is that of the head evaluated", sources)
        rows.append((line("weights are those that were evaluated, without any change since"), line(same)))
    signed = (folder / manifest.SIGNATURE).is_file()
    rows.append((line("signed"), line("yes" if signed else "no")))
    return Section(
        "bundle", line("Bundle"), (Table(line("What is served:"), (line("fact"), line("value")), tuple(rows)),)
    )


def _same_head(evidence: Evidence, run: Run, digest: str | None) -> Run | None:
    """The run that made the bundle's head, which was evaluated; None where its weights do not lie here.

    Raises:
        UserError: if the bundle's head is another.
    """
    parents = [(run.folder / link["path"]).resolve() for link in run.file.at("builds_on", default=[])]
    for other in evidence.runs:
        path = other.folder / _HEAD
        if other.folder not in parents or not path.is_file() or digest is None:
            continue
        if sha256(path) != digest:
            raise UserError(f"{run.folder}: holds another head than {path}, which was evaluated; export it again")
        return other
    return None
