//! The record of an audit as text: one event a line, as JSON. Whoever keeps it can make every report of it.

use crate::event::Event;

/// A line of a record that is no event.
#[derive(Debug, thiserror::Error)]
#[error("{line}: {source}; expected an event of an audit, as one line of JSON")]
pub struct WrongLine {
    /// Which line, from 1.
    pub line: usize,
    /// What is wrong in it.
    pub source: serde_json::Error,
}

/// The record of these events.
///
/// # Errors
/// An event has no JSON: a defect of assay.
pub fn to_lines(events: &[Event]) -> Result<String, serde_json::Error> {
    let mut lines = String::new();
    for event in events {
        lines.push_str(&serde_json::to_string(event)?);
        lines.push('\n');
    }
    Ok(lines)
}

/// The events of a record.
///
/// # Errors
/// A line is no event.
pub fn from_lines(text: &str) -> Result<Vec<Event>, WrongLine> {
    let event = |(line, text)| serde_json::from_str(text).map_err(|source| WrongLine { line, source });
    (1..).zip(text.lines()).map(event).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    fn events() -> Vec<Event> {
        fixture::events(["a", "b"], ["boot", "sneaker"])
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let events = events();
        let text = to_lines(&events).unwrap();
        assert_eq!(text.lines().count(), events.len());
        assert_eq!(from_lines(&text).unwrap(), events);
    }

    #[test]
    fn what_is_no_event_is_told_with_its_line() {
        let text = to_lines(&events()).unwrap().replacen("\n", "\n{}\n", 1);
        let error = from_lines(&text).unwrap_err();
        assert_eq!(error.line, 2);
        assert!(error.to_string().starts_with("2: missing field `event`"), "{error}");
    }
}
