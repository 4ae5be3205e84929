//! Derived graphs: ONNX Runtime loads what the rules emit, and computes what the interpreter does.
//!
//! That the interpreted result is the gradient is checked in `assay-graph`.

use assay_graph::{Canonical, Value, vjp};
use assay_reference::{Array, Case, Random, Values, probe};

use crate::agree_on;

/// [`agree_on`] for the vector–Jacobian products of all inputs of `case`.
#[track_caller]
fn agree_on_gradient(case: &Case) {
    let inputs: Vec<Value> = case.model().graph.inputs.iter().map(|info| info.value.clone()).collect();
    agree_on_gradient_of(case, &inputs.iter().map(Value::as_str).collect::<Vec<_>>());
}

/// The same for some of its inputs.
#[track_caller]
fn agree_on_gradient_of(case: &Case, inputs: &[&str]) {
    let name = format!("gradient of {}", case.name());
    let model = case.model();
    let canonical = Canonical::new(model.clone()).unwrap_or_else(|error| panic!("{name}: {error}"));
    let source = probe(canonical, &case.inputs(2));
    let outputs: Vec<Value> = model.graph.outputs.iter().map(|info| info.value.clone()).collect();
    let wrt: Vec<Value> = inputs.iter().map(|&name| name.into()).collect();
    let derived = vjp(&source, &outputs, &wrt).unwrap_or_else(|error| panic!("{name}: {error}"));
    agree_on(&name, &derived.model, |batch| {
        let inputs = case.inputs(batch);
        let mut random = Random::new(5);
        let seeds: Vec<(String, Array)> = derived
            .cotangents
            .iter()
            .zip(case.values(&inputs))
            .map(|(seed, output)| (seed.to_string(), random.array(output.dims(), &Values::uniform(-1.0, 1.0))))
            .collect();
        inputs.into_iter().map(|(name, array)| (name.to_owned(), array)).chain(seeds).collect()
    });
}

fn data() -> Values {
    Values::distinct(-1.0, 1.0)
}

fn fits(size: i64, kernel: i64, dilation: i64, pads: (i64, i64)) -> bool {
    size + pads.0 + pads.1 > dilation * (kernel - 1)
}

#[test]
fn convolutions() {
    for size in [5, 6] {
        for kernel in [1, 3] {
            for stride in [1, 2, 3] {
                for dilation in [1, 2] {
                    for pads in [(0, 0), (1, 0), (0, 2), (4, 5)] {
                        if !fits(size, kernel, dilation, pads) {
                            continue;
                        }
                        let [n, k] = [size, kernel].map(|v| usize::try_from(v).unwrap());
                        let case = |operator: &str| {
                            Case::op(operator)
                                .named(&format!("{size} by {kernel}"))
                                .batched(&[4, n], data())
                                .set("group", 2)
                                .set("strides", vec![stride])
                                .set("dilations", vec![dilation])
                                .set("pads", vec![pads.0, pads.1])
                        };
                        agree_on_gradient(&case("Conv").weights(&[6, 2, k], &data()));
                        agree_on_gradient(&case("Conv").fixed(&[6, 2, k], data()));
                        if stride * (size - 1) + dilation * (kernel - 1) + 1 > pads.0 + pads.1 {
                            agree_on_gradient(&case("ConvTranspose").fixed(&[4, 3, k], data()));
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn convolutions_of_images_and_volumes() {
    for strides in [vec![1, 1], vec![2, 1], vec![2, 3]] {
        for groups in [1, 2, 4] {
            let case = Case::op("Conv")
                .set("group", groups)
                .set("strides", strides.clone())
                .set("pads", vec![1, 2, 0, 1])
                .batched(&[4, 7, 8], data())
                .weights(&[8, 4 / usize::try_from(groups).unwrap(), 3, 2], &data());
            agree_on_gradient(&case);
        }
        for mode in ["SAME_UPPER", "SAME_LOWER", "VALID"] {
            let case = Case::op("Conv").set("strides", strides.clone()).set("auto_pad", mode);
            agree_on_gradient(&case.clone().batched(&[2, 7, 6], data()).weights(&[3, 2, 3, 4], &data()));
            if strides.iter().all(|&stride| stride <= 2) {
                // A stride of 2 skips the last element.
                agree_on_gradient(&case.batched(&[2, 8, 6], data()).weights(&[3, 2, 1, 1], &data()));
            }
        }
    }
    for strides in [vec![1, 1, 1], vec![2, 1, 2]] {
        let case = Case::op("Conv").set("strides", strides).set("pads", vec![1, 0, 0, 0, 2, 1]);
        agree_on_gradient(&case.batched(&[2, 3, 4, 3], data()).weights(&[2, 2, 2, 3, 1], &data()));
    }
}

#[test]
fn transposed_convolutions_with_stated_output() {
    for stride in [1, 2, 3] {
        for mode in ["SAME_UPPER", "SAME_LOWER", "NOTSET"] {
            for short in [0, 1, 2] {
                let case = Case::op("ConvTranspose")
                    .set("strides", vec![stride])
                    .set("auto_pad", mode)
                    .set("output_shape", vec![2 * stride + 4 - short]);
                agree_on_gradient(&case.batched(&[2, 3], data()).weights(&[2, 3, 4], &data()));
            }
        }
    }
}

#[test]
fn pools() {
    for operator in ["MaxPool", "AveragePool"] {
        for size in [5, 6, 7] {
            for (kernel, stride) in [(2, 2), (3, 2), (3, 1), (2, 3), (1, 2)] {
                for pads in [(0, 0), (1, 0), (1, 1)] {
                    for ceil_mode in [0, 1] {
                        if pads.0.max(pads.1) >= kernel {
                            continue;
                        }
                        let case = Case::op(operator)
                            .named(&size.to_string())
                            .batched(&[2, 4, size], data())
                            .set("kernel_shape", vec![2, kernel])
                            .set("strides", vec![1, stride])
                            .set("pads", vec![0, pads.0, 1, pads.1])
                            .set("ceil_mode", ceil_mode);
                        if operator == "AveragePool" {
                            agree_on_gradient(&case.clone().set("count_include_pad", 1));
                        }
                        agree_on_gradient(&case);
                    }
                }
            }
        }
    }
    agree_on_gradient(
        &Case::op("MaxPool").batched(&[2, 9], data()).set("kernel_shape", vec![3]).set("dilations", vec![2]),
    );
    let volume = |operator: &str| Case::op(operator).batched(&[2, 3, 4, 3], data());
    for operator in ["MaxPool", "AveragePool"] {
        agree_on_gradient(&volume(operator).set("kernel_shape", vec![2, 3, 2]).set("strides", vec![1, 2, 2]));
    }
    for operator in ["GlobalMaxPool", "GlobalAveragePool"] {
        agree_on_gradient(&volume(operator));
        agree_on_gradient(&Case::op(operator).batched(&[3, 5], data()));
    }
}

#[test]
fn ties() {
    let pool = Case::op("MaxPool").batched(&[2, 5, 6], Values::Exactly(0.0)).set("kernel_shape", vec![3, 2]);
    agree_on_gradient(&pool);
    agree_on_gradient(&pool.set("pads", vec![1, 1, 1, 0]).set("strides", vec![2, 1]));
    agree_on_gradient(&Case::op("GlobalMaxPool").batched(&[2, 3, 2], Values::Exactly(1.0)));
}

#[test]
fn normalizations() {
    let batch = Case::op("BatchNormalization").batched(&[3, 4, 2], data());
    let statistics = |case: Case| case.weights(&[3], &data()).weights(&[3], &Values::uniform(0.5, 2.0));
    agree_on_gradient(&statistics(batch.clone().weights(&[3], &data()).weights(&[3], &data())));
    agree_on_gradient(&statistics(batch.fixed(&[3], data()).fixed(&[3], data())));
    let instance = Case::op("InstanceNormalization").batched(&[3, 4, 2], data());
    agree_on_gradient(&instance.fixed(&[3], data()).fixed(&[3], data()));
}

#[test]
fn movements() {
    let far = i64::MAX;
    let slice = |starts: &[i64], ends: &[i64], axes: &[i64], steps: &[i64]| {
        let case = Case::op("Slice").named(&format!("{starts:?} {ends:?} {axes:?} {steps:?}")).batched(&[5, 6], data());
        agree_on_gradient(&case.ints(starts).ints(ends).ints(axes).ints(steps));
    };
    slice(&[1], &[3], &[1], &[1]);
    slice(&[1, -1], &[far, i64::MIN], &[1, 2], &[2, -1]);
    slice(&[-2], &[-6], &[2], &[-3]);
    for mode in ["constant", "reflect", "edge"] {
        for pads in [(2, 1), (-1, 2), (-2, -1), (0, 3)] {
            let case = Case::op("Pad").named(&format!("{pads:?}")).batched(&[2, 5], data());
            agree_on_gradient(&case.ints(&[0, 0, pads.0, 0, 1, pads.1]).set("mode", mode));
        }
    }
    for indices in [vec![2, 0, 1], vec![0, 0, -1, 2, 0], vec![3]] {
        let case = Case::op("Gather").named(&format!("{indices:?}")).batched(&[4, 5], data());
        agree_on_gradient(&case.ints(&indices).set("axis", 1));
    }
    agree_on_gradient(&Case::op("Concat").batched(&[2, 3], data()).batched(&[1, 3], data()).set("axis", 1));
    agree_on_gradient(&Case::op("Split").batched(&[6, 2], data()).ints(&[1, 2, 3]).set("axis", 1).outputs(3));
    agree_on_gradient(&Case::op("Tile").batched(&[2, 3], data()).ints(&[1, 3, 2]));
    agree_on_gradient(&Case::op("Expand").batched(&[2, 1], data()).ints(&[1, 2, 4]));
    agree_on_gradient(&Case::op("Flatten").batched(&[2, 3], data()));
    agree_on_gradient(&Case::op("Transpose").batched(&[2, 3], data()).set("perm", vec![2, 0, 1]));
    for mode in ["DCR", "CRD"] {
        let case = Case::op("DepthToSpace").batched(&[8, 2, 3], data()).set("blocksize", 2);
        agree_on_gradient(&case.set("mode", mode));
    }
    let blocks = Case::op("Col2Im").opset(18).batched(&[12, 6], data()).ints(&[5, 5]).ints(&[3, 2]);
    let blocks = blocks.set("strides", vec![2, 2]).set("dilations", vec![1, 2]);
    agree_on_gradient(&blocks.set("pads", vec![1, 0, 0, 2]));
    agree_on_gradient(&Case::op("SpaceToDepth").batched(&[2, 4, 6], data()).set("blocksize", 2));
}

#[test]
fn resampling() {
    for (mode, rounding) in
        [("nearest", "floor"), ("nearest", "round_prefer_floor"), ("linear", "floor"), ("cubic", "floor")]
    {
        for transformation in ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"] {
            for scales in [[2.0, 2.0], [1.0, 3.0], [0.5, 0.7], [1.5, 2.5]] {
                let case = Case::op("Resize").named(&format!("{scales:?}")).batched(&[2, 4, 5], data()).absent();
                let case = case.constant(Array::floats(&[4], vec![1.0, 1.0, scales[0], scales[1]]));
                let case = case.set("mode", mode).set("nearest_mode", rounding);
                agree_on_gradient(&case.set("coordinate_transformation_mode", transformation));
            }
        }
    }
}

#[test]
fn antialiased_resampling() {
    for mode in ["linear", "cubic"] {
        for exclude in [0, 1] {
            let case =
                Case::op("Resize").opset(18).set("antialias", 1).set("mode", mode).set("exclude_outside", exclude);
            let case = case.batched(&[2, 8, 7], data()).absent();
            agree_on_gradient(&case.clone().constant(Array::floats(&[4], vec![1.0, 1.0, 0.5, 0.3])));
            agree_on_gradient(&case.absent().ints(&[5, 9]).set("axes", vec![2, 3]));
        }
    }
}

#[test]
fn images_at_the_places_of_a_grid() {
    for padding in ["zeros", "border", "reflection"] {
        for align_corners in [0, 1] {
            let case = |mode: &str, image: &[usize]| {
                let case = Case::op("GridSample").set("mode", mode).set("padding_mode", padding);
                let case = case.set("align_corners", align_corners).batched(image, data());
                case.batched(&[3, 4, 2], Values::uniform(-2.5, 2.5)).named(&format!("{image:?}"))
            };
            for image in [&[2, 3, 4][..], &[1, 1, 5], &[1, 3, 1]] {
                agree_on_gradient(&case("bilinear", image));
                agree_on_gradient_of(&case("nearest", image), &["x0"]);
            }
        }
    }
}

#[test]
fn functions_of_one_number() {
    for (operator, low, high) in [
        ("Sin", -4.0, 4.0),
        ("Cos", -4.0, 4.0),
        ("Tan", -1.2, 1.2),
        ("Asin", -0.9, 0.9),
        ("Acos", -0.9, 0.9),
        ("Atan", -3.0, 3.0),
        ("Sinh", -2.0, 2.0),
        ("Cosh", -2.0, 2.0),
        ("Asinh", -3.0, 3.0),
        ("Acosh", 1.2, 4.0),
        ("Atanh", -0.8, 0.8),
        ("Abs", -2.0, 2.0),
        ("ThresholdedRelu", -2.0, 2.0),
        ("Shrink", -2.0, 2.0),
    ] {
        agree_on_gradient(&Case::op(operator).batched(&[3, 4], Values::uniform(low, high)));
    }
}

#[test]
fn reductions_that_are_not_linear() {
    for operator in ["ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp", "ReduceProd"] {
        for axes in [&[1][..], &[-1, 1]] {
            let case = Case::op(operator).opset(18).batched(&[3, 4], Values::uniform(0.2, 2.0));
            agree_on_gradient(&case.ints(axes).set("keepdims", 0));
        }
    }
    agree_on_gradient(&Case::op("ReduceMean").opset(18).batched(&[3], data()).ints(&[0]).named("over the batch"));
    agree_on_gradient(&Case::op("ReduceProd").opset(18).batched(&[3], Values::Exactly(0.0)).ints(&[1]));
    agree_on_gradient(&Case::op("ReduceL2").opset(18).batched(&[3], Values::Exactly(0.0)).ints(&[1]));
}

#[test]
fn norms() {
    for p in [1, 2] {
        agree_on_gradient(&Case::op("LpNormalization").set("p", p).set("axis", 1).batched(&[3, 4], data()));
    }
    for p in [1, 2, 3] {
        agree_on_gradient(&Case::op("GlobalLpPool").set("p", p).batched(&[2, 3, 4], data()));
        let pool = Case::op("LpPool").set("p", p).set("kernel_shape", vec![2, 3]).set("strides", vec![1, 2]);
        agree_on_gradient(&pool.set("pads", vec![1, 1, 0, 1]).batched(&[2, 5, 6], data()));
    }
    for size in [1, 3, 5] {
        agree_on_gradient(&Case::op("LRN").set("size", size).set("alpha", 0.5f32).batched(&[5, 2, 3], data()));
    }
    agree_on_gradient(&Case::op("MeanVarianceNormalization").set("axes", vec![1, 2]).batched(&[3, 4, 2], data()));
    let layer = Case::op("LayerNormalization").batched(&[3, 4], data()).fixed(&[4], data());
    agree_on_gradient(&layer.outputs(3));
}

#[test]
fn sums_of_products_by_equation() {
    let case = |equation: &str| Case::op("Einsum").set("equation", equation);
    agree_on_gradient(&case("nhqd,nhkd->nhqk").batched(&[2, 3, 4], data()).batched(&[2, 5, 4], data()));
    agree_on_gradient(&case("ncij,ij->nc").batched(&[2, 3, 4], data()).fixed(&[3, 4], data()));
    agree_on_gradient(&case("...ij,jk->...ik").batched(&[2, 5, 3], data()).fixed(&[3, 4], data()));
    agree_on_gradient(&case("nij->n").batched(&[2, 3], data()));
    agree_on_gradient(&case("ij,ij->").fixed(&[2, 3], data()).fixed(&[2, 3], data()));
    agree_on_gradient(&case("nj,jk->nk").batched(&[1], data()).fixed(&[3, 4], data()));
}

#[test]
fn positions_that_are_computed() {
    let index = |low, high| Values::integers(low, high);
    let gather = Case::op("Gather").fixed(&[4, 3], data());
    let of = |name: &str, case: &Case| agree_on_gradient_of(&case.clone().named(name), &["x0"]);
    of("rows", &gather.clone().batched(&[2], index(-4, 4)));
    of("columns", &gather.set("axis", 1).batched(&[], index(0, 3)));
    let tuples = Case::op("GatherND").batched(&[4, 3, 2], data());
    of("tuples", &tuples.set("batch_dims", 1).batched(&[5, 2], index(-3, 3)));
    of("tuples", &Case::op("GatherND").fixed(&[4, 3], data()).batched(&[5, 2], index(-3, 3)));
    let add = Case::op("ScatterElements").opset(18).set("axis", 1).set("reduction", "add").batched(&[4], data());
    agree_on_gradient_of(&add.batched(&[6], index(-4, 4)).batched(&[6], data()), &["x0", "x2"]);
    let add = Case::op("ScatterND").opset(18).set("reduction", "add").fixed(&[4, 3], data());
    agree_on_gradient_of(&add.batched(&[1], index(-4, 4)).batched(&[3], data()), &["x0", "x2"]);
    let hot = Case::op("OneHot").set("axis", 1).batched(&[3], index(-4, 6)).constant(Array::ints(&[], vec![4]));
    agree_on_gradient_of(&hot.fixed(&[2], data()), &["x1"]);
    let top = Case::op("TopK").batched(&[5, 3], data()).ints(&[2]).set("axis", 1);
    agree_on_gradient(&top);
    let sums = Case::op("CumSum").batched(&[5, 3], data()).constant(Array::ints(&[], vec![1]));
    agree_on_gradient(&sums.set("exclusive", 1));
    agree_on_gradient(&Case::op("Trilu").batched(&[4, 3], data()).constant(Array::ints(&[], vec![-1])));
}

#[test]
fn remainders() {
    let case = Case::op("Mod").set("fmod", 1).batched(&[3, 4], Values::uniform(-4.0, 4.0));
    agree_on_gradient(&case.fixed(&[4], Values::uniform(0.5, 2.0)));
}

#[test]
fn bounds_that_are_computed() {
    let clip = Case::op("Clip").batched(&[3, 4], data());
    agree_on_gradient(&clip.fixed(&[], Values::uniform(-0.6, -0.5)).fixed(&[], Values::uniform(0.5, 0.6)));
}
