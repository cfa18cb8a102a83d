"""`consilium`: all commands in one screen, by who uses them; and each of them, by its name.

Commands are run as `python -m` runs them, by the name of their module: this module imports none of them.
"""

import difflib
import itertools
import os
import runpy
import sys
from collections.abc import Iterator, Sequence

from foundation.catalogue import CATALOGUE, ENTRIES, Entry
from foundation.errors import UserError
from foundation.pipes import ends_with_reader

_HELP = ("-h", "--help")
_USAGE = """consilium COMMAND [setting=value ...]
Multimodal foundation models for medicine, pretrained across hospitals whose data never leave."""
_NOTES = """
consilium COMMAND --help          its settings, and the module that `python -m` runs it by
eval "$(consilium --completion)"  completes commands, groups and settings in this bash"""
_COMPLETION = """_consilium() {
    local -a words
    local word=""
    read -ra words <<< "$COMP_LINE"
    [[ $COMP_LINE == *" " ]] || { word=${words[-1]}; unset "words[-1]"; }
    COMPREPLY=($(compgen -W "$(consilium --complete "${words[@]:1}" "$word" 2>/dev/null)" -- "$word"))
}
COMP_WORDBREAKS=${COMP_WORDBREAKS//=}
complete -o nospace -o default -F _consilium consilium"""


def main() -> None:
    """Lists the commands, or runs the one that the first arguments name."""
    with ends_with_reader():
        try:
            _run(sys.argv[1:])
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2)


def screen(prefix: str = "") -> str:
    """The commands whose name begins so, by who uses them."""
    width = max(map(len, ENTRIES)) + 2
    lines = [_USAGE]
    for who, entries in CATALOGUE.items():
        shown = [entry for entry in entries if entry.name.startswith(prefix)]
        lines += [who, *(f"  {entry.name:{width}}{entry.line}" for entry in shown)] if shown else []
    return "\n".join(lines) + "\n" + _NOTES


def resolve(words: Sequence[str]) -> tuple[Entry, list[str]]:
    """The command that the first words name, and the other words.

    Raises:
        UserError: if they name none, with the nearest.
    """
    name = next((name for name in _heads(words) if name in ENTRIES), None)
    if name is None:
        raise _unknown(words)
    rest = list(words[len(name.split()) :])
    if rest and _is_word(rest[0]) and _family(name):
        raise _unknown(words)
    return ENTRIES[name], rest


def _run(arguments: list[str]) -> None:
    *before, last = arguments or ["--help"]
    family = " ".join(before)
    if last in _HELP and family not in ENTRIES and (not before or _family(family)):
        print(screen(family))
    elif arguments == ["--completion"]:
        print(_COMPLETION)
    elif arguments[0] == "--complete":
        _complete(arguments[1:])
    else:
        _start(*resolve(arguments))


def _start(entry: Entry, arguments: list[str]) -> None:
    sys.argv = [entry.module, *([entry.action] if entry.action else []), *arguments]
    runpy.run_module(entry.module, run_name="__main__", alter_sys=True)


def _complete(words: list[str]) -> None:
    """Prints what may stand at the last of the words: further words of a command's name, or what Hydra knows."""
    *before, last = words or [""]
    longer = _family(" ".join(before)) if before else list(ENTRIES)
    print(" ".join(sorted({name.split()[len(before)] for name in longer})))
    if any(name in ENTRIES for name in _heads(before)):
        entry, rest = resolve(before)
        os.environ["COMP_LINE"] = " ".join(["consilium", *rest, last])
        _start(entry, ["-sc", "query=bash"])


def _heads(words: Sequence[str]) -> Iterator[str]:
    """What the first words may name, the longest first."""
    return (" ".join(words[:length]) for length in range(len(words), 0, -1))


def _family(name: str) -> list[str]:
    """The commands whose name goes on after this one."""
    return [other for other in ENTRIES if other.startswith(f"{name} ")]


def _is_word(argument: str) -> bool:
    return "=" not in argument and not argument.startswith(("-", "+", "~"))


def _unknown(words: Sequence[str]) -> UserError:
    names = list(itertools.takewhile(_is_word, words[:3])) or list(words[:1])
    if family := _family(" ".join(names)):
        return UserError(f"consilium {' '.join(names)}: say which of {', '.join(family)}")
    modules = {entry.module: entry.name for entry in ENTRIES.values()}
    for name in _heads(names):
        near = [modules[name]] if name in modules else difflib.get_close_matches(name, ENTRIES, n=1)
        if near:
            return UserError(f"consilium: '{name}' is no command; did you mean '{near[0]}'?")
    return UserError(f"consilium: '{names[0]}' is no command; `consilium` lists them all")


if __name__ == "__main__":
    main()
