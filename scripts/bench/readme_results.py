"""The README's table of results, printed from committed records of benchmark runs by what prints model cards.

`python scripts/bench/readme_results.py` writes the table anew between its two marks in README.md; `--check` says
whether it is what the records give. Records lie in `scripts/bench/records/`; the benchmark that wrote one stands in it.
"""

import argparse
import sys
from pathlib import Path

from foundation.files import write_text
from serve.card.document import Line, Table, line
from serve.card.graph import File, Graph, Node
from serve.card.markdown import render

ROOT = Path(__file__).resolve().parents[2]
README, RECORD = ROOT / "README.md", ROOT / "scripts/bench/records/subsets.json"
BEGIN, END = "<!-- results: scripts/bench/readme_results.py -->\n", "<!-- end of results -->\n"
TASKS = {"idh": "IDH, AUC", "codel": "{p}/{q} codeletion, AUC", "survival": "survival, C"}
ROWS = {
    "all, seeds": "all that a patient has",
    "pathology, seeds": "H&E alone",
    "genomics alone": "genomics alone",
}


def table() -> str:
    """Rows of Markdown."""
    graph = Graph(ROOT)
    file = graph.read(RECORD)
    places = {row["id"]: at for at, row in enumerate(file.at("figures"))}
    rows: list[tuple[Line, ...]] = []
    for key, words in ROWS.items():
        cells = [line(_figure(graph, file, places, f"{task}/{key}")) for task in TASKS]
        rows.append((line(words), *cells))
    rows.append(
        (line("the best baseline, of who has what it reads"), *(_best(graph, file, places, task) for task in TASKS))
    )
    titles = [line(graph.derived(f"title/{task}", _title(words), "a name", [])) for task, words in TASKS.items()]
    text, _ = render([], line("x"), [Table((), (line("from"), *titles), tuple(rows))])
    return text.removeprefix("# x\n\n")


def _title(words: str) -> str:
    return words.format(p="1p", q="19q")


def _figure(graph: Graph, file: File, places: dict[str, int], name: str) -> Node:
    return graph.figure(name, file, ("figures", places[name]))


def _best(graph: Graph, file: File, places: dict[str, int], task: str) -> Line:
    """The baseline with the largest figure, and what it reads."""
    start = f"{task}/baseline/"
    known = [name for name in places if name.startswith(start)]
    best = max(known, key=lambda name: float(file.at("figures", places[name], "value")))
    read = graph.derived(f"{best}/name", best.removeprefix(start), "the end of its id", [])
    return line(_figure(graph, file, places, best), ", ", read)


def filled(readme: str) -> str:
    """The README with the table as the records give it."""
    before, _, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise SystemExit(f"{README}: no lines {BEGIN!r} and {END!r} around the table; put them back")
    return f"{before}{BEGIN}{table()}{END}{after}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; end with code 1 where the table differs")
    arguments = parser.parse_args()
    readme = README.read_text(encoding="utf-8")
    same = filled(readme) == readme
    if arguments.check:
        print(f"the README's table is {'' if same else 'not '}what the records give")
        sys.exit(not same)
    write_text(README, filled(readme))
    print(f"{README}: {'unchanged' if same else 'written'}")


if __name__ == "__main__":
    main()
