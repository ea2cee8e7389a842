"""The command line. Each group of commands is a module, imported on first use."""

from __future__ import annotations

import atexit
import contextlib
import errno
import importlib
import io
import os
import sys
import traceback
from collections.abc import Iterator
from typing import Any

import click
import click.utils

from esbench import __version__, device, disk
from esbench.cli import output
from esbench.cli.examples import examples
from esbench.errors import EsbenchError, Unavailable, did_you_mean

#: System errors about a file that are not bugs: its name, its owner, its disk.
SYSTEM = {
    getattr(errno, name)
    for name in ("EACCES", "EDQUOT", "EIO", "ELOOP", "EMFILE", "ENAMETOOLONG", "ENFILE", "ENOSPC", "EPERM", "EROFS")
}

#: command -> its module, and its line in `--help`.
COMMANDS = {
    "run": ("run", "Compare criteria on the same optimisations: DIP on every unit, one table at the end."),
    "denoise": ("denoise", "Denoise your own pictures; it stops automatically."),
    "restore": ("restore", "Restore your own pictures: enlarge, inpaint, guide by flash, undo JPEG."),
    "resume": ("run", "Continue a run with its own configuration."),
    "watch": ("watch", "A live page of a run in the browser: pictures, curves, stops, all units."),
    "ctl": ("watch", "Pause, resume or stop a run in progress, or one of its units."),
    "recommend": ("recommend", "The criterion that stops a task best, and why, from measurements."),
    "list-criteria": ("components", "The criteria that are installed."),
    "list": ("components", "The components of a kind: codecs, datasets, degradations, ..."),
    "show": ("components", "One component: its parameters, reference, owner and needs."),
    "plugins": ("components", "All plugins, and why one is not in use."),
    "measure": ("measure", "The value of a criterion on picture files."),
    "report": ("report", "One HTML file that opens offline, figures and tables of a run."),
    "replay": ("results", "Recompute the stops of a run with another patience or lam, in seconds, without torch."),
    "compare": ("results", "Two runs, or two criteria of one run, pair by pair."),
    "status": ("status", "The state of a run: done, failed, running, paused and missing units."),
    "export": ("results", "The results table of a run as CSV, JSON or Parquet."),
    "leaderboard": ("leaderboard", "Rank criteria over many runs and users, as a static page."),
    "calibrate": ("calibrate", "Find the lam of a CIFS criterion on clean pictures."),
    "reproduce": ("reproduce", "Reproduce a table or figure of the CIFS paper, beside the paper's numbers."),
    "data": ("data", "List, fetch and verify datasets."),
    "check-criterion": ("check", "Run the conformance checks on your own criterion."),
    "new-plugin": ("new", "Write a plugin from a template that installs and passes its tests unchanged."),
    "env": ("env", "Versions, device and plugins, for bug reports."),
}

#: Shown if printing fails.
UNWRITTEN = "The results cannot be written to standard output: {}."


class Commands(click.Group):
    """A group that imports its commands on first use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Return a command by name."""
        if name not in COMMANDS:
            return None
        module = importlib.import_module(f"esbench.cli.{COMMANDS[name][0]}")
        command: click.Command = getattr(module, name.replace("-", "_") + "_command")
        parts = command.commands if isinstance(command, click.Group) else {}
        for full, each in [(name, command), *((f"{name} {part}", each) for part, each in parts.items())]:
            each.epilog = examples(full)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Find the command; suggest a close name if there is none."""
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            raise click.UsageError(f"No command {args[0]!r}. {did_you_mean(args[0], COMMANDS)}".strip())
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="esbench")
def cli() -> None:
    """Decide when to stop a Deep Image Prior.

    Criteria as plugins, one stopping rule, and a benchmark that compares them. Start with `esbench run --preset quick`.

    Exit codes: 0 done; 1 some units failed, or a check failed; 2 usage error; 3 a file, package or device is not
    available; 4 a bug in esbench; 130 interrupted (finished work is kept; repeat the command to continue).
    """


def main() -> None:
    """Run the command line and exit."""
    device.let_threads_sleep()
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # closed by the caller: the next file must not get its descriptor
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):  # escape characters that its encoding does not have
        sys.stdout.reconfigure(errors="backslashreplace")
    with _output():
        code = _flushed(_command())
    atexit.register(_close_output)
    sys.exit(code)


def _command() -> int:
    """Run a command and return its exit code."""
    try:
        _check_folder()
        code = cli.main(prog_name="esbench", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except (KeyboardInterrupt, click.exceptions.Abort):
        _say("interrupted: finished work is kept; repeat the command to continue")
        return 130
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        hint = f" (see '{context.command_path} --help')" if context is not None else ""
        _say(f"{_sentence(error)}{hint}")
        return 2
    except EsbenchError as error:
        _say(str(error))
        return error.exit_code
    except Exception as error:
        if (
            isinstance(error, OSError)
            and traceback.extract_tb(error.__traceback__)[-1].filename == click.utils.__file__
        ):
            _say(UNWRITTEN.format(disk.reason(error)))
            return Unavailable.exit_code
        if isinstance(error, OSError) and error.errno in SYSTEM and error.filename is not None:
            _say(f"{os.fspath(error.filename)!r} cannot be used: {disk.reason(error)}.")
            return Unavailable.exit_code
        output.say(*traceback.format_exc().splitlines(), err=True)
        _say(
            "this is a bug in esbench or one of its plugins; please report it with the lines above and the output of "
            "'esbench env'"
        )
        return 4


def _check_folder() -> None:
    """Check that the current folder exists: without it, PyTorch ends the process that imports it.

    Raises:
        Unavailable: it was removed.
    """
    try:
        os.getcwd()
    except FileNotFoundError:
        raise Unavailable("The current folder was removed: change to another one.") from None


@contextlib.contextmanager
def _output() -> Iterator[None]:
    """Reserve standard output for esbench: what plugins or child processes write to descriptor 1 goes to stderr.

    So a plugin cannot write into a JSON document. Names that are not valid Unicode are escaped.
    """
    before, own = sys.stdout, -1
    if before is not None and before is sys.__stdout__:
        with contextlib.suppress(OSError):  # a descriptor is closed
            own = os.dup(1)
            os.dup2(2, 1)
    if own < 0:
        yield
        return
    sys.stdout = open(own, "w", 1 if before.isatty() else -1, before.encoding, "backslashreplace", closefd=False)  # noqa: SIM115
    try:
        yield
        sys.stdout.flush()
    finally:
        sys.stdout = before
        os.dup2(own, 1)
        os.close(own)


def _close_output() -> None:
    """Close standard output to the exit handlers of plugins, which run after this."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stdout.flush()
        os.dup2(2, 1)


def _flushed(code: int) -> int:
    """Flush stdout and stderr, and return the exit code: that of the command if its results could be written.

    A stream that cannot be written is replaced: Python would try again at exit, and set its own exit code.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            if isinstance(error, BrokenPipeError):  # the reader has closed the pipe, such as `head`
                code = code or 1
            elif stream is sys.stdout and code == 0:
                _say(UNWRITTEN.format(disk.reason(error)))
                code = Unavailable.exit_code
    return code


def _sentence(error: click.ClickException) -> str:
    """Return click's message, but with our suggestion for a mistyped option: click's matches too loosely."""
    if isinstance(error, click.NoSuchOption) and error.ctx is not None:
        known = [name for p in error.ctx.command.get_params(error.ctx) for name in p.opts]
        return f"No option {error.option_name!r}. {did_you_mean(error.option_name, known)}".strip()
    return " ".join(error.format_message().split())


def _say(sentence: str) -> None:
    output.say(f"esbench: {sentence}", err=True)
