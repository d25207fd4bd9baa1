#!/usr/bin/env bash
# Is this GPU right, and how fast is it against PyTorch?
#
#     benches/gpu.sh build FOLDER [BACKEND ...]   compiles what is run, stripped: cuda and vulkan,
#                                                 unless backends are named
#     benches/gpu.sh run FOLDER                   runs it, within 8 minutes (SECONDS_IN_ALL)
#
# The folder may be built on another machine. To run: the tests of the operations and of the networks
# on the GPU, against PyTorch's values, then `gpu.py`, which writes FOLDER/gpu.md. PyTorch, torchvision
# and transformers are compared with if python3 has them. Files are decompressed if they end in .xz. To
# try the script, PROFILE=dev compiles faster; GPU_PY_OPTIONS goes to gpu.py.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
    sed -n '4,6s/^# *//p' "$0" >&2
    exit 2
}
[ $# -ge 2 ] || usage
mode=$1
folder=$(mkdir -p "$2" && realpath "$2")
shift 2

build() {
    local backend
    for backend in "$@"; do
        # Paths of the programs that cargo builds, by the names of their targets.
        cargo test --no-run --message-format=json --workspace --profile "${PROFILE:-release}" \
            --features "$backend" --lib --bench steps >"$folder/built.json"
        python3 - "$folder" "$backend" <<'PYTHON'
import json, pathlib, shutil, subprocess, sys

folder, backend = pathlib.Path(sys.argv[1]), sys.argv[2]
for line in open(folder / "built.json"):
    built = json.loads(line)
    name = {"convirt_ops": "test-ops", "convirt_model": "test-model", "steps": "steps"}.get(
        built.get("target", {}).get("name")
    )
    if name and built.get("executable"):
        target = folder / f"{name}-{backend}"
        shutil.copy(built["executable"], target)
        subprocess.run(["strip", target], check=True)
        print(target)
(folder / "built.json").unlink()
PYTHON
    done
}

run() {
    local end=$((SECONDS + ${SECONDS_IN_ALL:-480})) file backend failed=0
    for file in "$folder"/*.xz; do
        if [ -e "$file" ] && [ ! -e "${file%.xz}" ]; then xz -dk "$file"; fi
    done
    # Without a case it only opens the device, and says why it cannot.
    for file in "$folder"/steps-*; do
        case "$file" in *.xz) continue ;; esac
        "$file" </dev/null >/dev/null || exit 1
    done
    for file in "$folder"/test-*; do
        case "$file" in *.xz | *.log | *'*') continue ;; esac
        backend=${file##*-}
        echo "== ${file##*/}"
        # Neighbours' tests are about the CPU's kernels.
        CARGO_MANIFEST_DIR="$PWD/crates/convirt-model" CONVIRT_TEST_DEVICES="$backend" \
            timeout 90 "$file" --skip flex:: --skip neighbours >"$file.log" 2>&1 || failed=1
        grep -E '^(test result|failures:|    [a-z_:]+$)|panicked' "$file.log" ||
            echo "no result within 90 s"
    done
    # shellcheck disable=SC2086 # several options
    python3 benches/gpu.py "$folder" $((end - SECONDS)) ${GPU_PY_OPTIONS:-}
    return $failed
}

case "$mode" in
build) if [ $# -gt 0 ]; then build "$@"; else build cuda vulkan; fi ;;
run) run ;;
*) usage ;;
esac
