"""A simulated life of eight quarters: hospitals that change, a federation that learns on, releases earned or refused.

`python scripts/bench/life.py` draws five hospitals of synthetic patients and lives through: patients who come each
quarter, a scanner that changes, a hospital that joins, one that leaves, patients who withdraw, a quarter in which two
hospitals' exports invert the label and which is lived anew when they are repaired, a modality that comes later and is
grafted. In each quarter the real commands prepare what changed, let the federation learn on from its last weights,
train a head, evaluate, propose and promote; the release in use answers the newcomers before anybody learns from them,
and their outcomes come a quarter later to each hospital's feedback.

At the end it holds against the ledgers: no promoted release is worse than the one before at any hospital beyond the
interval; the poisoned one was refused, and its twin on the same patients with labels as they are was promoted; who
withdrew is in no file; every ledger is whole and agrees with the others.
Exit code 1 where one of these does not hold. The last line is the time it took.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from life_parts.checks import checked
from life_parts.lives import Life, Settings
from life_parts.world import QUARTERS, Events


def main() -> None:
    """Lives once."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", type=int, default=60, help="patients of a hospital when it comes")
    parser.add_argument("--more", type=int, default=12, help="patients who come to each in every later quarter")
    parser.add_argument("--quarters", type=int, default=len(QUARTERS), help="to live through, at most eight")
    parser.add_argument("--seed", type=int, default=0, help="of all patients and of training")
    parser.add_argument("--folder", type=Path, help="for all files, which stay there; a temporary one if not given")
    options = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="life-") as scratch:
        folder = (options.folder or Path(scratch)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        life = Life(folder, Settings(options.first, options.more, options.seed), Events())
        for quarter in range(options.quarters):
            life.live(quarter)
            print(f"  {time.monotonic() - started:.0f} s", flush=True)
        failed = checked(life, options.quarters)
        for command, seconds in sorted(life.processes.seconds.items(), key=lambda one: -one[1]):
            print(f"{seconds:7.1f} s  {command}")
    print(f"{options.quarters} quarters in {(time.monotonic() - started) / 60:.1f} minutes")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
