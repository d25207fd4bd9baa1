"""Forward passes and training steps of this crate and of PyTorch, in turns on one machine.

    python3 benches/steps.py [--channels-last] [--bf16 | --high] [--compile] [THREADS [CASE ...]]

A case is as in `steps.rs`, such as "resnet50 step 8"; without any, all of the README's table.
PyTorch, which remembers no texts and has no gradient cache, runs a whole step where this crate knows
the texts or computes micro-batches ("convirt step 128 64 32"). Both
sides hold the same network, batch and threads (2, unless given) in a process each, and run once in
turn while the other waits; figures are medians of RUNS after a warm-up, and each process's largest
resident memory. PyTorch runs in float32 as it comes, `transformers` with its own choice of
attention, Adam with its default (foreach); or with channels-last images and networks, or compiled by
`torch.compile`. With --bf16 both multiply in bfloat16, PyTorch by autocast; with --high this crate
multiplies in its precision of that name, PyTorch in float32. Needs torch, torchvision, transformers.
"""

import os
import pathlib
import statistics
import subprocess
import sys

RUNS = 5
CASES = [
    "resnet18 forward 32",
    "resnet18 step 32",
    "resnet50 forward 8",
    "resnet50 forward 32",
    "resnet50 step 8",
    "resnet50 step 32",
    "bert forward 8 32",
    "bert forward 32 32",
    "bert forward 32 64",
    "bert step 32 32",
    "bert step 32 64",
    "convirt step 32 32",
    "convirt step 32 64",
    "convirt known 32 32",
    "convirt known 32 64",
]


def pytorch(network, pass_, batch, tokens=0, _micro_batch=0, flags=(), device="cpu"):
    """The same case in PyTorch, as a function that runs it once."""
    pass_ = "step" if pass_ == "known" else pass_
    import torch
    import torch.nn.functional as F
    import torchvision
    from transformers import BertConfig, BertModel

    form = torch.channels_last if "--channels-last" in flags else torch.contiguous_format
    half = {"--bf16": torch.bfloat16, "--fp16": torch.float16}
    half = next((half[flag] for flag in flags if flag in half), None)
    autocast = torch.autocast(device, half or torch.bfloat16, enabled=half is not None)
    scaler = torch.amp.GradScaler(device, enabled=half == torch.float16)
    torch.set_default_device(device)

    def compiled(model):
        return torch.compile(model) if "--compile" in flags else model

    def resnet(name):
        model = getattr(torchvision.models, name)()
        model.fc = torch.nn.Identity()
        return model.to(memory_format=form)

    def bert():
        model = BertModel(BertConfig(), add_pooling_layer=False)
        if pass_ == "step":
            model.embeddings.requires_grad_(False)
            model.encoder.layer[:6].requires_grad_(False)
        return model

    class Text(torch.nn.Module):
        """Frozen parts in evaluation mode, without a graph, as this crate runs them."""

        def __init__(self):
            super().__init__()
            self.model = bert()

        def train(self, mode=True):
            super().train(mode)
            if pass_ == "step":
                self.model.embeddings.eval()
                self.model.encoder.layer[:6].eval()
            return self

        def forward(self, ids, mask):
            return self.model(input_ids=ids, attention_mask=mask).last_hidden_state

    if network == "loss":
        embeddings = [torch.randn(batch, 512, requires_grad=True) for _ in range(2)]

        def run():
            v, u = (F.normalize(side, dim=1) for side in embeddings)
            scores, target = v @ u.T / 0.1, torch.arange(batch)
            loss = 0.75 * F.cross_entropy(scores, target)
            (loss + 0.25 * F.cross_entropy(scores.T, target)).backward()

        return run
    images = torch.randn(batch, 3, 224, 224).to(memory_format=form)
    ids = (torch.arange(batch * tokens) % 29_000 + 1_000).reshape(batch, tokens)
    mask = torch.ones(batch, tokens)
    if network == "convirt":
        image, text = compiled(resnet("resnet50").train()), compiled(Text().train())

        def head(width):
            return torch.nn.Sequential(
                torch.nn.Linear(width, 1024), torch.nn.ReLU(), torch.nn.Linear(1024, 512)
            )

        heads = torch.nn.ModuleList([head(2048), head(768)])
        parameters = [*image.parameters(), *text.parameters(), *heads.parameters()]
        adam = torch.optim.Adam([p for p in parameters if p.requires_grad], lr=1e-4)

        def run():
            adam.zero_grad()
            with autocast:
                v, u = heads[0](image(images)), heads[1](text(ids, mask).amax(1))
            scores = F.normalize(v.float(), dim=1) @ F.normalize(u.float(), dim=1).T / 0.1
            target = torch.arange(batch)
            loss = 0.75 * F.cross_entropy(scores, target)
            scaler.scale(loss + 0.25 * F.cross_entropy(scores.T, target)).backward()
            scaler.step(adam)
            scaler.update()

        return run
    model = compiled(Text() if network == "bert" else resnet(network))
    inputs = (ids, mask) if network == "bert" else (images,)
    if pass_ == "forward":
        model.eval()

        def run():
            with torch.no_grad(), autocast:
                model(*inputs)

        return run
    model.train()

    def run():
        model.zero_grad()
        with autocast:
            loss = model(*inputs).square().mean()
        scaler.scale(loss).backward()

    return run


def serve(words):
    """Runs PyTorch's case for each line of input."""
    flags = [word for word in words if word.startswith("--")]
    words = [word for word in words if word not in flags]
    import time

    import torch

    torch.set_num_threads(int(os.environ["THREADS"]))
    run = pytorch(*words[:2], *map(int, words[2:]), flags=flags)
    for _ in sys.stdin:
        start = time.perf_counter()
        run()
        print(time.perf_counter() - start, flush=True)
    status = open("/proc/self/status").read()
    print(int(status.split("VmHWM:")[1].split()[0]) / 1024)


class Side:
    def __init__(self, command, threads):
        environment = {
            **os.environ,
            "RAYON_NUM_THREADS": str(threads),
            "THREADS": str(threads),
            "OMP_NUM_THREADS": str(threads),
            # Threads that have nothing to do leave the processor to the other side.
            "OMP_WAIT_POLICY": "PASSIVE",
        }
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command, env=environment, **pipes)

    def run(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def peak(self):
        self.process.stdin.close()
        return float(self.process.stdout.readline())


def program():
    """Builds `steps.rs`; where it lies."""
    command = ["cargo", "bench", "--bench", "steps", "--no-run", "--message-format=short"]
    root = pathlib.Path(__file__).parent.parent
    built = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True)
    return built.stderr.rsplit("(", 1)[1].split(")")[0]


def main():
    flags = [word for word in sys.argv[1:] if word.startswith("--")]
    threads, *cases = [word for word in sys.argv[1:] if word not in flags] or [2]
    ours = os.environ.get("STEPS") or program()
    print(f"{'':22} convirt   PyTorch   speed   MiB convirt  PyTorch")
    for case in cases or CASES:
        sides = [
            Side([ours, *case.split(), *flags], threads),
            Side([sys.executable, __file__, "--serve", *case.split(), *flags], threads),
        ]
        turns = [[side.run() for side in sides] for _ in range(RUNS + 1)][1:]
        seconds = [statistics.median(times) for times in zip(*turns)]
        peaks = [side.peak() for side in sides]
        print(
            f"{case:22} {seconds[0]:7.3f} s {seconds[1]:7.3f} s {seconds[1] / seconds[0]:7.2f}"
            f" {peaks[0]:12.0f} {peaks[1]:8.0f}",
            flush=True,
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(sys.argv[2:])
    else:
        main()
