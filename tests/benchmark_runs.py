"""Runs a file of `benchmarks/` by its own command line, as `make bench-…` does."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
BENCHMARKS = ROOT / "benchmarks"
LONGEST = 600
"""Seconds that a minimal form may take on a busy machine."""


@dataclass(frozen=True)
class Done:
    """An ended benchmark: its exit status, and what it wrote."""

    status: int
    out: str
    errors: str

    @property
    def figures(self) -> dict[str, Any]:
        """The JSON object of the last line, of a benchmark that succeeded."""
        assert self.status == 0, self.out + self.errors
        return json.loads(self.out.splitlines()[-1])


def run_benchmark(name: str, *arguments: object, longest: float = LONGEST, **environment: str) -> Done:
    """Run ``benchmarks/NAME.py`` for at most `longest` seconds; `environment` is added to this process's."""
    command = [sys.executable, BENCHMARKS / f"{name}.py", *map(str, arguments)]
    variables = {**os.environ, **environment}
    variables["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), variables.get("PYTHONPATH")]))
    # To files: a pipe would be read until the last process that holds it has ended.
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=out, stderr=errors, env=variables, start_new_session=True)
        try:
            status = process.wait(longest)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)  # Ray's processes end with those that started them
                process.wait()
        out.seek(0), errors.seek(0)
        return Done(status, out.read(), errors.read())
