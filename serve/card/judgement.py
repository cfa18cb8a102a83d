"""Judgement: what no run can know, said by people in one small file."""

from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from foundation.errors import UserError

FILE = "judgement.yaml"
NOT_APPLICABLE = "not_applicable"
_LONGEST = 4000  # characters of an answer


class _TwiceError(ValueError):
    """A question that is answered twice."""


class _Answers(yaml.SafeLoader):
    """YAML in which no key stands twice: of two answers to a question, YAML itself would keep the last in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping, refused where a key stands twice."""
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in lines:
                first, second = lines[key.value], key.start_mark.line + 1
                raise _TwiceError(f"'{str(key.value)[:40]}' is answered twice, in lines {first} and {second}")
            lines[str(key.value)] = key.start_mark.line + 1
        return super().construct_mapping(node, deep)


def template() -> str:
    """The file to fill in, with its questions."""
    return resources.files("serve.card").joinpath(FILE).read_text(encoding="utf-8")


def questions() -> dict[str, str]:
    """By field, what is asked."""
    asked = {}
    for row in template().splitlines():
        field, mark, question = row.partition("#")
        if mark and field.strip():
            asked[field.strip().rstrip(":")] = question.strip()
    return asked


def read(path: Path) -> dict[str, Any]:
    """Answers by field; a field that nobody answered is None, and one that does not apply a mapping with the reason.

    Raises:
        UserError: if the file is missing, no YAML, or holds an unknown field or an answer that is no text.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Answers)
    except FileNotFoundError as error:
        raise UserError(f"{path}: missing; python -m serve.card questions {path} writes one to fill in") from error
    except _TwiceError as error:
        raise UserError(f"{path}: {error}; keep one answer") from error
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{path}: not readable as YAML ({error}); mend it") from error
    except RecursionError as error:
        raise UserError(f"{path}: nested too deep; write a text beside each question") from error
    known = questions()
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds no answers by field; python -m serve.card questions FILE writes one to fill in")
    for field in content:
        if field not in known:
            raise UserError(f"{path}: '{field}' is no question; known are {', '.join(known)}")
    return {field: _answer(path, field, content.get(field)) for field in known}


def _answer(path: Path, field: str, answer: Any) -> Any:
    """An answer as it was given, if it is one."""
    applies = not (isinstance(answer, dict) and list(answer) == [NOT_APPLICABLE])
    text = answer if applies else answer[NOT_APPLICABLE]
    if (text is None and applies) or (isinstance(text, str) and 0 < len(text.strip()) <= _LONGEST):
        return text if applies else answer
    # Nested aliases may be longer in words than any memory.
    what = f"a {type(text).__name__}" if isinstance(text, list | dict | set | tuple) else repr(str(text)[:40])
    raise UserError(f"{path}: {field} is {what}; write a text, nothing, or {{{NOT_APPLICABLE}: why}}")
