//! Models as text, one line per input, constant, node and output: for people and for snapshots in tests.

use std::fmt;

use crate::{Attribute, Dimension, Graph, Model, Node, Tensor, Value, ValueInfo};

/// Elements up to which the content of a tensor is written out.
const SHOWN: usize = 8;

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (domain, version) in &self.opsets {
            let domain = if domain.is_empty() { "opset" } else { domain };
            writeln!(f, "{domain} {version}")?;
        }
        for function in &self.functions {
            writeln!(f, "function {}.{}", function.domain, function.name)?;
            function.body.fmt(f)?;
        }
        self.graph.fmt(f)
    }
}

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for input in &self.inputs {
            writeln!(f, "input {input}")?;
        }
        for (value, tensor) in &self.initializers {
            writeln!(f, "{value} = {tensor}")?;
        }
        for node in &self.nodes {
            writeln!(f, "{node}")?;
        }
        for output in &self.outputs {
            writeln!(f, "output {output}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |values: &[Option<Value>]| {
            let names: Vec<&str> = values.iter().map(|v| v.as_ref().map_or("_", Value::as_str)).collect();
            names.join(", ")
        };
        write!(f, "{} = {}", list(&self.outputs), self.operator)?;
        if !self.attributes.is_empty() {
            let attributes: Vec<String> =
                self.attributes.iter().map(|(name, value)| format!("{name}={value}")).collect();
            write!(f, "<{}>", attributes.join(", "))?;
        }
        write!(f, "({})", list(&self.inputs))
    }
}

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Float(v) => write!(f, "{v:?}"),
            Self::Int(v) => write!(f, "{v}"),
            Self::Reference { name, .. } => write!(f, "@{name}"),
            Self::String(v) => f.write_str(&String::from_utf8_lossy(v)),
            Self::Tensor(v) => v.fmt(f),
            Self::Graph(v) => write!(f, "{{\n{v}}}"),
            Self::Floats(v) => write!(f, "{v:?}"),
            Self::Ints(v) => write!(f, "{v:?}"),
            Self::Strings(v) => write!(f, "{v:?}"),
            Self::Opaque(v) => write!(f, "({} bytes)", v.len()),
        }
    }
}

impl fmt::Display for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}{:?}", self.dtype(), self.dims())?;
        if self.len() > SHOWN {
            return Ok(());
        }
        match (self.to_i64(), self.to_f64()) {
            (Some(values), _) => write!(f, " {values:?}"),
            (None, Some(values)) => write!(f, " {values:?}"),
            (None, None) => Ok(()),
        }
    }
}

impl fmt::Display for ValueInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)?;
        if let Some(dtype) = self.dtype {
            write!(f, ": {dtype:?}")?;
        }
        if let Some(shape) = &self.shape {
            let dims: Vec<String> = shape.iter().map(Dimension::to_string).collect();
            write!(f, "[{}]", dims.join(", "))?;
        }
        Ok(())
    }
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(size) => write!(f, "{size}"),
            Self::Symbol(name) => f.write_str(name),
            Self::Unknown => f.write_str("?"),
        }
    }
}
