#!/usr/bin/env python3
"""Compares the DICOM decoder with pydicom on the files that pydicom and pydicom-data carry.

    pip install pydicom pydicom-data pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg numpy
    python3 tests/interop/dicom.py              # all of it, in a temporary folder
    python3 tests/interop/dicom.py --more DIR   # and the files of a folder of your own

`tests/integration/dicom.rs` decodes; the table says for each file how far the brightness is from
pydicom's, in grey levels of 255, or why it is refused. Only technical elements are printed. The
status is not 0 where a file differs by more than its tolerance, or is refused without being of a
kind that is. torchxrayvision reads DICOM with pydicom and carries no DICOM file.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import data_store
import numpy as np
import pydicom
from pydicom.pixels import apply_modality_lut, apply_voi, apply_windowing, pixel_array

warnings.simplefilter("ignore")
pydicom.config.logger.setLevel("CRITICAL")

# Grey levels. The rest are lossless and go through tables of 64 bits on both sides.
TOLERANCE = 0.01
# Decoders of lossy JPEG round differently, 1 level, and colour is upsampled with other filters.
LOSSY_JPEG_GREY, LOSSY_JPEG_COLOUR = 1.0, 6.0
# An irreversible wavelet is computed in 32 bits, and a stored value may round the other way; in a
# window of 100 values one of them is 2.6 grey levels.
STORED_VALUES_APART = 1
LOSSY_JPEG = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51")
LOSSY_JPEG_2000 = "1.2.840.10008.1.2.4.91"


def files(more):
    folders = [Path(pydicom.__file__).parent / "data", Path(data_store.__file__).parent]
    for folder in folders + more:
        yield from sorted(path for path in folder.rglob("*") if path.is_file() and is_dicom(path))


def is_dicom(path):
    start = path.read_bytes()[:132]
    return start[128:] == b"DICM" or path.suffix == ".dcm" and start[:1] in (b"\2", b"\10")


def expected(data):
    """The brightness of each pixel, channel by channel, and of how many levels of 255 one is."""
    stored = pixel_array(data)
    with_functional_groups(data)
    if data.SamplesPerPixel == 3:
        colours = stored.astype(np.float64).transpose(2, 0, 1)
        if data.BitsStored == 8:
            return colours / 255, 1.0
        black, white = np.percentile(colours, [0.5, 99.5])
        return np.clip((colours - black) / (white - black), 0, 1), 255 / (white - black)
    if data.PhotometricInterpretation not in ("MONOCHROME1", "MONOCHROME2"):
        raise NotImplementedError(data.PhotometricInterpretation)
    values = apply_modality_lut(stored, data).astype(np.float64)
    padding = is_padding(stored, data)
    bits, slope = data.BitsStored, float(data.get("RescaleSlope") or 1)
    if "VOILUTSequence" in data:
        white = white_of_table(data.VOILUTSequence[0])
        grey, step = apply_voi(values.astype(int), data) / white, 255 / white
    elif data.get("WindowWidth") is not None:
        # pydicom's output spans what the bits stored can hold, after the modality's line.
        span = np.array([-(2 ** (bits - 1)), 2 ** (bits - 1) - 1] if data.PixelRepresentation
                        else [0, 2**bits - 1])
        black, white = span * slope + float(data.get("RescaleIntercept") or 0)
        if "ModalityLUTSequence" in data:
            black, white = 0, 2 ** data.ModalityLUTSequence[0].LUTDescriptor[2] - 1
        grey = (apply_windowing(values, data) - black) / (white - black)
        width = data.WindowWidth
        step = 255 * slope / float(width if isinstance(width, (int, float)) else width[0])
    else:
        if bits <= 8:
            extremes = np.array([0, 2**bits - 1]) - data.PixelRepresentation * 2 ** (bits - 1)
            black, white = extremes * slope + float(data.get("RescaleIntercept") or 0)
        else:
            black, white = np.percentile(values[~padding], [0.5, 99.5])
        grey = (values - black) / max(white - black, 1e-9)
        step = 255 * slope / max(white - black, 1e-9)
    if data.PhotometricInterpretation == "MONOCHROME1":
        grey = 1 - grey
    grey = np.where(padding, 0, grey)
    return np.clip(grey, 0, 1)[None], abs(step)


def with_functional_groups(data):
    """Puts line and window of an enhanced image's frame where pydicom looks for them."""
    for groups in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for group in list(data.get(groups) or [])[:1]:
            for name in ("PixelValueTransformationSequence", "FrameVOILUTSequence"):
                for element in group[name][0] if name in group else ():
                    data[element.tag] = element


def white_of_table(item):
    """The largest entry there can be; the largest there is where that needs other bits."""
    entries = item.LUTData
    if isinstance(entries, bytes):
        entries = np.frombuffer(entries, dtype="<u2")
    bits, largest = item.LUTDescriptor[2], int(np.max(entries))
    return 2**bits - 1 if largest.bit_length() == bits else largest


def is_padding(stored, data):
    """Which pixels are padding (PS3.3, section C.7.5.1.1.2); pydicom leaves them as they are."""
    if data.get("PixelPaddingValue") is None:
        return np.zeros(stored.shape, dtype=bool)
    limits = data.PixelPaddingValue, data.get("PixelPaddingRangeLimit", data.PixelPaddingValue)
    return (stored >= min(limits)) & (stored <= max(limits))


def tolerance(data, step):
    syntax = data.file_meta.get("TransferSyntaxUID") if hasattr(data, "file_meta") else None
    if syntax in LOSSY_JPEG:
        return LOSSY_JPEG_COLOUR if data.SamplesPerPixel == 3 else LOSSY_JPEG_GREY
    if syntax == LOSSY_JPEG_2000:
        return STORED_VALUES_APART * step + TOLERANCE
    return TOLERANCE


def compare(path, decoded, pixels):
    """A row of the table, and whether it is as it should be."""
    data = pydicom.dcmread(path, force=True)
    syntax = data.file_meta.get("TransferSyntaxUID") if hasattr(data, "file_meta") else None
    row = [path.name, syntax.name if syntax else "(none)"]
    row += [str(data.get("PhotometricInterpretation", "-"))]
    bits = f"{data.get('BitsStored', '-')} of {data.get('BitsAllocated', '-')}"
    row += [bits + (" signed" if data.get("PixelRepresentation") else "")]
    try:
        wanted, step = expected(data)
    except Exception as error:
        wanted, reason = None, type(error).__name__
    if "refused" in decoded:
        return row + ["refused: " + decoded["refused"]], wanted is None or is_refused(data)
    found = np.fromfile(pixels, dtype="<f4").reshape(decoded["shape"]).astype(np.float64)
    if wanted is None:
        return row + [f"decoded; pydicom: {reason}"], True
    if found.shape[0] == 1 and wanted.shape[0] == 3:
        found = np.repeat(found, 3, axis=0)
    if found.shape != wanted.shape:
        return row + [f"{found.shape} instead of {wanted.shape}"], False
    difference = float(np.abs(found - wanted).max() * 255)
    allowed = tolerance(data, step)
    verdict = f"{difference:.4f}" + (f" (allowed {allowed:.2f})" if difference > TOLERANCE else "")
    return row + [verdict], difference <= allowed


def is_refused(data):
    """Whether the file is of a kind that is documented as not read."""
    syntax = data.file_meta.get("TransferSyntaxUID") if hasattr(data, "file_meta") else None
    return (
        str(data.get("NumberOfFrames") or 1) != "1"
        or data.BitsAllocated not in (8, 16)
        or data.PhotometricInterpretation == "PALETTE COLOR"
        or syntax == "1.2.840.10008.1.2.4.51" and data.BitsStored > 8
        or data.SamplesPerPixel == 3 and "JPEG-LS" in syntax.name
        or data.PhotometricInterpretation == "YBR_FULL_422" and not syntax.is_compressed
    )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--more", type=Path, action="append", default=[])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        paths = list(files(arguments.more))
        for number, path in enumerate(paths):
            shutil.copy(path, Path(folder) / f"{number}.dcm")
        command = ["cargo", "test", "--workspace", "--test", "integration", "dicom"]
        environment = os.environ | {"CONVIRT_DICOM": folder}
        subprocess.run(command, cwd=Path(__file__).parents[2], env=environment, check=True)
        decoded = json.loads((Path(folder) / "decoded.json").read_text())
        wrong, read, refused = [], 0, 0
        print("| file | transfer syntax | photometric | bits | difference |\n|---|---|---|---|---|")
        for number, path in enumerate(paths):
            found = decoded[str(number)]
            row, is_right = compare(path, found, Path(folder) / f"{number}.f32")
            if "pixel data" not in row[-1]:
                print("| " + " | ".join(row) + " |")
            read += "shape" in found
            refused += "refused" in found
            if not is_right:
                wrong.append(" ".join(row))
    print(f"\n{len(paths)} files: {read} read, {refused} refused")
    if wrong:
        sys.exit("beyond the tolerance:\n  " + "\n  ".join(wrong))


if __name__ == "__main__":
    main()
