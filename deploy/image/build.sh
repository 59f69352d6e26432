#!/bin/sh
# Installs extproc and what it needs, compiled, into a virtual environment of its own that holds no installer. The
# samples need the same packages, some of them newer.   build.sh FOLDER, in the folder of pyproject.toml
set -eu
python3 -m venv --without-pip "$1"
python3 -m pip --python "$1/bin/python" install --disable-pip-version-check --quiet '.[examples,redis]'
"$1/bin/extproc" --help >/dev/null
