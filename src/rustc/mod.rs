//! rustc as seen from outside: its command line, its dep-info files, its identity.
//!
//! Nothing here runs a compile; [`toolchain`] only asks rustc who it is.

pub mod args;
pub mod depinfo;
pub mod messages;
pub mod toolchain;
