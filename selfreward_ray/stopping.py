"""The end of a process by SIGTERM, which schedulers send: as by Ctrl-C."""

import signal
from signal import signal as set_handler


def end_as_by_ctrl_c() -> None:
    """Let SIGTERM interrupt this process, once."""
    set_handler(signal.SIGTERM, _interrupt)


def _interrupt(_number: int, _frame: object) -> None:
    # `timeout`, for one, sends it to its child and then to the whole group: the second would cut the end short.
    set_handler(signal.SIGTERM, signal.SIG_IGN)
    signal.alarm(0)  # Ray's handler below Python's sets an alarm that aborts the process three seconds later
    raise KeyboardInterrupt
