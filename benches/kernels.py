"""How many kernels does a training step start on a GPU, and which?

    python3 benches/kernels.py DEVICE PROGRAM [--set KEY=VALUE ...]

PROGRAM is `convirt`, compiled with the feature of DEVICE (wgpu, vulkan, cuda). It trains ResNet-50 and
12 layers of BERT on a few small images: their number and size change no count. CubeCL names each kernel in
a log; the counts are those of the steps after SETTLED, when kernels have been tried against each other.
"""

import collections
import pathlib
import re
import subprocess
import sys
import tempfile

STEPS = 10
SETTLED = 4
SETTINGS = f"""batch_size=4 learning_rate=1e-4 max_steps={STEPS} log_every_n_steps=1 eval_every_n_steps=1000
model.res_base_model=resnet50 model.bert_base_model=scratch model.freeze_embeddings=False
model.freeze_layers=[] model.text_from_scratch.layers=12 model.text_from_scratch.hidden_size=96
model.text_from_scratch.heads=4 model.text_from_scratch.intermediate_size=192
model.text_from_scratch.vocab_size=300 model.text_from_scratch.max_tokens=16 dataset.pad_multiple=16
dataset.input_shape=[64,64,3] dataset.num_workers=0 dataset.phantom.patients=40""".split()


def main():
    device, program = sys.argv[1], pathlib.Path(sys.argv[2]).resolve()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        log = folder / "kernels"
        settings = f'[profiling]\nlogger = {{ level = "minimal", file = "{log}" }}\n'
        (folder / "cubecl.toml").write_text(settings)
        command = [program, "train", "--set", f"device={device}"]
        for setting in [*SETTINGS, "dataset.csv_file=data/pairs.csv"]:
            command += ["--set", setting]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        training = subprocess.Popen(command + sys.argv[3:], cwd=folder, **pipes)
        # Lines of the log at the end of each step. It is written while the step runs.
        ends = []
        for line in training.stdout:
            if re.match(r"step +\d+/", line):
                ends.append(len(log.read_text().splitlines()))
                print(f"step {len(ends)}: {ends[-1] - (ends[-2] if len(ends) > 1 else 0)}", flush=True)
            elif not ends:
                print(line, end="", flush=True)
            if len(ends) == STEPS:
                break
        training.kill()
        training.wait()
        if len(ends) < STEPS:
            sys.exit("the training ended early")
        kernels = log.read_text().splitlines()[ends[SETTLED - 1] : ends[-1]]
    steps = STEPS - SETTLED
    names = (re.sub(r"_[0-9a-f]{8}$", "", kernel.removeprefix("Executing ")) for kernel in kernels)
    print(f"{len(kernels) / steps:.0f} kernels in a step:")
    for name, count in collections.Counter(name[:60] for name in names).most_common():
        print(f"{count / steps:8.1f}  {name}")


if __name__ == "__main__":
    main()
