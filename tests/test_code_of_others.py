"""No code runs that a model's folder, a run's folder or a file of rows brings along.

Each hostile file would write the file `ran` if its code ran.
"""

import ast
import io
import json
import pickle
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from model_files import LLAMA
from tiny_model import CHATML, write_tiny_model

import selfreward_ray
from selfreward_ray.errors import UserError
from selfreward_ray.inference.partition import partition_table, read_block
from selfreward_ray.models.chat import ChatCodec
from selfreward_ray.models.light_tokenizer import LightTokenizer
from selfreward_ray.models.local import local_model
from selfreward_ray.models.pretrained import pretrained_config, pretrained_tokenizer
from selfreward_ray.models.template import ChatTemplate
from selfreward_ray.models.validate import validate
from selfreward_ray.records import Dropped, Prompt
from selfreward_ray.store.arrow import as_stored
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.tables import (
    count_reasons,
    finished_ids,
    read_blocks,
    read_columns,
    read_rows,
    write_part,
)
from selfreward_ray.store.user_files import read_user_rows

PACKAGE = Path(selfreward_ray.__file__).parent
CLASSES = ("Config", "Tokenizer", "Model", "Processor")


@pytest.fixture
def ran(tmp_path: Path) -> Path:
    return tmp_path / "ran"


class Hostile:
    """Writes the file `ran` when its pickle is loaded."""

    def __init__(self, ran: Path):
        self._ran = ran

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._ran,)


def test_the_hostile_pickle_would_run(ran: Path):
    pickle.loads(pickle.dumps(Hostile(ran)))  # noqa: S301
    assert ran.exists()


# A model's folder


def code_in(folder: Path, ran: Path) -> Path:
    """Give a model's folder code that transformers runs where it is trusted."""
    classes = "\n".join(f"class {name}:\n    pass" for name in CLASSES)
    (folder / "own.py").write_text(f"from pathlib import Path\nPath({str(ran)!r}).touch()\n{classes}\n")
    (folder / "custom_generate").mkdir()
    (folder / "custom_generate" / "generate.py").write_text((folder / "own.py").read_text())
    for file, names in {
        "config.json": {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model", "AutoModel": "own.Model"},
        "tokenizer_config.json": {"AutoTokenizer": ["own.Tokenizer", "own.Tokenizer"]},
        "preprocessor_config.json": {"AutoProcessor": "own.Processor", "AutoImageProcessor": "own.Processor"},
        "processor_config.json": {"AutoProcessor": "own.Processor"},
    }.items():
        path = folder / file
        before = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps(before | {"auto_map": names}))
    for file in ("pytorch_model.bin", "training_args.bin", "optimizer.pt", "adapter_model.bin", "scheduler.pt"):
        (folder / file).write_bytes(pickle.dumps(Hostile(ran)))
    return folder


def set_in(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.fixture
def consenting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard input says yes to whatever is asked, as that of a script may."""
    from transformers import dynamic_module_utils

    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n" * 100))
    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))


@pytest.mark.usefixtures("consenting")
@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_the_hostile_folder_would_run(file: str, tmp_path: Path, ran: Path):
    from transformers import AutoConfig, AutoTokenizer

    folder = code_in(write_tiny_model(tmp_path / "model"), ran)
    set_in(folder / "tokenizer_config.json", tokenizer_class="OwnTokenizer")
    set_in(folder / "config.json", model_type="own" if file == "config.json" else "llama")
    kind: Any = AutoConfig if file == "config.json" else AutoTokenizer
    refused(lambda: kind.from_pretrained(folder))
    assert ran.exists()


def refused(call: Callable[[], object]) -> None:
    """Let `call` go on without the code, or refuse."""
    with suppress(Exception):
        call()


@pytest.mark.usefixtures("consenting")
@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
def test_no_code_of_a_models_folder_runs(known: bool, tmp_path: Path, ran: Path):
    from transformers import AutoModelForCausalLM

    folder = code_in(write_tiny_model(tmp_path / "model"), ran)
    if not known:
        set_in(folder / "config.json", model_type="own")
        set_in(folder / "tokenizer_config.json", tokenizer_class="OwnTokenizer")
    found = validate(str(folder))
    assert bool(found) != known, found
    refused(lambda: local_model(str(folder)))
    refused(lambda: pretrained_tokenizer(folder))
    refused(lambda: ChatCodec(folder).prompt_ids("a"))
    refused(lambda: AutoModelForCausalLM.from_config(pretrained_config(folder)))
    if known:
        assert ChatCodec(folder).prompt_ids("a")
        assert type(AutoModelForCausalLM.from_config(pretrained_config(folder))).__module__.startswith("transformers.")
    assert not ran.exists()


@pytest.mark.parametrize("field", ["attn_implementation", "_attn_implementation", "experts_implementation"])
def test_no_kernel_is_fetched_that_a_models_folder_names(field: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from transformers import AutoModelForCausalLM
    from transformers.integrations import hub_kernels

    fetched: list[str] = []
    monkeypatch.setattr(hub_kernels, "get_kernel", lambda name, **_: fetched.append(name))
    monkeypatch.setattr(hub_kernels, "is_kernels_available", lambda *_: True)
    (tmp_path / "config.json").write_text(json.dumps(LLAMA | {field: "someone/kernel"}))
    AutoModelForCausalLM.from_config(pretrained_config(tmp_path))
    assert fetched == []


def test_an_adapters_pickle_is_not_read(tmp_path: Path, ran: Path):
    (tmp_path / "adapter_config.json").write_text(
        json.dumps(
            {"peft_type": "LORA", "base_model_name_or_path": "m0", "r": 8, "auto_mapping": {"parent_library": "x"}}
        )
    )
    (tmp_path / "adapter_model.bin").write_bytes(pickle.dumps(Hostile(ran)))
    assert validate(str(tmp_path), trained=False)
    assert not ran.exists()


ESCAPES = [
    "{{ cycler.__init__.__globals__.os.mknod(path) }}",
    "{{ lipsum.__globals__['os'].mknod(path) }}",
    "{{ raise_exception.__globals__['Path'](path).touch() }}",
    "{{ strftime_now.__globals__['json'].__loader__.set_data(path, b'') }}",
    "{{ (''|attr('__class__')).__mro__[1].__subclasses__() }}",
    "{{ ''.__class__.__base__.__subclasses__() }}",
    "{{ messages.append.__self__.__class__ }}{{ self._TemplateReference__context.environment.__class__ }}",
    "{{ '{0.__class__.__mro__}'.format(messages) }}",
    "{{ '%s'|format(messages.__class__.__mro__) }}",
    "{{ messages.clear() }}",
    "{% include '/etc/passwd' %}",
    "{% import 'os' as os %}{{ os.mknod(path) }}",
    "{% set x = joiner.__init__.__globals__ %}{{ x.os.mknod(path) }}",
]
"""Ways out of Jinja without a sandbox, or to another object than the template is given."""


@pytest.mark.parametrize("escape", ESCAPES)
@pytest.mark.parametrize("light", [True, False], ids=["light", "transformers"])
def test_a_chat_template_stays_in_its_sandbox(escape: str, light: bool, model: Path, tmp_path: Path, ran: Path):
    for file in model.iterdir():
        (tmp_path / file.name).symlink_to(file)
    (tmp_path / "chat_template.jinja").unlink(missing_ok=True)
    (tmp_path / "chat_template.jinja").write_text(f"{{% set path = {str(ran)!r} %}}{escape}{CHATML}")
    template = ChatTemplate(tmp_path, LightTokenizer(tmp_path, "m") if light else pretrained_tokenizer(tmp_path))
    messages = [{"role": "user", "content": "a"}]
    try:
        shown = template.render(messages, prompt=True)
    except UserError:
        shown = ""
    assert "class" not in shown
    assert "root:" not in shown
    assert messages
    assert not ran.exists()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("model") / "model")


# Tables and files of rows


def pickled(ran: Path, *values: str) -> dict[str, pa.Array]:
    """Columns of pickles as Ray Data stores objects, by themselves, in a struct, in lists and in a map."""
    from ray.data._internal.object_extensions.arrow import (
        ArrowPythonObjectType,
    )  # registers the type, as `ray.data` does

    stored = pa.array([pickle.dumps(Hostile(ran))] * len(values), pa.large_binary())
    column = pa.ExtensionArray.from_storage(ArrowPythonObjectType(), stored)
    offsets = range(len(values) + 1)
    return {
        "plain": column,
        "struct": pa.StructArray.from_arrays([column], ["x"]),
        "list": pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), column),
        "large": pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), column),
    }


@pytest.mark.parametrize("kind", ["plain", "struct", "list", "large"])
def test_rows_of_a_file_are_not_unpickled(kind: str, tmp_path: Path, ran: Path):
    column = pickled(ran, "a", "b")[kind]
    table = pa.table({"prompt": ["a", "b"], "chosen": ["c", "d"], "rejected": ["e", "f"], "more": column})
    pq.write_table(table, tmp_path / "rows.parquet")
    with pa.ipc.new_file(tmp_path / "rows.arrow", table.schema) as file:
        file.write_table(table)
    for name in ("rows.parquet", "rows.arrow"):
        rows = list(read_user_rows(str(tmp_path / name), None, "seed_data.source"))
        assert [row.fields["prompt"] for row in rows] == ["a", "b"]
        assert b"ran" in str(rows[0].fields["more"]).encode()
        assert not ran.exists()


@pytest.mark.parametrize("kind", ["plain", "struct", "list", "large"])
def test_tables_of_a_run_are_not_unpickled(kind: str, tmp_path: Path, ran: Path):
    step = Folder(str(tmp_path / "step"))
    write_part(step, "rows", [Prompt("M2/p0", "a")], Prompt, "0")
    write_part(step, "dropped", [Dropped("M2/p1", "propose", "short")], Dropped, "0")
    for table in ("rows", "dropped"):
        path = tmp_path / "step" / table / "0.parquet"
        found = pq.read_table(path)
        for name in found.column_names:
            hostile = found.set_column(found.column_names.index(name), name, pickled(ran, "a")[kind])
            pq.write_table(hostile, path)
            for read in readers(step, table):
                refused(read)
                assert not ran.exists(), (table, name)


def readers(step: Folder, table: str) -> list[Callable[[], object]]:
    """All that reads a table."""
    import asyncio

    paths = (step / table).files(".parquet")
    record = Prompt if table == "rows" else Dropped
    first = {"segments": [{"path": paths[0], "rows": [0]}]}
    return [
        lambda: read_rows(step, record, table),
        lambda: [block.to_pylist() for block in read_blocks(step / table, paths, 8)],
        lambda: list(read_columns(step / table, ["id"])),
        lambda: list(read_columns(step / table, pq.read_schema(paths[0]).names)),
        lambda: count_reasons(step / table),
        lambda: finished_ids(step),
        lambda: partition_table(step / table, set(), 8),
        lambda: asyncio.run(read_block(first, step / table, record)),
    ]


def test_values_that_are_too_deep_are_refused(ran: Path):
    column = pickled(ran, "a")["plain"]
    deep = pa.table({"m": pa.MapArray.from_arrays(pa.array([0, 1], pa.int32()), pa.array(["k"]), column)})
    with pytest.raises(UserError, match="column 'm' has the type .*, which is not read; leave the column out"):
        as_stored(deep)
    assert not ran.exists()


def test_a_pickle_in_place_of_a_file_of_rows_is_refused(tmp_path: Path, ran: Path):
    for name in ("rows.parquet", "rows.arrow", "rows.jsonl", "rows.json", "rows.csv"):
        (tmp_path / name).write_bytes(pickle.dumps(Hostile(ran)))
        with pytest.raises(UserError):
            list(read_user_rows(str(tmp_path / name), None, "seed_data.source"))
    assert not ran.exists()


# The package


UNSAFE = {
    "pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "torch.load", "np.load", "numpy.load",
    "yaml.load", "yaml.unsafe_load", "yaml.full_load", "eval", "exec", "compile", "pd.read_pickle", "__import__",
}  # fmt: skip
"""Modules that load code from data, and functions that do."""
PRETRAINED = {
    "models/pretrained.py",  # without the folder's code
    "training/loading.py",  # of no folder: the class is transformers', and the weights are given
    "demo/model.py",  # of a package that this one names
}
"""Files in which transformers is asked to load something."""


def test_the_package_loads_no_pickles_and_asks_transformers_in_one_place():
    pretrained = set()
    for path in PACKAGE.rglob("*.py"):
        name = path.relative_to(PACKAGE).as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                imported = {alias.name for alias in node.names} | {getattr(node, "module", None)}
                assert not imported & UNSAFE, f"{name}:{node.lineno}"
            if isinstance(node, ast.Call):
                assert ast.unparse(node.func) not in UNSAFE, f"{name}:{node.lineno}"
                if ast.unparse(node.func).endswith(".from_pretrained"):
                    pretrained.add(name)
                trusted = [key.value for key in node.keywords if key.arg == "trust_remote_code"]
                assert all(ast.unparse(value) == "False" for value in trusted), f"{name}:{node.lineno}"
    assert pretrained == PRETRAINED
