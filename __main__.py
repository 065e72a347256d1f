"""The command line: the table of commands, errors on one line, exit codes.

A command's module is imported when the command is called, so that `--help` is quick.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, NoReturn

import click

from .data.output.encodings import escaped_output, unicode_problem
from .data.output.terminal import printable
from .data.output.version import VERSION
from .errors import FreezeframeError, FreezeframeWarning

COMMANDS = {
    "run": ".classify.commands.run:run",
    "explore": ".data.commands.explore:explore",
    "audit": ".classify.commands.audit:audit",
    "split": ".data.commands.split:split",
    "extract-features": ".extract.commands.extract_features:extract_features",
    "fit-classifier": ".classify.commands.fit_classifier:fit_classifier",
    "fit-cnn": ".classify.commands.fit_cnn:fit_cnn",
    "leaderboard": ".classify.commands.leaderboard:leaderboard",
    "compare": ".classify.commands.compare:compare",
    "predict": ".classify.commands.predict:predict",
    "robustness": ".classify.commands.robustness:robustness",
    "explain": ".classify.commands.explain:explain",
    "report": ".classify.commands.report:report",
    "serve": ".classify.commands.serve:serve",
    "store": ".features.commands.store:store",
    "doctor": ".extract.commands.doctor:doctor",
    "make-demo-images": ".data.commands.make_demo_images:make_demo_images",
}
"""Commands in the order of `--help`, and where each is defined."""


class CommandTable(click.Group):
    """A group that imports a command when it is called and prints each error on one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List the commands in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; return None for an unknown name."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(import_module(module, __package__), name)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; Ctrl-C ends it with exit code 130."""
        try:
            return super().invoke(ctx)
        # Click's own handler, further out, would print an empty line first.
        except KeyboardInterrupt:
            _fail("stopped", 130)

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command line and exit; an error becomes one line and an exit code."""
        # click would print errors over several lines and choose the exit codes itself.
        kwargs["standalone_mode"] = False
        _open_standard_streams()
        # Without a handler, Python prints what libraries log, matplotlib of its cache say.
        logging.getLogger().addHandler(logging.NullHandler())
        try:
            with _escapes_explained(), _warnings_on_one_line():
                sys.exit(super().main(*args, **kwargs) or 0)
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            sys.exit(error.exit_code)
        except click.ClickException as error:
            _fail(error.format_message(), error.exit_code)
        except FreezeframeError as error:
            _fail(str(error), error.exit_code)
        except click.Abort:
            _fail("stopped", 130)
        except BrokenPipeError:
            # The reader of a pipe, `head` for example, has closed it. Without this, Python would
            # print another error when it flushes standard output at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        except OSError as error:
            # Every writer of files names its file, so what is left is the standard output.
            _fail(f"{error.filename or 'standard output'}: {error.strerror or error}", 1)
        except UnicodeError as error:
            _fail(unicode_problem(error), 1)
        except MemoryError:
            _fail("not enough memory", 1)


def _open_standard_streams() -> None:
    """Open each closed one of the descriptors 0 to 2 on the null device.

    `predict ... 2>&-` closes one. The next file that is opened would get its number, and a library
    that prints would write into that file.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # The system gives the lowest free number, which is this one.
            os.open(os.devnull, os.O_RDWR)


@contextmanager
def _escapes_explained() -> Iterator[None]:
    """Print characters that the terminal's encoding lacks as escapes, and say so at the end."""
    with escaped_output() as lacking:
        try:
            yield
        finally:
            if lacking:
                click.echo(
                    f"note: the encoding of this output, {sys.stdout.encoding}, lacks characters, "
                    "which are shown as \\u...; set PYTHONIOENCODING=utf-8",
                    err=True,
                )


@contextmanager
def _warnings_on_one_line() -> Iterator[None]:
    """Print a `FreezeframeWarning` like an error, and no warning of a library.

    Libraries warn in words for programmers. Where a warning matters to a result, the code that
    calls the library makes a line of it. `python -W default -m freezeframe` shows them all.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("default", FreezeframeWarning)
        show_plainly = warnings.showwarning
        shown: set[str] = set()

        def show(message: Any, category: Any, *args: Any, **kwargs: Any) -> None:
            if not issubclass(category, FreezeframeWarning):
                if sys.warnoptions:
                    show_plainly(message, category, *args, **kwargs)
            # Python forgets what it has shown whenever a library changes the filters.
            elif str(message) not in shown:
                shown.add(str(message))
                click.echo(f"warning: {_one_line(str(message))}", err=True)

        warnings.showwarning = show
        yield


def _fail(text: str, exit_code: int) -> NoReturn:
    """Print an error on one line of standard error, and exit."""
    click.echo(f"error: {_one_line(text)}", err=True)
    sys.exit(exit_code)


def _one_line(text: str) -> str:
    """Return a text on one line, without control characters, which a file name may hold."""
    return printable(" ".join(text.split()))


@click.group(cls=CommandTable, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="freezeframe")
def cli() -> None:
    """Freeze the backbone, look at every image once, trust every score after."""


def main() -> None:
    """Run `freezeframe`."""
    _run()


def extract_features() -> None:
    """Run `extract-features`, short for `freezeframe extract-features`."""
    _run(["extract-features", *sys.argv[1:]], prog_name="freezeframe")


def fit_classifier() -> None:
    """Run `fit-classifier`, short for `freezeframe fit-classifier`."""
    _run(["fit-classifier", *sys.argv[1:]], prog_name="freezeframe")


def _run(*args: Any, **kwargs: Any) -> None:
    """Run the command line as a process of its own."""
    try:
        cli(*args, **kwargs)
    finally:
        # Python waits for threads now, and would answer Ctrl-C with a traceback.
        signal.signal(signal.SIGINT, signal.SIG_DFL)


if __name__ == "__main__":
    main()
