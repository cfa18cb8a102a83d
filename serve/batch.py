"""`python -m serve.batch`: a cohort, or a table of requests, through a bundle; as the endpoint answers, without one."""

import shutil
from pathlib import Path

from omegaconf import DictConfig

from foundation.command import command, plain
from foundation.errors import UserError
from foundation.run_output import claim
from foundation.run_record import FILE, RunRecord

_COMMAND = "python -m serve.batch"
_BESIDE = ("output", "resume", "overwrite", "bundle", "patients", "trusted_key", "workers", "seconds")


@command("batch")
def main(cfg: DictConfig) -> None:
    """Asks about every patient and writes `answers.jsonl`; `resume=true` goes on with what a kill has left."""
    import psutil

    from serve import bulk
    from serve.asgi.pool import Limits
    from serve.verification import verify_bundle

    if cfg.part_size < 1:
        raise UserError(f"part_size: found {cfg.part_size}; give 1 or more")
    output, folder, source = Path(cfg.output), Path(cfg.bundle), Path(cfg.patients)
    schema, _ = verify_bundle(folder / "bundle", None if cfg.trusted_key is None else Path(cfg.trusted_key))
    facts = None
    if not source.is_dir():
        patients = bulk.of_table(source)
    else:
        from foundation.data.cohort import Cohort

        cohort = Cohort(source)
        patients, facts = bulk.of_cohort(cohort, schema), cohort.facts()
    depends_on = {"patients": patients.digest, "bundle": schema.version}
    claim(output, _COMMAND, plain(cfg), depends_on, _BESIDE, left=bulk.PARTS)
    if not cfg.resume and (output / bulk.PARTS).is_dir():
        shutil.rmtree(output / bulk.PARTS)
    workers = cfg.workers or psutil.cpu_count(logical=False) or 1
    limits = Limits(workers, cfg.batch_size, cfg.part_size, 1 << 62, cfg.seconds)
    parents = [path for path in (folder, source) if (path / FILE).is_file()]
    with RunRecord.open(output, _COMMAND, plain(cfg), cfg.seed, parents, facts, depends_on) as record:
        record.note("model", {"name": schema.name, "version": schema.version})
        counts = bulk.answer(folder / "bundle", patients, output, limits, cfg.part_size)
        record.metrics.update({name.replace(" ", "_"): count for name, count in counts.items()})
    said = ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "nobody to ask about"
    print(f"answers: {output / bulk.ANSWERS}\n{said}")


if __name__ == "__main__":
    main()
