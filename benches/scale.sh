#!/usr/bin/env bash
# Pairs per second and bytes exchanged of one process with two threads, of two devices in one
# process, and of two processes with one thread each, in turns on this machine:
#
#     cargo build --release --workspace --features mpi
#     benches/scale.sh [BATCH [MICRO_BATCH [STEPS]]]
#
# Medians of all steps but the first two. CONVIRT names another program.
set -euo pipefail

batch="${1:-32}" part="${2:-16}" steps="${3:-8}"
program="${CONVIRT:-${CARGO_TARGET_DIR:-target}/release/convirt}"
config="$(cd "$(dirname "$0")/.." && pwd)/config.yaml"
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1

# measure NAME THREADS DEVICE [LAUNCHER ...]
measure() {
    local name="$1" threads="$2" device="$3"
    shift 3
    RAYON_NUM_THREADS="$threads" "$@" "$program" train --config "$config" \
        --set name="$name" --set runs_dir="$scratch/runs" --set device="$device" \
        --set batch_size="$batch" --set micro_batch_size="$part" --set max_steps="$steps" \
        --set eval_every_n_epochs=null --set eval_every_n_steps="$steps" \
        --set dataset.csv_file="$scratch/phantom/pairs.csv" --set dataset.phantom.patients=100 \
        --set model.res_base_model=resnet50 --set 'dataset.input_shape=(224,224,3)' \
        --set dataset.num_workers=1 --set log_every_n_steps=1 > "$scratch/$name.log" 2>&1 ||
        { cat "$scratch/$name.log"; exit 1; }
    python3 - "$name" "$scratch"/runs/*_"$name"/metrics.jsonl <<'PY'
import json, statistics, sys
name, path = sys.argv[1:]
steps = [step for step in map(json.loads, open(path)) if "pairs_per_second" in step][2:]
median = lambda key: statistics.median([step.get(key) or 0.0 for step in steps])
print(f"| {name} | {median('pairs_per_second'):.2f} | {median('exchanged_mib'):.1f} MiB |")
PY
}

echo "| batch $batch in parts of $part | pairs/s | sent by each a step |"
echo "|---|---|---|"
measure one-process 2 flex
measure two-devices 2 flex,flex
measure two-processes 1 flex mpirun -n 2 --oversubscribe --bind-to none \
    --mca btl self,tcp --mca btl_tcp_if_include lo
