//! The key map: what each library calls the parameters of our networks.
//!
//! Paths here are those of the modules of `convirt-model`, with PyTorch's names for a layer's own
//! parameters (`weight`, `bias`, `running_mean`, `running_var`).

use convirt_model::BertFamily;

/// The beginning of a path: ours, theirs. `#` is a number, the same in both.
type Rename = (&'static str, &'static str);

/// torchvision's and timm's ResNets.
const TORCHVISION: &[Rename] = &[
    ("layer#.#.downsample.conv", "layer#.#.downsample.0"),
    ("layer#.#.downsample.bn", "layer#.#.downsample.1"),
];

/// A torchvision ResNet whose children were put into an `nn.Sequential`, as ConVIRT-Colab does;
/// in torchvision's names first.
const SEQUENTIAL: &[Rename] = &[
    ("conv1", "0"),
    ("bn1", "1"),
    ("layer1", "4"),
    ("layer2", "5"),
    ("layer3", "6"),
    ("layer4", "7"),
];

/// `transformers`' BERT, RoBERTa and XLM-RoBERTa.
const BERT: &[Rename] = &[
    ("embeddings.layer_norm", "embeddings.LayerNorm"),
    (
        "layers.#.attention.query",
        "encoder.layer.#.attention.self.query",
    ),
    (
        "layers.#.attention.key",
        "encoder.layer.#.attention.self.key",
    ),
    (
        "layers.#.attention.value",
        "encoder.layer.#.attention.self.value",
    ),
    (
        "layers.#.attention.output",
        "encoder.layer.#.attention.output.dense",
    ),
    (
        "layers.#.attention_norm",
        "encoder.layer.#.attention.output.LayerNorm",
    ),
    (
        "layers.#.intermediate",
        "encoder.layer.#.intermediate.dense",
    ),
    ("layers.#.output", "encoder.layer.#.output.dense"),
    ("layers.#.output_norm", "encoder.layer.#.output.LayerNorm"),
];

/// `transformers`' DistilBERT.
const DISTILBERT: &[Rename] = &[
    ("embeddings.layer_norm", "embeddings.LayerNorm"),
    (
        "layers.#.attention.query",
        "transformer.layer.#.attention.q_lin",
    ),
    (
        "layers.#.attention.key",
        "transformer.layer.#.attention.k_lin",
    ),
    (
        "layers.#.attention.value",
        "transformer.layer.#.attention.v_lin",
    ),
    (
        "layers.#.attention.output",
        "transformer.layer.#.attention.out_lin",
    ),
    (
        "layers.#.attention_norm",
        "transformer.layer.#.sa_layer_norm",
    ),
    ("layers.#.intermediate", "transformer.layer.#.ffn.lin1"),
    ("layers.#.output", "transformer.layer.#.ffn.lin2"),
    (
        "layers.#.output_norm",
        "transformer.layer.#.output_layer_norm",
    ),
];

/// ConVIRT-Colab's projection heads, behind `res_` and `bert_`.
const COLAB_HEAD: &[Rename] = &[("linear1", "l1"), ("linear2", "l2")];

/// Tensors of torchvision, timm and `transformers` that our encoders have no place for: batch
/// counters, classifiers, poolers, the heads of pretraining and of tasks. `*` is anything.
const PASSED_OVER: &[&str] = &[
    "*.num_batches_tracked",
    "fc.*",
    "embeddings.position_ids",
    "pooler.*",
    "cls.*",
    "lm_head.*",
    "vocab_transform.*",
    "vocab_layer_norm.*",
    "vocab_projector.*",
    "pre_classifier.*",
    "classifier.*",
    "qa_outputs.*",
];

/// One library's names for the parameters of a module.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Naming(&'static [&'static [Rename]]);

impl Naming {
    /// Our own.
    pub const OURS: Self = Self(&[]);
    pub const TORCHVISION: Self = Self(&[TORCHVISION]);
    pub const SEQUENTIAL: Self = Self(&[TORCHVISION, SEQUENTIAL]);
    pub const BERT: Self = Self(&[BERT]);
    pub const DISTILBERT: Self = Self(&[DISTILBERT]);
    const COLAB_HEAD: Self = Self(&[COLAB_HEAD]);

    /// `transformers`', of a family.
    pub fn for_family(family: BertFamily) -> Self {
        match family {
            BertFamily::Bert | BertFamily::Roberta | BertFamily::XlmRoberta => Self::BERT,
            BertFamily::DistilBert => Self::DISTILBERT,
        }
    }

    /// The library's name for the parameter at `path`.
    pub fn of(self, path: &str) -> String {
        let renamed = |path: String, table: &&[Rename]| {
            let rename = |(ours, theirs): &Rename| replaced(&path, ours, theirs);
            table.iter().find_map(rename).unwrap_or(path)
        };
        self.0.iter().fold(path.to_string(), renamed)
    }
}

/// What the tensors of a network are called in a file.
#[derive(Debug)]
pub(crate) struct Layout {
    /// What all names begin with.
    pub prefix: String,
    parts: Vec<Part>,
    /// Whether the parts are all that a file is to have.
    is_whole: bool,
}

/// The parameters whose paths begin with `ours`.
#[derive(Debug)]
struct Part {
    ours: &'static str,
    theirs: &'static str,
    naming: Naming,
}

impl Layout {
    /// An encoder by itself.
    pub fn encoder(prefix: &str, naming: Naming) -> Self {
        Self {
            prefix: prefix.to_string(),
            parts: vec![Part {
                ours: "",
                theirs: "",
                naming,
            }],
            is_whole: true,
        }
    }

    /// A whole model of this crate.
    pub fn convirt(image: Naming, text: Naming) -> Self {
        Self::whole([
            ("image_encoder.", "image_encoder.", image),
            ("text_encoder.", "text_encoder.", text),
            ("image_projection.", "image_projection.", Naming::OURS),
            ("text_projection.", "text_projection.", Naming::OURS),
            ("loss.", "loss.", Naming::OURS),
        ])
    }

    /// ConVIRT-Colab's `model.pth`. Its temperature is a setting and not in the file.
    pub fn colab(image: Naming, text: Naming) -> Self {
        Self::whole([
            ("image_encoder.", "res_features.", image),
            ("text_encoder.", "bert_model.", text),
            ("image_projection.", "res_", Naming::COLAB_HEAD),
            ("text_projection.", "bert_", Naming::COLAB_HEAD),
            ("loss.", "loss.", Naming::OURS),
        ])
    }

    fn whole(parts: [(&'static str, &'static str, Naming); 5]) -> Self {
        let part = |(ours, theirs, naming)| Part {
            ours,
            theirs,
            naming,
        };
        Self {
            prefix: String::new(),
            parts: parts.map(part).into(),
            is_whole: true,
        }
    }

    /// The image encoder and its projection of such a model, the rest passed over.
    pub fn image_side(mut self) -> Self {
        self.parts.retain(|part| part.ours.starts_with("image_"));
        self.is_whole = false;
        self
    }

    /// The file's name for the parameter at `path`.
    pub fn name_of(&self, path: &str) -> String {
        let part = self.parts.iter().find(|part| path.starts_with(part.ours));
        let theirs = match part {
            Some(part) => part.theirs.to_string() + &part.naming.of(&path[part.ours.len()..]),
            None => path.to_string(),
        };
        self.prefix.clone() + &theirs
    }

    /// Whether the network has no place for a tensor of this name, and needs none.
    pub fn passes_over(&self, name: &str) -> bool {
        let Some(name) = name.strip_prefix(&self.prefix) else {
            return true;
        };
        let parts = self.parts.iter();
        let mut names = parts.filter_map(|part| name.strip_prefix(part.theirs));
        let mut is_elsewhere = !self.is_whole;
        let is_passed_over = names.any(|name| {
            is_elsewhere = false;
            PASSED_OVER.iter().any(|pattern| matches(pattern, name))
        });
        is_passed_over || is_elsewhere
    }
}

/// Whether a prefix ends where a name's part ends.
pub(super) fn is_whole(prefix: &str) -> bool {
    prefix.is_empty() || prefix.ends_with('.')
}

/// Whether a name is of a pattern, in which `*` is anything.
pub(in crate::weights) fn matches(pattern: &str, name: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(name) = name.strip_prefix(start) else {
        return false;
    };
    (0..=name.len())
        .filter(|&at| name.is_char_boundary(at))
        .any(|at| matches(rest, &name[at..]))
}

/// `path` with its beginning renamed, if it is `ours`.
fn replaced(path: &str, ours: &str, theirs: &str) -> Option<String> {
    let mut numbers = Vec::new();
    let mut rest = path;
    for (index, literal) in ours.split('#').enumerate() {
        if index > 0 {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (number, after) = rest.split_at(digits);
            numbers.push(number);
            rest = after;
        }
        rest = rest.strip_prefix(literal)?;
    }
    if !rest.starts_with('.') {
        return None;
    }
    let mut name = String::new();
    let mut numbers = numbers.into_iter();
    for (index, literal) in theirs.split('#').enumerate() {
        if index > 0 {
            name += numbers.next()?;
        }
        name += literal;
    }
    Some(name + rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_library_has_its_names() {
        for (naming, ours, theirs) in [
            (
                Naming::TORCHVISION,
                "layer2.0.downsample.bn.running_var",
                "layer2.0.downsample.1.running_var",
            ),
            (
                Naming::TORCHVISION,
                "layer2.11.conv1.weight",
                "layer2.11.conv1.weight",
            ),
            (
                Naming::SEQUENTIAL,
                "layer2.0.downsample.conv.weight",
                "5.0.downsample.0.weight",
            ),
            (Naming::SEQUENTIAL, "layer4.2.bn1.bias", "7.2.bn1.bias"),
            (Naming::SEQUENTIAL, "bn1.bias", "1.bias"),
            (
                Naming::BERT,
                "layers.10.output.weight",
                "encoder.layer.10.output.dense.weight",
            ),
            (
                Naming::BERT,
                "layers.10.output_norm.bias",
                "encoder.layer.10.output.LayerNorm.bias",
            ),
            (
                Naming::BERT,
                "embeddings.word_embeddings.weight",
                "embeddings.word_embeddings.weight",
            ),
            (
                Naming::DISTILBERT,
                "layers.3.attention.output.bias",
                "transformer.layer.3.attention.out_lin.bias",
            ),
            (Naming::COLAB_HEAD, "linear2.weight", "l2.weight"),
            (Naming::OURS, "linear2.weight", "linear2.weight"),
        ] {
            assert_eq!(naming.of(ours), theirs);
        }
    }

    #[test]
    fn of_a_whole_model_the_image_side_passes_over_the_rest() {
        let whole = Layout::convirt(Naming::TORCHVISION, Naming::BERT);
        assert!(!whole.passes_over("text_encoder.embeddings.LayerNorm.weight"));
        let side = whole.image_side();
        assert!(side.passes_over("text_encoder.embeddings.LayerNorm.weight"));
        assert!(side.passes_over("loss.log_scale"));
        assert!(!side.passes_over("image_encoder.layer5.0.conv1.weight"));
        assert!(side.passes_over("image_encoder.fc.weight"));
        assert_eq!(
            side.name_of("image_encoder.layer2.0.downsample.conv.weight"),
            "image_encoder.layer2.0.downsample.0.weight"
        );
    }

    #[test]
    fn patterns_match_whole_names() {
        let layout = Layout::encoder("module.", Naming::TORCHVISION);
        assert!(layout.passes_over("module.pooler.dense.weight"));
        assert!(layout.passes_over("module.layer1.0.bn1.num_batches_tracked"));
        assert!(layout.passes_over("optimizer.state"));
        assert!(!layout.passes_over("module.layer1.0.fc.weight"));
        assert!(matches("a*c*", "abccd") && matches("*", "") && !matches("a*c", "abcd"));
    }
}
