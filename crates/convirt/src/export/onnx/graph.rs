//! Builds ONNX graphs from operations and from the layers of our networks.

use burn::module::Param;
use burn::nn::conv::Conv2d;
use burn::nn::{LayerNorm, Linear};
use burn::tensor::{DType, Tensor};
use convirt_model::{BatchNorm, ProjectionHead};

use crate::weights::Layout;
use crate::weights::onnx_proto::{
    Attribute, Dimension, Graph, ModelProto, Node, Opset, Shape, TensorProto, TensorType, Type,
    ValueInfo, data_type,
};

/// The epsilon of PyTorch's batch norms.
const BATCH_NORM_EPSILON: f32 = 1e-5;

/// The version of the operator set.
///
/// Version 17 added `LayerNormalization`, and 18 added reductions whose axes are an input.
const OPSET: i64 = 18;

/// The element types of our graphs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub(super) enum Element {
    Float = data_type::FLOAT,
    Int64 = data_type::INT64,
}

/// Builds a graph.
///
/// Every value is represented by its name, which is the name of the node that computes it, or the
/// name of a weight. Weights have the names and shapes of a file with the given layout.
pub(super) struct Builder<'a> {
    graph: Graph,
    layout: &'a Layout,
}

impl<'a> Builder<'a> {
    /// Creates an empty graph.
    pub fn new(layout: &'a Layout) -> Self {
        Self {
            graph: Graph::default(),
            layout,
        }
    }

    /// Declares an input. A dimension that is not a number is the name of a dynamic dimension.
    pub fn input(&mut self, name: &str, element: Element, shape: &[&str]) {
        self.graph.input.push(value(name, element, shape));
    }

    /// Adds an operation and returns its value.
    pub fn op(&mut self, op_type: &str, inputs: &[&str]) -> String {
        self.op_with(op_type, inputs, Vec::new())
    }

    /// Adds an operation with attributes and returns its value.
    pub fn op_with(&mut self, op_type: &str, inputs: &[&str], attribute: Vec<Attribute>) -> String {
        let name = format!("{op_type}_{}", self.graph.node.len());
        self.graph.node.push(Node {
            input: inputs.iter().map(ToString::to_string).collect(),
            output: vec![name.clone()],
            name: name.clone(),
            op_type: op_type.to_string(),
            attribute,
        });
        name
    }

    /// Adds an operation whose second input is a constant number, and returns its value.
    pub fn op_with_number(&mut self, op_type: &str, x: &str, number: f32) -> String {
        let number = self.constant(Vec::new(), Element::Float, number.to_le_bytes().to_vec());
        self.op(op_type, &[x, &number])
    }

    /// Adds a constant vector of integers, for example axes or a shape.
    pub fn integers(&mut self, numbers: &[i64]) -> String {
        let bytes = numbers.iter().flat_map(|number| number.to_le_bytes());
        self.constant(vec![numbers.len() as i64], Element::Int64, bytes.collect())
    }

    /// Adds a conversion to another element type.
    pub fn cast(&mut self, x: &str, element: Element) -> String {
        self.op_with("Cast", &[x], vec![int("to", element as i64)])
    }

    /// Adds a change of shape; 0 keeps a dimension, and -1 infers it.
    pub fn reshape(&mut self, x: &str, shape: &[i64]) -> String {
        let shape = self.integers(shape);
        self.op("Reshape", &[x, &shape])
    }

    /// Adds an embedding layer.
    pub fn lookup(&mut self, path: &str, table: &Param<Tensor<2>>, rows: &str) -> String {
        let table = self.weights(format!("{path}.weight"), table.val());
        self.op("Gather", &[&table, rows])
    }

    /// Adds a linear layer.
    pub fn linear(&mut self, path: &str, linear: &Linear, x: &str) -> String {
        let weight = linear.weight.val().transpose();
        let weight = self.weights(format!("{path}.weight"), weight);
        let weight = self.op_with("Transpose", &[&weight], vec![ints("perm", &[1, 0])]);
        let product = self.op("MatMul", &[x, &weight]);
        match &linear.bias {
            Some(bias) => {
                let bias = self.weights(format!("{path}.bias"), bias.val());
                self.op("Add", &[&product, &bias])
            }
            None => product,
        }
    }

    /// Adds a layer normalization.
    pub fn layer_norm(&mut self, path: &str, norm: &LayerNorm, epsilon: f64, x: &str) -> String {
        let gamma = self.weights(format!("{path}.weight"), norm.gamma.val());
        let beta = norm.beta.as_ref();
        let beta = beta.map(|beta| self.weights(format!("{path}.bias"), beta.val()));
        let inputs: Vec<&str> = [x, &gamma].into_iter().chain(beta.as_deref()).collect();
        self.op_with(
            "LayerNormalization",
            &inputs,
            vec![float("epsilon", epsilon as f32)],
        )
    }

    /// Adds a convolution and its batch normalization.
    ///
    /// The padding keeps the height and width, apart from the stride.
    pub fn convolution(
        &mut self,
        (conv_path, conv): (&str, &Conv2d),
        (norm_path, norm): (&str, &BatchNorm),
        x: &str,
    ) -> String {
        let [_, _, height, width] = conv.weight.dims();
        let [y_pad, x_pad] = [height, width].map(|size| (size / 2) as i64);
        let weight = self.weights(format!("{conv_path}.weight"), conv.weight.val());
        let attributes = vec![
            ints("strides", &conv.stride.map(|stride| stride as i64)),
            ints("pads", &[y_pad, x_pad, y_pad, x_pad]),
        ];
        let feature_map = self.op_with("Conv", &[x, &weight], attributes);
        let [gamma, beta, mean, variance] = [
            ("weight", norm.gamma.val()),
            ("bias", norm.beta.val()),
            ("running_mean", norm.running_mean.value_sync()),
            ("running_var", norm.running_var.value_sync()),
        ]
        .map(|(name, tensor)| self.weights(format!("{norm_path}.{name}"), tensor));
        let inputs = [feature_map.as_str(), &gamma, &beta, &mean, &variance];
        let epsilon = float("epsilon", BATCH_NORM_EPSILON);
        self.op_with("BatchNormalization", &inputs, vec![epsilon])
    }

    /// Adds the projection head and the outputs `features` and `embedding`; returns the file.
    pub fn finish(
        mut self,
        name: &str,
        features: &str,
        (path, head): (&str, &ProjectionHead),
    ) -> ModelProto {
        let hidden = self.linear(&format!("{path}.linear1"), &head.linear1, features);
        let hidden = self.op("Relu", &[&hidden]);
        let embedding = self.linear(&format!("{path}.linear2"), &head.linear2, &hidden);
        let [d_features, _] = head.linear1.weight.dims();
        let [_, d_embedding] = head.linear2.weight.dims();
        for (name, value_name, width) in [
            ("features", features, d_features),
            ("embedding", &embedding, d_embedding),
        ] {
            let node = Node {
                input: vec![value_name.to_string()],
                output: vec![name.to_string()],
                name: name.to_string(),
                op_type: "Identity".to_string(),
                attribute: Vec::new(),
            };
            self.graph.node.push(node);
            let output = value(name, Element::Float, &["batch", &width.to_string()]);
            self.graph.output.push(output);
        }
        self.graph.name = name.to_string();
        ModelProto {
            // The version of the file format that was released with opset 18.
            ir_version: 8,
            producer_name: "convirt".to_string(),
            graph: Some(self.graph),
            opset_import: vec![Opset { version: OPSET }],
            metadata_props: Vec::new(),
        }
    }

    /// Adds the weights of the parameter at `path`, with the name of the layout.
    fn weights<const D: usize>(&mut self, path: String, tensor: Tensor<D>) -> String {
        let name = self.layout.name_of(&path);
        let data = tensor.into_data().convert_dtype(DType::F32);
        let dims = data.shape().iter().map(|&dim| dim as i64).collect();
        self.initializer(name, dims, Element::Float, data.bytes().to_vec())
    }

    fn constant(&mut self, dims: Vec<i64>, element: Element, bytes: Vec<u8>) -> String {
        let name = format!("constant_{}", self.graph.initializer.len());
        self.initializer(name, dims, element, bytes)
    }

    fn initializer(
        &mut self,
        name: String,
        dims: Vec<i64>,
        element: Element,
        raw_data: Vec<u8>,
    ) -> String {
        self.graph.initializer.push(TensorProto {
            dims,
            data_type: element as i32,
            name: name.clone(),
            raw_data,
            ..TensorProto::default()
        });
        name
    }
}

/// Describes an input or output.
fn value(name: &str, element: Element, shape: &[&str]) -> ValueInfo {
    let dimension = |text: &&str| Dimension {
        value: text.parse().ok(),
        param: text.parse::<i64>().is_err().then(|| text.to_string()),
    };
    let shape = Shape {
        dim: shape.iter().map(dimension).collect(),
    };
    ValueInfo {
        name: name.to_string(),
        r#type: Some(Type {
            tensor: Some(TensorType {
                elem_type: element as i32,
                shape: Some(shape),
            }),
        }),
    }
}

fn attribute(name: &str, r#type: i32) -> Attribute {
    Attribute {
        name: name.to_string(),
        r#type,
        ..Attribute::default()
    }
}

pub(super) fn float(name: &str, number: f32) -> Attribute {
    Attribute {
        f: Some(number),
        ..attribute(name, 1)
    }
}

pub(super) fn int(name: &str, number: i64) -> Attribute {
    Attribute {
        i: Some(number),
        ..attribute(name, 2)
    }
}

pub(super) fn ints(name: &str, numbers: &[i64]) -> Attribute {
    Attribute {
        ints: numbers.to_vec(),
        ..attribute(name, 7)
    }
}
