"""Starts every command: reads its flags, and reports a wrong flag in one line, not a traceback."""

import pathlib
import sys
from collections.abc import Callable

from absl import app, flags


def run(main: Callable) -> None:
    """Runs a command's `main` with the arguments that remain after its flags."""
    app.run(main, flags_parser=_parse)


def _parse(argv: list[str]) -> list[str]:
    name = f"crocohuman_jax.{pathlib.Path(argv[0]).stem}"
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        fault = str(error)
        if "Traceback" in fault:  # the config file raised an error, which the last line names
            fault = fault.strip().splitlines()[-1]
        if "Unknown command line flag" in fault and "config" in flags.FLAGS:
            fault += "\nA key of the config is set with --config.KEY=VALUE."
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        # ml_collections raises two nested errors for an unknown key; the inner one has the text.
        cause = error.args[0] if error.args else error
        text = cause.args[0] if isinstance(cause, Exception) and cause.args else cause
        fault = f"The config has no {' '.join(str(text).split())}"
        if not isinstance(error, AttributeError | KeyError):
            fault = str(error)
    sys.exit(f"{name}: {fault}\n--help lists the flags.")
