//! Answers, as the competition prints them.

use std::fmt;

/// Whether a property can be violated.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// No input violates it, up to the slack of bounds in binary32: `unsat`.
    Holds,
    /// This input does: `sat`.
    Violated(Counterexample),
    /// Neither was found. The text says what the search ended at.
    Unknown(String),
}

/// An input that violates a property, and what the network makes of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Counterexample {
    /// Which of the property's cases it is.
    pub case: usize,
    /// The input, in row-major order.
    pub inputs: Vec<f32>,
    /// The outputs of a plain run of the network.
    pub outputs: Vec<f32>,
}

impl Answer {
    /// The competition's word for it: `unsat`, `sat` or `unknown`.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Holds => "unsat",
            Self::Violated(_) => "sat",
            Self::Unknown(_) => "unknown",
        }
    }
}

/// The word, and the counterexample if there is one, as the competition's result files have them.
impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())?;
        match self {
            Self::Violated(counterexample) => write!(f, "\n{counterexample}"),
            Self::Holds | Self::Unknown(_) => Ok(()),
        }
    }
}

/// `((X_0 0.5) … (Y_0 1.5) …)`, a line for each number, each the shortest decimal that reads as the same binary32.
impl fmt::Display for Counterexample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inputs = self.inputs.iter().enumerate().map(|(i, x)| ('X', i, x));
        let outputs = self.outputs.iter().enumerate().map(|(i, y)| ('Y', i, y));
        for (at, (kind, i, number)) in inputs.chain(outputs).enumerate() {
            let open = if at == 0 { "(" } else { "\n" };
            write!(f, "{open}({kind}_{i} {number})")?;
        }
        f.write_str(")")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counterexample_is_printed_as_the_competition_wants_it() {
        let found = Counterexample { case: 0, inputs: vec![0.1, -2.0], outputs: vec![1e-7] };
        assert_eq!(Answer::Violated(found).to_string(), "sat\n((X_0 0.1)\n(X_1 -2)\n(Y_0 0.0000001))");
        assert_eq!(Answer::Holds.to_string(), "unsat");
        assert_eq!(Answer::Unknown("why".into()).to_string(), "unknown");
    }
}
