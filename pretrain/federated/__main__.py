"""`python -m pretrain.federated`: pretraining across hospitals whose data stay where they are."""

import os
import shutil
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

# Read by Flower when it is first imported, so it is said before.
os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")

from foundation.command import command, plain
from foundation.engine.deepspeed import consolidated_state
from foundation.errors import UserError
from foundation.run_record import RunRecord, digest_of
from pretrain.assemble import load_cohort
from pretrain.federated.rounds import Rounds
from pretrain.federated.server_app import server_app
from pretrain.federated.simulation import simulate
from pretrain.fit import Weights, build_module, to_weights


@command("federated")
def main(cfg: DictConfig) -> None:
    """Runs the rounds and writes the encoder's portable folder."""
    output = Path(cfg.output)
    cohort, _ = load_cohort(cfg)
    OmegaConf.update(cfg, "sites", list(cohort.declared))
    if set(cfg.data.test_hospitals) >= set(cohort.declared):
        raise UserError("data.test_hospitals: every hospital is held out; leave one to train")
    same = {key: value for key, value in plain(cfg).items() if key not in ("output", "resume", "progress")}
    rounds = Rounds(output, digest_of(same))
    if not cfg.resume:
        shutil.rmtree(output / "rounds", ignore_errors=True)
    weights = (rounds.resume() if cfg.resume else None) or to_weights(consolidated_state(build_module(cfg, None, 0, 1)))
    with RunRecord.open(
        output, "python -m pretrain.federated", plain(cfg), cfg.seed, [cohort.folder], cohort.facts()
    ) as record:
        final = run(cfg, weights, rounds, output)
        build_module(cfg, final, 0, 1).encoder.save_pretrained(output / "encoder")
        last = rounds.history[-1]
        record.metrics.update({"evaluation": last["evaluation"]})
        record.note("coverage", last["coverage"])
        record.note("samples", {site: facts["samples"] for site, facts in last["training"].items()})
    print(f"encoder: {output / 'encoder'}\nhistory: {output / 'history.json'}")


def run(cfg: DictConfig, weights: Weights, rounds: Rounds, output: Path) -> Weights:
    """The final weights.

    Raises:
        UserError: with the line of the site or node that failed.
    """
    found: list[Weights] = []
    failed: list[UserError] = []
    app = server_app(cfg, weights, rounds, found.append, failed.append)
    simulate(app, len(cfg.sites), **plain(cfg.federation), home=output / "flower")
    if failed:
        raise failed[0]
    return found[0]


if __name__ == "__main__":
    main()
