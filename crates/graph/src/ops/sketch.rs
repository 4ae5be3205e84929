//! Gradients of single nodes as text, for the tests of the operators.

use std::collections::HashMap;

use indexmap::IndexMap;

use crate::{
    Attribute, Canonical, DataType, Dim, Facts, Graph, Lowering, Model, Node, Shaped, Shapes, Tensor, TransformError,
    Value, ValueInfo, vjp,
};

/// The nodes that the gradient of one node consists of, one a line, between the cotangent `w` and one `x' = …` for each
/// floating-point input that is not constant.
///
/// `signature` is for example `x[n,3] c:bool[3] axes=[1] -> y[n]`: inputs with their shapes, `_` for an absent one, `=` for
/// the content of a constant, f32 where it has a decimal point and else i64; then the output.
#[track_caller]
pub(crate) fn vjp_text(operator: &str, signature: &str, attributes: &[(&str, Attribute)]) -> String {
    match try_vjp_text(operator, signature, attributes) {
        Ok(text) => text,
        Err(error) => error.to_string(),
    }
}

fn try_vjp_text(operator: &str, signature: &str, attributes: &[(&str, Attribute)]) -> Result<String, TransformError> {
    let (inputs, output) = signature.split_once(" -> ").unwrap();
    let mut shapes = Shapes::default();
    let mut graph = Graph { name: "sketch".into(), ..Graph::default() };
    let mut node = Node { name: "node".into(), ..Node::new(operator, Vec::new(), Vec::new()) };
    let mut chosen = Vec::new();
    for word in inputs.split(' ') {
        if word == "_" {
            node.inputs.push(None);
            continue;
        }
        let (value, facts) = if let Some((name, content)) = word.split_once('=') {
            let tensor = constant(content);
            let dims = tensor.dims().iter().map(|&d| Dim::Fixed(d)).collect();
            graph.initializers.insert(name.into(), tensor.clone());
            (Value::from(name), Facts { dtype: tensor.dtype(), dims, constant: Some(tensor) })
        } else {
            let (value, facts) = variable(word);
            graph.inputs.push(ValueInfo::new(value.clone(), facts.dtype, Vec::new()));
            if facts.dtype.is_float() {
                chosen.push(value.clone());
            }
            (value, facts)
        };
        node.inputs.push(Some(value.clone()));
        shapes.0.insert(value, facts);
    }
    let (y, facts) = variable(output);
    graph.outputs.push(ValueInfo::new(y.clone(), facts.dtype, Vec::new()));
    shapes.0.insert(y.clone(), facts);
    node.outputs.push(Some(y.clone()));
    node.attributes = attributes.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    graph.nodes.push(node);

    let canonical = Canonical { model: Model::new(Canonical::OPSET, graph), adaptations: Vec::new() };
    let shaped = Shaped { canonical, shapes, lowering: Lowering::Cpu };
    let derived = vjp(&shaped, &[y], &chosen)?;
    let mut lines: Vec<String> = Vec::new();
    let names = Names::new(&derived.model.graph, &derived.cotangents[0]);
    for node in &derived.model.graph.nodes {
        let forward = node.name == "node";
        if !forward || node.outputs.len() > 1 {
            lines.push(names.line(node));
        }
    }
    for (x, product) in chosen.iter().zip(&derived.products) {
        lines.push(format!("{x}' = {}", names.short(product)));
    }
    Ok(lines.join("\n"))
}

/// `x:bool[n,3]`.
fn variable(word: &str) -> (Value, Facts) {
    let (name, dims) = word.trim_end_matches(']').split_once('[').unwrap();
    let (name, dtype) = match name.split_once(':') {
        Some((name, "bool")) => (name, DataType::Bool),
        Some((name, "f16")) => (name, DataType::Float16),
        _ => (name, DataType::Float),
    };
    let dims = dims.split(',').filter(|d| !d.is_empty()).map(|d| match d {
        "n" => Dim::Batch(1),
        size => Dim::Fixed(size.parse().unwrap()),
    });
    (name.into(), Facts { dtype, dims: dims.collect(), constant: None })
}

/// `[1,2]`, `[0.5]` or, for a scalar, `0.5`.
fn constant(text: &str) -> Tensor {
    let numbers: Vec<&str> = text.trim_matches(['[', ']']).split(',').filter(|w| !w.is_empty()).collect();
    if !text.contains('.') {
        return Tensor::ints(&numbers.iter().map(|w| w.parse().unwrap()).collect::<Vec<i64>>());
    }
    let numbers: Vec<f32> = numbers.iter().map(|w| w.parse().unwrap()).collect();
    let tensor = Tensor::floats(&[numbers.len()], &numbers);
    if text.starts_with('[') { tensor } else { tensor.reshaped(Vec::new()).unwrap() }
}

/// Short names of the values of a derived graph.
struct Names(HashMap<Value, String>);

impl Names {
    fn new(graph: &Graph, cotangent: &Value) -> Self {
        let mut names = HashMap::from([(cotangent.clone(), "w".to_owned())]);
        for (value, tensor) in &graph.initializers {
            if value.as_str().starts_with("constant.") {
                let numbers: Vec<String> = tensor.to_f64().unwrap().iter().map(f64::to_string).collect();
                let text = numbers.join(", ");
                names.insert(value.clone(), if tensor.dims().is_empty() { text } else { format!("[{text}]") });
            }
        }
        Self(names)
    }

    fn short<'a>(&'a self, value: &'a Value) -> &'a str {
        self.0.get(value).map_or_else(|| value.as_str().trim_start_matches("vjp/node/"), String::as_str)
    }

    fn line(&self, node: &Node) -> String {
        let list = |values: &[Option<Value>]| {
            let names: Vec<&str> = values.iter().map(|v| v.as_ref().map_or("_", |v| self.short(v))).collect();
            names.join(", ")
        };
        let mut line = format!("{} = {}({})", list(&node.outputs), node.operator, list(&node.inputs));
        let attributes: &IndexMap<String, Attribute> = &node.attributes;
        for (name, value) in attributes {
            line += &match value {
                Attribute::Int(v) => format!(" {name}={v}"),
                Attribute::Float(v) if *v == f32::MAX => format!(" {name}=MAX"),
                Attribute::Float(v) => format!(" {name}={v}"),
                Attribute::Ints(v) => format!(" {name}={v:?}"),
                other => format!(" {name}={other:?}"),
            };
        }
        line
    }
}
