//! Certificates: lower bounds of a classifier's margins that hold for every point of a sample's neighbourhood.
//!
//! A [`Certifier`] derives the graphs of interval bounds and of linear bounds from a hosted classifier, checks each against the classifier
//! itself, and answers a [`Job`] with a [`Certificate`] for each sample. `assay-graph` has the rules; here is how they are combined to
//! [`Method`]s.

mod alpha;
mod bounding;
mod certificate;
mod certifier;
mod crown;
mod error;
mod method;
mod neighbourhood;
mod supported;

pub use certificate::{Bounds, Certificate, Verdict};
pub use certifier::{Certifier, CertifierOptions, Ends, Job, Progress, Until};
pub use error::CertifyError;
pub use method::Method;
pub use neighbourhood::Neighbourhood;
pub use supported::supported;
