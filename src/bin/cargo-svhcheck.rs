//! `cargo svhcheck …`: the same program under the name that Cargo looks for.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args: Vec<_> = std::env::args_os().collect();
    // Cargo passes the subcommand's name on: `cargo-svhcheck svhcheck //...`.
    if args.get(1).is_some_and(|own| own == "svhcheck") {
        args.splice(..2, ["cargo svhcheck".into()]);
    }
    svhcheck::cli::main(args)
}
