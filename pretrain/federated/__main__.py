"""`python -m pretrain.federated`: pretraining across hospitals whose data stay where they are."""

import os
import shutil
import signal
from pathlib import Path
from types import FrameType

from omegaconf import DictConfig, OmegaConf

# Read by Flower when it is first imported, so it is said before.
os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")

from foundation.command import command, plain
from foundation.errors import UserError
from foundation.federation.report.page import write_report
from foundation.federation.runtime.run import run
from foundation.federation.server.checkpoints import Checkpoints
from foundation.federation.weights.local import local_names
from foundation.federation.weights.sharing import frozen_digests, place, travelling
from foundation.run_record import RunRecord, digest_of
from pretrain.assemble import load_cohort
from pretrain.federated.bank.accounting import bank_note
from pretrain.federated.bank.embeddings import check_run
from pretrain.federated.bank.settings import bank_of
from pretrain.fit import build_module, to_weights


@command("federated")
def main(cfg: DictConfig) -> None:
    """Runs the rounds and writes the encoder's portable folder; told to stop, it leaves nothing running."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        _pretrain(cfg)
    except KeyboardInterrupt:
        raise UserError(f"{cfg.output}: stopped; go on with resume=true") from None


def _pretrain(cfg: DictConfig) -> None:
    output = Path(cfg.output)
    cohort, _ = load_cohort(cfg)
    if cfg.sites is None:
        OmegaConf.update(cfg, "sites", list(cohort.declared))
    if set(cfg.data.test_hospitals) >= set(cfg.sites):
        raise UserError("data.test_hospitals: every hospital is held out; leave one to train")
    module = build_module(cfg, None, 0, 1)
    local = local_names(module, cfg.strategy.get("local") or [])
    OmegaConf.update(cfg, "strategy.local", list(local), force_add=True)
    if (bank := bank_of(cfg)) is not None:
        check_run(bank, module, local)
    same = {key: value for key, value in plain(cfg).items() if key not in ("output", "resume", "progress")}
    checkpoints = Checkpoints(output, digest_of(same))
    if not cfg.resume or checkpoints.resume() is None:
        shutil.rmtree(output / "rounds", ignore_errors=True)
        state = to_weights(module.state_dict())
        names = travelling(module, local)
        buffers = {name for name, _ in module.named_buffers()} & names
        checkpoints.begin({name: state[name] for name in names}, buffers, frozen_digests(module, local))
    with RunRecord.open(
        output, "python -m pretrain.federated", plain(cfg), cfg.seed, [cohort.folder], cohort.facts()
    ) as record:
        place(module, dict(run(cfg, checkpoints)), {}, local)
        module.encoder.save_pretrained(output / "encoder")
        last = checkpoints.history[-1]
        record.metrics.update({"evaluation": last["evaluation"]})
        record.note("coverage", last["coverage"])
        record.note("privacy", last.get("privacy"))
        record.note("bank", bank_note(checkpoints.history))
        record.note("absent", {line["round"]: line["absent"] for line in checkpoints.history if line["absent"]})
        record.note("samples", {site: facts["samples"] for site, facts in last["training"].items()})
    report = write_report(output, [Path(other) for other in cfg.compare])
    print(f"encoder: {output / 'encoder'}\nhistory: {output / 'history.json'}\nreport: {report}")


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
