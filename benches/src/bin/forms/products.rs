//! Matrix products with constant weights: as they are in the file, or transposed beforehand.

use assay_graph::Tensor;

use crate::cases::{Case, Form, noise};
use crate::sketch::model;

/// Data of a `Gemm`.
pub(crate) fn gemms() -> Vec<Case> {
    let case = |(from, to): (usize, usize)| {
        let form = |name, content, flag: i64| {
            Form::new(name, &[("w", &[to])], |e| {
                let content = e.constant(content);
                e.op("Gemm", &["w", &content], [("transB", flag.into())])
            })
        };
        Case {
            derivative: "data of a `Gemm`",
            shape: format!("{to} → {from}"),
            source: model(&[("x", &[from])], |e| {
                let content = e.constant(weights(from, to));
                e.op("Gemm", &["x", &content], [])
            }),
            forms: vec![form("`transB`", weights(from, to), 1), form("transposed weights", transposed(from, to), 0)],
        }
    };
    [(512, 10), (576, 1024)].map(case).into()
}

/// Data of a `MatMul`.
pub(crate) fn mat_muls() -> Vec<Case> {
    let case = |(tokens, from, to): (usize, usize, usize)| {
        let in_the_graph = Form::new("`Transpose` of the weights", &[("w", &[tokens, to])], |e| {
            let content = e.constant(weights(from, to));
            let content = e.op("Transpose", &[&content], [("perm", vec![1, 0].into())]);
            e.op("MatMul", &["w", &content], [])
        });
        let beforehand = Form::new("transposed weights", &[("w", &[tokens, to])], |e| {
            let content = e.constant(transposed(from, to));
            e.op("MatMul", &["w", &content], [])
        });
        Case {
            derivative: "data of a `MatMul`",
            shape: format!("{tokens} × {to} → {from}"),
            source: model(&[("x", &[tokens, from])], |e| {
                let content = e.constant(weights(from, to));
                e.op("MatMul", &["x", &content], [])
            }),
            forms: vec![in_the_graph, beforehand],
        }
    };
    [(65, 192, 768), (65, 768, 192)].map(case).into()
}

fn weights(rows: usize, columns: usize) -> Tensor {
    Tensor::floats(&[rows, columns], &noise(rows * columns, 1))
}

/// `weights`, transposed.
fn transposed(rows: usize, columns: usize) -> Tensor {
    let weights = noise(rows * columns, 1);
    let value = |i: usize| weights[i % rows * columns + i / rows];
    Tensor::floats(&[columns, rows], &(0..weights.len()).map(value).collect::<Vec<f32>>())
}
