//! Files in and out: round trips, and files that someone made to do harm.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use assay_graph::{
    Attribute, Canonical, DataType, Defect, Dimension, Graph, Limits, LoadError, Model, Node, Tensor, Value, ValueInfo,
};
use bytes::Bytes;

/// A length-delimited field.
fn field(tag: u8, content: &[u8]) -> Vec<u8> {
    [&varint(u64::from(tag) << 3 | 2)[..], &varint(content.len() as u64), content].concat()
}

/// An integer field.
fn int(tag: u8, value: i64) -> Vec<u8> {
    [varint(u64::from(tag) << 3), varint(value.cast_unsigned())].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// A file with this graph, as encoded fields.
fn file(graph: &[Vec<u8>]) -> Bytes {
    [int(1, 8), field(8, &int(2, 17)), field(7, &graph.concat())].concat().into()
}

fn load(file: Bytes) -> Result<Model, LoadError> {
    Model::from_bytes(file, &Limits::default())
}

#[track_caller]
fn refused(file: Bytes, message: &str) {
    let error = load(file).unwrap_err().to_string();
    assert!(error.contains(message), "\"{error}\" does not say \"{message}\"");
}

fn initializer(fields: &[Vec<u8>]) -> Bytes {
    file(&[field(5, &[field(8, b"w"), fields.concat()].concat())])
}

/// A model with a tensor of every kind, every kind of attribute, and optional inputs and outputs.
fn rich() -> Model {
    let value = |name: &str| Some(Value::from(name));
    let mut node = Node::new("Strange", vec![value("x"), None, value("w")], vec![value("y"), None]);
    node.name = "n".into();
    node.domain = "com.example".into();
    let mut body = Graph::default();
    body.name = "body".into();
    body.nodes.push(Node::new("Relu", vec![value("x")], vec![value("inner")]));
    body.outputs.push(ValueInfo::new("inner", DataType::Float, vec![]));
    node.attributes = [
        ("f", Attribute::Float(0.0)),
        ("i", Attribute::Int(0)),
        ("s", Attribute::from("text")),
        ("t", Attribute::Tensor(Tensor::rounded(DataType::BFloat16, &[2], &[1.0, -2.0]))),
        ("fs", Attribute::Floats(vec![1.5, f32::INFINITY])),
        ("is", Attribute::Ints(vec![-1, i64::MIN])),
        ("ss", Attribute::Strings(vec!["a".into(), "".into()])),
        ("g", Attribute::Graph(Box::new(body))),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    let mut graph = Graph::default();
    graph.name = "main".into();
    graph.nodes.push(node);
    let shape = vec![Dimension::Symbol("batch".into()), Dimension::Known(3), Dimension::Unknown];
    graph.inputs.push(ValueInfo::new("x", DataType::Float, shape));
    graph.outputs.push(ValueInfo::untyped("y".into()));
    graph.initializers.insert("w".into(), Tensor::floats(&[3, 1], &[1.0, 2.0, 3.0]));
    graph.initializers.insert("words".into(), Tensor::text(vec![2], vec!["one".into(), "".into()]).unwrap());
    let mut model = Model::new(17, graph);
    model.opsets.insert("com.example".into(), 3);
    model.metadata.insert("key".into(), "value".into());
    model
}

#[test]
fn models_survive_a_round_trip() {
    let model = rich();
    assert_eq!(load(model.to_bytes()).unwrap(), model);
}

#[test]
fn reference_models_survive_a_round_trip() {
    let Some(material) = assay_reference::material() else { return };
    let folders = ["models", "gradients", "vnncomp/cifar10_resnet", "vnncomp/vit2023", "vnncomp/traffic_signs2023"];
    for (folder, name) in folders.iter().flat_map(|f| material.names(f, "onnx").into_iter().map(move |n| (f, n))) {
        let model = material.model(&format!("{folder}/{name}.onnx"));
        assert_eq!(load(model.to_bytes()).unwrap(), model, "{name}");
    }
}

/// PyTorch names the tensors of constants where a model has more than 2 GB.
#[test]
fn a_constant_that_has_a_name_of_its_own_becomes_an_initializer_with_that_of_its_value() {
    let tensor = [int(2, 7), field(8, b"its own"), field(9, &3i64.to_le_bytes())].concat();
    let attribute = [field(1, b"value"), int(20, 4), field(5, &tensor)].concat();
    let node = [field(2, b"c"), field(4, b"Constant"), field(5, &attribute)].concat();
    let model = load(file(&[field(1, &node), field(12, &field(1, b"c"))])).unwrap();
    assert_eq!(load(model.to_bytes()).unwrap(), model, "as an attribute it keeps its name");
    assert!(model.to_bytes().windows(7).any(|bytes| bytes == b"its own"));

    let canonical = Canonical::new(model).unwrap();
    let read = load(canonical.model().to_bytes()).unwrap();
    assert_eq!(read.graph.initializers.keys().collect::<Vec<_>>(), [&Value::from("c")]);
}

#[test]
fn what_assay_does_not_read_is_written_out_again() {
    let note = |name: &str| field(15, format!("unknown field of {name}").as_bytes());
    let tensor = [int(1, 1), int(2, 1), field(9, &1f32.to_le_bytes()), note("tensor")].concat();
    let attribute = [field(1, b"t"), int(20, 4), field(5, &tensor), field(13, b"attribute's documentation")].concat();
    // A list of graphs, which is kept as a whole.
    let opaque = [field(1, b"graphs"), int(20, 10), field(11, b"")].concat();
    let node = [field(1, b"x"), field(2, b"y"), field(4, b"Op"), field(5, &attribute), field(5, &opaque), note("node")];
    let dim = [field(2, b"n"), field(3, b"DENOTATION")].concat();
    let kind = [field(1, &[int(1, 1), field(2, &field(1, &dim)), note("tensor type")].concat()), note("type")].concat();
    let info = |name: &[u8]| [field(1, name), field(2, &kind), field(3, b"value's documentation")].concat();
    // 4-bit integers: a type that is not read.
    let int4 = [field(8, b"q"), int(1, 2), int(2, 22), field(9, &[0x21])].concat();
    let graph = [field(1, &node.concat()), field(5, &int4), field(11, &info(b"x")), field(12, &info(b"y"))];
    let extra = [field(14, b"quantization"), field(10, b"graph's documentation")];
    let mut bytes = file(&[graph.concat(), extra.concat()]).to_vec();
    bytes.extend([field(3, b"1.0"), field(14, &[field(1, b"k"), field(2, b"v"), note("property")].concat())].concat());
    let model = load(bytes.into()).unwrap();
    assert_eq!(model.graph.inputs[0].shape, Some(vec![Dimension::Symbol("n".into())]));

    let written = model.to_bytes();
    let has = |text: &str| written.windows(text.len()).any(|w| w == text.as_bytes());
    for text in ["tensor", "node", "tensor type", "type", "property"].map(|name| format!("unknown field of {name}")) {
        assert!(has(&text), "lost: {text}");
    }
    for text in ["attribute's", "value's", "graph's"].map(|name| format!("{name} documentation")) {
        assert!(has(&text), "lost: {text}");
    }
    assert!(has("DENOTATION") && has("quantization") && has("graphs") && has("\x21"));
    assert_eq!(load(written.clone()).unwrap(), model);
    assert_eq!(load(written.clone()).unwrap().to_bytes(), written);
}

#[test]
fn content_is_read_from_every_field() {
    let floats: Vec<u8> = [0.5f32, -1.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    let doubles: Vec<u8> = [0.5f64, -1.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    let packed = |values: &[i64]| values.iter().flat_map(|v| varint(v.cast_unsigned())).collect::<Vec<u8>>();
    // Data type, field, content, expected numbers.
    let cases: [(i64, u8, Vec<u8>, [f64; 2]); 9] = [
        (1, 4, floats.clone(), [0.5, -1.0]),
        (1, 9, floats, [0.5, -1.0]),
        (11, 10, doubles, [0.5, -1.0]),
        (7, 7, packed(&[5, -7]), [5.0, -7.0]),
        (6, 5, packed(&[5, -7]), [5.0, -7.0]),
        (3, 5, packed(&[5, -7]), [5.0, -7.0]),
        (9, 5, packed(&[1, 0]), [1.0, 0.0]),
        (12, 11, packed(&[5, 4_000_000_000]), [5.0, 4e9]),
        // Half precision by its bits: 1.0 and -2.0.
        (10, 5, packed(&[0x3c00, 0xc000]), [1.0, -2.0]),
    ];
    for (dtype, tag, content, expected) in cases {
        let model = load(initializer(&[int(1, 2), int(2, dtype), field(tag, &content)])).unwrap();
        assert_eq!(model.graph.initializers["w"].to_f64().unwrap(), expected, "type {dtype}, field {tag}");
    }
}

#[test]
fn hostile_tensors_are_refused() {
    let raw = |n: usize| field(9, &vec![0; n]);
    refused(initializer(&[int(1, -3), int(2, 1)]), "dimension -3 is negative");
    refused(initializer(&[int(1, i64::MAX), int(1, 4), int(2, 1)]), "more elements than can be counted");
    refused(initializer(&[int(1, 1 << 61), int(2, 11)]), "more bytes than can be counted");
    refused(initializer(&[int(1, 1 << 40), int(2, 1)]), "raise `tensor_bytes`");
    refused(initializer(&[int(1, 2), int(2, 1), raw(7)]), "2 elements of 4 bytes expected, 7 bytes found");
    refused(initializer(&[int(1, 2), int(2, 1)]), "0 bytes found");
    refused(initializer(&[int(1, 2)]), "no element type");
    refused(initializer(&[int(1, 1), int(2, 3), field(5, &varint(300))]), "300 is not a value of type Int8");
    refused(initializer(&[int(1, 1), int(2, 1), raw(4), field(4, &[0; 4])]), "more than one field");
    refused(initializer(&[int(1, 2), int(2, 8), field(6, b"one")]), "2 strings expected, 1 found");
}

/// Mostly zeros, of several types; and what is not smaller with coordinates.
fn mostly_zeros() -> Model {
    let mut model = load(file(&[])).unwrap();
    let at = |places: &[usize], number: f64| {
        (0..100).map(|i| if places.contains(&i) { number } else { 0.0 }).collect::<Vec<f64>>()
    };
    let tensors = [
        ("floats", Tensor::rounded(DataType::Float, &[4, 25], &at(&[0, 7, 99], 1.5))),
        ("negative", Tensor::rounded(DataType::Float, &[100], &at(&[3], -0.0))),
        ("halves", Tensor::rounded(DataType::Float16, &[100], &at(&[98], -2.0))),
        ("ints", Tensor::ints(&at(&[50], 7.0).into_iter().map(|v| v as i64).collect::<Vec<_>>())),
        ("nothing", Tensor::rounded(DataType::Float, &[2, 50], &at(&[], 0.0))),
        ("dense", Tensor::rounded(DataType::Float, &[100], &at(&(0..34).collect::<Vec<_>>(), 1.0))),
        ("scalar", Tensor::rounded(DataType::Float, &[], &[0.0])),
        ("empty", Tensor::floats(&[0, 3], &[])),
        ("words", Tensor::text(vec![1], vec!["a".into()]).unwrap()),
    ];
    model.graph.initializers.extend(tensors.map(|(name, tensor)| (Value::from(name), tensor)));
    model
}

#[test]
fn sparse_tensors_survive_a_round_trip() {
    let model = mostly_zeros();
    let (sparse, dense) = (model.to_sparse_bytes(), model.to_bytes());
    // Five tensors, 2,200 bytes of zeros and some, are a few coordinates and values.
    assert!(sparse.len() + 1_800 < dense.len(), "{} {}", sparse.len(), dense.len());
    let read = load(sparse).unwrap();
    assert_eq!(read, model);
    let bits = |model: &Model| model.graph.initializers["negative"].bytes().clone();
    assert_eq!(bits(&read), bits(&model), "a negative zero is none");
    // A model without zeros is written as ever.
    let plain = rich();
    assert_eq!(plain.to_sparse_bytes(), plain.to_bytes());
    // The format has sparse tensors since its version 6.
    let mut old = mostly_zeros();
    old.ir_version = 4;
    assert_eq!((load(old.to_sparse_bytes()).unwrap().ir_version, load(old.to_bytes()).unwrap().ir_version), (6, 4));
}

/// A sparse initializer: values of f32, indices, and a shape.
fn sparse_file(values: &[f32], indices: &[i64], indices_dims: &[i64], dims: &[i64]) -> Bytes {
    let shape = |tag: u8, dims: &[i64]| dims.iter().flat_map(|&d| int(tag, d)).collect::<Vec<u8>>();
    let numbers: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let places: Vec<u8> = indices.iter().flat_map(|v| v.to_le_bytes()).collect();
    let count = [i64::try_from(values.len()).unwrap()];
    let values = [field(8, b"w"), shape(1, &count), int(2, 1), field(9, &numbers)].concat();
    let indices = [shape(1, indices_dims), int(2, 7), field(9, &places)].concat();
    file(&[field(15, &[field(1, &values), field(2, &indices), shape(3, dims)].concat())])
}

#[test]
fn places_and_coordinates_are_read() {
    let expected = Tensor::floats(&[2, 3], &[0.0, 5.0, 0.0, 0.0, 0.0, 7.0]);
    for (indices, shape) in [(&[1, 5][..], &[2][..]), (&[0, 1, 1, 2], &[2, 2])] {
        let model = load(sparse_file(&[5.0, 7.0], indices, shape, &[2, 3])).unwrap();
        assert_eq!(model.graph.initializers["w"], expected);
    }
    let nothing = load(sparse_file(&[], &[], &[0], &[2, 3])).unwrap();
    assert_eq!(nothing.graph.initializers["w"], Tensor::floats(&[2, 3], &[0.0; 6]));
}

#[test]
fn hostile_sparse_tensors_are_refused() {
    let two = |indices: &[i64], indices_dims: &[i64], dims: &[i64], message: &str| {
        refused(sparse_file(&[5.0, 7.0], indices, indices_dims, dims), message);
    };
    two(&[1, 6], &[2], &[2, 3], "[6] lies outside of the shape [2, 3]");
    two(&[-1, 5], &[2], &[2, 3], "[-1] lies outside");
    two(&[0, 1, 0, 3], &[2, 2], &[2, 3], "[0, 3] lies outside");
    two(&[5, 1], &[2], &[2, 3], "they ascend, each once");
    two(&[1, 1], &[2], &[2, 3], "they ascend, each once");
    two(&[1, 2, 1, 1], &[2, 2], &[2, 3], "they ascend, each once");
    two(&[1, 2, 5], &[3], &[2, 3], "2 values of a tensor of 2 dimensions have indices of shape [3]");
    two(&[0, 0, 1, 0, 0, 2], &[2, 3], &[2, 3], "indices of shape [2, 3]");
    two(&[1, 5], &[2], &[-2, 3], "dimension -2 is negative");
    two(&[1, 5], &[2], &[i64::MAX, 4], "more elements than can be counted");
    two(&[1, 5], &[2], &[1 << 62], "more bytes than can be counted");
    // A few bytes may not ask for gigabytes.
    two(&[1, 5], &[2], &[1 << 29], "raise `sparse_bytes`");
    let small = Limits { tensor_bytes: 40, ..Limits::default() };
    let error = Model::from_bytes(sparse_file(&[5.0], &[1], &[1], &[100]), &small).unwrap_err();
    assert!(matches!(error, LoadError::Limit { name: "tensor_bytes", .. }), "{error}");
    let typed = |data_type: i64| {
        let values = [field(8, b"w"), int(1, 1), int(2, 1), field(9, &[0; 4])].concat();
        let indices = [int(1, 1), int(2, data_type), field(9, &[0; 4])].concat();
        file(&[field(15, &[field(1, &values), field(2, &indices), int(3, 5)].concat())])
    };
    refused(typed(6), "its indices are Int32; they are Int64");
    refused(file(&[field(15, &field(1, &[field(8, b"w"), int(2, 1)].concat()))]), "has values and indices");
    refused(file(&[field(15, &int(3, 5))]), "it has no name");
    let dense = field(5, &[field(8, b"w"), int(1, 0), int(2, 1)].concat());
    let values = [field(8, b"w"), int(1, 0), int(2, 1)].concat();
    let indices = [int(1, 0), int(2, 7)].concat();
    let sparse = field(15, &[field(1, &values), field(2, &indices), int(3, 5)].concat());
    refused(file(&[dense, sparse]), "two initializers have this name");
}

#[test]
fn damaged_sparse_files_do_not_panic() {
    let whole = mostly_zeros().to_sparse_bytes();
    for at in 0..whole.len() {
        drop(load(whole.slice(..at)));
        for flip in [0x01, 0x80, 0xff] {
            let mut damaged = whole.to_vec();
            damaged[at] ^= flip;
            drop(load(damaged.into()));
        }
    }
}

#[test]
fn damaged_files_are_refused_wherever_they_are_cut() {
    let whole = rich().to_bytes();
    for end in 0..whole.len() {
        // A cut between two fields of the model may leave a valid file without its last fields.
        if let Ok(model) = load(whole.slice(..end)) {
            assert_eq!(model.graph, rich().graph, "cut at {end}");
        }
    }
    refused(Bytes::new(), "it has no graph");
    refused(Bytes::from_static(b"\x89PNG\r\n\x1a\n and so on"), "not an ONNX model");
}

#[test]
fn flipped_bytes_do_not_panic() {
    let whole = rich().to_bytes();
    for at in 0..whole.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut damaged = whole.to_vec();
            damaged[at] ^= flip;
            if let Ok(model) = load(damaged.into()) {
                let _ = model.to_bytes();
            }
        }
    }
}

#[test]
fn deep_and_large_files_are_refused_before_they_are_decoded() {
    let mut graph = Vec::new();
    for _ in 0..200 {
        let attribute = [field(1, b"body"), int(20, 5), field(6, &graph)].concat();
        graph = field(1, &[field(4, b"Loop"), field(5, &attribute)].concat());
    }
    refused(file(&[graph]), "nesting of subgraphs");
    refused(file(&vec![field(1, b""); 100_001]), "more than the limit of 100000; raise `nodes`");
    let node = field(1, &vec![field(1, b""); 100_000].concat());
    let limits = Limits { nodes: 1_000, ..Limits::default() };
    assert!(matches!(Model::from_bytes(file(&[node]), &limits), Err(LoadError::Limit { what: "parts", .. })));
    let limits = Limits { file_bytes: 10, ..Limits::default() };
    assert!(matches!(Model::from_bytes(rich().to_bytes(), &limits), Err(LoadError::Limit { name: "file_bytes", .. })));
}

fn node(operator: &str, inputs: &[&str], outputs: &[&str]) -> Vec<u8> {
    let names = |tag: u8, names: &[&str]| names.iter().flat_map(|n| field(tag, n.as_bytes())).collect::<Vec<u8>>();
    field(1, &[names(1, inputs), names(2, outputs), field(4, operator.as_bytes())].concat())
}

#[test]
fn nodes_are_sorted_and_cycles_refused() {
    let x = field(11, &field(1, b"x"));
    let model =
        load(file(&[x.clone(), node("C", &["b"], &["c"]), node("A", &["x"], &["a"]), node("B", &["a"], &["b"])]))
            .unwrap();
    assert_eq!(model.graph.nodes.iter().map(|n| n.operator.as_str()).collect::<String>(), "ABC");
    refused(file(&[x, node("A", &["b"], &["a"]), node("B", &["a"], &["b"])]), "the graph has a cycle");
}

#[test]
fn initializers_are_no_inputs() {
    let w = field(5, &[field(8, b"w"), int(1, 1), int(2, 1), field(9, &[0; 4])].concat());
    let inputs = [field(11, &field(1, b"x")), field(11, &field(1, b"w"))].concat();
    let graph = [w, inputs, node("Add", &["x", "w"], &["y"])];
    let model = load([int(1, 3), field(8, &int(2, 7)), field(7, &graph.concat())].concat().into()).unwrap();
    assert_eq!(model.graph.inputs.len(), 1);
    assert_eq!(model.ir_version, 4);
}

#[test]
fn defects_are_found() {
    let defect = |graph: &[Vec<u8>]| match load(file(graph)) {
        Err(LoadError::Defect(defect)) => defect,
        other => panic!("{other:?}"),
    };
    let twice = defect(&[node("A", &[], &["a"]), node("B", &[], &["a"])]);
    assert_eq!(twice, Defect::Twice { value: "a".into() });
    let dangling = defect(&[node("A", &["nothing"], &["a"])]);
    assert_eq!(
        dangling.to_string(),
        "node \"a\" (A) reads \"nothing\", which no input, initializer or node before it gives"
    );
    assert_eq!(defect(&[field(12, &field(1, b"y"))]), Defect::NoOutput { value: "y".into() });
    assert_eq!(defect(&[node("", &[], &["a"])]), Defect::NoOperator { node: "a".into() });
}

/// A model whose tensor `w`, two floats, is in the file `location`.
fn external(location: &str, offset: &str, length: &str) -> Bytes {
    let entry = |key: &str, value: &str| field(13, &[field(1, key.as_bytes()), field(2, value.as_bytes())].concat());
    let place = [entry("location", location), entry("offset", offset), entry("length", length), int(14, 1)].concat();
    initializer(&[int(1, 2), int(2, 1), place])
}

#[test]
fn external_data_stays_inside_the_folder() {
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret"), [0; 64]).unwrap();
    let folder = outside.path().join("model");
    std::fs::create_dir(&folder).unwrap();
    let content: Vec<u8> = [9f32, 1.0, 2.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    std::fs::write(folder.join("weights"), content).unwrap();
    let load_from = |bytes: Bytes, limits: &Limits| {
        std::fs::write(folder.join("model.onnx"), bytes).unwrap();
        Model::load(&folder.join("model.onnx"), limits)
    };
    let load = |bytes| load_from(bytes, &Limits::default());

    let model = load(external("weights", "4", "8")).unwrap();
    assert_eq!(model.graph.initializers["w"], Tensor::floats(&[2], &[1.0, 2.0]));
    assert_eq!(Model::from_bytes(model.to_bytes(), &Limits::default()).unwrap(), model, "written with its data inside");

    let refused = |bytes: Bytes, message: &str| {
        let error = load(bytes).unwrap_err().to_string();
        assert!(error.contains(message), "\"{error}\" does not say \"{message}\"");
    };
    let secret = outside.path().join("secret");
    for location in ["../secret", "sub/../../secret", secret.to_str().unwrap(), ""] {
        refused(external(location, "0", "8"), "not inside the model's folder");
    }
    refused(external("weights", "8", "8"), "beyond the end");
    refused(external("weights", "18446744073709551615", "8"), "beyond the end");
    refused(external("weights", "-4", "8"), "is no size");
    refused(external("weights", "0", "12"), "12 bytes, 8 expected");
    refused(external("absent", "0", "8"), "cannot read");
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(&secret, folder.join("link")).unwrap();
        refused(external("link", "0", "8"), "not inside the model's folder");
    }
    let small = Limits { tensor_bytes: 11, ..Limits::default() };
    assert!(matches!(
        load_from(external("weights", "4", "8"), &small),
        Err(LoadError::Limit { name: "tensor_bytes", .. })
    ));
    let error = Model::from_bytes(external("weights", "4", "8"), &Limits::default()).unwrap_err().to_string();
    assert!(error.contains("load the model from its folder"), "{error}");
}

#[test]
fn what_is_no_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path().to_owned(), folder.path().join("absent.onnx")] {
        assert!(matches!(Model::load(&path, &Limits::default()), Err(LoadError::Io { .. })));
    }
}

#[test]
fn large_weights_are_left_out_of_the_file_and_given_beside_it() {
    let mut model = load(file(&[])).unwrap();
    let (small, large) = (Tensor::floats(&[2], &[1.0, 2.0]), Tensor::floats(&[4, 25], &[0.5; 100]));
    model.graph.initializers.insert("small".into(), small);
    model.graph.initializers.insert("large".into(), large.clone());
    let (content, apart) = model.to_bytes_apart(400);
    assert_eq!(apart, [("large".into(), large)]);
    assert!(content.len() < 400, "{} bytes", content.len());
    // Nobody can take it for the whole model.
    refused(content, "tensor \"large\": its data is in another file");

    let (content, apart) = model.to_bytes_apart(401);
    assert_eq!((content, apart), (model.to_bytes(), vec![]));
}
