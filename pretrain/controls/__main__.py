"""`python -m pretrain.controls`: a pretraining run and its negative controls, over seeds, in one table."""

from pathlib import Path
from typing import TYPE_CHECKING

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from foundation.command import command, plain
from foundation.errors import UserError
from foundation.files import read_json, write_json, write_text
from foundation.run_output import claim, clear
from foundation.run_record import RunRecord

if TYPE_CHECKING:
    from foundation.data.cohort import Cohort
    from foundation.data.splits import Split
    from pretrain.controls.table import Figures

SITE = "site alone"
_COMMAND = "python -m pretrain.controls"
_OWN = ("seed", "seeds", "controls", "output")  # settings that differ from run to run


@command("controls", loads="torch, pytorch_lightning, timm, transformers")
def main(cfg: DictConfig) -> None:
    """Trains every arm for every seed, reads its embeddings at held-out hospitals, and writes table and picture."""
    from pretrain.assemble import load_cohort
    from pretrain.controls.table import REFERENCE, draw, markdown

    output = Path(cfg.output)
    cohort, split = load_cohort(cfg)
    cohort.check_name(cfg.cohort.name)
    _check(cfg, cohort, split)
    if not cfg.resume:
        claim(output, _COMMAND, plain(cfg))
    arms: dict[str, list[str]] = {REFERENCE: []} | {name: [f"+control={name}"] for name in cfg.controls}
    overrides = [text for text in HydraConfig.get().overrides.task if text.lstrip("+").partition("=")[0] not in _OWN]
    pair = f"{cfg.images}_to_{cfg.genes}"
    names = [f"{pair}/r@1", f"{pair}/r@5", f"{pair}/r@10", f"{cfg.label}/linear_auc", f"{cfg.label}/knn_auc"]
    figures: Figures = {arm: {} for arm in [*arms, SITE]}
    with RunRecord.open(output, _COMMAND, plain(cfg), cfg.seed, [cohort.folder], cohort.facts()) as record:
        for seed in cfg.seeds:
            for arm, control in arms.items():
                folder = output / arm / f"seed_{seed}"
                run = hydra.compose("controls", [*overrides, *control, f"seed={seed}", f"output={folder}"])
                read = _finished(folder, run) if cfg.resume else None
                if read is None:
                    read = _run(run, folder, cohort, split, arm)
                    write_json(folder / "figures.json", {"config": plain(run), "figures": read})
                figures[arm][seed] = read[arm]
                if arm == REFERENCE:
                    figures[SITE][seed] = read[SITE]
                line = ", ".join(f"{name} {read[arm][name]:.3f}" for name in names if name in read[arm])
                print(f"seed {seed}, {arm}: {line}", flush=True)
        record.metrics.update({arm: {str(seed): read for seed, read in by.items()} for arm, by in figures.items()})
        hospitals = ", ".join(cfg.data.test_hospitals) or "the test part"
        table = markdown(figures, names, f"{cohort.name}: negative controls, tested on {hospitals}")
        write_text(output / "controls.md", table)
        draw(figures, names, output / "controls.png")
    print(f"\n{table}\ntable: {output / 'controls.md'}\npicture: {output / 'controls.png'}")


def _run(cfg: DictConfig, folder: Path, cohort: "Cohort", split: "Split", arm: str) -> dict[str, dict[str, float]]:
    from pretrain.assemble import learn_vocabularies
    from pretrain.controls.figures import Reading
    from pretrain.controls.table import REFERENCE
    from pretrain.fit import build_module, fit_round

    folder.mkdir(parents=True, exist_ok=True)
    clear(folder)
    hospitals = [name for name in cohort.hospitals if name not in cfg.data.test_hospitals]
    cfg = learn_vocabularies(cfg, cohort, split.train)
    result = fit_round(cfg, hospitals, None, folder, cfg.steps, 0, max(1, cfg.steps))
    encoder = build_module(cfg, result.weights, 0, 1).encoder
    reading = Reading(encoder, cohort, split, cfg.images, cfg.genes, cfg.label)
    figures = {arm: reading.of_embeddings()}
    return figures | {SITE: reading.of_site_alone()} if arm == REFERENCE else figures


def _check(cfg: DictConfig, cohort: "Cohort", split: "Split") -> None:
    for key in ("images", "genes"):
        if cfg[key] not in cfg.modality:
            raise UserError(f"{key}: '{cfg[key]}' is not configured; choose from {', '.join(cfg.modality)}")
    if cfg.label not in cohort.dictionary.labels:
        raise UserError(f"label: '{cfg.label}' is not in the cohort; choose from {', '.join(cohort.dictionary.labels)}")
    if not split.test:
        raise UserError("data.test_hospitals: nobody is held out; name hospitals, or set data.folds or data.split_file")


def _finished(folder: Path, cfg: DictConfig) -> dict[str, dict[str, float]] | None:
    """Figures of an arm that is done already; None where it is not, or was run with another config."""
    path = folder / "figures.json"
    if not path.is_file():
        return None
    content = read_json(path, "remove it to run this arm again", "config", "figures")
    how = {"resume": None, "overwrite": None}  # not what an arm is
    same = OmegaConf.create({**content["config"], **how}) == OmegaConf.create({**plain(cfg), **how})
    figures: dict[str, dict[str, float]] = content["figures"]
    return figures if same else None


if __name__ == "__main__":
    main()
