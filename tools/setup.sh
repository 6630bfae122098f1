#!/usr/bin/env bash
# Set up what Nearsight needs: `tools/setup.sh programs`, then `python`, then `package`; `tests` for its tests. The
# Makefile calls all of them.
#
# programs: Quantum ESPRESSO, BLAS, Open MPI, FFTW and a C++ compiler from Debian, where they are missing and this is
#           root.
# python:   the virtual environment $VENV (.venv) with the locked packages.
# package:  Nearsight itself in that environment; compiles the bispectrum kernel.
# tests:    Slurm, munge and bindfs from Debian, for the test cluster, and Chromium, for the tests of `nearsight view`,
#           where they are missing and this is root.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${VENV:-.venv}
debian_packages="quantum-espresso libopenblas0-pthread openmpi-bin libfftw3-dev g++"
# libpmix-dev has the name libpmix.so, which Slurm's plugin for `srun --mpi=pmix` opens
# a page needs letters: chromium brings none
test_packages="slurm-wlm munge libpmix-dev bindfs chromium fonts-dejavu-core"

set_up_programs() {
    local missing=()
    for program in pw.x pp.x ld1.x; do
        command -v "$program" >/dev/null || missing+=("$program")
    done
    command -v mpirun.openmpi >/dev/null || command -v mpirun >/dev/null || missing+=("mpirun")
    command -v "${CXX:-c++}" >/dev/null || command -v g++ >/dev/null || missing+=("g++")
    has_fftw || missing+=("fftw3.h")
    [ ${#missing[@]} -eq 0 ] && return

    if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
        echo "Installing Quantum ESPRESSO, BLAS, Open MPI, FFTW and a C++ compiler (${missing[*]} not found)"
        apt-get update -qq
        # shellcheck disable=SC2086  # one word per package
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $debian_packages
    else
        cat >&2 <<MESSAGE
Nearsight needs Quantum ESPRESSO, its MPI launcher, FFTW and a C++ compiler; not found: ${missing[*]}
Install them with one of these, then run the same command again:
    sudo apt-get install --no-install-recommends $debian_packages
    conda install -c conda-forge qe=7.5 gxx fftw    (and set dft.launcher in the study file: mpirun --bind-to none)
MESSAGE
        exit 1
    fi
}

# mpi4py-fft is compiled against it; FFTW_ROOT and CPATH are where its setup and the compiler look, too
has_fftw() {
    local compiler=${CXX:-g++}
    command -v "$compiler" >/dev/null || compiler=c++
    echo '#include <fftw3.h>' | "$compiler" ${FFTW_ROOT:+"-I$FFTW_ROOT/include"} -E -x c++ - >/dev/null 2>&1
}

set_up_python() {
    local python=${PYTHON:-python3}
    if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
        echo "Nearsight needs Python 3.11 or newer, found $("$python" --version 2>&1). Name one: make PYTHON=python3.11" >&2
        exit 1
    fi
    if ! "$python" -c 'import ensurepip, venv'; then
        if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
            apt-get update -qq
            DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv
        else
            echo "Python's venv is missing. Install it: sudo apt-get install python3-venv" >&2
            exit 1
        fi
    fi
    echo "Setting up $venv (a minute or two)"
    "$python" -m venv --clear "$venv"
    local pip=("$venv/bin/python" -m pip install --quiet --disable-pip-version-check)
    # torch first and without hashes: requirements.lock accepts nothing that it has no hash of
    "${pip[@]}" -r requirements-torch.lock
    "${pip[@]}" --require-hashes -r requirements.lock
    # a source package: built with the environment's own Cython and numpy, so that nothing else is fetched
    "${pip[@]}" --require-hashes --no-deps --no-build-isolation -r requirements-source.lock
}

set_up_package() {
    echo "Compiling the bispectrum kernel (three minutes on two cores the first time)"
    # cmake and ninja are those of the environment
    PATH="$PWD/$venv/bin:$venv/bin:$PATH" "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
        --no-deps --no-build-isolation --editable .
}

set_up_tests() {
    local missing=()
    for program in slurmctld slurmd munged srun bindfs; do
        PATH="$PATH:/usr/sbin:/sbin" command -v "$program" >/dev/null || missing+=("$program")
    done
    compgen -G "/usr/lib/*/pmix2/lib/libpmix.so" >/dev/null || missing+=("libpmix.so")
    command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null ||
        missing+=("chromium")
    [ ${#missing[@]} -eq 0 ] && return

    if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
        echo "Installing Slurm and Chromium for tests (${missing[*]} not found)"
        apt-get update -qq
        # the tests start daemons of their own: keep the packages from starting theirs
        # shellcheck disable=SC2086  # one word per package
        RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $test_packages
    else
        echo "Tests on a Slurm cluster or in a browser will be skipped (not root, or no apt-get); not found: ${missing[*]}"
    fi
}

case "${1:-}" in
programs) set_up_programs ;;
python) set_up_python ;;
package) set_up_package ;;
tests) set_up_tests ;;
*)
    echo "usage: tools/setup.sh programs|python|package|tests" >&2
    exit 2
    ;;
esac
