//! Sparse initializers: `SparseTensorProto`, the coordinates of what is not zero and the values there. In memory tensors are dense.

// Sizes in a file are hostile until checked: no conversion may lose anything.
#![deny(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss
)]

use prost::Message as _;

use super::read::{dims, elements};
use super::{Kept, Reader, SparseTensorProto, TensorProto};
use crate::load::LoadError;
use crate::{DataType, Tensor};

impl Reader<'_> {
    /// The tensor called `name`, its zeros written out. Fields that assay does not read are kept of the values only.
    pub(super) fn sparse(&mut self, proto: Kept<SparseTensorProto>, name: &str) -> Result<Tensor, LoadError> {
        let wrong = |problem: String| LoadError::tensor(name, problem);
        let SparseTensorProto { values, indices, dims: stated } = proto.message;
        let (Some(values), Some(indices)) = (values, indices) else {
            return Err(wrong("a sparse tensor has values and indices".into()));
        };
        let values = self.tensor(values, name)?;
        let indices = self.tensor(indices, &format!("{name}, its indices"))?;
        let dims = dims(&stated).map_err(wrong)?;
        let elements = elements(&dims).map_err(wrong)?;
        let size = values.dtype().size().ok_or_else(|| wrong(format!("sparse, of type {:?}", values.dtype())))?;
        let places = places(&indices, &values, &dims).map_err(wrong)?;
        let bytes = elements.checked_mul(size);
        let bytes = bytes.ok_or_else(|| wrong(format!("shape {dims:?} has more bytes than can be counted")))?;
        self.takes_sparse(bytes)?;
        let mut content = vec![0; bytes];
        for (&place, value) in places.iter().zip(values.bytes().chunks_exact(size)) {
            content[place * size..(place + 1) * size].copy_from_slice(value);
        }
        let dense = Tensor::new(values.dtype(), dims, content.into());
        let mut dense = dense.ok_or_else(|| wrong("its content does not fit its shape".into()))?;
        dense.rest = values.rest;
        Ok(dense)
    }
}

/// The places of the values in row-major order: ascending, each once, and inside of the shape.
fn places(indices: &Tensor, values: &Tensor, dims: &[usize]) -> Result<Vec<usize>, String> {
    let &[count] = values.dims() else {
        return Err(format!("its values have the shape {:?}; they are a list", values.dims()));
    };
    let rank = dims.len();
    let sizes = match *indices.dims() {
        // Places as they are, of all elements.
        [n] if n == count => vec![elements(dims)?],
        [n, coordinates] if n == count && coordinates == rank && rank > 0 => dims.to_vec(),
        ref other => {
            return Err(format!("{count} values of a tensor of {rank} dimensions have indices of shape {other:?}"));
        }
    };
    let stated = Some(indices).filter(|indices| indices.dtype() == DataType::Int64).and_then(Tensor::to_i64);
    let stated = stated.ok_or_else(|| format!("its indices are {:?}; they are Int64", indices.dtype()))?;
    let mut places: Vec<usize> = Vec::with_capacity(count);
    for coordinates in stated.chunks_exact(sizes.len()) {
        let mut place = 0;
        for (&coordinate, &size) in coordinates.iter().zip(&sizes) {
            let inside = usize::try_from(coordinate).ok().filter(|coordinate| *coordinate < size);
            let inside = inside.ok_or_else(|| format!("index {coordinates:?} lies outside of the shape {dims:?}"))?;
            // Below the number of elements, which can be counted.
            place = place * size + inside;
        }
        if places.last().is_some_and(|last| *last >= place) {
            return Err(format!("index {coordinates:?} does not come after the one before; they ascend, each once"));
        }
        places.push(place);
    }
    Ok(places)
}

/// `dense`, the message of `tensor`, as a sparse tensor; `None` if that is not smaller. Only zeros whose bits are zero are left out.
pub(super) fn sparse(dense: &Kept<TensorProto>, tensor: &Tensor) -> Option<Kept<SparseTensorProto>> {
    let size = tensor.dtype().size()?;
    let elements = || (0_i64..).zip(tensor.bytes().chunks_exact(size));
    let other = || elements().filter(|(_, element)| element.iter().any(|&byte| byte != 0));
    let count = other().count();
    if count * (size + size_of::<i64>()) >= tensor.bytes().len() {
        return None;
    }
    let list = |data_type: DataType, content: Vec<u8>| TensorProto {
        dims: vec![i64::try_from(count).unwrap_or(i64::MAX)],
        data_type: Some(data_type.number()),
        raw_data: Some(content.into()),
        ..TensorProto::default()
    };
    let values = list(tensor.dtype(), other().flat_map(|(_, element)| element.to_vec()).collect());
    let values = TensorProto { name: dense.message.name.clone(), ..values };
    let indices = list(DataType::Int64, other().flat_map(|(place, _)| place.to_le_bytes()).collect());
    let message = SparseTensorProto {
        values: Some(Kept { message: values, rest: dense.rest.clone() }),
        indices: Some(Kept { message: indices, rest: Vec::new() }),
        dims: dense.message.dims.clone(),
    };
    let sparse = Kept { message, rest: Vec::new() };
    (sparse.encoded_len() < dense.encoded_len()).then_some(sparse)
}
