//! Parameters of attacks: what users may write, and what it means.

use std::fmt;

/// A parameter of an attack, as the RPC, the command line and the documentation show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Param {
    /// Name.
    pub name: &'static str,
    /// What its values are.
    pub kind: ParamKind,
    /// Value when it is absent, as text; it may be a rule, such as `2.5 * eps / steps`.
    pub default: String,
    /// Valid values, as text.
    pub range: String,
    /// What it does, in one line.
    pub doc: &'static str,
}

/// What the values of a parameter are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ParamKind {
    /// An integer.
    Integer,
    /// A decimal number.
    Number,
    /// `true` or `false`.
    Boolean,
    /// One of a few words.
    Choice,
}

impl fmt::Display for ParamKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::Choice => "choice",
        })
    }
}

/// An attack that cannot be made from the name and parameters that were given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParamError {
    /// No attack has this name.
    #[error("unknown attack \"{name}\": did you mean \"{nearest}\"? The attacks are {known}")]
    UnknownAttack {
        /// What was asked for.
        name: String,
        /// The attack whose name is nearest.
        nearest: &'static str,
        /// All of them.
        known: String,
    },
    /// The attack has no such parameter.
    #[error("attack \"{attack}\" has no parameter \"{name}\": {hint}")]
    UnknownParameter {
        /// The attack.
        attack: &'static str,
        /// What was given.
        name: String,
        /// What there is.
        hint: String,
    },
    /// A parameter was given twice.
    #[error("attack \"{attack}\": parameter \"{name}\" is given twice; give it once")]
    Repeated {
        /// The attack.
        attack: &'static str,
        /// The parameter.
        name: String,
    },
    /// A value is not valid.
    #[error("attack \"{attack}\": {name} = \"{value}\" is not valid: expected {expected}")]
    Value {
        /// The attack.
        attack: &'static str,
        /// The parameter.
        name: &'static str,
        /// What was given.
        value: String,
        /// What is valid.
        expected: String,
    },
}

/// Values that were given for an attack's parameters, by name.
pub(crate) struct Arguments<'a> {
    pub(crate) attack: &'static str,
    pub(crate) given: &'a [(String, String)],
}

impl Arguments<'_> {
    fn read<T>(&self, param: &Param, parse: impl Fn(&str) -> Option<T>) -> Result<Option<T>, ParamError> {
        let given = self.given.iter().find(|(name, _)| name == param.name);
        given
            .map(|(_, value)| {
                let expected = match param.kind {
                    ParamKind::Integer => format!("an integer in {}", param.range),
                    ParamKind::Number => param.range.clone(),
                    ParamKind::Boolean => "true or false".to_owned(),
                    ParamKind::Choice => format!("one of {}", param.range),
                };
                parse(value).ok_or_else(|| self.invalid(param.name, value, expected))
            })
            .transpose()
    }

    /// The error of a value.
    pub(crate) fn invalid(&self, name: &'static str, value: &str, expected: String) -> ParamError {
        ParamError::Value { attack: self.attack, name, value: value.to_owned(), expected }
    }
}

/// An integer from `min` to `max`.
pub(crate) struct Integer {
    pub(crate) name: &'static str,
    pub(crate) default: u32,
    pub(crate) min: u32,
    pub(crate) max: u32,
    pub(crate) doc: &'static str,
}

impl Integer {
    pub(crate) fn param(&self) -> Param {
        Param {
            name: self.name,
            kind: ParamKind::Integer,
            default: self.default.to_string(),
            range: format!("{}..={}", self.min, self.max),
            doc: self.doc,
        }
    }

    pub(crate) fn read(&self, arguments: &Arguments<'_>) -> Result<u32, ParamError> {
        let parse = |text: &str| text.parse().ok().filter(|v| (self.min..=self.max).contains(v));
        Ok(arguments.read(&self.param(), parse)?.unwrap_or(self.default))
    }
}

/// A decimal number from `min` to `max`.
pub(crate) struct Decimal {
    pub(crate) name: &'static str,
    pub(crate) default: f32,
    pub(crate) min: f32,
    pub(crate) max: f32,
    pub(crate) doc: &'static str,
}

impl Decimal {
    pub(crate) fn param(&self) -> Param {
        Param {
            name: self.name,
            kind: ParamKind::Number,
            default: self.default.to_string(),
            range: format!("a number from {} to {}", self.min, self.max),
            doc: self.doc,
        }
    }

    pub(crate) fn read(&self, arguments: &Arguments<'_>) -> Result<f32, ParamError> {
        let parse = |text: &str| text.parse().ok().filter(|v| (self.min..=self.max).contains(v));
        Ok(arguments.read(&self.param(), parse)?.unwrap_or(self.default))
    }
}

/// A value with a notation of its own, or a rule that computes one from the threat.
pub(crate) struct Notation<T> {
    pub(crate) name: &'static str,
    pub(crate) rule: &'static str,
    pub(crate) range: &'static str,
    pub(crate) doc: &'static str,
    pub(crate) parse: fn(&str) -> Option<T>,
}

impl<T> Notation<T> {
    pub(crate) fn param(&self) -> Param {
        Param {
            name: self.name,
            kind: ParamKind::Number,
            default: self.rule.to_owned(),
            range: self.range.to_owned(),
            doc: self.doc,
        }
    }

    /// `None`: absent.
    pub(crate) fn read(&self, arguments: &Arguments<'_>) -> Result<Option<T>, ParamError> {
        arguments.read(&self.param(), self.parse)
    }
}

/// A word that stands for a value; the first is the default.
pub(crate) struct Choice<T: 'static> {
    pub(crate) name: &'static str,
    pub(crate) default: T,
    pub(crate) options: &'static [T],
    pub(crate) word: fn(T) -> &'static str,
    pub(crate) kind: ParamKind,
    pub(crate) doc: &'static str,
}

impl<T: Copy> Choice<T> {
    pub(crate) fn param(&self) -> Param {
        let words: Vec<_> = self.options.iter().map(|o| (self.word)(*o)).collect();
        Param {
            name: self.name,
            kind: self.kind,
            default: (self.word)(self.default).to_owned(),
            range: words.join(", "),
            doc: self.doc,
        }
    }

    pub(crate) fn read(&self, arguments: &Arguments<'_>) -> Result<T, ParamError> {
        let parse = |text: &str| self.options.iter().copied().find(|o| (self.word)(*o) == text);
        Ok(arguments.read(&self.param(), parse)?.unwrap_or(self.default))
    }
}
