"""The release of this project that is installed here."""

from importlib.metadata import version


def installed_release() -> str:
    """Its version."""
    return version("consilium")
