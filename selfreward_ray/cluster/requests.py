"""The resources that steps request from a cluster, by recipe."""

from dataclasses import replace

from selfreward_ray.cluster.capacity import ResourceRequest, resource_bundle
from selfreward_ray.recipe.schema import Inference
from selfreward_ray.recipe.training import Training


def replica_request(inference: Inference) -> ResourceRequest:
    """The minimum that a pool needs, ``inference.min_replicas``.

    A replica is one bundle. If its engine has pipeline stages on several nodes it is one bundle per GPU, as vLLM's Ray
    executor requires.
    """
    cpus, gpus, bundles = inference.cpus_per_replica, inference.gpus_per_replica, 1
    if inference.nodes_per_replica > 1:
        cpus, gpus, bundles = cpus / gpus, 1, gpus * inference.nodes_per_replica
    bundle = resource_bundle(cpus, gpus, inference.accelerator_type)
    return ResourceRequest("one replica", "inference.min_replicas", inference.min_replicas, (bundle,) * bundles)


def worker_request(training: Training) -> ResourceRequest:
    """All workers of a training run."""
    bundle = resource_bundle(training.cpus_per_worker, training.gpus_per_worker, training.accelerator_type)
    return ResourceRequest("one training worker", "training.workers", training.workers, (bundle,))


def least_workers(training: Training) -> ResourceRequest:
    """The workers without which a training run does not start, which start together."""
    request = worker_request(training)
    if training.min_workers is None:
        return request
    return replace(request, field="training.min_workers", count=training.min_workers)
