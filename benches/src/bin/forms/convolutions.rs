//! The forms of a convolution's derivative with respect to its data.

use std::fmt;

use assay_graph::{Attribute, Tensor};

use crate::cases::{Case, Form, noise};
use crate::sketch::{Sketch, int, model};

/// A convolution over a square map, padded so that a stride of 1 keeps its size.
#[derive(Clone, Copy)]
struct Layer {
    /// Channels of the wide side, which the derivative goes back to.
    wide: usize,
    /// Channels of the narrow side, where the cotangent is.
    narrow: usize,
    /// Rows and columns of the kernel: an odd number.
    kernel: usize,
    /// 1, or 2 over a map of even size.
    stride: usize,
    group: usize,
    /// Rows and columns of the wide side.
    side: usize,
}

/// Dense, at stride 1.
fn dense(narrow: usize, wide: usize, kernel: usize, side: usize) -> Layer {
    Layer { wide, narrow, kernel, stride: 1, group: 1, side }
}

/// As many channels on both sides, in groups, at stride 1.
fn grouped(channels: usize, group: usize, kernel: usize, side: usize) -> Layer {
    Layer { group, ..dense(channels, channels, kernel, side) }
}

/// One channel for each group, at stride 2.
fn depthwise(channels: usize, kernel: usize, side: usize) -> Layer {
    Layer { stride: 2, ..grouped(channels, channels, kernel, side) }
}

/// Data of a `Conv` at stride 1: the flipped convolution, or the transposed one. What counts is how full its blocks of 16
/// channels are.
pub(crate) fn at_unit_stride() -> Vec<Case> {
    let layers = [
        dense(16, 3, 3, 32),
        dense(64, 3, 7, 32),
        dense(32, 4, 3, 32),
        dense(32, 7, 3, 32),
        dense(32, 8, 3, 32),
        dense(32, 12, 3, 32),
        dense(32, 16, 3, 32),
        dense(8, 8, 3, 16),
        dense(16, 16, 3, 32),
        dense(17, 17, 3, 16),
        dense(24, 24, 3, 16),
        dense(32, 32, 3, 16),
        dense(64, 64, 3, 16),
        dense(256, 256, 3, 4),
        dense(96, 24, 1, 16),
        dense(128, 64, 1, 16),
        grouped(128, 32, 3, 14),
        grouped(128, 8, 3, 14),
        grouped(72, 72, 3, 16),
    ];
    let case = |layer: Layer| layer.case("data of a `Conv`, stride 1", vec![layer.flipped(), layer.transposed()]);
    layers.map(case).into()
}

/// Data of a strided `Conv`.
pub(crate) fn strided() -> Vec<Case> {
    let layers = [dense(32, 16, 3, 32), dense(128, 64, 3, 32), dense(256, 128, 3, 8), dense(64, 3, 7, 64)];
    let case = |layer: Layer| {
        let forms = vec![layer.transposed(), layer.by_phases(), layer.zeros_inserted()];
        layer.case("data of a strided `Conv`", forms)
    };
    layers.map(|layer| case(Layer { stride: 2, ..layer })).into()
}

/// Data of a strided depthwise `Conv`, on both sides of what counts as a small map.
pub(crate) fn strided_depthwise() -> Vec<Case> {
    let layers = [
        depthwise(72, 3, 8),
        depthwise(72, 3, 10),
        depthwise(72, 3, 12),
        depthwise(72, 3, 16),
        depthwise(288, 5, 4),
        depthwise(96, 5, 8),
        depthwise(72, 5, 16),
        depthwise(72, 5, 22),
        depthwise(72, 5, 28),
        depthwise(72, 7, 28),
        depthwise(72, 7, 40),
    ];
    let case =
        |layer: Layer| layer.case("data of a strided depthwise `Conv`", vec![layer.by_phases(), layer.transposed()]);
    layers.map(case).into()
}

/// Behind a normalisation: its factors in the flipped weights, or a product over the map.
pub(crate) fn normalized() -> Vec<Case> {
    [dense(16, 16, 3, 32), dense(64, 64, 3, 16), dense(256, 256, 3, 4)].map(Layer::normalized).into()
}

impl Layer {
    fn case(self, derivative: &'static str, forms: Vec<Form>) -> Case {
        let source = model(&[("x", &[self.wide, self.side, self.side])], |e| self.forward(e));
        Case { derivative, shape: self.to_string(), source, forms }
    }

    fn forward(self, e: &mut Sketch) -> String {
        let kernel = e.constant(self.kernel());
        e.op("Conv", &["x", &kernel], self.attributes())
    }

    fn normalized(self) -> Case {
        const EPSILON: f32 = 1e-3;
        let [scale, bias, mean] = [11, 12, 13].map(|seed| noise(self.narrow, seed));
        let variance: Vec<f32> = noise(self.narrow, 14).iter().map(|v| v.abs() + 0.5).collect();
        let factors: Vec<f32> = scale.iter().zip(&variance).map(|(s, v)| s / (v + EPSILON).sqrt()).collect();
        let source = model(&[("x", &[self.wide, self.side, self.side])], |e| {
            let y = self.forward(e);
            let [scale, bias, mean, variance] =
                [scale, bias, mean, variance].map(|v| e.constant(Tensor::floats(&[self.narrow], &v)));
            let inputs = [&*y, &scale, &bias, &mean, &variance];
            e.op("BatchNormalization", &inputs, [("epsilon", EPSILON.into())])
        });
        let in_weights = self.form("factors in the weights", |e| {
            let taps: Vec<usize> = (0..self.kernel).collect();
            let kernel = e.constant(self.turned(&taps, &taps, &factors));
            e.op("Conv", &["w", &kernel], self.attributes())
        });
        let over_the_map = self.form("`Mul` over the map", |e| {
            let factor = e.constant(Tensor::floats(&[self.narrow, 1, 1], &factors));
            let product = e.op("Mul", &["w", &factor], []);
            let kernel = e.constant(self.flipped_kernel());
            e.op("Conv", &[&product, &kernel], self.attributes())
        });
        let forms = vec![in_weights, over_the_map];
        Case { derivative: "`BatchNormalization` behind a `Conv`", shape: self.to_string(), source, forms }
    }

    /// A form that reads the cotangent `w` only.
    fn form(self, name: &'static str, write: impl FnOnce(&mut Sketch) -> String) -> Form {
        let side = self.side / self.stride;
        Form::new(name, &[("w", &[self.narrow, side, side])], write)
    }

    fn flipped(self) -> Form {
        self.form("flipped `Conv`", |e| {
            let kernel = e.constant(self.flipped_kernel());
            e.op("Conv", &["w", &kernel], self.attributes())
        })
    }

    fn transposed(self) -> Form {
        self.form("`ConvTranspose`", |e| {
            let kernel = e.constant(self.kernel());
            let [pads, strides, group] = self.attributes();
            let output_padding = ("output_padding", vec![int(self.stride - 1); 2].into());
            e.op("ConvTranspose", &["w", &kernel], [pads, strides, group, output_padding])
        })
    }

    /// A convolution for each of the `stride * stride` phases of the wide side, interleaved.
    fn by_phases(self) -> Form {
        self.form("phases, `DepthToSpace`", |e| {
            let mut parts = Vec::new();
            for row in 0..self.stride {
                for column in 0..self.stride {
                    let (rows, columns) = (self.phase(row), self.phase(column));
                    let kernel = e.constant(self.turned(&rows.taps, &columns.taps, &vec![1.0; self.narrow]));
                    let pads = [rows.begin, columns.begin, rows.end, columns.end].map(int).to_vec();
                    let attributes = [("pads", pads.into()), ("group", int(self.group).into())];
                    parts.push(e.op("Conv", &["w", &kernel], attributes));
                }
            }
            let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
            let all = e.op("Concat", &parts, [("axis", 1.into())]);
            e.op("DepthToSpace", &[&all], [("blocksize", int(self.stride).into())])
        })
    }

    /// A convolution over the cotangent with the zeros between its elements that the stride left out.
    fn zeros_inserted(self) -> Form {
        self.form("zeros inserted, `Conv`", |e| {
            let (side, stride, channels) = (int(self.side / self.stride), int(self.stride), int(self.narrow));
            let apart = e.ints(&[0, channels, side, 1, side, 1]);
            let apart = e.op("Reshape", &["w", &apart], []);
            let zeros = e.ints(&[0, 0, 0, 0, 0, 0, 0, 0, 0, stride - 1, 0, stride - 1]);
            let filled = e.op("Pad", &[&apart, &zeros], []);
            let joined = e.ints(&[0, channels, side * stride, side * stride]);
            let joined = e.op("Reshape", &[&filled, &joined], []);
            let kernel = e.constant(self.flipped_kernel());
            let [pads, _, group] = self.attributes();
            e.op("Conv", &[&joined, &kernel], [pads, group])
        })
    }

    fn attributes(self) -> [(&'static str, Attribute); 3] {
        let pads = vec![int(self.kernel / 2); 4];
        let strides = vec![int(self.stride); 2];
        [("pads", pads.into()), ("strides", strides.into()), ("group", int(self.group).into())]
    }

    /// The kernel, `[narrow, wide / group, rows, columns]`.
    fn kernel(self) -> Tensor {
        let dims = [self.narrow, self.wide / self.group, self.kernel, self.kernel];
        Tensor::floats(&dims, &noise(dims.iter().product(), 1))
    }

    fn flipped_kernel(self) -> Tensor {
        let taps: Vec<usize> = (0..self.kernel).collect();
        self.turned(&taps, &taps, &vec![1.0; self.narrow])
    }

    /// The taps `rows` × `columns` of the kernel, last first, as a kernel from the narrow side to the wide one; `factors` has
    /// one factor for each narrow channel.
    fn turned(self, rows: &[usize], columns: &[usize], factors: &[f32]) -> Tensor {
        let (wide, narrow, size) = (self.wide / self.group, self.narrow / self.group, self.kernel);
        let kernel = noise(self.narrow * wide * size * size, 1);
        let mut values = Vec::new();
        for g in 0..self.group {
            for w in 0..wide {
                for n in (0..narrow).map(|n| g * narrow + n) {
                    for row in rows.iter().rev() {
                        let start = ((n * wide + w) * size + row) * size;
                        values.extend(columns.iter().rev().map(|column| kernel[start + column] * factors[n]));
                    }
                }
            }
        }
        Tensor::floats(&[self.wide, narrow, rows.len(), columns.len()], &values)
    }

    /// What the elements `stride * m + p` of the wide side depend on, along one axis.
    fn phase(self, p: usize) -> Phase {
        let pad = self.kernel / 2;
        let taps: Vec<usize> = ((pad + p) % self.stride..self.kernel).step_by(self.stride).collect();
        let begin = taps.last().map_or(0, |last| (last - pad - p) / self.stride);
        Phase { end: taps.len() - 1 - begin, begin, taps }
    }
}

/// The taps of one phase, and the padding of its convolution.
struct Phase {
    taps: Vec<usize>,
    begin: usize,
    end: usize,
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { wide, narrow, kernel, stride, group, side } = *self;
        match group {
            1 => write!(f, "{narrow} → {wide} channels")?,
            _ if group == wide => write!(f, "{wide} channels")?,
            _ => write!(f, "{wide} channels in {group} groups")?,
        }
        write!(f, ", {kernel}×{kernel}")?;
        if stride > 1 {
            write!(f, " stride {stride}")?;
        }
        write!(f, " onto {side}²")
    }
}
