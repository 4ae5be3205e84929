//! `Resize`: another resolution along some axes. <https://onnx.ai/onnx/operators/onnx__Resize.html>
//!
//! Nearest, linear and cubic resizing treat one axis after the other, each with a matrix that does not depend on the data. The
//! matrices are not computed here from the specification's coordinate formulas: the emitted graph resizes an identity matrix
//! with the same attributes, a constant that ONNX Runtime folds when it loads the graph. So the gradient is the transpose of
//! what the runtime does, down to how it rounds coordinates at ties.

use indexmap::IndexMap;

use super::class::{increasing, output};
use super::inputs::{axis, floats, int, product, size};
use super::{Class, Operator};
use crate::{Cause, Channels, DataType, Dependence, Dim, Emit, Interval, Node, Pruned, Rule, Tensor, Value};

/// Longest axis that is resized with a matrix: its identity has the square of that many elements.
const LONGEST: usize = 4096;

/// Inputs: data, region of interest, scales, sizes.
#[derive(Debug)]
pub(super) struct Resize;

impl Operator for Resize {
    fn name(&self) -> &'static str {
        "Resize"
    }

    fn class(&self) -> Class {
        Class::Linear
    }

    fn refused(&self) -> &'static str {
        "by scales; computed scales; a `keep_aspect_ratio_policy` other than stretch; axes longer than 4,096, but for whole blocks"
    }

    fn transpose(&self, node: &Node, input: usize, y: &Value, e: &mut Emit<'_>) -> Rule<Value> {
        if input != 0 {
            return Err(Cause::Unsupported("the derivative with respect to scales or a region of interest".into()));
        }
        let output = output(node)?;
        let (x_dims, mut dims) = (e.dims(node.required(0)?)?, e.dims(output)?.to_vec());
        let resized = Resized::all(node, x_dims, &dims, e)?;
        if let Some(blocks) = blocks(node, x_dims, &dims, &resized)? {
            return Ok(sum_blocks(y, &blocks, e.dtype(output)?, e));
        }
        let mut y = y.clone();
        for axis in resized {
            y = axis.transpose(node, &y, &dims, e)?;
            dims[axis.axis] = x_dims[axis.axis];
        }
        Ok(y)
    }

    /// Scales and sizes do not add anything; a region of interest may, outside of the image.
    fn dependence(&self, node: &Node, data: &[bool], _: &Emit<'_>) -> Rule<Dependence> {
        let crop = node.text("coordinate_transformation_mode", "half_pixel")? == "tf_crop_and_resize";
        Ok(if data.iter().skip(1).any(|data| *data) || crop { Dependence::Other } else { Dependence::Linear })
    }

    /// Copies and means rise with what they are made of; cubic resizing has negative weights.
    fn interval(&self, node: &Node, x: &[Option<Interval>], e: &mut Emit<'_>) -> Rule<Interval> {
        match node.text("mode", "nearest")? {
            "nearest" | "linear" => Ok(increasing(node, x, e)),
            mode => Err(Cause::Unsupported(format!("mode {mode}; bounds need nearest or linear"))),
        }
    }

    fn channels(&self, node: &Node, c: &mut Channels<'_>) -> Rule<()> {
        let (x, y) = (node.required(0)?, output(node)?);
        let (from, to) = (c.dims(x)?, c.dims(y)?);
        // A region of interest moves positions without changing their number.
        let crop = node.text("coordinate_transformation_mode", "half_pixel")? == "tf_crop_and_resize";
        let sizes = node.input(3).is_some();
        let scales = node.input(2).and_then(|scales| c.constant(scales)).and_then(Tensor::to_f64).unwrap_or_default();
        let axes = node.ints("axes")?.map_or_else(|| (0..int(from.len())).collect(), <[i64]>::to_vec);
        let axes: Vec<usize> = axes.iter().map(|&a| axis(a, from.len())).collect::<Rule<_>>()?;
        c.all_but(
            node,
            |axis| {
                let stated = axes.iter().position(|&a| a == axis);
                let scaled = |at: usize| !sizes && scales.get(at).is_none_or(|s| (s - 1.0).abs() > f64::EPSILON);
                from[axis] != to[axis] || stated.is_some_and(|at| crop || scaled(at))
            },
            "its resolution changes",
        )
    }

    fn pruned(&self, node: &mut Node, p: &mut Pruned<'_>) -> Rule<()> {
        let Some(mut sizes) = p.ints(node, 3) else { return Ok(()) };
        let y = output(node)?.clone();
        let rank = p.dims(&y)?.len();
        let axes = node.ints("axes")?.map_or_else(|| (0..int(rank)).collect(), <[i64]>::to_vec);
        for (entry, stated) in sizes.iter_mut().zip(axes) {
            if let Some(size) = p.size(&y, axis(stated, rank)?)? {
                *entry = int(size);
            }
        }
        p.set_ints(node, 3, &sizes)
    }

    fn uniform(&self, node: &Node, inputs: &[Option<f64>]) -> Option<f64> {
        // What lies outside of the image has a number of its own.
        let crop = node.text("coordinate_transformation_mode", "half_pixel").ok()? == "tf_crop_and_resize";
        inputs.first().copied()?.filter(|_| !crop)
    }
}

/// One axis that changes.
#[derive(Debug)]
struct Resized {
    axis: usize,
    input: usize,
    output: usize,
    /// The stated scale; without one it is that of the sizes.
    scale: Option<f64>,
    /// Start and end of the region of interest.
    region: Option<(f64, f64)>,
}

impl Resized {
    /// The axes that `node` changes.
    fn all(node: &Node, x: &[Dim], y: &[Dim], e: &Emit<'_>) -> Rule<Vec<Self>> {
        refuse(node)?;
        let stated = node.ints("axes")?.map_or_else(|| (0..int(x.len())).collect(), <[i64]>::to_vec);
        let some = |values: Option<Vec<f64>>| values.filter(|v| !v.is_empty());
        let scales = some(floats(node, 2, "scales", e)?);
        let sizes = sizes(node, e)?.filter(|&len| len > 0);
        let crop = node.text("coordinate_transformation_mode", "half_pixel")? == "tf_crop_and_resize";
        let regions = if crop { some(floats(node, 1, "roi", e)?) } else { None };
        let n = stated.len();
        let lengths = [scales.as_ref().map(Vec::len), sizes, regions.as_ref().map(|r| r.len() / 2)];
        if lengths.iter().flatten().any(|&len| len != n)
            || scales.is_some() == sizes.is_some()
            || crop != regions.is_some()
        {
            return Err(Cause::Malformed(format!(
                "either scales or sizes with one value for each of {n} axes, and a region of interest with two if the \
                 coordinate transformation is tf_crop_and_resize"
            )));
        }
        let mut resized = Vec::new();
        for (i, &stated) in stated.iter().enumerate() {
            let axis = axis(stated, x.len())?;
            let scale = scales.as_ref().map(|s| s[i]);
            let region = regions.as_ref().map(|r| (r[i], r[n + i]));
            let unscaled = scale.map_or(x[axis] == y[axis], |s| (s - 1.0).abs() < f64::EPSILON);
            if !unscaled || region.is_some_and(|r| r != (0.0, 1.0)) {
                resized.push(Self { axis, input: size(x, axis)?, output: size(y, axis)?, scale, region });
            }
        }
        Ok(resized)
    }

    /// Multiplies `y`, of shape `dims`, by the transposed matrix of this axis.
    fn transpose(&self, node: &Node, y: &Value, dims: &[Dim], e: &mut Emit<'_>) -> Rule<Value> {
        let matrix = self.matrix(node, e.dtype(node.required(0)?)?, e)?;
        let last = dims.len() - 1;
        if self.axis == last {
            let transposed = e.op_with("Transpose", &[&matrix], [("perm", vec![1, 0].into())]);
            return Ok(e.op("MatMul", &[y, &transposed]));
        }
        if self.axis + 1 == last && self.axis > 0 {
            return Ok(e.op("MatMul", &[&matrix, y]));
        }
        // Everything before the axis as one dimension and everything behind it as another.
        let (before, behind) = (product(&dims[..self.axis])?, product(&dims[self.axis + 1..])?);
        let y = e.reshape(y, &[before, Dim::Fixed(self.output), behind])?;
        let y = e.op("MatMul", &[&matrix, &y]);
        let mut shape = dims.to_vec();
        shape[self.axis] = Dim::Fixed(self.input);
        e.reshape(&y, &shape)
    }

    /// `[input, output]`: row `i` holds what input element `i` gives to each output element.
    ///
    /// # Errors
    /// The matrix would be huge.
    fn matrix(&self, node: &Node, dtype: DataType, e: &mut Emit<'_>) -> Rule<Value> {
        let n = self.input;
        if n > LONGEST {
            return Err(Cause::Unsupported(format!("an axis of {n} elements; at most {LONGEST} are resized")));
        }
        let mut identity = vec![0.0; n * n];
        identity.iter_mut().step_by(n + 1).for_each(|v| *v = 1.0);
        let identity = e.tensor(Tensor::rounded(dtype, &[n, n], &identity));
        #[allow(clippy::cast_possible_truncation)]
        let mut numbers = |values: &[f64]| {
            let values: Vec<f32> = values.iter().map(|&v| v as f32).collect();
            e.tensor(Tensor::floats(&[values.len()], &values))
        };
        let region = self.region.map(|(start, end)| numbers(&[0.0, start, 1.0, end]));
        let scales = self.scale.map(|scale| numbers(&[1.0, scale]));
        let sizes = if scales.is_none() { Some(e.ints(&[int(n), int(self.output)])) } else { None };
        // Elements that are extrapolated do not depend on the data.
        let mut attributes = IndexMap::from([("extrapolation_value".to_owned(), 0.0.into())]);
        let kept =
            ["mode", "coordinate_transformation_mode", "nearest_mode", "cubic_coeff_a", "exclude_outside", "antialias"];
        for name in kept {
            attributes.extend(node.attributes.get(name).map(|value| (name.to_owned(), value.clone())));
        }
        Ok(e.node("Resize", vec![Some(identity), region, scales, sizes], attributes, 1).remove(0))
    }
}

/// How many sizes are stated. Which they are is known from the output's shape: an exporter computes them from the input's
/// shape, so that one of them is often the batch and no constant.
fn sizes(node: &Node, e: &Emit<'_>) -> Rule<Option<usize>> {
    node.input(3).map(|sizes| e.fixed(sizes, 0).map(|dims| dims.iter().product())).transpose()
}

/// Refuses what is not a product of matrices, or not one that this rule has been checked for.
fn refuse(node: &Node) -> Rule<()> {
    let mode = node.text("mode", "nearest")?;
    if !matches!(mode, "nearest" | "linear" | "cubic") {
        return Err(Cause::Unsupported(format!("mode {mode}; nearest, linear and cubic are supported")));
    }
    let policy = node.text("keep_aspect_ratio_policy", "stretch")?;
    if policy != "stretch" {
        return Err(Cause::Unsupported(format!("keep_aspect_ratio_policy {policy}; stretch is supported")));
    }
    Ok(())
}

/// Factor by which each spatial axis grows, if every input element becomes exactly one block of the output.
fn blocks(node: &Node, x: &[Dim], y: &[Dim], resized: &[Resized]) -> Rule<Option<Vec<usize>>> {
    let coordinates = node.text("coordinate_transformation_mode", "half_pixel")?;
    let rounding = node.text("nearest_mode", "round_prefer_floor")?;
    // At these the centres of a block's elements never lie half-way between two input elements.
    let exact = match coordinates {
        "asymmetric" => rounding == "floor",
        "half_pixel" => matches!(rounding, "round_prefer_floor" | "round_prefer_ceil"),
        _ => false,
    };
    if node.text("mode", "nearest")? != "nearest" || !exact || !(3..=5).contains(&x.len()) || y.len() != x.len() {
        return Ok(None);
    }
    let mut factors = vec![1; x.len() - 2];
    for axis in resized {
        let factor = axis.output / axis.input.max(1);
        #[allow(clippy::cast_precision_loss)]
        let whole = axis.output == factor * axis.input && axis.scale.is_none_or(|s| (s - factor as f64).abs() == 0.0);
        match axis.axis.checked_sub(2).and_then(|spatial| factors.get_mut(spatial)) {
            Some(slot) if whole && factor > 0 => *slot = factor,
            _ => return Ok(None),
        }
    }
    Ok(Some(factors))
}

/// The sum of each block: its mean, which has a fast kernel, times its size.
fn sum_blocks(y: &Value, blocks: &[usize], dtype: DataType, e: &mut Emit<'_>) -> Value {
    let block: Vec<i64> = blocks.iter().map(|&b| int(b)).collect();
    let mean = e.op_with("AveragePool", &[y], [("kernel_shape", block.clone().into()), ("strides", block.into())]);
    #[allow(clippy::cast_precision_loss)]
    let elements = e.scalar(blocks.iter().product::<usize>() as f64, dtype);
    e.op("Mul", &[&mean, &elements])
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use crate::ops::sketch::vjp_text;

    #[test]
    fn whole_blocks_are_summed() {
        let attributes = [("coordinate_transformation_mode", "asymmetric".into()), ("nearest_mode", "floor".into())];
        let text = vjp_text("Resize", "x[n,2,3,4] _ s=[1.0,1.0,2.0,3.0] -> y[n,2,6,12]", &attributes);
        assert_snapshot!(text, @"
        AveragePool.0 = AveragePool(w) kernel_shape=[2, 3] strides=[2, 3]
        Mul.1 = Mul(AveragePool.0, 6)
        x' = Mul.1
        ");
    }

    #[test]
    fn refuses_an_axis_whose_matrix_would_be_huge() {
        let text = vjp_text("Resize", "x[n,1,5000] _ s=[1.0,1.0,1.5] -> y[n,1,7500]", &[("mode", "linear".into())]);
        assert_snapshot!(text, @r#"vjp: node "node" (Resize): unsupported: an axis of 5000 elements; at most 4096 are resized"#);
    }

    #[test]
    fn other_axes_are_multiplied_by_a_resized_identity() {
        let text = vjp_text("Resize", "x[n,2,2,4] _ s=[1.0,1.0,1.5,1.0] -> y[n,2,3,4]", &[("mode", "linear".into())]);
        assert_snapshot!(text, @r#"
        Resize.0 = Resize([1, 0, 0, 1], _, [1, 1.5], _) extrapolation_value=0 mode=String(b"linear")
        MatMul.1 = MatMul(Resize.0, w)
        x' = MatMul.1
        "#);
    }
}
