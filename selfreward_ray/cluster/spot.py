"""Drain the node of a spot instance that EC2 is about to reclaim. Run ``python -m selfreward_ray.cluster.spot`` on it.

EC2 announces the interruption two minutes ahead in the instance metadata, which Ray 2.60's autoscaler does not read.
Once Ray drains the node, it places nothing new on it, the autoscaler replaces it, Ray Train notifies the workers of a
training run, and restarts after the loss are not counted as failures.
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
"""Address of EC2's instance metadata service."""
EVERY = 5.0
"""Seconds between two requests, as EC2 recommends."""
TIMEOUT = 5.0
"""Timeout of a request to the metadata service, in seconds."""
DRAIN_TIMEOUT = 30.0
"""Timeout of Ray's command in seconds. It leaves time for another attempt within EC2's two minutes."""


def reclaimed_at(metadata: str = METADATA) -> datetime | None:
    """When EC2 reclaims this instance; None if there is no notice, as on an on-demand instance.

    Raises `OSError` or `HTTPException` if the metadata service does not answer, and `ValueError` for an invalid notice.
    """
    # IMDSv2, the only version that is enabled on the instances of the cluster file. A new token for each request, so
    # that none must be renewed.
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
    """Make Ray drain a node that will be gone in `seconds`; without `node_id` this node.

    Returns an error message, or None if Ray accepted the request. Uses Ray's command, because its Python API has no
    public function for it.
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
    return (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1]  # lines before it are Ray's log


def watch(drain: Callable[[int], str | None] = drain_node, metadata: str = METADATA, every: float = EVERY) -> None:
    """Wait for EC2's notice, then call `drain` with the remaining seconds until Ray accepts it.

    Repeats every `every` seconds. An error is printed once, and again when it changes.
    """
    said = None
    while True:
        try:
            gone_at = reclaimed_at(metadata)
            wrong = None
        except (OSError, HTTPException, ValueError) as error:  # this process must not end: no other one watches
            gone_at, wrong = None, f"cannot ask {metadata} for a spot notice: {error}"
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
