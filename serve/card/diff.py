"""What changed from one card to the next, as Markdown for a release note."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foundation.files import read_json
from foundation.run_record import FILE
from serve.card.card_file import read_card
from serve.card.chain import PREDICTIONS
from serve.card.content.settings import flat
from serve.card.graph import sha256
from serve.card.pairs import pairs
from serve.card.wording import cell, interval, setting, show

_ADVICE = "give the folder of a card that python -m serve.card wrote"
_MISSING = "–"
_RUN = "run/"
# Ends of ids that differ between any two runs and tell nothing of the model.
_MEASURED = ("/started", "/seconds", "/core_hours", "/energy")
_ALWAYS = (*_MEASURED, "/name", "/digest", "_digest", "/commit", "/ledger/head", "/stage")
_PARTS = {
    "Model and judgement": ("model/", "judgement/", "bundle/"),
    "Data": ("/data/", "/notes/found/", "/flow/", "/total/", "/split/", "/table/", "/persons/"),
    "Federation": ("/site/", "/server/", "/coverage/", "/covers/", "/privacy/", "/config/", "/assumption/"),
}


@dataclass(frozen=True)
class Side:
    """A card to be compared.

    Attributes:
        nodes: its statements, runs named by their command, not by their folder.
        configs: by command, the resolved settings of its run, flat.
        predictions: by task, every prediction of its evaluation; of those that are still as the card knows them.
    """

    nodes: Mapping[str, Mapping[str, Any]]
    configs: Mapping[str, Mapping[str, Any]]
    predictions: Mapping[str, Path]

    @classmethod
    def read(cls, folder: Path) -> "Side":
        """A card's statements and the settings of its runs, where their records lie beside it.

        Raises:
            UserError: if the folder holds no card.
        """
        card = read_card(folder, _ADVICE)
        content = card["nodes"]
        stages: dict[str, str] = {}
        configs = {}
        for name, node in content.items():
            if name.startswith(_RUN) and name.endswith("/command"):
                run, stage = (
                    name.removesuffix("/command"),
                    str(node["value"]).removeprefix("python -m ").partition(" ")[0],
                )
                times = sum(other.split("~")[0] == _RUN + stage for other in stages.values())
                stages[run] = f"{_RUN}{stage}~{times + 1}" if times else _RUN + stage
                path = folder / next((place[0] for place in node["sources"]), "")
                if path.is_file() and path.name == FILE:
                    config = flat(read_json(path, _ADVICE).get("config", {}), ())
                    configs[stages[run].removeprefix(_RUN)] = {".".join(keys): value for keys, value in config.items()}
        nodes = {_renamed(name, stages): node for name, node in content.items()}
        return cls(nodes, configs, _predictions(folder, card))


def diff(one: Side, two: Side) -> str:
    """What changed in results, data, training, federation and judgement.

    Args:
        one: the earlier card.
        two: the later one.
    """
    changed = [name for name in _order(one, two) if _differs(one.nodes.get(name), two.nodes.get(name))]
    results = [name for name in changed if name.startswith(("result/", "analysis/"))]
    others = [name for name in changed if name not in results]
    parts = {part: [name for name in others if _has(name, keys)] for part, keys in _PARTS.items()}
    placed = {name for names in parts.values() for name in names}
    parts["Training"] = [name for name in others if name not in placed]
    name = two.nodes.get("model/name", {}).get("text", "the model")
    rows = [
        f"# What changed in {cell(name)}",
        "",
        "## Results",
        "",
        *_paired(one, two),
        *_figures(one, two, results),
        "",
    ]
    for part, names in parts.items():
        rows += [f"## {part}", "", *_statements(one, two, names), ""]
        if part == "Training":
            rows += [*_settings(one, two), ""]
    return "\n".join(rows).rstrip() + "\n"


def _predictions(folder: Path, card: Mapping[str, Any]) -> dict[str, Path]:
    """By task, where the predictions of its first evaluation lie."""
    kept: dict[str, Path] = {}
    for name, node in card["nodes"].items():
        if not name.startswith("result/") or not name.endswith("/task"):
            continue
        start = name.removesuffix("task") + "overall/"
        places = [
            place[0] for key, other in card["nodes"].items() if key.startswith(start) for place in other["sources"]
        ]
        file = (Path(places[0]).parent / PREDICTIONS).as_posix() if places else ""
        if file in card["files"] and (folder / file).is_file() and sha256(folder / file) == card["files"][file]:
            kept.setdefault(str(node["value"]), folder / file)
    return kept


def _paired(one: Side, two: Side) -> Iterator[str]:
    """Both models on the patients whom both answered, with the interval of the difference."""
    for task in [name for name in two.predictions if name in one.predictions]:
        rows, left_out = pairs(one.predictions[task], two.predictions[task])
        yield f"{cell(task)}, on the same patients ({left_out}):\n"
        if not rows:
            yield "Too few patients of both for any figure.\n"
            continue
        yield "| says | measure | patients | before | after | difference (95 %, paired bootstrap) | p |"
        yield "| --- | --- | --- | --- | --- | --- | --- |"
        for pair in rows:
            gain = pair.difference
            cells = [cell(pair.output), pair.measure, str(pair.n), show(pair.before), show(pair.after)]
            cells += [interval(gain.value, gain.low, gain.high), show(gain.p)]
            yield "| " + " | ".join(cells) + " |"
        yield ""


def _renamed(name: str, stages: Mapping[str, str]) -> str:
    run = "/".join(name.split("/")[:2])
    return stages[run] + name[len(run) :] if run in stages else name


def _order(one: Side, two: Side) -> list[str]:
    return list(dict.fromkeys([*two.nodes, *one.nodes]))


def _has(name: str, keys: tuple[str, ...]) -> bool:
    return any(name.startswith(key) if key[0] != "/" else key in name for key in keys)


def _differs(one: Mapping[str, Any] | None, two: Mapping[str, Any] | None) -> bool:
    if one is None or two is None:
        return True
    return any(one.get(part) != two.get(part) for part in ("value", "low", "high", "n", "estimator", "split"))


def _figures(one: Side, two: Side, names: list[str]) -> Iterator[str]:
    """A row a figure, with its interval before and after; names and tasks that changed stand in rows of words."""
    shown = [name for name in names if not name.endswith("/name") and "/name/" not in name]
    if not shown:
        yield "No figure changed."
        return
    yield "Figures as each card has them, on its own patients; this difference is of the values, and has no interval.\n"
    yield "| figure | patients | before | after | difference |"
    yield "| --- | --- | --- | --- | --- |"
    for name in shown:
        nodes = one.nodes.get(name), two.nodes.get(name)
        texts = [cell(node.get("text", "")) if node else _MISSING for node in nodes]
        patients = dict.fromkeys(show(node.get("n")) for node in nodes if node)
        label = cell(name.removeprefix("result/").replace("/", " / "))
        yield f"| {label} | {' → '.join(patients)} | {texts[0]} | {texts[1]} | {_difference(*nodes)} |"


def _difference(one: Mapping[str, Any] | None, two: Mapping[str, Any] | None) -> str:
    before, after = (node["value"] if node else None for node in (one, two))
    if not isinstance(before, int | float) or not isinstance(after, int | float):
        return _MISSING
    gain = after - before
    return f"{'+' if gain > 0 else ''}{show(gain)}"


def _statements(one: Side, two: Side, names: list[str]) -> Iterator[str]:
    # Settings have a table of their own.
    shown = [name for name in names if not name.endswith(_ALWAYS) and "/setting/" not in name]
    if not shown:
        yield "Nothing changed."
        return
    yield "| statement | before | after |"
    yield "| --- | --- | --- |"
    for name in shown:
        texts = [cell(side.nodes[name].get("text", "")) if name in side.nodes else _MISSING for side in (one, two)]
        yield f"| {cell(name.removeprefix(_RUN).replace('/', ' / '))} | {texts[0]} | {texts[1]} |"


def _settings(one: Side, two: Side) -> Iterator[str]:
    """Settings of the same command that differ."""
    rows: list[tuple[str, ...]] = []
    for stage in dict.fromkeys([*two.configs, *one.configs]):
        before, after = one.configs.get(stage), two.configs.get(stage)
        if before is None or after is None:
            rows.append((stage, "", "not run" if before is None else "run", "run" if before is None else "not run"))
            continue
        for key in sorted(before.keys() | after.keys()):
            values = [setting(side.get(key, _MISSING)) for side in (before, after)]
            if values[0] != values[1]:
                rows.append((stage, key, *values))
    yield "Settings:\n"
    if not rows:
        yield "Nothing changed."
        return
    yield "| command | setting | before | after |"
    yield "| --- | --- | --- | --- |"
    for row in rows:
        yield "| " + " | ".join(map(cell, row)) + " |"
