"""Whether a cluster can hold what a step asks for."""

import ray

from selfreward_ray.errors import UserError


def check_room(count: int, cpus: float, gpus: float, what: str, field: str, spare_cpus: float = 0) -> None:
    """Raise `UserError` when a cluster of this process's own can never hold what is asked of it.

    Ray would wait for ever without a word. Elsewhere nodes may still come: an autoscaler starts them when asked.
    """
    node = ray._private.worker._global_node
    if node is None or not node.head:
        return
    have = ray.cluster_resources()
    needed = {"CPU": count * cpus + spare_cpus, "GPU": count * gpus}
    short = [
        f"{amount:g} {kind}s, not {have.get(kind, 0):g}"
        for kind, amount in needed.items()
        if have.get(kind, 0) < amount
    ]
    if short:
        raise UserError(
            f"this machine has too little for {field} = {count}: {what} asks for {cpus:g} CPUs and {gpus:g} GPUs, so "
            f"{' and '.join(short)} are needed; lower {field} or what each asks for, or join a larger cluster"
        )
