"""Kills an engine's processes when their replica's process ends, for whatever reason.

An orphaned engine would keep its memory, and the replica that Ray starts next would find none free.
"""

import os
import subprocess


def bind_children() -> "subprocess.Popen[bytes]":
    """Put this process and its future children into a process group that is killed when this process ends.

    Returns the helper process that kills the group; it needs no further attention.
    """
    if os.getpgid(0) != os.getpid():
        os.setpgid(0, 0)
    # `read` returns when this process ends and the pipe closes. The helper is outside the group, which it outlives.
    script = f"read _; kill -s KILL -- -{os.getpid()}"
    reaper = subprocess.Popen(["/bin/sh", "-c", script], stdin=subprocess.PIPE, start_new_session=True)  # noqa: S603
    assert reaper.stdin is not None
    # A forked child would hold the pipe open. The registered method also keeps it from being garbage collected here.
    os.register_at_fork(after_in_child=reaper.stdin.close)
    return reaper
