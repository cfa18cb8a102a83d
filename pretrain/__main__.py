"""`python -m pretrain`: pretraining at one place, on any Lightning strategy."""

from pathlib import Path

from omegaconf import DictConfig

from foundation.command import command, plain
from foundation.lineage import NOTE
from foundation.run_output import begin, claim
from foundation.run_record import RunRecord, is_main_process

_COMMAND = "python -m pretrain"


@command("pretrain", loads="torch, pytorch_lightning, timm, transformers")
def main(cfg: DictConfig) -> None:
    """Trains the encoder and writes its portable folder."""
    from foundation.data.dataset import PatientDataset
    from foundation.engine.checkpoints import find_checkpoint
    from pretrain.assemble import learn_vocabularies, load_cohort, trained_patients
    from pretrain.evaluation import evaluate_weights
    from pretrain.fit import build_module, fit_round
    from pretrain.spots import FILE, write_spots

    output = Path(cfg.output)
    cohort, split = load_cohort(cfg)
    cohort.check_name(cfg.cohort.name)
    depends_on = {"cohort": cohort.digest, "patients": split.digest}
    claim(output, _COMMAND, plain(cfg), depends_on)
    resume = find_checkpoint(output) if cfg.resume else None
    hospitals = [name for name in cohort.hospitals if name not in cfg.data.test_hospitals]
    begin(output, plain(cfg), depends_on)
    with RunRecord.open(output, _COMMAND, plain(cfg), cfg.seed, [cohort.folder], cohort.facts(), depends_on) as record:
        cfg = learn_vocabularies(cfg, cohort, split.train)
        result = fit_round(cfg, hospitals, None, output, cfg.steps, 0, cfg.steps, resume=resume)
        if not is_main_process():
            return
        record.note(NOTE, trained_patients(cfg, cohort, split, output))
        module = build_module(cfg, result.weights, 0, 1)
        encoder = module.encoder
        encoder.save_pretrained(output / "encoder")
        record.note("inputs", encoder.coverage(lambda name: cohort.values(split.train, name)))
        record.metrics.update(result.metrics)
        record.note("samples", result.samples)
        held_out = list(cfg.data.test_hospitals)
        if held_out:
            record.metrics["held_out"] = evaluate_weights(cfg, held_out, result.weights)
        held_back = PatientDataset(cohort, split.evaluation(bool(held_out)), list(encoder.modalities))
        spots = write_spots(module, held_back, output)
        if spots:
            record.metrics["spots"] = spots
    if spots:
        finding = f"{spots['median_correlation']:.3f} in the median of {spots['genes']:.0f} genes"
        print(
            f"expression of spots: correlation {finding}, {spots['patients']:.0f} patients held back: {output / FILE}"
        )
    print(f"encoder: {output / 'encoder'}")


if __name__ == "__main__":
    main()
