//! `ModelStatistics`.

use assay_proto::inference::{
    InferStatistics, ModelStatistics, ModelStatisticsRequest, ModelStatisticsResponse, StatisticDuration,
};

use crate::{
    core::Core,
    repository::Hosted,
    statistics::{Failure, Statistics, Timed},
    status::CallError,
};

/// The statistics of the versions that are asked for, of those that serve.
pub(super) fn of(core: &Core, request: &ModelStatisticsRequest) -> Result<ModelStatisticsResponse, CallError> {
    let ModelStatisticsRequest { name, version } = request;
    let hosted = match (name.as_str(), version.as_str()) {
        ("", "") => core.repository.hosted(),
        ("", _) => return Err(CallError::field("version", "is of no model; say the model's name, too")),
        (name, "") => {
            let model = core.repository.model("name", name)?;
            model.versions.values().filter_map(|version| version.hosted().cloned()).collect()
        }
        (name, version) => vec![core.repository.find("name", name, version)?],
    };
    Ok(ModelStatisticsResponse { model_stats: hosted.iter().map(|hosted| told(hosted)).collect() })
}

fn told(hosted: &Hosted) -> ModelStatistics {
    let of = &hosted.statistics;
    let success = of.success.count();
    // Clients divide by these counts, and perf_analyzer gives up where they are not the same: each is that of the requests that were answered by the model.
    let evaluated = success.saturating_sub(of.cache_hit.count());
    let stage = |timed: &Timed| Some(StatisticDuration { count: evaluated, ns: timed.ns() });
    ModelStatistics {
        name: hosted.name.clone(),
        version: hosted.version.to_string(),
        last_inference: of.last(),
        inference_count: of.samples(),
        execution_count: of.runs(),
        inference_stats: Some(InferStatistics {
            success: Some(StatisticDuration { count: success, ns: of.success.ns() }),
            fail: Some(failed(of)),
            queue: stage(&of.queue),
            compute_input: stage(&of.input),
            compute_infer: stage(&of.infer),
            compute_output: stage(&of.output),
            cache_hit: duration(&of.cache_hit),
            cache_miss: duration(&of.cache_miss),
        }),
        ..ModelStatistics::default()
    }
}

fn failed(of: &Statistics) -> StatisticDuration {
    Failure::ALL.iter().map(|failure| of.failed(*failure)).fold(StatisticDuration::default(), |sum, timed| {
        StatisticDuration { count: sum.count + timed.count(), ns: sum.ns + timed.ns() }
    })
}

#[allow(clippy::unnecessary_wraps, reason = "fields that are messages are optional")]
fn duration(timed: &Timed) -> Option<StatisticDuration> {
    Some(StatisticDuration { count: timed.count(), ns: timed.ns() })
}
