"""A search: its space in Hydra's words, its study, and the whole command on the small cohort."""

import json
import sqlite3
from pathlib import Path

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from finetune.search import main
from finetune.search_study import Space, Study, judged
from foundation.errors import UserError

SPACE = Space.of(["optimizer.learning_rate=tag(log, interval(1e-4, 1e-1))", "steps=range(2, 5)"])


def test_a_space_is_what_hydra_calls_a_sweep():
    space = Space.of(
        ["a.b=tag(log, interval(1e-4, 1e-2))", "c=interval(1, 3)", "d=range(0, 1, 0.25)", "e=choice(x, 2)"]
    )
    assert space.settings == {
        "a.b": FloatDistribution(1e-4, 1e-2, log=True),
        "c": FloatDistribution(1, 3),
        "d": FloatDistribution(0, 0.75, step=0.25),
        "e": CategoricalDistribution(("x", "2")),
    }
    assert space.overrides({"a.b": 0.001, "c": 2.5, "d": 0.5, "e": "x"}) == ["a.b=0.001", "c=2.5", "d=0.5", "e=x"]
    assert Space.of(["f=range(0, 10, 3)"]).settings == {"f": IntDistribution(0, 9, step=3)}


@pytest.mark.parametrize(
    ("texts", "line"),
    [
        ([], "search.space: empty; name settings"),
        (["a=1"], "'a=1' is no range and no choice"),
        (["a=interval(3, 1)"], "is no range from low to high"),
        (["a=tag(log, interval(0, 1))"], "above 0 for log"),
        (["a=interval(1,"], "is not readable"),
        (["a=choice(1, 2)", "a=choice(3, 4)"], "a stands there twice"),
    ],
)
def test_a_space_that_is_none_is_one_line(texts, line):
    with pytest.raises(UserError, match=line.replace("(", r"\(")):
        Space.of(texts)


def test_the_best_trial_is_the_lowest_loss_and_the_highest_of_any_other_metric(tmp_path: Path):
    for name, best in (("validation/best_loss", 0.1), ("left_out/auc", 0.9)):
        study = Study(tmp_path / name, SPACE, "random", 0, go_on=False)
        for value in (0.5, best, 0.3):
            study.tell(study.ask(), name, value)
        assert (study.best().number, study.best().value) == (1, best)


def test_a_study_that_goes_on_keeps_its_trials_and_forgets_the_one_that_was_killed(tmp_path: Path):
    study = Study(tmp_path, SPACE, "tpe", 0, go_on=False)
    first = study.ask()
    study.tell(first, "validation/best_loss", 0.5)
    study.fail(study.ask(), "loss is not finite")
    study.ask()  # killed
    again = Study(tmp_path, SPACE, "tpe", 0, go_on=True)
    assert [trial.number for trial in again.trials()] == [0, 1]
    assert again.best().params == first.params
    assert again.ask().number == 3
    with pytest.raises(UserError, match="no search to go on with"):
        Study(tmp_path / "other", SPACE, "tpe", 0, go_on=True)
    with pytest.raises(UserError, match="choose from tpe, random"):
        Study(tmp_path, SPACE, "grid", 0, go_on=False)


def test_a_search_of_nothing_but_failures_says_why(tmp_path: Path):
    study = Study(tmp_path, SPACE, "random", 0, go_on=False)
    study.fail(study.ask(), "loss is not finite")
    with pytest.raises(UserError, match="all 1 trials failed; the last: loss is not finite"):
        study.best()


def test_experts_are_judged_by_hospitals_left_out_and_steps_by_validation():
    assert judged({"left_out/auc": 0.8, "validation/best_loss": 0.3}, "loss") == ("left_out/auc", 0.8)
    assert judged({"validation/auc": 0.8, "validation/best_loss": 0.3}, "loss") == ("validation/best_loss", 0.3)
    with pytest.raises(UserError, match="validation/best_auc: not defined"):
        judged({"validation/loss": 0.3}, "auc")


@pytest.mark.parametrize(
    "key",
    ["data.split_seed", "+data.fold", "pretrained", "task", "+task.head.class_weights", "best_by", "output"],
)
def test_a_space_of_what_trials_must_share_is_refused(build, small_cohort, tmp_path, monkeypatch, capsys, key):
    build().encoder.save_pretrained(tmp_path / "encoder")
    common = [f"pretrained={tmp_path / 'encoder'}", f"data.folder={small_cohort}", "steps=1", "search.trials=1"]
    space = f'search.space=["+task.head.dropout=interval(0, 1)","{key}=choice(1, 2)"]'
    monkeypatch.setattr("sys.argv", ["search", *common, f"output={tmp_path / 'search'}", space])
    with pytest.raises(SystemExit):
        main()
    line = f"search.space: {key}: trials that differ in it cannot be held against each other"
    assert line in capsys.readouterr().err


def test_the_command_searches_goes_on_and_names_the_best(build, small_cohort, tmp_path, monkeypatch, capsys):
    output = tmp_path / "it's a search"
    build().encoder.save_pretrained(tmp_path / "encoder")
    common = [f"pretrained={tmp_path / 'encoder'}", f"data.folder={small_cohort}", "frozen=true", "validate_every=1"]
    common += ["data.test_hospitals=[summit]", "loggers=[csv]", "optimizer.warmup=0", "search.sampler=random"]
    quoted = str(output).replace("'", "\\'")
    common += ['search.space=["optimizer.learning_rate=tag(log, interval(1e-3, 1e-1))","steps=range(2, 5)"]']

    def search(*more: str) -> None:
        monkeypatch.setattr("sys.argv", ["search", *common, f"output='{quoted}'", *more])
        main()

    search("search.trials=2")
    search("search.trials=3", "resume=true")
    page = (output / "index.html").read_text()
    assert "Best of 3 trials" in page
    records = [json.loads((output / "trials" / str(place) / "run.json").read_text()) for place in (1, 2, 3)]
    whole = json.loads((output / "run.json").read_text())
    assert {record["depends_on"]["patients"] for record in [whole, *records]} == {whole["depends_on"]["patients"]}
    losses = [record["metrics"]["validation/best_loss"] for record in records]
    assert whole["metrics"] == {"search/validation/best_loss": min(losses), "search/trials": 3}
    assert (output / "trials" / "1" / "head.safetensors").is_file()
    assert len({record["config"]["optimizer"]["learning_rate"] for record in records}) == 3
    assert f"best: {output / 'trials' / str(losses.index(min(losses)) + 1)}" in capsys.readouterr().out
    with sqlite3.connect(output / "study.db") as kept:
        assert kept.execute("select count(*) from trials").fetchone() == (3,)
    with pytest.raises(SystemExit):
        search("search.trials=3")
    assert "holds the finished results" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        search('search.space=["optimizer.learningrate=choice(1, 2)"]', "output=" + str(tmp_path / "none"))
    assert "did you mean 'learning_rate'?" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
