"""`python -m finetune`: a task head on a pretrained encoder."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from foundation.command import command, plain
from foundation.lineage import NOTE, note_of, seen_by
from foundation.run_output import begin, claim, folder_digest
from foundation.run_record import RunRecord, is_main_process

_COMMAND = "python -m finetune"


@command("finetune", loads="torch, pytorch_lightning, timm, transformers")
def main(cfg: DictConfig) -> None:
    """Trains the head, calibrates it on the validation patients and writes the task model."""
    train_head(cfg)


def train_head(cfg: DictConfig) -> dict[str, Any]:
    """The command itself, also as one of several trials; metrics of its run record."""
    from finetune.aligned import check_aligned
    from finetune.assemble import blocks_of, build_head, check_vocabulary, encoder_folder, task_modalities
    from finetune.fit import fit, save, unread
    from finetune.learning.hospital_sums import HospitalSums, SumSettings, keeps_sums
    from finetune.learning.start import doubts_of, patients_to_learn, release_digest, without_waiting
    from finetune.patients import count_modalities, patients_with_target, target_columns, told_outcomes
    from foundation.data.cohort import Cohort
    from foundation.data.splits import configured_split
    from foundation.encoder import MultimodalEncoder
    from foundation.engine.trainer import seeded

    output = Path(cfg.output)
    folder, pretraining = encoder_folder(Path(cfg.pretrained))
    encoder = MultimodalEncoder.from_pretrained(folder)
    cohort = Cohort(Path(cfg.data.folder))
    cohort.check_name(cfg.cohort.name)
    parts = configured_split(cohort, cfg.data)
    release, learned, start = Path(cfg.pretrained), parts, {}
    if cfg.get("learning") is not None or (cfg.method == "sums" and keeps_sums(release)):
        start = {"release": release_digest(release)}
        forget = SumSettings.read(plain(cfg.sums)).forget if cfg.method == "sums" else ()
        learned = patients_to_learn(cohort, parts, release, forget)
        for warning in doubts_of(cohort, release):
            print(f"warning: {warning}")
    depends_on = {"cohort": cohort.digest, "patients": learned.digest, "encoder": folder_digest(folder), **start}
    claim(output, _COMMAND, plain(cfg), depends_on)
    check_vocabulary(encoder, cohort)
    modalities = task_modalities(cfg.task, encoder)
    with seeded(cfg.seed):
        head = build_head(cfg.task, encoder.width, blocks_of(cfg, encoder, modalities))
    if head.reads_aligned:
        check_aligned(pretraining, modalities)
    hidden = plain(cfg.task.drop_inputs) if cfg.task.drop_inputs else {}
    train, validation = (
        patients_with_target(cohort, part, head, modalities, hidden) for part in (learned.train, learned.validation)
    )
    if cfg.method == "sums" and keeps_sums(release):
        sums = SumSettings.read(plain(cfg.sums))
        kept = HospitalSums.read(release).without(sums.forget).patients
        train, validation, waiting = without_waiting(train, validation, kept, sums.fewest)
        for warning in waiting:
            print(f"warning: {warning}")
    # Of all who are here, those whom a release has learned from among them: the new ones may be of one class.
    targets = target_columns(cohort, patients_with_target(cohort, parts.train, head, modalities, hidden).patients, head)
    counts = head.count(targets)
    head.check(counts)
    for doubt in [*head.doubts(targets), *head.scarce(counts), *unread(cfg, head)]:
        print(f"warning: {doubt}")
    if cfg.private is None:  # the head's file would tell what was taken from the counts
        head.set_counts(counts)
    parents = [*pretraining, cohort.folder]
    begin(output, plain(cfg), depends_on)
    with RunRecord.open(output, _COMMAND, plain(cfg), cfg.seed, parents, cohort.facts(), depends_on) as record:
        if is_main_process():
            parts.save(output / "split.json", cohort.digest)
        model, metrics = fit(cfg, encoder, head, train, validation)
        if not is_main_process():
            return {}
        save(model, cfg.task, modalities, output)
        record.metrics.update(metrics)
        if model.privacy is not None:
            record.note("privacy", model.privacy)
        else:
            record.note("outcomes", {"train": told_outcomes(head, counts, cohort.synthetic)})
        patients = [*train.patients, *validation.patients]
        hospitals = cohort.patients.loc[patients, "hospital"].tolist()
        record.note(NOTE, note_of(output, train.patients, validation.patients, hospitals))
        record.note("inputs", model.encoder.coverage(lambda name: cohort.values(patients, name)))
        record.note("patients", {"train": len(train), "validation": len(validation)})
        record.note("samples", count_modalities(train))
    for line in seen_by(output, cohort.patients.loc[parts.test, "hospital"].to_dict(), cfg.data.test_hospitals)[0]:
        print(f"warning: {line}; python -m finetune.evaluate will not call them held out")
    print(f"task model: {output}\nevaluate it: python -m finetune.evaluate run={output}")
    return record.metrics


if __name__ == "__main__":
    main()
