"""The import contracts of pyproject.toml hold, and each of them would notice."""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
BREAKS = {
    "records": ("torch", "What a row means is pure: no Ray, no torch, no vLLM"),
    "store.user_files": (
        "selfreward_ray.seed.readers",
        "The store imports neither the loop nor what its steps are made of",
    ),
    "inference.pool": ("vllm", "Only the engine imports vLLM"),
    "loop": ("deepspeed", "Only training imports DeepSpeed"),
    "steps.pair": (
        "selfreward_ray.demo.verifier",
        "The demo world is an extension that only the command imports",
    ),
}


def lint(root: Path) -> subprocess.CompletedProcess[str]:
    linter = Path(sys.executable).with_name("lint-imports")
    return subprocess.run([linter, "--no-cache"], cwd=root, capture_output=True, text=True, check=False)


def test_the_contracts_hold():
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout
    assert f"Contracts: {len(BREAKS)} kept, 0 broken." in done.stdout


def test_each_contract_notices_when_it_is_broken(tmp_path: Path):
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    package = shutil.copytree(ROOT / "selfreward_ray", tmp_path / "selfreward_ray")
    for module, (imported, _) in BREAKS.items():
        with (package / f"{module.replace('.', '/')}.py").open("a") as file:
            file.write(f"\nimport {imported}\n")
    done = lint(tmp_path)
    for module, (imported, contract) in BREAKS.items():
        assert f"{contract} BROKEN" in done.stdout
        assert f"selfreward_ray.{module} -> {imported} (l." in done.stdout
