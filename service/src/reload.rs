//! Files that are read again while the server runs.
//!
//! They are looked at every few seconds, and not watched through the system: a mounted Secret is replaced by moving a link two folders above its
//! files, and network file systems tell nobody. What is new and good takes the place of what there was; anything else changes nothing and is told.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::sync::watch;

use crate::metrics::Metrics;

/// What is made of files, and made anew where they change.
pub(crate) trait Watched: Send + Sync + 'static {
    /// Its name in log and metrics: one of [`WATCHED`].
    fn name(&self) -> &'static str;

    /// Reads the files, and puts what they hold in the place of what is there; whether that was something else. Blocks.
    ///
    /// # Errors
    /// They cannot be used; nothing was changed.
    fn reload(&self, now: SystemTime) -> Result<bool, String>;
}

/// Names of what is watched.
pub(crate) const WATCHED: [&str; 3] = ["tls", "auth", "models"];

/// Asks a server to read its files again at once; what it does by itself every few seconds.
#[derive(Clone, Debug)]
pub struct Reloader(watch::Sender<()>);

impl Reloader {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(()))
    }

    /// Asks for it. What comes of it is in the server's log and metrics.
    pub fn reload(&self) {
        self.0.send_replace(());
    }

    /// Reads the files of `watched` again every `interval`, and when this is asked to.
    pub(crate) async fn watch(self, watched: Arc<dyn Watched>, interval: Duration, metrics: Metrics) {
        let mut asked = self.0.subscribe();
        let name = watched.name();
        // What was wrong when they were looked at last: it is told once.
        let mut told: Option<String> = None;
        loop {
            let by_request = tokio::select! {
                () = tokio::time::sleep(interval) => false,
                _ = asked.changed() => true,
            };
            let working = Arc::clone(&watched);
            let read = tokio::task::spawn_blocking(move || working.reload(SystemTime::now())).await;
            match read.unwrap_or_else(|e| Err(format!("the work ended early: {e}"))) {
                Ok(changed) => {
                    if changed {
                        metrics.reloaded(name, true);
                    } else if by_request {
                        tracing::info!(what = name, "read again; nothing has changed");
                    }
                    told = None;
                }
                Err(reason) => {
                    if by_request || told.as_ref() != Some(&reason) {
                        metrics.reloaded(name, false);
                        tracing::error!(
                            what = name,
                            reason,
                            "the new files are refused; what was there before goes on"
                        );
                    }
                    told = Some(reason);
                }
            }
        }
    }
}
