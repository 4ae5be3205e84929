//! The list of audits, and an audit that has no report yet: pages that look at themselves again as long as something may change.

use std::fmt::{self, Write};

use super::markup::{Text, class, end, end_table, section, table};
use super::{begin, policy};
use crate::job::{Record, State};
use crate::report::text::{Count, tone};
use crate::run::Progress;

const SCRIPT: &str = include_str!("live.js");

/// An audit, for people.
#[derive(Clone, Debug)]
pub struct JobView {
    /// What is stored of it.
    pub record: Record,
    /// Place in the queue, from 1; 0: it does not wait for one.
    pub position: u32,
    /// How far it is, if it runs.
    pub progress: Option<Progress>,
    /// When it was taken, begun and ended; empty where it was not.
    pub times: [String; 3],
}

/// The list of audits, the newest first. Each links to its page, whose address is `audits/ID`.
#[must_use]
pub fn jobs_page(jobs: &[JobView]) -> String {
    let mut page = String::new();
    // Writing to a String cannot fail.
    let _ = list(jobs, &mut page);
    page
}

/// The page of an audit that has no report, or none yet.
#[must_use]
pub fn job_page(job: &JobView) -> String {
    let mut page = String::new();
    let _ = one(job, &mut page);
    page
}

fn list(jobs: &[JobView], out: &mut String) -> fmt::Result {
    let live = jobs.iter().any(|job| !job.record.state.has_ended());
    head("Audits", live, out)?;
    section(out, "audits", "Audits of this server", "Reports are behind the numbers.")?;
    if jobs.is_empty() {
        writeln!(out, "<p>There are none. <code>assay audit MODEL …</code> starts one.</p>")?;
    } else {
        table(out, "Audits", "", ["Audit", "Models", "Data", "State", "Progress", "Taken", "Ended"])?;
        for job in jobs.iter().rev() {
            let [id, models, data] =
                [job.record.id.to_string(), job.models(), job.data()].map(|text| Text(&text).to_string());
            let [taken, _, ended] = job.times.each_ref().map(|time| Text(time));
            writeln!(
                out,
                "<tr><th scope=\"row\"><a href=\"audits/{id}\">{id}</a></th><td>{models}</td><td>{data}</td><td>{}</td><td>{}</td><td>{taken}</td><td>{ended}</td></tr>",
                job.state(),
                job.how_far()
            )?;
        }
        end_table(out)?;
    }
    end(out)?;
    foot(out)
}

fn one(job: &JobView, out: &mut String) -> fmt::Result {
    head(&format!("Audit {}", job.record.id), !job.record.state.has_ended(), out)?;
    let about = "The report is here when the audit is done. <a href=\"../audits\">All audits</a>";
    section(out, "audit", "State", about)?;
    table(out, "State", "facts", ["What", "Value"])?;
    let [taken, started, ended] = job.times.each_ref().map(|time| Text(time).to_string());
    let (models, data) = (job.models(), job.data());
    for (name, value) in [
        ("State", job.state()),
        ("Progress", job.how_far()),
        ("Models", Text(&models).to_string()),
        ("Data", Text(&data).to_string()),
        ("Taken", taken),
        ("Begun", started),
        ("Ended", ended),
    ] {
        writeln!(out, "<tr><th scope=\"row\">{name}</th><td>{value}</td></tr>")?;
    }
    end_table(out)?;
    end(out)?;
    foot(out)
}

fn head(title: &str, live: bool, out: &mut String) -> fmt::Result {
    begin(title, &(policy(SCRIPT) + "; connect-src 'self'"), out)?;
    let live = if live { " data-live" } else { "" };
    writeln!(out, "<header>\n<p class=\"kicker\">assay</p>\n<h1>{}</h1>\n</header>\n<main{live}>", Text(title))
}

fn foot(out: &mut String) -> fmt::Result {
    writeln!(out, "</main>\n<script>{SCRIPT}</script>\n</body>\n</html>")
}

impl JobView {
    fn models(&self) -> String {
        let models = self.record.asked.models.iter().map(|model| format!("{}@{}", model.name, model.version));
        models.collect::<Vec<_>>().join(" and ")
    }

    fn data(&self) -> String {
        let shard = self.record.asked.shard.map(|shard| format!(", part {shard}"));
        format!("{}{}", self.record.asked.data.name(), shard.unwrap_or_default())
    }

    fn state(&self) -> String {
        match &self.record.state {
            State::Done(verdict) => {
                format!("<span class=\"pill {}\">{}</span>", class(tone(*verdict)), verdict.name())
            }
            State::Failed(reason) => format!("<span class=\"pill fail\">failed</span><small>{}</small>", Text(reason)),
            other => format!("<span class=\"pill quiet\">{}</span>", other.name()),
        }
    }

    fn how_far(&self) -> String {
        let Some(progress) = self.progress.as_ref().filter(|_| self.record.state == State::Running) else {
            return match self.position {
                0 => String::new(),
                place => format!("place {place} in the queue"),
            };
        };
        let Progress { model, stage, stage_number, stages, samples, correct, steps_done, steps_total } = progress;
        let model = self.record.asked.models.get(model.0 as usize).map_or("", |model| &model.name);
        let label = format!("stage {stage_number} of {stages}: {model} {stage}");
        format!(
            "<progress max=\"{}\" value=\"{steps_done}\" aria-label=\"{1}\"></progress><small>{1}</small><small>{2} of {3} samples {4}</small>",
            steps_total.max(&1),
            Text(&label),
            Count(*correct),
            Count(*samples),
            progress.counted()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::ModelId;
    use crate::job::{Asked, DataRef, JobId, ModelDigest, Moment};
    use crate::judge::Verdict;
    use crate::report::fixture;

    fn view(id: i64, state: State, name: &str) -> JobView {
        let setup = fixture::setup();
        let asked = Asked {
            owner: None,
            key: None,
            plan: setup.plan,
            data: DataRef::Registered { name: "shoes".to_owned() },
            shard: None,
            baseline: None,
            models: vec![ModelDigest { name: name.to_owned(), version: "3".to_owned(), digest: String::new() }],
            environment: setup.environment,
        };
        let progress = Progress {
            model: ModelId(0),
            stage: "pgd Linf 0.1".to_owned(),
            stage_number: 2,
            stages: 3,
            samples: 100,
            correct: 60,
            steps_done: 40,
            steps_total: 90,
        };
        let record = Record { id: JobId(id), asked, state, created: Moment(1), started: None, ended: None };
        JobView {
            record,
            position: 0,
            progress: Some(progress),
            times: ["then".to_owned(), String::new(), String::new()],
        }
    }

    #[test]
    fn pages_are_live_as_long_as_something_may_change() {
        let done = view(1, State::Done(Verdict::Inconclusive), "net");
        let running = view(2, State::Running, "net");
        let page = jobs_page(&[done.clone(), running.clone()]);
        assert!(page.contains("<main data-live>") && page.contains("<progress max=\"90\" value=\"40\""), "{page}");
        assert!(page.find("audits/2").unwrap() < page.find("audits/1").unwrap(), "the newest first");
        assert_eq!(page.matches("<progress").count(), 1, "what has ended has no progress");
        assert!(jobs_page(&[done]).contains("<main>"));
        assert!(jobs_page(&[]).contains("There are none"));
        assert!(job_page(&running).contains("stage 2 of 3: net pgd Linf 0.1"));
        assert!(job_page(&view(3, State::Failed("the disk is full".to_owned()), "net")).contains("the disk is full"));
    }

    #[test]
    fn names_cannot_become_markup() {
        let hostile = view(1, State::Running, "\"><script>alert(1)</script>");
        for page in [jobs_page(std::slice::from_ref(&hostile)), job_page(&hostile)] {
            assert!(!page.contains("<script>alert") && page.matches("</script>").count() == 1, "{page}");
        }
    }
}
