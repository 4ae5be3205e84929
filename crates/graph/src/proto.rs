//! The ONNX file format.

/// Fields of a message that assay carries along without reading.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Rest;
