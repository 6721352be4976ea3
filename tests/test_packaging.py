"""What is installed: every file of the package, and the versions that pyproject.toml and constraints-cpu.txt name."""

import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = PROJECT["project"]["optional-dependencies"]
NOT_IN_THE_CPU_ENVIRONMENT = {"gpu"}


def pinned() -> dict[str, str]:
    lines = [line for line in (ROOT / "constraints-cpu.txt").read_text().splitlines() if not line.startswith("#")]
    pairs = [line.split("==") for line in lines]
    return {canonicalize_name(name): version for name, version in pairs}


def test_every_file_of_the_package_is_installed():
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["selfreward_ray"]
    files = [path for path in (ROOT / "selfreward_ray").rglob("*") if path.is_file() and path.suffix != ".pyc"]
    data = [path.relative_to(ROOT / "selfreward_ray") for path in files if path.suffix != ".py"]
    assert len(data) >= 15
    assert [str(path) for path in data if not any(fnmatch(path.name, Path(p).name) for p in patterns)] == []
    # Folders without it are no packages, and their modules would be left out.
    assert [path for path in files if path.suffix == ".py" and not (path.parent / "__init__.py").exists()] == []


@pytest.mark.parametrize("group", ["", *sorted(EXTRAS.keys() - NOT_IN_THE_CPU_ENVIRONMENT)])
def test_the_cpu_environment_has_versions_that_the_package_allows(group: str):
    versions = pinned()
    wanted = [Requirement(line) for line in (EXTRAS[group] if group else PROJECT["project"]["dependencies"])]
    for one in wanted:
        if one.name != "selfreward-ray":
            assert one.specifier.contains(versions[canonicalize_name(one.name)]), one


def test_the_cpu_environment_is_exact_and_names_no_place_to_get_it_from():
    text = (ROOT / "constraints-cpu.txt").read_text()
    assert all(re.fullmatch(r"[\w.-]+==[\w.+!]+", line) for line in text.splitlines() if not line.startswith("#"))
    assert pinned()["torch"].endswith("+cpu")
    assert not pinned().keys() & {"torchvision", "torchaudio", "torchcodec", "selfreward-ray", "pip"}


def test_no_file_keeps_a_make_target_from_running():
    text = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    targets = set(re.findall(r"^([a-z][a-z-]*):", text, re.MULTILINE))
    [phony] = re.findall(r"^\.PHONY:(.*)$", text, re.MULTILINE)
    assert targets == set(phony.split())
    explained = set(re.findall(r"^([a-z-]+):.*## \S", text, re.MULTILINE))
    assert explained == targets
