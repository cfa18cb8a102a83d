"""Commands as Hydra apps, whose bad input ends in one clear line and exit code 2.

A command's module imports at its top what is light, and in `main`, before anything else, what does the work. So
`--help`, completion and a misspelt setting answer at once, and only work waits for PyTorch.
"""

import difflib
import functools
import os
import re
import runpy
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.utils import instantiate as instantiate
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from foundation import help as help_page
from foundation import sweep
from foundation.catalogue import entry_of
from foundation.errors import AlreadyFinished, Stopped, UserError
from foundation.pipes import ends_with_reader
from foundation.run_record import is_main_process
from foundation.settings import check_settings, setting_names

__all__ = ["choose", "command", "compose_as_typed", "compose_installed", "instantiate", "name_first_argument"]
__all__ += ["one_line", "plain", "run_another"]

_HELD_OUT = ("cohort.test_hospitals", "data.test_hospitals")
_LISTS_OF_NAMES = (
    *("sites", *_HELD_OUT, "tool.treated_hospitals"),  # of hospitals
    *("split", "predict", "strata.fixed_on"),  # of parts of a split
    *("subgroups", "tool.covariates"),  # of columns
    *("task.modalities", "data.modalities"),
)
_NAMES = ("cohort.name", "example", "site")  # of a cohort, a patient, a hospital


def command(
    config_name: str, loads: str = "", fills: Collection[str] = ()
) -> Callable[[Callable[[DictConfig], None]], Callable[[], None]]:
    """Makes a function of a config into a command.

    Args:
        config_name: the primary config under `configs/`, for example `pretrain`.
        loads: the large packages that `main` imports, named in the first line of output, for they take seconds.
        fills: lists of hospitals that `main` fills in itself where they are null; elsewhere null is nobody.
    """

    def decorate(main: Callable[[DictConfig], None]) -> Callable[[], None]:
        # Hydra would print and exit by itself with code 1; with this switch it raises, and the error is said here.
        os.environ["HYDRA_FULL_ERROR"] = "1"

        @functools.wraps(main)
        def job(cfg: DictConfig) -> None:
            with ends_with_reader():  # here and below, because Hydra would add a line of its own to what escapes a job
                try:
                    sweep.begin_job(cfg)
                    _names_as_text(cfg, fills)
                    check_settings(unresolved(cfg), config_name)
                    _say_what_loads(loads)
                    main(cfg)
                except AlreadyFinished as done:
                    print(done)
                except (UserError, HydraException, OmegaConfBaseException) as error:
                    line = _user_line(error, config_name)
                    if isinstance(error, Stopped) or not sweep.keep_error(cfg, line):
                        _leave(line)

        app = hydra.main(version_base="1.3", config_path="pkg://configs", config_name=config_name)(job)

        @functools.wraps(main)
        def run() -> None:
            with ends_with_reader():
                try:
                    if {"-h", "--help"} & set(sys.argv[1:]):
                        print(_help(main, config_name))
                    else:
                        app()
                except (HydraException, OmegaConfBaseException) as error:
                    _leave(_user_line(error, config_name))

        return run

    return decorate


def choose(program: str, actions: Mapping[str, Callable[[], None]], text: str) -> None:
    """Runs the command that the first argument names, and hands Hydra the others.

    Args:
        program: what the user typed before.
        actions: commands by name.
        text: said for `--help`.
    """
    name = sys.argv[1] if len(sys.argv) > 1 else "nothing"
    if name in ("-h", "--help"):
        with ends_with_reader():
            print(text)
        return
    if name not in actions:
        *some, last = actions
        _leave(f"{program}: '{name}' given; say {', '.join(some)} or {last}")
    del sys.argv[1]
    # Hydra knows no switches of ours: this one is the habit of command lines.
    sys.argv = ["strict=true" if argument == "--strict" else argument for argument in sys.argv]
    actions[name]()


def run_another(module: str, arguments: Sequence[str]) -> None:
    """Runs another command's module from within a running one, as if it had been typed; where it fails, both end."""
    GlobalHydra.instance().clear()
    sys.argv = [f"python -m {module}", *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def compose_installed(config_name: str, overrides: Sequence[str]) -> DictConfig:
    """A config of the installed release, as its command would have it; also from within a running command.

    Raises:
        UserError: on a setting that the config has not.
    """
    running = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with hydra.initialize_config_module("configs", version_base="1.3"):
            return hydra.compose(config_name, list(overrides))
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(one_line(error, config_name)) from error
    finally:
        GlobalHydra.instance().hydra = running


def compose_as_typed(config_name: str, overrides: Sequence[str]) -> DictConfig:
    """The config that a command's `main` would get for these arguments.

    Raises:
        UserError: on a setting that the config has not, or that nothing reads.
    """
    cfg = compose_installed(config_name, overrides)
    _names_as_text(cfg)
    check_settings(unresolved(cfg), config_name)
    return cfg


def name_first_argument(setting: str, arguments: list[str]) -> list[str]:
    """`VALUE key=value` as Hydra takes it: `setting="VALUE" key=value`."""
    if arguments and not arguments[0].startswith("-") and "=" not in arguments[0]:
        quoted = arguments[0].replace("\\", "\\\\").replace('"', '\\"')
        return [f'{setting}="{quoted}"', *arguments[1:]]
    return arguments


def plain(cfg: DictConfig) -> dict[str, Any]:
    """The resolved config as plain values, for constructors and run records."""
    content = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}


def unresolved(cfg: DictConfig) -> dict[str, Any]:
    """The config as it was composed: a setting that must be given may be missing, and others name it."""
    content = OmegaConf.to_container(cfg)
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}


def one_line(error: Exception, config_name: str) -> str:
    """The first telling line of a configuration error, with the nearest known key where one was misspelt."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    key = re.search(r"[Kk]ey '([^']+)'", str(error)) or re.search(r"Could not override '([^']+)'", str(error))
    hint = f"see `--help` of this command for what can be set (config {config_name}.yaml)"
    if key:
        wrong = key.group(1).split(".")[-1]
        near = difflib.get_close_matches(wrong, setting_names(config_name) - {wrong}, n=1)
        added = "what the class of a _target_ takes beside is added with +"
        hint = f"did you mean '{near[0]}'?" if near else f"{added}; {hint}"
    if "Could not find" in text and "Available options" in str(error):
        options = [line for line in lines[1:] if "/" not in line and " " not in line]
        hint = "available: " + ", ".join(options)
    return f"{text.rstrip('.')}; {hint}"


def _help(main: Callable[[DictConfig], None], config_name: str) -> str:
    """The page of `--help`, with the values that the other arguments lead to."""
    import configs

    overrides = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    with hydra.initialize_config_module("configs", version_base="1.3"):
        cfg = hydra.compose(config_name, overrides, return_hydra_config=True)
    config = OmegaConf.to_container(cfg)
    assert isinstance(config, dict)
    values = {str(key): value for key, value in config.items()}
    spec = sys.modules[main.__module__].__spec__
    module = spec.name if spec else main.__module__
    entry = entry_of(module, main.__name__)
    usage = [f"consilium {entry.name}", entry.typed] if entry else [f"python -m {module}"]
    text = (f"{entry.line[0].upper()}{entry.line[1:]}. " if entry else "") + (main.__doc__ or "")
    return help_page.page(Path(next(iter(configs.__path__))), config_name, usage, text, values)


def _say_what_loads(packages: str) -> None:
    missing = [name for name in packages.split(", ") if name and name not in sys.modules]
    if missing and is_main_process():
        print(f"loading {', '.join(missing)}", flush=True)


def _names_as_text(cfg: DictConfig, fills: Collection[str] = ()) -> None:
    """Makes text of names that YAML and Hydra read as numbers, a list of one hospital, and an empty one of null."""
    for key in _HELD_OUT:
        if key not in fills and _is_null(cfg, key):
            OmegaConf.update(cfg, key, [])
    for keys, convert in ((_LISTS_OF_NAMES, _texts), (_NAMES, str)):
        for key in keys:
            value = None if OmegaConf.is_missing(cfg, key) else OmegaConf.select(cfg, key)
            if value is not None:
                OmegaConf.update(cfg, key, convert(value))


def _is_null(cfg: DictConfig, key: str) -> bool:
    group, _, name = key.rpartition(".")
    node = OmegaConf.select(cfg, group)
    return node is not None and name in node and not OmegaConf.is_missing(node, name) and node[name] is None


def _texts(value: Any) -> list[str]:
    return [str(name) for name in (value if isinstance(value, ListConfig) else [value])]


def _user_line(error: Exception, config_name: str) -> str:
    """The line of the user's error that Hydra may have wrapped, else of the configuration error."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, UserError):
            return str(cause)
        cause = cause.__cause__
    return one_line(error, config_name)


def _leave(message: str) -> None:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)
