"""The genes of an encoder, for a cohort that shall be read as it was pretrained: `genes: {from: FOLDER}`."""

from pathlib import Path
from typing import Any

from foundation.data.problems import refuse

_FILE = "genes.txt"
_FIELD = "dictionary.genes"


def with_genes(dictionary: Any, path: Path) -> Any:
    """A data dictionary, its genes those of the encoder that it names, if it names one.

    Args:
        dictionary: as declared, plain values.
        path: of the declaration; a relative folder is looked for beside it, then where the command runs.

    Raises:
        DataError: if the folder is no encoder's, nor a run's that holds one, or the encoder reads no genes.
    """
    genes = dictionary.get("genes") if isinstance(dictionary, dict) else None
    if not isinstance(genes, dict):
        return dictionary
    if set(genes) != {"from"} or not isinstance(genes["from"], str):
        raise refuse(path, "neither a list nor {from: FOLDER}", "list symbols, or name an encoder's folder", _FIELD)
    folder = path.parent / genes["from"]
    folder = folder if folder.is_dir() else Path(genes["from"])
    file = next((one for one in (folder / _FILE, folder / "encoder" / _FILE) if one.is_file()), None)
    if file is None:
        advice = "name the folder of an encoder that reads genes, or of the run that pretrained it"
        raise refuse(path, f"no {_FILE} in that folder", advice, field=f"{_FIELD}.from", value=genes["from"])
    return {**dictionary, "genes": file.read_text().split()}
