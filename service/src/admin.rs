//! The admin port: `/metrics`, `/livez`, `/readyz`, `/config`, and the audits as pages: `/audits`, `/audits/ID`.

use std::sync::Arc;

use assay_audit::{Html, JobView, Render, Report, job, job_page, jobs_page};
use axum::{
    Router,
    extract::{Path, State},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{Html as Page, IntoResponse, Response},
    routing::get,
};

use crate::{
    audit::{Job, rfc3339},
    core::Core,
    principals::Caller,
};

/// The routes.
pub(crate) fn router(core: Arc<Core>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/config", get(config))
        .route("/audits", get(audits))
        .route("/audits/{id}", get(audit))
        .with_state(core)
}

async fn metrics(State(core): State<Arc<Core>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], core.metrics.render())
}

/// 200, or 503 with one reason a line.
async fn readyz(State(core): State<Arc<Core>>) -> (StatusCode, String) {
    let reasons = core.not_ready();
    if reasons.is_empty() {
        (StatusCode::OK, "ok\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, reasons.iter().map(|reason| format!("{reason}\n")).collect())
    }
}

/// The configuration in force, the log's level with it.
async fn config(State(core): State<Arc<Core>>) -> Response {
    match core.config.shown() {
        Ok(text) => ([(CONTENT_TYPE, "application/toml; charset=utf-8")], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

async fn audits(State(core): State<Arc<Core>>) -> Page<String> {
    let views: Vec<JobView> = core.audits.all(&Caller::default()).iter().map(|job| view(&core, job)).collect();
    Page(jobs_page(&views))
}

/// The report of an audit; as long as there is none, how far it is.
async fn audit(State(core): State<Arc<Core>>, Path(id): Path<String>) -> Response {
    let job = match core.audits.find(&id, &Caller::default()) {
        Ok(job) => job,
        Err(error) => return (StatusCode::NOT_FOUND, format!("{error}\n")).into_response(),
    };
    let view = view(&core, &job);
    if !matches!(view.record.state, job::State::Done(_)) {
        return Page(job_page(&view)).into_response();
    }
    let read = move || {
        let events = job::events(core.audits.store(), job.id).map_err(|e| e.to_string())?;
        Report::fold(&events).map(|report| Html.to_text(&report)).map_err(|e| e.to_string())
    };
    match tokio::task::spawn_blocking(read).await.unwrap_or_else(|e| Err(format!("the work ended early: {e}"))) {
        Ok(page) => Page(page).into_response(),
        Err(reason) => (StatusCode::INTERNAL_SERVER_ERROR, format!("audit {id}: {reason}\n")).into_response(),
    }
}

fn view(core: &Core, job: &Job) -> JobView {
    let (status, position) = (job.status(), core.audits.position(job));
    let record = status.record;
    let times = [Some(record.created), record.started, record.ended];
    let times = times.map(|time| time.map(rfc3339).unwrap_or_default());
    JobView { record, position, progress: status.seen, times }
}
