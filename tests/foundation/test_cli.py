"""`consilium`: the screen of commands, each command by its name, and names that are none."""

import ast
import configparser
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from foundation import cli
from foundation.catalogue import CATALOGUE, ENTRIES, entry_of

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("foundation", "pretrain", "finetune", "serve")
COMPLETE = """
consilium() {{ {python} -m foundation.cli "$@"; }}
eval "$(consilium --completion)"
COMP_LINE="{line}"
_consilium
echo "${{COMPREPLY[@]}}"
"""
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def consilium(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `consilium` in this process: exit code, stdout, stderr."""

    def called(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["consilium", *arguments])
        code = 0
        try:
            cli.main()
        except SystemExit as left:
            code = int(left.code or 0)
        return code, *capsys.readouterr()

    return called


def commands_in_the_source() -> set[tuple[str, str]]:
    """Module and function of everything that `foundation.command.command` decorates."""
    commands = set()
    for path in (path for room in ROOMS for path in (ROOT / room).rglob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__")
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and any("command(" in ast.unparse(by) for by in node.decorator_list):
                commands.add((module, node.name))
    return commands


def test_every_command_is_in_the_catalogue():
    commands = commands_in_the_source()
    assert len(commands) > 15
    entries = [entry_of(*command) for command in commands]
    assert None not in entries
    assert {entry.name for entry in entries if entry} == set(ENTRIES)


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_all_commands_fit_a_screen_under_those_who_use_them(consilium: Run, arguments: list[str]):
    code, out, err = consilium(*arguments)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert len(lines) <= 44 and max(map(len, lines)) <= 100
    for who, entries in CATALOGUE.items():
        at = lines.index(who) + 1
        assert [line.split("  ")[1] for line in lines[at : at + len(entries)]] == [entry.name for entry in entries]


def test_a_family_of_commands_lists_its_own(consilium: Run):
    code, out, _ = consilium("federation", "ledger", "--help")
    assert code == 0
    assert "federation ledger verify" in out and "federation provision" not in out and "pretrain federated" not in out


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("pretain steps=3", "consilium: 'pretain' is no command; did you mean 'pretrain'?"),
        (
            "pretrain fedrated rounds=2",
            "consilium: 'pretrain fedrated' is no command; did you mean 'pretrain federated'?",
        ),
        ("predit patient.json", "consilium: 'predit' is no command; did you mean 'predict'?"),
        ("data prepair cohort=demo", "consilium: 'data prepair' is no command; did you mean 'data prepare'?"),
        ("finetune.evaluate run=x", "consilium: 'finetune.evaluate' is no command; did you mean 'evaluate'?"),
        ("xyzzy --help", "consilium: 'xyzzy' is no command; `consilium` lists them all"),
        ("steps=3", "consilium: 'steps=3' is no command; `consilium` lists them all"),
        (
            "data",
            "consilium data: say which of data portals, data declare, data validate, data features, data prepare, "
            "data describe",
        ),
    ],
)
def test_what_is_no_command_is_one_line_with_the_nearest(consilium: Run, arguments: str, line: str):
    assert consilium(*arguments.split()) == (2, "", f"error: {line}\n")


@pytest.mark.parametrize(
    ("words", "name", "rest"),
    [
        ("pretrain", "pretrain", []),
        ("pretrain --help", "pretrain", ["--help"]),
        ("pretrain trainer=ddp ~modality.report", "pretrain", ["trainer=ddp", "~modality.report"]),
        ("pretrain federated rounds=2", "pretrain federated", ["rounds=2"]),
        ("federation ledger verify ledgers=[a]", "federation ledger verify", ["ledgers=[a]"]),
        ("predict patient.json", "predict", ["patient.json"]),
    ],
)
def test_the_longest_name_is_the_command_and_the_rest_its_arguments(words: str, name: str, rest: list[str]):
    assert cli.resolve(words.split()) == (ENTRIES[name], rest)


def start(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.process
@pytest.mark.parametrize(
    "arguments", [["export", "--help"], ["data", "validate", "strict=true", "--help"], ["predict", "nowhere.json"]]
)
def test_a_command_runs_as_its_module_does(arguments: list[str]):
    entry, rest = cli.resolve(arguments)
    mine = start("-c", "from foundation.cli import main; main()", *arguments)
    theirs = start(*entry.typed.split()[1:], *rest)
    assert (mine.returncode, mine.stdout, mine.stderr) == (theirs.returncode, theirs.stdout, theirs.stderr)
    assert mine.stdout or mine.returncode == 2


def test_the_package_installs_it():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    assert config["options.entry_points"]["console_scripts"].strip() == "consilium = foundation.cli:main"
    assert callable(cli.main)


def test_the_screen_needs_nothing_but_the_standard_library():
    done = start("-X", "importtime", "-m", "foundation.cli")
    modules = {line.split("|")[-1].strip() for line in done.stderr.splitlines()}
    assert "foundation.catalogue" in modules
    assert not modules & {"hydra", "omegaconf", "yaml", "numpy", "torch"}


@pytest.mark.process
@pytest.mark.parametrize(
    ("line", "completions"),
    [
        ("consilium pre", {"predict", "pretrain"}),
        ("consilium federation ledger ", {"verify", "reconcile", "show"}),
        ("consilium pretrain trainer=deepspeed_zero3", {"trainer=deepspeed_zero3", "trainer=deepspeed_zero3_offload"}),
        ("consilium data prepare workers=2 cohort=tc", {"cohort=tcga_glioma"}),
        ("consilium xyzzy ", set()),
    ],
)
def test_bash_completes_commands_groups_and_options(line: str, completions: set[str]):
    code = COMPLETE.format(python=sys.executable, line=line)
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert set(done.stdout.split()) == completions, done.stderr
