"""What one rank meets and all have to know: ranks that went on alone would wait for the others for ever."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar, cast

import torch.distributed as dist

from selfreward_ray.errors import Final, UserError

T = TypeVar("T")

_LOOK_EVERY_S = 2.0


def agree(error: BaseException | None) -> None:
    """Raise on all ranks when one of them has an `error`; every rank calls it.

    A `UserError` of any rank is `Final` on all. Another error is raised as it is by the rank that has it, and by the
    others as a `RuntimeError` that names the rank.
    """
    said = None if error is None else (isinstance(error, UserError), str(error) or type(error).__name__)
    found: list[tuple[bool, str] | None] = [None] * dist.get_world_size()
    dist.all_gather_object(found, said)
    for final, message in filter(None, found):
        if final:
            raise Final(message)
    if error is not None:
        raise error
    for rank, other in enumerate(found):
        if other is not None:
            raise RuntimeError(f"rank {rank}: {other[1]}")


def together(work: Callable[[], T]) -> T:
    """Return what `work` returns on this rank, once it has returned on all ranks; every rank calls it.

    `work` must contain no collective: a rank that failed before one would be in another. Raises as `agree` does.
    """
    result, error = None, None
    try:
        result = work()
    except Exception as raised:
        error = raised
    agree(error)
    return cast(T, result)


def from_rank_0(work: Callable[[], T]) -> T:
    """What `work` gives on rank 0, on all ranks. Raises as `on_rank_0` does."""
    found = [on_rank_0(work)]
    dist.broadcast_object_list(found)
    return cast(T, found[0])


def on_rank_0(work: Callable[[], T]) -> T | None:
    """What `work` gives on rank 0, for which all ranks wait as long as it takes; None on the others.

    They wait in short collectives: one may not take longer than the process group's timeout, half an hour. Raises what
    `work` raises, as `agree` does.
    """
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(work) if dist.get_rank() == 0 else None
        busy = [True]
        while busy[0]:
            if future is not None:
                busy = [bool(wait([future], _LOOK_EVERY_S).not_done)]
            dist.broadcast_object_list(busy)
    agree(None if future is None else future.exception())
    return None if future is None else future.result()
