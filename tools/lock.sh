#!/usr/bin/env bash
# Resolve pyproject.toml into requirements.lock: every version and its hashes, names and versions only.
#
#   tools/lock.sh            keep the locked versions where they still fit
#   tools/lock.sh --upgrade  take the newest ones
#
# torch has a file of its own, requirements-torch.lock: its build without CUDA has other hashes than the one on
# the index, so that a hash would exclude one of them. Its dependencies are in requirements.lock.
set -euo pipefail
cd "$(dirname "$0")/.."

tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
"${PYTHON:-python3}" -m venv "$tools"
"$tools/bin/pip" install --quiet pip-tools==7.6.2

"$tools/bin/pip-compile" --quiet "$@" --generate-hashes --strip-extras --allow-unsafe --no-annotate --no-header \
    --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
    --extra workflow --extra dev --output-file requirements.lock pyproject.toml

# torch's own entry, from its name to the last of its hashes
sed -i '/^torch==/,/[^\\]$/d; /^# The following packages/d; /^$/d' requirements.lock
