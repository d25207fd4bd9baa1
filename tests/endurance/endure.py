#!/usr/bin/env python3
"""What a run endures: kills, damaged files, a full disk, many steps.

    cargo build --release --workspace
    python3 tests/endurance/endure.py kills [--kills 100]   # ends in the weights of a calm run
    python3 tests/endurance/endure.py damage [--tries 5]    # flips and cuts in every file of a run
    python3 tests/endurance/endure.py disk                  # a small file system runs full (needs root)
    python3 tests/endurance/endure.py long [--steps 10000]  # memory, threads and descriptors stay
    python3 tests/endurance/endure.py stop                  # time from SIGTERM to the end

Each prints its figures and exits with 1 if a promise is broken. The program is
`target/release/convirt` in CARGO_TARGET_DIR; CONVIRT names another one.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TARGET = Path(os.environ.get("CARGO_TARGET_DIR", "target"))
PROGRAM = os.environ.get("CONVIRT", str(TARGET / "release" / "convirt"))

ROOT = Path(__file__).resolve().parents[2]

# Changes of config.yaml that make the least training that there is.
SMALL = {
    "batch_size": 4,
    "epochs": 100000,
    "eval_every_n_epochs": "null",
    "learning_rate": 1e-4,
    "log_every_n_steps": 1,
    "device": "flex",
    "model.out_dim": 16,
    "model.text_from_scratch.layers": 1,
    "model.text_from_scratch.hidden_size": 32,
    "model.text_from_scratch.heads": 2,
    "model.text_from_scratch.intermediate_size": 64,
    "model.text_from_scratch.vocab_size": 400,
    "model.text_from_scratch.max_tokens": 32,
    "dataset.input_shape": "(32,32,3)",
    "dataset.num_workers": 1,
    "dataset.phantom.patients": 16,
    "dataset.phantom.longer_side": 64,
}


class Place:
    """A folder with the data and the runs of a small training."""

    def __init__(self, folder, steps, window, checkpoint):
        self.folder = Path(folder)
        self.runs = self.folder / "runs"
        settings = SMALL | {
            "max_steps": steps,
            "eval_every_n_steps": window,
            "checkpoint_every_n_steps": checkpoint,
            "runs_dir": self.runs,
            "dataset.csv_file": self.folder / "data" / "pairs.csv",
        }
        self.train = ["train", "--config", str(ROOT / "config.yaml")]
        for key, value in settings.items():
            self.train += ["--set", f"{key}={value}"]

    def run(self):
        """The run of this folder that has a whole checkpoint."""
        runs = [run for run in self.runs.glob("*") if states(run)]
        return max(runs, default=None)

    def start(self, *more):
        run = self.run()
        command = self.train if run is None else ["resume", str(run)]
        return subprocess.Popen([PROGRAM, *command, *more], stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True)

    def finish(self, *more):
        process = self.start(*more)
        text, _ = process.communicate()
        return process.returncode, text


def states(run):
    return sorted(int(path.stem.split("-")[1]) for path in (run / "checkpoint").glob("state-*.json"))


def metrics(run):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [(line["kind"], line["step"], line["loss"]) for line in lines]


def weights(run):
    return (run / "model" / "model.safetensors").read_bytes()


def check(condition, problem):
    if not condition:
        print(f"BROKEN: {problem}")
        sys.exit(1)


def kills(arguments):
    steps = 4 * arguments.kills + 40
    with tempfile.TemporaryDirectory() as folder:
        calm = Place(tempfile.mkdtemp(dir=folder), steps, 10, 1)
        disturbed = Place(tempfile.mkdtemp(dir=folder), steps, 10, 1)
        code, text = calm.finish()
        check(code == 0, text)
        rng, killed, politely, lost = random.Random(arguments.seed), 0, 0, []
        while killed < arguments.kills:
            newest = lambda: states(disturbed.run())[-1] if disturbed.run() else None
            before, process, begun = newest(), disturbed.start(), time.time()
            while newest() == before and process.poll() is None and time.time() - begun < 60:
                time.sleep(0.005)
            time.sleep(rng.uniform(0, arguments.pause))
            if process.poll() is not None:
                break
            if rng.random() < 0.5:
                process.send_signal(signal.SIGTERM)
                politely += 1
                time.sleep(rng.uniform(0, 0.1))
            process.kill()
            text = process.communicate()[0]
            check("panicked" not in text, text)
            killed += 1
            run = disturbed.run()
            check(run is not None, "no whole checkpoint is left")
            done = [line for line in metrics_or_less(run) if line[0] == "step"]
            lost.append(max(0, len(done) - states(run)[-1]))
        code, text = disturbed.finish()
        check(code == 0, text)
        check(weights(disturbed.run()) == weights(calm.run()), "other weights")
        check(metrics(disturbed.run()) == metrics(calm.run()), "other metrics")
        names = [sorted(path.name for path in (place.run() / "checkpoint").iterdir()) for place in (calm, disturbed)]
        check(names[0] == names[1], f"leftovers: {names}")
        print(f"{killed} kills ({politely} after SIGTERM) in {steps} steps: the same weights and metrics; "
              f"steps lost by a kill: mean {sum(lost) / len(lost):.1f}, most {max(lost)}")


def metrics_or_less(run):
    """The metrics of a run that was killed, whose last line may be incomplete."""
    lines = (run / "metrics.jsonl").read_text().splitlines()
    result = []
    for line in lines:
        try:
            line = json.loads(line)
        except json.JSONDecodeError:
            continue
        result.append((line["kind"], line["step"]))
    return result


def damage(arguments):
    rng = random.Random(arguments.seed)
    counts = {}
    with tempfile.TemporaryDirectory() as folder:
        place = Place(folder, 8, 4, 2)
        code, text = place.finish()
        check(code == 0, text)
        run = place.run()
        whole = Path(folder) / "whole"
        shutil.copytree(run, whole)
        more = ["--set", "max_steps=10"]
        check(place.finish(*more)[0] == 0, "the run cannot be resumed")
        expected, expected_metrics = weights(run), metrics(run)

        def restore():
            shutil.rmtree(run)
            shutil.copytree(whole, run)

        for path in sorted(path for path in whole.rglob("*") if path.is_file()):
            name = path.relative_to(whole)
            content = path.read_bytes()
            for attempt in range(arguments.tries if content else 0):
                restore()
                if attempt % 3 == 2:
                    changed = content[:rng.randrange(len(content))]
                else:
                    position = rng.randrange(len(content))
                    changed = bytearray(content)
                    changed[position] ^= 1 << rng.randrange(8)
                (run / name).write_bytes(changed)
                what = f"{name}, try {attempt}"
                for command in (["report", str(run)], ["export", str(run), "--out", f"{folder}/x", "--force"]):
                    done = subprocess.run([PROGRAM, *command], capture_output=True, text=True)
                    text = done.stdout + done.stderr
                    check(done.returncode in (0, 1, 2) and "panicked" not in text, f"{what}: {command}: {text}")
                code, text = place.finish(*more)
                check(code in (0, 1, 2) and "panicked" not in text, f"{what}: {text}")
                outcome = "refused" if code else ("passed over" if "passed over" in text else "as before")
                counts[outcome] = counts.get(outcome, 0) + 1
                if code == 0 and str(name) != "metrics.jsonl":
                    check(weights(run) == expected, f"{what}: other weights in silence")
                    check(metrics(run) == expected_metrics, f"{what}: other metrics in silence")
    print(f"damaged files: {counts}")


def disk(arguments):
    folder = tempfile.mkdtemp()
    size = arguments.megabytes
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}m", "tmpfs", folder], check=True)
    try:
        place = Place(folder, 40, 10, 1)
        code, text = place.finish("--set", "keep_checkpoints=1000")
        check(code == 1 and "the disk has" in text, text)
        print("too many checkpoints:", [line for line in text.splitlines() if "the disk has" in line][0])
        for run in place.runs.glob("*"):
            shutil.rmtree(run)
        filler = Path(folder) / "filler"
        process = place.start()
        while not (place.run() and states(place.run())[-1] >= 3):
            check(process.poll() is None, process.stdout.read() if process.poll() is not None else "")
            time.sleep(0.005)
        with filler.open("wb") as file:
            try:
                while True:
                    file.write(bytes(1 << 20))
                    file.flush()
            except OSError:
                pass
        text = process.communicate()[0]
        check(process.returncode == 1 and "panicked" not in text, text)
        error = [line for line in text.splitlines() if line.startswith("Error") or "last checkpoint" in line]
        print("while it trains:", "\n    ".join(error))
        filler.unlink()
        code, text = place.finish()
        check(code == 0, text)
        print("resumed with room:", [line for line in text.splitlines() if "resumed at" in line][0])
    finally:
        subprocess.run(["umount", folder])


def usage(process):
    status = Path(f"/proc/{process}/status").read_text()
    field = lambda name: int(next(line.split()[1] for line in status.splitlines() if line.startswith(name)))
    return field("VmRSS:") / 1024, field("Threads:"), len(os.listdir(f"/proc/{process}/fd"))


def long(arguments):
    with tempfile.TemporaryDirectory() as folder:
        place = Place(folder, arguments.steps, 500, 100)
        process = subprocess.Popen([PROGRAM, *place.train], stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        samples = []
        while process.poll() is None:
            run = place.run()
            if run:
                try:
                    samples.append((states(run)[-1], *usage(process.pid)))
                except (FileNotFoundError, ProcessLookupError, StopIteration, IndexError):
                    pass
            time.sleep(2)
        check(process.returncode == 0, "the training failed")
        samples = [sample for sample in samples if sample[0] > arguments.steps / 10]
        for tenth in range(10):
            part = samples[tenth * len(samples) // 10:(tenth + 1) * len(samples) // 10]
            most = [max(sample[column] for sample in part) for column in (0, 1, 2, 3)]
            print("up to step {:6}: {:7.1f} MiB, {} threads, {} descriptors".format(*most))
        half = len(samples) // 2
        early, late = (max(sample[1] for sample in part) for part in (samples[:half], samples[half:]))
        check(late < 1.05 * early + 8, f"memory grows: {early:.0f} to {late:.0f} MiB")
        check(max(s[3] for s in samples[half:]) <= max(s[3] for s in samples[:half]), "descriptors grow")
        check(max(s[2] for s in samples[half:]) <= max(s[2] for s in samples[:half]), "threads grow")


def stop(arguments):
    with tempfile.TemporaryDirectory() as folder:
        times, saved = [], []
        for _ in range(arguments.tries):
            place = Place(tempfile.mkdtemp(dir=folder), 100000, 50000, 50000)
            process = place.start()
            while not place.run():
                time.sleep(0.01)
            time.sleep(random.uniform(0.5, 2))
            process.send_signal(signal.SIGTERM)
            asked = time.time()
            while states(place.run()) == [0] and process.poll() is None:
                time.sleep(0.005)
            saved.append(time.time() - asked)
            text = process.communicate()[0]
            times.append(time.time() - asked)
            check(process.returncode == 130, text)
            check(states(place.run())[-1] > 0, "no checkpoint of the last step")
        for name, seconds in [("whole checkpoint", saved), ("end, after an evaluation and the report", times)]:
            print(f"from SIGTERM to the {name}: median {sorted(seconds)[len(seconds) // 2]:.2f} s, "
                  f"most {max(seconds):.2f} s")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for function, options in [
        (kills, {"--kills": 100, "--pause": 0.5}),
        (damage, {"--tries": 5}),
        (disk, {"--megabytes": 900}),
        (long, {"--steps": 10000}),
        (stop, {"--tries": 5}),
    ]:
        command = commands.add_parser(function.__name__)
        command.add_argument("--seed", type=int, default=0)
        for name, default in options.items():
            command.add_argument(name, type=type(default), default=default)
        command.set_defaults(function=function)
    arguments = parser.parse_args()
    arguments.function(arguments)


if __name__ == "__main__":
    main()
