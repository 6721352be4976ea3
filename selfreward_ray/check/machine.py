"""What this machine has, and what a run that stays on it asks for."""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from selfreward_ray.check.findings import Sentence, faults
from selfreward_ray.cluster.address import LOCAL, cluster_address
from selfreward_ray.cluster.capacity import (
    NodeType,
    ResourceRequest,
    capacity_for,
    describe,
    explain_shortage,
    types_of,
)
from selfreward_ray.cluster.cluster_file import read_cluster_file
from selfreward_ray.cluster.requests import least_workers, replica_request
from selfreward_ray.cluster.this_machine import check_this_machine
from selfreward_ray.errors import UserError
from selfreward_ray.plan import TRAINING_STEPS, PlannedStep
from selfreward_ray.recipe.endpoint import is_endpoint
from selfreward_ray.recipe.schema import Recipe
from selfreward_ray.steps.asked_model import asks_model

_OTHER_GPUS = ("/dev/kfd", "/dev/dxg")
"""Devices of GPUs that are not counted here: AMD's, and those under WSL."""


def check_cluster_file(file: str, recipe: Recipe, steps: Sequence[PlannedStep]) -> Iterator[Sentence]:
    """Whether the cluster that ``ray up`` makes of `file` can hold each of `steps`."""
    types = types_of(read_cluster_file(file))
    if types is None:
        yield f"{file}: a node type declares no resources, so it is not known what the cluster can hold"
        return
    for request in requests_of(recipe, steps):
        if shortage := explain_shortage(request, *types):
            yield UserError(shortage)
    yield file


def check_machine(recipe: Recipe, steps: Sequence[PlannedStep]) -> Iterator[Sentence]:
    """Whether Ray can start on this machine, which can hold each of `steps`, or, if a command joins a cluster, only
    whether one answers there. Of steps that ask for nothing, nothing is looked at.

    Raises `UserError` if none does.
    """
    requests = requests_of(recipe, steps)
    if not requests:
        return
    address = cluster_address()
    if address != LOCAL:
        yield f"the Ray cluster at {address}, which is asked for its nodes when it is joined"
        return
    yield from faults(check_this_machine)
    here = machine_resources()
    for request in requests:
        asked = {name for bundle in request.bundles for name in bundle} & {"CPU", "GPU"}
        if asked <= here.keys():
            yield from _shortage(request, here)
    yield describe(here)


def machine_resources(devices: Path = Path("/dev")) -> dict[str, float]:
    """The CPUs and NVIDIA GPUs of this machine, in Ray's terms; without ``GPU`` where their number is not known."""
    cpus = float(os.cpu_count() or 1)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = sum(bool(re.fullmatch(r"nvidia\d+", device.name)) for device in devices.iterdir())
    if visible is not None:
        named = [name for name in visible.split(",") if name.strip() not in ("", "-1", "NoDevFiles")]
        count = min(count, len(named))
    if not count and any((devices / Path(name).name).exists() for name in _OTHER_GPUS):
        return {"CPU": cpus}
    return {"CPU": cpus, "GPU": float(count)}


def requests_of(recipe: Recipe, steps: Sequence[PlannedStep]) -> list[ResourceRequest]:
    """What `steps` need on a cluster."""
    requests = []
    if any(step.name in TRAINING_STEPS for step in steps):
        requests.append(least_workers(recipe.training))
    asked = [step.inputs.get("model", "") for step in steps if asks_model(step.name)]
    if any(not is_endpoint(model) for model in asked if recipe.prompts.source == "model" or model):
        requests.append(replica_request(recipe.inference))
    return requests


def _shortage(request: ResourceRequest, here: dict[str, float]) -> Iterator[Sentence]:
    """An error if the machine does not hold all bundles of the request."""
    # The GPU's type is not known here, and Ray finds it when it starts.
    bundles = tuple({name: n for name, n in bundle.items() if name in here} for bundle in request.bundles)
    plain = ResourceRequest(request.what, request.field, request.count, bundles)
    fitting = capacity_for(plain, [NodeType("this machine", here, 1, head=True)], None)
    if fitting < request.count:
        yield UserError(
            f"{request.field} = {request.count} asks for {request}, and this machine ({describe(here)}) holds "
            f"{fitting} of them; lower {request.field} or what {request.what} takes, or name the address of a larger "
            "Ray cluster in RAY_ADDRESS"
        )
