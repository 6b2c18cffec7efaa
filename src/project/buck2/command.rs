//! Calls of Buck2.

use std::process::{Command, Stdio};

use super::{Buck2Error, Request};
use crate::interrupt::Interrupt;
use crate::project::CALLED_OFF;

/// Builds the patterns and returns the log of what that ran.
pub(super) fn build(request: &Request, interrupt: &Interrupt) -> Result<Vec<u8>, Buck2Error> {
    let call = |args: &[&str]| {
        let mut call = Command::new("buck2");
        call.args(args)
            .current_dir(&request.folder)
            .stdin(Stdio::null());
        call
    };
    // Where a pattern only takes away, Buck2 need not build it.
    let patterns = request.patterns.iter().filter(|own| !own.starts_with('-'));
    let mut building = call(&["build", "--materializations=all", "--"]);
    building.args(patterns).stdout(Stdio::null());
    if request.quiet {
        building.stderr(Stdio::null());
    }
    let mut running = interrupt
        .spawn(&mut building, CALLED_OFF)
        .map_err(|error| failed(error, interrupt))?;
    let status = running.wait()?;
    if interrupt.is_set() {
        return Err(Buck2Error::Interrupted);
    }
    if !status.success() {
        return Err(Buck2Error::BuildFails);
    }
    let mut asking = call(&["log", "what-ran", "--format", "json"]);
    let output = interrupt
        .output(&mut asking, CALLED_OFF)
        .map_err(|error| failed(error, interrupt))?;
    if !output.status.success() {
        return Err(Buck2Error::Failed {
            command: "log what-ran",
            status: output.status.to_string(),
        });
    }
    Ok(output.stdout)
}

fn failed(error: std::io::Error, interrupt: &Interrupt) -> Buck2Error {
    if interrupt.is_set() {
        Buck2Error::Interrupted
    } else if error.kind() == std::io::ErrorKind::NotFound {
        Buck2Error::NoBuck2
    } else {
        error.into()
    }
}
