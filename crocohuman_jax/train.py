"""Trains a task: python -m crocohuman_jax.train --config=configs/pretrain.py:base --workdir=RUN."""

import pathlib
import signal
import sys
import threading

import jax
from absl import flags
from ml_collections import config_flags

from crocohuman_jax.configuration import command_line
from crocohuman_jax.training import loop, metric_writer

config_flags.DEFINE_config_file("config", None, "Config file; its options follow after a colon.")
flags.DEFINE_string("workdir", None, "Folder of the run; a run in it is resumed.")
flags.DEFINE_bool("multihost", False, "Join the other hosts of a pod or cluster; JAX finds them.")
flags.DEFINE_string("coordinator", None, "ADDRESS:PORT of the first host, if JAX cannot find it.")
flags.DEFINE_integer("hosts", None, "With --coordinator: the number of hosts.", lower_bound=1)
flags.DEFINE_integer(
    "host", None, "With --coordinator: number of this host, from 0.", lower_bound=0
)
flags.DEFINE_string("compile_cache", "", "Folder that keeps compiled programs for later runs.")
flags.mark_flags_as_required(["config", "workdir"])

# Exit code of a stopped run, so that a scheduler can tell it from a failed one and start it again:
# EX_TEMPFAIL of sysexits.h.
AGAIN = 75


def check(workdir: str, coordinator: str | None, hosts: int | None, host: int | None) -> None:
    """Exits with a message if flags do not fit together, before hosts wait for each other."""
    fault = ""
    if not workdir:
        fault = "--workdir is empty: name the folder of the run"
    elif pathlib.Path(workdir).is_file():
        fault = f"--workdir={workdir} is a file: name a folder"
    elif coordinator is None and (hosts, host) != (None, None):
        fault = "--hosts and --host need --coordinator=ADDRESS:PORT, which is not given"
    elif coordinator is not None and (hosts is None or host is None):
        fault = f"--coordinator={coordinator} needs --hosts (the number of hosts) and --host"
    elif coordinator is not None and host >= hosts:
        fault = f"--host={host} is not below --hosts={hosts}: hosts are numbered from 0"
    if fault:
        sys.exit(f"train: {fault}.")


def main(_) -> None:
    args = flags.FLAGS
    log = metric_writer.say_progress()
    check(args.workdir, args.coordinator, args.hosts, args.host)
    if args.compile_cache:
        jax.config.update("jax_compilation_cache_dir", args.compile_cache)
    if args.multihost or args.coordinator:
        jax.distributed.initialize(args.coordinator, args.hosts, args.host)
    stop = threading.Event()

    def ask_to_stop(number, _):
        if stop.is_set():  # a second signal ends the run at once
            raise KeyboardInterrupt
        log.info("Received %s: saving after this step.", signal.Signals(number).name)
        stop.set()

    if jax.process_count() == 1:  # JAX itself tells several hosts of a SIGTERM
        signal.signal(signal.SIGTERM, ask_to_stop)
        signal.signal(signal.SIGINT, ask_to_stop)
    try:
        loop.train(args.config, pathlib.Path(args.workdir), stop)
    except loop.Stopped as stopped:
        log.info("%s Run the same command to continue.", stopped)
        sys.exit(AGAIN)
    except (ValueError, FloatingPointError, OSError) as error:
        log.debug("Where it was raised:", exc_info=True)
        sys.exit(f"train: {error}")


if __name__ == "__main__":
    command_line.run(main)
