from pathlib import Path

import pytest

from selfreward_ray.records import Prompt
from selfreward_ray.store import parts
from selfreward_ray.store.folder import Folder
from selfreward_ray.store.parts import writing_parts
from selfreward_ray.store.tables import read_files, read_rows

PROMPTS = [Prompt(f"p{n:02d}", "Why?") for n in range(25)]


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(parts, "_ROWS_PER_PART", 10)


@pytest.mark.parametrize(("count", "sizes"), [(25, [10, 10, 5]), (20, [10, 10]), (0, [])])
def test_rows_are_written_as_they_come_and_in_their_order(tmp_path: Path, count: int, sizes: list[int]):
    folder = Folder(str(tmp_path))
    with writing_parts(folder, "rows", Prompt) as add:
        for number, prompt in enumerate(PROMPTS[:count], start=1):
            add(prompt)
            assert len(read_rows(folder, Prompt)) == number // 10 * 10
    assert read_rows(folder, Prompt) == PROMPTS[:count]
    assert [len(rows) for _, rows in read_files(folder / "rows", Prompt)] == sizes


def test_what_an_earlier_attempt_left_is_gone(tmp_path: Path):
    folder = Folder(str(tmp_path))

    def write(count: int, error: Exception | None = None) -> None:
        with writing_parts(folder, "rows", Prompt) as add:
            for prompt in PROMPTS[:count]:
                add(prompt)
            if error is not None:
                raise error

    with pytest.raises(OSError, match="gone"):
        write(25, OSError("gone"))
    assert len(read_rows(folder, Prompt)) == 20
    write(3)
    assert read_rows(folder, Prompt) == PROMPTS[:3]
