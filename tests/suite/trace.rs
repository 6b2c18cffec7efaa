//! The tracer's record: complete, agreeing with strace, and nothing left behind.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Stdio as StdStdio;
use std::time::{Duration, Instant};

use svhcheck::trace::{
    Access, BlindSpot, Command, Cut, Outcome, Status, Stdio, Sys, Trace, TraceError,
};

use crate::support::{require, root, scrubbed, svhcheck};

/// Compiles a fixture program written in C.
pub(crate) fn compile_c(test: &str, name: &str, folder: &Path) -> Option<PathBuf> {
    let program = folder.join(name);
    let source = root().join(format!("fixtures/_programs/{name}.c"));
    let built = scrubbed("cc")
        .args(["-O1", "-pthread", "-w", "-o"])
        .args([&program, &source])
        .status();
    require(
        test,
        "a C compiler",
        built.is_ok_and(|status| status.success()),
    )
    .then_some(program)
}

pub(crate) fn quiet(program: &Path, words: &[&str], folder: &Path) -> Command {
    Command::new(program)
        .args(words)
        .current_dir(folder)
        .stdin(Stdio::Null)
        .stdout(Stdio::Null)
}

/// What a call was about: its name, its paths as given, and whether it failed (with what).
type Seen = (String, Vec<String>, Option<String>);

fn ours(trace: &Trace) -> BTreeMap<Seen, usize> {
    let mut seen = BTreeMap::new();
    for event in &trace.events {
        let Some(call) = event.call else { continue };
        // Calls on descriptors, which are not in strace's %file.
        if [Sys::Getdents64, Sys::Fchdir, Sys::Fchmod, Sys::Fchown].contains(&call) {
            continue;
        }
        let given = |path: &svhcheck::trace::SeenPath| path.given.to_string_lossy().into_owned();
        let paths = match &event.access {
            Access::Rename { from, to, .. } | Access::Link { from, to } => {
                vec![given(from), given(to)]
            }
            Access::Symlink { says, path } => {
                vec![says.to_string_lossy().into_owned(), given(path)]
            }
            access => match access.path() {
                Some(path) => vec![given(path)],
                None => continue,
            },
        };
        let error = match event.outcome {
            Outcome::Failed(number) => Some(format!("{:?}", nix_errno(number))),
            _ => None,
        };
        *seen
            .entry((call.name().to_owned(), paths, error))
            .or_default() += 1;
    }
    seen
}

fn nix_errno(number: i32) -> nix::errno::Errno {
    nix::errno::Errno::from_raw(number)
}

/// Reads `strace -f -o FILE`, with calls that were interrupted by others put together.
fn theirs(record: &str) -> BTreeMap<Seen, usize> {
    let mut seen = BTreeMap::new();
    let mut unfinished: BTreeMap<&str, String> = BTreeMap::new();
    for line in record.lines() {
        let Some((pid, rest)) = line.split_once(char::is_whitespace) else {
            continue;
        };
        let rest = rest.trim_start();
        if let Some(start) = rest.strip_suffix(" <unfinished ...>") {
            unfinished.insert(pid, start.to_owned());
            continue;
        }
        if let Some(former) = rest.strip_prefix("+++ superseded by execve in pid ") {
            // A thread executed, and goes on under its leader's number.
            let former = former.trim_end_matches(" +++");
            if let Some(start) = unfinished.remove(former) {
                unfinished.insert(pid, start);
            }
            continue;
        }
        let whole = match rest.strip_prefix("<... ") {
            Some(resumed) => {
                let end = resumed.split_once(" resumed>").map_or("", |(_, end)| end);
                unfinished.remove(pid).unwrap_or_default() + end
            }
            None => rest.to_owned(),
        };
        let Some((call, arguments)) = whole.split_once('(') else {
            continue;
        };
        let Some((arguments, result)) = arguments.rsplit_once(" = ") else {
            continue;
        };
        // The strings before any list or structure.
        let plain = arguments.split(['[', '{']).next().unwrap_or_default();
        let mut paths: Vec<String> = plain
            .split('"')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect();
        match call {
            "readlink" | "readlinkat" => paths.truncate(1),
            "getcwd" => continue,
            _ => {}
        }
        if paths.first().is_none_or(String::is_empty) {
            continue; // A call on a descriptor.
        }
        let error = result
            .strip_prefix("-1 ")
            .and_then(|text| text.split(' ').next());
        *seen
            .entry((call.to_owned(), paths, error.map(str::to_owned)))
            .or_default() += 1;
    }
    seen
}

#[test]
fn our_record_and_strace_agree() {
    let test = "our_record_and_strace_agree";
    let there = scrubbed("strace")
        .arg("-V")
        .stdout(StdStdio::null())
        .status()
        .is_ok();
    if !require(test, "strace", there) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let Some(program) = compile_c(test, "accesses", folder.path()) else {
        return;
    };
    for word in [
        "threads",
        "vforks",
        "forks",
        "exchange",
        "deleted",
        "rooted",
        "exec-thread",
    ] {
        let place = |name: &str| {
            let place = folder.path().join(format!("{word}-{name}"));
            std::fs::create_dir(&place).unwrap();
            place
        };
        let record = folder.path().join("record");
        let status = std::process::Command::new("strace")
            .args([
                "-f",
                "-s",
                "5000",
                "-e",
                "trace=%file",
                "-e",
                "signal=none",
                "-o",
            ])
            .arg(&record)
            .arg(&program)
            .arg(word)
            .env_clear()
            .current_dir(place("strace"))
            .status()
            .unwrap();
        assert!(status.success(), "strace {word}");
        let trace = quiet(&program, &[word], &place("ours")).run().unwrap();
        assert_eq!(trace.status, Status::Exited(0), "{word}");
        let record = std::fs::read_to_string(&record).unwrap();
        let (ours, theirs) = (ours(&trace), theirs(&record));
        assert!(!theirs.is_empty());
        let missing: Vec<_> = theirs
            .iter()
            .filter(|(seen, n)| ours.get(*seen) != Some(n))
            .collect();
        let extra: Vec<_> = ours
            .iter()
            .filter(|(seen, n)| theirs.get(*seen) != Some(n))
            .collect();
        assert!(
            missing.is_empty() && extra.is_empty(),
            "{word}: only strace {missing:#?}, only we {extra:#?}"
        );
    }
}

#[test]
fn processes_threads_and_execs_are_told_apart() {
    let test = "processes_threads_and_execs_are_told_apart";
    let folder = tempfile::tempdir().unwrap();
    let Some(program) = compile_c(test, "accesses", folder.path()) else {
        return;
    };
    let run = |word: &str| quiet(&program, &[word], folder.path()).run().unwrap();

    let trace = run("threads");
    assert_eq!(trace.processes.len(), 1);
    assert_eq!(trace.processes[0].threads, 9);
    let threads: std::collections::BTreeSet<u32> =
        trace.events.iter().map(|event| event.thread).collect();
    assert_eq!(threads.len(), 9);

    let trace = run("vforks");
    assert_eq!(trace.processes.len(), 61);
    assert!(
        trace
            .processes
            .iter()
            .all(|process| process.status == Some(Status::Exited(0)))
    );
    let stormed = |event: &&svhcheck::trace::Event| match &event.access {
        Access::Exec { argv, .. } => argv.last().is_some_and(|word| word == "storm"),
        _ => false,
    };
    assert_eq!(trace.events.iter().filter(stormed).count(), 60);

    let trace = run("forks");
    assert_eq!(trace.processes.len(), 25);

    let trace = run("exec-thread");
    assert_eq!(trace.processes.len(), 1);
    let last = trace
        .events
        .iter()
        .rfind(|event| matches!(event.access, Access::Exec { .. }))
        .unwrap();
    assert!(last.thread > 1, "another thread than the first executed");
    assert_eq!(last.outcome, Outcome::Done(0));
    let after = trace.events.last().unwrap();
    assert_eq!(after.thread, 1, "and then is the only one");
}

#[test]
fn paths_are_absolute_wherever_they_start() {
    let test = "paths_are_absolute_wherever_they_start";
    let folder = tempfile::tempdir().unwrap();
    let Some(program) = compile_c(test, "accesses", folder.path()) else {
        return;
    };
    let base = folder.path().canonicalize().unwrap();
    let trace = quiet(&program, &["exchange"], &base).run().unwrap();
    let within = |event: &svhcheck::trace::Event| {
        event
            .access
            .path()
            .is_some_and(|path| path.absolute == base.join("folder/within"))
    };
    // By descriptor and by name: openat, fchmodat, utimensat, truncate, openat2, newfstatat, unlinkat.
    assert_eq!(trace.events.iter().filter(|event| within(event)).count(), 7);
    let exchanges = trace
        .events
        .iter()
        .filter(|event| matches!(event.access, Access::Rename { exchange: true, .. }));
    assert_eq!(exchanges.count(), 1);

    if nix::unistd::geteuid().is_root() {
        let trace = quiet(&program, &["rooted"], &base).run().unwrap();
        let inner = base.join("cell/etc/inner");
        let looks = trace.events.iter().filter(
            |event| matches!(&event.access, Access::Status { path } if path.absolute == inner),
        );
        assert_eq!(
            looks.count(),
            2,
            "by absolute and relative path in another root"
        );
    }
}

#[test]
fn huge_argument_lists_are_recorded_whole() {
    let arguments: Vec<String> = (0..30_000)
        .map(|number| format!("argument-{number}"))
        .collect();
    let trace = Command::new("/bin/true").args(&arguments).run().unwrap();
    let Access::Exec { argv, .. } = &trace.events[0].access else {
        panic!("an exec comes first")
    };
    assert_eq!(argv.len(), 30_001);
    assert_eq!(argv[30_000], "argument-29999");
}

#[test]
fn signals_and_stops_pass_through() {
    let test = "signals_and_stops_pass_through";
    let folder = tempfile::tempdir().unwrap();
    let Some(program) = compile_c(test, "accesses", folder.path()) else {
        return;
    };
    // With breakpoints armed, so that a SIGTRAP of the program's own is not taken for ours.
    let command = quiet(&program, &["signals"], folder.path()).variables_for(|_| true);
    assert_eq!(command.run().unwrap().status, Status::Exited(0));
}

#[test]
fn foreign_calls_are_reported_and_not_misread() {
    let test = "foreign_calls_are_reported_and_not_misread";
    let folder = tempfile::tempdir().unwrap();
    let Some(program) = compile_c(test, "accesses", folder.path()) else {
        return;
    };
    if !require(test, "x86-64", cfg!(target_arch = "x86_64")) {
        return;
    }
    let trace = quiet(&program, &["foreign"], folder.path()).run().unwrap();
    // Without 32-bit support in the kernel, int 0x80 is a fault.
    if require(test, "32-bit calls", trace.status == Status::Exited(0)) {
        let spots: Vec<BlindSpot> = trace.blind_spots.iter().map(|(_, spot)| *spot).collect();
        assert_eq!(spots, [BlindSpot::ForeignCall]);
        assert!(
            !trace
                .events
                .iter()
                .any(|event| event.call == Some(Sys::Getpid))
        );
    }
}

#[test]
fn no_child_can_hide() {
    let test = "no_child_can_hide";
    let folder = tempfile::tempdir().unwrap();
    let Some(program) = compile_c(test, "accesses", folder.path()) else {
        return;
    };
    let trace = quiet(&program, &["hide"], folder.path()).run().unwrap();
    assert_eq!(trace.status, Status::Exited(0));
    assert_eq!(trace.processes.len(), 3);
    let spots = [(trace.processes[0].id, BlindSpot::Untraced)];
    assert_eq!(trace.blind_spots, spots);
    let hidden = folder.path().canonicalize().unwrap().join("hidden");
    let opens = trace.events.iter().filter(|event| {
        event
            .access
            .path()
            .is_some_and(|path| path.absolute == hidden)
    });
    assert_eq!(opens.count(), 2);
}

#[test]
fn output_is_read_while_the_command_runs() {
    let mut session = Command::new("/bin/sh")
        .args(["-c", "read line; echo got $line >&2; exit 3"])
        .stdin(Stdio::Pipe)
        .stdout(Stdio::Null)
        .stderr(Stdio::Pipe)
        .spawn()
        .unwrap();
    std::io::Write::write_all(session.stdin.as_mut().unwrap(), b"word\n").unwrap();
    let mut text = String::new();
    session
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    assert_eq!(text, "got word\n");
    assert_eq!(session.wait().unwrap().status, Status::Exited(3));
}

#[test]
fn a_killed_run_leaves_nothing() {
    let test = "a_killed_run_leaves_nothing";
    let folder = tempfile::tempdir().unwrap();
    let Some(program) = compile_c(test, "accesses", folder.path()) else {
        return;
    };
    let begun = Instant::now();

    let limit = Duration::from_millis(300);
    let trace = quiet(&program, &["sleeper"], folder.path())
        .timeout(limit)
        .run()
        .unwrap();
    assert_eq!(trace.stopped, Some(Cut::Timeout));
    assert_eq!(trace.status, Status::Signaled(9));
    assert_eq!(trace.processes.len(), 3);

    let session = quiet(&program, &["sleeper"], folder.path())
        .spawn()
        .unwrap();
    let killer = session.killer();
    std::thread::spawn(move || killer.kill());
    assert_eq!(session.wait().unwrap().stopped, Some(Cut::Killed));

    drop(
        quiet(&program, &["sleeper"], folder.path())
            .spawn()
            .unwrap(),
    );

    for _ in 0..5 {
        let bomb = quiet(&program, &["bomb"], folder.path());
        let trace = bomb.max_processes(50).run().unwrap();
        assert_eq!(trace.stopped, Some(Cut::Processes));
    }
    assert!(begun.elapsed() < Duration::from_secs(60));
    assert_eq!(running(&program), 0);
}

/// How many living processes execute `program`.
fn running(program: &Path) -> usize {
    let executes = |entry: std::fs::DirEntry| {
        std::fs::read_link(entry.path().join("exe")).is_ok_and(|exe| exe == program)
    };
    let processes = std::fs::read_dir("/proc").unwrap();
    processes
        .flatten()
        .map(executes)
        .filter(|found| *found)
        .count()
}

#[test]
fn kill_9_of_svhcheck_leaves_no_tracee() {
    let test = "kill_9_of_svhcheck_leaves_no_tracee";
    let folder = tempfile::tempdir().unwrap();
    let Some(program) = compile_c(test, "accesses", folder.path()) else {
        return;
    };
    let mut child = svhcheck()
        .args(["trace", "-o", "/dev/null", "--"])
        .arg(&program)
        .arg("sleeper")
        .current_dir(folder.path())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    while running(&program) < 3 {
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "the tree did not start"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    while running(&program) > 0 {
        assert!(
            begun.elapsed() < Duration::from_secs(40),
            "a tracee was left"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn tracers_side_by_side_do_not_mix() {
    let test = "tracers_side_by_side_do_not_mix";
    let folder = tempfile::tempdir().unwrap();
    let Some(program) = compile_c(test, "accesses", folder.path()) else {
        return;
    };
    std::thread::scope(|scope| {
        for number in 0..8 {
            let (program, folder) = (&program, folder.path());
            scope.spawn(move || {
                let folder = folder.join(number.to_string());
                std::fs::create_dir(&folder).unwrap();
                let trace = quiet(program, &["forks", "vforks"], &folder).run().unwrap();
                assert_eq!(trace.processes.len(), 85);
                let place = folder.canonicalize().unwrap().join("grandchild");
                let own = |event: &&svhcheck::trace::Event| {
                    event
                        .access
                        .path()
                        .is_some_and(|path| path.absolute == place)
                };
                assert_eq!(trace.events.iter().filter(own).count(), 12);
            });
        }
    });
}

#[test]
fn what_cannot_start_says_why() {
    let error = Command::new("no-such-program")
        .envs([("PATH", "/bin")])
        .run()
        .unwrap_err();
    assert!(matches!(error, TraceError::NotFound(_)));
    let error = Command::new("/etc/passwd").run().unwrap_err();
    assert_eq!(
        error.to_string(),
        "could not start `/etc/passwd`: the program could not be executed"
    );
    let error = Command::new("/bin/true")
        .current_dir("/no/such/place")
        .run()
        .unwrap_err();
    assert!(error.to_string().contains("working directory"));
    let error = Command::new("/bin/true").args(["a\0b"]).run().unwrap_err();
    assert!(matches!(error, TraceError::Nul(_)));
}

#[test]
fn a_refusal_says_what_to_try() {
    let strace = || scrubbed("strace");
    let there = strace().arg("-V").stdout(StdStdio::null()).status().is_ok();
    if !require("a_refusal_says_what_to_try", "strace", there) {
        return;
    }
    let ours = svhcheck();
    let output = strace()
        .args(["-f", "-o", "/dev/null"])
        .arg(ours.get_program())
        .args(["trace", "--", "/bin/true"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("another tracer"), "{text}");
}

#[test]
fn the_command_prints_every_format() {
    for format in ["human", "json", "strace"] {
        let output = svhcheck()
            .args([
                "trace",
                "--format",
                format,
                "--",
                "/bin/cat",
                "/no\x1b[2Jwhere",
            ])
            .output()
            .unwrap();
        assert_eq!(
            output.status.code(),
            Some(0),
            "the traced command's failure is not ours"
        );
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("where"), "{format}: {text}");
        assert!(!text.contains('\x1b'), "{format} lets escapes through");
    }
    let output = svhcheck()
        .args(["trace", "--", "no-such-program-here"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
}
