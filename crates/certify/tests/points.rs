//! A hundred thousand points of a neighbourhood, random ones, corners and where attacks lead, and no bound of a margin or of a value inside the net that one of
//! them leaves.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

mod support;

use assay_attack::{Bounds, Norm, Threat};
use assay_certify::{Certificate, Certifier, CertifierOptions, Ends, Job, Method, Neighbourhood, Until};
use assay_graph::{Dimension, Value, ValueInfo};
use assay_reference::{Random, material};
use assay_runtime::{Array, Class, Classifier, ClassifierOptions, Engine, EngineOptions, OnnxRuntime, Tensors};
use ndarray::{Array2, ArrayView2, ArrayViewD, Axis};
use support::compared::{MARABOU, RUNS, file, flat, indices};
use support::nets::{FEATURES, nets};
use support::{certifier, certify, runtime};

const POINTS: usize = 100_000;
/// Points in one run.
const BATCH: usize = 500;
/// What binary32 may add to a value inside the net, relative to the largest of its layer, at least 1.
const ROUNDING: f32 = 1e-5;

/// What is promised of one sample.
struct Promised {
    label: usize,
    certificate: Certificate,
    /// The bounds of the values inside the net, by method.
    inside: Vec<(Method, Vec<(Value, Ends)>)>,
}

impl Promised {
    /// Of the class that the net gives to the sample.
    fn of<'a>(
        certifier: &mut Certifier,
        x: &'a Array2<f32>,
        labels: &'a [Class; 1],
        neighbourhood: Neighbourhood<'a>,
        methods: &'a [Method],
    ) -> Self {
        let label = labels[0].index();
        let job = Job { images: x.view(), labels, neighbourhood, methods, until: Until::All };
        let certificate = certify(certifier, &job).swap_remove(0);
        let inside = methods.iter().map(|&m| (m, certifier.intermediate(&neighbourhood, &x.view(), m).unwrap()));
        let inside = inside.collect();
        Self { label, certificate, inside }
    }

    /// Whether a value is inside its bounds, and each margin above its own, at all of these points.
    fn holds_at(&self, points: &ArrayView2<'_, f32>, watched: &Watched) {
        points.axis_chunks_iter(Axis(0), watched.batch).for_each(|points| self.holds_at_all(&points, watched));
    }

    fn holds_at_all(&self, points: &ArrayView2<'_, f32>, watched: &Watched) {
        let found = watched.run(points);
        let logits = floats(&found, &watched.logits);
        let classes = logits.shape()[1];
        for (at, row) in logits.axis_iter(Axis(0)).enumerate() {
            let margin = |other: usize| row[[self.label]] - row[[other]];
            let truth: Vec<f32> = (0..classes).filter(|&class| class != self.label).map(margin).collect();
            for bounds in &self.certificate.bounds {
                for (bound, truth) in bounds.margins.iter().zip(&truth) {
                    let method = bounds.method;
                    assert!(*bound <= truth + bounds.slack, "{method}: {truth} is below {bound} at point {at}");
                }
            }
        }
        for (method, inside) in &self.inside {
            for (value, [low, high]) in inside {
                let largest = low.iter().chain(high).fold(1.0f32, |most, end| most.max(end.abs()));
                let slack = ROUNDING * largest;
                let (low, high) = (low.as_slice().unwrap(), high.as_slice().unwrap());
                for row in floats(&found, value).axis_iter(Axis(0)) {
                    for ((x, low), high) in row.iter().zip(low).zip(high) {
                        assert!(
                            *x >= low - slack && *x <= high + slack,
                            "{method}: {x} of \"{value}\" is outside of {low} to {high}"
                        );
                    }
                }
            }
        }
    }
}

fn label(certifier: &Certifier, x: &Array2<f32>) -> [Class; 1] {
    let logits = certifier.classifier().logits(x.view()).unwrap();
    let label = (0..logits.ncols()).max_by(|&a, &b| logits[[0, a]].total_cmp(&logits[[0, b]])).unwrap();
    [Class(label as u32)]
}

/// The net with the values inside it as outputs.
struct Watched {
    engine: Engine,
    input: String,
    shape: Vec<usize>,
    logits: Value,
    /// Points in one run: some files take one, and no more.
    batch: usize,
}

impl Watched {
    fn new(runtime: &OnnxRuntime, certifier: &Certifier, promised: &Promised) -> Self {
        let model = certifier.classifier().model();
        let (logits, input) = (model.logits().unwrap().clone(), model.input().unwrap().to_string());
        let mut whole = model.model().clone();
        let values = promised.inside.iter().flat_map(|(_, inside)| inside.iter().map(|(value, _)| value.clone()));
        for value in values {
            // The input itself may be read by what is not affine.
            let is_new = whole.graph.outputs.iter().all(|output| output.value != value) && value.to_string() != input;
            whole.graph.outputs.extend(is_new.then(|| ValueInfo::untyped(value)));
        }
        let given = whole.graph.inputs.iter().find(|given| given.value.to_string() == input).unwrap();
        let batch = match given.shape.as_deref().and_then(|shape| shape.first()) {
            Some(Dimension::Known(size)) => *size,
            _ => BATCH,
        };
        let engine = Engine::start(runtime, &whole.to_bytes(), &EngineOptions::default()).unwrap();
        Self { engine, input, shape: certifier.classifier().spec().sample_shape.clone(), logits, batch }
    }

    /// The values at these points, by their names.
    fn run(&self, points: &ArrayView2<'_, f32>) -> Tensors {
        let shape: Vec<usize> = std::iter::once(points.nrows()).chain(self.shape.iter().copied()).collect();
        let given = Array::Float(points.to_owned().into_shape_with_order(shape).unwrap());
        let mut found = self.engine.run(Tensors::from_iter([(self.input.clone(), given.clone())])).unwrap();
        found.insert(self.input.clone(), given);
        found
    }
}

fn floats<'t>(tensors: &'t Tensors, value: &Value) -> ArrayViewD<'t, f32> {
    match &tensors[&value.to_string()] {
        Array::Float(values) => values.view(),
        other => panic!("{value}: {other:?}"),
    }
}

/// So many points of a neighbourhood, in batches: a fiftieth of them where the descent on the margins leads, then corners and random ones. `project` moves a
/// point into the neighbourhood, `ends` are those of the box around it.
fn points(
    certifier: &Certifier,
    promised: &Promised,
    x: &Array2<f32>,
    ends: [&[f32]; 2],
    project: &dyn Fn(&mut [f32]),
    check: &mut dyn FnMut(&ArrayView2<'_, f32>),
) {
    let (classifier, features) = (certifier.classifier(), x.ncols());
    let mut random = Random::new(5);
    let mut seen = 0;
    let steps = 20;
    while seen < POINTS / 50 {
        let mut batch = x.select(Axis(0), &[0; BATCH]);
        let classes = classifier.spec().classes;
        let mut cotangent = Array2::zeros((BATCH, classes));
        for (at, mut row) in cotangent.rows_mut().into_iter().enumerate() {
            row[promised.label] = -1.0f32;
            row[(promised.label + 1 + at % (classes - 1)) % classes] = 1.0;
        }
        for step in 0..steps {
            let gradient = classifier.vjp(batch.view(), cotangent.view()).unwrap().gradient;
            for (mut point, gradient) in batch.rows_mut().into_iter().zip(gradient.rows()) {
                let share = random.uniform(0.05, 0.5) as f32 / (1.0 + step as f32 / 4.0);
                for (at, (x, g)) in point.iter_mut().zip(gradient).enumerate() {
                    *x += share * (ends[1][at] - ends[0][at]) * if *g == 0.0 { 0.0 } else { g.signum() };
                }
                project(point.as_slice_mut().unwrap());
            }
            check(&batch.view());
        }
        seen += BATCH * steps;
    }
    while seen < POINTS {
        let corners = seen % (2 * BATCH) == 0;
        let mut batch = Array2::from_shape_fn((BATCH, features), |(_, at)| {
            let share = random.uniform(0.0, 1.0);
            let share = if corners { share.round() } else { share } as f32;
            ends[0][at] + share * (ends[1][at] - ends[0][at])
        });
        for mut point in batch.rows_mut() {
            project(point.as_slice_mut().unwrap());
        }
        check(&batch.view());
        seen += BATCH;
    }
}

#[test]
#[ignore = "slow: 100,000 points of each net and norm; `make test-all`"]
fn no_point_of_small_nets_leaves_the_bounds() {
    let Some(runtime) = runtime() else { return };
    for (name, net) in nets() {
        let mut certifier = certifier(&runtime, &net).unwrap();
        let mut random = Random::new(1);
        let x = Array2::from_shape_fn((1, FEATURES), |_| random.uniform(0.0, 1.0) as f32);
        let clean = x.row(0).to_vec();
        for (norm, eps) in [(Norm::Linf, 0.02), (Norm::L2, 0.1), (Norm::L1, 0.4)] {
            let threat = Threat { norm, eps: eps.to_string().parse().unwrap(), bounds: Bounds::new(0.0, 1.0).unwrap() };
            let labels = label(&certifier, &x);
            let around = Neighbourhood::Threat(&threat);
            let promised = Promised::of(&mut certifier, &x, &labels, around, &Method::ALL);
            let watched = Watched::new(&runtime, &certifier, &promised);
            let end = |by: f32| -> Vec<f32> { clean.iter().map(|x| (x + by).clamp(0.0, 1.0)).collect() };
            let (low, high) = (end(-eps as f32), end(eps as f32));
            let project = |point: &mut [f32]| threat.project(&clean, point);
            points(&certifier, &promised, &x, [&low, &high], &project, &mut |p| promised.holds_at(p, &watched));
            println!("{name}, {norm}: {} values inside it are bounded", promised.inside[0].1.len());
        }
    }
}

/// The first instance of each run.
#[test]
#[ignore = "slow: 100,000 points of each network of the competitions; `make test-all`"]
fn no_point_of_the_competitions_networks_leaves_the_bounds() {
    let (Some(material), Some(runtime)) = (material(), runtime()) else { return };
    for name in RUNS.into_iter().chain([MARABOU]) {
        let run = material.json("bounds.json")["runs"][name].clone();
        let folder = run["model"].as_str().unwrap().split('/').next().unwrap().to_owned();
        let instances = material.npz(&format!("vnncomp/{folder}/instances.npz"));
        let row = indices(&run["instance_idx"])[0];
        let [lower, upper] = ["lower", "upper"].map(|end| flat(instances.get(end)).select(Axis(0), &[row]));
        let x = (&lower + &upper) * 0.5;
        let options = ClassifierOptions::default();
        let mut certifier =
            Certifier::load(&runtime, &material.path(&file(&run)), &options, &CertifierOptions::default()).unwrap();
        let around = Neighbourhood::Boxes { lower: lower.view(), upper: upper.view() };
        let labels = label(&certifier, &x);
        let promised = Promised::of(&mut certifier, &x, &labels, around, &[Method::Ibp, Method::Crown]);
        let watched = Watched::new(&runtime, &certifier, &promised);
        let ends = [lower.as_slice().unwrap(), upper.as_slice().unwrap()];
        let project = |point: &mut [f32]| {
            point.iter_mut().zip(ends[0]).zip(ends[1]).for_each(|((x, low), high)| *x = x.clamp(*low, *high));
        };
        points(&certifier, &promised, &x, ends, &project, &mut |p| promised.holds_at(p, &watched));
        println!("{name}: {} values inside it are bounded", promised.inside[0].1.len());
    }
}
