"""A real autoscaler over raylets of this machine, which declare whatever a node type says that they have."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray.util

_COMMANDS = "setup", "head_setup", "worker_setup", "initialization", "head_start_ray", "worker_start_ray"
_HEAD_ID = "f" * 51 + "00000"  # Ray's fake provider knows the head by it


def node_type(most: int, **resources: float) -> dict[str, Any]:
    """One kind of worker node for `autoscaling`; ``accelerator_type="H100"`` becomes the resource of that name."""
    if kind := resources.pop("accelerator_type", None):
        resources[f"accelerator_type:{kind}"] = 1
    # Ray's store takes a third of the memory of each of the nodes otherwise.
    return {"resources": {"object_store_memory": 100 * 2**20} | resources, "node_config": {}, "max_workers": most}


@contextmanager
def autoscaling(folder: Path, types: dict[str, Any], *, max_workers: int, v2: bool = True) -> Iterator[str]:
    """The address of a head without CPUs, whose autoscaler starts nodes of `types` by name; ends with all its nodes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"{ray.util.get_node_ip_address()}:{port}"
    head_type = "ray.head.default"  # no other name is known to Ray's fake provider
    # By its class: Ray's wheel lacks the file of defaults that the type "fake_multinode" reads.
    module = "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider"
    provider = {"type": "external", "module": module, "head_node_id": _HEAD_ID, "gcs_address": address}
    config = folder / "cluster.json"
    config.write_text(
        json.dumps({
            "cluster_name": "fake",
            "max_workers": max_workers,
            "upscaling_speed": 100,
            "idle_timeout_minutes": 10,
            "provider": provider | ({"launch_multiple": True} if v2 else {}),
            "head_node_type": head_type,
            "auth": {},
            "file_mounts": {},
            "cluster_synced_files": [],
            **{f"{name}_commands": [] for name in _COMMANDS},
            "available_node_types": types
            | {head_type: {"resources": {"CPU": 1}, "node_config": {}, "max_workers": 0}},
        })
    )  # fmt: skip
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"AUTOSCALER_UPDATE_INTERVAL_S": "1", "RAY_FAKE_CLUSTER": "1"}
    # As in clusters that tests start in their own process, which reads its mode of authentication only once.
    environment |= {"RAY_AUTH_MODE": "disabled", "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0"}
    if v2:
        environment |= {"RAY_enable_autoscaler_v2": "1", "RAY_CLOUD_INSTANCE_ID": _HEAD_ID}
        environment["RAY_OVERRIDE_NODE_ID_FOR_TESTING"] = _HEAD_ID
    command = [
        Path(sys.executable).parent / "ray", "start", "--head", "--block", f"--autoscaling-config={config}",
        f"--port={port}", "--num-cpus=1", "--include-dashboard=false", "--object-store-memory=100000000",
        f"--temp-dir={folder / 'ray'}", "--dashboard-agent-listen-port=0",
    ]  # fmt: skip
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as head:
        try:
            assert head.stdout is not None
            printed = ""
            while "will now block" not in printed:
                line = head.stdout.readline()
                assert line, f"the cluster did not start: {printed}"
                printed += line
            yield address
        finally:
            ours = [pid for pid in _processes() if _belongs(pid, str(folder / "ray"))]
            head.terminate()
            head.wait()
            for pid in ours:  # the nodes that the autoscaler started, and what it itself is
                if _belongs(pid, str(folder / "ray")):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.1)


def _processes() -> list[int]:
    return [int(path.name) for path in Path("/proc").glob("[0-9]*")]


def _belongs(pid: int, folder: str) -> bool:
    try:
        return folder in Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
    except OSError:
        return False
