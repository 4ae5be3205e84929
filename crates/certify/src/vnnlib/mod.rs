//! Properties in the format of the verification competitions (VNN-LIB 1.0), and whether a network has them.
//!
//! [`Property::parse`] reads a file, [`Certifier::decide`](crate::Certifier::decide) looks for a counterexample and for a proof, and [`Answer`] is printed as
//! the competition wants it. `violation` turns a property into a classifier, so that any attack can look for what violates it.

mod answer;
mod decide;
mod expression;
mod linear;
mod property;
mod read;
mod violation;

pub use answer::{Answer, Counterexample};
pub use decide::Deciding;
pub use property::{Case, Constraint, InputBox, Property};

/// A file that is not read, with the line where that can be told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{text}", line.map(|line| format!("line {line}: ")).unwrap_or_default())]
pub struct VnnlibError {
    /// The line, from 1.
    pub line: Option<usize>,
    /// What is wrong there and what was expected.
    pub text: String,
}

impl VnnlibError {
    fn at(line: usize, text: impl Into<String>) -> Self {
        Self { line: Some(line), text: text.into() }
    }

    fn of_file(text: impl Into<String>) -> Self {
        Self { line: None, text: text.into() }
    }
}
