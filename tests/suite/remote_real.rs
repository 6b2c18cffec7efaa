//! A real Bazel on a real cluster: `BuildGrid` with a buildbox worker (`.ci/buildgrid`), and the aspect in
//! Bazel's own sandbox and on that cluster. The same targets are named each time.

use std::io::BufRead;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::bazel::{self, PLANTED, denied, guilty};
use crate::support;
use crate::workspace::krate;

/// A cluster. Ends with the value.
struct Cluster {
    child: Child,
    port: u16,
}

impl Cluster {
    fn start(server: &Path, root: &Path) -> Self {
        // Below those that the system gives to whoever asks for any: other tests do.
        let first = 20_000 + u16::try_from(std::process::id() % 10_000).unwrap();
        let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
        let port = (first..32_000).find(free).unwrap();
        let mut child = Command::new(support::root().join(".ci/buildgrid"))
            .arg("serve")
            .args([server, root])
            .arg(port.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "the cluster does not come up");
        Self { child, port }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let id = Pid::from_raw(self.child.id().try_into().unwrap());
        let _ = kill(id, Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

/// The server, if tests may use it.
fn server() -> Option<PathBuf> {
    let given = std::env::var_os("SVHCHECK_BUILDGRID").map(PathBuf::from);
    if given.as_deref() == Some(Path::new("unavailable")) {
        eprintln!("skipped: remote_real needs BuildGrid, which could not be had");
        return None;
    }
    let server = given.unwrap_or_else(|| support::root().join("target/buildgrid"));
    let there = server.join("bin/bgd").exists();
    let what = "BuildGrid made by `.ci/buildgrid make target/buildgrid target/bazel-root`";
    support::require("remote_real", what, there).then_some(server)
}

/// What runs inside; PORT is the cluster's.
const STEPS: &str = r#"
cluster="--bazel-flag=--remote_executor=grpc://127.0.0.1:PORT"
platform="--bazel-flag=--remote_default_exec_properties=OSFamily=linux"
strategies=--strategies=full,quit-on-rmeta
json remote //... --engine=remote --remote-executor=grpc://127.0.0.1:PORT "$platform"
json remote-pipelined //... "$pipelined" --engine=remote --remote-executor=grpc://127.0.0.1:PORT "$platform"
json aspect //... --engine=bazel-aspect "$strategies"
json aspect-pipelined //... "$pipelined" --engine=bazel-aspect "$strategies"
json on-cluster //libs:squares --engine=bazel-aspect "$strategies" --vary=none "$cluster" "$platform"
# As a user would have it in every build.
mkdir tools
cp -r "$ASPECT" tools/svhcheck
cp "$SVHCHECK" tools/svhcheck/
step validation bazel build --aspects=//tools/svhcheck:svhcheck.bzl%svhcheck //libs:squares
"#;

/// What a report says first about a crate.
fn finding<'a>(report: &'a Value, id: &str) -> &'a Value {
    let mut findings = report["findings"].as_array().unwrap().iter();
    findings.find(|own| own["crate"] == id).unwrap()
}

/// That `planted` are guilty and no others, and that their dependent is a warning.
fn expect(name: &str, report: &Value, planted: &[&str]) {
    let planted = planted.iter().copied().collect();
    assert_eq!(guilty(report), planted, "{name}: {report:#}");
    assert_eq!(denied(report), planted, "{name}: {report:#}");
    assert_eq!(krate(report, "//libs:area")["verdict"], "infected");
    assert_eq!(finding(report, "//libs:area")["level"], "warn");
}

#[test]
fn aspect_and_cluster_name_the_planted_targets_and_no_other() {
    let Some(root) = bazel::system("remote_real") else {
        return;
    };
    let Some(server) = server() else { return };
    let cluster = Cluster::start(&server, &root);
    let done = bazel::run(&root, &STEPS.replace("PORT", &cluster.port.to_string()));
    drop(cluster);

    // A worker lays every action out in another folder, so the macro that embeds it shows. The file
    // of the machine is the same for all actions of one worker.
    for name in ["remote", "remote-pipelined"] {
        let report = done.report(name);
        expect(name, &report, &["//libs:folder", "//libs:squares"]);
        assert_eq!(
            finding(&report, "//libs:folder")["culprit"]["package"],
            "//macros:cwd"
        );
        let said = done.said(name).err;
        assert!(said.contains("note: the cluster ran "), "{said}");
    }
    for name in ["aspect", "aspect-pipelined"] {
        let report = done.report(name);
        expect(name, &report, &PLANTED);
        let squares = finding(&report, "//libs:squares");
        assert_eq!(squares["factor"], "randomness");
        assert_eq!(squares["culprit"]["package"], "//macros:hash");
        // Bazel's sandbox allows one of our own within it.
        let unconfined = "without the sandbox";
        let left = report["not_checked"].to_string();
        assert!(!left.contains(unconfined), "{name}: {report:#}");
    }
    let report = done.report("on-cluster");
    assert!(guilty(&report).contains("//libs:squares"), "{report:#}");

    let failed = done.said("validation");
    assert_eq!(failed.status, Some(1), "{failed:?}");
    // Bazel shows what an action printed where it was printed.
    let text = "//libs:squares: its SVH depends on randomness";
    assert!(failed.out.contains(text), "{failed:?}");
    // The action knows the macro's label by itself.
    let culprit = "proc macro //macros:hash, hash::constants";
    assert!(failed.out.contains(culprit), "{failed:?}");
}
