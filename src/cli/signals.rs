//! Ctrl-C: the first ends what runs and lets the report come, the second ends svhcheck.

use anyhow::Context;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::interrupt::Interrupt;

/// Watches for SIGINT, SIGTERM and SIGHUP on a thread of its own.
pub fn watch() -> anyhow::Result<Interrupt> {
    let interrupt = Interrupt::default();
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("cannot watch for Ctrl-C")?;
    let switch = interrupt.clone();
    std::thread::spawn(move || {
        for signal in signals.forever() {
            if switch.is_set() {
                let _ = signal_hook::low_level::emulate_default_handler(signal);
            }
            switch.trigger();
        }
    });
    Ok(interrupt)
}
