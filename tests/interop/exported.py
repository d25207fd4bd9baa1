#!/usr/bin/env python3
"""Compares exported folders in Python, by their own `convirt_model.py`, with what convirt computes.

    pip install torch torchvision transformers pillow pydicom pydicom-data pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg
    python3 tests/interop/exported.py              # JPEG and PNG files of the tests, DICOM files of pydicom
    python3 tests/interop/exported.py --more DIR   # and the images of a folder of your own

`tests/integration/exported.rs` exports a trained model with every kind of preprocessing and pooling and
embeds the same files and texts. The status is not 0 where the cosine of the two embeddings of an image or
text is below 0.999, or their distance is more than a share of that between different images.
"""

import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error")

import torch

MIN_COSINE = 0.999
# Of the median distance between embeddings of different images, which are alike in a small training.
MAX_DISTANCE = 0.1
ROOT = Path(__file__).parents[2]
TEXTS = [
    "Small left pleural effusion.",
    "Clear lungs. No pneumothorax.",
    "Déjà vu: übergroßes Herz?",
    "unchanged " * 80,
]


def images(more):
    from dicom import files as dicom_files

    data = ROOT / "crates/convirt-data/tests/data"
    for folder in [data, *more]:
        for path in sorted(folder.rglob("*")):
            if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".dcm"):
                yield path
    yield from dicom_files([])


def load(folder):
    """The export's own module, and its model."""
    spec = importlib.util.spec_from_file_location("convirt_model", folder / "convirt_model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Model.from_pretrained(folder)


def compare(case, paths):
    """The lines of a case that are wrong."""
    ours = json.loads((case / "embeddings.json").read_text())
    model = load(case / "model")
    wrong, names, theirs, expected = [], [], [], []
    for path in paths:
        embedding = ours["images"][path.name]
        if embedding is None:
            continue
        try:
            embedded = model.embed_images([path])[0]
        except Exception as error:
            print(f"  {path.name}: not read in Python: {type(error).__name__}: {error}"[:120])
            continue
        names.append(path.name)
        theirs.append(embedded)
        expected.append(torch.tensor(embedding))
    theirs, expected = torch.stack(theirs), torch.stack(expected)
    cosines = (theirs * expected).sum(1)
    typical = torch.pdist(expected).median()
    distances = (theirs - expected).norm(dim=1) / typical
    for name, cosine, distance in zip(names, cosines, distances):
        if not (cosine >= MIN_COSINE and distance <= MAX_DISTANCE):
            wrong.append(f"{case.name}: {name}: cosine {cosine:.6f}, distance {distance:.3f}")
    print(f"{case.name}: {len(theirs)} images, least cosine {cosines.min():.6f}, largest distance ", end="")
    print(f"{distances.max():.3f} of that between images ({typical:.4f})")
    if ours["texts"] is not None:
        difference = (model.embed_texts(TEXTS) - torch.tensor(ours["texts"])).abs().max()
        print(f"  {len(TEXTS)} texts, largest difference {difference:.1e}")
        if not difference <= 1e-5:
            wrong.append(f"{case.name}: texts: {difference}")
    return wrong


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--more", type=Path, action="append", default=[])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        (folder / "images").mkdir()
        paths = []
        for number, path in enumerate(images(arguments.more)):
            paths.append(folder / "images" / f"{number}-{path.name}")
            shutil.copy(path, paths[-1])
        (folder / "texts.json").write_text(json.dumps(TEXTS))
        command = ["cargo", "test", "--workspace", "--test", "integration", "exported::"]
        environment = os.environ | {"CONVIRT_EXPORTED": str(folder)}
        subprocess.run(command, cwd=ROOT, env=environment, check=True)
        wrong = []
        for case in sorted((folder / "cases").iterdir()):
            wrong += compare(case, paths)
    if wrong:
        sys.exit("too far apart:\n  " + "\n  ".join(wrong))


if __name__ == "__main__":
    main()
