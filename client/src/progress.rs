//! Progress on standard error: bars on a terminal, a line a stage elsewhere.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output::about;

/// What matters most stands first: where a terminal is narrow, the end is left out.
const TEMPLATE: &str = "{prefix:>30} {bar:12.cyan/dim} {percent:>3}% {eta:>4} left, {wide_msg}";

/// The progress of one command, stage by stage.
pub(crate) struct Progress {
    terminal: bool,
    stage: String,
    message: String,
    /// Time until the last stage is done, where there are others than this one.
    in_all: Option<Duration>,
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
        Self {
            terminal,
            stage: String::new(),
            message: String::new(),
            in_all: None,
            bar: ProgressBar::hidden(),
            among: None,
        }
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
        message.clone_into(&mut self.message);
        self.show();
    }

    /// Shows beside the time that is left of this stage the one that is left in all; `None`: nothing is known of it, or there is no other stage.
    pub(crate) fn left_in_all(&mut self, in_all: Option<Duration>) {
        self.in_all = in_all;
        self.show();
    }

    fn show(&self) {
        let in_all = self.in_all.map(|left| format!("{} in all, ", about(left.as_secs_f64()))).unwrap_or_default();
        self.bar.set_message(format!("{in_all}{}", self.message));
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
            let left =
                self.in_all.map(|left| format!(", about {} left", about(left.as_secs_f64()))).unwrap_or_default();
            eprintln!("{:>38}  {}  {seconds:.1} s{left}", self.stage, self.message);
        }
        self.in_all = None;
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
