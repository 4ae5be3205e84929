//! "Did you mean": the name nearest to one that does not exist.

/// `; did you mean `x`?`, or nothing where no name is near.
pub(crate) fn hint<'a>(wrong: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    nearest(wrong, names).map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
}

/// The most similar name, if it is similar at all (Jaro-Winkler similarity of at least 0.8).
fn nearest<'a>(wrong: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    names
        .into_iter()
        .map(|name| (strsim::jaro_winkler(wrong, name), name))
        .filter(|(similarity, _)| *similarity >= 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_name() {
        assert_eq!(nearest("fashion-rubust", ["fashion-dense", "fashion-robust"]), Some("fashion-robust"));
    }

    #[test]
    fn a_stranger_finds_nothing() {
        assert_eq!(hint("imagenet", ["fashion-dense"]), "");
    }
}
