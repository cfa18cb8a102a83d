"""Known markers: read from both forms, and where they stand."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from finetune.biomarkers.markers import read_markers, recovery
from foundation.errors import UserError


def test_markers_come_from_gmt_and_csv(tmp_path: Path):
    (tmp_path / "sets.gmt").write_text("glioma\t\tIDH1\tATRX\nastrocytoma\t\tATRX\n")
    assert read_markers(tmp_path / "sets.gmt").notes == {"IDH1": "glioma", "ATRX": "glioma, astrocytoma"}
    (tmp_path / "list.csv").write_text("gene,role,source\nIDH1,driver,a\nIDH1,driver,b\nCIC,,\n,lost,\n")
    assert read_markers(tmp_path / "list.csv").notes == {"IDH1": "driver, a, b", "CIC": "known"}


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("missing.csv", None, "no such file"),
        ("missing.gmt", None, "evidence.known: .*no such file"),
        ("list.csv", "symbol\nIDH1\n", "needs one named 'gene'"),
        ("empty.csv", "", "not readable"),
    ],
)
def test_what_is_no_list_of_markers_is_one_line(tmp_path: Path, name: str, text: str | None, words: str):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=words):
        read_markers(tmp_path / name)


def test_recovery_is_the_area_of_sklearn_over_genes_and_not_measurements(tmp_path: Path):
    (tmp_path / "list.csv").write_text("gene\nA\nB\nZ\n")
    markers = read_markers(tmp_path / "list.csv")
    genes, importance = ["A", "B", "C", "D", "A", "C"], np.array([0.1, 0.5, 0.4, 0.2, 0.9, 0.3])
    figures = recovery(genes, importance, markers, 2)
    assert figures["known_auc"].value == roc_auc_score([1, 1, 0, 0], [0.9, 0.5, 0.4, 0.2])
    assert figures["known_in_top"].value == 2 and figures["known_in_top_p"].value == pytest.approx(1 / 6)
    assert recovery(["C", "D"], np.array([1.0, 2.0]), markers, 2)["known_auc"].value is None
