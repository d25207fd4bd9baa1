#!/usr/bin/env bash
# A machine vanishes in the middle of a training: two processes in two network namespaces, joined by a
# cable that is cut. The other process has to end within 30 seconds, and the last checkpoint has to
# resume. It needs root, Open MPI and iproute2:
#
#     cargo build --release --workspace --features mpi
#     tests/endurance/vanish.sh
#
# CONVIRT names another program.
set -euo pipefail

program="$(realpath "${CONVIRT:-${CARGO_TARGET_DIR:-target}/release/convirt}")"
config="$(cd "$(dirname "$0")/../.." && pwd)/config.yaml"
limit=30
scratch="$(mktemp -d)"
here="convirt-here-$$" there="convirt-there-$$"
clean() {
    ip netns pids "$here" 2>/dev/null | xargs -r kill -9 2>/dev/null || true
    ip netns pids "$there" 2>/dev/null | xargs -r kill -9 2>/dev/null || true
    ip netns del "$here" 2>/dev/null || true
    ip netns del "$there" 2>/dev/null || true
    rm -rf "$scratch"
}
trap clean EXIT

ip netns add "$here"
ip netns add "$there"
ip link add cable0 netns "$here" type veth peer name cable0 netns "$there"
ip -n "$here" addr add 10.77.0.1/24 dev cable0
ip -n "$there" addr add 10.77.0.2/24 dev cable0
for name in "$here" "$there"; do
    ip -n "$name" link set cable0 up
    ip -n "$name" link set lo up
done

# What mpirun starts processes on the other machine with, in place of ssh.
cat > "$scratch/agent" <<AGENT
#!/bin/sh
shift
exec ip netns exec $there sh -c "\$*"
AGENT
chmod +x "$scratch/agent"
printf '10.77.0.1 slots=1\n10.77.0.2 slots=1\n' > "$scratch/hosts"

# Silence of the other machine is noticed after 5 + 3 · 5 seconds.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 RAYON_NUM_THREADS=1
ip netns exec "$here" mpirun --hostfile "$scratch/hosts" --map-by node -n 2 \
    --mca plm_rsh_agent "$scratch/agent" --mca btl self,tcp \
    --mca btl_tcp_if_include cable0 --mca oob_tcp_if_include cable0 \
    --mca oob_tcp_keepalive_time 5 --mca oob_tcp_keepalive_intvl 5 --mca oob_tcp_keepalive_probes 3 \
    "$program" train --config "$config" --device flex --set batch_size=8 --set micro_batch_size=2 \
    --set max_steps=1000000 --set eval_every_n_epochs=null --set eval_every_n_steps=1000000 \
    --set checkpoint_every_n_steps=2 --set dataset.phantom.patients=40 --set dataset.num_workers=1 \
    --set 'dataset.input_shape=(64,64,3)' --set dataset.csv_file="$scratch/phantom/pairs.csv" \
    --set runs_dir="$scratch/runs" > "$scratch/log" 2>&1 &
mpirun=$!

until ls "$scratch"/runs/*/checkpoint/state-[1-9]*.json > /dev/null 2>&1; do
    kill -0 "$mpirun" 2>/dev/null || { cat "$scratch/log"; exit 1; }
    sleep 0.2
done
echo "training on both; the cable is cut"
ip -n "$there" link set cable0 down
cut=$SECONDS
while kill -0 "$mpirun" 2>/dev/null; do
    if [ $((SECONDS - cut)) -gt "$limit" ]; then
        cat "$scratch/log"
        echo "not over after $limit s"
        exit 1
    fi
    sleep 0.2
done
wait "$mpirun" && { echo "mpirun ended as if all were well"; exit 1; }
echo "over after $((SECONDS - cut)) s"
tail -n 15 "$scratch/log"

run="$(echo "$scratch"/runs/*)"
step="$(ls "$run/checkpoint" | sed -n 's/^state-\(.*\).json/\1/p' | sort -n | tail -1)"
# The process that lost its mpirun, if it is still there, holds the run.
ip netns pids "$here" | xargs -r kill -9 2>/dev/null || true
"$program" resume "$run" --set max_steps=$((step + 2)) > "$scratch/resumed" 2>&1 ||
    { cat "$scratch/resumed"; exit 1; }
echo "resumed at step $step"
