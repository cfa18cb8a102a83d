"""The folds of `finetune_folds.sh` side by side: `folds.md` and `folds.json` in their folder, with mean and spread.

python scripts/launch/folds_table.py runs/demo/folds
"""

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

Interval = dict[str, float | None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="with fold_0/evaluation/evaluation.json and so on")
    folder = parser.parse_args().folder
    paths = sorted(folder.glob("fold_*/evaluation/evaluation.json"), key=lambda path: int(path.parts[-3][5:]))
    if not paths:
        sys.exit(f"error: {folder}: no fold_*/evaluation/evaluation.json; run finetune_folds.sh first")
    folds = [json.loads(path.read_text()) for path in paths]
    names = list(folds[0]["overall"])
    content = {
        "folds": [
            {"evaluation": str(path.relative_to(folder)), "n": fold["n"], **fold["overall"]}
            for path, fold in zip(paths, folds, strict=True)
        ],
        "summary": {name: summary([fold["overall"][name] for fold in folds]) for name in names},
        "baseline": {name: summary([fold["baseline"].get(name) for fold in folds]) for name in names},
    }
    (folder / "folds.json").write_text(json.dumps(content, indent=2) + "\n")
    page = table(content, names)
    (folder / "folds.md").write_text(page)
    print(page, end="")
    print(f"folds: {folder / 'folds.md'}")


def summary(intervals: list[Interval | None]) -> dict[str, Any]:
    """Mean and standard deviation over the folds in which a metric is defined, and how many those are."""
    values = [interval["value"] for interval in intervals if interval and interval["value"] is not None]
    return {
        "mean": statistics.mean(values) if values else None,
        "sd": statistics.stdev(values) if len(values) > 1 else None,
        "folds": len(values),
    }


def table(content: dict[str, Any], names: list[str]) -> str:
    """Markdown: a line a fold with 95 % intervals, then the mean and standard deviation of folds."""
    header = ["fold", "test patients", *names]
    rows = [[str(number), str(fold["n"]), *map(interval, map(fold.get, names))] for number, fold in _numbered(content)]
    total = str(sum(fold["n"] for fold in content["folds"]))
    rows.append(["mean (SD)", total, *(spread(content["summary"][name]) for name in names)])
    rows.append(["age and sex alone", total, *(spread(content["baseline"][name]) for name in names)])
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _numbered(content: dict[str, Any]) -> list[tuple[int, dict[str, Any]]]:
    return list(enumerate(content["folds"]))


def interval(value: Interval) -> str:
    if value["value"] is None:
        return "not defined"
    return f"{value['value']:.3f} ({value['low']:.3f} – {value['high']:.3f})"


def spread(value: dict[str, Any]) -> str:
    if value["mean"] is None:
        return "not defined"
    return f"{value['mean']:.3f}" if value["sd"] is None else f"{value['mean']:.3f} ({value['sd']:.3f})"


if __name__ == "__main__":
    main()
