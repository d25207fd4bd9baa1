"""This model in PyTorch: embeddings of images and texts, as convirt computes them.

    from convirt_model import Model

    model = Model.from_pretrained(".")  # a folder, or a name on the Hugging Face hub
    images = model.embed_images(["chest.jpg", "chest.dcm"])
    texts = model.embed_texts(["Small left pleural effusion.", "Clear lungs."])
    print(model.similarity(images, texts))

It needs torch, torchvision, transformers and Pillow; DICOM files need pydicom 3, too. Images of 16 bits in
each colour are read with 8, and those of other kinds as convirt reads them.
"""

import json
from pathlib import Path

import numpy as np
import torch
import transformers
from PIL import Image, ImageOps, UnidentifiedImageError
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional
from torchvision.models import get_model


class Model(nn.Module):
    def __init__(self, config, preprocessing, tokenizer):
        super().__init__()
        self.config, self.preprocessing, self.tokenizer = config, preprocessing, tokenizer
        network = config["network"]
        self.image_encoder = get_model(network["image"]["depth"])
        width = self.image_encoder.fc.in_features
        self.image_encoder.fc = nn.Identity()
        self.image_projection = projection_head(width, network["d_embedding"])
        if tokenizer is not None:
            text = dict(network["text"])
            text = transformers.AutoConfig.for_model(text.pop("model_type"), **text)
            self.text_encoder = transformers.AutoModel.from_config(text)
            width = text.hidden_size * (2 if network["pooling"] == "mean_max" else 1)
            self.text_projection = projection_head(width, network["d_embedding"])

    @classmethod
    def from_pretrained(cls, folder):
        if not Path(folder).is_dir():
            from huggingface_hub import snapshot_download

            folder = snapshot_download(folder)
        folder = Path(folder)
        config = json.loads((folder / "config.json").read_text("utf-8"))
        preprocessing = json.loads((folder / "preprocessor_config.json").read_text("utf-8"))
        tokenizer = None
        if config["objective"] == "convirt":
            tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(folder)
        model = cls(config, preprocessing, tokenizer)
        weights = load_file(folder / "model.safetensors")
        unknown = [name for name in weights if name not in model.state_dict()]
        missing = model.load_state_dict(weights, strict=False).missing_keys
        # The poolers of transformers and the counters of batch norms have no part in embeddings.
        unused = (".pooler.dense.weight", ".pooler.dense.bias", "num_batches_tracked", "position_ids")
        missing = [name for name in missing if not name.endswith(unused)]
        if missing or [name for name in unknown if not name.startswith("loss.")]:
            raise ValueError(f"{folder}: missing {missing}, unknown {unknown}")
        return model.eval()

    @torch.inference_mode()
    def embed_images(self, paths, batch_size=32):
        """Embeddings of JPEG, PNG and DICOM files at L2 norm 1: [images, d_embedding]."""
        paths, embeddings = listed(paths), []
        for start in range(0, len(paths), batch_size):
            images = [self.preprocess(path) for path in paths[start : start + batch_size]]
            embeddings.append(self.encode_images(torch.stack(images).to(self.device)))
        return torch.cat(embeddings)

    @torch.inference_mode()
    def embed_texts(self, texts, batch_size=32):
        """Embeddings of sentences or reports at L2 norm 1: [texts, d_embedding]."""
        if self.tokenizer is None:
            raise ValueError("this model was trained without texts")
        texts, embeddings = listed(texts), []
        for start in range(0, len(texts), batch_size):
            tokens = self.tokenizer(
                texts[start : start + batch_size],
                padding=True,
                truncation=True,
                max_length=self.max_tokens,
                return_tensors="pt",
            )
            embeddings.append(self.encode_texts(tokens.to(self.device)))
        return torch.cat(embeddings)

    @staticmethod
    def similarity(images, texts):
        """Cosines of embeddings: [images, texts]."""
        return images @ texts.T

    def encode_images(self, images):
        """Embeddings of preprocessed images: [images, 3, height, width]."""
        return functional.normalize(self.image_projection(self.image_encoder(images)))

    def encode_texts(self, tokens):
        """Embeddings of tokenized texts."""
        names = ["input_ids", "attention_mask", "token_type_ids"]
        inputs = {name: tokens[name] for name in names if name in tokens}
        if not self.config["network"]["text"].get("type_vocab_size"):
            inputs.pop("token_type_ids", None)
        layer = self.config["network"].get("pooling_layer")
        states = self.text_encoder(**inputs, output_hidden_states=True).hidden_states
        states = states[-1 if layer is None else layer]
        pooled = pool(self.config["network"]["pooling"], states, inputs["attention_mask"])
        return functional.normalize(self.text_projection(pooled))

    def preprocess(self, path):
        """Reads an image as the image encoder's input: [3, height, width]."""
        settings = self.preprocessing
        image = read_image(path, settings["exif_orientation"])
        height, width = image.shape[1:]
        longer = settings["longer_side"] or max(height, width)
        if max(height, width) > longer:
            sides = (int(side * longer / max(height, width) + 0.5) for side in (height, width))
            image = resize(image, *(max(1, side) for side in sides))
        if settings["pad_to_square"]:
            image = pad_to_square(image)
        size, crop = settings["size"], settings["crop_size"]
        if "shortest_edge" in size:
            height, width = image.shape[1:]
            shorter, side = min(height, width), size["shortest_edge"]
            image = resize(image, height * side // shorter, width * side // shorter)
            top, left = (round((length - crop["height"]) / 2) for length in image.shape[1:])
            image = image[:, top : top + crop["height"], left : left + crop["width"]]
        else:
            image = resize(image, size["height"], size["width"])
        mean, deviation = (
            torch.tensor(settings[name])[:, None, None] for name in ("image_mean", "image_std")
        )
        return (image - mean) / deviation

    @property
    def max_tokens(self):
        """The longest text in tokens; RoBERTa's positions begin after that of padding."""
        text = self.config["network"]["text"]
        positions = text["max_position_embeddings"]
        if text["model_type"] in ("roberta", "xlm-roberta"):
            positions -= text["pad_token_id"] + 1
        return min(self.config["max_tokens"], positions)

    @property
    def device(self):
        return next(self.parameters()).device


def listed(items):
    if isinstance(items, (str, Path)) or not len(items):
        raise ValueError("a list of at least one is needed")
    return list(items)


def projection_head(width, d_embedding):
    """The projection head of the paper, Section 2.3: linear2(relu(linear1(features)))."""
    head = nn.Sequential()
    head.add_module("linear1", nn.Linear(width, width))
    head.add_module("relu", nn.ReLU())
    head.add_module("linear2", nn.Linear(width, d_embedding))
    return head


def pool(pooling, states, mask):
    """One vector for each text from the states of its tokens: [texts, width]."""
    is_real = mask.bool()[:, :, None]
    mean = (states * is_real).sum(1) / is_real.sum(1).clamp(min=1)
    maximum = states.masked_fill(~is_real, float("-inf")).amax(1)
    positions = torch.arange(mask.shape[1], device=mask.device) * mask
    first = states[torch.arange(len(states)), mask.int().argmax(1)]
    last = states[torch.arange(len(states)), positions.argmax(1)]
    choices = {"mean": mean, "max": maximum, "first": first, "last": last}
    return torch.cat([mean, maximum], 1) if pooling == "mean_max" else choices[pooling]


def resize(image, height, width):
    """Antialiased bilinear, as in Pillow."""
    return functional.interpolate(
        image[None], (height, width), mode="bilinear", antialias=True, align_corners=False
    )[0]


def pad_to_square(image):
    """Black on both ends of the shorter side."""
    height, width = image.shape[1:]
    down, right = max(width - height, 0), max(height - width, 0)
    edges = right // 2, right - right // 2, down // 2, down - down // 2
    return functional.pad(image, edges)


def read_image(path, exif_orientation):
    """Brightness from 0, black, to 1, white: [1 or 3, height, width]."""
    with open(path, "rb") as file:
        is_dicom = file.read(132)[128:] == b"DICM"  # which may begin as a TIFF does
    try:
        image = None if is_dicom else Image.open(path)
    except UnidentifiedImageError:
        image = None  # DICOM without a preamble
    if image is None:
        return torch.from_numpy(read_dicom(path)).clamp(0, 1).float()
    image = ImageOps.exif_transpose(image) if exif_orientation else image
    if image.mode.startswith("I"):
        pixels = stretch(np.asarray(image, np.float64))[None]
    elif image.mode in ("1", "L", "LA"):
        pixels = np.asarray(image.convert("L"))[None] / 255
    else:  # of 16 bits in each colour, Pillow reads the upper 8
        pixels = np.asarray(image.convert("RGB")).transpose(2, 0, 1) / 255
    return torch.from_numpy(pixels).clamp(0, 1).float()


def stretch(values, kept=...):
    """Spreads values over black to white, with 0.5 % of those kept clipped at each end."""
    kept = values[kept] if np.any(kept) else np.zeros(1)
    black, white = np.percentile(kept, [0.5, 99.5])
    if black == white:
        black, white = kept.min(), kept.max()
    return (values - black) / ((white - black) or 1)


def read_dicom(path):
    from pydicom import dcmread
    from pydicom.pixels import apply_modality_lut, apply_voi

    data = dcmread(path, force=True)
    for groups in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for group in list(data.get(groups) or [])[:1]:
            for name in ("PixelValueTransformationSequence", "FrameVOILUTSequence"):
                data.update(group[name][0] if name in group else {})
    kind = data.PhotometricInterpretation
    if int(data.get("NumberOfFrames") or 1) > 1 or kind == "PALETTE COLOR":
        raise ValueError(f"{path}: several frames or a palette, which are not read")
    stored, bits = data.pixel_array, data.BitsStored
    if data.SamplesPerPixel == 3:
        colours = stored.transpose(2, 0, 1).astype(np.float64)
        return colours / 255 if bits == 8 else stretch(colours)
    values = apply_modality_lut(stored, data).astype(np.float64)
    is_padding = np.zeros(stored.shape, bool)
    if (padding := data.get("PixelPaddingValue")) is not None:
        limits = sorted([padding, data.get("PixelPaddingRangeLimit", padding)])
        is_padding = (stored >= limits[0]) & (stored <= limits[1])
    if "VOILUTSequence" in data:
        grey = apply_voi(values.astype(int), data) / white_of(data.VOILUTSequence[0])
    elif data.get("WindowWidth") is not None:
        center, width = (np.atleast_1d(data.get(f"Window{it}"))[0] for it in ("Center", "Width"))
        grey = window(values, float(center), float(width), data.get("VOILUTFunction"))
    elif bits <= 8:
        levels = np.arange(2**bits) - (2 ** (bits - 1) if data.PixelRepresentation else 0)
        levels = apply_modality_lut(levels, data).astype(np.float64)
        grey = (values - levels.min()) / (np.ptp(levels) or 1)
    else:
        grey = stretch(values, ~is_padding)
    grey = 1 - grey if kind == "MONOCHROME1" else grey
    return np.where(is_padding, 0, grey)[None]


def white_of(table):
    """The largest entry of the declared bits, or the largest there is where that needs others."""
    entries = table.LUTData
    entries = np.frombuffer(entries, "<u2") if isinstance(entries, bytes) else entries
    bits, largest = table.LUTDescriptor[2], int(np.max(entries))
    return 2**bits - 1 if largest.bit_length() == bits else largest or 1


def window(values, center, width, function):
    """Brightness in a window (DICOM PS3.3, Section C.11.2.1)."""
    if function == "SIGMOID":
        return 1 / (1 + np.exp(-4 * (values - center) / width))
    if function == "LINEAR_EXACT":
        return (values - center) / width + 0.5
    return (values - center + 0.5) / max(width - 1, 1e-9) + 0.5
