//! Operators that read or write where integers say.

use assay_graph::DataType;
use ndarray::{ArrayD, Axis, IxDyn};

use crate::array::{Array, Data, each};
use crate::interpret::{Call, Outputs};

fn output(c: &Call<'_>, data: Data) -> Outputs {
    Ok(vec![Array::of(c.input(0)?.dtype, data)])
}

/// All indices of input `i`, counted from the end where negative, below `size`.
fn indices(c: &Call<'_>, i: usize, size: usize) -> Result<ArrayD<usize>, String> {
    let all = c.int_array(i)?;
    let checked = all.iter().map(|&v| Call::axis(v, size).map_err(|_| format!("index {v} of {size} elements")));
    let list = checked.collect::<Result<Vec<_>, _>>()?;
    ArrayD::from_shape_vec(all.raw_dim(), list).map_err(|e| e.to_string())
}

/// `Gather`: `y[a.., i.., b..] = x[a.., indices[i..], b..]`.
pub(super) fn gather(c: &Call<'_>) -> Outputs {
    let x = c.input(0)?;
    let axis = Call::axis(c.int("axis", 0)?, x.dims().len())?;
    let index = indices(c, 1, x.dims()[axis])?;
    let dims = [&x.dims()[..axis], index.shape(), &x.dims()[axis + 1..]].concat();
    let n = index.ndim();
    let read = |at: &IxDyn| {
        let at = ndarray::Dimension::slice(at);
        IxDyn(&[&at[..axis], &[index[&at[axis..axis + n]]], &at[axis + n..]].concat())
    };
    output(c, each!(&x.data, a => ArrayD::from_shape_fn(IxDyn(&dims), |at| a[read(&at)])))
}

/// `GatherElements`: `y[a, i, b] = x[a, indices[a, i, b], b]`.
pub(super) fn gather_elements(c: &Call<'_>) -> Outputs {
    let x = c.input(0)?;
    let axis = Call::axis(c.int("axis", 0)?, x.dims().len())?;
    let index = indices(c, 1, x.dims()[axis])?;
    let read = |at: &IxDyn| {
        let mut from = at.clone();
        from[axis] = index[at];
        from
    };
    output(c, each!(&x.data, a => ArrayD::from_shape_fn(index.raw_dim(), |at| a[read(&at)])))
}

/// `GatherND`: the last dimension of the indices addresses the dimensions after the batch dimensions.
pub(super) fn gather_nd(c: &Call<'_>) -> Outputs {
    let x = c.input(0)?;
    let batch = usize::try_from(c.int("batch_dims", 0)?).map_err(|e| e.to_string())?;
    let index = c.int_array(1)?;
    let (&depth, lead) = index.shape().split_last().ok_or("indices must have a dimension")?;
    let dims = [lead, &x.dims()[batch + depth..]].concat();
    for (i, &v) in index.iter().enumerate() {
        Call::axis(v, x.dims()[batch + i % depth])?;
    }
    let read = |at: &IxDyn| {
        let at = ndarray::Dimension::slice(at);
        let (lead, rest) = at.split_at(lead.len());
        let mut from = lead[..batch].to_vec();
        for k in 0..depth {
            let v = index[IxDyn(&[lead, &[k]].concat())];
            from.push(Call::axis(v, x.dims()[batch + k]).unwrap_or(0));
        }
        IxDyn(&[&from[..], rest].concat())
    };
    output(c, each!(&x.data, a => ArrayD::from_shape_fn(IxDyn(&dims), |at| a[read(&at)])))
}

/// How a scattered value meets what is there.
fn reduction(c: &Call<'_>) -> Result<fn(f64, f64) -> f64, String> {
    Ok(match c.text("reduction", "none")? {
        "none" => |_, new| new,
        "add" => |old, new| old + new,
        "mul" => |old, new| old * new,
        "max" => f64::max,
        "min" => f64::min,
        other => return Err(format!("reduction \"{other}\" is not known")),
    })
}

/// `ScatterElements` and `Scatter`: `y[a, indices[a, i, b], b] = updates[a, i, b]`.
pub(super) fn scatter_elements(c: &Call<'_>) -> Outputs {
    c.one_type(&[0, 2])?;
    let (x, updates) = (c.floats(0)?, c.floats(2)?);
    let axis = Call::axis(c.int("axis", 0)?, x.ndim())?;
    let index = indices(c, 1, x.shape()[axis])?;
    if index.shape() != updates.shape() {
        return Err(format!("indices {:?} for updates {:?}", index.shape(), updates.shape()));
    }
    let join = reduction(c)?;
    let mut y = x.clone();
    for (at, &position) in index.indexed_iter() {
        let mut to = at.clone();
        to[axis] = position;
        y[&to] = join(y[&to], updates[&at]);
    }
    output(c, Data::Float(y))
}

/// `ScatterND`.
pub(super) fn scatter_nd(c: &Call<'_>) -> Outputs {
    c.one_type(&[0, 2])?;
    let (x, index, updates) = (c.floats(0)?, c.int_array(1)?, c.floats(2)?);
    let (&depth, lead) = index.shape().split_last().ok_or("indices must have a dimension")?;
    if updates.shape() != [lead, &x.shape()[depth..]].concat() {
        return Err(format!("updates {:?} for indices {:?} into {:?}", updates.shape(), index.shape(), x.shape()));
    }
    let join = reduction(c)?;
    let mut y = x.clone();
    for (at, &update) in updates.indexed_iter() {
        let (lead, rest) = ndarray::Dimension::slice(&at).split_at(lead.len());
        let mut to = Vec::new();
        for k in 0..depth {
            to.push(Call::axis(index[IxDyn(&[lead, &[k]].concat())], x.shape()[k])?);
        }
        let to = IxDyn(&[&to[..], rest].concat());
        y[&to] = join(y[&to], update);
    }
    output(c, Data::Float(y))
}

/// `OneHot`: negative indices count from the end, indices out of range give a row of "off".
pub(super) fn one_hot(c: &Call<'_>) -> Outputs {
    let index = match &c.input(0)?.data {
        Data::Int(a) => a.clone(),
        #[allow(clippy::cast_possible_truncation)]
        _ => c.floats(0)?.mapv(|v| v as i64),
    };
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let depth = c.number(1)? as usize;
    let rank = index.ndim() + 1;
    let axis = Call::axis(c.int("axis", -1)?, rank)?;
    let mut dims = index.shape().to_vec();
    dims.insert(axis, depth);
    let hot = |at: &IxDyn| {
        let mut from = ndarray::Dimension::slice(at).to_vec();
        let class = from.remove(axis);
        Call::axis(index[IxDyn(&from)], depth) == Ok(class)
    };
    let values = c.input(2)?;
    if values.dims() != [2] {
        return Err("values must be \"off\" and \"on\"".into());
    }
    let data = each!(&values.data, v => ArrayD::from_shape_fn(IxDyn(&dims), |at| v[[usize::from(hot(&at))]]));
    Ok(vec![Array::of(values.dtype, data)])
}

/// `TopK`: sorted; of equal elements the first comes first.
pub(super) fn top_k(c: &Call<'_>) -> Outputs {
    let x = c.floats(0)?;
    let axis = Call::axis(c.int("axis", -1)?, x.ndim())?;
    let k = c.ints_at("k", 1)?.map_or_else(|| c.int("k", 0).map(|k| vec![k]), Ok)?;
    let k = usize::try_from(*k.first().ok_or("k is required")?).map_err(|e| e.to_string())?;
    if k > x.shape()[axis] {
        return Err(format!("the first {k} of {} elements", x.shape()[axis]));
    }
    let largest = c.flag("largest", true)?;
    let mut dims = x.shape().to_vec();
    dims[axis] = k;
    let mut values = ArrayD::zeros(IxDyn(&dims));
    let mut positions = ArrayD::zeros(IxDyn(&dims));
    let lanes = x.lanes(Axis(axis)).into_iter().zip(values.lanes_mut(Axis(axis))).zip(positions.lanes_mut(Axis(axis)));
    for ((lane, mut values), mut positions) in lanes {
        let mut order: Vec<usize> = (0..lane.len()).collect();
        order.sort_by(|&a, &b| if largest { lane[b].total_cmp(&lane[a]) } else { lane[a].total_cmp(&lane[b]) });
        for (i, &from) in order.iter().take(k).enumerate() {
            values[i] = lane[from];
            positions[i] = i64::try_from(from).map_err(|e| e.to_string())?;
        }
    }
    Ok(vec![Array::of(c.input(0)?.dtype, Data::Float(values)), Array::of(DataType::Int64, Data::Int(positions))])
}

/// `NonZero`: one column per element that is not zero.
pub(super) fn non_zero(c: &Call<'_>) -> Outputs {
    let x = c.input(0)?;
    let found: Vec<Vec<usize>> = match &x.data {
        Data::Float(a) => a.indexed_iter().filter(|(_, v)| **v != 0.0).map(|(at, _)| position(&at)).collect(),
        Data::Int(a) => a.indexed_iter().filter(|(_, v)| **v != 0).map(|(at, _)| position(&at)).collect(),
        Data::Bool(a) => a.indexed_iter().filter(|(_, v)| **v).map(|(at, _)| position(&at)).collect(),
    };
    let rows = x.dims().len();
    let table = (0..rows).flat_map(|row| found.iter().map(move |at| i64::try_from(at[row])));
    Ok(vec![Array::ints(&[rows, found.len()], table.collect::<Result<_, _>>().map_err(|e| e.to_string())?)])
}

fn position(at: &IxDyn) -> Vec<usize> {
    ndarray::Dimension::slice(at).to_vec()
}

/// `MaxUnpool`: writes each value where the indices of a `MaxPool` say.
pub(super) fn max_unpool(c: &Call<'_>) -> Outputs {
    let (x, index) = (c.floats(0)?, c.int_array(1)?);
    let dims: Vec<usize> =
        c.ints(2)?.into_iter().map(usize::try_from).collect::<Result<_, _>>().map_err(|e| e.to_string())?;
    let mut y = vec![0.0; dims.iter().product()];
    for (&value, &at) in x.iter().zip(index) {
        let at = usize::try_from(at).ok().filter(|&at| at < y.len()).ok_or("an index outside the output")?;
        y[at] = value;
    }
    output(c, Data::Float(ArrayD::from_shape_vec(IxDyn(&dims), y).map_err(|e| e.to_string())?))
}
