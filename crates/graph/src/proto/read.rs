//! From messages to the domain types. Sizes in a file are not trusted: narrowing conversions are checked.

use std::collections::HashSet;
use std::path::Path;

use bytes::Bytes;
use indexmap::IndexMap;
use prost::Message;

use super::{
    AttributeProto, DimensionProto, EXTERNAL, FunctionProto, GraphProto, Kept, ModelProto, NodeProto, OWN_NAME,
    OperatorSetIdProto, Rest, StringStringEntryProto, TensorProto, TypeProto, ValueInfoProto, kind,
};
use crate::external::Folder;
use crate::load::{Limits, LoadError};
use crate::{Attribute, DataType, Dimension, Function, Graph, Model, Node, Tensor, Value, ValueInfo};

type Loaded<T> = Result<T, LoadError>;

/// The version of the file format from which on initializers need not be inputs; see [`Model::ir_version`].
const INITIALIZERS_ARE_NO_INPUTS: i64 = 4;

/// Reads one model.
pub(crate) struct Reader<'l> {
    limits: &'l Limits,
    folder: Option<Folder>,
    /// Bytes of the tensors so far.
    tensor_bytes: u64,
    /// Bytes of the sparse ones among them, with their zeros.
    sparse_bytes: u64,
    /// One `Value` for each name, however often it occurs.
    values: HashSet<Value>,
}

impl<'l> Reader<'l> {
    pub(crate) fn new(limits: &'l Limits, folder: Option<&Path>) -> Self {
        let folder = folder.map(|path| Folder::new(path, limits));
        Self { limits, folder, tensor_bytes: 0, sparse_bytes: 0, values: HashSet::new() }
    }

    /// The other files that tensors were read from, in the order of their names.
    pub(crate) fn external_files(self) -> Vec<(String, Bytes)> {
        self.folder.map(Folder::into_files).unwrap_or_default()
    }

    pub(crate) fn model(&mut self, Kept { message, rest }: Kept<ModelProto>) -> Loaded<Model> {
        let mut rest = Rest::new(rest);
        let graph = message.graph.ok_or_else(|| LoadError::encoding("it has no graph"))?;
        let ir_version =
            message.ir_version.ok_or_else(|| LoadError::encoding("it has no version of the file format"))?;
        let opsets = opsets(message.opset_import, "model", &mut rest)?;
        Ok(Model {
            ir_version: ir_version.max(INITIALIZERS_ARE_NO_INPUTS),
            opsets,
            producer: message.producer_name.unwrap_or_default(),
            metadata: properties(message.metadata_props, &mut rest),
            graph: self.graph(graph)?,
            functions: message.functions.into_iter().map(|f| self.function(f)).collect::<Loaded<_>>()?,
            rest,
        })
    }

    fn function(&mut self, Kept { message, rest }: Kept<FunctionProto>) -> Loaded<Function> {
        let mut rest = Rest::new(rest);
        let name = message.name.unwrap_or_default();
        let place = format!("function \"{name}\"");
        let mut values = |names: Vec<String>, what: &str| {
            let named = names.into_iter().map(|name| {
                let value =
                    self.optional(&name).ok_or_else(|| LoadError::malformed(&place, format!("{what} has no name")));
                value.map(ValueInfo::untyped)
            });
            named.collect::<Loaded<Vec<_>>>()
        };
        let (inputs, outputs) = (values(message.input, "an input")?, values(message.output, "an output")?);
        let mut defaults = IndexMap::with_capacity(message.attribute_proto.len());
        for mut proto in message.attribute_proto {
            let attribute = proto.message.name.take();
            let attribute = attribute.ok_or_else(|| LoadError::malformed(&place, "an attribute has no name"))?;
            let (value, kept) = self.attribute(proto, &attribute, &place)?;
            rest.keep(format!("attribute {attribute}"), kept);
            defaults.insert(attribute, value);
        }
        Ok(Function {
            domain: domain(message.domain),
            overload: message.overload.unwrap_or_default(),
            attributes: message.attribute,
            defaults,
            opsets: opsets(message.opset_import, &place, &mut rest)?,
            body: Graph {
                nodes: message.node.into_iter().map(|n| self.node(n)).collect::<Loaded<_>>()?,
                inputs,
                outputs,
                ..Graph::default()
            },
            name,
            rest,
        })
    }

    fn graph(&mut self, Kept { message, rest }: Kept<GraphProto>) -> Loaded<Graph> {
        let GraphProto { node, name, initializer, input, output, value_info, sparse_initializer } = message;
        let name = name.unwrap_or_default();
        let nameless = || LoadError::malformed("an initializer", "it has no name");
        let mut initializers = IndexMap::with_capacity(initializer.len() + sparse_initializer.len());
        let mut add = |value: Value, tensor: Tensor| match initializers.insert(value.clone(), tensor) {
            None => Ok(()),
            Some(_) => Err(LoadError::tensor(value.as_str(), "two initializers have this name")),
        };
        for mut proto in initializer {
            let name = proto.message.name.take().filter(|n| !n.is_empty()).ok_or_else(nameless)?;
            let tensor = self.tensor(proto, &name)?;
            add(self.value(&name), tensor)?;
        }
        for mut proto in sparse_initializer {
            let name = proto.message.values.as_mut().and_then(|values| values.message.name.take());
            let name = name.filter(|n| !n.is_empty()).ok_or_else(nameless)?;
            let tensor = self.sparse(proto, &name)?;
            add(self.value(&name), tensor)?;
        }
        let mut inputs = self.value_infos(input)?;
        // Before version 4 of the format every initializer had to be listed as an input.
        inputs.retain(|i| !initializers.contains_key(&i.value));
        Ok(Graph {
            nodes: node.into_iter().map(|n| self.node(n)).collect::<Loaded<_>>()?,
            inputs,
            outputs: self.value_infos(output)?,
            initializers,
            value_info: self.value_infos(value_info)?,
            name,
            rest: Rest::new(rest),
        })
    }

    fn node(&mut self, Kept { message, rest }: Kept<NodeProto>) -> Loaded<Node> {
        let mut node = Node {
            name: message.name.unwrap_or_default(),
            operator: message.op_type.unwrap_or_default(),
            domain: domain(message.domain),
            inputs: message.input.iter().map(|name| self.optional(name)).collect(),
            outputs: message.output.iter().map(|name| self.optional(name)).collect(),
            attributes: IndexMap::with_capacity(message.attribute.len()),
            overload: message.overload.unwrap_or_default(),
            rest: Rest::new(rest),
        };
        for mut proto in message.attribute {
            let malformed = |problem: String| LoadError::malformed(format!("node \"{}\"", node.label()), problem);
            let name = proto.message.name.take().ok_or_else(|| malformed("an attribute has no name".into()))?;
            if node.attributes.contains_key(&name) {
                return Err(malformed(format!("attribute \"{name}\" is given twice")));
            }
            let place = format!("{}.{name}", node.label());
            let (attribute, rest) = self.attribute(proto, &name, &place)?;
            node.rest.keep(name.clone(), rest);
            node.attributes.insert(name, attribute);
        }
        Ok(node)
    }

    fn attribute(&mut self, proto: Kept<AttributeProto>, name: &str, place: &str) -> Loaded<(Attribute, Rest)> {
        let message = &proto.message;
        let missing = || LoadError::malformed(place, "the attribute has no value of its type");
        if let Some(name) = message.ref_attr_name.clone().filter(|name| !name.is_empty()) {
            let kind = message.kind.unwrap_or_default();
            return Ok((Attribute::Reference { name, kind }, Rest::new(proto.rest)));
        }
        let attribute = match message.kind.filter(|&k| k != 0).or_else(|| stored_kind(message)) {
            Some(kind::FLOAT) => Attribute::Float(message.f.unwrap_or_default()),
            Some(kind::INT) => Attribute::Int(message.i.unwrap_or_default()),
            Some(kind::STRING) => Attribute::String(message.s.clone().unwrap_or_default()),
            Some(kind::FLOATS) => Attribute::Floats(message.floats.clone()),
            Some(kind::INTS) => Attribute::Ints(message.ints.clone()),
            Some(kind::STRINGS) => Attribute::Strings(message.strings.clone()),
            Some(kind::TENSOR) => Attribute::Tensor(self.tensor(proto.message.t.ok_or_else(missing)?, place)?),
            Some(kind::GRAPH) => Attribute::Graph(Box::new(self.graph(proto.message.g.ok_or_else(missing)?)?)),
            _ => {
                let mut encoded = proto;
                encoded.message.name = Some(name.to_owned());
                return Ok((Attribute::Opaque(encoded.encode_to_vec().into()), Rest::default()));
            }
        };
        Ok((attribute, Rest::new(proto.rest)))
    }

    fn value_infos(&mut self, infos: Vec<Kept<ValueInfoProto>>) -> Loaded<Vec<ValueInfo>> {
        infos.into_iter().map(|info| self.value_info(info)).collect()
    }

    fn value_info(&mut self, Kept { message, rest }: Kept<ValueInfoProto>) -> Loaded<ValueInfo> {
        let name = message.name.filter(|n| !n.is_empty());
        let name = name.ok_or_else(|| LoadError::malformed("a declared value", "it has no name"))?;
        let mut info = ValueInfo { value: self.value(&name), dtype: None, shape: None, rest: Rest::new(rest) };
        let Some(Kept { message: TypeProto { tensor_type }, rest }) = message.kind else { return Ok(info) };
        info.rest.keep("type", Rest::new(rest));
        let Some(Kept { message: tensor, rest }) = tensor_type else { return Ok(info) };
        info.rest.keep("tensor", Rest::new(rest));
        info.dtype = tensor.elem_type.filter(|&n| n != 0).map(DataType::from_number);
        let Some(Kept { message: shape, rest }) = tensor.shape else { return Ok(info) };
        info.rest.keep("shape", Rest::new(rest));
        let mut dims = Vec::with_capacity(shape.dim.len());
        for (axis, Kept { message, rest }) in shape.dim.into_iter().enumerate() {
            info.rest.keep(format!("dim {axis}"), Rest::new(rest));
            dims.push(dimension(message, &name)?);
        }
        info.shape = Some(dims);
        Ok(info)
    }

    pub(super) fn tensor(&mut self, Kept { message, rest }: Kept<TensorProto>, name: &str) -> Loaded<Tensor> {
        let wrong = |problem: String| LoadError::tensor(name, problem);
        let mut rest = Rest::new(rest);
        if let Some(own) = message.name.clone().filter(|n| !n.is_empty()) {
            // The tensor of an attribute: its name says nothing, but is kept as long as it is one.
            let name = TensorProto { name: Some(own), ..TensorProto::default() };
            rest.keep(OWN_NAME, Rest::new(name.encode_to_vec()));
        }
        let dims = dims(&message.dims).map_err(wrong)?;
        let dtype = match message.data_type {
            None | Some(0) => return Err(wrong("it has no element type".into())),
            Some(number) => DataType::from_number(number),
        };
        let elements = elements(&dims).map_err(wrong)?;
        let external = message.data_location == Some(EXTERNAL);
        let Some(size) = dtype.size() else {
            if external {
                return Err(wrong(format!("external data of type {dtype:?} is not supported")));
            }
            if dtype == DataType::String {
                let found = message.string_data.len();
                let mut tensor = Tensor::text(dims, message.string_data)
                    .ok_or_else(|| wrong(format!("{elements} strings expected, {found} found")))?;
                tensor.rest = rest;
                return Ok(tensor);
            }
            let content = TensorProto { dims: Vec::new(), data_type: None, name: None, ..message };
            rest.push(|buf| content.encode_raw(buf));
            return Ok(Tensor::unread(dtype, dims, rest));
        };
        let bytes = elements.checked_mul(size);
        let bytes = bytes.ok_or_else(|| wrong(format!("shape {dims:?} has more bytes than can be counted")))?;
        self.takes(bytes)?;
        let data = if external {
            self.external(&message.external_data, name, bytes)?
        } else {
            little_endian(message, dtype).map_err(wrong)?
        };
        let found = data.len();
        let mut tensor = Tensor::new(dtype, dims, data).ok_or_else(|| {
            LoadError::tensor(name, format!("{elements} elements of {size} bytes expected, {found} bytes found"))
        })?;
        tensor.rest = rest;
        Ok(tensor)
    }

    /// Counts bytes of a tensor, before they are allocated.
    fn takes(&mut self, bytes: usize) -> Loaded<()> {
        self.tensor_bytes = self.tensor_bytes.saturating_add(bytes as u64);
        let (found, limit) = (self.tensor_bytes, self.limits.tensor_bytes);
        if found > limit {
            return Err(LoadError::Limit { what: "bytes of tensors", found, name: "tensor_bytes", limit });
        }
        Ok(())
    }

    /// As [`Reader::takes`], of a sparse tensor with its zeros: of those the file holds nothing.
    pub(super) fn takes_sparse(&mut self, bytes: usize) -> Loaded<()> {
        self.sparse_bytes = self.sparse_bytes.saturating_add(bytes as u64);
        let (found, limit) = (self.sparse_bytes, self.limits.sparse_bytes);
        if found > limit {
            return Err(LoadError::Limit { what: "bytes of sparse tensors", found, name: "sparse_bytes", limit });
        }
        self.takes(bytes)
    }

    fn external(&mut self, entries: &[Kept<StringStringEntryProto>], name: &str, bytes: usize) -> Loaded<Bytes> {
        let entry = |key: &str| {
            let found = entries.iter().find(|e| e.message.key.as_deref() == Some(key));
            found.and_then(|e| e.message.value.as_deref())
        };
        let number = |key: &str| {
            let parse = |text: &str| {
                text.parse::<usize>()
                    .map_err(|_| LoadError::tensor(name, format!("external {key} \"{text}\" is no size")))
            };
            entry(key).map(parse).transpose()
        };
        let folder = self.folder.as_mut().ok_or_else(|| {
            LoadError::tensor(
                name,
                "its data is in another file; load the model from its folder, or store the tensors inside",
            )
        })?;
        let location = entry("location").ok_or_else(|| LoadError::tensor(name, "external data without a location"))?;
        if let Some(length) = number("length")?.filter(|&length| length != bytes) {
            return Err(LoadError::tensor(name, format!("external data has {length} bytes, {bytes} expected")));
        }
        folder.slice(name, location, number("offset")?.unwrap_or(0), bytes)
    }

    fn optional(&mut self, name: &str) -> Option<Value> {
        (!name.is_empty()).then(|| self.value(name))
    }

    fn value(&mut self, name: &str) -> Value {
        if let Some(value) = self.values.get(name) {
            return value.clone();
        }
        let value = Value::from(name);
        self.values.insert(value.clone());
        value
    }
}

/// The standard domain has two names.
fn domain(name: Option<String>) -> String {
    name.filter(|d| d != "ai.onnx").unwrap_or_default()
}

/// Versions of operator sets by domain.
fn opsets(imports: Vec<Kept<OperatorSetIdProto>>, place: &str, rest: &mut Rest) -> Loaded<IndexMap<String, i64>> {
    let mut opsets = IndexMap::new();
    for import in imports {
        let domain = domain(import.message.domain);
        let version = import.message.version.unwrap_or(1);
        rest.keep(format!("opset {domain}"), Rest::new(import.rest));
        if opsets.insert(domain.clone(), version).is_some_and(|other| other != version) {
            return Err(LoadError::malformed(place, format!("two versions of the operator set \"{domain}\"")));
        }
    }
    Ok(opsets)
}

fn properties(entries: Vec<Kept<StringStringEntryProto>>, rest: &mut Rest) -> IndexMap<String, String> {
    let read = |Kept { message, rest: unknown }: Kept<StringStringEntryProto>| {
        let key = message.key.unwrap_or_default();
        rest.keep(format!("property {key}"), Rest::new(unknown));
        (key, message.value.unwrap_or_default())
    };
    entries.into_iter().map(read).collect()
}

/// A stated shape.
pub(super) fn dims(stated: &[i64]) -> Result<Vec<usize>, String> {
    stated.iter().map(|&d| usize::try_from(d).map_err(|_| format!("dimension {d} is negative"))).collect()
}

/// How many elements a tensor of this shape has.
pub(super) fn elements(dims: &[usize]) -> Result<usize, String> {
    let elements = dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
    elements.ok_or_else(|| format!("shape {dims:?} has more elements than can be counted"))
}

fn dimension(message: DimensionProto, value: &str) -> Loaded<Dimension> {
    Ok(match (message.dim_value, message.dim_param) {
        // Some exporters write -1 for "not known".
        (Some(-1), _) | (None, None) => Dimension::Unknown,
        (Some(size), _) => Dimension::Known(usize::try_from(size).map_err(|_| {
            LoadError::malformed(format!("value \"{value}\""), format!("dimension {size} is negative"))
        })?),
        (None, Some(name)) if name.is_empty() => Dimension::Unknown,
        (None, Some(name)) => Dimension::Symbol(name),
    })
}

/// What an attribute holds whose type is not stated, as in the oldest files.
fn stored_kind(message: &AttributeProto) -> Option<i32> {
    [
        (message.f.is_some(), kind::FLOAT),
        (message.i.is_some(), kind::INT),
        (message.s.is_some(), kind::STRING),
        (message.t.is_some(), kind::TENSOR),
        (message.g.is_some(), kind::GRAPH),
        (!message.floats.is_empty(), kind::FLOATS),
        (!message.ints.is_empty(), kind::INTS),
        (!message.strings.is_empty(), kind::STRINGS),
    ]
    .into_iter()
    .find_map(|(stored, kind)| stored.then_some(kind))
}

/// The content of a tensor, whichever field it is in.
fn little_endian(message: TensorProto, dtype: DataType) -> Result<Bytes, String> {
    let fields = [
        message.raw_data.is_some(),
        !message.float_data.is_empty(),
        !message.int32_data.is_empty(),
        !message.int64_data.is_empty(),
        !message.double_data.is_empty(),
        !message.uint64_data.is_empty(),
    ];
    if fields.iter().filter(|&&f| f).count() > 1 {
        return Err("its content is given in more than one field".into());
    }
    if let Some(raw) = message.raw_data {
        // A slice would keep the whole file in memory, and lie in it at any address.
        return Ok(Bytes::copy_from_slice(&raw));
    }
    let narrow = |v: i64, fits: bool| if fits { Ok(()) } else { Err(format!("{v} is not a value of type {dtype:?}")) };
    /// Converts each element to a type that must be able to hold it.
    macro_rules! converted {
        ($values:expr, $type:ty) => {{
            let values = $values;
            let mut bytes = Vec::with_capacity(values.len() * size_of::<$type>());
            for v in values {
                let element = <$type>::try_from(v);
                narrow(i64::try_from(v).unwrap_or(i64::MAX), element.is_ok())?;
                bytes.extend(element.unwrap_or_default().to_le_bytes());
            }
            bytes
        }};
    }
    Ok(match dtype {
        DataType::Float => message.float_data.iter().flat_map(|v| v.to_le_bytes()).collect(),
        DataType::Double => message.double_data.iter().flat_map(|v| v.to_le_bytes()).collect(),
        DataType::Int64 => converted!(message.int64_data, i64),
        DataType::Uint64 => converted!(message.uint64_data, u64),
        DataType::Uint32 => converted!(message.uint64_data, u32),
        DataType::Int32 => converted!(message.int32_data, i32),
        DataType::Int16 => converted!(message.int32_data, i16),
        DataType::Int8 => converted!(message.int32_data, i8),
        DataType::Uint8 | DataType::Bool => converted!(message.int32_data, u8),
        // Half-precision numbers are given by their bits.
        DataType::Uint16 | DataType::Float16 | DataType::BFloat16 => converted!(message.int32_data, u16),
        DataType::String | DataType::Other(_) => Vec::new(),
    }
    .into())
}
