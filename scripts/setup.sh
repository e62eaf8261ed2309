#!/usr/bin/env bash
# Makes .venv with torch, the build tools and an editable fastgan, native library included; does nothing when all of it
# is there and matches the sources. With --EXTRA, such as --lint, also what that extra of pyproject.toml names.
# With --demo no more than that needs: neither tools for tests nor kernels for a GPU or for AVX-512 where there is none,
# if not all is there.
set -euo pipefail
cd "$(dirname "$0")/.."

demo=false
[ "${1:-}" != --demo ] || { demo=true; shift; }

venv=.venv
python=$venv/bin/python

find_python() {
    local candidate
    for candidate in ${PYTHON:-} python3 python3.13 python3.12 python3.11 python3.10 python; do
        if "$candidate" -c 'import ensurepip, sys, venv; sys.exit(not (3, 10) <= sys.version_info < (3, 15))' 2>/dev/null
        then
            echo "$candidate"
            return
        fi
    done
    echo "setup: no Python from 3.10 to 3.14 with venv was found (Debian and Ubuntu: apt install python3-venv);" \
        "name one by PYTHON=/path/to/python" >&2
    return 1
}

pip_install() {
    local log
    log=$(mktemp)
    if ! PATH="$PWD/$venv/bin:$PATH" PIP_DISABLE_PIP_VERSION_CHECK=1 \
        "$python" -m pip install -q -c constraints.txt "$@" >"$log" 2>&1; then
        cat "$log" >&2
        rm -f "$log"
        echo "setup: pip install $* failed; what it said is above" >&2
        return 1
    fi
    rm -f "$log"
}

# A digest of all that its arguments name: words, and the contents of files.
digest() {
    { printf '%s\n' "$@"; cat; } | sha256sum | cut -d' ' -f1
}

up_to_date() {
    [ -f "$1" ] && [ "$(cat "$1")" = "$2" ]
}

compiler=$("${CXX:-c++}" --version 2>/dev/null | head -n 1 || true)
cuda=$("${CUDACXX:-nvcc}" --version 2>/dev/null | tail -n 1 || true)
tools=$(digest "$PWD" <constraints.txt)
if ! up_to_date "$venv/.tools" "$tools" || ! "$python" -c '' 2>/dev/null; then
    found=$(find_python)
    echo "setup: making $venv with $("$found" --version), installing torch (a few minutes the first time)"
    "$found" -m venv --clear "$venv"
    pip_install torch
    pip_install "setuptools>=77" wheel "cmake>=3.24" ninja "pybind11>=2.12"
    echo "$tools" >"$venv/.tools"
fi

sources=(pyproject.toml setup.py CMakeLists.txt)
while IFS= read -r file; do sources+=("$file"); done < <(find csrc -type f | LC_ALL=C sort)
# A digest of what the package is built from; the arguments are how.
digest_of_package() {
    cat "${sources[@]}" | digest "$tools" "$compiler" "$cuda" "${FASTGAN_BUILD:-auto}" "${sources[@]}" "$@"
}
# The record of the build must be there, and the library if the record says that it was built.
built() {
    [ -f fastgan/_build.json ] && { [ -f fastgan/_native.so ] || ! grep -q '"native": true' fastgan/_build.json; }
}
install=".[test]" package=$(digest_of_package)
if $demo && ! { up_to_date "$venv/.package" "$package" && built; }; then
    install=.
    [ -e /dev/nvidiactl ] || command -v nvidia-smi >/dev/null || export CMAKE_ARGS="${CMAKE_ARGS:-} -DFASTGAN_CUDA=OFF"
    grep -qw avx512f /proc/cpuinfo || export CMAKE_ARGS="${CMAKE_ARGS:-} -DFASTGAN_HAVE_AVX512=OFF"
    package=$(digest_of_package demo)
fi
if ! up_to_date "$venv/.package" "$package" || ! built; then
    echo "setup: installing fastgan, building its native library"
    pip_install --no-build-isolation -e "$install"
    "$python" - <<'PYTHON'
import json

record = json.load(open("fastgan/_build.json"))
if record["reason"]:
    print(f"setup: no native library, the pure-torch references do its work: {record['reason']}")
PYTHON
    echo "$package" >"$venv/.package"
fi

# The requirements of an extra of pyproject.toml; the package itself is not installed again for them.
for extra in "${@#--}"; do
    stamp=$(digest "$package" <pyproject.toml)
    if ! up_to_date "$venv/.$extra" "$stamp"; then
        echo "setup: installing the $extra tools"
        mapfile -t wanted < <("$python" - "$extra" <<'PYTHON'
import re
import sys
from importlib.metadata import requires

for line in requires("fastgan"):
    if re.search(rf"extra\s*==\s*['\"]{sys.argv[1]}['\"]", line):
        print(line.split(";")[0].strip())
PYTHON
        )
        [ ${#wanted[@]} -gt 0 ] || { echo "setup: pyproject.toml has no extra $extra" >&2; exit 1; }
        pip_install "${wanted[@]}"
        echo "$stamp" >"$venv/.$extra"
    fi
done
