"""What the steps ask of a cluster, as their recipe says."""

from selfreward_ray.cluster.room import Ask, request
from selfreward_ray.recipe.schema import Inference, Training


def replica_ask(inference: Inference) -> Ask:
    """The least that a pool needs. A replica is one bundle on a node; where its engine has pipeline stages on several
    nodes one bundle a GPU, which is what vLLM's Ray executor wants."""
    cpus, gpus, bundles = inference.cpus_per_replica, inference.gpus_per_replica, 1
    if inference.nodes_per_replica > 1:
        cpus, gpus, bundles = cpus / gpus, 1, gpus * inference.nodes_per_replica
    bundle = request(cpus, gpus, inference.accelerator_type)
    return Ask("one replica", "inference.min_replicas", inference.min_replicas, (bundle,) * bundles)


def worker_ask(training: Training) -> Ask:
    """All workers of a training: they start together or not at all."""
    bundle = request(training.cpus_per_worker, training.gpus_per_worker, training.accelerator_type)
    return Ask("one training worker", "training.workers", training.workers, (bundle,))
