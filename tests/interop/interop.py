#!/usr/bin/env python3
"""Compares convirt with torchvision, timm and transformers themselves, on fresh random weights.

    pip install torch torchvision transformers timm safetensors onnxscript
    python3 tests/interop/interop.py              # all of it, in a temporary folder, 4 GB
    python3 tests/interop/interop.py write DIR    # files as Python writes them, inputs, outputs
    CONVIRT_INTEROP=DIR cargo test --workspace --test integration interop -- --nocapture
    python3 tests/interop/interop.py check DIR    # what the test exported, back in Python

`tests/integration/interop.rs` loads what `write` made, computes the same outputs and exports the
whole models. Other `--seed`s give other weights. The network is not used.
"""

import argparse
import copy
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error")

import timm
import torch
import transformers
from safetensors.torch import load_file, save_file
from exported import load
from torch import nn
from torchvision.io import write_png
from torchvision.models import get_model
from torchvision.transforms import functional

transformers.utils.logging.disable_progress_bar()

DEPTHS = ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]
SIZES = dict(hidden_size=64, num_hidden_layers=3, num_attention_heads=4, intermediate_size=128)
FAMILIES = {
    "bert": dict(SIZES, type_vocab_size=2, pad_token_id=0),
    "roberta": dict(SIZES, type_vocab_size=1, pad_token_id=1),
    "xlm-roberta": dict(SIZES, type_vocab_size=1, pad_token_id=1),
    "distilbert": dict(dim=64, n_layers=3, n_heads=4, hidden_dim=128, pad_token_id=0),
}
TOKENIZERS = {
    "bert": transformers.BertTokenizer,
    "roberta": transformers.RobertaTokenizer,
    "xlm-roberta": transformers.XLMRobertaTokenizer,
    "distilbert": transformers.DistilBertTokenizer,
}
WHOLE_MODELS = list(zip(DEPTHS, ["bert", "roberta", "distilbert", "xlm-roberta", "bert"]))
TEXTS = [
    "The heart is enlarged.",
    "No pleural effusion or pneumothorax; a 3.5 cm nodule in the LEFT upper lobe.",
    "Déjà vu: übergroßes Herz? <s> [MASK] 心",
    "unchanged " * 40,
]
VOCABULARY = 400
MAX_TOKENS = 32
D_EMBEDDING = 48
# What our networks do not have; exports hold zeros where Python wants them.
# What keeps the names of weights in ONNX files, by exporter; the present one needs a package.
ONNX_EXPORTERS = {
    "torchscript": dict(
        dynamo=False,
        do_constant_folding=False,
        training=torch.onnx.TrainingMode.PRESERVE,
    ),
    "dynamo": dict(dynamo=True, optimize=False),
}
if not importlib.util.find_spec("onnxscript"):
    del ONNX_EXPORTERS["dynamo"]
NOT_KEPT = ("num_batches_tracked", "pooler.dense.weight", "pooler.dense.bias")


class Colab(nn.Module):
    """A whole model under the names of ConVIRT-Colab's `model.pth`."""

    def __init__(self, depth, text_config):
        super().__init__()
        resnet = get_model(depth)
        width, d_text = resnet.fc.in_features, text_config.hidden_size
        self.bert_model = transformers.AutoModel.from_config(text_config)
        self.bert_l1 = nn.Linear(d_text, d_text)
        self.bert_l2 = nn.Linear(d_text, D_EMBEDDING)
        self.res_features = nn.Sequential(*list(resnet.children())[:-1])
        self.res_l1 = nn.Linear(width, width)
        self.res_l2 = nn.Linear(width, D_EMBEDDING)

    def forward(self, images, **tokens):
        image = self.res_features(images).flatten(1)
        mask = tokens["attention_mask"].unsqueeze(-1)
        text = (self.bert_model(**tokens).last_hidden_state * mask).sum(1) / mask.sum(1)
        return {
            "image_embedding": self.res_l2(torch.relu(self.res_l1(image))),
            "text_embedding": self.bert_l2(torch.relu(self.bert_l1(text))),
        }


# Outputs


def image_features(model, images):
    return {"features": model(images)}


def classification(model, images, seen):
    logits = model(seen)
    is_finding = model.fc.out_features == 1
    probabilities = torch.sigmoid(logits) if is_finding else torch.softmax(logits, 1)
    return {"scores": model(images), "probabilities": probabilities}


def token_states(model, **tokens):
    """States at padding mean nothing: zeros."""
    mask = tokens["attention_mask"].unsqueeze(-1)
    return {"states": model(**tokens).last_hidden_state * mask}


def embeddings(model, **inputs):
    return model(**inputs)


FORWARD = {
    "image": image_features,
    "classifier": classification,
    "text": token_states,
    "whole": embeddings,
}


def evaluate(kind, model, inputs):
    with torch.no_grad():
        return FORWARD[kind](model.eval(), **inputs)


class Cases:
    """The cases of a folder, each with its files in a folder of its own."""

    def __init__(self, root):
        self.root = root
        self.list = []

    def folder(self, name):
        folder = self.root / name
        folder.mkdir(parents=True)
        return folder

    def add(self, kind, folder, model, inputs, *, weights="", resnet=None, text=None, least=1e-5):
        """Notes what PyTorch computes, and how far its 32-bit outputs are from its 64-bit ones;
        `least` is allowed at the least, as a share of the largest output.
        """
        expected = evaluate(kind, model, inputs)
        doubled = {k: v.double() if v.is_floating_point() else v for k, v in inputs.items()}
        exact = evaluate(kind, copy.deepcopy(model).double(), doubled)
        save_file(inputs | expected, folder / "io.safetensors")
        outputs = {}
        for name, values in expected.items():
            error = (values.double() - exact[name]).abs().max().item()
            scale = values.abs().max().item()
            assert 0.01 < scale < 1000, f"{folder.name}: outputs of the order of {scale}"
            tolerance = max(10 * error, least * scale)
            outputs[name] = dict(torch_error=error, scale=scale, tolerance=tolerance)
        self.list.append(
            dict(
                name=folder.name,
                kind=kind,
                resnet=resnet,
                text=text,
                weights=weights,
                outputs=outputs,
            )
        )

    def write(self):
        (self.root / "cases.json").write_text(json.dumps(self.list, indent=1))

    @staticmethod
    def read(root):
        return json.loads((root / "cases.json").read_text())


# Random models and inputs


def shaken_resnet(model):
    """Random norms; as in a trained network, statistics are about those of what comes in, and a
    block adds little to its input. Without that, PyTorch's own errors grow with the depth.
    """
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    blocks = [module for module in model.modules() if hasattr(module, "conv2")]
    with torch.no_grad():
        for norm in norms:
            norm.weight.uniform_(0.5, 1.5)
            norm.bias.uniform_(-0.5, 0.5)
            norm.momentum = 1.0
        for block in blocks:
            getattr(block, "bn3", block.bn2).weight *= 0.2
        model.train()(torch.randn(8, 3, 64, 64))
        for norm in norms:
            mean, variance = norm.running_mean, norm.running_var
            mean += 0.1 * variance.sqrt() * torch.randn_like(mean)
            variance *= torch.empty_like(variance).uniform_(0.8, 1.25)
    return model.eval()


def shaken_bert(model):
    """No bias 0 and no scale 1, which would hide that two were exchanged."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return model.eval()


def text_config(family, **changes):
    sizes = dict(vocab_size=VOCABULARY, max_position_embeddings=MAX_TOKENS + 2)
    return transformers.AutoConfig.for_model(family, **(FAMILIES[family] | sizes | changes))


def some_images():
    return dict(images=torch.randn(2, 3, 64, 64))


def some_tokens(config):
    lengths = torch.tensor([[16], [9], [3]])
    mask = (torch.arange(16) < lengths).long()
    ids = torch.randint(5, VOCABULARY, mask.shape)
    tokens = dict(
        input_ids=torch.where(mask == 1, ids, config.pad_token_id), attention_mask=mask
    )
    if config.model_type == "bert":
        tokens["token_type_ids"] = torch.randint(0, 2, mask.shape)
    return tokens


# Files


def save_torch(state, path):
    torch.save(state, path)


def save_torch_before_2020(state, path):
    torch.save(state, path, _use_new_zipfile_serialization=False)


def save_checkpoint(state, path):
    """As a training on several devices leaves it, with convolutions in channels-last order."""
    wrapped = {}
    for name, tensor in state.items():
        if tensor.dim() == 4:
            tensor = tensor.contiguous(memory_format=torch.channels_last)
        wrapped[f"module.{name}"] = tensor
    torch.save(dict(epoch=3, arch="resnet", state_dict=wrapped, best=torch.tensor(0.5)), path)


class LastStates(nn.Module):
    """A text encoder with tensors in and out, as the older exporter of ONNX wants it."""

    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, *tokens):
        names = ("input_ids", "attention_mask", "token_type_ids")
        return self.encoder(**dict(zip(names, tokens))).last_hidden_state


def save_onnx(model, inputs, exporter, path):
    options = ONNX_EXPORTERS[exporter]
    torch.onnx.export(model, tuple(inputs.values()), path, verbose=False, **options)


def save_safetensors(state, path):
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)


def cast(model, dtype):
    """The state dict with other numbers; the model has their values from here on."""
    state = {
        name: tensor.to(dtype) if tensor.is_floating_point() else tensor
        for name, tensor in model.state_dict().items()
    }
    model.load_state_dict(state)
    return state


def write_images(cases):
    def write(name, save, dtype=torch.float32, create=get_model):
        depth = name.split("-")[0]
        model = shaken_resnet(create(depth))
        folder = cases.folder(name)
        file = "model.safetensors" if save is save_safetensors else "model.pth"
        save(cast(model, dtype), folder / file)
        model.fc = nn.Identity()
        cases.add("image", folder, model, some_images(), weights=file, resnet=depth)

    for depth in DEPTHS:
        write(depth, save_safetensors)
    write("resnet18-pth", save_torch)
    write("resnet18-checkpoint", save_checkpoint)
    write("resnet18-f64-pth", save_torch, torch.float64)
    write("resnet34-pth-before-2020", save_torch_before_2020)
    write("resnet50-f16", save_safetensors, torch.float16)
    write("resnet50-bf16", save_safetensors, torch.bfloat16)
    write("resnet50-bf16-pth", save_torch, torch.bfloat16)
    write("resnet50-timm", save_safetensors, create=timm.create_model)
    for exporter in ONNX_EXPORTERS:
        folder = cases.folder(f"resnet18-onnx-{exporter}")
        model, images = shaken_resnet(get_model("resnet18")), some_images()
        save_onnx(model, images, exporter, folder / "resnet18.onnx")
        model.fc = nn.Identity()
        cases.add("image", folder, model, images, weights="resnet18.onnx", resnet="resnet18")


def seen_by_classifier(image, size, longer_side):
    """The network's input: scaled down to the longer side in whole grey levels, padded to a square,
    scaled to the input's size. In floats, because Pillow rounds more than that.
    """
    pixels = image.expand(3, -1, -1) / 255
    scale = longer_side / max(pixels.shape[1:])
    if scale < 1:
        shape = [round(side * scale) for side in pixels.shape[1:]]
        pixels = functional.resize(pixels, shape, antialias=True)
        pixels = (pixels * 255).round() / 255
    height, width = pixels.shape[1:]
    x, y = max(height - width, 0), max(width - height, 0)
    pixels = functional.pad(pixels, [x // 2, y // 2, x - x // 2, y - y // 2])
    pixels = functional.resize(pixels, [size, size], antialias=True)
    mean, deviation = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    return functional.normalize(pixels, mean, deviation)[None]


def write_classifiers(cases):
    """Folders as `transfer` saves them, each with an image file."""
    for labels, shape, longer_side in [
        (dict(findings=["Pneumonia"]), (97, 130), 200),
        (dict(classes=["CT", "MR", "X-ray"]), (151, 80), 90),
    ]:
        count = len(next(iter(labels.values())))
        model = shaken_resnet(get_model("resnet18", num_classes=count))
        folder = cases.folder(f"classifier-{count}")
        save_safetensors(model.state_dict(), folder / "model.safetensors")
        description = dict(
            encoder=dict(resnet=dict(depth="resnet18")),
            labels=labels,
            image_size=64,
            resize="pad_square",
            longer_side=longer_side,
            normalization="imagenet",
        )
        (folder / "classifier.json").write_text(json.dumps(description))
        image = torch.randint(0, 256, (1, *shape), dtype=torch.uint8)
        write_png(image, str(folder / "image.png"))
        seen = seen_by_classifier(image, 64, longer_side)
        # A grey level that one side rounds up and the other down.
        cases.add("classifier", folder, model, some_images() | dict(seen=seen), least=1e-4)


def write_texts(cases):
    def write(name, family, auto_class, save):
        """`save` gets the whole model, the outputs are those of the encoder in it."""
        config = text_config(family)
        model = shaken_bert(auto_class.from_config(config))
        folder = cases.folder(name)
        config.save_pretrained(folder)
        save(model, folder)
        cases.add("text", folder, model.base_model, some_tokens(config), text=family)

    def whole(model, folder):
        model.save_pretrained(folder)

    def sharded(model, folder):
        model.save_pretrained(folder, max_shard_size="100KB")
        assert (folder / "model.safetensors.index.json").is_file()

    def bin_file(model, folder):
        save_torch(model.state_dict(), folder / "pytorch_model.bin")

    def bin_of_2019(model, folder):
        """As the first checkpoints: norms with gamma and beta, a buffer of positions."""
        state = {}
        for name, tensor in model.state_dict().items():
            name = name.replace("LayerNorm.weight", "LayerNorm.gamma")
            state[name.replace("LayerNorm.bias", "LayerNorm.beta")] = tensor
        prefix = model.base_model_prefix
        state[f"{prefix}.embeddings.position_ids"] = torch.arange(MAX_TOKENS + 2)[None]
        save_torch_before_2020(state, folder / "pytorch_model.bin")

    encoder, masked = transformers.AutoModel, transformers.AutoModelForMaskedLM
    classifier = transformers.AutoModelForSequenceClassification
    for family in FAMILIES:
        write(family, family, encoder, whole)
        write(f"{family}-sharded", family, encoder, sharded)
        write(f"{family}-bin", family, encoder, bin_file)
        write(f"{family}-masked-lm", family, masked, whole)
        write(f"{family}-masked-lm-bin", family, masked, bin_file)
        write(f"{family}-classifier-sharded", family, classifier, sharded)
        write(f"{family}-2019", family, masked, bin_of_2019)
    for family in ("bert", "distilbert"):
        for exporter in ONNX_EXPORTERS:
            config = text_config(family)
            model = shaken_bert(encoder.from_config(config, attn_implementation="eager"))
            folder = cases.folder(f"{family}-onnx-{exporter}")
            config.save_pretrained(folder)
            tokens = some_tokens(config)
            save_onnx(LastStates(model), tokens, exporter, folder / "model.onnx")
            cases.add("text", folder, model, tokens, text=family)


def our_names(state):
    """Colab's state dict under the names of this project's models."""
    children = ["conv1", "bn1", "", "", "layer1", "layer2", "layer3", "layer4"]
    named = {}
    for name, tensor in state.items():
        part, rest = name.split(".", 1)
        if part == "res_features":
            child, rest = rest.split(".", 1)
            named[f"image_encoder.{children[int(child)]}.{rest}"] = tensor
        elif part == "bert_model":
            named[f"text_encoder.{rest}"] = tensor
        else:
            side, layer = part.split("_l")
            side = dict(res="image", bert="text")[side]
            named[f"{side}_projection.linear{layer}.{rest}"] = tensor
    return {name: tensor for name, tensor in named.items() if not name.endswith(NOT_KEPT)}


def write_whole_models(cases):
    """Each model twice: as ConVIRT-Colab writes it, and as a model folder of this project."""
    for depth, family in WHOLE_MODELS:
        tokenizer = TOKENIZERS[family]().train_new_from_iterator(
            TEXTS, VOCABULARY, show_progress=False
        )
        config = text_config(family, pad_token_id=tokenizer.pad_token_id)
        model = Colab(depth, config)
        shaken_resnet(model.res_features)
        shaken_bert(model.bert_model)
        folder = cases.folder(f"{depth}-{family}")
        save_torch(model.state_dict(), folder / "model.pth")
        save_safetensors(our_names(model.state_dict()), folder / "model.safetensors")
        tokenizer.save_pretrained(folder)
        network = dict(
            image=dict(depth=depth),
            text=config.to_dict(),
            d_embedding=D_EMBEDDING,
            pooling="mean",
            pooling_layer=None,
            loss={},
            freeze_embeddings=False,
            freeze_layers=[],
        )
        description = dict(
            network=network,
            image_size=64,
            eval_resize="center_crop",
            longer_side=None,
            max_tokens=MAX_TOKENS,
        )
        (folder / "convirt.json").write_text(json.dumps(description))
        (folder / "texts.json").write_text(json.dumps(TEXTS))
        inputs = some_images() | some_tokens(config)
        cases.add("whole", folder, model, inputs, resnet=depth, text=family)


def write(root, seed):
    torch.manual_seed(seed)
    cases = Cases(root)
    write_images(cases)
    write_classifiers(cases)
    write_texts(cases)
    write_whole_models(cases)
    cases.write()


# What came back


def assert_same_bits(found, expected):
    for name, tensor in expected.items():
        other = found[name]
        assert other.dtype == tensor.dtype and other.shape == tensor.shape, name
        assert torch.equal(other.view(torch.int32), tensor.view(torch.int32)), name


def load_strictly(model, state):
    """Batch norms forgive a missing counter, even when strict."""
    assert set(state) == set(model.state_dict())
    model.load_state_dict(state, strict=True)


def part(state, prefix):
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in state.items()
        if name.startswith(prefix)
    }


def check_image_encoder(folder, depth, expected):
    with_fc = get_model(depth)
    load_strictly(with_fc, load_file(folder / "image_with_fc.safetensors"))
    without_fc = get_model(depth)
    without_fc.fc = nn.Identity()
    load_strictly(without_fc, torch.load(folder / "image_without_fc.pth", weights_only=True))
    for model in (with_fc, without_fc):
        assert_same_bits(model.state_dict(), expected)


def check_classifier(case_folder):
    expected = load_file(case_folder / "model.safetensors")
    saved = load_file(case_folder / "saved/model.safetensors")
    model = get_model("resnet18", num_classes=len(expected["fc.bias"]))
    load_strictly(model, saved)
    counters = {name for name in expected if name.endswith("num_batches_tracked")}
    assert_same_bits(saved, {name: expected[name] for name in expected.keys() - counters})
    return expected


def check_text_encoder(folder, expected):
    model, info = transformers.AutoModel.from_pretrained(folder, output_loading_info=True)
    untrained = {"pooler.dense.weight", "pooler.dense.bias"}
    assert set(info.pop("missing_keys")) in (set(), untrained)
    assert not any(info.values()), info
    assert set(model.state_dict()) - set(expected) <= untrained
    assert_same_bits(model.state_dict(), expected)


def check_tokenizer(case_folder, folder):
    ours = json.loads((folder / "token_ids.json").read_text())
    for source in (case_folder, folder / "text_encoder"):
        tokenizer = transformers.AutoTokenizer.from_pretrained(source)
        encoded = tokenizer(TEXTS, truncation=True, max_length=MAX_TOKENS)
        assert encoded["input_ids"] == ours, f"{source}: {encoded['input_ids']} {ours}"


def check_colab(case, case_folder, folder, expected):
    config = transformers.AutoConfig.from_pretrained(folder / "text_encoder")
    model = Colab(case["resnet"], config)
    load_strictly(model, torch.load(folder / "model.pth", weights_only=True))
    assert_same_bits(our_names(model.state_dict()), expected)

    inputs = load_file(case_folder / "io.safetensors")
    inputs = {name: tensor for name, tensor in inputs.items() if name not in case["outputs"]}
    found = evaluate("whole", model, inputs)
    ours = load_file(case_folder / "ours.safetensors")
    for name, limits in case["outputs"].items():
        difference = (found[name].flatten() - ours[name]).abs().max().item()
        assert difference <= limits["tolerance"], f"{name}: {difference}"


def check_own_module(case, case_folder, folder):
    """The export's `convirt_model.py` gives the unit vectors of PyTorch's outputs."""
    model = load(folder)
    inputs = load_file(case_folder / "io.safetensors")
    tokens = {name: tensor for name, tensor in inputs.items() if tensor.dtype == torch.int64}
    with torch.no_grad():
        outputs = {
            "image_embedding": model.encode_images(inputs["images"]),
            "text_embedding": model.encode_texts(tokens),
        }
    for name, output in outputs.items():
        expected = nn.functional.normalize(inputs[name])
        difference = (output - expected).abs().max().item()
        assert difference <= 1e-4, f"{folder}: {name}: {difference}"
    ours = json.loads((case_folder / "exported/token_ids.json").read_text())
    tokens = model.tokenizer(TEXTS, truncation=True, max_length=model.max_tokens)
    assert tokens["input_ids"] == ours, folder


def check(root):
    for case in Cases.read(root):
        case_folder = root / case["name"]
        if case["kind"] == "classifier":
            expected = check_classifier(case_folder)
            print(f"{case['name']}: {len(expected)} tensors came back bit for bit")
        if case["kind"] != "whole":
            continue
        folder = case_folder / "exported"
        expected = load_file(case_folder / "model.safetensors")
        check_image_encoder(folder, case["resnet"], part(expected, "image_encoder."))
        check_text_encoder(folder / "text_encoder", part(expected, "text_encoder."))
        check_tokenizer(case_folder, folder)
        heads = {name: tensor for name, tensor in expected.items() if "_projection." in name}
        found = load_file(folder / "projections.safetensors")
        assert set(found) == set(heads) and len(heads) == 8
        assert_same_bits(found, heads)
        check_colab(case, case_folder, folder, expected)
        check_own_module(case, case_folder, folder / "model")
        print(f"{case['name']}: {len(expected)} tensors came back bit for bit")


def print_table(root):
    """Largest differences, over the cases of a network; and the largest in units of its limit."""
    differences = json.loads((root / "differences.json").read_text())
    rows = {}
    for case in Cases.read(root):
        networks = [case["resnet"], case["text"]]
        row = rows.setdefault(" + ".join(filter(None, networks)) or case["kind"], [0, 0.0, 0.0, 0.0, 0.0])
        row[0] += 1
        for name, limits in case["outputs"].items():
            ours = differences[case["name"]][name]
            of_limit = ours / limits["tolerance"]
            found = (ours, limits["torch_error"], limits["scale"], of_limit)
            row[1:] = map(max, row[1:], found)
    print("| network | cases | largest output | ours − PyTorch's | ", end="")
    print("PyTorch's float32 − float64 | of limit |")
    print("|---|---|---|---|---|---|")
    for network, (count, ours, torch_error, scale, of_limit) in rows.items():
        print(
            f"| {network} | {count} | {scale:.1f} | {ours:.1e} | {torch_error:.1e} "
            f"| {of_limit:.2f} |"
        )


def run(seed):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write(root, seed)
        command = "cargo test --workspace --test integration interop -- --nocapture"
        test = subprocess.run(
            command.split(),
            cwd=Path(__file__).parents[2],
            env=os.environ | {"CONVIRT_INTEROP": folder},
        )
        if test.returncode != 0:
            sys.exit(test.returncode)
        print_table(root)
        check(root)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("phase", nargs="?", choices=["run", "write", "check"], default="run")
    parser.add_argument("folder", nargs="?", type=Path, help="for `write` and `check`")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if (arguments.phase == "run") != (arguments.folder is None):
        parser.error("`write` and `check` need a folder, `run` takes none")
    match arguments.phase:
        case "write":
            write(arguments.folder, arguments.seed)
        case "check":
            print_table(arguments.folder)
            check(arguments.folder)
        case "run":
            run(arguments.seed)


if __name__ == "__main__":
    main()
