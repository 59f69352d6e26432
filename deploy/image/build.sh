#!/bin/sh
# Installs extproc and what it needs, compiled, into a virtual environment of its own that holds no installer.
# Run in the folder of pyproject.toml:  build.sh FOLDER
set -eu
python3 -m venv --without-pip "$1"
python3 -m pip --python "$1/bin/python" install --disable-pip-version-check --quiet .
"$1/bin/extproc" --help >/dev/null
