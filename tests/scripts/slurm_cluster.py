"""A Slurm of one node for a test, from Debian's packages: `apt-get install slurmctld slurmd slurm-client munge`.

Its three daemons run as the present user, on ports of their own, with everything that they write in one folder; a Slurm
that the machine belongs to is left alone. Without control groups, which containers lack: `proctrack/linuxproc`.
"""

import os
import re
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from getpass import getuser
from pathlib import Path

from foundation.ports import free_ports

PROGRAMS = {
    name: shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") for name in ("munged", "slurmctld", "slurmd")
}
INSTALLED = None not in PROGRAMS.values() and shutil.which("sbatch") is not None
# cred_expire is also how long a job waits before it starts again. Jobs of `low` make room for `high`.
_CONFIG = """
ClusterName=toy
SlurmctldHost={host}
SlurmUser={user}
SlurmdUser={user}
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=none
ReturnToService=2
KillWait=120
SlurmdParameters=config_overrides
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 State=UNKNOWN
PartitionName=low Nodes=ALL PriorityTier=1 GraceTime=240 Default=YES State=UP
PartitionName=high Nodes=ALL PriorityTier=10 State=UP
"""


@dataclass(frozen=True)
class Cluster:
    """A running Slurm; its commands take `environment`."""

    folder: Path
    environment: dict[str, str]

    def call(self, *arguments: str, folder: Path | None = None, **environment: str) -> str:
        """What a command says, typed in a folder."""
        done = subprocess.run(
            arguments,
            cwd=folder or self.folder,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{' '.join(arguments)}: {done.stderr}"
        return done.stdout.strip()

    def job(self, name: str) -> dict[str, str]:
        """What Slurm says of a job or an array's task."""
        return dict(re.findall(r"(\w+)=(\S*)", self.call("scontrol", "show", "job", name)))

    def finished(self, name: str, patience: float = 600) -> dict[str, str]:
        """A job, once it is over."""
        until(lambda: self.job(name)["JobState"] in ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT"), patience)
        return self.job(name)


def until(what: Callable[[], object], patience: float = 300) -> None:
    end = time.monotonic() + patience
    while not what():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


@contextmanager
def running(folder: Path) -> Iterator[Cluster]:
    """Starts the daemons, and ends them with all that they started."""
    host = socket.gethostname().split(".")[0]
    config = folder / "slurm.conf"
    config.write_text(_CONFIG.format(host=host, user=getuser(), ports=free_ports(2), folder=folder))
    key = folder / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(secrets.token_bytes(128))
    for name in ("state", "spool"):
        (folder / name).mkdir()
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SBATCH_"))}
    cluster = Cluster(folder, clean | {"SLURM_CONF": str(config)})
    munge = [f"--{name}={folder}/munge.{name}" for name in ("socket", "seed-file", "pid-file")]
    munge += [f"--key-file={key}", f"--log-file={folder}/munged.log", "--foreground", "--force"]
    daemons = []
    try:
        daemons.append(start(cluster, "munged", *munge))
        until((folder / "munge.socket").exists)
        daemons.append(start(cluster, "slurmctld", "-D"))
        daemons.append(start(cluster, "slurmd", "-D"))
        until(lambda: cluster.call("sinfo", "--noheader", "--partition=low", "--format=%t") == "idle")
        yield cluster
        subprocess.run(["scancel", "--user", getuser()], env=cluster.environment, check=False, timeout=60)
        until(lambda: not cluster.call("squeue", "--noheader"))
    finally:
        for daemon in reversed(daemons):
            daemon.terminate()
            daemon.wait(60)


def start(cluster: Cluster, name: str, *arguments: str) -> subprocess.Popen[bytes]:
    with (cluster.folder / f"{name}.txt").open("wb") as log:
        return subprocess.Popen([str(PROGRAMS[name]), *arguments], env=cluster.environment, stdout=log, stderr=log)
