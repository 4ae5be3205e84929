//! Interval and linear bounds of small nets of all operators that have them, against the points of their boxes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::HashMap;

use assay_graph::{
    Attribute, Intermediate, LinearBounds, LinearOptions, Model, Region, Relaxed, Shaped, Slopes, Specification,
    Target, Value, interval, linear_bounds,
};
use assay_reference::{Array, Case, Net, Random, Values, check_first, run};
use ndarray::{ArrayD, Axis, IxDyn};

/// Constants that rules write are rounded to f32.
const ROUNDING: f64 = 1e-5;

/// A net with a box around each of a few samples, and what is bounded there.
struct Boxed {
    name: String,
    model: Model,
    shaped: Shaped,
    x: ArrayD<f64>,
    radius: f64,
    rows: ArrayD<f64>,
}

const SAMPLES: usize = 2;
const ROWS: usize = 3;

impl Boxed {
    fn new(name: &str, net: &Net, radius: f64) -> Self {
        let shaped = net.shaped();
        let model = shaped.model().clone();
        let x = net.x(SAMPLES).f64().clone();
        let classes = values(&model, &x)["z"].dims()[1];
        let mut random = Random::new(5);
        let rows = ArrayD::from_shape_simple_fn(IxDyn(&[SAMPLES, ROWS, classes]), || random.uniform(-1.0, 1.0));
        Self { name: name.to_owned(), model, shaped, x, radius, rows }
    }

    fn ends(&self) -> [ArrayD<f64>; 2] {
        [&self.x - self.radius, &self.x + self.radius]
    }

    /// The middle, random corners and random points of the boxes.
    fn points(&self) -> Vec<ArrayD<f64>> {
        let mut random = Random::new(6);
        let mut points = vec![self.x.clone()];
        for _ in 0..40 {
            points.push(self.x.mapv(|x| x + self.radius * random.uniform(-1.0, 1.0)));
            points.push(self.x.mapv(|x| x + self.radius * random.uniform(-1.0, 1.0).signum()));
        }
        points
    }

    /// `rows · logits`, `[n, rows]`.
    fn margins(&self, logits: &ArrayD<f64>) -> ArrayD<f64> {
        let logits = logits.clone().insert_axis(Axis(1));
        (&self.rows * &logits).sum_axis(Axis(2))
    }

    fn linear(&self, target: Target, intermediate: Intermediate, slopes: Slopes, region: Region) -> LinearBounds {
        let options = LinearOptions { target, intermediate, slopes, region };
        linear_bounds(&self.shaped, &options).unwrap_or_else(|e| panic!("{}: {e}", self.name))
    }

    /// Bounds of `graph` for these boxes.
    fn run(&self, graph: &LinearBounds, rows: Array, layers: &Layers, slopes: &mut impl FnMut() -> f64) -> ArrayD<f64> {
        let [lower, upper] = self.ends();
        let mut inputs = vec![
            (graph.samples.lower.clone(), float(lower)),
            (graph.samples.upper.clone(), float(upper)),
            (graph.rows.clone(), rows),
        ];
        if let Some((centre, radius)) = &graph.ball {
            inputs.push((centre.clone(), float(self.x.clone())));
            inputs.push((radius.clone(), float(ArrayD::from_elem(IxDyn(&[SAMPLES]), self.radius))));
        }
        for layer in &graph.layers {
            if let Some([lower, upper]) = layers.get(&layer.value) {
                inputs.push((layer.bounds.lower.clone(), float(lower.clone())));
                inputs.push((layer.bounds.upper.clone(), float(upper.clone())));
            }
        }
        for (value, slope) in &graph.slopes {
            let features = graph.layers.iter().find(|l| l.value == *value).unwrap().features();
            let shape = IxDyn(&[SAMPLES, ROWS, features]);
            inputs.push((slope.clone(), float(ArrayD::from_shape_simple_fn(shape, &mut *slopes))));
        }
        self.values(&graph.model, &inputs)[&graph.bounds].f64().clone()
    }

    fn values(&self, model: &Model, inputs: &[(Value, Array)]) -> HashMap<Value, Array> {
        let inputs: Vec<(&str, Array)> = inputs.iter().map(|(name, array)| (name.as_str(), array.clone())).collect();
        run(model, &inputs).unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }
}

/// Bounds of values of the source model.
type Layers = HashMap<Value, [ArrayD<f64>; 2]>;

#[allow(clippy::needless_pass_by_value)] // So that inputs read well.
fn float(numbers: ArrayD<f64>) -> Array {
    Array::floats(numbers.shape(), numbers.iter().copied().collect())
}

fn values(model: &Model, x: &ArrayD<f64>) -> HashMap<Value, Array> {
    run(model, &[("x", float(x.clone()))]).unwrap_or_else(|error| panic!("{error}"))
}

#[track_caller]
fn assert_below(what: &str, low: &ArrayD<f64>, value: &ArrayD<f64>) {
    assert_eq!(low.shape(), value.shape(), "{what}: shape");
    for (at, (low, value)) in low.iter().zip(value).enumerate() {
        let tolerance = ROUNDING * value.abs().max(1.0);
        assert!(*low <= value + tolerance, "{what}: element {at}: {low} is not below {value}");
    }
}

#[track_caller]
fn assert_same(what: &str, found: &ArrayD<f64>, expected: &ArrayD<f64>) {
    assert_below(what, found, expected);
    assert_below(what, expected, found);
}

/// Interval bounds of the margins, and of the values that functions which are not affine read.
fn intervals(boxed: &Boxed) -> (ArrayD<f64>, Layers) {
    let graph = interval(&boxed.shaped, Specification::Matrix { rows: None });
    let graph = graph.unwrap_or_else(|e| panic!("{}: {e}", boxed.name));
    let [lower, upper] = boxed.ends();
    let inputs = [
        (graph.samples.lower.clone(), float(lower)),
        (graph.samples.upper.clone(), float(upper)),
        (graph.specification.clone(), float(boxed.rows.clone())),
    ];
    let found = boxed.values(&graph.model, &inputs);
    let ends = |layer: &Relaxed| [&layer.bounds.lower, &layer.bounds.upper].map(|end| found[end].f64().clone());
    let mut layers: Layers = graph.layers.iter().map(|layer| (layer.value.clone(), ends(layer))).collect();
    let logits = [&graph.logits.lower, &graph.logits.upper].map(|end| found[end].f64().clone());
    layers.insert("z".into(), logits);
    (found[&graph.margins].f64().clone(), layers)
}

/// Bounds of all elements of the values that functions which are not affine read, layer by layer.
fn crown(boxed: &Boxed, names: &[Relaxed]) -> Layers {
    let mut layers = Layers::new();
    for layer in names {
        let target = Target::Elements(layer.value.clone());
        let graph = boxed.linear(target, Intermediate::Given, Slopes::Adaptive, Region::Box);
        let all = (0..SAMPLES).flat_map(|_| 0..layer.features() as i64).collect();
        let chosen = Array::ints(&[SAMPLES, layer.features()], all);
        let found = boxed.run(&graph, chosen, &layers, &mut || 0.0);
        let shape = [&[SAMPLES], &layer.shape[..]].concat();
        let halves = |from: usize| {
            let half = found.slice_axis(Axis(1), (from..from + layer.features()).into());
            half.as_standard_layout().into_owned().into_shape_with_order(shape.clone()).unwrap()
        };
        layers.insert(layer.value.clone(), [halves(0), -halves(layer.features())]);
    }
    layers
}

/// Checks all bounds of `net` in boxes of several radii:
///
/// - no point of a box leaves them, neither at the end nor in between, with slopes of any choice;
/// - without a radius they are what the net computes;
/// - interval bounds of a smaller box lie within those of a larger one;
/// - linear bounds on interval bounds are the same whether these are given or computed in the graph;
/// - in a ball they are at least as high as in the box around it.
#[track_caller]
fn check_bounds(name: &str, net: &Net) {
    let mut before: Option<ArrayD<f64>> = None;
    for radius in [0.0, 0.01, 0.1, 0.5] {
        let boxed = Boxed::new(&format!("{name}, radius {radius}"), net, radius);
        let name = &boxed.name;
        let rows = || float(boxed.rows.clone());
        let (margins, layers) = intervals(&boxed);
        let one = Target::Margins(Specification::Matrix { rows: None });
        let (given, computed) = (Intermediate::Given, Intermediate::Interval);
        let (box_, adaptive) = (Region::Box, Slopes::Adaptive);
        let mut random = Random::new(8);
        let mut any = || random.uniform(0.0, 1.0);

        let on_intervals = boxed.linear(one.clone(), given, adaptive, box_);
        let crown_layers = crown(&boxed, &on_intervals.layers);
        let crown_ibp = boxed.run(&on_intervals, rows(), &layers, &mut any);
        let again = boxed.linear(one.clone(), computed, adaptive, box_);
        assert_same(name, &boxed.run(&again, rows(), &Layers::new(), &mut any), &crown_ibp);
        let full = boxed.run(&on_intervals, rows(), &crown_layers, &mut any);
        let sloped = boxed.linear(one.clone(), given, Slopes::Given { rows: ROWS }, box_);
        let sloped = boxed.run(&sloped, rows(), &crown_layers, &mut any);
        let balls = [Region::L2, Region::L1].map(|region| {
            let graph = boxed.linear(one.clone(), given, adaptive, region);
            boxed.run(&graph, rows(), &crown_layers, &mut any)
        });
        balls.iter().for_each(|ball| assert_below(name, &full, ball));

        for (at, point) in boxed.points().iter().enumerate() {
            let found = values(&boxed.model, point);
            let truth = boxed.margins(found["z"].f64());
            for (method, bound) in
                [("interval", &margins), ("CROWN-IBP", &crown_ibp), ("CROWN", &full), ("any slopes", &sloped)]
            {
                assert_below(&format!("{name}: {method}, point {at}"), bound, &truth);
                if radius == 0.0 {
                    assert_same(&format!("{name}: {method}"), bound, &truth);
                }
            }
            for (value, [lower, upper]) in layers.iter().chain(&crown_layers) {
                let inside = found[value].f64();
                assert_below(&format!("{name}: \"{value}\""), lower, inside);
                assert_below(&format!("{name}: \"{value}\""), inside, upper);
            }
            // In a ball there are fewer points.
            let offset = point - &boxed.x;
            for (ball, power) in balls.iter().zip([2, 1]) {
                let norm = |row: ndarray::ArrayViewD<'_, f64>| row.iter().map(|d| d.abs().powi(power)).sum::<f64>();
                let mut nearer = boxed.x.clone();
                for ((mut to, offset), _) in nearer.outer_iter_mut().zip(offset.outer_iter()).zip(0..) {
                    let length = norm(offset.view()).powf(1.0 / f64::from(power));
                    to.zip_mut_with(&offset, |to, d| *to += d * (radius / length.max(1e-12)).min(1.0));
                }
                let truth = boxed.margins(values(&boxed.model, &nearer)["z"].f64());
                assert_below(&format!("{name}: ball of power {power}"), ball, &truth);
            }
        }
        if let Some(smaller) = before.replace(margins.clone()) {
            assert_below(&format!("{name}: nested"), &margins, &smaller);
        }
    }
}

fn ints(list: &[i64]) -> Attribute {
    list.to_vec().into()
}

#[test]
fn convolutions_in_groups_with_batch_norms() {
    let net = Net::new(&[2, 6, 6])
        .conv("x -> a", &[4, 2, 3, 3], &[])
        .norm("a -> b", 4)
        .node("Relu", "b -> c", &[])
        .conv("c -> d", &[4, 2, 3, 3], &[("group", 2.into()), ("strides", ints(&[2, 2]))])
        .node("LeakyRelu", "d -> e", &[("alpha", 0.25.into())])
        .head("e", 4);
    check_bounds("in groups", &net);
}

#[test]
fn a_residual_net() {
    let net = Net::new(&[2, 6, 6])
        .conv("x -> a", &[4, 2, 3, 3], &[("strides", ints(&[2, 2]))])
        .node("Relu", "a -> b", &[])
        .conv("b -> c", &[4, 4, 3, 3], &[])
        .node("Relu", "c -> d", &[])
        .conv("d -> e", &[4, 4, 3, 3], &[])
        .node("Add", "e b -> f", &[])
        .node("Relu", "f -> g", &[])
        .head("g", 4);
    check_bounds("residual", &net);
}

#[test]
fn pools() {
    let pool = |pads: [i64; 4], strides: [i64; 2]| {
        [("kernel_shape", ints(&[3, 2])), ("pads", ints(&pads)), ("strides", ints(&strides))]
    };
    for (name, pads, strides) in [("padded", [1, 0, 1, 1], [2, 2]), ("overlapping", [0, 0, 0, 0], [1, 1])] {
        let net = Net::new(&[2, 6, 6])
            .conv("x -> a", &[2, 2, 3, 3], &[])
            .node("MaxPool", "a -> b", &pool(pads, strides))
            .conv("b -> c", &[3, 2, 3, 3], &[])
            .node("Relu", "c -> d", &[])
            .node(
                "AveragePool",
                "d -> e",
                &[&pool([1, 0, 1, 1], [1, 2])[..], &[("count_include_pad", 0.into())]].concat(),
            )
            .head("e", 3);
        check_bounds(name, &net);
    }
}

#[test]
fn arithmetic_with_constants() {
    let net = Net::new(&[3, 4])
        .floats("mean", &[3, 1], &[0.1, -0.2, 0.3])
        .floats("std", &[3, 1], &[0.5, -0.7, 0.9])
        .node("Sub", "x mean -> a", &[])
        .node("Div", "a std -> b", &[])
        .node("Mul", "std b -> c", &[])
        .node("Neg", "c -> d", &[])
        .node("Sub", "mean d -> e", &[])
        .weight("w", &[4, 5])
        .node("MatMul", "e w -> f", &[])
        .weight("bias", &[5])
        .node("Add", "bias f -> g", &[])
        .node("Relu", "g -> h", &[])
        .node("Sub", "h f -> i", &[])
        .weight("left", &[2, 3])
        .node("MatMul", "left i -> j", &[])
        .ints("axes", &[2])
        .node("ReduceSum", "j axes -> k", &[("keepdims", 1.into())])
        .node("ReduceMean", "j axes -> l", &[("keepdims", 1.into())])
        .node("Sum", "k l mean2 -> m", &[])
        .floats("mean2", &[2, 1], &[0.25, 0.5])
        .node("Tanh", "m -> o", &[])
        .node("Flatten", "o -> p", &[])
        .weight("last", &[2, 3])
        .weight("last.bias", &[3])
        .node("Gemm", "p last last.bias -> z", &[("alpha", (-0.5).into()), ("beta", 2.0.into())]);
    check_bounds("arithmetic", &net);
}

#[test]
fn changes_of_shape() {
    let net = Net::new(&[2, 3, 4])
        .node("Transpose", "x -> a", &[("perm", ints(&[0, 3, 1, 2]))])
        .conv("a -> b", &[3, 4, 3, 3], &[])
        .ints("pads", &[0, 0, 1, 0, 0, 0, 0, 2])
        .floats("filler", &[], &[0.5])
        .node("Pad", "b pads filler -> c", &[])
        .node("Clip", "c low high -> d", &[])
        .floats("low", &[], &[-0.4])
        .floats("high", &[], &[0.6])
        .ints("starts", &[1])
        .ints("ends", &[5])
        .ints("axis", &[3])
        .ints("steps", &[2])
        .node("Slice", "d starts ends axis steps -> e", &[])
        .floats("pane", &[1, 3, 3, 2], &[0.25; 18])
        .node("Neg", "e -> f", &[])
        .node("Concat", "e f -> g", &[("axis", 1.into())])
        .floats("none", &[0], &[])
        .floats("scales", &[4], &[1.0, 1.0, 2.0, 2.0])
        .node(
            "Resize",
            "g none scales -> h",
            &[("mode", "nearest".into()), ("coordinate_transformation_mode", "asymmetric".into())],
        )
        .ints("shape", &[0, 6, 24])
        .node("Reshape", "h shape -> i", &[])
        .ints("one", &[1])
        .node("Unsqueeze", "i one -> j", &[])
        .node("Squeeze", "j one -> k", &[])
        .node("Sigmoid", "k -> l", &[])
        .node("Flatten", "l -> m", &[])
        .dense("m -> z", [3, 144]);
    check_bounds("shapes", &net);
}

/// Bounds of `f(x) + a x` for many `a` on the interval of each sample: the lines lie around the function only if all are sound.
#[test]
fn lines_lie_around_functions() {
    let mut random = Random::new(12);
    let mut number = |low, high| random.uniform(low, high);
    let count = 300;
    let mut ends: Vec<[f64; 2]> = (0..count)
        .map(|i| {
            let size = [0.01, 1.0, 6.0][i % 3];
            let (a, b) = (number(-size, size), number(-size, size));
            [f64::min(a, b), f64::max(a, b)]
        })
        .collect();
    ends.extend([
        [0.0, 0.0],
        [-1.0, 0.0],
        [0.0, 1.0],
        [-0.4, 0.6],
        [-3.0, -3.0],
        [2.0, 2.0],
        [-20.0, 20.0],
        [0.6, 0.7],
    ]);
    let tilts: Vec<f32> = (-10..=10).map(|a| a as f32 / 5.0).collect();
    let plain = |operator: &'static str, attributes: &'static [(&'static str, f32)]| {
        let attributes: Vec<(&str, Attribute)> =
            attributes.iter().map(|(name, value)| (*name, (*value).into())).collect();
        move |net: Net| net.node(operator, "x -> a", &attributes)
    };
    let clip = |wires: &'static str| {
        move |net: Net| net.floats("low", &[], &[-0.4]).floats("high", &[], &[0.6]).node("Clip", wires, &[])
    };
    check_lines("Relu", plain("Relu", &[]), &ends, &tilts);
    check_lines("LeakyRelu", plain("LeakyRelu", &[("alpha", 0.3)]), &ends, &tilts);
    check_lines("Sigmoid", plain("Sigmoid", &[]), &ends, &tilts);
    check_lines("Tanh", plain("Tanh", &[]), &ends, &tilts);
    check_lines("Clip", clip("x low high -> a"), &ends, &tilts);
    check_lines("Clip from below", clip("x low _ -> a"), &ends, &tilts);
    check_lines("Clip from above", clip("x _ high -> a"), &ends, &tilts);
}

#[track_caller]
fn check_lines(name: &str, function: impl Fn(Net) -> Net, ends: &[[f64; 2]], tilts: &[f32]) {
    const GRID: usize = 400;
    let ones = vec![1.0; tilts.len()];
    let net = function(Net::new(&[1]))
        .floats("ones", &[1, tilts.len()], &ones)
        .floats("tilts", &[1, tilts.len()], tilts)
        .node("MatMul", "a ones -> b", &[])
        .node("MatMul", "x tilts -> c", &[])
        .node("Add", "b c -> z", &[]);
    let shaped = net.shaped();
    let column =
        |i: usize| ArrayD::from_shape_vec(IxDyn(&[ends.len(), 1]), ends.iter().map(|e| e[i]).collect()).unwrap();
    let signs = |sign: f64| {
        let shape = IxDyn(&[ends.len(), tilts.len(), tilts.len()]);
        ArrayD::from_shape_fn(shape, |at| if at[1] == at[2] { sign } else { 0.0 })
    };
    let slopes = if matches!(name, "Relu" | "LeakyRelu") { vec![None, Some(0.3)] } else { vec![None] };
    for slope in slopes {
        for sign in [1.0, -1.0] {
            let given = slope.map_or(Slopes::Adaptive, |_| Slopes::Given { rows: tilts.len() });
            let options = LinearOptions {
                target: Target::Margins(Specification::Matrix { rows: None }),
                intermediate: Intermediate::Interval,
                slopes: given,
                region: Region::Box,
            };
            let graph = linear_bounds(&shaped, &options).unwrap();
            let mut inputs = vec![
                (graph.samples.lower.as_str(), float(column(0))),
                (graph.samples.upper.as_str(), float(column(1))),
                (graph.rows.as_str(), float(signs(sign))),
            ];
            let all = ArrayD::from_elem(IxDyn(&[ends.len(), tilts.len(), 1]), slope.unwrap_or(0.0));
            inputs.extend(graph.slopes.iter().map(|(_, input)| (input.as_str(), float(all.clone()))));
            let found = run(&graph.model, &inputs).unwrap();
            let bounds = found[&graph.bounds].f64();
            for step in 0..=GRID {
                let x = column(0) + (column(1) - column(0)) * (step as f64 / GRID as f64);
                let truth = values(shaped.model(), &x)["z"].f64() * sign;
                assert_below(&format!("{name}, sign {sign}, slope {slope:?}, step {step}"), bounds, &truth);
            }
        }
    }
}

#[test]
fn the_class_of_the_label_has_a_margin_of_zero_to_itself() {
    let net = Net::new(&[3]).dense("x -> a", [5, 3]).node("Relu", "a -> b", &[]).dense("b -> z", [4, 5]);
    let boxed = Boxed::new("labels", &net, 0.1);
    let graph = interval(&boxed.shaped, Specification::Labels).unwrap();
    let [lower, upper] = boxed.ends();
    let labels = [2, 0];
    let inputs = [
        (graph.samples.lower.clone(), float(lower)),
        (graph.samples.upper.clone(), float(upper)),
        (graph.specification.clone(), Array::ints(&[2], labels.to_vec())),
    ];
    let found = boxed.values(&graph.model, &inputs);
    let margins = found[&graph.margins].f64();
    let mut own = boxed;
    own.rows = ArrayD::from_shape_fn(IxDyn(&[2, 4, 4]), |at| {
        f64::from(u8::from(at[2] == labels[at[0]] as usize)) - f64::from(u8::from(at[2] == at[1]))
    });
    assert_same("labels", margins, &intervals(&own).0);
    assert!(margins[[0, 2].as_ref()].abs() < 1e-12 && margins[[1, 0].as_ref()].abs() < 1e-12, "{margins}");
}

#[test]
fn one_layer_is_exact() {
    let net = Net::new(&[6]).dense("x -> z", [3, 6]);
    let boxed = Boxed::new("linear", &net, 0.3);
    let weights = Array::from_tensor(&net.graph.initializers["z.w"]).unwrap();
    let [lower, upper] = boxed.ends();
    let expected = ArrayD::from_shape_fn(IxDyn(&[SAMPLES, ROWS]), |at| {
        let row = boxed.rows.index_axis(Axis(0), at[0]).index_axis(Axis(0), at[1]).to_owned();
        let coefficient = |j: usize| (0..3).map(|i| row[[i].as_ref()] * weights.f64()[[i, j].as_ref()]).sum::<f64>();
        let bias = Array::from_tensor(&net.graph.initializers["z.b"]).unwrap();
        let offset: f64 = (0..3).map(|i| row[[i].as_ref()] * bias.f64()[[i].as_ref()]).sum();
        let least = |j: usize| {
            let a = coefficient(j);
            a * if a > 0.0 { lower[[at[0], j].as_ref()] } else { upper[[at[0], j].as_ref()] }
        };
        offset + (0..6).map(least).sum::<f64>()
    });
    assert_same("interval", &intervals(&boxed).0, &expected);
    let one = Target::Margins(Specification::Matrix { rows: None });
    let graph = boxed.linear(one, Intermediate::Interval, Slopes::Adaptive, Region::Box);
    assert_same("CROWN", &boxed.run(&graph, float(boxed.rows.clone()), &Layers::new(), &mut || 0.0), &expected);
}

/// Training on bounds differentiates them, so every operator that the rules write needs a gradient rule.
#[test]
fn bounds_have_gradients() {
    let net = Net::new(&[2, 5, 5])
        .conv("x -> a", &[3, 2, 3, 3], &[])
        .norm("a -> b", 3)
        .node("Relu", "b -> c", &[])
        .node("MaxPool", "c -> d", &[("kernel_shape", ints(&[2, 2])), ("strides", ints(&[2, 2]))])
        .node("Flatten", "d -> e", &[])
        .dense("e -> f", [4, 12])
        .node("Tanh", "f -> g", &[])
        .dense("g -> z", [3, 4]);
    let shaped = net.shaped();
    let far = Values::uniform(0.3, 0.6);
    let rows = Specification::Matrix { rows: Some(2) };
    let intervals = interval(&shaped, rows).unwrap();
    let mut model = intervals.model;
    model.graph.outputs.retain(|o| o.value == intervals.margins);
    let case = Case::graph("interval", model)
        .feed("x", &[2, 5, 5], Values::uniform(-1.0, -0.7))
        .feed("upper", &[2, 5, 5], far.clone())
        .feed("specification", &[2, 3], Values::uniform(-1.0, 1.0));
    check_first(&case);

    let (target, intermediate) = (Target::Margins(rows), Intermediate::Interval);
    let options = LinearOptions { target, intermediate, slopes: Slopes::Given { rows: 2 }, region: Region::Box };
    let linear = linear_bounds(&shaped, &options).unwrap();
    let slope = &linear.slopes[0];
    let features = linear.layers.iter().find(|l| l.value == slope.0).unwrap().features();
    let case = Case::graph("linear bounds", linear.model.clone())
        .feed("x", &[2, 5, 5], Values::uniform(-1.0, -0.7))
        .feed("upper", &[2, 5, 5], far)
        .feed("specification", &[2, 3], Values::uniform(-1.0, 1.0))
        .feed(slope.1.as_str(), &[2, features], Values::uniform(0.1, 0.9));
    check_first(&case);
}

#[test]
fn what_has_no_bounds_is_refused_by_transformation_operator_and_node() {
    let nets = [
        Net::new(&[4]).node("Sin", "x -> a", &[]).dense("a -> z", [2, 4]),
        Net::new(&[4]).node("Mul", "x x -> a", &[]).dense("a -> z", [2, 4]),
        Net::new(&[4]).node("LeakyRelu", "x -> a", &[("alpha", (-0.5).into())]).dense("a -> z", [2, 4]),
        Net::new(&[4]).node("Softmax", "x -> a", &[]).dense("a -> z", [2, 4]),
    ];
    let errors: Vec<String> = nets
        .iter()
        .flat_map(|net| {
            let shaped = net.shaped();
            let target = Target::Margins(Specification::Labels);
            let options = LinearOptions {
                target,
                intermediate: Intermediate::Given,
                slopes: Slopes::Adaptive,
                region: Region::Box,
            };
            [
                interval(&shaped, Specification::Labels).unwrap_err().to_string(),
                linear_bounds(&shaped, &options).unwrap_err().to_string(),
            ]
        })
        .collect();
    insta::assert_snapshot!(errors.join("\n"), @r#"
    interval: node "the a" (Sin): no rule for this operator; remove it from the model or use a method that does not need it
    linear_bounds: node "the a" (Sin): no rule for this operator; remove it from the model or use a method that does not need it
    interval: node "the a" (Mul): unsupported: Mul of two values that both depend on the sample; one of them must be constant
    linear_bounds: node "the a" (Mul): unsupported: Mul of two values that both depend on the sample; one of them must be constant
    interval: node "the a" (LeakyRelu): unsupported: alpha -0.5; bounds need 0 <= alpha < 1
    linear_bounds: node "the a" (LeakyRelu): unsupported: alpha -0.5; bounds need 0 <= alpha < 1
    interval: node "the a" (Softmax): no rule for this operator; remove it from the model or use a method that does not need it
    linear_bounds: node "the a" (Softmax): no rule for this operator; remove it from the model or use a method that does not need it
    "#);
}
