//! The progress bar: crates done, crates in flight, time left. Only on a terminal.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::bytes::Escaped;
use crate::check::Events;
use crate::project::Build;
use crate::report::CrateVerdict;

/// Shows a check's events.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    flying: Mutex<BTreeSet<String>>,
    notes: Mutex<Vec<String>>,
}

impl Progress {
    /// A bar on standard error; invisible with `quiet`, and where standard error is no terminal.
    pub fn new(quiet: bool) -> Self {
        let target = if quiet {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr_with_hz(4)
        };
        Self {
            bar: ProgressBar::with_draw_target(None, target),
            flying: Mutex::default(),
            notes: Mutex::default(),
        }
    }

    /// What the recording had to say.
    pub fn notes(&self) -> Vec<String> {
        self.notes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Takes the bar off the screen.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }

    fn flying(&self, change: impl FnOnce(&mut BTreeSet<String>)) {
        let mut flying = self.flying.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut flying);
        let names: Vec<String> = flying
            .iter()
            .map(|id| Escaped(id.as_bytes()).to_string())
            .collect();
        self.bar.set_message(names.join(", "));
    }
}

impl Events for Progress {
    fn recorded(&self, build: &Build) {
        self.notes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(build.notes.iter().cloned());
    }

    fn counted(&self, crates: usize) {
        self.bar.set_length(crates as u64);
        if let Ok(style) = ProgressStyle::with_template(
            "{prefix:>12.cyan.bold} [{bar:24}] {pos}/{len}, {eta} left: {wide_msg}",
        ) {
            self.bar.set_style(style.progress_chars("=> "));
        }
        self.bar.set_prefix("Checking");
        self.bar.enable_steady_tick(Duration::from_millis(500));
    }

    fn started(&self, id: &str) {
        self.flying(|flying| {
            flying.insert(id.to_owned());
        });
    }

    fn judged(&self, verdict: &CrateVerdict) {
        self.flying(|flying| {
            flying.remove(&verdict.id);
        });
        self.bar.inc(1);
    }

    fn finished(&self) {
        self.clear();
    }
}
