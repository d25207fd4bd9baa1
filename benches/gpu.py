"""Speed and memory of a GPU's programs and of PyTorch on it, in turns: one table, FOLDER/gpu.md.

    python3 benches/gpu.py FOLDER SECONDS [--device cpu] [--batches 128,32,512]

FOLDER holds `steps.rs` compiled for some backends, `steps-cuda` and so on, as `gpu.sh build` makes
them. The most telling cases come first, and those for which no time is left are named. A case is run
RUNS times after a warm-up, each side in turn; `--device cpu` tries the script without a GPU. What the
programs say of errors is in FOLDER/gpu.log.
"""

import os
import pathlib
import platform
import queue
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time

RUNS = 5
TOKENS = 64
PRECISIONS = {"bf16": "--bf16", "float32": "", "fp16": "--fp16"}


def serve_pytorch(device):
    """Runs PyTorch's cases, by the protocol of `steps.rs`."""
    import torch

    from steps import pytorch

    run = None
    for line in sys.stdin:
        if line[0].isalpha():
            run = None
            if device == "cuda":
                torch.cuda.empty_cache()
            flags = {word for word in line.split() if word.startswith("--")}
            network, pass_, *numbers = [word for word in line.split() if word not in flags]
            flags.add("--channels-last")
            run = pytorch(network, pass_, *map(int, numbers), flags=flags, device=device)
            print("ready", flush=True)
            continue
        start = time.perf_counter()
        run()
        if device == "cuda":
            torch.cuda.synchronize()
        print(time.perf_counter() - start, flush=True)


class Memory:
    """The largest memory of each process on the GPU, in MiB, as the driver tells it."""

    def __init__(self):
        self.peaks = {}
        if shutil.which("nvidia-smi"):
            threading.Thread(target=self.watch, daemon=True).start()

    def watch(self):
        query = ["nvidia-smi", "--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits"]
        while True:
            for line in subprocess.run(query, capture_output=True, text=True).stdout.splitlines():
                pid, mib = line.split(",")
                if mib.strip().isdigit():
                    self.peaks[int(pid)] = max(self.peaks.get(int(pid), 0), int(mib))
            time.sleep(0.1)


class Side:
    """A program that runs cases; what it says of errors goes to `log`. It is ended when it gives no answer
    before `deadline`: a backend may compile kernels for minutes."""

    log = None
    deadline = 0.0

    def __init__(self, name, command, flags="", **environment):
        self.name, self.command, self.flags, self.environment = name, command, flags, environment
        self.process = None

    def start(self):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        environment = {**os.environ, **self.environment}
        self.process = subprocess.Popen(self.command, env=environment, stderr=Side.log, **pipes)
        self.answers = queue.Queue()
        threading.Thread(target=self.read, args=(self.process.stdout, self.answers), daemon=True).start()

    @staticmethod
    def read(output, answers):
        for line in output:
            answers.put(line.strip())
        answers.put(None)

    def ask(self, line):
        """Sends a line; the answer, or None if the program has ended or takes too long."""
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
            return self.answers.get(timeout=max(0.0, Side.deadline - time.time()))
        except BrokenPipeError:
            return None
        except queue.Empty:
            print(f"{self.name}: no answer in time", file=Side.log, flush=True)
            return self.end()

    def prepare(self, case):
        """Makes a case ready; the seconds of its first run, or None."""
        if self.process is None:
            self.start()
        if self.ask(f"{case} {self.flags}") != "ready":
            return self.end()
        first = self.ask("")
        return self.end() if first is None else float(first)

    def end(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        self.process = None


def plan(batches):
    """Cases with their precision, the most telling first."""
    cases = []
    for batch in batches:
        for precision in PRECISIONS:
            cases.append((precision, f"convirt step {batch} {TOKENS}", batch))
    for batch in batches:
        for precision in PRECISIONS:
            cases.append((precision, f"resnet50 forward {batch}", batch))
            cases.append((precision, f"bert forward {batch} {TOKENS}", batch))
    return cases


def measure(sides, case, batch):
    """Pairs per second of each side that runs the case, None for the others."""
    ready = [side for side in sides if side.prepare(case) is not None]
    times = {side.name: [] for side in ready}
    for _ in range(RUNS):
        for side in ready:
            answer = side.ask("") if side.process is not None else None
            if answer is not None:
                times[side.name].append(float(answer))
    medians = {name: statistics.median(seconds) for name, seconds in times.items() if seconds}
    return {name: batch / seconds for name, seconds in medians.items()}


def programs(folder):
    """The programs in a folder, by the names of their backends."""
    found = sorted(folder.glob("steps-*"))
    return {program.name.split("-")[1]: program for program in found if not program.suffix}


def first_steps(folder, scratch, case):
    """Seconds to the end of the first step with empty and with full caches, for each backend."""
    lines = []
    for backend, program in programs(folder).items():
        cache = scratch / f"first-{backend}"
        seconds = []
        for _ in range(2):
            side = Side(backend, [program], BURN_DEVICE=backend, XDG_CACHE_HOME=str(cache))
            start = time.time()
            is_done = side.prepare(case) is not None
            seconds.append(f"{time.time() - start:.1f} s" if is_done else "failed")
            side.end()
        lines.append(f"- {backend}: {seconds[0]} with empty caches, {seconds[1]} with full ones")
    return lines


def graphics_card():
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    if shutil.which("nvidia-smi"):
        return subprocess.run(query, capture_output=True, text=True).stdout.strip()
    return platform.processor() or platform.machine()


def main():
    folder, deadline = pathlib.Path(sys.argv[1]).resolve(), time.time() + float(sys.argv[2])
    options = dict(zip(sys.argv[3::2], sys.argv[4::2]))
    device = options.get("--device", "cuda")
    batches = [int(batch) for batch in options.get("--batches", "128,32,512").split(",")]
    scratch = pathlib.Path(tempfile.mkdtemp())
    # Caches lie below the working folder if it is a cargo project, else in the user's.
    environment = {"XDG_CACHE_HOME": str(scratch / "caches")}
    python = [sys.executable, __file__, "--serve-pytorch", device]
    sides = [Side("PyTorch", python), Side("PyTorch, compiled", python, "--compile")]
    for backend, program in programs(folder).items():
        sides.append(Side(backend, [program], BURN_DEVICE=backend, **environment))
    os.chdir(scratch)
    memory = Memory()
    Side.log = open(folder / "gpu.log", "w")
    names = [side.name for side in sides]
    lines = [
        f"{time.strftime('%Y-%m-%d')}, {graphics_card()}. Pairs (images, texts) per second, and the",
        "process's memory on the GPU in MiB. Speed is that of the fastest backend, relative to PyTorch.",
        "",
        "| precision | case | " + " | ".join(names) + " | speed |",
        "|---|---|" + "---|" * (len(names) + 1),
    ]
    left_out = []
    for precision, case, batch in plan(batches):
        if time.time() > deadline - 20:
            left_out.append(f"{case} in {precision}")
            continue
        # No case takes more than half of the time that is left.
        Side.deadline = (time.time() + deadline) / 2
        # Compiling takes PyTorch longer than all else; once, for the case that is asked for most.
        asked_for_most = ("bf16", f"convirt step {batches[0]} {TOKENS}")
        is_compared = device == "cuda" and (precision, case) == asked_for_most
        chosen = [side for side in sides if is_compared or side.name != "PyTorch, compiled"]
        memory.peaks.clear()
        rates = measure(chosen, f"{case} {PRECISIONS[precision]}", batch)
        cells = []
        for side in sides:
            peak = memory.peaks.get(side.process.pid) if side.process else None
            rate = f"{rates[side.name]:.1f}" if side.name in rates else "–"
            cells.append(f"{rate}, {peak}" if peak and side.name in rates else rate)
        own = [rate for name, rate in rates.items() if not name.startswith("PyTorch")]
        speed = f"{max(own) / rates['PyTorch']:.2f}" if own and "PyTorch" in rates else "–"
        lines.append(f"| {precision} | {case} | " + " | ".join(cells) + f" | {speed} |")
        print(lines[-1], flush=True)
        sides[1].end()
    for side in sides:
        side.end()
    if time.time() < deadline - 60:
        Side.deadline = deadline
        case = f"convirt step {batches[0]} {TOKENS} --bf16"
        lines += ["", f"From the program's start to the end of its first step, {case}:", ""]
        lines += first_steps(folder, scratch, case)
    if left_out:
        lines += ["", "Not measured for lack of time: " + "; ".join(left_out) + "."]
    (folder / "gpu.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    shutil.rmtree(scratch)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve-pytorch"]:
        serve_pytorch(sys.argv[2])
    else:
        main()
