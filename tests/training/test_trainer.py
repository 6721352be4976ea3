import json
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from selfreward_ray.reporting.progress import Progress
from selfreward_ray.storage import Folder
from selfreward_ray.training.trainer import _discard_torn


@pytest.mark.parametrize(
    ("text", "kept"), [(json.dumps({"checkpoint_results": []}), True), ('{"checkpoint_res', False)]
)
def test_a_torn_list_of_checkpoints_does_not_stop_a_run_for_ever(text: str, kept: bool, tmp_path: Path):
    ray_folder = Folder(str(tmp_path / "ray_train"))
    (ray_folder / "train").write_bytes("checkpoint_manager_snapshot.json", text.encode())
    printed = StringIO()
    _discard_torn(ray_folder, Progress("DPO", 1, "steps", console=Console(file=printed, width=400)))
    assert (tmp_path / "ray_train").exists() == kept
    assert ("training begins anew" in printed.getvalue()) != kept
