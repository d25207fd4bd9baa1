//! Maps the paths of our parameters to the names that each library uses.
//!
//! A path here is the path in a module of `convirt-model`. Its last part is PyTorch's name of the
//! layer's parameter: `weight`, `bias`, `running_mean` or `running_var`.

use convirt_model::BertFamily;

/// The start of a path in our names, and in the library's names. `#` is a number, the same in both.
type Rename = (&'static str, &'static str);

/// The names of ResNets in torchvision and timm.
const TORCHVISION: &[Rename] = &[
    ("layer#.#.downsample.conv", "layer#.#.downsample.0"),
    ("layer#.#.downsample.bn", "layer#.#.downsample.1"),
];

/// The names of a torchvision ResNet inside an `nn.Sequential`, as in ConVIRT-Colab.
///
/// The first column has torchvision's names.
const SEQUENTIAL: &[Rename] = &[
    ("conv1", "0"),
    ("bn1", "1"),
    ("layer1", "4"),
    ("layer2", "5"),
    ("layer3", "6"),
    ("layer4", "7"),
];

/// The names of BERT, RoBERTa and XLM-RoBERTa in `transformers`.
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

/// The names of DistilBERT in `transformers`.
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

/// The names of the projection heads in ConVIRT-Colab, after the prefixes `res_` and `bert_`.
const COLAB_HEAD: &[Rename] = &[("linear1", "l1"), ("linear2", "l2")];

/// Patterns of tensors that our encoders do not need. `*` matches any text.
///
/// torchvision, timm and `transformers` store them: batch counters, classifiers, poolers, and the
/// heads of pretraining and of other tasks.
const IGNORED_PATTERNS: &[&str] = &[
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
    /// The names of this crate.
    pub const OURS: Self = Self(&[]);
    pub const TORCHVISION: Self = Self(&[TORCHVISION]);
    pub const SEQUENTIAL: Self = Self(&[TORCHVISION, SEQUENTIAL]);
    pub const BERT: Self = Self(&[BERT]);
    pub const DISTILBERT: Self = Self(&[DISTILBERT]);
    const COLAB_HEAD: Self = Self(&[COLAB_HEAD]);

    /// Returns the names of a family of text encoders in `transformers`.
    pub fn for_family(family: BertFamily) -> Self {
        match family {
            BertFamily::Bert | BertFamily::Roberta | BertFamily::XlmRoberta => Self::BERT,
            BertFamily::DistilBert => Self::DISTILBERT,
        }
    }

    /// Returns the library's name of the parameter at `path`.
    pub fn name_of(self, path: &str) -> String {
        let renamed = |path: String, table: &&[Rename]| {
            let rename = |(ours, theirs): &Rename| renamed_start(&path, ours, theirs);
            table.iter().find_map(rename).unwrap_or(path)
        };
        self.0.iter().fold(path.to_string(), renamed)
    }
}

/// The names of a network's tensors in a file.
#[derive(Debug)]
pub(crate) struct Layout {
    /// The prefix of all names.
    pub prefix: String,
    parts: Vec<LayoutPart>,
    /// Whether the network uses all parts of a file, so that any other tensor is unexpected.
    is_whole: bool,
}

/// The names of the parameters whose paths start with `ours`.
#[derive(Debug)]
struct LayoutPart {
    /// The start of the path in our module.
    ours: &'static str,
    /// The start of the name in the file.
    theirs: &'static str,
    /// The names after this start.
    naming: Naming,
}

impl Layout {
    /// Returns the layout of a file with a single encoder.
    pub fn encoder(prefix: &str, naming: Naming) -> Self {
        Self {
            prefix: prefix.to_string(),
            parts: vec![LayoutPart {
                ours: "",
                theirs: "",
                naming,
            }],
            is_whole: true,
        }
    }

    /// Returns the layout of a whole model of this crate.
    pub fn convirt(image: Naming, text: Naming) -> Self {
        Self::from_parts([
            ("image_encoder.", "image_encoder.", image),
            ("text_encoder.", "text_encoder.", text),
            ("image_projection.", "image_projection.", Naming::OURS),
            ("text_projection.", "text_projection.", Naming::OURS),
            ("loss.", "loss.", Naming::OURS),
        ])
    }

    /// Returns the layout of ConVIRT-Colab's `model.pth`, which does not contain the temperature.
    pub fn colab(image: Naming, text: Naming) -> Self {
        Self::from_parts([
            ("image_encoder.", "res_features.", image),
            ("text_encoder.", "bert_model.", text),
            ("image_projection.", "res_", Naming::COLAB_HEAD),
            ("text_projection.", "bert_", Naming::COLAB_HEAD),
            ("loss.", "loss.", Naming::OURS),
        ])
    }

    fn from_parts(parts: [(&'static str, &'static str, Naming); 5]) -> Self {
        let part = |(ours, theirs, naming)| LayoutPart {
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

    /// Returns the layout of the image side, which ignores the other parts of a whole model.
    ///
    /// The image side consists of the image encoder and its projection head.
    pub fn image_side(mut self) -> Self {
        self.parts.retain(|part| part.ours.starts_with("image_"));
        self.is_whole = false;
        self
    }

    /// Returns the file's name of the parameter at `path`.
    pub fn name_of(&self, path: &str) -> String {
        let part = self.parts.iter().find(|part| path.starts_with(part.ours));
        let theirs = match part {
            Some(part) => part.theirs.to_string() + &part.naming.name_of(&path[part.ours.len()..]),
            None => path.to_string(),
        };
        self.prefix.clone() + &theirs
    }

    /// Returns whether a tensor of this name belongs to something that the network does not need.
    pub fn ignores(&self, name: &str) -> bool {
        let Some(name) = name.strip_prefix(&self.prefix) else {
            return true;
        };
        let parts = self.parts.iter();
        let mut names = parts.filter_map(|part| name.strip_prefix(part.theirs));
        let mut is_in_unused_part = !self.is_whole;
        let is_ignored = names.any(|name| {
            is_in_unused_part = false;
            IGNORED_PATTERNS
                .iter()
                .any(|pattern| matches_pattern(pattern, name))
        });
        is_ignored || is_in_unused_part
    }
}

/// Returns whether a prefix consists of whole parts of a name, which end with dots.
pub(super) fn has_whole_parts(prefix: &str) -> bool {
    prefix.is_empty() || prefix.ends_with('.')
}

/// Returns whether a name matches a pattern, in which `*` matches any text.
pub(in crate::weights) fn matches_pattern(pattern: &str, name: &str) -> bool {
    let Some((start, remaining_pattern)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(name) = name.strip_prefix(start) else {
        return false;
    };
    (0..=name.len())
        .filter(|&index| name.is_char_boundary(index))
        .any(|index| matches_pattern(remaining_pattern, &name[index..]))
}

/// Returns `path` with its start renamed to `theirs`, or `None` if it does not start with `ours`.
fn renamed_start(path: &str, ours: &str, theirs: &str) -> Option<String> {
    let mut numbers = Vec::new();
    let mut remaining = path;
    for (index, literal) in ours.split('#').enumerate() {
        if index > 0 {
            let digits = remaining.bytes().take_while(u8::is_ascii_digit).count();
            let (number, suffix) = remaining.split_at(digits);
            numbers.push(number);
            remaining = suffix;
        }
        remaining = remaining.strip_prefix(literal)?;
    }
    if !remaining.starts_with('.') {
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
    Some(name + remaining)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_renamed_for_each_library() {
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
            assert_eq!(naming.name_of(ours), theirs);
        }
    }

    #[test]
    fn the_image_side_ignores_the_other_parts_of_a_whole_model() {
        let whole = Layout::convirt(Naming::TORCHVISION, Naming::BERT);
        assert!(!whole.ignores("text_encoder.embeddings.LayerNorm.weight"));
        let side = whole.image_side();
        assert!(side.ignores("text_encoder.embeddings.LayerNorm.weight"));
        assert!(side.ignores("loss.log_scale"));
        assert!(!side.ignores("image_encoder.layer5.0.conv1.weight"));
        assert!(side.ignores("image_encoder.fc.weight"));
        assert_eq!(
            side.name_of("image_encoder.layer2.0.downsample.conv.weight"),
            "image_encoder.layer2.0.downsample.0.weight"
        );
    }

    #[test]
    fn patterns_match_whole_names() {
        let layout = Layout::encoder("module.", Naming::TORCHVISION);
        assert!(layout.ignores("module.pooler.dense.weight"));
        assert!(layout.ignores("module.layer1.0.bn1.num_batches_tracked"));
        assert!(layout.ignores("optimizer.state"));
        assert!(!layout.ignores("module.layer1.0.fc.weight"));
        assert!(matches_pattern("a*c*", "abccd"));
        assert!(matches_pattern("*", ""));
        assert!(!matches_pattern("a*c", "abcd"));
    }
}
