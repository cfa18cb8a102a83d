"""Reports in a prepared cohort: a patient's as one text."""

from typing import Any

import pandas as pd

from foundation.data.storage import HospitalFiles, Storage


class ReportStorage(Storage):
    """The column `report_text` of the patients' table."""

    name = "report"
    order = 40
    core = True

    def load(self, row: "pd.Series[Any]", files: HospitalFiles) -> str:
        return str(row["report_text"])


STORAGE = ReportStorage()
