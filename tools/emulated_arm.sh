#!/bin/sh
# Runs minitrain on an emulated 64-bit ARM processor, on a Debian machine:
#
#     apt-get install qemu-user
#     tools/emulated_arm.sh FOLDER -m minitrain info
#     tools/emulated_arm.sh FOLDER -m pytest tests/backend/test_team.py
#
# FOLDER gets Debian's Python for ARM with its libraries, and wheels for ARM of the versions that PYTHON (.venv/bin/python
# by default) has, which must be of the same minor version as Debian's. It is filled by the first call; nothing outside of
# it changes. The processor is a Neoverse N1. One without the atomic instructions of ARMv8.1 is emulated with
# QEMU_CPU=cortex-a72 NUMBA_CPU_NAME=cortex-a72 NUMBA_CPU_FEATURES=+neon set.
set -eu
folder=$(realpath -m "$1") && shift
project=$(realpath "$(dirname "$0")/..")
python=${PYTHON:-$project/.venv/bin/python}

prepare() {
    version=$("$python" -c 'import sys; print("{}.{}".format(*sys.version_info))')
    mkdir -p "$folder/lists/partial" "$folder/debs/partial" "$folder/wheels" "$folder/root/proc"
    # Lists of packages of its own: the machine's apt does not learn of another architecture.
    : > "$folder/status"
    cat > "$folder/apt.conf" <<- END
	APT::Architecture "arm64";
	APT::Architectures { "arm64"; };
	Dir::State::lists "$folder/lists";
	Dir::State::status "$folder/status";
	Dir::Cache "$folder";
	END
    export APT_CONFIG="$folder/apt.conf"
    apt-get update
    names=$(apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces \
        --no-enhances "python$version" libstdc++6 libgomp1 | grep '^[a-z]')
    (cd "$folder/debs" && apt-get download $names)
    for package in "$folder"/debs/*.deb; do dpkg -x "$package" "$folder/root"; done

    "$python" -m pip freeze --exclude-editable > "$folder/versions.txt"
    # Wheels of what is Python alone and has none: of minitrain, for what it requires, and of a parser for Hydra.
    "$python" -m pip wheel --no-deps --wheel-dir "$folder/wheels" --constraint "$folder/versions.txt" \
        "$project" antlr4-python3-runtime
    platforms=$(for libc in 17 24 26 27 28; do echo "--platform manylinux_2_${libc}_aarch64"; done)
    "$python" -m pip install --target "$folder/site" --only-binary :all: --python-version "$version" $platforms \
        --platform manylinux2014_aarch64 --find-links "$folder/wheels" --constraint "$folder/versions.txt" 'minitrain[test]'

    # LLVM reads there which processor it compiles for, and qemu would show it the real one.
    for core in $(seq 0 $(($(nproc) - 1))); do
        printf 'processor\t: %s\nFeatures\t: fp asimd aes pmull sha1 sha2 crc32 atomics\n' "$core"
        printf 'CPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x3\nCPU part\t: 0xd0c\nCPU revision\t: 1\n\n'
    done > "$folder/root/proc/cpuinfo"
    # What tests start as ``sys.executable``.
    cat > "$folder/python" <<- END
	#!/bin/sh
	export PYTHONHOME="$folder/root/usr" PYTHONPATH="$project:$folder/site" QEMU_CPU=\${QEMU_CPU:-neoverse-n1}
	export OPENBLAS_NUM_THREADS=1 MINITRAIN_CACHE_DIR="$folder/cache"
	exec qemu-aarch64 -L "$folder/root" -0 "$folder/python" "$folder/root/usr/bin/python$version" "\$@"
	END
    chmod +x "$folder/python"
}

[ -x "$folder/python" ] || prepare
cd "$project" && exec "$folder/python" "$@"
