//! The tracer's injection, and who is found behind an access, on real programs and on stock rustc.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use svhcheck::trace::{
    Access, Command, DirOrder, Event, FileTimes, Frame, Injection, ModuleCache, Status, Stdio,
    Steer, Time, Trace,
};

use crate::support::{require, root, scrubbed, sysroot_libs};
use crate::trace::{compile_c, quiet};

/// Runs a program with one pipe for its output.
fn output(command: Command) -> (Trace, String) {
    let mut session = command.stdout(Stdio::Pipe).spawn().unwrap();
    let mut text = String::new();
    session
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    (session.wait().unwrap(), text)
}

fn everything(seed: u64) -> Injection {
    Injection::new()
        .steer(Steer::Randomness(seed))
        .steer(Steer::Time(Time::Fixed(Duration::from_secs(
            1_000_000 + seed,
        ))))
        .steer(Steer::DirOrder(DirOrder::Shuffled(seed)))
        .steer(Steer::Pid(70_000))
        .steer(Steer::Host("elsewhere".into()))
        .steer(Steer::Kernel("9.9".into()))
        .steer(Steer::Cpus(3))
        .steer(Steer::FileTimes(FileTimes::Fixed(12_345)))
        .steer(Steer::Inode(seed))
}

#[test]
fn pinned_runs_are_equal_and_varied_ones_are_not() {
    let name = "pinned_runs_are_equal_and_varied_ones_are_not";
    let folder = tempfile::tempdir().unwrap();
    let Some(program) = compile_c(name, "accesses", folder.path()) else {
        return;
    };
    let answers = |seed| {
        let command = quiet(&program, &["answers"], folder.path())
            .envs([("STEERED", "yes")])
            .inject(everything(seed));
        let (trace, text) = output(command);
        assert_eq!(trace.status, Status::Exited(0), "{text}");
        text
    };
    let first = answers(1);
    assert_eq!(first, answers(1));
    let other = answers(2);
    let fields = |text: &str| {
        text.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let (first, other) = (fields(&first), fields(&other));
    assert_ne!(first[0], other[0], "getrandom");
    assert_ne!(first[1], other[1], "/dev/urandom");
    assert_eq!(first[2], "1000001.000000000", "clock_gettime");
    assert_eq!(first[3..5], ["1000001", "1000001"], "gettimeofday and time");
    assert_eq!(first[5], other[5], "steady clock");
    assert_eq!(first[6..8], ["elsewhere", "9.9"], "uname");
    assert_eq!(first[8..10], ["71000", "71000"], "process and thread");
    assert_eq!(first[10..12], ["3", "3"], "processors");
    assert_eq!(first[12], "12345", "mtime");
    assert_ne!(first[13], other[13], "inode");
    assert_eq!(first[14], "yes");
}

/// A run starts on its tracer's processor, of which it hears nothing; and whatever grows is let go.
#[test]
fn a_run_kept_on_one_processor_is_not_told() {
    let name = "a_run_kept_on_one_processor_is_not_told";
    let folder = tempfile::tempdir().unwrap();
    let Some(program) = compile_c(name, "accesses", folder.path()) else {
        return;
    };
    let text = |output: std::process::Output| String::from_utf8(output.stdout).unwrap();
    let count = |text: String| text.split_whitespace().nth(10).unwrap().to_owned();
    let mut untraced = std::process::Command::new(&program);
    let untraced = untraced.arg("answers").current_dir(folder.path()).output();
    let (trace, traced) = output(quiet(&program, &["answers"], folder.path()));
    assert!(trace.events.iter().all(|event| !event.injected));
    assert_eq!(count(traced), count(text(untraced.unwrap())));

    let mut untraced = std::process::Command::new("grep");
    let look = ["Cpus_allowed:", "/proc/self/status"];
    let untraced = text(untraced.args(look).output().unwrap());
    let grep = "grep Cpus_allowed: /proc/self/status";
    for script in [
        format!("exec {grep}"),
        format!("{grep} | cat"),
        format!("sleep 0.1; exec {grep}"),
    ] {
        let (_, traced) = output(quiet(Path::new("sh"), &["-c", &script], folder.path()));
        assert_eq!(traced, untraced, "{script}");
    }
}

#[test]
fn times_shift_and_run() {
    let name = "times_shift_and_run";
    let folder = tempfile::tempdir().unwrap();
    let Some(program) = compile_c(name, "accesses", folder.path()) else {
        return;
    };
    let second = |time| {
        let command = quiet(&program, &["answers"], folder.path());
        let (_, text) = output(command.inject(Injection::new().steer(Steer::Time(time))));
        let field = text.split_whitespace().nth(3).unwrap().to_owned();
        field.parse::<u64>().unwrap()
    };
    let real = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    assert!(second(Time::Shifted(1_000_000)) - real >= 1_000_000);
    assert!(real - second(Time::Shifted(-1_000_000)) <= 1_000_000);
    assert!((500..560).contains(&second(Time::From(Duration::from_secs(500)))));
}

#[test]
fn listings_come_in_the_chosen_order() {
    let folder = tempfile::tempdir().unwrap();
    // More than one buffer of getdents64.
    for number in 0..3000 {
        std::fs::write(folder.path().join(format!("file-{number:04}")), "").unwrap();
    }
    let list = |order| {
        let command = Command::new("/bin/ls")
            .args(["-U"])
            .current_dir(folder.path());
        let (_, text) = output(command.inject(Injection::new().steer(Steer::DirOrder(order))));
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let sorted = list(DirOrder::Sorted);
    assert_eq!(sorted.len(), 3000);
    assert!(sorted.is_sorted());
    assert!(list(DirOrder::Reversed).iter().rev().eq(&sorted));
    let shuffled = list(DirOrder::Shuffled(1));
    assert_ne!(shuffled, sorted);
    assert_eq!(shuffled, list(DirOrder::Shuffled(1)));
    assert_ne!(shuffled, list(DirOrder::Shuffled(2)));
}

/// Stock rustc, the compiled macros, and a folder to compile in.
struct Compile {
    rustc: PathBuf,
    folder: tempfile::TempDir,
}

impl Compile {
    fn new(name: &str) -> Option<Self> {
        let sysroot = sysroot_libs().into_iter().next();
        let rustc = sysroot.unwrap_or_default().join("bin/rustc");
        if !require(name, "a Rust toolchain", rustc.is_file()) {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let built = scrubbed(&rustc)
            .args([
                "--edition=2021",
                "--crate-type=proc-macro",
                "-Cdebuginfo=1",
                "--out-dir",
            ])
            .arg(folder.path())
            .arg(root().join("fixtures/_programs/hazards.rs"))
            .status();
        assert!(built.unwrap().success());
        std::fs::create_dir(folder.path().join("listed")).unwrap();
        for name in ["one", "two", "three", "four"] {
            std::fs::write(folder.path().join("listed").join(name), "").unwrap();
        }
        Some(Self { rustc, folder })
    }

    fn command(&self, invocation: &str) -> Command {
        let source = self.folder.path().join("user.rs");
        std::fs::write(source, format!("hazards::{invocation}!{{}}\n")).unwrap();
        Command::new(&self.rustc)
            .args([
                "--edition=2021",
                "--crate-type=lib",
                "--emit=metadata",
                "user.rs",
            ])
            .args(["--extern", "hazards=libhazards.so"])
            .envs([("PATH", "/bin:/usr/bin"), ("HAZARD_SET", "value")])
            .current_dir(self.folder.path())
    }

    /// Compiles under an injection; returns the metadata.
    fn metadata(&self, invocation: &str, injection: Injection) -> Vec<u8> {
        let trace = self.command(invocation).inject(injection).run().unwrap();
        assert_eq!(trace.status, Status::Exited(0), "rustc failed");
        std::fs::read(self.folder.path().join("libuser.rmeta")).unwrap()
    }
}

fn has(metadata: &[u8], text: &str) -> bool {
    metadata
        .windows(text.len())
        .any(|window| window == text.as_bytes())
}

#[test]
fn a_macro_that_iterates_a_map_is_steered() {
    let Some(compile) = Compile::new("a_macro_that_iterates_a_map_is_steered") else {
        return;
    };
    let with = |seed| {
        compile.metadata(
            "hash_order",
            Injection::new().steer(Steer::Randomness(seed)),
        )
    };
    let first = with(1);
    for _ in 0..5 {
        assert!(first == with(1), "the same seed gave other metadata");
    }
    assert!(
        first != with(2) || first != with(3),
        "other seeds gave the same order"
    );
}

#[test]
fn a_macro_that_reads_clocks_is_steered() {
    let Some(compile) = Compile::new("a_macro_that_reads_clocks_is_steered") else {
        return;
    };
    let at = |second| {
        let time = Steer::Time(Time::Fixed(Duration::from_secs(second)));
        compile.metadata("now", Injection::new().steer(time))
    };
    let first = at(1_234_567);
    assert!(has(&first, "1234567s Instant"));
    assert!(first == at(1_234_567));
    assert!(first != at(7_654_321));
}

#[test]
fn a_macro_that_lists_a_directory_is_steered() {
    let Some(compile) = Compile::new("a_macro_that_lists_a_directory_is_steered") else {
        return;
    };
    let with = |order| compile.metadata("listing", Injection::new().steer(Steer::DirOrder(order)));
    assert!(has(
        &with(DirOrder::Sorted),
        r#"["four", "one", "three", "two"]"#
    ));
    assert!(has(
        &with(DirOrder::Reversed),
        r#"["two", "three", "one", "four"]"#
    ));
}

/// True if any frame lies in the macro's file.
fn by_macro(frames: &[Frame]) -> bool {
    frames
        .iter()
        .any(|frame| frame.module.ends_with("libhazards.so"))
}

#[test]
fn only_the_culprits_calls_can_be_pinned() {
    let Some(compile) = Compile::new("only_the_culprits_calls_can_be_pinned") else {
        return;
    };
    let with = |rest, culprit| {
        let injection = Injection::new()
            .steer(Steer::Randomness(rest))
            .steer_for(by_macro, Steer::Randomness(culprit));
        compile.metadata("hash_order", injection)
    };
    let first = with(1, 7);
    assert!(
        first == with(2, 7),
        "what rustc itself was given changed the result"
    );
    assert!(
        first != with(1, 8) || first != with(1, 9),
        "the macro's own bytes did not"
    );
}

#[test]
fn the_code_behind_an_access_is_named() {
    let Some(compile) = Compile::new("the_code_behind_an_access_is_named") else {
        return;
    };
    let modules = ModuleCache::new();
    let watched = |invocation| {
        let command = compile.command(invocation).modules(modules.clone());
        let command = command.frames_for(|access| {
            matches!(
                access,
                Access::Random { .. } | Access::List { .. } | Access::Clock { .. }
            )
        });
        let mut trace = command.variables_for(by_macro).run().unwrap();
        assert_eq!(trace.status, Status::Exited(0));
        modules.symbolize(trace.frames_mut());
        trace
    };
    let named = |event: &Event, name: &str| {
        let names = |frame: &Frame| {
            frame
                .symbol
                .as_ref()
                .is_some_and(|symbol| symbol.contains(name))
        };
        by_macro(&event.frames) && event.frames.iter().any(names)
    };

    let trace = watched("hash_order");
    let random = |event: &&Event| matches!(event.access, Access::Random { .. });
    let guilty: Vec<_> = trace
        .events
        .iter()
        .filter(random)
        .filter(|event| named(event, "hazards::hash_order"))
        .collect();
    assert_eq!(guilty.len(), 1, "the macro's HashMap");
    let others = trace
        .events
        .iter()
        .filter(random)
        .filter(|event| !by_macro(&event.frames));
    assert!(others.count() >= 1, "rustc's own reads are told apart");

    let line = guilty[0]
        .frames
        .iter()
        .filter_map(|frame| frame.line.as_ref());
    assert!(
        line.clone().any(|line| line.file.ends_with("hazards.rs")),
        "no line of the macro's own source"
    );

    let trace = watched("listing");
    let lists = trace
        .events
        .iter()
        .filter(|event| named(event, "hazards::listing"));
    assert!(lists.count() >= 1);

    let trace = watched("variables");
    let variables: Vec<_> = trace
        .events
        .iter()
        .filter_map(|event| match &event.access {
            Access::Variable { name, value } if named(event, "hazards::variables") => Some((
                name.to_str().unwrap(),
                value.as_ref().and_then(|value| value.to_str()),
            )),
            _ => None,
        })
        .collect();
    assert_eq!(
        variables,
        [("HAZARD_SET", Some("value")), ("HAZARD_UNSET", None)]
    );
}

#[test]
fn variables_are_seen_with_threads_and_children() {
    let name = "variables_are_seen_with_threads_and_children";
    let folder = tempfile::tempdir().unwrap();
    let Some(program) = compile_c(name, "accesses", folder.path()) else {
        return;
    };
    let command = quiet(&program, &["variables"], folder.path()).envs([("SET", "a value")]);
    let trace = command.variables_for(is_program(&program)).run().unwrap();
    assert_eq!(trace.status, Status::Exited(0));
    let count = |wanted: &str| {
        let is = |event: &&Event| matches!(&event.access, Access::Variable { name, value } if name == wanted && value.as_deref() == Some("a value".as_ref()));
        trace.events.iter().filter(is).count()
    };
    assert_eq!(
        count("SET"),
        8 * 200 + 1,
        "of every thread, and of a forked child"
    );
}

/// Of a process that loads what is asked after, all threads are watched from then on.
#[test]
fn variables_are_seen_once_there_is_a_suspect() {
    let name = "variables_are_seen_once_there_is_a_suspect";
    let folder = tempfile::tempdir().unwrap();
    let Some(program) = compile_c(name, "accesses", folder.path()) else {
        return;
    };
    let path = scrubbed("cc").arg("-print-file-name=libm.so.6").output();
    let path = String::from_utf8(path.unwrap().stdout).unwrap();
    let library = std::fs::canonicalize(path.trim()).unwrap();
    let reads = |suspect: &Path| {
        let trace = quiet(&program, &["load"], folder.path())
            .envs([
                ("SET", "a value".as_ref()),
                ("LIBRARY", library.as_os_str()),
            ])
            .suspects(BTreeSet::from([suspect.to_owned()]).into())
            .variables_for(is_program(&program))
            .run()
            .unwrap();
        assert_eq!(trace.status, Status::Exited(0));
        let threads = trace.events.iter().filter_map(|event| match &event.access {
            Access::Variable { name, .. } if name == "SET" => Some(event.thread),
            _ => None,
        });
        threads.collect::<Vec<_>>()
    };
    assert!(reads(Path::new("/no/library")).is_empty());
    assert_eq!(reads(&library), vec![2; 200]);
    assert_eq!(reads(&program).len(), 400);
}

fn is_program(program: &Path) -> impl Fn(&[Frame]) -> bool + Send + Sync + use<> {
    let program = program.to_owned();
    move |frames| {
        frames
            .first()
            .is_some_and(|frame| *frame.module == *program)
    }
}
