//! Exit statuses: a documented part of the interface.

use std::process::ExitCode;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: nothing at deny level was found; for `diff`, nothing differs.
    Clean,
    /// 1: findings at deny level; for `diff`, a difference.
    Findings,
    /// 2: svhcheck could not do its job.
    Trouble,
    /// 130: interrupted; what was done is reported.
    Interrupted,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(match exit {
            Exit::Clean => 0,
            Exit::Findings => 1,
            Exit::Trouble => 2,
            Exit::Interrupted => 130,
        })
    }
}
