//! Hostile macros and build scripts in a check: what they try stays in the sandbox, and the report
//! tells of it.

use std::fmt::Write as _;
use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use svhcheck::sandbox::Mechanism;

use crate::support::{require, scrubbed, svhcheck};
use crate::trace::compile_c;
use crate::workspace::{Said, Workspace, krate};

/// What both do: what their words say, but only where svhcheck runs them again. The recorded build
/// is the user's own, which nothing confines.
const ACTS: &str = r#"
use std::{env, fs, io::Write, net};

unsafe extern "C" {
    fn kill(pid: i32, signal: i32) -> i32;
    fn ptrace(request: i64, pid: i64, address: usize, data: usize) -> i64;
    fn getppid() -> i32;
    fn fork() -> i32;
    fn pause() -> i32;
}

pub fn act(text: &str) -> bool {
    let ours = "/svhcheck/scratch-";
    let out_dir = env::var("OUT_DIR").unwrap_or_default();
    if !out_dir.contains(ours) && !env::args().any(|own| own.contains(ours)) {
        return false;
    }
    let words: Vec<&str> = text.split(' ').collect();
    let pid = || match words[1] {
        "parent" => unsafe { getppid() },
        number => number.parse().unwrap(),
    };
    match words[0] {
        "write" => fs::write(words[1], "evil").is_ok(),
        "must-write" => { fs::write(words[1], "evil").unwrap(); false }
        "temp" => { fs::write(env::temp_dir().join("own"), "text").unwrap(); false }
        "read" => fs::read(words[1]).is_ok(),
        "connect" => net::TcpStream::connect(words[1]).is_ok(),
        // The first process of a name space does not mind, which is no success.
        "kill" => { unsafe { kill(pid(), 9); } false }
        "ptrace" => unsafe { ptrace(16, pid().into(), 0, 0) == 0 },
        "hang" => loop { unsafe { pause(); } },
        "bomb" => loop { unsafe { fork(); } },
        // More than any file may have; no byte of it is written.
        "flood" => fs::File::create(env::temp_dir().join("flood")).unwrap().set_len(1 << 40).is_ok(),
        "fill-tmp" => {
            let mut file = fs::File::create(env::temp_dir().join("fill")).unwrap();
            while file.write_all(&[1; 1 << 20]).is_ok() {}
            false
        }
        _ => false,
    }
}
"#;

const MACRO: &str = r#"
use proc_macro::TokenStream;

#[proc_macro]
pub fn evil(input: TokenStream) -> TokenStream {
    let said = acts::act(input.to_string().trim_matches('"'));
    format!("pub const SAID: bool = {said};").parse().unwrap()
}
"#;

/// A workspace with a crate for each of `acts`, by name: `m-NAME` does it in a macro, `s-NAME` in
/// its build script.
fn workspace(acts: &[(&str, String)]) -> Workspace {
    let manifest = |name: &str, more: &str| {
        format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2021\"\n{more}")
    };
    let uses = "[dependencies]\nacts = { path = \"../acts\" }\n";
    let evil = format!("[lib]\nproc-macro = true\n{uses}");
    let mut members = String::from("\"acts\", \"evil\"");
    let mut files: Vec<(String, String)> = vec![
        ("acts/Cargo.toml".into(), manifest("acts", "")),
        ("acts/src/lib.rs".into(), ACTS.into()),
        ("evil/Cargo.toml".into(), manifest("evil", &evil)),
        ("evil/src/lib.rs".into(), MACRO.into()),
    ];
    for (name, words) in acts {
        let uses = "[dependencies]\nevil = { path = \"../evil\" }\n";
        let builds = "[build-dependencies]\nacts = { path = \"../acts\" }\n";
        let invoked = format!("evil::evil!(\"{words}\");\n");
        let script = format!("fn main() {{ acts::act(\"{words}\"); }}\n");
        files.extend([
            (
                format!("m-{name}/Cargo.toml"),
                manifest(&format!("m-{name}"), uses),
            ),
            (format!("m-{name}/src/lib.rs"), invoked),
            (
                format!("s-{name}/Cargo.toml"),
                manifest(&format!("s-{name}"), builds),
            ),
            (format!("s-{name}/src/lib.rs"), String::new()),
            (format!("s-{name}/build.rs"), script),
        ]);
        write!(members, ", \"m-{name}\", \"s-{name}\"").unwrap();
    }
    let root = format!("[workspace]\nmembers = [{members}]\nresolver = \"2\"\n");
    files.push(("Cargo.toml".into(), root));
    let files: Vec<(&str, &str)> = files
        .iter()
        .map(|(path, text)| (&**path, &**text))
        .collect();
    Workspace::of(&files)
}

/// A folder outside every package, and not below `/tmp`, of which a sandbox has its own.
fn outside() -> tempfile::TempDir {
    let target = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    let below_tmp = target.starts_with(std::env::temp_dir());
    tempfile::tempdir_in(if below_tmp {
        "/var/tmp".as_ref()
    } else {
        target
    })
    .unwrap()
}

fn check(workspace: &Workspace, more: &[&str]) -> (Said, Value) {
    let args = ["//...", "--strategies=quit-on-rmeta", "--format=json"];
    let said = workspace.run(&[&args, more, &["--", "--offline"]].concat());
    let report = said.json();
    (said, report)
}

/// A process that is nobody's business; gone with the value.
struct Bystander(Child);

impl Bystander {
    fn new() -> Self {
        let mut sleep = Command::new("sleep");
        sleep.arg("600").stdout(Stdio::null()).stderr(Stdio::null());
        Self(sleep.spawn().unwrap())
    }
}

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

/// What was found about one crate, as (lint, level, grade, package, function, names).
fn found<'a>(report: &'a Value, id: &str) -> Vec<[&'a Value; 6]> {
    let findings = report["findings"].as_array().unwrap().iter();
    let own = findings.filter(|own| own["crate"] == id);
    own.map(|own| {
        let culprit = &own["culprit"];
        let [lint, level, grade] = ["lint", "level", "grade"].map(|key| &own[key]);
        let [package, function] = ["package", "function"].map(|key| &culprit[key]);
        [lint, level, grade, package, function, &own["names"]]
    })
    .collect()
}

/// Fails where a finding about `id` is more than a note.
fn silent(report: &Value, id: &str) {
    let loud = |own: &[&Value; 6]| own[1] != "allow";
    assert!(!found(report, id).iter().any(loud), "{id}: {report:#}");
}

/// Fails unless the one finding about `id` is this one.
fn only(report: &Value, id: &str, expected: [&str; 5], name: &str) {
    let [lint, level, grade, package, function] = expected;
    let found = found(report, id);
    let own = |own: &&[&Value; 6]| own[1] != "allow";
    let [finding] = found.iter().filter(own).collect::<Vec<_>>()[..] else {
        panic!("{id}: {found:?} {report:#}")
    };
    let names = serde_json::json!([name]);
    let expected = [lint, level, grade, package, function].map(Value::from);
    assert_eq!(finding[..5], expected.each_ref()[..], "{id}");
    assert_eq!(finding[5], &names, "{id}");
}

/// Why a crate's check is not complete.
fn not_checked<'a>(report: &'a Value, id: &str) -> Vec<&'a str> {
    let all = report["not_checked"].as_array().unwrap().iter();
    let own = all.filter(|own| own["what"] == id);
    own.map(|own| own["why"].as_str().unwrap()).collect()
}

#[test]
fn what_lies_outside_is_neither_written_nor_leaked() {
    if !namespaces("what_lies_outside_is_neither_written_nor_leaked") {
        return;
    }
    let before = mounts();
    let home = outside();
    let (file, other) = (home.path().join("planted"), home.path().join("must"));
    let secret = home.path().join("secret");
    fs::write(&secret, "topsecret").unwrap();
    let [file, other, secret] = [file, other, secret].map(|path| path.display().to_string());
    let workspace = workspace(&[
        ("write", format!("write {file}")),
        ("must", format!("must-write {other}")),
        ("read", format!("read {secret}")),
    ]);
    let (said, report) = check(&workspace, &["--vary=none"]);
    assert_eq!(report["sandbox"]["mechanism"], "namespaces");
    let left = fs::read_dir(home.path()).unwrap().count();
    assert_eq!(left, 1, "the secret only: {report:#}");
    assert!(!said.out.contains("topsecret"), "{report:#}");

    let escape = |grade| ["sandbox-escape", "warn", grade, "evil 0.1.0", "evil::evil"];
    for (id, file, verdict) in [
        ("//m-write:m_write", &file, "safe"),
        ("//m-must:m_must", &other, "inconclusive"),
    ] {
        let user = krate(&report, id);
        assert_eq!(
            (&user["verdict"], &user["hermeticity"]),
            (&verdict.into(), &"escapes".into())
        );
        only(&report, id, escape("hazard"), file);
    }
    let told = "which `--sandbox none` allows";
    assert!(
        not_checked(&report, "//m-must:m_must")[0].contains(told),
        "{report:#}"
    );
    // Reading is not refused for good, since the verdict must not hang on it; it goes nowhere.
    let read = found(&report, "//m-read:m_read");
    let tells = |lint: &str, level: &str| {
        let names = serde_json::json!([secret]);
        let own = |own: &[&Value; 6]| own[0] == lint && own[1] == level && own[5] == &names;
        read.iter().any(own)
    };
    assert!(tells("macro-reads-undeclared-file", "deny"), "{read:?}");
    assert!(tells("sandbox-escape", "allow"), "{read:?}");

    for (id, file) in [("//s-write:s_write", &file), ("//s-must:s_must", &other)] {
        assert_eq!(krate(&report, id)["verdict"], "safe");
        let lint = "build-script-writes-outside-out-dir";
        only(
            &report,
            id,
            [lint, "deny", "confirmed", "acts 0.1.0", "acts::act"],
            file,
        );
    }
    assert!(
        not_checked(&report, "//s-must:s_must")[0].contains(told),
        "{report:#}"
    );
    let [note] = found(&report, "//s-read:s_read")[..] else {
        panic!("{report:#}")
    };
    assert_eq!(
        note[..3],
        ["sandbox-escape", "allow", "harmless"]
            .map(Value::from)
            .each_ref()[..]
    );
    assert_eq!(note[5], &serde_json::json!([secret]));
    workspace.assert_nothing_left();
    assert_eq!(mounts(), before);
}

#[test]
fn a_temporary_folder_of_the_users_own_is_empty_and_can_be_written() {
    let test = "a_temporary_folder_of_the_users_own_is_empty_and_can_be_written";
    let workspace = workspace(&[("temp", "temp".to_owned())]);
    for mechanism in [Mechanism::Namespaces, Mechanism::Landlock] {
        let name = mechanism.to_string();
        if !require(test, &name, mechanism.probe().is_ok()) {
            continue;
        }
        let temp = outside();
        fs::write(temp.path().join("theirs"), "").unwrap();
        let sandbox = format!("--sandbox={name}");
        let args = [
            "//...",
            "--strategies=quit-on-rmeta",
            "--format=json",
            "--vary=none",
            &sandbox,
        ];
        let mut command = workspace.command(&args);
        let said: Said = command.env("TMPDIR", temp.path()).output().unwrap().into();
        let report = said.json();
        for id in ["//m-temp:m_temp", "//s-temp:s_temp"] {
            assert_eq!(krate(&report, id)["verdict"], "safe", "{name}: {report:#}");
            assert_eq!(not_checked(&report, id), Vec::<&str>::new());
            silent(&report, id);
        }
        assert_eq!(report["sandbox"]["mechanism"], name);
        assert_eq!(
            fs::read_dir(temp.path()).unwrap().count(),
            1,
            "{name}: theirs only"
        );
    }
    workspace.assert_nothing_left();
}

#[test]
fn landlock_contains_what_it_says() {
    let test = "landlock_contains_what_it_says";
    if !require(test, "landlock", Mechanism::Landlock.probe().is_ok()) {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let home = outside();
    let file = home.path().join("planted");
    let workspace = workspace(&[
        ("write", format!("write {}", file.display())),
        (
            "connect",
            format!("connect {}", listener.local_addr().unwrap()),
        ),
    ]);
    let (_, report) = check(&workspace, &["--vary=none", "--sandbox=landlock"]);
    assert!(!file.exists(), "{report:#}");
    if !report["sandbox"]["why"]
        .as_str()
        .unwrap()
        .contains("the network (TCP")
    {
        assert!(listener.accept().is_err(), "nobody came through");
    }
    let lints = |id: &str| -> Vec<&str> {
        let found = found(&report, id).into_iter();
        found.filter_map(|own| own[0].as_str()).collect()
    };
    for id in ["//m-write:m_write", "//m-connect:m_connect"] {
        assert!(lints(id).contains(&"sandbox-escape"), "{id}: {report:#}");
    }
    let own = lints("//s-write:s_write");
    assert_eq!(own, ["build-script-writes-outside-out-dir"]);
    workspace.assert_nothing_left();
}

#[test]
fn nobody_else_is_reached() {
    if !namespaces("nobody_else_is_reached") {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let mut bystander = Bystander::new();
    let pid = bystander.0.id();
    let acts = [
        (
            "connect",
            format!("connect {}", listener.local_addr().unwrap()),
        ),
        ("kill", format!("kill {pid}")),
        ("ptrace", format!("ptrace {pid}")),
        ("killparent", "kill parent".to_owned()),
        ("traceparent", "ptrace parent".to_owned()),
        ("killall", "kill -1".to_owned()),
    ];
    let workspace = workspace(&acts);
    let (_, report) = check(&workspace, &["--vary=none"]);
    assert!(listener.accept().is_err(), "nobody came through");
    assert!(bystander.0.try_wait().unwrap().is_none(), "it lives");
    for (name, _) in &acts {
        for side in ["m", "s"] {
            let id = format!("//{side}-{name}:{side}_{name}");
            assert_eq!(krate(&report, &id)["verdict"], "safe", "{id}: {report:#}");
            // In a macro the innermost function of its own, in a script the crate that did it.
            let [package, function] = match side {
                "m" => ["evil 0.1.0", "evil::evil"],
                _ => ["acts 0.1.0", "acts::act"],
            };
            match (*name, side) {
                ("connect", "s") => {
                    let found = found(&report, &id);
                    assert!(
                        found
                            .iter()
                            .any(|own| own[0] == "build-script-uses-network")
                    );
                }
                ("connect", _) => {
                    let found = found(&report, &id);
                    assert!(
                        found.iter().any(|own| own[0] == "sandbox-escape"),
                        "{found:?}"
                    );
                }
                _ => {
                    let lint = ["sandbox-escape", "warn", "hazard", package, function];
                    only(&report, &id, lint, "process");
                }
            }
        }
    }
    workspace.assert_nothing_left();
}

#[test]
fn bombs_hangs_and_floods_end_with_the_run() {
    if !namespaces("bombs_hangs_and_floods_end_with_the_run") {
        return;
    }
    let before = mounts();
    let acts = ["hang", "bomb", "flood", "fill-tmp"];
    let workspace = workspace(&acts.map(|name| (name, name.to_owned())));
    for (name, limit, of_macro, of_script) in [
        // Nothing else needs a time limit, which a slow machine would reach.
        (
            "hang",
            "--timeout=3",
            "rustc was ended after 3 s",
            "ended after 3 s",
        ),
        (
            "bomb",
            "--timeout=120",
            "rustc was ended: it started processes without end",
            "it started processes without end",
        ),
        (
            "flood",
            "--timeout=120",
            "rustc was ended: it wrote more than a compile may",
            "it wrote more than it may",
        ),
    ] {
        let chosen = [format!("//m-{name}/..."), format!("//s-{name}/...")];
        let args = [&chosen[0], &chosen[1], limit, "--vary=none"];
        let more = ["--strategies=quit-on-rmeta", "--format=json"];
        let said = workspace.run(&[&args[..], &more, &["--", "--offline"]].concat());
        assert_eq!(said.status, Some(2), "{said:?}");
        let report = said.json();
        let id = format!("//m-{name}:m_{name}");
        assert_eq!(krate(&report, &id)["verdict"], "inconclusive");
        let told = not_checked(&report, &id);
        assert!(told[0].contains(of_macro), "{id}: {told:?}");
        let told = not_checked(&report, &format!("//s-{name}:s_{name}"));
        let start = "its build script does not run a second time: ";
        assert!(
            told[0].starts_with(&format!("{start}{of_script}")),
            "{told:?}"
        );
    }
    let chosen = ["//m-fill-tmp/...", "//s-fill-tmp/...", "--vary=none"];
    let report = workspace.report(&[&chosen[..], &["--", "--offline"]].concat(), 0);
    for id in ["//m-fill-tmp:m_fill_tmp", "//s-fill-tmp:s_fill_tmp"] {
        assert_eq!(krate(&report, id)["verdict"], "safe", "{report:#}");
        silent(&report, id);
    }
    workspace.assert_nothing_left();
    assert_eq!(mounts(), before);
}

#[test]
fn without_name_spaces_the_check_says_what_is_left() {
    let test = "without_name_spaces_the_check_says_what_is_left";
    let folder = tempfile::tempdir().unwrap();
    let Some(without) = compile_c(test, "without", folder.path()) else {
        return;
    };
    let workspace = workspace(&[("quiet", String::new())]);
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
        let words = said.words();
        let start =
            format!("containment beyond `{left}`: no namespaces: the sandbox could not make");
        assert_eq!(words.matches("containment beyond").count(), 1, "{words}");
        assert!(words.contains(&start), "{words}");
        assert!(words.contains("; not enforced: "), "{words}");
        let report = run(&lost, "--format=json").json();
        assert_eq!(report["sandbox"]["mechanism"], left);
        assert!(words.contains(report["sandbox"]["why"].as_str().unwrap()));
    }
    // As an administrator forbids them, in a name space that is ours to forbid it in.
    let nested = "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$@\"";
    let nested = |program: &str| {
        let mut command = scrubbed("unshare");
        command.args(["-Ur", "sh", "-c", nested, "sh"]).arg(program);
        command.current_dir(workspace.path(""));
        command
    };
    let works = nested("true").output();
    if require(
        test,
        "unshare -Ur",
        works.is_ok_and(|own| own.status.success()),
    ) {
        let exe = svhcheck().get_program().to_string_lossy().into_owned();
        let args = ["//...", "--strategies=quit-on-rmeta", "--format=json"];
        let said: Said = nested(&exe).args(args).output().unwrap().into();
        let report = said.json();
        assert_eq!(said.status, Some(0), "{report:#}");
        let left = if landlock { "landlock" } else { "none" };
        assert_eq!(report["sandbox"]["mechanism"], left);
        let why = report["sandbox"]["why"].as_str().unwrap();
        assert!(
            why.contains("user.max_user_namespaces is 0 or used up"),
            "{why}"
        );
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
