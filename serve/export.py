"""`python -m serve.export`: a fine-tuned model as a bundle folder and a TorchServe archive."""

from pathlib import Path

from omegaconf import DictConfig

from foundation.command import command, plain
from foundation.files import write_json
from foundation.lineage import LEARNED_IN, federated_runs
from foundation.run_output import claim
from foundation.run_record import RunRecord, read_run

_COMMAND = "python -m serve.export"


@command("export", loads="torch, timm, transformers")
def main(cfg: DictConfig) -> None:
    """Writes bundle and archive, and checks that the bundle answers as the fine-tuned model does."""
    from foundation.data.cohort import Cohort
    from serve import explained, signature
    from serve.agreement import check
    from serve.bundle import patient_to_compare, write_archive, write_bundle
    from serve.explanation import example
    from serve.program import archive as program

    run, output = Path(cfg.run), Path(cfg.output)
    card = None if cfg.card is None else Path(cfg.card)
    signing_key = None if cfg.signing_key is None else signature.read_signing_key(Path(cfg.signing_key))
    claim(output, _COMMAND, plain(cfg))
    fine_tuned = read_run(run)
    if card is not None:
        from serve.card.travel import checked

        card = checked(card, run)
    cohort = Cohort(Path(cfg.cohort_folder)) if cfg.cohort_folder else Cohort.of_run(run)
    with RunRecord.open(output, _COMMAND, plain(cfg), cfg.seed, [run], fine_tuned["data"]) as record:
        schema = write_bundle(
            run, output / "bundle", cfg.name, cohort, card, None if cfg.fhir is None else Path(cfg.fhir)
        )
        if cfg.program and (reason := program.add(output / "bundle")) is not None:
            print(f"no program in this bundle: torch.export cannot take {reason}")
        patient = cfg.example or patient_to_compare(run, cohort, schema)
        difference, request = check(run, output / "bundle", cohort, patient)
        record.metrics["largest_difference_to_eager"] = difference
        if signing_key is not None:
            signature.sign(output / "bundle", signing_key)
        archive = write_archive(output / "bundle", schema, output)
        record.note(LEARNED_IN, federated_runs(run))
        record.note("model", {"name": schema.name, "version": schema.version, "archive": archive.name})
        if cfg.example or cohort.synthetic:
            write_json(output / "patient.json", request)
            print(f"patient: {output / 'patient.json'}")
        if cohort.synthetic:
            explanation = example(output / "bundle", request)
            write_json(output / explained.FILE, explanation.model_dump(), sort_keys=False)
    print(f"bundle: {output / 'bundle'}\narchive: {archive}\nversion: {schema.version}")


if __name__ == "__main__":
    main()
