//! Progress on standard error: bars on a terminal, a line a stage elsewhere.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

const TEMPLATE: &str = "{prefix:>38} {wide_bar:.cyan/dim} {percent:>3}%  {msg}  {eta:>4} left";

/// The progress of one command, stage by stage.
pub(crate) struct Progress {
    terminal: bool,
    stage: String,
    bar: ProgressBar,
    /// Where its bars stand, if others are drawn at the same time.
    among: Option<Several>,
}

/// Progress of several things at the same time, a bar below the other.
#[derive(Clone)]
pub(crate) struct Several(MultiProgress);

impl Several {
    pub(crate) fn new() -> Self {
        Self(MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10)))
    }

    /// One of them.
    pub(crate) fn one(&self) -> Progress {
        let mut progress = Progress::new();
        progress.among = Some(self.clone());
        progress
    }

    /// Prints a line above the bars.
    #[allow(clippy::print_stderr)]
    pub(crate) fn say(&self, line: &str) {
        self.0.suspend(|| eprintln!("{line}"));
    }
}

impl Progress {
    pub(crate) fn new() -> Self {
        let terminal = std::io::stderr().is_terminal();
        Self { terminal, stage: String::new(), bar: ProgressBar::hidden(), among: None }
    }

    /// `done` of `total` in `stage`; a new stage closes the one before.
    pub(crate) fn update(&mut self, stage: &str, done: u64, total: u64, message: &str) {
        if stage != self.stage {
            self.finish();
            stage.clone_into(&mut self.stage);
            self.bar = self.bar_for(stage);
        }
        self.bar.set_length(total.max(1));
        self.bar.set_position(done);
        self.bar.set_message(message.to_owned());
    }

    /// Closes the stage. Where there is no terminal, this prints its line.
    #[allow(clippy::print_stderr)]
    pub(crate) fn finish(&mut self) {
        if self.stage.is_empty() {
            return;
        }
        if self.terminal {
            self.bar.set_position(self.bar.length().unwrap_or(0));
            self.bar.abandon();
        } else {
            let seconds = self.bar.elapsed().as_secs_f64();
            eprintln!("{:>38}  {}  {seconds:.1} s", self.stage, self.bar.message());
        }
        self.stage.clear();
    }

    fn bar_for(&self, stage: &str) -> ProgressBar {
        let bar = match (&self.among, self.terminal) {
            (_, false) => ProgressBar::hidden(),
            (Some(Several(bars)), true) => bars.add(ProgressBar::new(0)),
            (None, true) => ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10)),
        };
        if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
            bar.set_style(style.progress_chars("━━─"));
        }
        bar.set_prefix(stage.to_owned());
        if self.terminal {
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        bar
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.terminal {
            self.bar.abandon();
        }
    }
}
