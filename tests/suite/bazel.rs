//! A real Bazel with rules_rust, in a throw-away Debian of its own (`.ci/bazel-root`): the fixture
//! workspace is checked for free and by replay, plain and pipelined, and what goes wrong is said.
//!
//! Starting Bazel and building take most of the time, so one entry into that system does everything
//! and the tests' questions are asked of what it left.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support;
use crate::workspace::{Said, Workspace, krate, verdicts};

/// What every script inside begins with. Each step leaves what it said and how it ended.
const PRELUDE: &str = r#"
out=$1
step() {
    name=$1; shift
    "$@" >"$out/$name.out" 2>"$out/$name.err" </dev/null && status=0 || status=$?
    echo "$status" >"$out/$name.status"
}
svhcheck() { name=$1; shift; step "$name" "$SVHCHECK" --jobs=2 "$@"; }
json() { name=$1; shift; svhcheck "$name" --format=json "$@"; }
pipelined=--bazel-flag=--config=pipelined
"#;

/// What runs inside.
const STEPS: &str = r#"
# The server is killed while it builds.
svhcheck killed //... &
until ls "$HOME"/.cache/bazel/*/*/svhcheck/scratch-* >/dev/null 2>&1; do sleep 0.1; done
sleep 1
kill -9 "$(cat "$HOME"/.cache/bazel/*/*/server/server.pid.txt)"
wait

# Interrupted in all that Bazel does; what comes then would wait for a server that it left hanging.
for pause in 0.1 0.4 0.7 1 2; do
    "$SVHCHECK" //... >/dev/null 2>"$out/interrupted.err" </dev/null &
    sleep $pause
    kill -INT $! && wait $! && status=0 || status=$?
    echo "$status" >>"$out/interrupted"
done

step e0460 bazel build --config=pipelined //app:app
json free //... "$pipelined" --engine=free
json pipelined //... "$pipelined"
step parity "$SVHCHECK" parity //... "$pipelined" --verbose
step noparity "$SVHCHECK" parity //...
svhcheck off //... --engine=free
json plain //... --no-deps
cd app
svhcheck inner ... -//app:clean --strategies=full --verbose
cd ..
svhcheck nothing //no/such:target
svhcheck norust //toolchain:rust
svhcheck cargo //... -- --release
PATH=$(dirname "$(command -v rustc)") step nobazel "$SVHCHECK" //...
svhcheck badflag //... --bazel-flag=--no_such_flag
echo 'syntax error' >>app/lib.rs
svhcheck broken //app/...
find "$HOME"/.cache/bazel/*/*/svhcheck -maxdepth 1 -name 'scratch-*' >"$out/left"
"#;

/// What the steps left.
pub(crate) struct Done {
    _workspace: Workspace,
    pub(crate) folder: tempfile::TempDir,
}

impl Done {
    pub(crate) fn said(&self, name: &str) -> Said {
        let read = |kind: &str| {
            let path = self.folder.path().join(format!("{name}.{kind}"));
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}.{kind}: {error}"))
        };
        Said {
            out: read("out"),
            err: read("err"),
            status: read("status").trim().parse().ok(),
        }
    }

    pub(crate) fn report(&self, name: &str) -> Value {
        let said = self.said(name);
        assert_eq!(said.status, Some(1), "{said:?}");
        said.json()
    }
}

/// The throw-away system, if tests may use it.
pub(crate) fn system(test: &str) -> Option<PathBuf> {
    let given = std::env::var_os("SVHCHECK_BAZEL_ROOT").map(PathBuf::from);
    if given.as_deref() == Some(Path::new("unavailable")) {
        eprintln!("skipped: {test} needs Debian packages that could not be had");
        return None;
    }
    let root = given.unwrap_or_else(|| support::root().join("target/bazel-root"));
    let there = nix::unistd::geteuid().is_root() && root.join(".complete").exists();
    let what = "root and a Bazel made by `.ci/bazel-root make target/bazel-root`";
    support::require(test, what, there).then_some(root)
}

/// Runs `steps` in the fixture's workspace within that system.
pub(crate) fn run(root: &Path, steps: &str) -> Done {
    let workspace = Workspace::fixture("bazel");
    // Beside the workspace: `//...` would take in what Bazel keeps in a home within it.
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    fs::create_dir(&home).unwrap();
    let sysroot = support::scrubbed("rustc")
        .args(["--print", "sysroot"])
        .output()
        .unwrap();
    let sysroot = PathBuf::from(String::from_utf8(sysroot.stdout).unwrap().trim());
    let binary = Path::new(env!("CARGO_BIN_EXE_svhcheck"));
    let aspect = support::root().join("src/bazel");
    let status = Command::new(support::root().join(".ci/bazel-root"))
        .arg("run")
        .args([root, &sysroot, binary, &aspect])
        .args([folder.path(), &workspace.path("")])
        .args(["--", "env", "-i"])
        .arg(format!("PATH={}/bin:/usr/bin:/bin", sysroot.display()))
        .arg(format!("HOME={}", home.display()))
        .arg(format!("SVHCHECK={}", binary.display()))
        .arg(format!("ASPECT={}", aspect.display()))
        .args([
            "USER=root",
            "bash",
            "-uc",
            &format!("{PRELUDE}{steps}"),
            "bash",
        ])
        .arg(folder.path())
        .env("FOLDER", workspace.path(""))
        .status()
        .unwrap();
    assert!(status.success(), "{status}");
    Done {
        _workspace: workspace,
        folder,
    }
}

/// Crates with a verdict of their own that is not `safe`.
pub(crate) fn guilty(report: &Value) -> BTreeSet<&str> {
    let verdicts = verdicts(report).into_iter();
    verdicts
        .filter(|(_, verdict)| !["safe", "infected"].contains(verdict))
        .map(|(id, _)| id)
        .collect()
}

/// Crates with a finding that fails the check.
pub(crate) fn denied(report: &Value) -> BTreeSet<&str> {
    let findings = report["findings"].as_array().unwrap().iter();
    findings
        .filter(|own| own["level"] == "deny")
        .map(|own| own["crate"].as_str().unwrap())
        .collect()
}

pub(crate) const PLANTED: [&str; 3] = ["//libs:folder", "//libs:release", "//libs:squares"];

#[test]
fn the_planted_targets_are_named_and_no_other() {
    let Some(root) = system("bazel") else { return };
    let done = run(&root, STEPS);

    let interrupted = fs::read_to_string(done.folder.path().join("interrupted")).unwrap();
    assert_eq!(interrupted, "130\n".repeat(5));

    // What a pipelined build says by itself: the fault of a program that has none.
    let failed = done.said("e0460");
    assert_eq!(failed.status, Some(1), "{failed:?}");
    assert!(failed.err.contains("E0460"), "{failed:?}");
    assert!(failed.err.contains("//app:app"), "{failed:?}");

    // For free: what two processes made differently. An undeclared file is the same for both.
    let report = done.report("free");
    assert_eq!(
        guilty(&report),
        ["//libs:folder", "//libs:squares"].into(),
        "{report:#}"
    );
    assert_eq!(krate(&report, "//libs:area")["verdict"], "infected");
    assert_eq!(denied(&report), ["//libs:folder", "//libs:squares"].into());
    let pair = &krate(&report, "//libs:squares")["strategies"]["quit-on-rmeta"]["svh"];
    assert_ne!(pair[0], pair[1]);
    let off = done.said("off");
    assert!(
        off.failed("nothing to compare for free")
            .contains("pipelined_compilation"),
        "{off:?}"
    );

    // Without a build: the rules give both actions of each crate one command line.
    let parity = done.said("parity");
    assert_eq!(parity.status, Some(0), "{parity:?}");
    assert!(parity.out.contains("//libs:squares"), "{parity:?}");
    let line = done.said("noparity");
    let line = line.failed("nothing to compare");
    assert!(line.contains("pipelined_compilation=True"), "{line}");

    // By replay, in the pipelined build that fails and in the plain one that does not.
    for name in ["pipelined", "plain"] {
        let report = done.report(name);
        assert_eq!(guilty(&report), PLANTED.into(), "{name}: {report:#}");
        assert_eq!(denied(&report), PLANTED.into(), "{name}: {report:#}");
        let finding = |id: &str| -> &Value {
            let findings = report["findings"].as_array().unwrap();
            let mut found = findings
                .iter()
                .filter(|own| own["crate"] == id && own["level"] == "deny");
            let first = found
                .next()
                .unwrap_or_else(|| panic!("no finding about {id}"));
            assert!(found.next().is_none(), "{name}: two faults of {id}");
            first
        };
        let folder = finding("//libs:folder");
        assert_eq!(folder["factor"], "build-path");
        assert_eq!(folder["culprit"]["package"], "//macros:cwd");
        let release = finding("//libs:release");
        assert_eq!(release["lint"], "macro-reads-undeclared-file");
        assert_eq!(release["names"][0], "/etc/debian_version");
        let squares = finding("//libs:squares");
        assert_eq!(squares["factor"], "randomness");
        assert_eq!(squares["culprit"]["package"], "//macros:hash");
        assert_eq!(squares["culprit"]["function"], "hash::constants");
        let help = squares["help"].as_str().unwrap();
        assert!(
            help.ends_with(
                "`disable_pipelining = True` in the rule `//libs:squares` (libs/BUILD.bazel) \
                 (1 target that links it would meet E0460)"
            ),
            "{help}"
        );
    }
    let report = done.report("plain");
    let all = [
        ("//app:app_lib", "safe"),
        ("//libs:area", "infected"),
        ("//libs:folder", "nondeterministic"),
        ("//libs:leaf", "safe"),
        ("//libs:release", "nondeterministic"),
        ("//libs:squares", "nondeterministic"),
        ("//macros:cwd", "safe"),
        ("//macros:cwd [for tool]", "safe"),
        ("//macros:hash", "safe"),
        ("//macros:hash [for tool]", "safe"),
        ("//macros:host_file", "safe"),
        ("//macros:host_file [for tool]", "safe"),
        ("//macros:tidy", "safe"),
        ("//macros:tidy [for tool]", "safe"),
        ("//script:script", "safe"),
    ];
    assert_eq!(verdicts(&report), all);

    // From a folder of the workspace, with patterns that only Bazel reads.
    let inner = done.said("inner");
    assert_eq!(inner.status, Some(0), "{inner:?}");
    assert!(inner.out.contains("//app:app_lib"), "{inner:?}");
    assert!(!inner.out.contains("//app:clean"), "{inner:?}");

    // What goes wrong ends with a line that says what to do, and with nothing left.
    let killed = done.said("killed");
    assert!(
        killed.failed("`bazel ").contains("run svhcheck again"),
        "{killed:?}"
    );
    for (name, error, next) in [
        (
            "nothing",
            "no target matches `//no/such:target`",
            "no such package",
        ),
        ("norust", "nothing to check: no Rust library", "bazel query"),
        (
            "cargo",
            "what stands behind `--` is for Cargo",
            "--bazel-flag",
        ),
        (
            "nobazel",
            "this is a Bazel workspace, and there is no",
            "--bazel PATH",
        ),
        ("badflag", "`bazel info` failed", "no_such_flag"),
        ("broken", "the build fails", "above"),
    ] {
        let said = done.said(name);
        let line = said.failed(error);
        assert!(line.contains(next), "{name}: {line}");
        assert_eq!(line.trim_end().lines().count(), 1, "{name}: {line}");
    }
    assert_eq!(
        fs::read_to_string(done.folder.path().join("left")).unwrap(),
        ""
    );
}
