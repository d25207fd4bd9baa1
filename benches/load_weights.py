"""Loads ResNet-50 and BERT-base with this crate and with PyTorch, in turns, and compares.

    cargo build --release -p convirt-cli
    python3 benches/load_weights.py [target/release/convirt]

Writes both models with random weights to a temporary folder, once as safetensors and once as
`torch.save` does, then loads them alternately, each time in a new process. Times are of the load
alone, without imports; memory is the highest resident size, for PyTorch also without what its
imports take. PyTorch maps BERT's file and leaves its numbers there until they are used; this crate
reads them. Both have two threads and the files in the page cache. Needs torch, torchvision,
transformers.
"""

import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

RUNS = 7
# What is resident is read from the process itself: `ru_maxrss` begins with the parent's.
LOAD = """
import sys, time
import torch, torchvision, transformers
from safetensors.torch import load_file
torch.set_num_threads(2)
def resident(field):
    status = open("/proc/self/status").read()
    return int(status.split(field)[1].split()[0]) / 1024
image, text = sys.argv[1:]
before = resident("VmRSS:")
start = time.perf_counter()
resnet = torchvision.models.resnet50(weights=None)
read = load_file if image.endswith("safetensors") else torch.load
resnet.load_state_dict(read(image))
bert = transformers.BertModel.from_pretrained(text)
seconds = time.perf_counter() - start
print(seconds, resident("VmHWM:") - before)
"""


WRITE = """
import pathlib, sys
import torch, torchvision, transformers
from safetensors.torch import save_file
folder = pathlib.Path(sys.argv[1])
resnet = torchvision.models.resnet50(weights=None)
save_file(resnet.state_dict(), folder / "resnet50.safetensors")
torch.save(resnet.state_dict(), folder / "resnet50.pth")
bert = transformers.BertModel(transformers.BertConfig())
for name in ("bert_safetensors", "bert_torch"):
    bert.save_pretrained(folder / name)
(folder / "bert_torch" / "model.safetensors").unlink()
torch.save(bert.state_dict(), folder / "bert_torch" / "pytorch_model.bin")
"""


def python(program, *arguments):
    """Runs a program in a Python of its own, so that this one stays small; what it prints."""
    command = [sys.executable, "-W", "ignore", "-c", program, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def ours(program, image, text):
    """Seconds and peak MiB of a load by this crate."""
    process = subprocess.Popen([program, "inspect", "--load", image, text], stdout=subprocess.PIPE, text=True)
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, output
    return float(output.split()[2]), usage.ru_maxrss / 1024


def pytorch(image, text):
    """Seconds and peak MiB, beyond those of the imports, of a load by PyTorch."""
    return tuple(map(float, python(LOAD, image, text).split()))


def main():
    program = sys.argv[1] if len(sys.argv) > 1 else "target/release/convirt"
    with tempfile.TemporaryDirectory() as folder:
        python(WRITE, folder)
        folder = pathlib.Path(folder)
        for form, image, text, weights in [
            ("safetensors", "resnet50.safetensors", "bert_safetensors", "model.safetensors"),
            ("torch.save", "resnet50.pth", "bert_torch", "pytorch_model.bin"),
        ]:
            image, text = str(folder / image), str(folder / text)
            size = (os.path.getsize(image) + os.path.getsize(f"{text}/{weights}")) / 2**20
            turns = [(ours(program, image, text), pytorch(image, text)) for _ in range(RUNS)]
            for who, results in zip(("convirt", "PyTorch"), zip(*turns)):
                seconds, peaks = zip(*results)
                print(
                    f"{form:12} {who:8} {statistics.median(seconds):.3f} s "
                    f"({min(seconds):.3f} to {max(seconds):.3f}), peak {max(peaks):.0f} MiB, "
                    f"{max(peaks) / size:.2f} times the {size:.0f} MiB of the files"
                )


if __name__ == "__main__":
    main()
