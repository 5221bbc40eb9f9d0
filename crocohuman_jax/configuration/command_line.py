"""How every command starts: its flags are read, and a wrong one is one line, not a traceback."""

import pathlib
import sys
from collections.abc import Callable

from absl import app, flags


def run(main: Callable) -> None:
    """Runs a command's `main` with what is left of the command line after its flags."""
    app.run(main, flags_parser=_parse)


def _parse(argv: list[str]) -> list[str]:
    name = f"crocohuman_jax.{pathlib.Path(argv[0]).stem}"
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        fault = str(error)
        if "Traceback" in fault:  # of what the config file raised; its last line says what
            fault = fault.strip().splitlines()[-1]
        if "Unknown command line flag" in fault and "config" in flags.FLAGS:
            fault += "\nA key of the config is set with --config.KEY=VALUE."
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        # ml_collections, of a key that the config has not: the text lies within two errors.
        cause = error.args[0] if error.args else error
        text = cause.args[0] if isinstance(cause, Exception) and cause.args else cause
        fault = f"The config has no {' '.join(str(text).split())}"
        if not isinstance(error, AttributeError | KeyError):
            fault = str(error)
    sys.exit(f"{name}: {fault}\n--help lists the flags.")
