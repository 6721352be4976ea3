"""The memory that a measurement took."""

import resource
import sys


def peak_mb() -> float:
    """The largest resident set of this process so far, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # in KiB, on macOS in bytes
    return peak / (1e6 if sys.platform == "darwin" else 1e6 / 1024)
