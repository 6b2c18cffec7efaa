//! What entering a sandbox costs: a traced `/bin/true` in each mechanism, beside one without any;
//! and the same with many single files in the policy. Run with `cargo bench --bench sandbox`.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program for developers, whose output is its result"
)]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use svhcheck::sandbox::{Limits, Mechanism, Policy, Sandbox};
use svhcheck::trace::{Command, Status};

const ROUNDS: usize = 40;

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path().canonicalize().unwrap();
    let files: Vec<PathBuf> = (0..200).map(|n| base.join(format!("{n}.rs"))).collect();
    for file in &files {
        std::fs::write(file, "").unwrap();
    }
    let policy = |files: &[PathBuf]| Policy {
        read: [Policy::system_paths(), files.to_vec()].concat(),
        private_tmp: true,
        temp: None,
        limits: Limits {
            processes: Some(4096),
            ..Limits::default()
        },
        ..Policy::default()
    };
    let (few, many) = (policy(&[]), policy(&files));
    let cases = [
        ("none", Mechanism::None, &few),
        ("landlock", Mechanism::Landlock, &few),
        ("landlock, 200 files", Mechanism::Landlock, &many),
        ("namespaces", Mechanism::Namespaces, &few),
        ("namespaces, 200 files", Mechanism::Namespaces, &many),
    ];
    let mut times: Vec<Vec<Duration>> = vec![Vec::new(); cases.len()];
    // In turn, so that a busy machine slows all alike.
    for _ in 0..ROUNDS {
        for ((_, mechanism, policy), times) in cases.iter().zip(&mut times) {
            times.push(run(*mechanism, policy));
        }
    }
    for ((name, ..), times) in cases.iter().zip(&mut times) {
        times.sort();
        println!(
            "{name}: fastest {:.2} ms, median {:.2} ms",
            milliseconds(times[0]),
            milliseconds(times[ROUNDS / 2])
        );
    }
    let start = Instant::now();
    let choice = Mechanism::choose();
    let time = milliseconds(start.elapsed());
    println!("choosing {}: {time:.2} ms", choice.mechanism);
}

fn run(mechanism: Mechanism, policy: &Policy) -> Duration {
    let start = Instant::now();
    let sandbox = Sandbox::prepare(mechanism, policy).unwrap();
    let command = Command::new("/bin/true").current_dir(Path::new("/usr"));
    let trace = command.enter(sandbox).run().unwrap();
    assert_eq!(trace.status, Status::Exited(0));
    start.elapsed()
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
