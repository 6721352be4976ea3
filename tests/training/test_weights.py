"""Two ranks: only rank 0 fetches and reads weights, all get them; and each rank stores its share of the export."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import weights_runs
from ranks import run_ranks
from safetensors.torch import load_file, save, save_file
from transformers import AutoModelForCausalLM

pytestmark = pytest.mark.engines


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    shutil.copytree(tiny_model, tmp_path / "llama")
    return tmp_path


def said(folder: Path, name: str) -> list[Any]:
    """By both ranks."""
    return [json.loads((folder / f"{name}-{rank}.json").read_text()) for rank in range(2)]


def test_what_one_rank_meets_ends_all(tmp_path: Path):
    run_ranks(weights_runs.agreements, tmp_path)
    first, second = said(tmp_path, "agreements")
    assert first["nothing"] == second["nothing"] == []
    assert (first["storage"], second["storage"]) == (["RuntimeError", "rank 1: reset"], ["OSError", "reset"])
    assert first["user"] == second["user"] == ["Final", "no such model"]
    assert (first["long"], second["long"]) == ("done", None)
    assert (first["failed"], second["failed"]) == (["OSError", "no answer"], ["RuntimeError", "rank 0: no answer"])
    assert (first["each"], second["each"]) == (0, 1)
    assert (first["one"], second["one"]) == (["RuntimeError", "rank 1: no answer"], ["OSError", "no answer"])


def test_every_rank_has_the_weights_that_rank_0_alone_reads(folder: Path):
    """Also those whose names lack the prefix of the base model, or have it twice: transformers knows how."""
    weights_runs.write_moe(folder / "moe")
    whole = load_file(folder / "llama" / "model.safetensors")
    for name, pair in {"bare": ("model.", ""), "doubled": ("model.", "model.model.")}.items():
        shutil.copytree(folder / "llama", folder / name)
        save_file({key.replace(*pair): value for key, value in whole.items()}, folder / name / "model.safetensors")
    for name in ("llama", "moe", "bare", "doubled"):
        without = shutil.copytree(folder / name, folder / f"{name}-without-weights")
        for file in without.glob("*.safetensors*"):
            file.unlink()
    run_ranks(weights_runs.load, folder)
    for rank, heard in enumerate(said(folder, "load")):
        for name, found in heard.items():
            assert found["files"] == (1 if rank == 0 else 0), name
            assert (found["sharded"], found["left"], found["off"]) == (True, [], 0.0), name
        assert heard["llama"]["weights"] == 21
        assert list(heard["moe"]["buffers"].values()) == [[0.0, 1.0, 2.0, 3.0]]


def test_weights_that_rank_0_can_not_read_end_all_ranks_with_the_file_and_the_remedy(tiny_model: Path, tmp_path: Path):
    """Rank 0 alone knows; the others would wait for its broadcast, and nobody would hear what it met."""
    shutil.copytree(tiny_model, tmp_path / "whole")
    weights = (tiny_model / "model.safetensors").read_bytes()

    def damage(case: str, files: dict[str, bytes]) -> None:
        (shutil.copytree(tiny_model, tmp_path / case) / "model.safetensors").unlink()
        for name, data in files.items():
            (tmp_path / case / name).write_bytes(data)

    index, shard = "model.safetensors.index.json", "model-00001-of-00002.safetensors"
    damage("other-form", {"consolidated.safetensors": weights})
    damage("no-index", {shard: weights})
    damage("torn", {"model.safetensors": weights[:-7]})
    damage("empty", {"model.safetensors": b""})
    damage("no-safetensors", {"model.safetensors": b"version https://git-lfs.github.com/spec/v1"})
    damage("torn-index", {shard: weights, index: b'{"weight_map": {"a": "mod'})
    damage("no-map", {shard: weights, index: b'{"metadata": {}}'})
    damage("no-names", {shard: weights, index: b'{"weight_map": {"a": 1}}'})
    damage("no-shard", {index: json.dumps({"weight_map": {"a": shard}}).encode()})
    damage("rank-1", {"model.safetensors": weights, "config.json": b"{"})
    whole = load_file(tiny_model / "model.safetensors")
    for case, state in misfits(whole).items():
        damage(case, {"model.safetensors": save(state)})
    for case in ("an-expert", "half-an-expert"):
        weights_runs.write_moe(tmp_path / case)
        held = load_file(tmp_path / case / "model.safetensors")
        part = "down_proj" if case == "an-expert" else "gate_proj"
        del held[f"model.layers.1.mlp.experts.2.{part}.weight"]
        save_file(held, tmp_path / case / "model.safetensors", {"format": "pt"})
    run_ranks(weights_runs.load_damaged, tmp_path)

    first, second = said(tmp_path, "damaged")
    wrong = {
        "other-form": "has neither model.safetensors nor", "no-index": "has neither model.safetensors nor",
        "torn": "model.safetensors cannot be read", "empty": "model.safetensors cannot be read",
        "no-safetensors": "model.safetensors cannot be read", "torn-index": f"{index} cannot be read",
        "no-map": f"{index} cannot be read (it has no weight_map", "no-shard": f"{shard} cannot be read",
        "no-names": f"{index} cannot be read (it has no weight_map",
    }  # fmt: skip
    for case, fault in wrong.items():
        kind, message = first[case]
        assert first[case] == second[case]
        assert kind == "Final", message
        assert f"{tmp_path}/{case}" in message
        assert fault in message
        assert "save the model again with save_pretrained" in message
    unfit = {
        "17-of-21": "4 missing (model.layers.1.self_attn.o_proj.weight, model.layers.1.self_attn.q_proj.weight, mod",
        "wrapped": "21 missing (lm_head.weight, model.embed_tokens.weight, model.layers.0.input_layernorm.weight, ",
        "an-expert": "1 of another shape (model.layers.1.mlp.experts.down_proj is [3, 32, 16], not [4, 32, 16]); sav",
        "half-an-expert": "transformers cannot join them (",
        "left-over": ".json: 1 left over (model.layers.7.mlp.gate_proj.weight); save the whole model again with save",
        "other-shape": ".json: 1 of another shape (lm_head.weight is [400, 32], not [400, 64]); save the whole model ",
    }
    for case, fault in unfit.items():
        assert first[case] == second[case]
        assert first[case][:1] == ["Final"], case
        assert first[case][1].startswith(f"{tmp_path}/{case}: its weights are not those of its config.json: ")
        assert fault in first[case][1]
    assert first["reference"] == second["reference"]
    assert first["reference"][0] == "Final"
    assert f"{tmp_path}/lost" in first["reference"][1]
    # An error of a rank that is not the user's ends all ranks too; Ray Train tries it again.
    assert second["rank-1"][0] != "Final"
    assert "config.json" in second["rank-1"][1]
    assert first["rank-1"] == ["RuntimeError", f"rank 1: {second['rank-1'][1]}"]


def misfits(whole: dict[str, torch.Tensor]) -> dict[str, dict[str, torch.Tensor]]:
    """Weights that transformers would load with no more than a warning, in the place of the `whole` ones."""
    return {
        "17-of-21": dict(sorted(whole.items())[:17]),
        "wrapped": {f"policy.{name}": tensor for name, tensor in whole.items()},
        "left-over": whole | {"model.layers.7.mlp.gate_proj.weight": torch.ones(2)},
        "other-shape": whole | {"lm_head.weight": torch.ones(400, 32)},
    }


def test_only_rank_0_fetches_weights_and_says_how_far_it_is(folder: Path):
    run_ranks(weights_runs.fetch, folder)
    first, second = said(folder, "fetch")
    assert set(first["files"]) - set(second["files"]) == {"model.safetensors"}
    assert second["notes"] == []
    assert (first["notes"][0], first["notes"][-1]) == ("fetching the model 0%", "fetching the model 100%")
    assert len(set(first["notes"])) == len(first["notes"]) > 5


@pytest.fixture(scope="module")
def exported(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    shutil.copytree(tiny_model, folder / "llama")
    run_ranks(weights_runs.export, folder)
    return folder


def test_ranks_store_shards_in_turn_and_their_folder_is_the_model(exported: Path):
    stored = [[file for what, file, _ in events if what == "end"] for events in said(exported, "well")]
    files = sorted(path.name for path in (exported / "well").glob("*.safetensors"))
    assert stored == [files[::2], files[1::2]]
    assert len(files) == 9
    before = AutoModelForCausalLM.from_pretrained(exported / "llama", dtype=torch.float32).state_dict()
    after = {name: tensor for file in files for name, tensor in load_file(exported / "well" / file).items()}
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)
    AutoModelForCausalLM.from_pretrained(exported / "well")


def test_a_rank_stores_while_the_next_shard_is_gathered_and_holds_one_at_a_time(exported: Path):
    """Storing takes half a second here: five and four shards take less than nine would."""
    first, second = said(exported, "well")
    times = {(what, file): time for what, file, time in first}
    gathers = [time for what, _, time in first if what == "gather"]
    files = [file for what, file, _ in first if what == "begin"]
    assert gathers[1] < times["end", files[0]]
    for before, file, gather in zip(files, files[1:], gathers[2::2], strict=False):
        assert times["end", before] <= gather <= times["begin", file]
    assert max(time for _, _, time in first + second) - gathers[0] < 9 * 0.5


def test_storage_that_fails_for_one_rank_ends_all_and_leaves_no_model(exported: Path):
    first, second = said(exported, "wrong")
    assert first["storage"] == ["RuntimeError", "rank 1: connection reset"]
    assert second["storage"] == ["OSError", "connection reset"]
    left = {path.name for path in (exported / "storage").iterdir()}
    assert not left & {"config.json", "model.safetensors.index.json", "model-00002-of-00009.safetensors"}
    assert len(left) <= 3  # nothing is stored after the error is known


def test_a_weight_that_is_not_finite_on_one_rank_ends_all(exported: Path):
    first, second = said(exported, "wrong")
    assert first["spoilt"] == second["spoilt"]
    assert first["spoilt"][0] == "Final", "a restart would find the same weight"
    assert first["spoilt"][1].startswith("weight 'model.layers.0.self_attn.q_proj.weight' is not finite; ")
    assert not list((exported / "spoilt").glob("*.json"))
