//! Comparisons, boolean operators, `Where`, `Cast` and constants.

use assay_graph::{Attribute, DataType, Tensor};
use ndarray::{ArrayD, IxDyn};

use super::elementwise::{broadcast, common, pairwise};
use crate::array::{Array, Data, each};
use crate::interpret::{Call, Outputs};

/// Comparisons and boolean operators on two arrays.
pub(super) fn compare(c: &Call<'_>) -> Outputs {
    c.one_type(&[0, 1])?;
    let operator = c.node.operator.as_str();
    let result = match (&c.input(0)?.data, &c.input(1)?.data) {
        (Data::Float(a), Data::Float(b)) => pairwise(a, b, ordering::<f64>(operator)?)?,
        (Data::Int(a), Data::Int(b)) => pairwise(a, b, ordering::<i64>(operator)?)?,
        _ => pairwise(
            c.bools(0)?,
            c.bools(1)?,
            match operator {
                "And" => |a, b| a && b,
                "Or" => |a, b| a || b,
                "Xor" => |a, b| a != b,
                "Equal" => |a, b| a == b,
                _ => return Err("booleans have no order".into()),
            },
        )?,
    };
    Ok(vec![Array::of(DataType::Bool, Data::Bool(result))])
}

fn ordering<T: PartialOrd>(operator: &str) -> Result<fn(T, T) -> bool, String> {
    Ok(match operator {
        "Equal" => |a, b| a == b,
        "Greater" => |a, b| a > b,
        "GreaterOrEqual" => |a, b| a >= b,
        "Less" => |a, b| a < b,
        "LessOrEqual" => |a, b| a <= b,
        _ => return Err("its operands must be booleans".into()),
    })
}

/// `Not`.
pub(super) fn not(c: &Call<'_>) -> Outputs {
    Ok(vec![Array::of(DataType::Bool, Data::Bool(c.bools(0)?.mapv(|v| !v)))])
}

/// `IsNaN` and `IsInf`.
pub(super) fn is_special(c: &Call<'_>) -> Outputs {
    let (negative, positive) = (c.flag("detect_negative", true)?, c.flag("detect_positive", true)?);
    let nan = c.node.operator == "IsNaN";
    let special = c.floats(0)?.mapv(|v| match nan {
        true => v.is_nan(),
        false => (positive && v == f64::INFINITY) || (negative && v == f64::NEG_INFINITY),
    });
    Ok(vec![Array::of(DataType::Bool, Data::Bool(special))])
}

/// `Where`: the three inputs repeated to their common shape.
pub(super) fn choose(c: &Call<'_>) -> Outputs {
    let dtype = c.one_type(&[1, 2])?;
    let dims = common(c.input(1)?.dims(), c.input(2)?.dims())?;
    let dims = common(c.bools(0)?.shape(), &dims)?;
    let condition = broadcast(c.bools(0)?, &dims)?;
    fn pick<T: Clone>(condition: &ArrayD<bool>, x: &ArrayD<T>, y: &ArrayD<T>) -> Result<ArrayD<T>, String> {
        let (x, y) = (broadcast(x, condition.shape())?, broadcast(y, condition.shape())?);
        Ok(ArrayD::from_shape_fn(condition.raw_dim(), |i| if condition[&i] { x[&i].clone() } else { y[&i].clone() }))
    }
    let data = match (&c.input(1)?.data, &c.input(2)?.data) {
        (Data::Float(x), Data::Float(y)) => Data::Float(pick(&condition, x, y)?),
        (Data::Int(x), Data::Int(y)) => Data::Int(pick(&condition, x, y)?),
        (Data::Bool(x), Data::Bool(y)) => Data::Bool(pick(&condition, x, y)?),
        _ => return Err("the two choices have different types".into()),
    };
    Ok(vec![Array::of(dtype, data)])
}

/// `Cast` and `CastLike`. Nothing is rounded to a narrower floating-point type; floating-point numbers become integers by
/// cutting off the fraction.
pub(super) fn cast(c: &Call<'_>) -> Outputs {
    let to = match c.node.operator.as_str() {
        "CastLike" => c.input(1)?.dtype,
        _ => DataType::from_number(i32::try_from(c.int("to", 0)?).map_err(|e| e.to_string())?),
    };
    if to.size().is_none() {
        return Err(format!("no cast to {to:?}"));
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
    let data = match (&c.input(0)?.data, to) {
        (Data::Float(a), DataType::Bool) => Data::Bool(a.mapv(|v| v != 0.0)),
        (Data::Int(a), DataType::Bool) => Data::Bool(a.mapv(|v| v != 0)),
        (Data::Int(a), to) if to.is_float() => Data::Float(a.mapv(|v| v as f64)),
        (Data::Bool(a), to) if to.is_float() => Data::Float(a.mapv(|v| f64::from(u8::from(v)))),
        (Data::Bool(a), to) if to != DataType::Bool => Data::Int(a.mapv(i64::from)),
        (Data::Float(a), to) if !to.is_float() => Data::Int(a.mapv(|v| v.trunc() as i64)),
        (same, _) => same.clone(),
    };
    Ok(vec![Array::of(to, data)])
}

/// `Constant` in all its spellings but strings.
pub(super) fn constant(c: &Call<'_>) -> Outputs {
    let [(name, value)] = c.node.attributes.iter().collect::<Vec<_>>()[..] else {
        return Err("expected one attribute".into());
    };
    let array = match (name.as_str(), value) {
        ("value", Attribute::Tensor(t)) => read(t)?,
        ("value_float", Attribute::Float(v)) => Array::floats(&[], vec![f64::from(*v)]),
        ("value_floats", Attribute::Floats(v)) => Array::floats(&[v.len()], v.iter().copied().map(f64::from).collect()),
        ("value_int", Attribute::Int(v)) => Array::ints(&[], vec![*v]),
        ("value_ints", Attribute::Ints(v)) => Array::ints(&[v.len()], v.clone()),
        _ => return Err(format!("a constant given as \"{name}\" is not interpreted")),
    };
    Ok(vec![array])
}

/// `ConstantOfShape`: zeros of type f32 unless the attribute says otherwise.
pub(super) fn constant_of_shape(c: &Call<'_>) -> Outputs {
    let dims = c.ints(0)?.into_iter().map(usize::try_from).collect::<Result<Vec<_>, _>>().map_err(|e| e.to_string())?;
    let value = match c.node.attributes.get("value") {
        Some(Attribute::Tensor(t)) => read(t)?,
        Some(_) => return Err("attribute \"value\" must be a tensor".into()),
        None => Array::floats(&[1], vec![0.0]),
    };
    if value.dims() != [1] && !value.dims().is_empty() {
        return Err("attribute \"value\" must have one element".into());
    }
    let data = each!(&value.data, a => ArrayD::from_elem(IxDyn(&dims), a.iter().next().cloned().ok_or("no value")?));
    Ok(vec![Array::of(value.dtype, data)])
}

fn read(tensor: &Tensor) -> Result<Array, String> {
    Array::from_tensor(tensor).ok_or_else(|| format!("a tensor of type {:?} is not interpreted", tensor.dtype()))
}
