"""Checkpoints on disk: whole ones are found, what a kill left is not, and parts that do not fit are refused."""

from pathlib import Path

import pytest

from foundation.engine.checkpoints import check_layout, find_checkpoint
from foundation.errors import UserError
from foundation.files import write_json
from pretrain.fit import fit_round


@pytest.mark.parametrize("folder", [True, False])
def test_the_latest_whole_checkpoint_is_found_be_it_file_or_folder(folder: bool, tmp_path: Path):
    checkpoints = tmp_path / "checkpoints"
    checkpoints.mkdir()
    for name in ("step=3.ckpt", ".step=6.ckpt.writing"):
        (checkpoints / name).mkdir() if folder else (checkpoints / name).touch()
    (checkpoints / "last.ckpt").symlink_to("step=3.ckpt")
    assert find_checkpoint(tmp_path) == (checkpoints / "step=3.ckpt").resolve()
    (checkpoints / "last.ckpt").unlink()
    with pytest.raises(UserError, match=r"last\.ckpt: nothing to resume from; drop resume=true to start anew$"):
        find_checkpoint(tmp_path)


def test_parts_of_another_trainer_are_refused_and_whole_weights_fit_any_number_of_processes(tmp_path: Path):
    parts, whole = tmp_path / "step=3.ckpt", tmp_path / "step=4.ckpt"
    parts.mkdir()
    write_json(parts / "layout.json", {"layout": "DeepSpeed ZeRO-2 on 2 processes"})
    whole.touch()
    check_layout(whole, "whole weights")
    check_layout(parts, "DeepSpeed ZeRO-2 on 2 processes")
    for checkpoint, layout in (
        (parts, "DeepSpeed ZeRO-2 on 1 processes"),
        (parts, "whole weights"),
        (whole, "DeepSpeed ZeRO-1 on 2 processes"),
    ):
        with pytest.raises(UserError, match=rf"keeps .*, this one keeps {layout}; .*set trainer and trainer\.devices"):
            check_layout(checkpoint, layout)


def test_a_kill_while_a_checkpoint_is_written_leaves_the_one_before(configure, tmp_path: Path, monkeypatch):
    cfg = configure("checkpoint_every=1", "validate_every=0", "monitor_every=0", "loggers=[]", "keep_checkpoints=1")
    rename = Path.replace

    def killed(path: Path, target: Path) -> Path:
        if path.name == ".step=3.ckpt.writing":
            raise RuntimeError("killed")
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(RuntimeError, match="killed"):
            fit_round(cfg, ["riverside"], None, tmp_path, 4, 0, 4)
    names = {path.name for path in (tmp_path / "checkpoints").iterdir()}
    assert names == {"step=2.ckpt", "last.ckpt", ".step=3.ckpt.writing"}
    fit_round(cfg, ["riverside"], None, tmp_path, 4, 0, 4, resume=find_checkpoint(tmp_path))
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {"step=4.ckpt", "last.ckpt"}


def test_a_run_killed_after_its_last_step_gives_its_weights_when_resumed(configure, tmp_path: Path):
    cfg = configure("checkpoint_every=2", "validate_every=0", "monitor_every=0", "loggers=[]", "ema=0.5")
    whole = fit_round(cfg, ["riverside"], None, tmp_path, 4, 0, 4)
    again = fit_round(cfg, ["riverside"], None, tmp_path, 4, 0, 4, resume=find_checkpoint(tmp_path))
    assert whole.weights.keys() == again.weights.keys()
    assert all((whole.weights[name] == again.weights[name]).all() for name in whole.weights)
    assert whole.samples == again.samples
