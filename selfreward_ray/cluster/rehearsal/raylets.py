"""A Ray cluster of declared nodes on this machine, with Ray's own autoscaler."""

import json
import secrets
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import ray.util
from ray.autoscaler._private.fake_multi_node.node_provider import (
    FAKE_HEAD_NODE_ID,
    FAKE_HEAD_NODE_TYPE,
    FakeMultiNodeProvider,
)

from selfreward_ray.cluster.cluster_file import Shape
from selfreward_ray.cluster.devices import DECLARED_GPUS
from selfreward_ray.errors import UserError

NODE_TYPE = "node-type"
"""Label with the type of each worker node. Ray's own label is the same for all nodes here."""


def free_port() -> int:
    """A free TCP port of this machine."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def raylets(
    shape: Shape, idle_seconds: float, environment: dict[str, str], ray_folder: Path | None = None
) -> Iterator[dict[str, str]]:
    """Run a cluster with the head of `shape`, whose autoscaler starts and stops the other nodes.

    Each node is a raylet with the declared CPUs, GPUs, accelerator type and labels. Its environment variables are
    `environment` and the one that marks GPUs as declared only. Yields the environment of a process that joins the
    cluster; this process cannot, because Ray reads its token at import. If `ray_folder` is given, Ray's sessions are
    kept there. Raises `UserError` if Ray does not start.
    """
    with tempfile.TemporaryDirectory(prefix="rehearse-", ignore_cleanup_errors=True) as folder:
        port = free_port()
        host = ray.util.get_node_ip_address()
        address = f"{host}:{port}"
        config = Path(folder) / "autoscaling.json"
        config.write_text(json.dumps(_autoscaling_config(shape, idle_seconds, address)))
        log = Path(folder) / "ray-start.log"
        ours = environment | {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(16),
            "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",  # there is no work to be moved elsewhere
            DECLARED_GPUS: "1",
        }
        with log.open("w") as output:
            head = subprocess.Popen(  # noqa: S603
                [
                    *(sys.executable, "-m", "ray.scripts.scripts"),
                    *_start_arguments(shape, host, port, config, ray_folder or Path(folder) / "ray"),
                ],
                env=ours | _HEAD_ENVIRONMENT,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
            try:
                _wait(head, log)
                yield ours | {"RAY_ADDRESS": address}
            finally:
                _end(head)


_EMPTY = (
    "setup_commands", "head_setup_commands", "worker_setup_commands", "initialization_commands",
    "head_start_ray_commands", "worker_start_ray_commands", "cluster_synced_files", "rsync_exclude", "rsync_filter",
)  # fmt: skip
_HEAD_ENVIRONMENT = {
    "AUTOSCALER_UPDATE_INTERVAL_S": "1",
    "RAY_FAKE_CLUSTER": "1",
    "RAY_enable_autoscaler_v2": "1",  # as `ray up` does
    "RAY_CLOUD_INSTANCE_ID": FAKE_HEAD_NODE_ID,
    "RAY_OVERRIDE_NODE_ID_FOR_TESTING": FAKE_HEAD_NODE_ID,
}


def _autoscaling_config(shape: Shape, idle_seconds: float, address: str) -> dict[str, Any]:
    head = {"resources": dict(shape.head), "node_config": {}, "min_workers": 0, "max_workers": 0}
    return {
        "cluster_name": "rehearsal",
        "max_workers": shape.max_workers,
        "upscaling_speed": 100,
        "idle_timeout_minutes": idle_seconds / 60,
        "provider": {
            # By its class, because Ray's wheel lacks the defaults of the provider type `fake_multinode`.
            "type": "external",
            "module": f"{FakeMultiNodeProvider.__module__}.{FakeMultiNodeProvider.__qualname__}",
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
            "launch_multiple": True,
            "head_node_id": FAKE_HEAD_NODE_ID,
            "gcs_address": address,
        },
        # Empty, because nodes are on this machine, but Ray requires each of these keys.
        **{key: [] for key in _EMPTY},
        "file_mounts": {},
        "auth": {},
        "head_node_type": FAKE_HEAD_NODE_TYPE,
        "available_node_types": {FAKE_HEAD_NODE_TYPE: head}
        | {
            # A cluster file may have a type of the same name.
            name if name != FAKE_HEAD_NODE_TYPE else f"{name}.worker": {
                "resources": dict(node.resources),
                "labels": {**node.labels, NODE_TYPE: name},
                "node_config": {},
                "min_workers": node.least,
                "max_workers": node.most,
                "priority": node.priority,
            }
            for name, node in shape.workers.items()
        },
    }


def _start_arguments(shape: Shape, host: str, port: int, config: Path, ray_folder: Path) -> list[str]:
    others = {name: amount for name, amount in shape.head.items() if name not in ("CPU", "GPU")}
    return [
        "start", "--head", "--block", f"--autoscaling-config={config}", f"--port={port}",
        f"--node-ip-address={host}", f"--num-cpus={shape.head.get('CPU', 0):g}",
        f"--num-gpus={shape.head.get('GPU', 0):g}", f"--resources={json.dumps(others)}",
        "--dashboard-host=127.0.0.1", f"--dashboard-port={free_port()}", f"--dashboard-agent-listen-port={free_port()}",
        f"--temp-dir={ray_folder}",
    ]  # fmt: skip


def _wait(head: "subprocess.Popen[bytes]", log: Path) -> None:
    """Wait until `ray start` reports that the head is running."""
    while "will now block" not in log.read_text():
        try:
            status = head.wait(0.2)
        except subprocess.TimeoutExpired:
            continue
        raise UserError(f"Ray did not start ({status}):\n{log.read_text()[-2000:]}")


def _end(head: "subprocess.Popen[bytes]") -> None:
    """Stop the head and all nodes that its autoscaler started."""
    try:
        processes = [psutil.Process(head.pid), *psutil.Process(head.pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    head.terminate()
    _, alive = psutil.wait_procs(processes, timeout=10)
    for process in alive:
        process.kill()
    head.wait()
