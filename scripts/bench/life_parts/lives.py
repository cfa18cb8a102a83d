"""A quarter of the simulated life, by the project's commands."""

import json
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from life_parts.processes import Processes
from life_parts.world import LABEL, QUARTERS, Events, World
from serve.client import to_request
from serve.schema import BundleSchema

_POLICY = "statistics: [feedback]\npatients: {cell: 5}\n"
REPAIRED = "-repaired"  # end of the name of a quarter that is lived anew
FIRST_ROUNDS, ROUNDS, STEPS = 3, 1, 12  # of the federation when it begins and in each later quarter, steps of a round


@dataclass(frozen=True)
class Settings:
    """How large a life is: patients at first, more a quarter, seed."""

    first: int
    more: int
    seed: int


@dataclass
class Quarter:
    """What became of one, or of the same anew when hospitals had repaired their exports.

    Attributes:
        name: of the quarter.
        runs: folder of all that was trained and judged in it.
        release: that was proposed.
        promoted: whether it was put to use.
        broken: rules that stood in its way.
        alarms: hospital and test, of those that stand since.
    """

    name: str
    runs: Path
    release: str
    promoted: bool
    broken: list[str]
    alarms: list[str] = field(default_factory=list)


class Life:
    """All quarters.

    Args:
        folder: for all files.
        settings: of the life.
        events: that happen in it.
    """

    def __init__(self, folder: Path, settings: Settings, events: Events) -> None:
        self.folder, self.settings = folder, settings
        self.world = World(folder, settings.first, settings.more, events, settings.seed)
        self.processes = Processes(folder / "logs")
        self.cohort, self.registry = folder / "cohort", folder / "releases"
        self.quarters: list[Quarter] = []
        self.encoder: Path | None = None

    def live(self, number: int) -> None:
        """One quarter; a poisoned one is lived anew, on the same patients with labels as they are."""
        name = QUARTERS[number]
        print(f"{name}: {', '.join(self.world.hospitals(number))}", flush=True)
        self.world.show(number)
        self._prepare(number)
        self._answer_newcomers(number)
        self._pretrain(number, self.folder / "runs" / name)
        self._earn(name)
        if number == self.world.events.poisoned[0]:
            print("  repaired:", flush=True)
            self.world.show(number, repaired=True)
            self._prepare(number)
            self._earn(f"{name}{REPAIRED}")
        self.quarters[-1].alarms = self._outcomes(number)
        print(f"  alarms: {self.quarters[-1].alarms}", flush=True)

    def _earn(self, name: str) -> None:
        """A head on today's encoder, and whether it is put to use."""
        runs = self.folder / "runs" / name
        self._train(runs)
        quarter = self._release(name, runs)
        self.quarters.append(quarter)
        if quarter.promoted:
            self._declare(quarter.release)
        print(f"  {quarter.release} {'promoted' if quarter.promoted else 'refused'}", flush=True)

    def in_use(self) -> str | None:
        """Name of the release that answers."""
        return next((one.release for one in reversed(self.quarters) if one.promoted), None)

    def feedback(self, hospital: str) -> Path:
        """Folder of a hospital's feedback."""
        return self.folder / "feedback" / hospital

    def _prepare(self, number: int) -> None:
        cohort = ("cohort=folder", "cohort.name=life", f"cohort.root={self.world.root}", f"output={self.cohort}")
        _, text = self.processes.run("foundation.data prepare", *cohort)
        print("  " + next((line for line in text.splitlines() if "new" in line), "prepared"), flush=True)
        if self.world.withdrawn:
            gone = self.folder / "withdrawn.txt"
            gone.write_text("\n".join(self.world.names(self.world.withdrawn)))
            for hospital in self._with_feedback():
                self.processes.run("serve.feedback forget", f"folder={self.feedback(hospital)}", f"table={gone}")
            runs = [f"folder={self.cohort}", f"runs=[{self.folder / 'runs'}]", "purge=true"]
            self.processes.run("foundation.data withdrawn", "cohort=folder", "cohort.name=life", *runs)

    def _data(self) -> list[str]:
        where = ["cohort=folder", "cohort.name=life", f"cohort.root={self.world.root}", f"data.folder={self.cohort}"]
        parts = ["data.test_hospitals=[]", "data.folds=3", "data.fold=0"]
        return [*where, *parts, f"seed={self.settings.seed}", "progress=false", "loggers=[]"]

    def _pretrain(self, number: int, runs: Path) -> None:
        """The federation learns on, from the weights of the quarter before; a modality that comes is grafted."""
        modality, since = self.world.events.grafted
        more = ["experiment=demo", "federation=serial", f"steps_per_round={STEPS}", *self._data()]
        more += [f"~modality.{modality}"] if number < since else []
        more += [f"rounds={FIRST_ROUNDS if self.encoder is None else ROUNDS}"]
        more += [] if self.encoder is None else [f"continues={self.encoder}"]
        more += [f"graft=[{modality}]"] if number == since else []
        self.processes.run("pretrain.federated", *more, f"output={runs / 'pretrain'}")
        self.encoder = runs / "pretrain"

    def _train(self, runs: Path) -> None:
        head = ["task=biomarker", "method=experts", f"pretrained={self.encoder}", *self._data()]
        self.processes.run("finetune", *head, f"output={runs / 'head'}")

    def _release(self, name: str, runs: Path) -> Quarter:
        """Evaluated, exported, proposed and promoted or refused, beside the release in use on patients of today."""
        of_run, quick = [f"run={runs / 'head'}"], ["resamples=200"]
        current = self.in_use()
        jobs = [self.processes.start("finetune.evaluate", *of_run, *quick, f"output={runs / 'evaluation'}")]
        before = runs / "before"
        if current is not None:
            of_current = [f"run={self._head_of(current)}", "came_since=true", *quick, f"output={before}"]
            jobs.append(self.processes.start("finetune.evaluate", *of_current))
        for job in jobs:
            self.processes.wait(job)
        export = runs / "export"
        _, text = self.processes.run("serve.export", *of_run, f"output={export}")
        version = re.findall(r"version: (\w+)", text)[0]
        rules = [f"registry={self.registry}", "rules.auroc=0.05", "rules.brier=0.03", "rules.calibration=0.08"]
        proposal = [f"export={export}", f"evaluation={runs / 'evaluation'}", *rules]
        _, text = self.processes.run("serve.release propose", *proposal)
        release = re.findall(r"proposed: (\S+)", text)[0]
        assert release.endswith(version)
        beside = [] if current is None else [f"before={before}"]
        code, text = self.processes.run("serve.release promote", *rules, *beside, codes=(0, 2))
        print("  " + text.strip().splitlines()[-1], flush=True)
        broken = [line.strip() for line in text.split("\nerror: ")[0].splitlines() if ": broken, " in line]
        return Quarter(name, runs, release, code == 0, broken)

    def _head_of(self, release: str) -> Path:
        return next(one.runs for one in self.quarters if one.release == release) / "head"

    def _declare(self, release: str) -> None:
        """Each hospital writes down what the release is held to, before it answers anybody."""
        for site in self.world.root.iterdir():
            if site.is_dir():
                where = [f"folder={self.feedback(site.name)}", f"bundle={self.registry / 'releases' / release}"]
                self.processes.run("serve.feedback declare", *where)

    def _answer_newcomers(self, number: int) -> None:
        """The release in use answers who came this quarter, before anybody learns from them."""
        current = self.in_use()
        if current is None:
            return
        from foundation.data.cohort import Cohort

        home = self.folder / "answers" / QUARTERS[number]
        home.mkdir(parents=True)
        bundle = self.registry / "releases" / current
        cohort, schema = Cohort(self.cohort), BundleSchema.load(bundle / "bundle")
        hospitals = self.world.hospitals(number)
        place = {one: name for name in hospitals for one in self.world.names(self.world.newcomers(name, number))}
        requests = {one: to_request(cohort.sample(one), schema) for one in place if one in cohort.patients.index}
        rows = [{"patient_id": one, "request": json.dumps(request)} for one, request in requests.items() if request]
        pd.DataFrame(rows).to_parquet(home / "requests.parquet")
        asked = [f"bundle={bundle}", f"patients={home / 'requests.parquet'}", f"output={home / 'batch'}"]
        self.processes.run("serve.batch", *asked)
        lines = [json.loads(line) for line in (home / "batch/answers.jsonl").read_text().splitlines()]
        for hospital in self.world.hospitals(number):
            own = home / f"{hospital}.jsonl"
            own.write_text("".join(f"{json.dumps(one)}\n" for one in lines if place[one["patient_id"]] == hospital))
            where = [f"folder={self.feedback(hospital)}", f"bundle={bundle}"]
            self.processes.run("serve.feedback declare", *where)
            kept = [f"folder={self.feedback(hospital)}", f"answers={own}", f"quarter={QUARTERS[number]}"]
            self.processes.run("serve.feedback keep", *kept)
        shutil.rmtree(home)

    def _outcomes(self, number: int) -> list[str]:
        """Outcomes of earlier quarters' patients come; each hospital looks, shares, and what they share is added."""
        alarms, shares = [], []
        policy = self.folder / "policy.yaml"
        policy.write_text(_POLICY)
        for hospital in self._with_feedback():
            if hospital not in self.world.hospitals(number):
                continue
            folder, table = self.feedback(hospital), self.folder / f"outcomes-{hospital}.csv"
            came = self.world.outcomes(hospital, number)
            came.assign(patient_id=self.world.names(came["patient_id"].tolist())).to_csv(table, index=False)
            where = [f"folder={folder}", f"quarter={QUARTERS[number]}"]
            self.processes.run("serve.feedback outcomes", *where, f"table={table}", f"column={LABEL}")
            table.unlink()
            page = folder / QUARTERS[number]
            code, _ = self.processes.run("serve.feedback look", *where, f"output={page}", codes=(0, 1))
            if code:
                tests = json.loads((page / "feedback.json").read_text())["tests"]
                alarms += [f"{hospital}: {one['test']} since {one['alarm']}" for one in tests if one["alarm"]]
            shared = page / "share.json"
            sent = [f"folder={folder}", f"policy={policy}", f"hospital={hospital}", f"output={shared}"]
            self.processes.run("serve.feedback share", *sent)
            shares.append(shared)
        if shares:
            together = self.folder / "feedback" / "pooled" / QUARTERS[number]
            given = f"shares=[{','.join(map(str, shares))}]"
            code, _ = self.processes.run("serve.feedback pool", given, f"output={together}", codes=(0, 1))
            tests = json.loads((together / "feedback.json").read_text())["tests"]
            alarms += [f"all: {one['test']} since {one['alarm']}" for one in tests if one["alarm"]]
        return alarms

    def _with_feedback(self) -> list[str]:
        known = (self.folder / "feedback").glob("*/feedback.jsonl")
        return sorted(path.parent.name for path in known)
