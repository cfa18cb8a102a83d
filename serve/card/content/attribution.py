"""An example of what an answer goes by: a synthetic patient's parts taken away one by one, drawn on the images."""

from typing import Any

from serve.card.chain import Evidence
from serve.card.document import Block, Line, Paragraph, Picture, Section, Table, line
from serve.card.drawing import Drawing
from serve.card.graph import File, Graph, Node
from serve.explained import FILE

_PATIENT = "patient.json"  # of an export, beside the explanation that is about it
_SIDE = 240
_MOST_IMAGES = 2
_FALL = "mean fall when parts go"


def attribution(evidence: Evidence) -> Section | None:
    """The example of the export; None where it has none, or the patient is a person."""
    run = evidence.export
    if run is None or run.file.at("data", "synthetic") is not True or not (run.folder / FILE).is_file():
        return None
    graph, file = evidence.graph, evidence.graph.read(run.folder / FILE)
    lead = line(
        "A synthetic patient, whose ",
        graph.value("attribution/explained", file, "explained"),
        " is ",
        graph.value("attribution/value", file, "value"),
        ". Each part was taken away and the model asked again: a change is what went with the part, so a positive one "
        "raised the number. It tells what the model does, not what causes disease.",
    )
    blocks: list[Block] = [Paragraph(lead)]
    blocks += [_modalities(graph, file)] if file.at("modalities") else []
    blocks += [_faithfulness(graph, file)] if file.at("faithfulness") else []
    patient = graph.read(run.folder / _PATIENT)
    drawn = [_picture(graph, file, index, patient) for index in _first_of_each(file)]
    return Section("attribution", line("What an answer goes by"), (*blocks, *filter(None, drawn)))


def _modalities(graph: Graph, file: File) -> Table:
    rows = []
    for index in range(len(file.at("modalities"))):
        name, change = (
            graph.value(f"attribution/modalities/{index}/{key}", file, "modalities", index, key)
            for key in ("field", "change")
        )
        rows.append((line(name), line(change)))
    return Table(line("Without each modality:"), (line("modality"), line("change")), tuple(rows))


def _faithfulness(graph: Graph, file: File) -> Table:
    """How far the number falls when the parts of the largest change go first, and when any go."""
    rows = []
    for name in file.at("faithfulness"):
        keys = ("faithfulness", name)
        falls = (graph.value(f"attribution/{'/'.join(keys)}/{key}", file, *keys, key) for key in ("ordered", "random"))
        rows.append((line(graph.key(f"attribution/{'/'.join(keys)}", file, *keys)), *map(line, falls)))
    head = (line("parts of"), line(f"{_FALL}, the largest first"), line(f"{_FALL}, at random"))
    return Table(line("How faithful that is (deletion curve):"), head, tuple(rows))


def _first_of_each(file: File) -> list[int]:
    """The image of each modality that tells the most, which stands first."""
    firsts: dict[str, int] = {}
    for index, image in enumerate(file.at("images", default=[])):
        firsts.setdefault(image["field"].partition("[")[0], index)
    return list(firsts.values())[:_MOST_IMAGES]


def _picture(graph: Graph, file: File, index: int, patient: File) -> Picture | None:
    """An image with its squares in red where they raise the number, in blue where they lower it."""
    field, changes = file.at("images", index, "field"), file.at("images", index, "changes")
    modality, _, place = field.rstrip("]").partition("[")
    data = patient.at(modality, int(place))
    if not isinstance(data, str) or not data.startswith("iVBOR"):  # PNG, as requests are written
        return None
    base = f"attribution/images/{index}"
    nodes = [
        [graph.value(f"{base}/{row}/{at}", file, "images", index, "changes", row, at) for at in range(len(one))]
        for row, one in enumerate(changes)
    ]
    name = graph.value(f"{base}/field", file, "images", index, "field")
    says = "red squares raise the number, blue ones lower it"
    alt = line("Image ", name, f": {says}. ", *_largest(graph, file, index, nodes))
    return Picture(base, _drawn(data, changes, alt), alt, _behind(graph, name, nodes))


def _largest(graph: Graph, file: File, index: int, nodes: list[list[Node]]) -> Line:
    """Where the largest change is, in words."""
    places = [(row, column) for row, one in enumerate(nodes) for column in range(len(one))]
    row, column = max(places, key=lambda place: abs(_number(nodes[place[0]][place[1]])))
    source = [file.source("images", index, "changes")]
    where = [
        graph.derived(f"attribution/images/{index}/{key}", at + 1, f"the {key} of the largest change", source)
        for key, at in (("row", row), ("column", column))
    ]
    return line("The largest change, ", nodes[row][column], ", is in row ", where[0], ", column ", where[1], ".")


def _drawn(data: str, changes: list[list[float]], alt: Line) -> str:
    drawing = Drawing(_SIDE, _SIDE, alt)
    drawing.image(_SIDE, data)
    largest = max(abs(change) for row in changes for change in row) or 1.0
    side = _SIDE / len(changes)
    for row, one in enumerate(changes):
        for column, change in enumerate(one):
            kind, share = "lowers" if change < 0 else "raises", 0.75 * abs(change) / largest
            drawing.box(column * side, row * side, side, side, kind, share)
    return drawing.svg()


def _behind(graph: Graph, name: Node, nodes: list[list[Node]]) -> Table:
    numbers = [
        graph.derived(f"attribution/place/{at + 1}", at + 1, "the place of a row or column", [])
        for at in range(max(len(nodes), len(nodes[0])))
    ]
    head = (line("row, column"), *(line(number) for number in numbers[: len(nodes[0])]))
    rows = tuple((line(number), *map(line, one)) for number, one in zip(numbers, nodes, strict=False))
    return Table(line("Squares of ", name, ", in figures:"), head, rows, folded=True)


def _number(node: Node) -> float:
    value: Any = node.value
    return float(value)
