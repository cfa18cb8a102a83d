"""Features in the place of the images that they were taken of, when a cohort is packed."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from foundation.data.dictionary import DataDictionary
from foundation.data.extraction.contract import Reading
from foundation.data.extraction.feature_file import read_attributes
from foundation.data.image_looks import digest
from foundation.data.listing import list_images
from foundation.data.packages import modules
from foundation.data.preparation import preparations
from foundation.data.problems import Problems, refuse
from foundation.data.site import Site
from foundation.data.tables import Kinds, TableSource, read_source
from foundation.errors import UserError
from foundation.run_record import is_finished, read_run

_AGAIN = "run python -m foundation.data features again, with this cohort"


def substitute_features(
    sites: Sequence[Site], folder: Path, dictionary: DataDictionary, problems: Problems
) -> DataDictionary:
    """Lists a hospital's files of features where its images were listed, for each modality that has them.

    Args:
        sites: hospitals, read; changed in place.
        folder: output of `python -m foundation.data features`.
        dictionary: of the cohort.
        problems: takes what is wrong with a listing.

    Returns:
        The dictionary with the encoder of each modality's features, on which hospitals must agree.

    Raises:
        UserError: if the run did not finish, or its features are not those of the files that are listed now.
    """
    if not is_finished(folder):
        raise UserError(f"{folder}: no finished features; {_AGAIN}, which goes on")
    taken = [name for name in preparations() if any((folder / site.name / f"{name}.csv").is_file() for site in sites)]
    if not taken:
        raise UserError(f"{folder}: lists no features of {', '.join(site.name for site in sites)}; {_AGAIN}")
    facts = read_run(folder)["notes"]["features"]
    for site in sites:
        for name in taken:
            if name in site.tables:
                _substitute(site, name, folder, facts["encoder_digest"], problems)
    encoders = {name: {key: facts[key] for key in ("encoder", "encoder_digest", "dim")} for name in taken}
    return dictionary.model_copy(update={"settings": dictionary.settings | encoders})


def _substitute(site: Site, name: str, folder: Path, encoder: str, problems: Problems) -> None:
    table = folder / site.name / f"{name}.csv"
    if not table.is_file():
        raise refuse(table, "missing, though the hospital has images", _AGAIN)
    source = type(site.sources[name])(table=TableSource(file=table.name), kind="features")
    listed = list_images(table.parent, source, site.patients.index, problems)
    before, after = (each.index.value_counts() for each in (site.tables[name], listed))
    differ = before.index.union(after.index)
    differ = differ[before.reindex(differ, fill_value=0).to_numpy() != after.reindex(differ, fill_value=0).to_numpy()]
    if len(differ):
        finding = f"{len(differ)} patients have another number of files than features were taken of"
        raise refuse(table, finding, _AGAIN)
    names = read_source(table.parent, source.table, unique=False, kinds=Kinds(text=["file", "source"]))
    images = site.tables[name].assign(
        source=names.sort_index(kind="stable")["source"].tolist(), features=listed["path"].tolist()
    )
    _check_images(images, modules("extraction")[name].READING, encoder, table)
    site.tables[name], site.sources[name], site.files[name] = listed, source, table


def _check_images(images: pd.DataFrame, reading: Reading, encoder: str, table: Path) -> None:
    """Refuses features of another encoder than the run's last one, and of images that were exchanged since.

    Only an image that was written after its features is read again: reading terabytes takes hours.

    Args:
        images: as listed now, each with the name of that which its features were taken of, `source`, and `features`.
        reading: of the modality's files.
        encoder: digest of the run's.
        table: that lists the features.

    Raises:
        DataError: naming the first.
    """
    for path, source, features in zip(images["path"], images["source"], images["features"], strict=True):
        if Path(path).name != source:
            raise refuse(table, f"features were taken of {source}, and {Path(path).name} is listed there now", _AGAIN)
        facts = read_attributes(Path(features))
        if facts.get("encoder_digest") != encoder:
            finding = f"made by {facts.get('encoder')}, not by the encoder of the last run into that folder"
            raise refuse(Path(features), finding, f"{_AGAIN}; another encoder's go into a folder of their own")
        files, taken = reading.files(Path(path)), Path(features).stat().st_mtime_ns
        if max(file.stat().st_mtime_ns for file in files) > taken and digest(files) != facts.get("source_digest"):
            raise refuse(Path(path), "not what features were taken of: its content has changed since", _AGAIN)
