# Sourced by the other scripts: goes to the repository's root and makes sure there is an
# environment there, .venv, unless the user has one active that can import jax and grain.
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [ -n "${VIRTUAL_ENV:-}" ] && python -c "import jax, grain, tensorflow_datasets, av, pytest" 2>/dev/null; then
  :
else
  PYTHON="${PYTHON:-python3}"
  "$PYTHON" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || {
    echo "Python 3.11, 3.12 or 3.13 is needed; this is $("$PYTHON" --version). Set PYTHON=..." >&2
    exit 1
  }
  # A mark says that the installation ended, and of which requirements.
  MARK=".venv/$(cksum < requirements.txt | tr -d ' ')"
  if [ ! -e "$MARK" ]; then
    echo "Installing what requirements.txt lists into .venv"
    "$PYTHON" -m venv .venv
    .venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
    touch "$MARK"
  fi
  . .venv/bin/activate
fi
# Large pages for the temporaries of a step, where the C library can: faster steps on CPUs.
export GLIBC_TUNABLES="${GLIBC_TUNABLES:-glibc.malloc.hugetlb=1}"
