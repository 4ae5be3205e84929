//! What `grpc.health.v1` says: of the server, of its services, and of each model.

use std::collections::BTreeMap;

use tokio::sync::Mutex;
use tonic_health::{ServingStatus, server::HealthReporter};

use crate::{core::Core, rpcs};

/// What `grpc.health.v1` says. A name is told about again only when it changes, because every telling wakes those who watch it.
#[derive(Debug)]
pub(crate) struct Health {
    reporter: HealthReporter,
    told: Mutex<BTreeMap<String, bool>>,
}

impl Health {
    /// Says how things are now.
    pub(crate) async fn new(core: &Core) -> Self {
        let health = Self { reporter: HealthReporter::new(), told: Mutex::default() };
        health.update(core).await;
        health
    }

    /// What answers for it.
    pub(crate) fn reporter(&self) -> HealthReporter {
        self.reporter.clone()
    }

    /// Says how things are: `""` and each service serve where the server is ready, and `models/NAME` where the newest version of that model is, too.
    pub(crate) async fn update(&self, core: &Core) {
        // Looked at in turn, so that nobody tells what was so before.
        let mut told = self.told.lock().await;
        let ready = core.not_ready().is_empty();
        let models = core.repository.models();
        let models = models.iter().map(|(name, model)| {
            let serves = model.newest().is_some_and(|version| version.hosted().is_some());
            (format!("models/{name}"), ready && serves)
        });
        self.tell(&mut told, server(ready).chain(models)).await;
    }

    async fn tell(&self, told: &mut BTreeMap<String, bool>, news: impl Iterator<Item = (String, bool)>) {
        for (name, serves) in news {
            if told.get(&name) != Some(&serves) {
                let status = if serves { ServingStatus::Serving } else { ServingStatus::NotServing };
                self.reporter.set_service_status(&name, status).await;
                told.insert(name, serves);
            }
        }
    }
}

/// The names that stand for the whole server.
fn server(ready: bool) -> impl Iterator<Item = (String, bool)> {
    std::iter::once("").chain(rpcs::services()).map(move |name| (name.to_owned(), ready))
}
