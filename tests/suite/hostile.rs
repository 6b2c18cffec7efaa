//! Hostile macros in a check: what they try stays in the sandbox, and the report tells of it.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use svhcheck::sandbox::Mechanism;

use crate::support::{require, scrubbed, svhcheck};
use crate::trace::compile_c;
use crate::workspace::{Said, Workspace, krate};

const CARGO: &str = "[workspace]\nmembers = [\"user\", \"evil\"]\nresolver = \"2\"\n";
const USER: &str = "[package]\nname = \"user\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\
                    [dependencies]\nevil = { path = \"../evil\" }\n";
const EVIL: &str = "[package]\nname = \"evil\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\
                    [lib]\nproc-macro = true\n";

/// A macro that does what its words say, but only where svhcheck repeats the compile: the recorded
/// build is the user's own, which nothing confines.
const MACRO: &str = r#"
use proc_macro::TokenStream;
use std::{env, fs, io::Write, net, os::fd::AsRawFd, path::Path};

unsafe extern "C" {
    fn kill(pid: i32, signal: i32) -> i32;
    fn ptrace(request: i64, pid: i64, address: usize, data: usize) -> i64;
    fn fork() -> i32;
    fn pause() -> i32;
    fn posix_fallocate(file: i32, from: i64, length: i64) -> i32;
}

#[proc_macro]
pub fn evil(input: TokenStream) -> TokenStream {
    let text = input.to_string();
    let words: Vec<&str> = text.trim_matches('"').split(' ').collect();
    let replayed = env::args().any(|own| own.contains("/svhcheck/scratch-"));
    let said = if replayed { act(&words) } else { false };
    format!("pub const SAID: bool = {said};").parse().unwrap()
}

fn act(words: &[&str]) -> bool {
    let number = |at: usize| words[at].parse::<i32>().unwrap();
    match words[0] {
        "write" => fs::write(words[1], "evil").is_ok(),
        "must-write" => { fs::write(words[1], "evil").unwrap(); false }
        "read" => fs::read(words[1]).is_ok(),
        "connect" => net::TcpStream::connect(words[1]).is_ok(),
        "kill" => unsafe { kill(number(1), 9) == 0 },
        "kill-all" => unsafe { kill(-1, 9) == 0 },
        "ptrace" => unsafe { ptrace(16, number(1).into(), 0, 0) == 0 },
        "hang" => loop { unsafe { pause(); } },
        "bomb" => loop { unsafe { fork(); } },
        "fill" => fill(),
        _ => false,
    }
}

fn fill() -> bool {
    let all: Vec<String> = env::args().collect();
    let at = all.iter().position(|own| own == "--out-dir").unwrap();
    for number in 0..64 {
        let path = Path::new(&all[at + 1]).join(format!("fill-{number}"));
        let mut file = fs::File::create(path).unwrap();
        unsafe { posix_fallocate(file.as_raw_fd(), 0, 1 << 30) };
        file.write_all(b"x").unwrap();
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    loop { unsafe { pause(); } }
}
"#;

/// A workspace whose macro does `words`.
fn workspace(words: &str) -> Workspace {
    let lib = format!("evil::evil!(\"{words}\");\n");
    Workspace::of(&[
        ("Cargo.toml", CARGO),
        ("user/Cargo.toml", USER),
        ("user/src/lib.rs", &lib),
        ("evil/Cargo.toml", EVIL),
        ("evil/src/lib.rs", MACRO),
    ])
}

/// A folder outside every package, and not below `/tmp`, of which a sandbox has its own.
fn outside() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

fn check(workspace: &Workspace, more: &[&str]) -> (Said, Value) {
    let args = ["//...", "--strategies=quit-on-rmeta", "--format=json"];
    let said = workspace.run(&[&args, more].concat());
    let report = said.json();
    (said, report)
}

/// A process that is nobody's business; gone with the value.
struct Bystander(Child);

impl Drop for Bystander {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn mounts() -> String {
    fs::read_to_string("/proc/self/mountinfo").unwrap()
}

fn namespaces(test: &str) -> bool {
    require(
        test,
        "user namespaces",
        Mechanism::Namespaces.probe().is_ok(),
    )
}

/// The escapes of the crate that uses the macro.
fn escapes(report: &Value) -> Vec<&Value> {
    let findings = report["findings"].as_array().unwrap().iter();
    findings
        .filter(|own| own["lint"] == "sandbox-escape")
        .collect()
}

#[test]
fn what_lies_outside_is_neither_written_nor_leaked() {
    if !namespaces("what_lies_outside_is_neither_written_nor_leaked") {
        return;
    }
    let before = mounts();
    let home = outside();
    let file = home.path().join("planted");
    for word in ["write", "must-write"] {
        let workspace = workspace(&format!("{word} {}", file.display()));
        let (said, report) = check(&workspace, &[]);
        assert!(!file.exists(), "{word}");
        assert_eq!(report["sandbox"]["mechanism"], "namespaces");
        let user = krate(&report, "//user:user");
        assert_eq!(user["hermeticity"], "escapes", "{report:#}");
        let verdict = if word == "write" {
            "safe"
        } else {
            "inconclusive"
        };
        assert_eq!(user["verdict"], verdict, "{report:#}");
        let [found] = escapes(&report)[..] else {
            panic!("{report:#}")
        };
        assert_eq!(
            (&found["level"], &found["grade"]),
            (&"warn".into(), &"hazard".into())
        );
        assert_eq!(found["culprit"]["package"], "evil 0.1.0");
        assert_eq!(found["culprit"]["function"], "evil::act");
        assert_eq!(found["names"], serde_json::json!([file]));
        if word == "must-write" {
            assert!(
                said.out.contains("which `--sandbox none` allows"),
                "{report:#}"
            );
        }
        workspace.assert_nothing_left();
    }
    // Reading is not refused for good, since the verdict must not hang on it; it goes nowhere.
    fs::write(&file, "secret").unwrap();
    let workspace = workspace(&format!("read {}", file.display()));
    let (said, report) = check(&workspace, &[]);
    assert!(!said.out.contains("secret"));
    let [found] = escapes(&report)[..] else {
        panic!("{report:#}")
    };
    assert_eq!(
        (&found["level"], &found["grade"]),
        (&"warn".into(), &"confirmed".into())
    );
    assert_eq!(found["names"], serde_json::json!([file]));
    workspace.assert_nothing_left();
    assert_eq!(mounts(), before);
}

#[test]
fn nobody_else_is_reached() {
    if !namespaces("nobody_else_is_reached") {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let mut bystander = Bystander(
        Command::new("sleep")
            .arg("600")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let (address, pid) = (listener.local_addr().unwrap(), bystander.0.id());
    for words in [
        format!("connect {address}"),
        format!("kill {pid}"),
        format!("ptrace {pid}"),
    ] {
        let workspace = workspace(&words);
        let (_, report) = check(&workspace, &["--vary=none"]);
        assert_eq!(
            krate(&report, "//user:user")["verdict"],
            "safe",
            "{words}: {report:#}"
        );
        if words.starts_with("connect") {
            let [found] = escapes(&report)[..] else {
                panic!("{report:#}")
            };
            assert_eq!(found["names"], serde_json::json!(["network"]));
        }
        workspace.assert_nothing_left();
    }
    assert!(listener.accept().is_err(), "nobody came through");
    // Everybody it may is nobody outside.
    let workspace = workspace("kill-all");
    let (said, report) = check(&workspace, &[]);
    assert!(matches!(said.status, Some(0 | 1)), "{report:#}");
    assert!(bystander.0.try_wait().unwrap().is_none(), "it lives");
    workspace.assert_nothing_left();
}

#[test]
#[ignore = "a traced fork bomb takes minutes until it is ended"]
fn bombs_hangs_and_floods_end_with_the_compile() {
    if !namespaces("bombs_hangs_and_floods_end_with_the_compile") {
        return;
    }
    for (words, why) in [
        ("hang", "rustc was ended after 2 s"),
        // By the number of its processes, or on a slow machine by the time.
        ("bomb", "rustc was ended"),
        ("fill", "rustc was ended: it wrote more than a compile may"),
    ] {
        let workspace = workspace(words);
        let limit = if words == "hang" {
            "--timeout=2"
        } else {
            "--timeout=30"
        };
        let (said, report) = check(&workspace, &[limit, "--vary=none"]);
        assert_eq!(said.status, Some(2), "{said:?}");
        assert_eq!(krate(&report, "//user:user")["verdict"], "inconclusive");
        let told = report["not_checked"].as_array().unwrap().iter();
        let mut told = told.filter(|own| own["what"] == "//user:user");
        let told = told.any(|own| own["why"].as_str().unwrap().contains(why));
        assert!(told, "{words}: {report:#}");
        workspace.assert_nothing_left();
    }
}

#[test]
fn without_name_spaces_the_check_says_what_is_left() {
    let test = "without_name_spaces_the_check_says_what_is_left";
    let folder = tempfile::tempdir().unwrap();
    let Some(without) = compile_c(test, "without", folder.path()) else {
        return;
    };
    let workspace = workspace("nothing");
    let run = |lost: &[&str], format: &str| -> Said {
        let mut command = scrubbed(&without);
        command.args(lost).arg("--").arg(svhcheck().get_program());
        command.args(["//...", "--strategies=quit-on-rmeta", format]);
        command
            .current_dir(workspace.path(""))
            .output()
            .unwrap()
            .into()
    };
    let landlock = Mechanism::Landlock.probe().is_ok();
    let mut cases = vec![(vec!["namespaces", "landlock"], "none")];
    if require(test, "landlock", landlock) {
        cases.push((vec!["namespaces"], "landlock"));
    }
    for (lost, left) in cases {
        let said = run(&lost, "--format=human");
        assert_eq!(said.status, Some(0), "{said:?}");
        let lines = said
            .out
            .lines()
            .filter(|line| line.contains("containment beyond"));
        let [line] = lines.collect::<Vec<_>>()[..] else {
            panic!("{said:?}")
        };
        let start =
            format!("  containment beyond `{left}`: no namespaces: the sandbox could not make");
        assert!(line.starts_with(&start), "{line}");
        assert!(line.contains("; not enforced: "), "{line}");
        let report = run(&lost, "--format=json").json();
        assert_eq!(report["sandbox"]["mechanism"], left);
        assert!(line.ends_with(report["sandbox"]["why"].as_str().unwrap()));
    }
    // What is asked for by name and cannot be had is an error.
    let said = run(&["namespaces"], "--sandbox=namespaces");
    said.failed("no compile can run in the sandbox that `--sandbox` asks for: ");
    workspace.assert_nothing_left();
}

#[test]
fn a_run_is_repeated_by_its_script() {
    let test = "a_run_is_repeated_by_its_script";
    for sandbox in ["none", "namespaces"] {
        if sandbox == "namespaces" && !namespaces(test) {
            continue;
        }
        let workspace = Workspace::fixture("hash-map-2/bad");
        let args = [
            "//...",
            "--strategies=quit-on-rmeta,pipelined",
            "--runs=3",
            "--format=json",
            "--sandbox",
            sandbox,
        ];
        let said = workspace.run(&[&args[..], &["--", "--offline"]].concat());
        let report = said.json();
        let strategies = &krate(&report, "//consumer:consumer")["strategies"];
        let evidence = workspace.area().join("evidence/consumer:consumer");
        let folder = fs::read_dir(workspace.area().join("evidence"))
            .unwrap()
            .next();
        let folder = folder.map_or(evidence, |entry| entry.unwrap().path());
        for strategy in fs::read_dir(&folder).unwrap() {
            let strategy = strategy.unwrap();
            let name = strategy.file_name().into_string().unwrap();
            // The metadata side is steered, so it comes out as it did.
            let side = strategy.path().join("metadata");
            let output = scrubbed("sh")
                .arg(side.join("command.sh"))
                .env("SVHCHECK", svhcheck().get_program())
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            let made: Vec<PathBuf> = fs::read_dir(side.join("again"))
                .unwrap_or_else(|error| panic!("{error}: {said}"))
                .map(|entry| entry.unwrap().path())
                .collect();
            let rmeta = made
                .iter()
                .find(|path| path.extension().is_some_and(|own| own == "rmeta"));
            let rmeta = rmeta.unwrap_or_else(|| panic!("{made:?}: {said}"));
            let svh = svhcheck::artifact::open(rmeta).unwrap().root().unwrap().svh;
            assert_eq!(
                strategies[&name]["svh"][0],
                svh.to_string(),
                "{sandbox} {name}"
            );
            assert!(output.status.success(), "{said}");
        }
        workspace.assert_nothing_left();
    }
}
