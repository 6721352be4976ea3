"""Nothing outlives a replica: when its process ends, however it ends, the engine's processes are killed.

An engine that lost its replica would keep its memory, and the replica that Ray starts in its place would find none.
"""

import os
import subprocess


def bind_children() -> "subprocess.Popen[bytes]":
    """Put this process, and the children that it will have, into a group of their own that ends with it.

    Returns the process that kills the group when this one is gone; it needs nothing more.
    """
    if os.getpgid(0) != os.getpid():
        os.setpgid(0, 0)
    # Its input ends with this process. It is outside the group: it must live a moment longer.
    script = f"read _; kill -s KILL -- -{os.getpid()}"
    reaper = subprocess.Popen(["/bin/sh", "-c", script], stdin=subprocess.PIPE, start_new_session=True)  # noqa: S603
    assert reaper.stdin is not None
    # A copy of this process would hold that input open. What is registered stays, so nothing here closes it either.
    os.register_at_fork(after_in_child=reaper.stdin.close)
    return reaper
