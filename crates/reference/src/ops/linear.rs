//! Matrix products.

use ndarray::{ArrayD, IxDyn};

use super::elementwise::{broadcast, common};
use crate::interpret::{Call, Outputs, float_output};

/// `MatMul`: over the last two dimensions, with NumPy's rules for vectors and for the dimensions before.
pub(super) fn matmul(c: &Call<'_>) -> Outputs {
    let dtype = c.one_type(&[0, 1])?;
    let (a, b) = (c.floats(0)?.clone(), c.floats(1)?.clone());
    if a.ndim() == 0 || b.ndim() == 0 {
        return Err("a scalar is no operand".into());
    }
    let (vector_a, vector_b) = (a.ndim() == 1, b.ndim() == 1);
    let a = if vector_a { a.insert_axis(ndarray::Axis(0)) } else { a };
    let b = if vector_b { b.insert_axis(ndarray::Axis(1)) } else { b };
    let (lead_a, lead_b) = (&a.shape()[..a.ndim() - 2], &b.shape()[..b.ndim() - 2]);
    let lead = common(lead_a, lead_b)?;
    let (rows, inner) = (a.shape()[a.ndim() - 2], a.shape()[a.ndim() - 1]);
    let columns = b.shape()[b.ndim() - 1];
    if inner != b.shape()[b.ndim() - 2] {
        return Err(format!("shapes {:?} and {:?} do not fit", a.shape(), b.shape()));
    }
    let a = broadcast(&a, &[&lead[..], &[rows, inner]].concat())?;
    let b = broadcast(&b, &[&lead[..], &[inner, columns]].concat())?;
    let (a, b): (Vec<f64>, Vec<f64>) = (a.iter().copied().collect(), b.iter().copied().collect());
    let mut y = Vec::new();
    for l in 0..lead.iter().product() {
        for i in 0..rows {
            for j in 0..columns {
                y.push((0..inner).map(|k| a[(l * rows + i) * inner + k] * b[(l * inner + k) * columns + j]).sum());
            }
        }
    }
    let mut dims = lead;
    dims.extend((!vector_a).then_some(rows));
    dims.extend((!vector_b).then_some(columns));
    float_output(dtype, ArrayD::from_shape_vec(IxDyn(&dims), y).map_err(|e| e.to_string())?)
}

/// `Gemm`: `alpha · A' · B' + beta · C`, where `'` transposes if the attribute says so.
pub(super) fn gemm(c: &Call<'_>) -> Outputs {
    let dtype = c.one_type(&[0, 1, 2])?;
    let matrix = |i: usize, flag: &str| {
        let m = c.floats(i)?.view().into_dimensionality::<ndarray::Ix2>().map_err(|_| "expected a matrix")?;
        Ok::<_, String>(if c.flag(flag, false)? { m.reversed_axes() } else { m })
    };
    let (a, b) = (matrix(0, "transA")?, matrix(1, "transB")?);
    if a.ncols() != b.nrows() {
        return Err(format!("{:?} times {:?} does not fit", a.dim(), b.dim()));
    }
    let mut y = (a.dot(&b) * c.float("alpha", 1.0)?).into_dyn();
    if let Some(bias) = c.optional_floats(2)? {
        y += &(broadcast(bias, y.shape())? * c.float("beta", 1.0)?);
    }
    float_output(dtype, y)
}
