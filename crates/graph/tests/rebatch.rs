//! A fixed batch, opened: each sample gets what the file gives it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use assay_graph::{
    Attribute, Canonical, DataType, Dim, Dimension, Folded, Graph, Model, Node, Probe, Probed, Shaped, Shapes, Tensor,
    Value, ValueInfo, open_batch,
};
use assay_reference::{Array, Random, Values, compare, probe, run};

const ANY: Values = Values::Uniform { low: -1.0, high: 1.0 };

/// A model of one input of shape `x`, batch included, written node by node.
struct Net {
    graph: Graph,
    sizes: Vec<usize>,
    random: Random,
}

impl Net {
    fn new(x: &[usize]) -> Self {
        let mut graph = Graph::default();
        let dims = x.iter().map(|&d| Dimension::Known(d)).collect();
        graph.inputs.push(ValueInfo::new("x", DataType::Float, dims));
        Self { graph, sizes: x.to_vec(), random: Random::new(3) }
    }

    /// `operator` of values or, written `[1,-1]`, of integers.
    fn op(&mut self, operator: &str, inputs: &[&str], output: &str) -> &mut Self {
        let mut names = Vec::new();
        for &input in inputs {
            if let Some(list) = input.strip_prefix('[') {
                let ints: Vec<i64> = list.trim_end_matches(']').split(',').map(|i| i.parse().unwrap()).collect();
                self.graph.initializers.insert(input.into(), Tensor::ints(&ints));
            }
            names.push((!input.is_empty()).then(|| Value::from(input)));
        }
        let outputs = output.split(' ').map(|o| Some(o.into())).collect();
        self.graph.nodes.push(Node::new(operator, names, outputs));
        self
    }

    fn set(&mut self, name: &str, value: impl Into<Attribute>) -> &mut Self {
        self.graph.nodes.last_mut().unwrap().attributes.insert(name.into(), value.into());
        self
    }

    fn weight(&mut self, name: &str, dims: &[usize]) -> &mut Self {
        let tensor = self.random.array(dims, &ANY).to_tensor();
        self.graph.initializers.insert(name.into(), tensor);
        self
    }

    fn constant(&mut self, name: &str, tensor: Tensor) -> &mut Self {
        self.graph.initializers.insert(name.into(), tensor);
        self
    }

    /// The file, with logits `y`.
    fn model(&self) -> Model {
        let mut graph = self.graph.clone();
        graph.outputs.push(ValueInfo::untyped("y".into()));
        Model::new(18, graph)
    }

    fn open(&self) -> Result<Canonical, String> {
        let mut shaped = seen(Canonical::new(self.model()).unwrap(), &self.sizes);
        loop {
            match shaped.folded().unwrap() {
                Folded::Done(shaped) => return open_batch(&shaped).map_err(|e| e.to_string()),
                Folded::Again { model, .. } => shaped = seen(model, &self.sizes),
            }
        }
    }

    /// Samples of a larger batch get what the file gives them in batches of its own size.
    #[track_caller]
    fn opens(&self) -> Shaped {
        let open = self.open().unwrap_or_else(|error| panic!("{error}"));
        let file = self.model();
        let fixed = self.sizes[0];
        let x = Random::new(7).array(&[&[6 * fixed], &self.sizes[1..]].concat(), &ANY);
        let rows = |of: &Array, from: usize, n: usize| {
            let each = of.f64().len() / (6 * fixed);
            let values = of.f64().iter().skip(from * each).take(n * each).copied().collect();
            Array::floats(&[&[n], &self.sizes[1..]].concat(), values)
        };
        let mut expected = Vec::new();
        for i in 0..6 {
            let y = &run(&file, &[("x", rows(&x, i * fixed, fixed))]).unwrap()["y"];
            expected.extend(y.f64().iter().copied());
        }
        let mut from = 0;
        for n in [1, 2, 3] {
            let y =
                &run(open.model(), &[("x", rows(&x, from, n))]).unwrap_or_else(|e| panic!("batch of {n}: {e}"))["y"];
            let classes = y.dims()[1];
            let wanted = Array::floats(&[n, classes], expected[from * classes..(from + n) * classes].to_vec());
            compare("a sample alone and in a batch", y.f64(), wanted.f64(), 1e-12);
            from += n;
        }
        let shaped = probe(open, &[("x", x)]);
        assert_eq!((shaped.input().unwrap().as_str(), shaped.logits().unwrap().as_str()), ("x", "y"));
        shaped
    }

    #[track_caller]
    fn refused(&self, message: &str) {
        let error = self.open().unwrap_err();
        assert!(error.contains(message), "\"{error}\" does not say \"{message}\"");
    }
}

/// What one run at the file's own batch size shows.
fn seen(canonical: Canonical, sizes: &[usize]) -> Shaped {
    let x = Random::new(1).array(sizes, &ANY);
    let values = run(canonical.model(), &[("x", x)]).unwrap();
    let probed = |array: Array| {
        let content = (array.dims().iter().product::<usize>() <= Probe::MAX_CONTENT).then(|| array.to_tensor());
        Probed { dtype: array.dtype, dims: array.dims().to_vec(), content }
    };
    let values = values.into_iter().map(|(value, array)| (value, probed(array))).collect();
    Shaped::new(canonical, Shapes::fixed(&Probe { batch: sizes[0], values })).unwrap()
}

#[test]
fn constant_targets_of_reshape_and_resize() {
    for fixed in [1, 2, 4] {
        let mut net = Net::new(&[fixed, 2, 4, 4]);
        let sizes = format!("[{fixed},2,8,8]");
        let (rows, flat, full) = (format!("[{fixed},2,4,-1]"), format!("[{fixed},-1]"), format!("[{fixed},64]"));
        net.weight("w", &[64, 3]).op("Resize", &["x", "", "", &sizes], "large");
        net.op("MaxPool", &["large"], "pooled").set("kernel_shape", vec![2, 2]).set("strides", vec![2, 2]);
        net.op("Reshape", &["pooled", &rows], "a").op("Reshape", &["a", &flat], "b");
        net.op("Concat", &["b", "b"], "c").set("axis", 1).op("Reshape", &["c", &full], "d").op(
            "MatMul",
            &["d", "w"],
            "y",
        );
        let shaped = net.opens();
        let a = &shaped.facts(&"a".into()).unwrap().dims;
        assert_eq!(a[..], [Dim::Batch(1), Dim::Fixed(2), Dim::Fixed(4), Dim::Fixed(4)]);
    }
}

/// A vision transformer's way: patches, a class token, positions, heads.
fn transformer(fixed: usize, token_copies: bool) -> Net {
    let mut net = Net::new(&[fixed, 3, 4, 4]);
    net.weight("patches", &[8, 3, 2, 2]).weight("positions", &[1, 5, 8]).weight("w", &[8, 24]).weight("head", &[8, 3]);
    net.op("Conv", &["x", "patches"], "grid").set("strides", vec![2, 2]);
    net.op("Reshape", &["grid", &format!("[{fixed},8,4]")], "columns");
    net.op("Transpose", &["columns"], "tokens").set("perm", vec![0, 2, 1]);
    let token = Random::new(9).array(&[1, 1, 8], &ANY).to_tensor();
    if token_copies {
        let copies: Vec<u8> = (0..fixed).flat_map(|_| token.bytes().to_vec()).collect();
        net.constant("class", Tensor::new(token.dtype(), vec![fixed, 1, 8], copies.into()).unwrap());
    } else {
        net.constant("token", token).op("Expand", &["token", &format!("[{fixed},-1,-1]").replace("-1", "1")], "class");
    }
    net.op("Concat", &["class", "tokens"], "with-class").set("axis", 1);
    net.op("Add", &["with-class", "positions"], "h").op("MatMul", &["h", "w"], "qkv");
    net
}

fn ending(mut net: Net) -> Net {
    net.op("Gather", &["mixed", "zero"], "chosen").set("axis", 1).op("MatMul", &["chosen", "head"], "y");
    net.constant("zero", Tensor::ints(&[0]).reshaped(vec![]).unwrap());
    net
}

#[test]
fn a_class_token_is_repeated_and_heads_stay_with_their_sample() {
    for (fixed, copies) in [(1, true), (1, false), (3, true), (3, false)] {
        let mut net = transformer(fixed, copies);
        net.op("Reshape", &["qkv", &format!("[{fixed},5,3,2,4]")], "split");
        net.op("Transpose", &["split"], "parts").set("perm", vec![2, 0, 3, 1, 4]);
        net.op("Split", &["parts", "[1,1,1]"], "q1 k1 v1").set("axis", 0);
        for name in ["q", "k", "v"] {
            net.op("Squeeze", &[&format!("{name}1"), "[0]"], name);
        }
        net.op("Transpose", &["k"], "kt").set("perm", vec![0, 1, 3, 2]).op("MatMul", &["q", "kt"], "scores");
        net.op("Softmax", &["scores"], "weights").op("MatMul", &["weights", "v"], "attended");
        net.op("Transpose", &["attended"], "back").set("perm", vec![0, 2, 1, 3]);
        net.op("Reshape", &["back", &format!("[{fixed},5,8]")], "mixed");
        ending(net).opens();
    }
}

#[test]
fn heads_merged_with_the_batch_in_sequence_first_order() {
    // As torch.nn.MultiheadAttention writes it: [sequence, batch, …], heads in the batch dimension, rows for the projection.
    let mut net = transformer(1, true);
    net.weight("projection", &[8, 8]);
    net.op("Transpose", &["qkv"], "first").set("perm", vec![1, 0, 2]);
    net.op("Reshape", &["first", "[5,1,3,8]"], "split").op("Unsqueeze", &["split", "[0]"], "led");
    net.op("Transpose", &["led"], "parts").set("perm", vec![3, 1, 2, 0, 4]).op("Squeeze", &["parts", "[3]"], "stacked");
    for (i, name) in ["q", "k", "v"].into_iter().enumerate() {
        let index = format!("index {name}");
        net.constant(&index, Tensor::ints(&[i as i64]).reshaped(vec![]).unwrap());
        net.op("Gather", &["stacked", &index], &format!("{name}-3")).set("axis", 0);
        net.op("Reshape", &[&format!("{name}-3"), "[5,2,4]"], &format!("{name}-heads"));
        net.op("Transpose", &[&format!("{name}-heads")], name).set("perm", vec![1, 0, 2]);
    }
    net.op("Transpose", &["k"], "kt").set("perm", vec![0, 2, 1]).op("MatMul", &["q", "kt"], "scores");
    net.op("Softmax", &["scores"], "weights").op("MatMul", &["weights", "v"], "attended");
    net.op("Transpose", &["attended"], "rows-first").set("perm", vec![1, 0, 2]).op(
        "Reshape",
        &["rows-first", "[5,8]"],
        "rows",
    );
    net.op("Gemm", &["rows", "projection"], "projected").op("Reshape", &["projected", "[5,1,8]"], "sequence");
    net.op("Transpose", &["sequence"], "mixed").set("perm", vec![1, 0, 2]);
    let shaped = ending(net).opens();
    let dims = |name: &str| shaped.facts(&name.into()).unwrap().dims.clone();
    assert_eq!(dims("q-heads"), [Dim::Fixed(5), Dim::Batch(2), Dim::Fixed(4)]);
    assert_eq!(dims("rows"), [Dim::Batch(5), Dim::Fixed(8)]);
}

#[test]
fn windows_merged_with_the_batch_and_their_masks() {
    let mut net = Net::new(&[1, 4, 4, 2]);
    net.weight("w", &[2, 2]).weight("mask", &[1, 4, 4, 2]).weight("scale", &[4, 4, 2]).weight("head", &[32, 3]);
    net.op("Slice", &["x", "[2]", "[9223372036854775807]", "[1]"], "low").op(
        "Slice",
        &["x", "[0]", "[2]", "[1]"],
        "high",
    );
    net.op("Concat", &["low", "high"], "rolled").set("axis", 1);
    net.op("Reshape", &["rolled", "[1,2,2,2,2,2]"], "cut");
    net.op("Transpose", &["cut"], "ordered").set("perm", vec![0, 1, 3, 2, 4, 5]).op(
        "Reshape",
        &["ordered", "[4,4,2]"],
        "windows",
    );
    net.op("MatMul", &["windows", "w"], "h");
    // A constant for each window meets [windows * batch, …] directly, and the mask after they were separated.
    net.op("Mul", &["h", "scale"], "scaled").op("Reshape", &["scaled", "[1,4,4,2]"], "apart");
    net.op("Add", &["apart", "mask"], "masked").op("Reshape", &["masked", "[4,4,2]"], "together");
    net.op("Reshape", &["together", "[1,2,2,2,2,2]"], "grid")
        .op("Transpose", &["grid"], "undone")
        .set("perm", vec![0, 1, 3, 2, 4, 5]);
    net.op("Reshape", &["undone", "[1,32]"], "flat").op("MatMul", &["flat", "head"], "y");
    let shaped = net.opens();
    assert_eq!(shaped.facts(&"windows".into()).unwrap().dims, [Dim::Batch(4), Dim::Fixed(4), Dim::Fixed(2)]);
}

#[test]
fn shapes_computed_at_the_fixed_size_are_constants_first() {
    let mut net = Net::new(&[1, 2, 3, 2]);
    net.weight("w", &[12, 3]).constant("zero", Tensor::ints(&[0]).reshaped(vec![]).unwrap());
    net.op("Shape", &["x"], "shape").op("Gather", &["shape", "zero"], "n").op("Unsqueeze", &["n", "[0]"], "n1");
    net.op("Concat", &["n1", "[-1]"], "target").set("axis", 0).op("Reshape", &["x", "target"], "flat");
    net.op("Gemm", &["flat", "w"], "y");
    net.opens();
}

#[test]
fn images_at_places_that_are_constant_or_computed() {
    for fixed in [1, 2] {
        let mut net = Net::new(&[fixed, 2, 3, 3]);
        let place: Vec<f32> = (0..8).map(|i| (i * 5 % 8) as f32 / 4.0 - 1.0).collect();
        net.constant("places", Tensor::floats(&[fixed, 2, 2, 2], &place.repeat(fixed))).weight("to places", &[18, 8]);
        net.op("GridSample", &["x", "places"], "parts").op("Flatten", &["x"], "all");
        net.op("MatMul", &["all", "to places"], "eight").op(
            "Reshape",
            &["eight", &format!("[{fixed},2,2,2]")],
            "found",
        );
        net.op("GridSample", &["parts", "found"], "sampled").op("Flatten", &["sampled"], "y");
        net.opens();
    }
}

#[test]
fn a_model_that_mixes_samples_is_refused() {
    let mut net = Net::new(&[2, 3]);
    net.op("ReduceMean", &["x", "[0]"], "mean").op("Sub", &["x", "mean"], "y");
    net.refused("(ReduceMean): unsupported: it mixes the samples of a batch");

    let mut net = Net::new(&[2, 3]);
    net.weight("each its own", &[2, 3]).op("Add", &["x", "each its own"], "y");
    net.refused("\"each its own\" differs from sample to sample");

    let mut net = Net::new(&[1, 3]);
    net.op("Squeeze", &["x", "[0]"], "row").op("Unsqueeze", &["row", "[0]"], "y");
    net.refused("(Squeeze): unsupported: it removes the batch dimension");
}
