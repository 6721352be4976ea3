"""Where this user's cache on this machine is: fetched models, and digests of what was read."""

import os
from pathlib import Path


def cache_folder() -> Path | None:
    """``SELFREWARD_CACHE``, or a folder in the user's home; None if there is neither."""
    try:
        return Path(os.environ.get("SELFREWARD_CACHE") or "~/.cache/selfreward-ray").expanduser().absolute()
    except RuntimeError:
        return None
