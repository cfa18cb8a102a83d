"""The command with `once=true`, as a timer starts it: it ends in an error where nobody could be asked."""

import sys
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra

from foundation.ports import free_ports
from serve.clinic.__main__ import main
from serve.schema import FILE
from tests.serve.clinic.stub_endpoint import contract


def test_an_archive_that_is_away_is_an_error_of_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "own/bundle").mkdir(parents=True)
    (tmp_path / "own/bundle" / FILE).write_text(contract().schema.model_dump_json())
    address = f"http://127.0.0.1:{free_ports(1)[0]}/dicom-web"
    settings = ["bundle=own", "output=clinic", f"archive.address={address}", "once=true"]
    monkeypatch.setattr(sys, "argv", ["python -m serve.clinic", "start", *settings])
    monkeypatch.chdir(tmp_path)
    GlobalHydra.instance().clear()
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    output = capsys.readouterr()
    assert output.out.splitlines()[-1] == "stopped: 0 asked, 0 answered, 0 stored, 0 refused"
    assert output.err.splitlines()[-1].startswith(f"error: {address}: the archive does not answer (ConnectError)")
