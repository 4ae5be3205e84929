//! Files that claim to be ONNX models: read, checked, brought into canonical form, inspected, and written again.

#![no_main]

use assay_graph::{Canonical, Limits, Model};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits { file_bytes: 1 << 20, tensor_bytes: 16 << 20, sparse_bytes: 16 << 20, ..Limits::default() };
    let Ok(model) = Model::from_bytes(bytes.to_vec().into(), &limits) else { return };
    let written = model.to_bytes();
    let again = Model::from_bytes(written, &Limits::default()).expect("what was read can be written and read");
    assert_eq!(again.graph.nodes.len(), model.graph.nodes.len());
    let _ = Canonical::new(model);
});
