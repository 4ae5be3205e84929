//! Operators that move, copy or drop elements.

use assay_graph::DataType;
use ndarray::{ArrayD, Axis, IxDyn};

use super::elementwise::{broadcast, common};
use crate::array::{Array, Data, each};
use crate::interpret::{Call, Outputs};

fn output(c: &Call<'_>, data: Data) -> Outputs {
    Ok(vec![Array::of(c.input(0)?.dtype, data)])
}

fn reshaped(c: &Call<'_>, dims: &[usize]) -> Outputs {
    let x = c.input(0)?;
    if x.dims().iter().product::<usize>() != dims.iter().product::<usize>() {
        return Err(format!("shape {:?} cannot become {dims:?}", x.dims()));
    }
    let error = |e: ndarray::ShapeError| e.to_string();
    output(c, each!(&x.data, a => a.to_shape(IxDyn(dims)).map_err(error)?.to_owned()))
}

/// `Identity` and `Dropout` in inference, whose mask is all true.
pub(super) fn identity(c: &Call<'_>) -> Outputs {
    let x = c.input(0)?.clone();
    if c.optional(2).map(|_| c.bools(2)).transpose()?.is_some_and(|t| t.iter().any(|&t| t)) {
        return Err("training mode is not interpreted".into());
    }
    let mask = Data::Bool(ArrayD::from_elem(IxDyn(x.dims()), true));
    Ok(vec![x, Array::of(DataType::Bool, mask)])
}

/// `Reshape`: 0 copies a dimension unless `allowzero`, -1 takes what is left.
pub(super) fn reshape(c: &Call<'_>) -> Outputs {
    let x = c.input(0)?;
    let wanted = c.ints_at("shape", 1)?.ok_or("a shape is required")?;
    let allow_zero = c.flag("allowzero", false)?;
    let mut dims = Vec::new();
    for (i, &d) in wanted.iter().enumerate() {
        dims.push(match d {
            -1 => None,
            0 if !allow_zero => Some(*x.dims().get(i).ok_or("0 copies a dimension that is not there")?),
            d => Some(usize::try_from(d).map_err(|_| format!("shape {wanted:?}"))?),
        });
    }
    let known: usize = dims.iter().flatten().product();
    let left = x.dims().iter().product::<usize>().checked_div(known).unwrap_or(0);
    if dims.iter().filter(|d| d.is_none()).count() > 1 {
        return Err(format!("shape {wanted:?} leaves two dimensions open"));
    }
    reshaped(c, &dims.into_iter().map(|d| d.unwrap_or(left)).collect::<Vec<_>>())
}

/// `Flatten` to a matrix.
pub(super) fn flatten(c: &Call<'_>) -> Outputs {
    let dims = c.input(0)?.dims();
    let axis = match c.int("axis", 1)? {
        axis if axis == i64::try_from(dims.len()).unwrap_or(0) => dims.len(),
        axis => Call::axis(axis, dims.len())?,
    };
    reshaped(c, &[dims[..axis].iter().product(), dims[axis..].iter().product()])
}

/// `Squeeze`: the named dimensions of size 1, or all of them.
pub(super) fn squeeze(c: &Call<'_>) -> Outputs {
    let dims = c.input(0)?.dims();
    let axes = match c.ints_at("axes", 1)? {
        Some(axes) => axes.into_iter().map(|a| Call::axis(a, dims.len())).collect::<Result<Vec<_>, _>>()?,
        None => (0..dims.len()).filter(|&a| dims[a] == 1).collect(),
    };
    if axes.iter().any(|&a| dims[a] != 1) {
        return Err(format!("dimensions {axes:?} of {dims:?} are not all 1"));
    }
    reshaped(c, &(0..dims.len()).filter(|a| !axes.contains(a)).map(|a| dims[a]).collect::<Vec<_>>())
}

/// `Unsqueeze`: the axes are those of the output.
pub(super) fn unsqueeze(c: &Call<'_>) -> Outputs {
    let dims = c.input(0)?.dims();
    let axes = c.ints_at("axes", 1)?.ok_or("axes are required")?;
    let rank = dims.len() + axes.len();
    let axes = axes.into_iter().map(|a| Call::axis(a, rank)).collect::<Result<Vec<_>, _>>()?;
    let mut rest = dims.iter();
    let dims: Vec<usize> =
        (0..rank).map(|a| if axes.contains(&a) { 1 } else { rest.next().copied().unwrap_or(1) }).collect();
    reshaped(c, &dims)
}

/// `Transpose`: dimension `i` of the output is dimension `perm[i]` of the input.
pub(super) fn transpose(c: &Call<'_>) -> Outputs {
    let x = c.input(0)?;
    let rank = x.dims().len();
    let perm = match c.node.ints("perm").map_err(|e| e.to_string())? {
        Some(perm) => perm.iter().map(|&a| Call::axis(a, rank)).collect::<Result<Vec<_>, _>>()?,
        None => (0..rank).rev().collect(),
    };
    if perm.len() != rank || (0..rank).any(|a| !perm.contains(&a)) {
        return Err(format!("{perm:?} is no order of {rank} dimensions"));
    }
    output(c, each!(&x.data, a => a.view().permuted_axes(IxDyn(&perm)).as_standard_layout().into_owned()))
}

/// `Concat`.
pub(super) fn concat(c: &Call<'_>) -> Outputs {
    let inputs = c.all()?;
    let dtype = c.one_type(&(0..inputs.len()).collect::<Vec<_>>())?;
    let axis = Axis(Call::axis(c.int("axis", 1)?, c.input(0)?.dims().len())?);
    let error = |e: ndarray::ShapeError| e.to_string();
    let data = match &c.input(0)?.data {
        Data::Float(_) => {
            let parts = (0..inputs.len()).map(|i| c.floats(i).map(|a| a.view())).collect::<Result<Vec<_>, _>>()?;
            Data::Float(ndarray::concatenate(axis, &parts).map_err(error)?)
        }
        Data::Int(_) => {
            let parts = (0..inputs.len()).map(|i| c.int_array(i).map(|a| a.view())).collect::<Result<Vec<_>, _>>()?;
            Data::Int(ndarray::concatenate(axis, &parts).map_err(error)?)
        }
        Data::Bool(_) => {
            let parts = (0..inputs.len()).map(|i| c.bools(i).map(|a| a.view())).collect::<Result<Vec<_>, _>>()?;
            Data::Bool(ndarray::concatenate(axis, &parts).map_err(error)?)
        }
    };
    Ok(vec![Array::of(dtype, data)])
}

/// `Split`: by given sizes, else into equal parts of which the last may be smaller.
pub(super) fn split(c: &Call<'_>) -> Outputs {
    let x = c.input(0)?;
    let axis = Call::axis(c.int("axis", 0)?, x.dims().len())?;
    let size = x.dims()[axis];
    let sizes: Vec<usize> = match c.ints_at("split", 1)? {
        Some(sizes) => sizes.into_iter().map(usize::try_from).collect::<Result<_, _>>().map_err(|e| e.to_string())?,
        None => {
            let parts = usize::try_from(c.int("num_outputs", i64::try_from(c.node.outputs.len()).unwrap_or(1))?)
                .map_err(|e| e.to_string())?;
            let each = size.div_ceil(parts);
            (0..parts).map(|i| each.min(size.saturating_sub(i * each))).collect()
        }
    };
    if sizes.iter().sum::<usize>() != size {
        return Err(format!("parts of {sizes:?} from {size}"));
    }
    let mut start = 0;
    let mut parts = Vec::new();
    for size in sizes {
        let range = ndarray::Slice::from(start..start + size);
        parts.push(Array::of(x.dtype, each!(&x.data, a => a.slice_axis(Axis(axis), range).to_owned())));
        start += size;
    }
    Ok(parts)
}

/// `Slice`: Python's `x[start:end:step]` on each named axis.
pub(super) fn slice(c: &Call<'_>) -> Outputs {
    let x = c.input(0)?;
    let rank = x.dims().len();
    let starts = c.ints_at("starts", 1)?.ok_or("starts are required")?;
    let ends = c.ints_at("ends", 2)?.ok_or("ends are required")?;
    let axes = match c.ints_at("axes", 3)? {
        Some(axes) => axes.into_iter().map(|a| Call::axis(a, rank)).collect::<Result<Vec<_>, _>>()?,
        None => (0..starts.len()).collect(),
    };
    let steps = c.ints_at("steps", 4)?.unwrap_or_else(|| vec![1; starts.len()]);
    // For each axis, the positions that are kept, in their new order.
    let mut kept: Vec<Vec<usize>> = x.dims().iter().map(|&d| (0..d).collect()).collect();
    for (i, &axis) in axes.iter().enumerate() {
        let size = i64::try_from(x.dims()[axis]).map_err(|e| e.to_string())?;
        let (start, end, step) = (starts[i], ends[i], steps[i]);
        let from_start = |v: i64| if v < 0 { v.saturating_add(size) } else { v };
        let mut at = match step {
            0 => return Err("a step of 0".into()),
            1.. => from_start(start).clamp(0, size),
            _ => from_start(start).clamp(-1, size - 1),
        };
        let stop = if step > 0 { from_start(end).clamp(0, size) } else { from_start(end).clamp(-1, size - 1) };
        kept[axis].clear();
        while if step > 0 { at < stop } else { at > stop } {
            kept[axis].push(usize::try_from(at).map_err(|e| e.to_string())?);
            at = at.saturating_add(step);
        }
    }
    output(c, each!(&x.data, a => pick(a, &kept)))
}

/// The elements at the given positions of each axis.
fn pick<T: Clone>(a: &ArrayD<T>, kept: &[Vec<usize>]) -> ArrayD<T> {
    let dims: Vec<usize> = kept.iter().map(Vec::len).collect();
    ArrayD::from_shape_fn(IxDyn(&dims), |at| {
        let from: Vec<usize> = kept.iter().enumerate().map(|(axis, positions)| positions[at[axis]]).collect();
        a[IxDyn(&from)].clone()
    })
}

/// `Pad`: negative pads cut off first; then the mode says what stands outside.
pub(super) fn pad(c: &Call<'_>) -> Outputs {
    let x = c.numbers(0)?;
    let rank = x.ndim();
    let pads = c.ints_at("pads", 1)?.ok_or("pads are required")?;
    let value = match c.optional(2) {
        Some(_) => c.number(2)?,
        None => c.float("value", 0.0)?,
    };
    let axes = match c.optional(3) {
        Some(_) => c.ints(3)?.into_iter().map(|a| Call::axis(a, rank)).collect::<Result<Vec<_>, _>>()?,
        None => (0..rank).collect(),
    };
    if pads.len() != 2 * axes.len() {
        return Err(format!("{} pads for {} axes", pads.len(), axes.len()));
    }
    let mode = c.text("mode", "constant")?;
    // For each axis, what each output position shows: an input position, or the constant.
    let mut shown: Vec<Vec<Option<usize>>> = x.shape().iter().map(|&d| (0..d).map(Some).collect()).collect();
    for (i, &axis) in axes.iter().enumerate() {
        let size = i64::try_from(x.shape()[axis]).map_err(|e| e.to_string())?;
        let (before, after) = (pads[i], pads[axes.len() + i]);
        let (first, last) = ((-before).max(0), size - 1 - (-after).max(0));
        let kept = last - first + 1;
        shown[axis] = (0..(size + before + after).max(0))
            .map(|o| {
                // Counted from the first position that was not cut off.
                let at = o - before.max(0);
                let inside = match mode {
                    _ if (0..kept).contains(&at) => at,
                    "constant" => return Ok(None),
                    "edge" if kept > 0 => at.clamp(0, kept - 1),
                    "wrap" if kept > 0 => at.rem_euclid(kept),
                    "reflect" if kept == 1 => 0,
                    "reflect" if kept > 1 => {
                        let period = 2 * (kept - 1);
                        let at = at.rem_euclid(period);
                        at.min(period - at)
                    }
                    other => return Err(format!("mode \"{other}\" with {kept} elements left")),
                };
                usize::try_from(first + inside).map(Some).map_err(|e| e.to_string())
            })
            .collect::<Result<_, _>>()?;
    }
    let dims: Vec<usize> = shown.iter().map(Vec::len).collect();
    let y = ArrayD::from_shape_fn(IxDyn(&dims), |at| {
        let from: Option<Vec<usize>> = shown.iter().enumerate().map(|(axis, s)| s[at[axis]]).collect();
        from.map_or(value, |from| x[IxDyn(&from)])
    });
    #[allow(clippy::cast_possible_truncation)]
    let data = if matches!(c.input(0)?.data, Data::Int(_)) { Data::Int(y.mapv(|v| v as i64)) } else { Data::Float(y) };
    output(c, data)
}

/// `Expand`: to the common shape of the input and the given one.
pub(super) fn expand(c: &Call<'_>) -> Outputs {
    let x = c.input(0)?;
    let wanted =
        c.ints(1)?.into_iter().map(usize::try_from).collect::<Result<Vec<_>, _>>().map_err(|e| e.to_string())?;
    let dims = common(x.dims(), &wanted)?;
    output(c, each!(&x.data, a => broadcast(a, &dims)?))
}

/// `Tile`.
pub(super) fn tile(c: &Call<'_>) -> Outputs {
    let x = c.input(0)?;
    let repeats =
        c.ints(1)?.into_iter().map(usize::try_from).collect::<Result<Vec<_>, _>>().map_err(|e| e.to_string())?;
    if repeats.len() != x.dims().len() {
        return Err(format!("{} repeats for shape {:?}", repeats.len(), x.dims()));
    }
    let kept: Vec<Vec<usize>> =
        x.dims().iter().zip(&repeats).map(|(&d, &r)| (0..r).flat_map(|_| 0..d).collect()).collect();
    output(c, each!(&x.data, a => pick(a, &kept)))
}

/// `DepthToSpace`: depth holds (block row, block column, channel) in mode DCR and (channel, block row, block column) in CRD.
pub(super) fn depth_to_space(c: &Call<'_>) -> Outputs {
    let x = c.floats(0)?;
    let block = usize::try_from(c.int("blocksize", 0)?).map_err(|e| e.to_string())?;
    let [n, depth, h, w] = four(x)?;
    if block == 0 || depth % (block * block) != 0 {
        return Err(format!("blocks of {block} from {depth} channels"));
    }
    let channels = depth / (block * block);
    let dcr = match c.text("mode", "DCR")? {
        "DCR" => true,
        "CRD" => false,
        other => return Err(format!("mode \"{other}\" is not known")),
    };
    let y = ArrayD::from_shape_fn(IxDyn(&[n, channels, h * block, w * block]), |at| {
        let (row, column) = (at[2] % block, at[3] % block);
        let channel =
            if dcr { (row * block + column) * channels + at[1] } else { (at[1] * block + row) * block + column };
        x[[at[0], channel, at[2] / block, at[3] / block]]
    });
    output(c, Data::Float(y))
}

/// `SpaceToDepth`: the inverse of `DepthToSpace` in mode DCR.
pub(super) fn space_to_depth(c: &Call<'_>) -> Outputs {
    let x = c.floats(0)?;
    let block = usize::try_from(c.int("blocksize", 0)?).map_err(|e| e.to_string())?;
    let [n, channels, h, w] = four(x)?;
    if block == 0 || h % block != 0 || w % block != 0 {
        return Err(format!("blocks of {block} from {h} x {w}"));
    }
    let y = ArrayD::from_shape_fn(IxDyn(&[n, channels * block * block, h / block, w / block]), |at| {
        let (within, channel) = (at[1] / channels, at[1] % channels);
        x[[at[0], channel, at[2] * block + within / block, at[3] * block + within % block]]
    });
    output(c, Data::Float(y))
}

fn four(x: &ArrayD<f64>) -> Result<[usize; 4], String> {
    x.shape().try_into().map_err(|_| format!("expected four dimensions, found {:?}", x.shape()))
}

/// `Trilu`: zeros below or above a diagonal of the last two dimensions.
pub(super) fn trilu(c: &Call<'_>) -> Outputs {
    let x = c.floats(0)?;
    let rank = x.ndim();
    if rank < 2 {
        return Err("expected at least two dimensions".into());
    }
    let k = c.optional(1).map(|_| c.ints(1)).transpose()?.and_then(|k| k.first().copied()).unwrap_or(0);
    let upper = c.flag("upper", true)?;
    let y = ArrayD::from_shape_fn(x.raw_dim(), |at| {
        let right = i64::try_from(at[rank - 1]).unwrap_or(0) - i64::try_from(at[rank - 2]).unwrap_or(0);
        if (upper && right >= k) || (!upper && right <= k) { x[&at] } else { 0.0 }
    });
    output(c, Data::Float(y))
}

/// `Shape`, from `start` to `end`.
pub(super) fn shape(c: &Call<'_>) -> Outputs {
    let dims: Vec<i64> =
        c.input(0)?.dims().iter().map(|&d| i64::try_from(d)).collect::<Result<_, _>>().map_err(|e| e.to_string())?;
    let rank = i64::try_from(dims.len()).unwrap_or(0);
    let position = |v: i64| usize::try_from(if v < 0 { v + rank } else { v }.clamp(0, rank)).unwrap_or(0);
    let (start, end) = (position(c.int("start", 0)?), position(c.int("end", rank)?));
    let dims = dims[start..end.max(start)].to_vec();
    Ok(vec![Array::ints(&[dims.len()], dims)])
}

/// `Size`.
pub(super) fn size(c: &Call<'_>) -> Outputs {
    let size = c.input(0)?.dims().iter().product::<usize>();
    Ok(vec![Array::ints(&[], vec![i64::try_from(size).map_err(|e| e.to_string())?])])
}

/// `Range`.
pub(super) fn range(c: &Call<'_>) -> Outputs {
    let dtype = c.one_type(&[0, 1, 2])?;
    let (start, limit, delta) = (c.number(0)?, c.number(1)?, c.number(2)?);
    if delta == 0.0 {
        return Err("a step of 0".into());
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    let values: Vec<f64> =
        (0..((limit - start) / delta).ceil().max(0.0) as usize).map(|i| start + i as f64 * delta).collect();
    #[allow(clippy::cast_possible_truncation)]
    let array = match dtype.is_float() {
        true => Array::floats(&[values.len()], values),
        false => Array::ints(&[values.len()], values.into_iter().map(|v| v as i64).collect()),
    };
    Ok(vec![Array::of(dtype, array.data)])
}
