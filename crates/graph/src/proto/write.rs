//! From the domain types to messages.

use indexmap::IndexMap;

use super::sparse::sparse;
use super::{
    AttributeProto, DimensionProto, EXTERNAL, FunctionProto, GraphProto, Kept, ModelProto, NodeProto, OWN_NAME,
    OperatorSetIdProto, Rest, StringStringEntryProto, TensorProto, TensorShapeProto, TensorTypeProto, TypeProto,
    ValueInfoProto, kind,
};
use crate::{Attribute, Dimension, Function, Graph, Model, Node, Tensor, Value, ValueInfo};

/// How an initializer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Storage {
    /// All of it.
    Inside,
    /// Without its content: it is said to be in another file, which there is not.
    Apart,
    /// As coordinates and values, if that is smaller.
    Sparse,
}

/// The version of the file format that has sparse tensors.
const SPARSE_TENSORS: i64 = 6;

/// The message of a model, with its initializers as `storage` says.
pub(crate) fn encode(model: &Model, storage: impl Fn(&Tensor) -> Storage) -> Kept<ModelProto> {
    let mut graph = graph(&model.graph);
    let initializers = std::mem::take(&mut graph.message.initializer);
    for (mut initializer, content) in initializers.into_iter().zip(model.graph.initializers.values()) {
        match storage(content) {
            Storage::Inside => {}
            Storage::Apart => {
                let location = StringStringEntryProto { key: Some("location".into()), value: Some("apart".into()) };
                initializer.message.raw_data = None;
                initializer.message.external_data = vec![Kept { message: location, rest: Vec::new() }];
                initializer.message.data_location = Some(EXTERNAL);
            }
            Storage::Sparse => {
                if let Some(sparse) = sparse(&initializer, content) {
                    graph.message.sparse_initializer.push(sparse);
                    continue;
                }
            }
        }
        graph.message.initializer.push(initializer);
    }
    let has_sparse = !graph.message.sparse_initializer.is_empty();
    let message = ModelProto {
        ir_version: Some(if has_sparse { model.ir_version.max(SPARSE_TENSORS) } else { model.ir_version }),
        producer_name: some(&model.producer),
        graph: Some(graph),
        opset_import: opsets(&model.opsets, &model.rest),
        metadata_props: properties(&model.metadata, &model.rest),
        functions: model.functions.iter().map(function).collect(),
    };
    kept(message, &model.rest)
}

fn opsets(opsets: &IndexMap<String, i64>, rest: &Rest) -> Vec<Kept<OperatorSetIdProto>> {
    let opset = |(domain, &version): (&String, &i64)| {
        let message = OperatorSetIdProto { domain: Some(domain.clone()), version: Some(version) };
        kept(message, &rest.part(&format!("opset {domain}")))
    };
    opsets.iter().map(opset).collect()
}

fn function(function: &Function) -> Kept<FunctionProto> {
    let names = |infos: &[ValueInfo]| infos.iter().map(|info| info.value.to_string()).collect();
    let default =
        |(name, a): (&String, &Attribute)| attribute(name, a, &function.rest.part(&format!("attribute {name}")));
    let message = FunctionProto {
        name: Some(function.name.clone()),
        input: names(&function.body.inputs),
        output: names(&function.body.outputs),
        attribute: function.attributes.clone(),
        node: function.body.nodes.iter().map(node).collect(),
        opset_import: opsets(&function.opsets, &function.rest),
        domain: some(&function.domain),
        attribute_proto: function.defaults.iter().map(default).collect(),
        overload: some(&function.overload),
    };
    kept(message, &function.rest)
}

fn graph(graph: &Graph) -> Kept<GraphProto> {
    let message = GraphProto {
        node: graph.nodes.iter().map(node).collect(),
        name: some(&graph.name),
        initializer: graph.initializers.iter().map(|(name, t)| tensor(t, Some(name))).collect(),
        input: graph.inputs.iter().map(value_info).collect(),
        output: graph.outputs.iter().map(value_info).collect(),
        value_info: graph.value_info.iter().map(value_info).collect(),
        sparse_initializer: Vec::new(),
    };
    kept(message, &graph.rest)
}

fn node(node: &Node) -> Kept<NodeProto> {
    let names = |values: &[Option<Value>]| {
        values.iter().map(|v| v.as_ref().map_or_else(String::new, Value::to_string)).collect()
    };
    let message = NodeProto {
        input: names(&node.inputs),
        output: names(&node.outputs),
        name: some(&node.name),
        op_type: Some(node.operator.clone()),
        attribute: node.attributes.iter().map(|(name, a)| attribute(name, a, &node.rest.part(name))).collect(),
        domain: some(&node.domain),
        overload: some(&node.overload),
    };
    kept(message, &node.rest)
}

fn attribute(name: &str, attribute: &Attribute, rest: &Rest) -> Kept<AttributeProto> {
    let mut message = AttributeProto { name: Some(name.to_owned()), ..AttributeProto::default() };
    let kind = match attribute {
        Attribute::Opaque(encoded) => return Kept { message: AttributeProto::default(), rest: encoded.to_vec() },
        Attribute::Reference { name, kind } => {
            message.ref_attr_name = Some(name.clone());
            *kind
        }
        Attribute::Float(v) => {
            message.f = Some(*v);
            kind::FLOAT
        }
        Attribute::Int(v) => {
            message.i = Some(*v);
            kind::INT
        }
        Attribute::String(v) => {
            message.s = Some(v.clone());
            kind::STRING
        }
        Attribute::Tensor(v) => {
            message.t = Some(tensor(v, None));
            kind::TENSOR
        }
        Attribute::Graph(v) => {
            message.g = Some(graph(v));
            kind::GRAPH
        }
        Attribute::Floats(v) => {
            message.floats.clone_from(v);
            kind::FLOATS
        }
        Attribute::Ints(v) => {
            message.ints.clone_from(v);
            kind::INTS
        }
        Attribute::Strings(v) => {
            message.strings.clone_from(v);
            kind::STRINGS
        }
    };
    message.kind = Some(kind);
    kept(message, rest)
}

fn value_info(info: &ValueInfo) -> Kept<ValueInfoProto> {
    let dimension = |(axis, dim): (usize, &Dimension)| {
        let message = match dim {
            // A tensor of more than 2^63 elements in one dimension cannot exist.
            Dimension::Known(size) => DimensionProto { dim_value: i64::try_from(*size).ok(), dim_param: None },
            Dimension::Symbol(name) => DimensionProto { dim_value: None, dim_param: Some(name.clone()) },
            Dimension::Unknown => DimensionProto::default(),
        };
        kept(message, &info.rest.part(&format!("dim {axis}")))
    };
    let shape = info.shape.as_ref().map(|dims| {
        let message = TensorShapeProto { dim: dims.iter().enumerate().map(dimension).collect() };
        kept(message, &info.rest.part("shape"))
    });
    let tensor = info
        .dtype
        .map(|dtype| kept(TensorTypeProto { elem_type: Some(dtype.number()), shape }, &info.rest.part("tensor")));
    let rest = info.rest.part("type");
    let stated = tensor.is_some() || !rest.is_empty();
    let message = ValueInfoProto {
        name: Some(info.value.to_string()),
        kind: stated.then(|| kept(TypeProto { tensor_type: tensor }, &rest)),
    };
    kept(message, &info.rest)
}

fn tensor(tensor: &Tensor, name: Option<&Value>) -> Kept<TensorProto> {
    let message = TensorProto {
        // Dimensions come from an i64 or from the length of something in memory.
        dims: tensor.dims().iter().map(|&d| i64::try_from(d).unwrap_or(i64::MAX)).collect(),
        data_type: Some(tensor.dtype().number()),
        name: name.map(Value::to_string),
        raw_data: tensor.dtype().size().map(|_| tensor.bytes().clone()),
        string_data: tensor.strings().map(<[_]>::to_vec).unwrap_or_default(),
        ..TensorProto::default()
    };
    let mut written = kept(message, &tensor.rest);
    if name.is_none() {
        written.rest.extend(tensor.rest.part(OWN_NAME).bytes());
    }
    written
}

fn properties(properties: &IndexMap<String, String>, rest: &Rest) -> Vec<Kept<StringStringEntryProto>> {
    let entry = |(key, value): (&String, &String)| {
        let message = StringStringEntryProto { key: Some(key.clone()), value: Some(value.clone()) };
        kept(message, &rest.part(&format!("property {key}")))
    };
    properties.iter().map(entry).collect()
}

fn kept<M>(message: M, rest: &Rest) -> Kept<M> {
    Kept { message, rest: rest.bytes() }
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}
