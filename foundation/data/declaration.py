"""`cohort.yaml`: a cohort's declaration, in which a hospital says what its files hold.

Files in their usual places need no word: each modality's `preparation.py` says which those are. Whatever lies
elsewhere, under other column names or in another unit is declared under `sources`.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, Field, Tag, ValidationError, model_validator

from foundation.data.dictionary import DataDictionary
from foundation.data.encoder_genes import with_genes
from foundation.data.landmarks import Landmark
from foundation.data.packages import modules
from foundation.data.problems import refuse, refuse_invalid
from foundation.data.sources import ONE_OR_MANY, AnySources, Sources, sources_model
from foundation.data.strict import Pattern, Strict
from foundation.data.tables import TableSource
from foundation.data.units import Unit

FILE = "cohort.yaml"
Model = TypeVar("Model", bound=BaseModel)


class HospitalColumn(Strict):
    """Hospitals named by a column of the patients' table; all files lie in one folder.

    Args:
        column: of the patients' table, after renaming; the patient's id if None.
        pattern: regular expression whose group names the hospital, where the cell holds more.
        table: translates what was found: keyed by it, its first column is the hospital's name.
        names: hospital as written there → as it shall be called.
        blank: name of the hospital of patients whose cell is blank; they are refused if None.
        smallest: hospitals with fewer patients are pooled under `rest`.
        rest: name of the pooled ones.
        leave_out: hospitals, as they shall be called, whose patients are not taken.
    """

    column: str | None = None
    pattern: Pattern | None = None
    table: TableSource | None = None
    names: dict[str, str] = Field({})
    blank: str | None = None
    smallest: int = 1
    rest: str = "others"
    leave_out: list[str] = Field([])

    @model_validator(mode="after")
    def _some_way(self) -> "HospitalColumn":
        if self.column is None and self.pattern is None:
            raise ValueError("give column, pattern or both")
        if self.table is not None and not self.table.columns:
            raise ValueError("table: give columns, the first of them the hospital's name")
        return self


class Deidentify(Strict):
    """What is done before anything is packed.

    Args:
        ids: `hash` replaces patient ids by keyed hashes.
        key: file of the key, which stays at the site; made if it is missing.
        text: what happens to identifiers found in reports.
    """

    ids: Literal["keep", "hash"] = "keep"
    key: str | None = None
    text: Literal["flag", "mask"] = "flag"

    @model_validator(mode="after")
    def _key_for_hash(self) -> "Deidentify":
        if self.ids == "hash" and self.key is None:
            raise ValueError("ids: hash needs key, a file that stays at the site")
        return self


class Declaration(Strict):
    """The whole of `cohort.yaml`.

    Args:
        name: of the cohort.
        synthetic: whether no person stands behind it.
        description: for readers of the model card.
        hospitals: names, a folder each; or the column that holds them.
        expression_units: by hospital, where it differs from the dictionary's.
        smallest_coverage: least share of the dictionary's genes that a hospital's expression must hold.
        unknown_patients: whether rows and files of patients who are not in the patients' table are errors or are left
            out.
        landmark: when predictions are made; nothing measured later enters an input.
        sources: where the files lie, unless in the usual places.
        deidentify: what is done before packing.
        withdrawn: file in the cohort's folder of patients who withdrew, an id a line; nothing of theirs is packed.
        dictionary: what columns and genes mean.
    """

    name: str
    synthetic: bool
    description: str
    hospitals: Annotated[Annotated[list[str], Tag("(list)")] | Annotated[HospitalColumn, Tag("(one)")], ONE_OR_MANY]
    expression_units: dict[str, Unit] = Field({})
    smallest_coverage: float = Field(0.5, ge=0, le=1)
    unknown_patients: Literal["error", "ignore"] = "error"
    landmark: Landmark | None = None
    sources: AnySources = Sources()
    deidentify: Deidentify = Deidentify()
    withdrawn: str | None = None
    dictionary: DataDictionary

    @model_validator(mode="after")
    def _somebody(self) -> "Declaration":
        if isinstance(self.hospitals, list):
            if not self.hospitals:
                raise ValueError("hospitals: none named")
            twice = {name for name in self.hospitals if self.hospitals.count(name) > 1}
            if twice:
                raise ValueError(f"hospitals: '{min(twice)}' stands twice")
        return self


def read_declaration(root: Path) -> Declaration:
    """The declaration in a cohort's folder.

    Raises:
        DataError: if it is missing, no YAML, or a field is wrong.
    """
    path = root / FILE
    if not path.is_file():
        raise refuse(path, "missing", "a cohort's folder declares itself there (see README, own data)")
    try:
        content = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise refuse(path, f"not readable as YAML ({error})", "mend the file") from error
    return declare(content, path)


def declare(content: Any, path: Path) -> Declaration:
    """A declaration from plain values; `path` is named in errors.

    Raises:
        DataError: naming the first field that is wrong.
    """
    if not isinstance(content, dict):
        raise refuse(path, f"found a {type(content).__name__}", "give name, hospitals, dictionary (see README)")
    content = dict(content)
    if "dictionary" in content:
        content["dictionary"] = with_genes(content["dictionary"], path)
    places = _valid(sources_model(), content.pop("sources", {}), path, "sources")
    declaration = _valid(Declaration, content, path)
    dictionary = declaration.dictionary
    for name in dictionary.settings:
        if name not in modules("preparation"):
            raise refuse(path, "no such modality", "see README, own data", field=f"dictionary.settings.{name}")
    for module in modules("preparation").values():
        dictionary = module.PREPARATION.approve(dictionary, path)
    return declaration.model_copy(update={"sources": places, "dictionary": dictionary})


def _valid(model: type[Model], content: Any, path: Path, *within: str) -> Model:
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise refuse_invalid(path, error, "see README, own data", *within) from error
