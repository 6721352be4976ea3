"""Where a model's weights are: a local folder, a hub name, or an object-store URI."""

import fcntl
import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from pyarrow import fs

from selfreward_ray.errors import UserError
from selfreward_ray.run_store import ADAPTER_CONFIG
from selfreward_ray.storage import Folder, absolute

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class Adapter:
    """A LoRA adapter: a local folder as `peft` saves it, and its rank."""

    folder: Path
    rank: int


def model_and_adapter(uri: str) -> tuple[Path, Adapter | None]:
    """Local folders of a model, or of a LoRA adapter and the model that its configuration names as its base.

    Raises `UserError` as `local_model` does.
    """
    folder = _local(uri)
    if not (folder / ADAPTER_CONFIG).exists():
        _check(folder, uri)
        return folder, None
    try:
        config = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    except ValueError as error:
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
            f"adapter {uri!r}: its base {base!r} is a relative path; write the absolute one in {ADAPTER_CONFIG}"
        )
    if not (folder / "adapter_model.safetensors").exists():
        raise UserError(f"adapter {uri!r} has no adapter_model.safetensors (pickled weights are not read)")
    return local_model(base), Adapter(folder, rank)


def local_model(uri: str) -> Path:
    """A complete local folder of the model, fetched to this node's cache when it is not local.

    Raises `UserError` when there is no model, or it has no tokenizer or no chat template.
    """
    folder = _local(uri)
    _check(folder, uri)
    return folder


def portable(uri: str, *, adapters: bool = False) -> str:
    """The URI under which every process of this machine finds the model: a local folder's absolute path.

    Raises `UserError` where a local folder is no complete model, nor an adapter where `adapters` will do, before
    anything is started for it.
    """
    if "://" in uri or not Path(uri).is_dir():
        return uri
    if adapters:
        model_and_adapter(uri)
    else:
        _check(Path(uri), uri)
    return absolute(uri)


def _local(uri: str) -> Path:
    if "://" in uri and not uri.startswith("file://"):
        return _fetch(uri)
    if Path(uri.removeprefix("file://")).is_dir():
        return Path(uri.removeprefix("file://"))
    if _HUB_NAME.fullmatch(uri):
        return _from_hub(uri)
    raise UserError(f"model {uri!r} is neither a folder here, nor a hub name (owner/name), nor a storage URI")


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, ignore_patterns=["*.bin", "*.pth", "*.pt", "*.gguf"]))
    except Exception as error:
        status = getattr(getattr(error, "response", None), "status_code", 0)
        if status == 429 or status >= 500:
            raise  # the hub is busy: who starts again may find it
        raise UserError(
            f"can not fetch model {name!r} from the hub, and there is no folder of that name: {error}"
        ) from error


def _fetch(uri: str) -> Path:
    cache = Path(os.environ.get("SELFREWARD_CACHE", "~/.cache/selfreward-ray")).expanduser()
    source, path = Folder(uri).filesystem()
    infos = source.get_file_info(fs.FileSelector(path, recursive=False, allow_not_found=True))
    files = [i for i in infos if i.type == fs.FileType.File]
    # Size and time of every file are in the key: a folder that was written again is fetched again.
    key = hashlib.sha256("\n".join([uri, *(f"{i.path} {i.size} {i.mtime_ns}" for i in files)]).encode()).hexdigest()
    target = cache / key[:24]
    target.mkdir(parents=True, exist_ok=True)
    with (target / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one process of a node fetches, the others wait for it
        if not (target / "fetched").exists():
            here = fs.LocalFileSystem()
            for info in files:
                copy = str(target / info.base_name)
                fs.copy_files(info.path, copy, source_filesystem=source, destination_filesystem=here)
            (target / "fetched").touch()
    return target


def _check(folder: Path, uri: str) -> None:
    def lacks(what: str, remedy: str) -> UserError:
        return UserError(f"model {uri!r} has no {what}; {remedy}")

    if (folder / ADAPTER_CONFIG).exists():
        raise UserError(f"{uri!r} is a LoRA adapter; a model is needed here: merge it into its base first")
    if not (folder / "config.json").exists():
        raise lacks("config.json", "it must be a folder that transformers' save_pretrained wrote")
    if not any(folder.glob("*.safetensors")):
        raise lacks("*.safetensors weights", "convert them with save_pretrained (pickled weights are not read)")
    if not any((folder / name).exists() for name in ("tokenizer.json", "tokenizer.model")):
        raise lacks("tokenizer", "put its tokenizer.json and tokenizer_config.json into the folder")
    config = folder / "tokenizer_config.json"
    in_config = config.exists() and '"chat_template"' in config.read_text(encoding="utf-8")
    if not in_config and not (folder / "chat_template.jinja").exists():
        raise lacks("chat template", "add a chat_template.jinja: a base model needs one to be asked anything")
