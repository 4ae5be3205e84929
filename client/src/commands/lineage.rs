//! `assay models lineage`: which models were made from which.
//!
//! A file that assay made holds the digest of the file that it was made from; that ties it to whichever version has that file, whatever their names. A
//! file of somebody else is tied to the newest version of the model that `model.toml` names, which is marked: nothing proves it.

use std::collections::HashSet;

use assay_proto::v1::{GetModelResponse, Lineage, ListModelsRequest, ModelRef};
use serde_json::json;
use tonic::Code;

use super::Session;
use crate::args::Output;
use crate::error::ClientError;
use crate::output::{print, print_json, table};
use crate::spec;

/// A version, and what it was made from.
struct Version {
    name: String,
    version: String,
    /// What the server says of it; else why it does not serve.
    model: Result<Box<GetModelResponse>, String>,
    parent: Option<Parent>,
}

/// A version's parent among the others.
#[derive(Clone, Copy)]
struct Parent {
    at: usize,
    /// Whether the digest in the file says so, and not only `model.toml`.
    proven: bool,
}

/// Prints the tree: of all versions, or of one with its forebears and what was made from it.
pub(super) async fn run(session: &mut Session, of: Option<&str>) -> Result<(), ClientError> {
    let versions = versions(session).await?;
    let wanted = match of {
        Some(name) => Some(family(&versions, find(session, &versions, &spec::model(name)).await?)),
        None => None,
    };
    let lines = tree(&versions);
    let shown = lines.iter().filter(|line| wanted.as_ref().is_none_or(|wanted| wanted.contains(&line.at)));
    match session.output {
        Output::Json => {
            let models: Vec<_> = shown.map(|line| as_json_in(&versions, line.at)).collect();
            print_json(&json!({ "models": models }))
        }
        Output::Human => {
            let mut rows = table(&["model", "kind", "zero weights", "epoch", "made from"], &[2, 3]);
            for line in shown {
                rows.add_row(row(&versions, line));
            }
            print(&rows)
        }
    }
}

/// The models that were made from this version, or from one that was; of each its newest version.
pub(super) async fn made_from(
    session: &mut Session,
    parent: &assay_audit::ModelRef,
) -> Result<Vec<ModelRef>, ClientError> {
    let versions = versions(session).await?;
    let is_parent = |v: &Version| v.name == parent.name && v.version == parent.version;
    let Some(of) = versions.iter().position(is_parent) else { return Ok(Vec::new()) };
    let mut found: Vec<ModelRef> = Vec::new();
    for at in (0..versions.len()).filter(|&at| at != of && forebears(&versions, at).contains(&of)) {
        let Version { name, version, .. } = &versions[at];
        if found.iter().all(|other| other.model != *name) {
            found.push(ModelRef { model: name.clone(), version: version.clone() });
        }
    }
    Ok(found)
}

/// All versions in the order of names, the newest of each model first.
async fn versions(session: &mut Session) -> Result<Vec<Version>, ClientError> {
    let request = session.request(ListModelsRequest {});
    let models = session.client.list_models(request).await?.into_inner().models;
    let mut versions = Vec::new();
    for model in models {
        for version in model.versions {
            let named = ModelRef { model: model.name.clone(), version: version.clone() };
            let found = match session.model(&named).await {
                Ok((found, _)) => Ok(Box::new(found)),
                Err(ClientError::Rpc(status))
                    if matches!(status.code(), Code::FailedPrecondition | Code::Unavailable) =>
                {
                    Err(status.message().to_owned())
                }
                Err(error) => return Err(error),
            };
            versions.push(Version { name: model.name.clone(), version, model: found, parent: None });
        }
    }
    let parents: Vec<_> = (0..versions.len()).map(|at| parent(&versions, at)).collect();
    for (version, parent) in versions.iter_mut().zip(parents) {
        version.parent = parent;
    }
    Ok(versions)
}

/// Where the parent of the version at `at` is.
fn parent(versions: &[Version], at: usize) -> Option<Parent> {
    let model = versions[at].model.as_ref().ok()?;
    if let Some(lineage) = &model.lineage {
        let has_digest = |v: &Version| v.model.as_ref().is_ok_and(|m| m.digest == lineage.parent);
        return versions.iter().position(has_digest).map(|at| Parent { at, proven: true });
    }
    let named = versions.iter().position(|v| v.name == model.parent && v.name != model.name);
    named.map(|at| Parent { at, proven: false })
}

/// The version that a name means, as the server understands it.
async fn find(session: &mut Session, versions: &[Version], wanted: &ModelRef) -> Result<usize, ClientError> {
    let (found, _) = session.model(wanted).await?;
    let position = versions.iter().position(|v| v.name == found.name && v.version == found.version);
    position.ok_or_else(|| ClientError::Protocol("a model that is not listed".into()))
}

/// A version with its forebears and what was made from it.
fn family(versions: &[Version], of: usize) -> HashSet<usize> {
    let mut all: HashSet<usize> = forebears(versions, of).into_iter().collect();
    all.extend((0..versions.len()).filter(|&at| forebears(versions, at).contains(&of)));
    all
}

/// A version, its parent, the parent's parent and so on. `model.toml`s can name each other, so it ends where it was before.
fn forebears(versions: &[Version], of: usize) -> Vec<usize> {
    let mut line = vec![of];
    let mut next = versions[of].parent;
    while let Some(Parent { at, .. }) = next.filter(|parent| !line.contains(&parent.at)) {
        line.push(at);
        next = versions[at].parent;
    }
    line
}

/// A line of the tree: a version, and for each of its forebears and itself whether it is the last child.
struct Line {
    at: usize,
    last: Vec<bool>,
}

/// All versions, each below its parent.
fn tree(versions: &[Version]) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut seen = HashSet::new();
    let roots = (0..versions.len()).filter(|&at| versions[at].parent.is_none());
    // Those that are below no root name each other in a circle: each is shown once.
    for at in roots.chain(0..versions.len()) {
        grow(versions, at, &[], &mut seen, &mut lines);
    }
    lines
}

fn grow(versions: &[Version], at: usize, last: &[bool], seen: &mut HashSet<usize>, lines: &mut Vec<Line>) {
    if !seen.insert(at) {
        return;
    }
    lines.push(Line { at, last: last.to_vec() });
    let below = |child: &usize| versions[*child].parent.is_some_and(|parent| parent.at == at);
    let children: Vec<usize> = (0..versions.len()).filter(below).collect();
    for (i, &child) in children.iter().enumerate() {
        grow(versions, child, &[last, &[i + 1 == children.len()]].concat(), seen, lines);
    }
}

fn row(versions: &[Version], line: &Line) -> [String; 5] {
    let version = &versions[line.at];
    let mut branch = String::new();
    if let Some((own, above)) = line.last.split_last() {
        branch.extend(above.iter().map(|&last| if last { "   " } else { "│  " }));
        branch.push_str(if *own { "└─ " } else { "├─ " });
    }
    let name = format!("{branch}{}/{}", version.name, version.version);
    let model = match &version.model {
        Ok(model) => model,
        Err(reason) => return [name, String::new(), String::new(), String::new(), format!("not known: {reason}")],
    };
    let Some(lineage) = &model.lineage else {
        let from = version.parent.map(|p| format!("{}, as model.toml says", versions[p.at].name));
        return [name, model.kind.clone(), String::new(), String::new(), from.unwrap_or_default()];
    };
    let from = match version.parent {
        Some(parent) => format!("{}/{}", versions[parent.at].name, versions[parent.at].version),
        None => {
            format!("{}…, which is not hosted", lineage.parent.chars().take(12).collect::<String>())
        }
    };
    let zeros = format!("{:.1} %", 100.0 * lineage.sparsity);
    [name, lineage.kind.clone(), zeros, lineage.epoch.to_string(), from]
}

fn as_json_in(versions: &[Version], at: usize) -> serde_json::Value {
    let version = &versions[at];
    let parent = version.parent.map(|Parent { at, proven }| {
        let by = if proven { "digest" } else { "model.toml" };
        json!({ "name": versions[at].name, "version": versions[at].version, "by": by })
    });
    let model = version.model.as_ref().ok();
    json!({
        "name": version.name,
        "version": version.version,
        "kind": model.map(|m| m.lineage.as_ref().map_or(&m.kind, |lineage| &lineage.kind)),
        "digest": model.map(|m| &m.digest),
        "parent": parent,
        "lineage": model.and_then(|m| m.lineage.as_ref()).map(as_json),
        "reason": version.model.as_ref().err(),
    })
}

/// Where a model comes from, for machines.
pub(super) fn as_json(lineage: &Lineage) -> serde_json::Value {
    let parent = lineage.parent_model.as_ref();
    json!({
        "kind": lineage.kind,
        "recipe": lineage.recipe,
        "parent": lineage.parent,
        "parent_model": parent.map(|m| json!({ "name": m.model, "version": m.version })),
        "data": lineage.data,
        "seed": lineage.seed,
        "epoch": lineage.epoch,
        "sparsity": lineage.sparsity,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Versions of models `(name, digest, digest or name of the parent)`.
    fn versions(of: &[(&str, &str, &str)]) -> Vec<Version> {
        let version = |&(name, digest, parent): &(&str, &str, &str)| {
            let (declared, proven) = match parent.strip_prefix('#') {
                Some(digest) => ("", Some(Lineage { parent: digest.to_owned(), ..Default::default() })),
                None => (parent, None),
            };
            let model = GetModelResponse {
                name: name.to_owned(),
                digest: digest.to_owned(),
                parent: declared.to_owned(),
                lineage: proven,
                ..Default::default()
            };
            Version { name: name.to_owned(), version: "1".to_owned(), model: Ok(Box::new(model)), parent: None }
        };
        let mut all: Vec<Version> = of.iter().map(version).collect();
        for at in 0..all.len() {
            all[at].parent = parent(&all, at);
        }
        all
    }

    fn drawn(all: &[Version]) -> Vec<String> {
        tree(all).iter().map(|line| row(all, line)[0].clone()).collect()
    }

    #[test]
    fn variants_stand_below_what_they_were_made_from() {
        let all = versions(&[
            ("a", "1", ""),
            ("b", "2", "#1"),
            ("c", "3", "#2"),
            ("d", "4", "a"),
            ("e", "5", "#9"),
            ("f", "6", "#2"),
        ]);
        assert_eq!(drawn(&all), ["a/1", "├─ b/1", "│  ├─ c/1", "│  └─ f/1", "└─ d/1", "e/1"]);
        assert_eq!(family(&all, 1), HashSet::from([0, 1, 2, 5]));
        assert_eq!(family(&all, 4), HashSet::from([4]));
        assert!(row(&all, &Line { at: 4, last: vec![] })[4].contains("not hosted"));
    }

    #[test]
    fn files_that_name_each_other_are_shown_once() {
        let all = versions(&[("a", "1", "b"), ("b", "2", "a"), ("c", "3", "c")]);
        assert_eq!(drawn(&all), ["c/1", "a/1", "└─ b/1"]);
        assert_eq!(forebears(&all, 0), [0, 1]);
    }
}
