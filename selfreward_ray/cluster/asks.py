"""The resources that steps request from a cluster, by recipe."""

from selfreward_ray.cluster.room import Ask, request
from selfreward_ray.recipe.schema import Inference, Training


def replica_ask(inference: Inference) -> Ask:
    """The minimum that a pool needs, ``inference.min_replicas``.

    A replica is one bundle. If its engine has pipeline stages on several nodes it is one bundle per GPU, as vLLM's Ray
    executor requires.
    """
    cpus, gpus, bundles = inference.cpus_per_replica, inference.gpus_per_replica, 1
    if inference.nodes_per_replica > 1:
        cpus, gpus, bundles = cpus / gpus, 1, gpus * inference.nodes_per_replica
    bundle = request(cpus, gpus, inference.accelerator_type)
    return Ask("one replica", "inference.min_replicas", inference.min_replicas, (bundle,) * bundles)


def worker_ask(training: Training) -> Ask:
    """All workers of a training run, which start together."""
    bundle = request(training.cpus_per_worker, training.gpus_per_worker, training.accelerator_type)
    return Ask("one training worker", "training.workers", training.workers, (bundle,))
