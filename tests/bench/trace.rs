//! What the tracer costs: one short and one longer rustc, untraced, under our tracer without and
//! with attribution, and under strace, in turns so that a busy machine disturbs all alike.
//!
//! `cargo bench --bench trace`; `ROUNDS` and `LONG_ROUNDS` set how often.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark's report, and a panic is how it fails"
)]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use svhcheck::trace::{Access, Command, ModuleCache, Status, Stdio as Stream};

/// A way to run one compile.
struct Way {
    name: &'static str,
    run: Box<dyn FnMut()>,
    times: Vec<Duration>,
}

fn main() {
    if !std::env::args().any(|arg| arg == "--bench") {
        return; // Built by `cargo test --all-targets`, not asked to measure.
    }
    let rounds = |name, usual| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(usual)
    };
    let sysroot = std::process::Command::new("rustc")
        .args(["--print", "sysroot"])
        .output()
        .unwrap();
    let sysroot = String::from_utf8(sysroot.stdout).unwrap();
    let rustc = Path::new(sysroot.trim()).join("bin/rustc");
    let folder = tempfile::tempdir().unwrap();

    std::fs::write(
        folder.path().join("short.rs"),
        "pub fn short() -> u32 { 1 }\n",
    )
    .unwrap();
    let short = [
        "--edition=2021",
        "--crate-type=lib",
        "--emit=metadata",
        "short.rs",
    ];
    measure(
        "a short rustc",
        &rustc,
        &short,
        folder.path(),
        rounds("ROUNDS", 40),
    );

    std::fs::write(folder.path().join("long.rs"), long_source()).unwrap();
    let long = [
        "--edition=2021",
        "--crate-type=lib",
        "--emit=link",
        "-O",
        "long.rs",
    ];
    measure(
        "a longer rustc",
        &rustc,
        &long,
        folder.path(),
        rounds("LONG_ROUNDS", 10),
    );
}

fn long_source() -> String {
    let mut source = String::new();
    for number in 0..14 {
        writeln!(
            source,
            "pub fn f{number}(words: &[String]) -> Vec<(usize, String)> {{
                let mut all: Vec<_> = words.iter().enumerate().filter(|(at, w)| at % {number} != w.len())
                    .map(|(at, w)| (at * {number}, w.replace('a', \"{number}\"))).collect();
                all.sort_by(|a, b| a.1.cmp(&b.1)); all.dedup(); all
            }}",
            number = number + 1
        )
        .unwrap();
    }
    source
}

fn measure(title: &str, rustc: &Path, args: &[&'static str], folder: &Path, rounds: u32) {
    let owned = (rustc.to_owned(), args.to_vec(), folder.to_owned());
    let modules = ModuleCache::new();
    let mut ways = vec![
        way("untraced", &owned, |(rustc, args, folder)| {
            plain(rustc, args, folder);
        }),
        way("traced", &owned, |(rustc, args, folder)| {
            traced(ours(rustc, args, folder));
        }),
        way(
            "traced, with attribution",
            &owned,
            move |(rustc, args, folder)| {
                let asked = |access: &Access| {
                    matches!(
                        access,
                        Access::Random { .. }
                            | Access::Clock { .. }
                            | Access::List { .. }
                            | Access::Identity
                            | Access::System
                    )
                };
                let macros = |frames: &[svhcheck::trace::Frame]| {
                    frames
                        .iter()
                        .any(|frame| frame.module.ends_with("macro.so"))
                };
                // As in a check of a crate that uses a macro.
                let suspects = BTreeSet::from([PathBuf::from("/no/macro.so")]);
                let command = ours(rustc, args, folder).modules(modules.clone());
                let command = command.suspects(suspects.into());
                traced(command.frames_for(asked).variables_for(macros));
            },
        ),
    ];
    if std::process::Command::new("strace")
        .arg("-V")
        .stdout(Stdio::null())
        .status()
        .is_ok()
    {
        ways.push(way(
            "strace -f --seccomp-bpf",
            &owned,
            |(rustc, args, folder)| {
                let mut all = vec![
                    "-f",
                    "--seccomp-bpf",
                    "-e",
                    "trace=%file",
                    "-o",
                    "/dev/null",
                ];
                all.push(rustc.to_str().unwrap());
                all.extend(args);
                plain(Path::new("strace"), &all, folder);
            },
        ));
    }
    for way in &mut ways {
        (way.run)(); // Fill the caches.
    }
    for _ in 0..rounds {
        for way in &mut ways {
            let begun = Instant::now();
            (way.run)();
            way.times.push(begun.elapsed());
        }
    }
    println!("{title}, {rounds} rounds");
    let mut base = None;
    for way in &mut ways {
        way.times.sort_unstable();
        let [least, quarter, middle] = [0, way.times.len() / 4, way.times.len() / 2]
            .map(|at| way.times[at].as_secs_f64() * 1e3);
        let (first, second) = *base.get_or_insert((quarter, middle));
        println!(
            "  {:26} least {least:8.1} ms, quarter {quarter:8.1} ms ({:.2}x), middle {middle:8.1} ms ({:.2}x)",
            way.name,
            quarter / first,
            middle / second,
        );
    }
}

type Compile = (PathBuf, Vec<&'static str>, PathBuf);

fn way(name: &'static str, compile: &Compile, mut run: impl FnMut(&Compile) + 'static) -> Way {
    let compile = compile.clone();
    Way {
        name,
        run: Box::new(move || run(&compile)),
        times: Vec::new(),
    }
}

fn plain(program: &Path, args: &[&str], folder: &Path) {
    let mut command = std::process::Command::new(program);
    let status = command
        .args(args)
        .current_dir(folder)
        .stdin(Stdio::null())
        .status();
    assert!(status.unwrap().success());
}

fn ours(rustc: &Path, args: &[&str], folder: &Path) -> Command {
    Command::new(rustc)
        .args(args)
        .envs(std::env::vars_os())
        .current_dir(folder)
        .stdin(Stream::Null)
}

fn traced(command: Command) {
    assert_eq!(command.run().unwrap().status, Status::Exited(0));
}
