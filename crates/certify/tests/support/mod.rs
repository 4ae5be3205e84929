//! What the tests share.

#![allow(dead_code, clippy::unwrap_used, clippy::print_stdout, clippy::panic)]

pub(crate) mod compared;
pub(crate) mod nets;

use assay_certify::{Certificate, Certifier, CertifierOptions, CertifyError, Job, Method};
use assay_graph::{Canonical, Model};
use assay_reference::Net;
use assay_runtime::{Cancel, ClassifierOptions, Library, OnnxClassifier, OnnxRuntime};

/// ONNX Runtime; without it a test says so and passes.
pub(crate) fn runtime() -> Option<OnnxRuntime> {
    OnnxRuntime::load(&Library::default()).inspect_err(|e| println!("skipped: {e}")).ok()
}

/// A certifier of `net`.
pub(crate) fn certifier(runtime: &OnnxRuntime, net: &Net) -> Result<Certifier, CertifyError> {
    let model = Model::new(Canonical::OPSET, net.graph.clone());
    let classifier = OnnxClassifier::of_model(runtime, &model, &ClassifierOptions::default())
        .unwrap_or_else(|error| panic!("{error}"));
    Certifier::new(runtime, classifier.into(), &CertifierOptions::default())
}

/// Certificates, without listening to progress.
#[track_caller]
pub(crate) fn certify(certifier: &mut Certifier, job: &Job<'_>) -> Vec<Certificate> {
    certifier.certify(job, &mut |_| {}, &Cancel::default()).unwrap_or_else(|error| panic!("{error}"))
}

/// The margins that `method` found.
#[track_caller]
pub(crate) fn margins(certificate: &Certificate, method: Method) -> &[f32] {
    let found = certificate.bounds.iter().find(|bounds| bounds.method == method);
    &found.unwrap_or_else(|| panic!("no bounds by {method}: {certificate:?}")).margins
}
