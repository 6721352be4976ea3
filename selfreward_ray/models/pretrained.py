"""The configuration and the tokenizer of a model's folder as transformers reads them, without code of the folder.

A folder may name code of its own (``auto_map``). Without ``trust_remote_code`` transformers asks for consent on
standard input, which may be a script's. A folder may also name kernels of the hub, which are code too.
"""

from pathlib import Path
from typing import Any


def pretrained_tokenizer(folder: Path) -> Any:
    """transformers' tokenizer. Raises what transformers raises."""
    from transformers import AutoTokenizer  # imported late: it takes a second, which `--help` must not wait for

    return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)


def pretrained_config(folder: Path) -> Any:
    """transformers' configuration, which makes a model without code of the folder. Raises what transformers raises."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    config._attn_implementation = config._experts_implementation = None  # transformers' choice
    if hasattr(config, "auto_map"):
        del config.auto_map  # else making a model from the configuration asks again
    return config
