"""`python -m serve.drift`: what an endpoint is asked, beside the patients by whom its model was checked."""

from dataclasses import asdict
from pathlib import Path

from omegaconf import DictConfig

from foundation.command import command, plain
from foundation.errors import UserError
from foundation.files import read_json, write_json, write_text
from foundation.run_record import RunRecord

_NEEDED = ("bundle", "seal", "version")  # of host.json


@command("drift")
def main(cfg: DictConfig) -> None:
    """Verifies the audit trail, compares counts of use with the bundle's, and writes `drift.md` and `drift.json`."""
    from serve.monitoring import audit, observer, reference
    from serve.monitoring.drift import compare
    from serve.monitoring.report import render

    server, output = Path(cfg.server), Path(cfg.output)
    if cfg.days < 1:
        raise UserError(f"days: found {cfg.days}; give 1 or more")
    settings = read_json(server / "host.json", "give the output folder of python -m serve host=asgi", *_NEEDED)
    for name in _NEEDED:
        if not isinstance(settings[name], str):
            raise UserError(f"{server / 'host.json'}: '{name}' is no text; start the server again")
    expected = reference.load(Path(settings["bundle"]), settings["seal"])
    if expected is None:
        raise UserError(f"{server}: its bundle has no {reference.FILE} to compare with; export the model again")
    days = observer.load(server, settings["version"])
    entries, head = audit.verify(server)
    usage = observer.recent(days, cfg.days)
    compared = compare(expected, usage)
    with RunRecord.open(output, "python -m serve.drift", plain(cfg), cfg.seed) as record:
        record.metrics.update(answered=usage.answered, abstained=usage.abstained, refused=sum(usage.refused.values()))
        record.metrics["drifted"] = sum(one.drifted for one in compared)
        record.note("audit", {"entries": entries, "head": head})
        counted = sorted(days)[-cfg.days :]
        rows = [asdict(one) | {"drifted": one.drifted} for one in compared]
        write_json(output / "drift.json", {"days": counted, "usage": usage.model_dump(), "compared": rows})
        text = render(expected, usage, compared, counted)
        write_text(output / "drift.md", text)
    print(f"{text}\nreport: {output / 'drift.md'}; audit trail: {entries} lines, unbroken")


if __name__ == "__main__":
    main()
