"""A process that waits to be told to go on, and says in lines what it does."""

import subprocess
import sys


class ToldProcess:
    """Runs `program`, which says "ready" and then waits for lines on its standard input."""

    def __init__(self, program: str, *arguments: str):
        self.process = subprocess.Popen(
            [sys.executable, "-c", program, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.said() == "ready"

    def go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def said(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()
