#!/usr/bin/env bash
# Does pretraining on pairs help? ConVIRT and SimCLR on the same images for as many steps, then linear
# probes of both, of random initialization and of raw pixels, on 1, 10 and 100 % of the labels: on the
# phantom and on real data.
#
#   benches/pretraining_helps.sh DATA MINILM OUT
#
# DATA holds medpix/, cxr_notes/ and pediatric_cxr/ as the README's section on real data has them, MINILM
# the text encoder's files. Hours on 2 cores; a training that is there already is not repeated.
set -euo pipefail
data="$(realpath "$1")" minilm="$(realpath "$2")" out="$3"
mkdir -p "$out"
out="$(realpath "$out")"
cd "$(dirname "$0")/.."

# One table of both sets; groups keep their set's name.
python3 - "$data" "$out/pairs.csv" <<'PYTHON'
import csv, sys
data, out = sys.argv[1:]
writer = csv.writer(open(out, "w", newline=""))
writer.writerow(["image", "text", "group", "split"])
for name, group in ("medpix", "case"), ("cxr_notes", "patient"):
    for row in csv.DictReader(open(f"{data}/{name}/pairs.csv", newline="")):
        image = f"{data}/{name}/{row['image']}"
        writer.writerow([image, row["text"], f"{name} {row[group]}", row["split"]])
PYTHON

# train RUNS OPTION ...: both objectives into RUNS.
train() {
    runs="$1"
    shift
    [ -d "$runs"/*_convirt ] || cargo run --release --example train_mimic -- "$@" \
        --set "runs_dir=$runs" --set name=convirt "${text[@]}"
    [ -d "$runs"/*_simclr ] || cargo run --release --example train_mimic -- "$@" \
        --set "runs_dir=$runs" --set name=simclr --set objective=simclr
}

# probe RUNS NAME OPTION ...: a table NAME of both, of random initialization and of pixels.
probe() {
    runs="$1" name="$2"
    shift 2
    cargo run --release -p convirt-cli -- transfer --encoder "$runs"/*_convirt \
        --encoder "$runs"/*_simclr --encoder random:resnet18 --encoder pixels \
        --image-col image --image-size 64 --out "$out/$name" "$@" | tee "$out/$name.txt"
}

phantom="$out/phantom/pairs.csv"
text=()
train "$out/phantom_runs" --set "dataset.csv_file=$phantom" --set dataset.phantom.patients=2000 \
    --set "dataset.input_shape=(64, 64, 3)" --set dataset.longer_side=80 \
    --set epochs=100 --set max_steps=1000 --set eval_every_n_steps=100
probe "$out/phantom_runs" phantom_findings --csv "$phantom" --group-col subject_id --split-col split \
    --label-cols cardiomegaly,effusion_right,effusion_left,consolidation,nodule,pneumothorax

text=(--set "model.bert_base_model=$minilm" --set model.do_lower_case=null
    --set model.freeze_embeddings=True --set "model.freeze_layers=[0,1,2]")
train "$out/runs" --config examples/medpix.yaml \
    --set "dataset.csv_file=$out/pairs.csv" --set "dataset.img_root_dir=$data" --set dataset.group_col=group \
    --set epochs=40 --set max_steps=1500 --set eval_every_n_steps=100 --set schedule.warmup_steps=50
probe "$out/runs" pneumonia --csv "$data/pediatric_cxr/labels.csv" --label-col label --group-col patient
medpix=(--csv "$data/medpix/pairs.csv" --group-col case --split-col split)
probe "$out/runs" modality "${medpix[@]}" --label-col modality
# Of less than 5 % of the cases some region may be in one only.
probe "$out/runs" location "${medpix[@]}" --label-col location --fractions 0.05,0.2,1
