"""`python -m finetune.search`: a task head's settings, searched on the patients that training validates on.

Optuna (Akiba et al. 2019) proposes settings, and each trial is what `python -m finetune` does with them. A head that is
trained by steps is judged by its validation patients, experts by patients whose hospital a fit left out; nobody else is
looked at. The study lies in `study.db`, so that a search goes on where it stopped, and `optuna` reads it.
"""

import shlex
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from finetune.__main__ import train_head
from finetune.page import PAGE
from foundation.command import command, compose_as_typed, plain
from foundation.errors import Stopped, UserError
from foundation.run_output import BESIDE_WEIGHTS, claim, folder_digest
from foundation.run_record import RunRecord
from foundation.sweep import typed as typed_settings

_COMMAND = "python -m finetune.search"
_OWN = ("search.", "output=", "resume=", "overwrite=", "progress=", "embeddings=")
TRIALS = "trials"  # folder of task models
# What says on whom, of what and by which number trials are judged, and where they lie; with all that is under each.
_SHARED = (
    *("output", "resume", "overwrite", "progress", "embeddings", "search"),
    *("pretrained", "cohort", "task", "method", "best_by", "data.validation_fraction", "data.split_seed"),
    *(f"data.{name}" for name in ("folder", "test_hospitals", "folds", "fold", "stratify", "split_file")),
)
_LEARNT = ("task.head.dropout",)  # what of these changes how a head learns alone


@command("search", loads="torch, pytorch_lightning, timm, transformers, optuna")
def main(cfg: DictConfig) -> None:
    """Writes index.html, search.csv, and a task model in trials/<number> for each trial."""
    from finetune.assemble import encoder_folder
    from finetune.search_study import Space, Study, judged, search_page
    from foundation.data.cohort import Cohort
    from foundation.data.splits import configured_split

    output, wanted = Path(cfg.output), cfg.search.trials
    if not isinstance(wanted, int) or wanted < 1:
        raise UserError(f"search.trials: found {wanted!r}; give a count from 1")
    if OmegaConf.select(cfg, "trainer.strategy", default="auto") not in (None, "auto"):
        raise UserError("trainer: trials of a search train in one process; choose a trainer of one device")
    folder, pretraining = encoder_folder(Path(cfg.pretrained))
    cohort = Cohort(Path(cfg.data.folder))
    patients = configured_split(cohort, cfg.data).digest
    depends_on = {"cohort": cohort.digest, "patients": patients, "encoder": folder_digest(folder)}
    space = Space.of([str(text) for text in cfg.search.space])
    space.check_comparable(_SHARED, _LEARNT)
    typed = [text for text in typed_settings() if not text.lstrip("+~").startswith(_OWN)]
    # A frozen encoder's embeddings are the same for all trials.
    fixed = [*typed, f"embeddings={_quoted(cfg.embeddings)}", "overwrite=true", "progress=false"]
    compose_as_typed("finetune", [*fixed, *space.example()])  # a setting that is not there ends the search at once
    claim(output, _COMMAND, plain(cfg), depends_on, (*BESIDE_WEIGHTS, "search.trials"), ends=False)
    study = Study(output, space, cfg.search.sampler, cfg.seed, go_on=cfg.resume)
    parents = [*pretraining, cohort.folder]
    with RunRecord.open(output, _COMMAND, plain(cfg), cfg.seed, parents, cohort.facts(), depends_on) as record:
        while len(study.trials()) < wanted:
            trial = study.ask()
            number, chosen = trial.number + 1, space.overrides(trial.params)
            print(f"trial {number} ({wanted - len(study.trials()) - 1} to come): {' '.join(chosen)}", flush=True)
            place = f"output={_quoted(output / TRIALS / str(number))}"
            try:
                name, value = judged(train_head(compose_as_typed("finetune", [*fixed, *chosen, place])), cfg.best_by)
            except UserError as error:
                if isinstance(error, Stopped):
                    raise
                study.fail(trial, str(error))
                print(f"trial {number} failed: {error}", flush=True)
                continue
            study.tell(trial, name, value)
            best = study.best()
            print(f"trial {number}: {name} {value:.4f}; the best so far is {best.value:.4f}", flush=True)
        best = study.best()
        again = shlex.join(["python", "-m", "finetune", *typed, *space.overrides(best.params)])
        page = search_page(study, f"Search: {cfg.task.name} on {cfg.cohort.name}", again)
        page.write(output, {"source": str(output), "split": "validation", "seed": cfg.seed})
        record.metrics.update({f"search/{study.metric}": best.value, "search/trials": len(study.trials())})
    print(f"page: {output / PAGE}\nbest: {output / TRIALS / str(best.number + 1)}\nthe same again: {again}")


def _quoted(path: object) -> str:
    """A path as Hydra takes it, whatever is in it; null where there is none."""
    if path is None:
        return "null"
    text = str(path).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{text}'"


if __name__ == "__main__":
    main()
