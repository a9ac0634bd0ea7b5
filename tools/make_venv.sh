#!/bin/sh
# Builds the virtual environment $1 from the hashed requirements $2, and installs keywheel into it, editable.
set -eu
venv=$1 requirements=$2
python=${PYTHON:-python3}

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
  echo "keywheel needs Python 3.11 or newer; set PYTHON=/path/to/python3." >&2
  exit 1
}
if ! "$python" -c 'import ensurepip' 2>/dev/null; then
  # Debian and Ubuntu ship Python without the module that makes environments.
  echo "Installing the system package python3-venv, which this Python lacks."
  "$(dirname "$0")/apt_install.sh" python3-venv
fi
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
echo "Installing $requirements into $venv …"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r "$requirements"
# The build backend is one of the pinned requirements; it finds its own program by PATH.
PATH="$PWD/$venv/bin:$PATH" \
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
