"""A hospital's node at work: the SuperNode beside it, and the orders that it claims and answers one after another."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
from omegaconf import DictConfig

from foundation.errors import UserError
from foundation.federation.deployment.control_client import UnreachableError, check_connection
from foundation.federation.deployment.registration import ask_admission
from foundation.federation.deployment.runtime_client import OrderQueue
from foundation.federation.deployment.worker import Task, run_task
from foundation.federation.site.config import Site
from foundation.release import installed_release

PRELOADED = ["foundation.federation.deployment.preloaded"]
_POLL_SECONDS = 0.1
_RETRY_SECONDS = 5.0
_STOP_SECONDS = 10.0


def answer_orders(cfg: DictConfig, site: Site, site_file: Path) -> None:
    """Answers orders until interrupted, and connects again whenever the connection broke.

    Args:
        cfg: of `configs/supernode.yaml`.
        site: this hospital.
        site_file: that declares it.
    """
    context = warm()
    address, runtime = str(cfg.superlink), f"127.0.0.1:{cfg.port}"
    while True:
        _await_admission(cfg, site)
        node = subprocess.Popen(_command(cfg, site_file), env=os.environ | {"FLWR_HOME": str(site.state / "flower")})
        print(f"{site.name}: node of {address}, release {installed_release()}", flush=True)
        try:
            serve(node, runtime, Path(cfg.secret).read_bytes(), context)
        finally:
            _stop(node)
        print(f"{site.name}: the SuperNode ended with code {node.returncode}; connecting again", flush=True)
        time.sleep(_RETRY_SECONDS)


def warm() -> multiprocessing.context.ForkServerContext:
    """A process that has imported all that training needs, ready to fork: an order then starts at once."""
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")  # asking for GPUs must not start CUDA before a fork
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    from multiprocessing.forkserver import ensure_running

    ensure_running()
    return context


def serve(
    node: "subprocess.Popen[bytes]", runtime: str, secret: bytes, context: multiprocessing.context.ForkServerContext
) -> None:
    """Answers orders, one after another, as long as the SuperNode runs."""
    queue = OrderQueue(runtime, secret)
    while node.poll() is None:
        try:
            token = queue.claim()
        except httpx.TransportError:
            time.sleep(_POLL_SECONDS)  # the SuperNode still starts, or it just ended
            continue
        except httpx.HTTPStatusError as error:
            raise UserError(f"{runtime}: answers as no SuperNode of this site ({error}); set another port") from error
        if not token:
            time.sleep(_POLL_SECONDS)
            continue
        reason = run_task(Task(runtime, token, installed_release()), context)
        if reason is not None:
            print(f"an order failed: {reason}", file=sys.stderr, flush=True)


def _command(cfg: DictConfig, site_file: Path) -> list[str]:
    return [
        *(sys.executable, "-m", "foundation.federation.deployment.node_process"),
        *("--superlink", str(cfg.superlink)),
        *("--root-certificates", str(Path(cfg.certificate).resolve())),
        *("--auth-supernode-private-key", str(Path(cfg.key).resolve())),
        *("--isolation", "process", "--superexec-auth-secret-file", str(Path(cfg.secret).resolve())),
        *("--host", "127.0.0.1", "--port", str(cfg.port)),
        *("--node-config", f'site="{site_file}"'),
    ]


def _await_admission(cfg: DictConfig, site: Site) -> None:
    """Waits for a SuperLink out of reach; one that is not trusted, or refuses the key, is an error at once."""
    address, certificate = str(cfg.superlink), Path(cfg.certificate)
    end = time.monotonic() + cfg.wait
    while True:
        try:
            check_connection(address, certificate)
            return ask_admission(address, certificate, Path(cfg.key), site.state)
        except UnreachableError as error:
            if time.monotonic() > end:
                raise
            print(f"{error}; trying again", file=sys.stderr, flush=True)
            time.sleep(_RETRY_SECONDS)


def _stop(node: "subprocess.Popen[bytes]") -> None:
    if node.poll() is not None:
        return
    node.send_signal(signal.SIGINT)
    try:
        node.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        node.kill()
        node.wait()
