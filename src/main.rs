//! The `svhcheck` program: parse, run, exit code. All work is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    svhcheck::cli::main(std::env::args_os().collect())
}
