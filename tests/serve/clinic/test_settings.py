"""Settings of the clinic's command: what cannot be meant is refused in one line, before any patient is asked about."""

import pytest

from foundation.command import compose_as_typed
from foundation.errors import UserError
from serve.clinic.__main__ import _archive_settings, _settings


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        ("settle_seconds=abc", "settle_seconds: found abc; give 0 or more"),
        ("settle_seconds=-1", "settle_seconds: found -1; give 0 or more"),
        ("every_seconds=0.05", "every_seconds: found 0.05; give 0.1 or more"),
        ("every_seconds=nan", "every_seconds: found nan; give more than 0"),
        ("seconds=0", "seconds: found 0; give more than 0"),
        ("at_once=1.5", "at_once: found 1.5; give a whole number"),
        ("failures=null", "failures: found None; give more than 0"),
        ("heat_maps=no", "heat_maps: found no; give true or false"),
        ("modalities=CT", "modalities: found CT; give a list"),
        ("modalities=[]", "modalities: found .*; give a list"),
        ("find=CT", "find: found CT; give filters"),
        ("find.ModalitiesInStudy=[CT,MR]", "find.ModalitiesInStudy: found .*; give one text"),
        ("slices.side=0", "slices.side: "),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(typed: str, line: str):
    with pytest.raises(UserError, match=f"^{line}"):
        _settings(compose_as_typed("clinic", [typed]))


def test_settings_as_they_come_are_taken():
    settings = _settings(compose_as_typed("clinic", ["find.StudyDate=20260101", "at_once=1"]))
    assert settings.find == {"ModalitiesInStudy": "CT", "StudyDate": "20260101"}
    assert (settings.modalities, settings.at_once) == (["CT", "MR"], 1)
    assert _settings(compose_as_typed("clinic", ["find=null"])).find is None
    assert _settings(compose_as_typed("clinic", ["find.ModalitiesInStudy=null"])).find == {}


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        ("http://pacs/dicom-web", "archive.address: patients would go to another machine in the clear"),
        ("https://user:SECRET@pacs/dicom-web", "archive.address: holds a name, a password or a query"),
        ("https://pacs/dicom-web?token=SECRET", "archive.address: holds a name, a password or a query"),
        ("https://[::1", "archive.address: no address"),
        ("pacs:8042", "archive.address: found 'pacs:8042'"),
    ],
)
def test_addresses_that_tell_secrets_or_lead_nowhere_are_refused(typed: str, line: str):
    with pytest.raises(UserError, match=f"^{line}") as refused:
        _archive_settings(compose_as_typed("clinic", [f'archive.address="{typed}"']))
    assert "SECRET" not in str(refused.value)


def test_the_word_no_lets_no_patient_go_in_the_clear():
    typed = ["archive.address=http://pacs/dicom-web", "archive.unencrypted=no"]
    with pytest.raises(UserError, match="^archive.unencrypted: found no; give true or false"):
        _archive_settings(compose_as_typed("clinic", typed))
