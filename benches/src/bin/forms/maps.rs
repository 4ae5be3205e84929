//! The forms of derivatives between maps and their channels.

use assay_graph::Tensor;

use crate::cases::{Case, Form};
use crate::sketch::{Sketch, int, model};

/// A map: channels, and rows and columns.
type Map = (usize, usize);

/// The mean over a map: an outer product with a row of shares, or `Expand`.
pub(crate) fn means() -> Vec<Case> {
    let case = |(channels, side): Map| {
        let sample = [channels, side, side];
        #[allow(clippy::cast_precision_loss)]
        let share = 1.0 / (side * side) as f32;
        let reads: [(&str, &[usize]); 1] = [("w", &[channels, 1, 1])];
        let outer = Form::new("outer product", &reads, |e| outer_product(e, "w", share, &sample));
        let expanded = Form::new("`Mul`, `Expand`", &reads, |e| {
            let share = e.number(share, 4);
            let shares = e.op("Mul", &["w", &share], []);
            let shape = e.ints(&[1, int(channels), int(side), int(side)]);
            e.op("Expand", &[&shares, &shape], [])
        });
        Case {
            derivative: "mean over a map",
            shape: format!("{channels} channels to {side}²"),
            source: model(&[("x", &sample)], |e| e.op("GlobalAveragePool", &["x"], [])),
            forms: vec![outer, expanded],
        }
    };
    [(576, 2), (240, 4), (2048, 7), (128, 12), (512, 12), (128, 14), (512, 14), (64, 32)].map(case).into()
}

/// A factor for each channel and sample, as squeeze-and-excitation has it: repeated first, or broadcast.
pub(crate) fn channel_factors() -> Vec<Case> {
    let case = |(channels, side): Map| {
        let (sample, factors) = ([channels, side, side], [channels, 1, 1]);
        let reads: [(&str, &[usize]); 2] = [("s", &factors), ("w", &sample)];
        let repeated = Form::new("repeated, `Mul`", &reads, |e| {
            let factor = outer_product(e, "s", 1.0, &sample);
            e.op("Mul", &["w", &factor], [])
        });
        let broadcast = Form::new("broadcasting `Mul`", &reads, |e| e.op("Mul", &["w", "s"], []));
        Case {
            derivative: "channel factor times a map",
            shape: format!("{channels} channels {side}²"),
            source: model(&[("x", &sample), ("s", &factors)], |e| e.op("Mul", &["x", "s"], [])),
            forms: vec![repeated, broadcast],
        }
    };
    [(576, 2), (240, 4), (120, 7), (576, 7), (64, 8), (576, 8), (96, 10)].map(case).into()
}

/// `value`, one number for each channel, times `factor` and repeated to the shape `sample`.
fn outer_product(e: &mut Sketch, value: &str, factor: f32, sample: &[usize; 3]) -> String {
    let copies = sample[1] * sample[2];
    let column = e.ints(&[-1, 1]);
    let column = e.op("Reshape", &[value, &column], []);
    let row = e.constant(Tensor::floats(&[1, copies], &vec![factor; copies]));
    let product = e.op("MatMul", &[&column, &row], []);
    shaped(e, &product, sample)
}

/// `value` as samples of shape `sample`.
fn shaped(e: &mut Sketch, value: &str, sample: &[usize; 3]) -> String {
    let shape = e.ints(&[-1, int(sample[0]), int(sample[1]), int(sample[2])]);
    e.op("Reshape", &[value, &shape], [("allowzero", 0.into())])
}

/// `MaxPool`, forward and back: from its indices, or from comparisons. Windows do not overlap.
pub(crate) fn max_pools() -> Vec<Case> {
    let case = |(channels, side): Map| {
        let (sample, pooled) = ([channels, side, side], [channels, side / 2, side / 2]);
        let attributes = || [("kernel_shape", vec![2, 2].into()), ("strides", vec![2, 2].into())];
        let reads: [(&str, &[usize]); 2] = [("x", &sample), ("w", &pooled)];
        let scattered = Form::new("`Indices`, `ScatterElements`", &reads, |e| {
            let indices = e.ops("MaxPool", &["x"], attributes(), 2).remove(1);
            let flat = e.ints(&[-1]);
            let indices = e.op("Reshape", &[&indices, &flat], []);
            let updates = e.op("Reshape", &["w", &flat], []);
            let shape = e.op("Shape", &["x"], []);
            let zeros = e.op("ConstantOfShape", &[&shape], [("value", Tensor::floats(&[1], &[0.0]).into())]);
            let zeros = e.op("Reshape", &[&zeros, &flat], []);
            let add = [("axis", 0.into()), ("reduction", "add".into())];
            let sums = e.op("ScatterElements", &[&zeros, &indices, &updates], add);
            shaped(e, &sums, &sample)
        });
        let compared = Form::new("`SpaceToDepth`, comparisons", &reads, |e| {
            let largest = e.op("MaxPool", &["x"], attributes());
            let apart = e.op("SpaceToDepth", &["x"], [("blocksize", 2.into())]);
            let sizes = e.ints(&[int(channels); 4]);
            let corners = e.ops("Split", &[&apart, &sizes], [("axis", 1.into())], 4);
            let zero = e.number(0.0, 0);
            // The first corner that is the largest takes the cotangent, and the last what no other took.
            let (mut left, mut parts) = ("w".to_owned(), Vec::new());
            for corner in &corners[..3] {
                let is_largest = e.op("Equal", &[corner, &largest], []);
                let part = e.op("Where", &[&is_largest, &left, &zero], []);
                left = e.op("Sub", &[&left, &part], []);
                parts.push(part);
            }
            parts.push(left);
            let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
            let all = e.op("Concat", &parts, [("axis", 1.into())]);
            e.op("DepthToSpace", &[&all], [("blocksize", 2.into())])
        });
        Case {
            derivative: "`MaxPool`, forward and back",
            shape: format!("{channels} channels 2×2 stride 2 on {side}²"),
            source: model(&[("x", &sample)], |e| e.op("MaxPool", &["x"], attributes())),
            forms: vec![scattered, compared],
        }
    };
    [(64, 32), (32, 14)].map(case).into()
}
