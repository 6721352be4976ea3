"""Tells Ray that EC2 is about to take this spot instance back: ``python -m selfreward_ray.cluster.spot`` on each node.

EC2 announces it two minutes before, in the instance's own metadata and nowhere that Ray 2.60's autoscaler looks. Ray's
drain protocol is what everything else listens to: nothing new is placed on a draining node, the autoscaler replaces it,
Ray Train tells the workers of a training run, and restarts that the loss causes are not counted as failures.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.request import Request, urlopen

METADATA = "http://169.254.169.254"
"""EC2's instance metadata service."""
EVERY = 5.0
"""Seconds between two looks, as EC2 recommends."""
TIMEOUT = 5.0
"""Seconds that one request to the metadata service may take."""
DRAIN_TIMEOUT = 30.0
"""Seconds that Ray's command may take: of the two minutes that EC2 gives, enough are left to ask again."""


def reclaimed_at(metadata: str = METADATA) -> datetime | None:
    """When EC2 takes this instance back; None as long as it has given no notice, as on an on-demand instance.

    Raises `OSError` or `HTTPException` when the metadata service can not be asked, `ValueError` for a notice that can
    not be read.
    """
    # IMDSv2, the only version that the cluster file's instances answer. A token for each look: none to renew.
    token = _answer(f"{metadata}/latest/api/token", "PUT", {"X-aws-ec2-metadata-token-ttl-seconds": "60"})
    notice = f"{metadata}/latest/meta-data/spot/instance-action"
    try:
        text = _answer(notice, "GET", {"X-aws-ec2-metadata-token": token})
    except HTTPError as error:
        if error.code == 404:
            return None
        raise
    match json.loads(text):
        case {"time": str(said)}:
            gone_at = datetime.fromisoformat(said)
            return gone_at if gone_at.tzinfo else gone_at.replace(tzinfo=UTC)  # EC2's times are in UTC
    raise ValueError(f"a notice without a time: {text}")


def _answer(url: str, method: str, headers: dict[str, str]) -> str:
    with urlopen(Request(url, method=method, headers=headers), timeout=TIMEOUT) as answer:  # noqa: S310
        text: str = answer.read().decode()
        return text


def drain_node(seconds: int, node_id: str | None = None) -> str | None:
    """Have Ray drain a node, this one without `node_id`, that will be gone in `seconds`.

    Returns what went wrong, None when Ray accepted it. Ray's Python API has no public function for it.
    """
    command = [
        *(sys.executable, "-m", "ray.scripts.scripts", "drain-node"),
        *("--reason", "DRAIN_NODE_REASON_PREEMPTION"),
        *("--reason-message", "EC2 takes this spot instance back"),
        *("--deadline-remaining-seconds", str(seconds)),
        *([] if node_id is None else ["--node-id", node_id]),
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=DRAIN_TIMEOUT)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode == 0:
        return None
    return (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1]  # before it stands Ray's log


def watch(drain: Callable[[int], str | None] = drain_node, metadata: str = METADATA, every: float = EVERY) -> None:
    """Wait for EC2's notice, then `drain` with the seconds that are left, until Ray has accepted it.

    What fails is printed, once as long as it stays the same, and tried again `every` so many seconds.
    """
    said = None
    while True:
        try:
            gone_at = reclaimed_at(metadata)
            wrong = None
        except (OSError, HTTPException, ValueError) as error:  # nothing may end the only one who looks
            gone_at, wrong = None, f"can not ask {metadata} for a spot notice: {error}"
        if gone_at is not None:
            left = max(0, int((gone_at - datetime.now(UTC)).total_seconds()))
            wrong = drain(left)
            if wrong is None:
                return _say(f"EC2 takes this instance back at {gone_at:%H:%M:%S} UTC: Ray drains the node")
            wrong = f"Ray does not drain the node, which has {left} s left: {wrong}"
        if wrong is not None and wrong != said:
            _say(wrong)
        said = wrong
        time.sleep(every)


def _say(text: str) -> None:
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} {text}", flush=True)


if __name__ == "__main__":
    watch()
