//! Sandboxes: honest programs work in them, as root and as an ordinary user, and what they are is
//! said.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio as StdStdio;
use std::time::Duration;

use svhcheck::sandbox::{Limits, Mechanism, Policy, Sandbox, SandboxError};
use svhcheck::trace::{Access, Command, Outcome, Status, Stdio, Trace, TraceError};

use crate::support::{require, scrubbed, svhcheck, sysroot_libs};
use crate::trace::compile_c;

/// A fresh tree: what may be read, what may be written, what must not be reached.
pub(crate) struct Ground {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) base: PathBuf,
}

impl Ground {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().canonicalize().unwrap();
        for name in ["src", "out", "home"] {
            fs::create_dir(base.join(name)).unwrap();
        }
        fs::write(base.join("secret"), "planted").unwrap();
        Self { folder, base }
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.base.join(name)
    }

    pub(crate) fn policy(&self) -> Policy {
        let mut read = Policy::system_paths();
        read.push(self.at("src"));
        Policy {
            read,
            write: vec![self.at("out")],
            network: false,
            private_tmp: true,
            temp: None,
            limits: Limits::default(),
        }
    }

    /// Runs a program in a sandbox, in `out`; what it said is in the file `said`.
    pub(crate) fn run(&self, sandbox: &Sandbox, program: &Path, words: &[&str]) -> Trace {
        self.command(sandbox, program, words).run().unwrap()
    }

    pub(crate) fn command(&self, sandbox: &Sandbox, program: &Path, words: &[&str]) -> Command {
        Command::new(program)
            .args(words)
            .envs([("PATH", "/usr/bin:/bin")])
            .current_dir(self.at("out"))
            .stdin(Stdio::Null)
            .stdout(Stdio::File(File::create(self.at("said")).unwrap()))
            .timeout(Duration::from_secs(60))
            .enter(sandbox.clone())
    }

    fn said(&self) -> String {
        fs::read_to_string(self.at("said")).unwrap()
    }

    /// What the hostile program said, by attempt.
    pub(crate) fn attempts(&self) -> BTreeMap<String, String> {
        let said = self.said();
        let lines = said.lines().filter_map(|line| line.split_once(": "));
        lines
            .map(|(name, result)| (name.to_owned(), result.to_owned()))
            .collect()
    }
}

/// The sandbox, if this machine has the mechanism.
pub(crate) fn sandbox(test: &str, mechanism: Mechanism, policy: &Policy) -> Option<Sandbox> {
    let there = mechanism.probe().is_ok();
    require(test, &mechanism.to_string(), there)
        .then(|| Sandbox::prepare(mechanism, policy).unwrap())
}

#[test]
fn rustc_sees_its_toolchain_and_sources_and_nothing_else() {
    let test = "rustc_sees_its_toolchain_and_sources_and_nothing_else";
    let sysroot = sysroot_libs().pop().unwrap();
    let rustc = sysroot.join("bin/rustc");
    for mechanism in [Mechanism::Namespaces, Mechanism::Landlock] {
        let ground = Ground::new();
        let source = ground.at("src/main.rs");
        fs::write(
            &source,
            "fn main() { println!(\"{}\", include_str!(\"word\")) }",
        )
        .unwrap();
        fs::write(ground.at("src/word"), "hello").unwrap();
        let mut policy = ground.policy();
        policy.read.push(sysroot.clone());
        let Some(sandbox) = sandbox(test, mechanism, &policy) else {
            continue;
        };
        let tmp = ground.at("out").into_os_string().into_string().unwrap();
        let program = ground.at("out/main");
        let words = ["-C", "codegen-units=1", "-o"];
        let trace = ground
            .command(&sandbox, &rustc, &words)
            .args([&program, &source])
            .envs([("TMPDIR", &tmp)])
            .run()
            .unwrap();
        assert_eq!(trace.status, Status::Exited(0), "{mechanism}");
        let output = std::process::Command::new(&program).output().unwrap();
        assert_eq!(output.stdout, b"hello\n");

        // The record has the paths that the user knows, and what was missed.
        let reads = |path: &Path| {
            let mut opened = trace
                .events
                .iter()
                .filter(|event| event.outcome.succeeded());
            opened.any(|event| match &event.access {
                Access::Open { path: seen, .. } => seen.place() == path,
                _ => false,
            })
        };
        assert!(
            reads(&source) && reads(&ground.at("src/word")),
            "{mechanism}"
        );
        assert_eq!(trace.processes[0].parent, None);
        assert_eq!(trace.blind_spots, [], "{mechanism}");

        // An undeclared input is an error of the compile, and in the record.
        fs::write(
            &source,
            "fn main() { println!(\"{}\", include_str!(\"../secret\")) }",
        )
        .unwrap();
        let trace = ground
            .command(&sandbox, &rustc, &words)
            .args([&program, &source])
            .envs([("TMPDIR", &tmp)])
            .stderr(Stdio::Null)
            .run()
            .unwrap();
        assert_eq!(trace.status, Status::Exited(1), "{mechanism}");
        let wanted = ground.at("src/../secret");
        let missed = trace.events.iter().find(|event| {
            event
                .access
                .path()
                .is_some_and(|path| path.absolute == wanted)
                && !event.outcome.succeeded()
        });
        let errno = match mechanism {
            Mechanism::Namespaces => nix::libc::ENOENT,
            _ => nix::libc::EACCES,
        };
        assert_eq!(missed.unwrap().outcome, Outcome::Failed(errno));
    }
}

#[test]
fn what_cannot_be_entered_says_which_step() {
    let test = "what_cannot_be_entered_says_which_step";
    let ground = Ground::new();
    let mut policy = ground.policy();
    let gone = ground.at("src/gone");
    fs::write(&gone, "").unwrap();
    policy.write = vec![gone.clone()];
    let Some(sandbox) = sandbox(test, Mechanism::Namespaces, &policy) else {
        return;
    };
    fs::remove_file(&gone).unwrap();
    let error = ground
        .command(&sandbox, Path::new("/bin/true"), &[])
        .run()
        .unwrap_err();
    let TraceError::Enter { source, .. } = error else {
        panic!("{error}")
    };
    let error: &SandboxError = source.downcast_ref().unwrap();
    let said = error.to_string();
    let start = format!("the sandbox could not mount {} on /", gone.display());
    assert!(said.starts_with(&start), "{said}");

    policy.write = vec![ground.at("nowhere")];
    let error = Sandbox::prepare(Mechanism::None, &policy);
    assert!(error.is_ok(), "nothing is enforced");
    let error = Sandbox::prepare(Mechanism::Landlock, &policy).unwrap_err();
    assert!(matches!(error, SandboxError::Path { .. }), "{error}");
}

/// A copy of svhcheck that every user may execute.
pub(crate) fn public_svhcheck(ground: &Ground) -> PathBuf {
    let open = fs::Permissions::from_mode(0o755);
    fs::set_permissions(&ground.base, open).unwrap();
    let copy = ground.at("src/svhcheck");
    fs::copy(svhcheck().get_program(), &copy).unwrap();
    copy
}

#[test]
fn an_ordinary_user_needs_no_privileges() {
    let test = "an_ordinary_user_needs_no_privileges";
    let root = nix::unistd::geteuid().is_root();
    if !require(test, "root, to become somebody else", root) {
        return;
    }
    let ground = Ground::new();
    let program = public_svhcheck(&ground);
    let out = ground.at("out");
    std::os::unix::fs::chown(&out, Some(65534), Some(65534)).unwrap();
    for mechanism in ["namespaces", "landlock"] {
        let output = scrubbed("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
            .arg(&program)
            .args([
                "trace",
                "-o",
                "/dev/null",
                "--sandbox",
                mechanism,
                "--write",
            ])
            .arg(&out)
            .args(["--", "/bin/sh", "-c"])
            .arg(
                "id -u; echo new > file; cat ../secret; cat ../src/svhcheck; echo x > /tmp/../evil",
            )
            .current_dir(&out)
            .output()
            .unwrap();
        let refused = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{mechanism}: {refused}");
        assert_eq!(output.stdout, b"65534\n", "{mechanism}: {refused}");
        assert_eq!(fs::read_to_string(out.join("file")).unwrap(), "new\n");
        let reasons = match mechanism {
            "namespaces" => [
                "secret: No such file",
                "svhcheck: No such file",
                "Read-only",
            ],
            _ => [
                "secret: Permission denied",
                "svhcheck: Permission denied",
                "evil: Permission",
            ],
        };
        for part in reasons {
            assert!(
                refused.contains(part),
                "{mechanism}: no `{part}` in {refused}"
            );
        }
    }
}

/// The lines that svhcheck itself said, of what a run printed on standard error.
fn warnings(output: &std::process::Output) -> Vec<String> {
    let text = String::from_utf8_lossy(&output.stderr);
    let lines = text.lines().filter(|line| line.contains("sandbox:"));
    lines.map(str::to_owned).collect()
}

#[test]
fn without_name_spaces_one_line_says_what_is_left() {
    let test = "without_name_spaces_one_line_says_what_is_left";
    let ground = Ground::new();
    let Some(without) = compile_c(test, "without", &ground.at("src")) else {
        return;
    };
    let svhcheck = svhcheck().get_program().to_owned();
    let run = |command: &mut std::process::Command| {
        command
            .arg(&svhcheck)
            .args(["trace", "-o", "/dev/null", "--sandbox", "auto", "--write"])
            .arg(ground.at("out"))
            .args(["--", "/bin/sh", "-c", "cat ../secret || echo kept"])
            .current_dir(ground.at("out"))
            .output()
            .unwrap()
    };

    let landlock = Mechanism::Landlock.probe().is_ok();
    if require(test, "landlock", landlock) {
        // As a container does it, and as an administrator does it.
        let output = run(scrubbed(&without).args(["namespaces", "--"]));
        let [line] = warnings(&output).try_into().unwrap();
        let start = "warning: sandbox: landlock; no namespaces: the sandbox could not make name \
                     spaces: user namespaces are forbidden here";
        assert!(line.starts_with(start), "{line}");
        assert!(line.contains("; not enforced: "), "{line}");
        assert_eq!(output.stdout, b"kept\n");

        let spaces = Mechanism::Namespaces.probe().is_ok();
        if require(test, "user namespaces", spaces) {
            let none = "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$0\" \"$@\"";
            let output = run(scrubbed("unshare").args(["-Ur", "sh", "-c", none]));
            let [line] = warnings(&output).try_into().unwrap();
            assert!(line.contains("landlock; no namespaces: "), "{line}");
            assert!(
                line.contains("max_user_namespaces is 0 or used up (ENOSPC)"),
                "{line}"
            );
            assert_eq!(output.stdout, b"kept\n");
        }
    }

    let output = run(scrubbed(&without).args(["namespaces", "landlock", "--"]));
    let [line] = warnings(&output).try_into().unwrap();
    assert!(
        line.starts_with("warning: sandbox: none; no namespaces: "),
        "{line}"
    );
    assert!(line.contains("; no landlock: "), "{line}");
    assert!(line.ends_with("; not enforced: anything"), "{line}");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn the_shell_lines_repeat_a_run_by_hand() {
    let test = "the_shell_lines_repeat_a_run_by_hand";
    let ground = Ground::new();
    let odd = ground.at("src/it's odd");
    fs::write(&odd, "").unwrap();
    std::os::unix::fs::symlink("it's odd", ground.at("src/link")).unwrap();
    let mut policy = ground.policy();
    policy.read.retain(|path| !path.starts_with(&ground.base));
    policy.read.push(ground.at("src/link"));
    policy.limits.file_size = Some(1 << 30);
    let look = "id -u; ls .. ../src /; cat ../secret; echo x >../evil && rm ../evil; echo y >made && rm made";
    for mechanism in [Mechanism::Namespaces, Mechanism::Landlock, Mechanism::None] {
        if mechanism != Mechanism::None && sandbox(test, mechanism, &policy).is_none() {
            continue;
        }
        let sandbox = Sandbox::prepare(mechanism, &policy).unwrap();
        let shell = ["-c", look, "sh"];
        ground
            .command(&sandbox, Path::new("/bin/sh"), &shell)
            .stderr(Stdio::Null)
            .run()
            .unwrap();
        let script = ground.at("command.sh");
        let mut lines = sandbox.shell_lines();
        lines.push("sandboxed /bin/sh \"$@\"\n");
        fs::write(&script, lines.as_encoded_bytes()).unwrap();
        let output = scrubbed("sh")
            .arg(&script)
            .args(shell)
            .env("SVHCHECK", svhcheck().get_program())
            .current_dir(ground.at("out"))
            .stdin(StdStdio::null())
            .output()
            .unwrap();
        let by_hand = String::from_utf8_lossy(&output.stdout);
        assert_eq!(by_hand, ground.said(), "{mechanism}");
    }
}
