"""The portals' content is drawn once."""

import pytest

from tests.foundation.data.portals.recorded_content import Content


@pytest.fixture(scope="session")
def content(tmp_path_factory) -> Content:
    return Content.record(tmp_path_factory.mktemp("content"))
