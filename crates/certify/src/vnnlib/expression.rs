//! Symbolic expressions with the lines they are on.

use super::VnnlibError;

/// Brackets inside brackets that are read: real files have five.
const DEEPEST: usize = 64;

/// A word, or a list in brackets.
#[derive(Debug)]
pub(super) struct Expression<'t> {
    pub(super) line: usize,
    pub(super) form: Form<'t>,
}

#[derive(Debug)]
pub(super) enum Form<'t> {
    Word(&'t str),
    List(Vec<Expression<'t>>),
}

impl<'t> Expression<'t> {
    /// The word that a list begins with, and the others; a word alone has none.
    pub(super) fn call(&self) -> Option<(&'t str, &[Self])> {
        match &self.form {
            Form::List(list) => match list.split_first() {
                Some((Expression { form: Form::Word(word), .. }, rest)) => Some((word, rest)),
                _ => None,
            },
            Form::Word(_) => None,
        }
    }

    pub(super) fn word(&self) -> Option<&'t str> {
        match &self.form {
            Form::Word(word) => Some(word),
            Form::List(_) => None,
        }
    }
}

/// Reads one expression after the other, so that a file is never in memory twice.
pub(super) struct Reader<'t> {
    rest: &'t str,
    line: usize,
}

impl<'t> Reader<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { rest: text, line: 1 }
    }

    /// The next expression; none at the end of the text.
    pub(super) fn next(&mut self) -> Result<Option<Expression<'t>>, VnnlibError> {
        // The lists that are open, from the outermost on, with the lines where they began.
        let mut open: Vec<(usize, Vec<Expression<'t>>)> = Vec::new();
        loop {
            self.skip();
            let line = self.line;
            let Some(first) = self.rest.chars().next() else {
                return match open.last() {
                    None => Ok(None),
                    Some((began, _)) => Err(VnnlibError::at(*began, "a bracket that is never closed")),
                };
            };
            let done = match first {
                '(' => {
                    if open.len() == DEEPEST {
                        return Err(VnnlibError::at(line, format!("more than {DEEPEST} brackets inside each other")));
                    }
                    self.rest = &self.rest[1..];
                    open.push((line, Vec::new()));
                    continue;
                }
                ')' => {
                    self.rest = &self.rest[1..];
                    let (line, list) =
                        open.pop().ok_or_else(|| VnnlibError::at(line, "a closing bracket that was never opened"))?;
                    Expression { line, form: Form::List(list) }
                }
                _ => {
                    let end = self.rest.find(|c: char| c.is_whitespace() || "();".contains(c));
                    let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
                    self.rest = rest;
                    Expression { line, form: Form::Word(word) }
                }
            };
            match open.last_mut() {
                Some((_, list)) => list.push(done),
                None => return Ok(Some(done)),
            }
        }
    }

    /// Over spaces and comments.
    fn skip(&mut self) {
        loop {
            let trimmed = self.rest.trim_start();
            let skipped = &self.rest[..self.rest.len() - trimmed.len()];
            self.line += skipped.matches('\n').count();
            self.rest = trimmed;
            if !trimmed.starts_with(';') {
                return;
            }
            self.rest = trimmed.find('\n').map_or("", |end| &trimmed[end..]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_know_their_lines() {
        let mut reader = Reader::new("; a comment (\n(assert\n  (<= X_0 ; another\n 1.0))\nword");
        let first = reader.next().unwrap().unwrap();
        let (name, rest) = first.call().unwrap();
        assert_eq!((first.line, name, rest[0].line), (2, "assert", 3));
        let (name, rest) = rest[0].call().unwrap();
        assert_eq!((name, rest[0].word(), rest[1].word(), rest[1].line), ("<=", Some("X_0"), Some("1.0"), 4));
        let second = reader.next().unwrap().unwrap();
        assert_eq!((second.word(), second.line), (Some("word"), 5));
        assert!(reader.next().unwrap().is_none());
    }

    #[test]
    fn brackets_must_match_and_not_be_too_deep() {
        let refused = |text: &str| {
            let mut reader = Reader::new(text);
            loop {
                match reader.next() {
                    Ok(Some(_)) => {}
                    other => return other.unwrap_err().to_string(),
                }
            }
        };
        assert_eq!(refused("()\n(a (b)"), "line 2: a bracket that is never closed");
        assert_eq!(refused("()\n\n)"), "line 3: a closing bracket that was never opened");
        assert!(refused(&"(".repeat(1_000_000)).contains("more than 64 brackets"));
    }
}
