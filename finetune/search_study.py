"""A search's space and study, how a trial is judged, and the page of all trials."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
from matplotlib.figure import Figure as Picture
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, Trial, TrialState

from finetune.page import Page
from foundation.data.sections import section
from foundation.errors import UserError
from foundation.sweep import Values, values_of

_FORMS = "key=interval(low, high), key=tag(log, interval(low, high)), key=range(from, to, step) or key=choice(a, b)"
_SAMPLERS: dict[str, type[RandomSampler] | type[TPESampler]] = {"tpe": TPESampler, "random": RandomSampler}
_METRIC, _ERROR = "metric", "error"
_INK, _SOFT = "#1f3a5f", "#b5651d"


@dataclass(frozen=True)
class Space:
    """What a search chooses among.

    Attributes:
        settings: by dotted key.
    """

    settings: dict[str, BaseDistribution]

    @classmethod
    def of(cls, texts: Sequence[str]) -> "Space":
        """From Hydra's words for sweeps.

        Raises:
            UserError: where one is none, or sets what another sets.
        """
        settings: dict[str, BaseDistribution] = {}
        for text in texts:
            try:
                values = values_of(text)
            except ValueError as error:
                raise UserError(f"search.space: {error}; write {_FORMS}") from error
            if values.key in settings:
                raise UserError(f"search.space: {values.key} stands there twice")
            settings[values.key] = _distribution(values)
        if not settings:
            raise UserError(f"search.space: empty; name settings, each as {_FORMS}")
        return cls(settings)

    def check_comparable(self, shared: Sequence[str], free: Sequence[str]) -> None:
        """Refuses a choice by which trials could not be held against each other.

        Args:
            shared: settings of which all trials have the same, by dotted key, each with all that is under it.
            free: those under them that may differ.

        Raises:
            UserError: naming the first.
        """
        for key in self.settings:
            setting = key.lstrip("+~").replace("/", ".").partition("@")[0]
            if setting not in free and any(f"{setting}.".startswith(f"{name}.") for name in shared):
                raise UserError(
                    f"search.space: {key}: trials that differ in it cannot be held against each other; "
                    "set it once for all, beside search.space"
                )

    def overrides(self, params: Mapping[str, Any]) -> list[str]:
        """As they are typed."""
        return [f"{key}={params[key]}" for key in self.settings]

    def example(self) -> list[str]:
        """One choice of all, by which a misspelt setting is seen."""
        first = {
            key: kind.choices[0] if isinstance(kind, CategoricalDistribution) else kind.low  # type: ignore[attr-defined]
            for key, kind in self.settings.items()
        }
        return self.overrides(first)


class Study:
    """Trials, kept in `study.db` (SQLite), which Optuna's own tools read.

    Args:
        output: the search's folder.
        space: of it.
        sampler: who proposes, `tpe` or `random`.
        seed: of the proposals.
        go_on: with the study that lies there.

    Raises:
        UserError: if there is no such sampler, or none to go on with.
    """

    def __init__(self, output: Path, space: Space, sampler: str, seed: int, go_on: bool) -> None:
        if sampler not in _SAMPLERS:
            raise UserError(f"search.sampler: found {sampler!r}; choose from {', '.join(_SAMPLERS)}")
        path = output / "study.db"
        if go_on and not path.is_file():
            raise UserError(f"{path}: missing, so there is no search to go on with; drop resume=true")
        output.mkdir(parents=True, exist_ok=True)
        if not go_on:
            path.unlink(missing_ok=True)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.space = space
        # What a search that goes on draws next follows from how far it has come.
        begun = len(optuna.load_study(study_name=None, storage=f"sqlite:///{path}").trials) if go_on else 0
        proposer: BaseSampler = _SAMPLERS[sampler](seed=seed + begun)
        self._study = optuna.create_study(
            study_name="search", storage=f"sqlite:///{path}", sampler=proposer, load_if_exists=go_on
        )
        for trial in self._study.get_trials(states=[TrialState.RUNNING]):  # what a killed search left
            self._study.tell(trial.number, state=TrialState.FAIL)

    @property
    def metric(self) -> str:
        """Name of what trials are judged by."""
        return str(self._study.user_attrs[_METRIC])

    def trials(self) -> list[FrozenTrial]:
        """All that ended by themselves, in order; one that was killed counts no more than if it had not begun."""
        ended = self._study.get_trials(states=[TrialState.COMPLETE, TrialState.FAIL])
        return [trial for trial in ended if trial.state == TrialState.COMPLETE or _ERROR in trial.user_attrs]

    def ask(self) -> Trial:
        """The next one, with its settings."""
        return self._study.ask(self.space.settings)

    def tell(self, trial: Trial, name: str, value: float) -> None:
        """How a trial was judged; of a metric that is no loss, more is better, and Optuna is told its negative."""
        self._study.set_user_attr(_METRIC, name)
        self._study.tell(trial, value if is_loss(name) else -value)

    def fail(self, trial: Trial, why: str) -> None:
        """A trial that came to no number."""
        trial.set_user_attr(_ERROR, why)
        self._study.tell(trial, state=TrialState.FAIL)

    def best(self) -> "Best":
        """The best trial.

        Raises:
            UserError: if all failed.
        """
        done = self._study.get_trials(states=[TrialState.COMPLETE])
        if not done:
            last = self.trials()[-1]
            raise UserError(f"search: all {len(self.trials())} trials failed; the last: {last.user_attrs.get('error')}")
        trial = self._study.best_trial
        return Best(trial.number, self.value_of(trial), trial.params)

    def value_of(self, trial: FrozenTrial) -> float:
        """What a finished trial was judged by, as it was measured."""
        assert trial.value is not None
        return trial.value if is_loss(self.metric) else -trial.value


@dataclass(frozen=True)
class Best:
    """The best trial.

    Attributes:
        number: counted from 0.
        value: of the metric.
        params: by dotted key.
    """

    number: int
    value: float
    params: dict[str, Any]


def is_loss(name: str) -> bool:
    """Whether less of a metric is better: heads' first metrics are such that more is."""
    return name.endswith("loss")


def judged(metrics: Mapping[str, Any], best_by: str) -> tuple[str, float]:
    """By what a trial counts: of experts, their first metric among patients left out; else the best validation.

    Raises:
        UserError: if it was not defined.
    """
    name = next((key for key in metrics if key.startswith("left_out/")), f"validation/best_{best_by}")
    value = metrics.get(name)
    if value is None or not np.isfinite(value):
        raise UserError(f"{name}: not defined among the validation patients; hold more of them out")
    return name, float(value)


def search_page(study: Study, title: str, again: str) -> Page:
    """All trials, what they came to, and the best one's command."""
    best, ended = study.best(), study.trials()
    done = [trial for trial in ended if trial.state == TrialState.COMPLETE]
    rows = {
        trial.number + 1: {
            **{key: _short(trial.params.get(key)) for key in study.space.settings},
            study.metric: f"{study.value_of(trial):.4f}" if trial.state == TrialState.COMPLETE else "failed",
            "why": str(trial.user_attrs.get(_ERROR, "")),
        }
        for trial in ended
    }
    table = pd.DataFrame.from_dict(rows, orient="index")
    lead = [
        f"Best of {len(ended)} trials: number {best.number + 1}, {study.metric} {best.value:.4f}.",
        f"The same again: {again}",
        "The best of many looks better than it is: evaluate it on patients that no trial saw.",
    ]
    sections = [
        section("Trials in order", [], _history(study, done)),
        section("By setting", [], *(_slice(study, done, key) for key in study.space.settings)),
        section("All trials", [table]),
    ]
    return Page(title, lead, sections, files={"search": table.rename_axis("trial").reset_index()})


def _distribution(values: Values) -> BaseDistribution:
    if values.choices:
        return CategoricalDistribution(values.choices)
    if values.step is not None and all(isinstance(number, int) for number in (values.low, values.high, values.step)):
        return IntDistribution(int(values.low), int(values.high), step=int(values.step))
    return FloatDistribution(values.low, values.high, log=values.log, step=values.step)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _history(study: Study, done: list[FrozenTrial]) -> Picture:
    figure = Picture(figsize=(7, 3), layout="constrained")
    axes = figure.subplots()
    values = [study.value_of(trial) for trial in done]
    numbers = [trial.number + 1 for trial in done]
    best = np.minimum.accumulate(values) if is_loss(study.metric) else np.maximum.accumulate(values)
    axes.plot(numbers, values, "o", color=_INK, label="trial")
    axes.step(numbers, best, where="post", color=_SOFT, label="best so far")
    axes.set(xlabel="trial", ylabel=study.metric)
    axes.legend(frameon=False, fontsize=9)
    return figure


def _slice(study: Study, done: list[FrozenTrial], key: str) -> Picture:
    figure = Picture(figsize=(7, 2.6), layout="constrained")
    axes = figure.subplots()
    axes.plot([trial.params[key] for trial in done], [study.value_of(trial) for trial in done], "o", color=_INK)
    if getattr(study.space.settings[key], "log", False):
        axes.set_xscale("log")
    axes.set(xlabel=key, ylabel=study.metric)
    return figure
