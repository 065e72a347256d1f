"""The front door: one command line, errors on one line, exit codes. Rooms keep their own commands and load on use."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

import click

from .data.output.terminal import printable
from .data.version import VERSION
from .errors import FreezeframeError

COMMANDS = {
    "explore": ".data.commands.explore:explore",
    "audit": ".classify.commands.audit:audit",
    "split": ".data.commands.split:split",
    "extract-features": ".extract.commands.extract_features:extract_features",
    "fit-classifier": ".classify.commands.fit_classifier:fit_classifier",
    "fit-cnn": ".classify.commands.fit_cnn:fit_cnn",
    "leaderboard": ".classify.commands.leaderboard:leaderboard",
    "compare": ".classify.commands.compare:compare",
    "predict": ".classify.commands.predict:predict",
    "store": ".features.commands.store:store",
    "make-demo-images": ".data.commands.make_demo_images:make_demo_images",
}


class FrontDoor(click.Group):
    """Loads a sub-command when it is called; turns every error a user can mend into one line and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(import_module(module, __package__), name)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:  # caught here, since click would print an empty line
            _fail("stopped", 130)

    def main(self, *args: Any, **kwargs: Any) -> Any:
        kwargs["standalone_mode"] = False
        try:
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
        except BrokenPipeError:  # the reader of a pipe, `head` say, has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        except OSError as error:
            _fail(f"{error.filename or 'output'}: {error.strerror or error}", 1)
        except UnicodeError:
            _fail("a file name here is not valid UTF-8; rename it", 1)
        except MemoryError:
            _fail("not enough memory", 1)


def _fail(text: str, exit_code: int) -> None:
    click.echo(f"error: {printable(' '.join(text.split()))}", err=True)
    sys.exit(exit_code)


@click.group(cls=FrontDoor, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="freezeframe")
def cli() -> None:
    """Freeze the backbone, look at every image once, trust every score after."""


def main() -> None:
    """Run `freezeframe`."""
    cli()


def extract_features() -> None:
    """Run `extract-features`, which is `freezeframe extract-features`."""
    cli(["extract-features", *sys.argv[1:]], prog_name="freezeframe")


def fit_classifier() -> None:
    """Run `fit-classifier`, which is `freezeframe fit-classifier`."""
    cli(["fit-classifier", *sys.argv[1:]], prog_name="freezeframe")


if __name__ == "__main__":
    main()
