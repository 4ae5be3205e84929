//! Certificates: lower bounds of a classifier's margins that hold for every point of a sample's neighbourhood.
//!
//! A [`Certifier`] derives the graphs of interval bounds and of linear bounds from a hosted classifier, checks each against the classifier
//! itself, and answers a [`Job`] with a [`Certificate`] for each sample. `assay-graph` has the rules; here is how they are combined to
//! [`Method`]s. [`Certifier::decide`] answers a [`Property`] in the format of the verification competitions.
//!
//! [`Smoothed`] needs no bounds: it certifies any classifier in L2, under noise and with a chosen probability.

mod alpha;
mod bounding;
mod branch;
mod certificate;
mod certifier;
mod crown;
mod error;
mod method;
mod neighbourhood;
mod sloped;
mod smoothing;
mod supported;
mod vnnlib;

pub use certificate::{Bounds, Certificate, Verdict};
pub use certifier::{Certifier, CertifierOptions, Ends, Job, Progress, Until};
pub use error::CertifyError;
pub use method::Method;
pub use neighbourhood::Neighbourhood;
pub use smoothing::{Smoothed, SmoothedCertificate, SmoothedPrediction, Smoothing, average_radius, certified_accuracy};
pub use supported::supported;
pub use vnnlib::{Answer, Case, Constraint, Counterexample, Deciding, InputBox, Property, VnnlibError};
