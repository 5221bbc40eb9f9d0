#!/usr/bin/env bash
# Runs the tests, in an environment of its own if none is active. Arguments go to pytest.
set -euo pipefail
. "$(dirname "$0")/environment.sh"
exec python -m pytest -q --numprocesses=auto --maxprocesses=4 --dist=worksteal "$@"
