"""Find a model by its local folder, hub name or object-store URI, and fetch it to this node if necessary."""

import difflib
import io
import json
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from selfreward_ray.errors import UserError
from selfreward_ray.models.cache import claim
from selfreward_ray.models.fetch import FetchProgress, fetch, ignore_progress
from selfreward_ray.models.found import Found, require_model
from selfreward_ray.recipe.endpoint import address_of, is_endpoint
from selfreward_ray.recipe.shipped import DEMO_MODEL
from selfreward_ray.store.data_folder import HUB_NAME
from selfreward_ray.store.folder import Folder, absolute, check_spelling
from selfreward_ray.store.identity import ADAPTER_CONFIG

_WEIGHTS = "*.safetensors"
_NEVER_READ = (
    "*.bin", "*.pth", "*.pt", "*.gguf", "*.h5", "*.msgpack", "*.ot", "*.onnx", "*.onnx_data", "*.tflite", "*.mlmodel",
    "consolidated*.safetensors",
)  # fmt: skip
"""Pickled weights, and weights in forms of other programs, which are never loaded. Some repositories have the same
model in several."""


@dataclass(frozen=True)
class Adapter:
    """A LoRA adapter in the format of `peft`."""

    folder: Path
    """A local folder."""
    rank: int


def model_and_adapter(uri: str, progress: FetchProgress = ignore_progress) -> tuple[Path, Adapter | None]:
    """The local folder of a model, or, if `uri` is a LoRA adapter, that of its base model, and the adapter.

    The base model is the one that the adapter's configuration names. Raises `UserError` as `local_model` does, and if
    the adapter cannot be used.
    """
    found = _found(uri, True, progress)
    if ADAPTER_CONFIG in found.names:
        base, rank = _base_and_rank(found)
        return local_model(base, progress=progress), Adapter(found.folder, rank)
    require_model(found)
    return found.folder, None


def local_model(uri: str, progress: FetchProgress = ignore_progress) -> Path:
    """The local folder of a model, which is fetched to this node's cache if it is not local.

    `progress` is called during a fetch. Raises `UserError` if there is no such model, or it has no weights, no
    tokenizer, no chat template or no end token.
    """
    found = _found(uri, True, progress)
    require_model(found)
    return found.folder


def without_weights(uri: str, *, adapters: bool = False) -> Found:
    """A model, of which all files but the weights are fetched: configuration, tokenizer, chat template.

    If `adapters` is set, `uri` may be a LoRA adapter, whose base model is returned. Raises `UserError` as
    `model_and_adapter` does.
    """
    found = _found(uri, False, ignore_progress)
    if adapters and ADAPTER_CONFIG in found.names:
        base, _ = _base_and_rank(found)
        found = _found(base, False, ignore_progress)
    require_model(found)
    return found


def portable(uri: str, *, adapters: bool = False) -> str:
    """A URI that is valid in every process of this machine: the absolute path if `uri` is a local folder.

    Checks a local folder before anything is started for it: raises `UserError` if it is not a complete model, or, if
    `adapters` is set, not a complete adapter either.
    """
    if "://" in uri or not Path(uri).is_dir():
        return uri
    if adapters:
        model_and_adapter(uri)
    else:
        local_model(uri)
    return absolute(uri)


def _base_and_rank(adapter: Found) -> tuple[str, int]:
    """The base model and the rank of a LoRA adapter. Raises `UserError` if the adapter cannot be used."""
    uri = adapter.uri
    try:
        config = json.loads((adapter.folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"adapter {uri!r}: its {ADAPTER_CONFIG} is not JSON ({error}); save it again with peft"
        ) from None
    match config:
        case {"peft_type": "LORA", "base_model_name_or_path": str(base), "r": int(rank)}:
            pass
        case _:
            raise UserError(
                f"adapter {uri!r}: its {ADAPTER_CONFIG} must have peft_type LORA, base_model_name_or_path and r, "
                "as peft saves them"
            )
    if Path(base).is_dir() and not Path(base).is_absolute():
        raise UserError(
            f"adapter {uri!r}: its base {base!r} is a relative path; write an absolute path into {ADAPTER_CONFIG}"
        )
    if "adapter_model.safetensors" not in adapter.names:
        raise UserError(
            f"adapter {uri!r} has no adapter_model.safetensors; save it again with peft (pickled weights are not read)"
        )
    return base, rank


def _found(uri: str, weights: bool, progress: FetchProgress) -> Found:
    if is_endpoint(uri):
        raise UserError(
            f"{address_of(uri)} is an endpoint, which has no weights here; name a model by folder, hub name or storage "
            "URI"
        )
    if "://" in uri and not uri.startswith("file://"):
        return _fetched(uri, weights, progress)
    folder = Path(Folder(uri).filesystem()[1] if "://" in uri else uri)
    if folder.is_dir():
        return Found(uri, folder, _names(folder))
    if folder.is_file():
        raise UserError(f"model {uri!r} is a file; name its folder: {folder.parent}")
    if uri == DEMO_MODEL:
        raise UserError(
            f"there is no model {uri!r} in {Path.cwd()}; fetch it there: selfreward fetch-demo-model; or name another "
            "model: model=…"
        )
    if HUB_NAME.fullmatch(uri):
        return _from_hub(uri, weights, progress)
    check_spelling(uri)
    raise UserError(
        f"model {uri!r} is neither a local folder, nor a hub name (owner/name), nor a storage URI; check its spelling"
    )


def _names(folder: Path) -> frozenset[str]:
    return frozenset(path.name for path in folder.iterdir())


def _from_hub(name: str, weights: bool, progress: FetchProgress) -> Found:
    import huggingface_hub

    unwanted = [*_NEVER_READ, *([] if weights else [_WEIGHTS])]
    try:
        folder = Path(
            huggingface_hub.snapshot_download(name, ignore_patterns=unwanted, tqdm_class=_bar_telling(progress))
        )
        if weights or huggingface_hub.is_offline_mode():
            return Found(name, folder, _names(folder))
        return Found(name, folder, frozenset(huggingface_hub.list_repo_files(name)))
    except Exception as error:
        status = getattr(getattr(error, "response", None), "status_code", 0)
        if status == 429 or status >= 500:
            raise  # the hub is busy: a restart may succeed
        said = str(error).strip().partition("\n")[0]  # the client's messages have several lines
        raise UserError(
            f"cannot fetch model {name!r} from the hub, and there is no local folder of that name{_near(name)}: {said}"
        ) from error


def _near(name: str) -> str:
    """A folder with nearly that name, for a message."""
    path = Path(name)
    beside = [one.name for one in path.parent.iterdir() if one.is_dir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, beside, n=1)
    return f" (did you mean {path.parent / near[0]}?)" if near else ""


def _bar_telling(progress: FetchProgress) -> type[Any]:
    """A progress bar for the hub's client that shows nothing and reports bytes to `progress`."""
    from tqdm.auto import tqdm  # type: ignore[import-untyped]

    class Bar(tqdm):  # type: ignore[misc]
        def __init__(self, *arguments: Any, **settings: Any):
            super().__init__(*arguments, **(settings | {"file": io.StringIO(), "mininterval": 60}))

        def update(self, n: float | None = 1) -> bool | None:
            shown: bool | None = super().update(n)
            if self.unit == "B":  # the client has another bar for files
                progress(int(self.n), int(self.total or self.n))
            return shown

    return Bar


def _fetched(uri: str, weights: bool, progress: FetchProgress) -> Found:
    source, _ = Folder(uri).filesystem()
    files = [info for info in Folder(uri).infos() if not _fits(info.base_name, _NEVER_READ)]
    # Without weights it is another folder: the driver looks into every model of a run, and must not hold its weights.
    wanted = files if weights else [i for i in files if not _fits(i.base_name, [_WEIGHTS])]
    folder = claim(uri, wanted)
    fetch(source, wanted, folder, progress)
    return Found(uri, folder, frozenset(i.base_name for i in files))


def _fits(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)
