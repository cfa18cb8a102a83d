"""Unique identifiers that follow from what they name, so that whatever is made twice is the same."""

import uuid

_NAMESPACE = uuid.UUID("7e3b1c52-6d0f-4c7a-9a53-2f4f5d0c9b11")  # of this project alone


def derived_uid(*parts: str) -> str:
    """A DICOM UID for these words, in their order.

    Source: DICOM PS3.5, B.2: 2.25 and a UUID as an integer.
    """
    return f"2.25.{uuid.uuid5(_NAMESPACE, chr(0).join(parts)).int}"
