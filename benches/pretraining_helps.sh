#!/usr/bin/env bash
# Does pretraining on pairs help? ConVIRT and SimCLR on the same images for as many steps, then linear
# probes of both, of random initialization and of raw pixels, on 1, 10 and 100 % of the labels.
#
#   benches/pretraining_helps.sh DATA MINILM OUT
#
# DATA holds medpix/, cxr_notes/ and pediatric_cxr/ as the README's section on real data has them, MINILM
# the text encoder's files. About an hour on 2 cores.
set -euo pipefail
data="$(realpath "$1")" minilm="$(realpath "$2")" out="$3"
cd "$(dirname "$0")/.."
mkdir -p "$out"

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

train() {
    cargo run --release --example train_mimic -- --config examples/medpix.yaml \
        --set "dataset.csv_file=$out/pairs.csv" --set dataset.group_col=group \
        --set "runs_dir=$out/runs" --set max_steps=300 --set eval_every_n_steps=60 "$@"
}
[ -d "$out"/runs/*_convirt ] || train --set name=convirt --set "model.bert_base_model=$minilm" \
    --set model.do_lower_case=null --set model.freeze_embeddings=True --set "model.freeze_layers=[0,1,2]"
[ -d "$out"/runs/*_simclr ] || train --set name=simclr --set objective=simclr

probe() {
    name="$1"
    shift
    cargo run --release --example transfer -- --encoder "$out"/runs/*_convirt \
        --encoder "$out"/runs/*_simclr --encoder random:resnet18 --encoder pixels \
        --image-col image --image-size 64 --out "$out/$name" "$@" | tee "$out/$name.txt"
}
probe pneumonia --csv "$data/pediatric_cxr/labels.csv" --label-col label --group-col patient
medpix=(--csv "$data/medpix/pairs.csv" --group-col case --split-col split)
probe modality "${medpix[@]}" --label-col modality
# 1 % of the cases leaves no image of one of the five regions.
probe location "${medpix[@]}" --label-col location --fractions 0.02,0.1,1
