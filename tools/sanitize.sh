#!/usr/bin/env bash
# The kernel under AddressSanitizer and UndefinedBehaviorSanitizer: compiles it apart (build/sanitize, twojmax 2, 4
# and 6 of all instruction sets) and runs the tests of arguments and regions on it. Takes a few minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${VENV:-.venv}
python=$PWD/$venv/bin/python
folder=$PWD/build/sanitize
export PATH=$PWD/$venv/bin:$PATH

cmake -S workflow/nearsight/descriptors/bispectrum/native -B "$folder" -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo \
    -DNEARSIGHT_SANITIZE=address,undefined -DNEARSIGHT_TWOJMAX="2;4;6" -DPython_EXECUTABLE="$python" >/dev/null
ninja -C "$folder"

# the sanitized module takes the place of the installed one; Python itself is not sanitized, hence the preload
runtime=$(${CXX:-c++} -print-file-name=libasan.so):$(${CXX:-c++} -print-file-name=libubsan.so):$(${CXX:-c++} -print-file-name=libstdc++.so.6)
ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1 LD_PRELOAD=$runtime \
    NEARSIGHT_NATIVE_MODULE=$(ls "$folder"/_native*.so) \
    "$python" -m pytest -q -p no:cacheprovider tests/unit/test_native_arguments.py tests/unit/test_native_regions.py \
    -k "not lammps and not torch"
