"""A plan that recurs, over a real SuperLink: approved once, run when enough is new, and not before."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.foundation.federation.deployed_sites import SITES, Running, command, run, until

pytestmark = [pytest.mark.slow, pytest.mark.process]

POLICY = "approval: owner\nstatistics: [new]\n"


@pytest.fixture
def federation(tmp_path: Path, small_cohort: Path) -> Iterator[Running]:
    running = Running(tmp_path / "federation", small_cohort)
    running.provision(*SITES)
    for name in SITES:
        (running.home(name) / "policy.yaml").write_text(POLICY)
    try:
        for name in ("server", *SITES):
            running.start(name)
        until(lambda: running.online(*SITES))
        yield running
    finally:
        for name in list(running.processes):
            running.kill(name)


def look(federation: Running, output: Path) -> str:
    """What the timer's command says at its end."""
    settings = ["experiment=demo", "federation=deployment", f"federation.server={federation.server}", "rounds=1"]
    settings += [f"sites=[{','.join(SITES)}]", f"data.folder={federation.cohort}", "data.test_hospitals=[]"]
    settings += ["steps_per_round=1", "data.batch_size=8", "quorum=1.0"]
    quoted = ",".join(f'"{one}"' for one in settings)
    bounds = ["every_days=0", "standing.new_patients=5"]
    done = run(command("foundation.federation.schedule", f"output={output}", f"settings=[{quoted}]", *bounds))
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()[-1]


def test_a_plan_is_approved_once_and_runs_where_enough_is_new(federation: Running, tmp_path: Path) -> None:
    output = tmp_path / "standing"
    said = look(federation, output)
    assert said.startswith("not due: 0 of 2 hospitals have enough that is new"), said
    assert said.count("awaits this hospital's approval") == 2
    plan = said.partition("plan: ")[2].split()[0]
    for name in SITES:
        decision = ["action=approve", f"plan={plan}"]
        done = run(command("foundation.federation.plans", f"site={federation.home(name)}/site.yaml", *decision))
        assert done.returncode == 0 and "approved for every run within its bounds" in done.stdout
    assert look(federation, output).startswith("run: ")
    assert len(list(output.glob("*/encoder"))) == 1
    said = look(federation, output)
    assert said.count("fewer than 5 new patients since the runs before") == 2, said
    assert len(list(output.glob("*/encoder"))) == 1
