"""Each shipped recipe is rehearsed: its whole loop, on the nodes that it is meant for."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.rehearsal

ROOT = Path(__file__).parents[2]
RECIPES = sorted(path.stem for path in (ROOT / "jobs" / "recipes").glob("*.yaml"))
ON_A_CLUSTER = {"llama2-70b": ["--cluster", "cluster/aws-autoscaling.yaml", "--run-dir", "s3://runs/llama2"]}


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_shipped_recipe_is_rehearsed(recipe: str):
    """To its end, once after a kill; nothing of it would be rejected, and no node is started in vain or left."""
    done = subprocess.run(
        [
            Path(sys.executable).with_name("selfreward"),
            "rehearse",
            f"jobs/recipes/{recipe}.yaml",
            *ON_A_CLUSTER.get(recipe, []),
        ],
        env=os.environ | {"COLUMNS": "200", "HF_HUB_OFFLINE": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stdout
    print(said)
    assert done.returncode == 0, said[-6000:] + done.stderr[-6000:]
    assert "nothing would be rejected, and every node was used and let go" in said
    assert re.search(r"M2 · pairs +killed", said)
    assert re.search(r"M2 · (DPO|SFT) +\d", said)
    if recipe in ON_A_CLUSTER:
        nodes = {
            line.split("  ")[1].strip(): set(re.findall(r"(\w[\w-]*)/\d+", line))
            for line in said.splitlines()
            if line.startswith(" M") or line.startswith("  M")
        }
        assert nodes
