//! Progress: crates done, crates in flight, time left. A bar on a terminal; elsewhere a line now and
//! then, so that a log shows that something goes on.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, IsTerminal as _, Write as _};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::bytes::Escaped;
use crate::check::Events;
use crate::project::Build;
use crate::report::CrateVerdict;

/// Shortest time between two lines.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Shows a check's events.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    flying: Mutex<BTreeSet<String>>,
    notes: Mutex<Vec<String>>,
    /// When the last line was written, if lines are.
    lines: Option<Mutex<Instant>>,
}

impl Progress {
    /// A bar on standard error, or lines where it is no terminal; nothing with `quiet`.
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
            lines: (!quiet && !io::stderr().is_terminal()).then(|| Mutex::new(Instant::now())),
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

    /// Writes a line if it is time for one.
    fn line(&self) {
        let Some(last) = &self.lines else { return };
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        let (done, all) = (self.bar.position(), self.bar.length().unwrap_or_default());
        if last.elapsed() >= LINE_EVERY && done < all {
            *last = Instant::now();
            let left = left(self.bar.elapsed(), done, all);
            // Nothing is left to tell the user if standard error itself is gone.
            let _ = writeln!(io::stderr(), "    Checking {done}/{all}, {left}");
        }
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

/// The time left in words, if all crates take as long as those that are done: a few crates take a
/// hundred times as long as the others, and an estimate that gives weight to the last ones (as
/// indicatif's does) jumps from minutes to weeks.
fn left(elapsed: Duration, done: u64, all: u64) -> String {
    let rest = u128::from(all.saturating_sub(done));
    let nanos = elapsed.as_nanos().saturating_mul(rest);
    let Some(nanos) = nanos.checked_div(u128::from(done)) else {
        return "time left unknown".to_owned();
    };
    let rest = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
    format!("{} left", HumanDuration(rest))
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
        // The build before it does not count.
        self.bar.reset_elapsed();
        if let Ok(style) = ProgressStyle::with_template(
            "{prefix:>12.cyan.bold} [{bar:24}] {pos}/{len}, {left}: {wide_msg}",
        ) {
            let key = |state: &ProgressState, out: &mut dyn fmt::Write| {
                let all = state.len().unwrap_or_default();
                // A bar that cannot be drawn is none.
                let _ = out.write_str(&left(state.elapsed(), state.pos(), all));
            };
            self.bar
                .set_style(style.with_key("left", key).progress_chars("=> "));
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
        self.line();
    }

    fn finished(&self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_follows_from_what_is_done() {
        let minute = Duration::from_secs(60);
        assert_eq!(left(minute, 1, 3), "2 minutes left");
        assert_eq!(left(minute, 3, 3), "0 seconds left");
        assert_eq!(left(minute, 0, 3), "time left unknown");
    }
}
