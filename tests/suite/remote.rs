//! `--engine remote` against a cluster that does as told, behind a Bazel that has built already: what
//! is asked of the cluster, what is said of crates, and what is said when something is wrong.

use std::time::{Duration, Instant};

use bazel_remote_apis::build::bazel::remote::execution::v2 as api;
use prost::Message;
use serde_json::{Value, json};

use crate::cluster::{Cluster, Mood, Running, digest};
use crate::support;
use crate::workspace::{Said, Workspace};

/// Answers like Bazel, and leaves what a build would have left.
const BAZEL: &str = r#"#!/bin/sh
here=$(dirname "$0")
echo "$@" >>"$here/calls"
for arg; do
    case "$arg" in
    info) printf 'execution_root: %s/out\noutput_base: %s/base\nworkspace: %s\n' "$here" "$here" "$here" ;;
    --build_event_json_file=*) cp "$here/events" "${arg#*=}" ;;
    --execution_log_compact_file=*) cp "$here/log" "${arg#*=}" ;;
    esac
done
"#;

/// A crate, by what of the world moves it.
struct Build {
    workspace: Workspace,
    cluster: Running,
}

/// Two artifacts of one crate with two SVHs.
fn artifacts() -> [Vec<u8>; 2] {
    ["1.95", "1.96"].map(|release| {
        let path = format!("fixtures/_artifacts/{release}/libgolden-g.rlib");
        std::fs::read(support::root().join(path)).unwrap()
    })
}

/// A build of one library for each kind.
fn build(mood: Mood, kinds: &[&str]) -> Build {
    let workspace = Workspace::of(&[("MODULE.bazel", ""), ("bazel", BAZEL)]);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(workspace.path("bazel"), mode).unwrap();
    let cluster = Cluster::start(mood);
    let blobs = artifacts().map(|data| cluster.cluster.put(data));
    let mut log = String::new();
    let mut children = Vec::new();
    for kind in kinds {
        let label = format!("//:{kind}");
        let path = format!("bazel-out/k8/bin/lib{kind}.rlib");
        let command = api::Command {
            arguments: ["make", kind, &blobs[0].hash, &blobs[1].hash]
                .map(str::to_owned)
                .into(),
            output_paths: vec![path.clone()],
            ..Default::default()
        };
        let platform = api::platform::Property {
            name: "OSFamily".to_owned(),
            value: "linux".to_owned(),
        };
        let action = api::Action {
            command_digest: Some(cluster.cluster.put(command.encode_to_vec())),
            input_root_digest: Some(cluster.cluster.put(Vec::new())),
            platform: Some(api::Platform {
                properties: vec![platform],
            }),
            ..Default::default()
        };
        let own = match *kind {
            "expired" => digest(&action.encode_to_vec()),
            _ => cluster.cluster.put(action.encode_to_vec()),
        };
        let told = |own: &api::Digest| json!({"hash": own.hash, "sizeBytes": own.size_bytes.to_string(), "hashFunctionName": "SHA-256"});
        let spawn = json!({
            "mnemonic": "Rustc", "targetLabel": label, "remotable": *kind != "local",
            "actualOutputs": [{"path": path, "digest": told(&blobs[0])}], "digest": told(&own),
        });
        log.push_str(&spawn.to_string());
        children.push(json!({"targetConfigured": {"label": label}}));
    }
    workspace.write("log", &log);
    let event = json!({"id": {"pattern": {"pattern": ["//..."]}}, "children": children});
    workspace.write("events", &event.to_string());
    Build { workspace, cluster }
}

impl Build {
    fn address(&self) -> String {
        format!("--remote-executor=grpc://{}", self.cluster.address)
    }

    fn check(&self, args: &[&str]) -> Said {
        let output = support::svhcheck()
            .args([
                "//...",
                "--engine=remote",
                "--bazel=./bazel",
                &self.address(),
            ])
            .args(args)
            .current_dir(self.workspace.path(""))
            .output();
        output.unwrap().into()
    }

    fn ran(&self) -> Vec<(api::Action, api::Command)> {
        std::mem::take(&mut self.cluster.cluster.store.lock().unwrap().ran)
    }
}

fn verdict<'a>(report: &'a Value, id: &str) -> &'a str {
    let crates = report["crates"].as_array().unwrap();
    let own = crates.iter().find(|own| own["id"] == id);
    own.unwrap_or_else(|| panic!("{id} in {report}"))["verdict"]
        .as_str()
        .unwrap()
}

#[test]
fn each_crate_is_judged_by_what_moves_it() {
    let kinds = [
        "stable", "restless", "user", "place", "failing", "expired", "local",
    ];
    let build = build(Mood::Well, &kinds);
    let said = build.check(&["--format=json"]);
    assert_eq!(said.status, Some(1), "{said:?}");
    let report = said.json();
    let verdicts = ["stable", "restless", "user", "place", "failing", "expired"]
        .map(|kind| verdict(&report, &format!("//:{kind}")));
    let moved = "nondeterministic";
    assert_eq!(
        verdicts,
        ["safe", moved, moved, moved, "inconclusive", "inconclusive"]
    );
    let findings = report["findings"].as_array().unwrap().iter();
    let factors = findings.map(|own| (own["crate"].as_str().unwrap(), own["factor"].clone()));
    let factors: Vec<(&str, Value)> = factors.collect();
    let expected = [
        ("//:place", json!("build-path")),
        ("//:restless", Value::Null),
        ("//:user", json!("env")),
    ];
    assert_eq!(factors, expected);
    let open = report["not_checked"].to_string();
    let failed = "in another environment: run again on the cluster, it failed with exit status 101: error: USER is not me";
    for text in [
        failed,
        "its action has expired",
        "did not run on the cluster",
    ] {
        assert!(open.contains(text), "{text}: {open}");
    }
    // All changes at once for each; the plain repeat for what moved or failed; then each change alone.
    let ran = build.ran();
    assert_eq!(ran.len(), 5 + 4 + 3 * 2, "{said:?}");
    assert!(
        ran.iter()
            .all(|(action, _)| action.do_not_cache && !action.salt.is_empty())
    );
    assert!(
        said.err.contains("the cluster ran 15 actions again"),
        "{}",
        said.err
    );
    // The second server was ended.
    let calls = std::fs::read_to_string(build.workspace.path("calls")).unwrap();
    assert!(
        calls.lines().last().unwrap().ends_with("shutdown"),
        "{calls}"
    );
}

#[test]
fn what_is_not_varied_is_not_changed() {
    let build = build(Mood::Hiccups, &["user", "place"]);
    let said = build.check(&["--vary=none", "--runs=2"]);
    assert_eq!(said.status, Some(0), "{said:?}");
    assert!(said.out.contains("2 crates safe"), "{said:?}");
    let ran = build.ran();
    assert_eq!(ran.len(), 4);
    assert!(
        ran.iter()
            .all(|(_, own)| own.environment_variables.is_empty())
    );
    let said = build.check(&["--vary=time"]);
    said.failed("a cluster cannot vary `time`; `--engine remote` knows env, build-path");
}

#[test]
fn want_of_a_cluster_is_told_before_anything_is_built() {
    let guarded = build(Mood::Guarded("authorization", "Bearer me"), &["stable"]);
    let said = guarded.check(&[]);
    let line = said.failed("the cluster at grpc://127.0.0.1:");
    assert!(line.contains("refuses us (who are you?)"), "{line}");
    let said = guarded.check(&["--remote-header=authorization"]);
    said.failed("the header `authorization` cannot be sent");
    let said = guarded.check(&["--remote-header=authorization=Bearer you"]);
    assert!(
        !said.err.contains("you\n") && !said.err.contains("Bearer you"),
        "{said:?}"
    );
    assert!(!guarded.workspace.path("calls").exists());
    let said = guarded.check(&["--remote-header=authorization=Bearer me"]);
    assert_eq!(said.status, Some(0), "{said:?}");

    let cache = build(Mood::CacheOnly, &["stable"]);
    let said = cache.check(&[]);
    assert!(
        said.failed("grpc://127.0.0.1:")
            .contains("keeps a cache and runs nothing")
    );
    assert!(!cache.workspace.path("calls").exists());

    let check = |args: &[&str]| -> Said {
        let mut call = support::svhcheck();
        call.args(["//...", "--engine=remote"]).args(args);
        call.current_dir(cache.workspace.path(""))
            .output()
            .unwrap()
            .into()
    };
    check(&[]).failed("`--engine remote` needs `--remote-executor=grpc://HOST:PORT`");
    check(&["--remote-executor=localhost:80"]).failed("`localhost:80` is no address of a cluster");
    // Nobody listens on the port that nobody can be given.
    let said = check(&["--remote-executor=grpc://127.0.0.1:1"]);
    let line = said.failed("cannot reach the cluster at grpc://127.0.0.1:1: ");
    assert!(line.contains("refused"), "{line}");
    // A cluster without TLS is asked with it.
    let said = check(&[&cache.address().replace("grpc:", "grpcs:")]);
    said.failed("cannot reach the cluster at grpcs://127.0.0.1:");
}

/// A certificate for this host, whose issuer nobody knows.
const CERTIFICATE: &str = r"
new='-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'
openssl req -x509 $new -days 2 -subj /CN=issuer -keyout issuer.key -out issuer.pem
openssl req $new -subj /CN=localhost -keyout key.pem -out request.pem
printf 'subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n' >extensions
openssl x509 -req -in request.pem -CA issuer.pem -CAkey issuer.key -CAcreateserial -days 2 \
    -extfile extensions -out certificate.pem
";

#[test]
fn tls_trusts_what_the_system_or_the_user_trusts() {
    let there = support::scrubbed("openssl").arg("version").output().is_ok();
    if !support::require("remote::tls", "openssl", there) {
        return;
    }
    let keys = Workspace::of(&[]);
    let made = support::scrubbed("sh")
        .args(["-ec", CERTIFICATE])
        .current_dir(keys.path(""))
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let read = |name: &str| std::fs::read(keys.path(name)).unwrap();
    let identity = tonic::transport::Identity::from_pem(read("certificate.pem"), read("key.pem"));
    let cluster = Cluster::start_with(Mood::CacheOnly, Some(identity));
    let workspace = Workspace::of(&[("MODULE.bazel", "")]);
    let check = |trusted: Option<&str>| -> Said {
        let mut call = support::svhcheck();
        call.args(["//...", "--engine=remote"])
            .arg(format!("--remote-executor=grpcs://{}", cluster.address))
            .current_dir(workspace.path(""));
        if let Some(name) = trusted {
            call.env("SSL_CERT_FILE", keys.path(name));
        }
        call.output().unwrap().into()
    };
    let said = check(None);
    let line = said.failed("cannot reach the cluster at grpcs://127.0.0.1:");
    assert!(line.contains("certificate"), "{line}");
    // Through to what such a cluster can do.
    check(Some("issuer.pem")).failed("grpcs://127.0.0.1:");
}

#[test]
fn a_cluster_without_workers_or_that_goes_away_ends_the_check() {
    let without = build(Mood::NoWorker, &["stable"]);
    let said = without.check(&[]);
    let line =
        said.failed("no worker of the cluster takes an action for the platform OSFamily=linux: ");
    assert!(line.contains("No bots found"), "{line}");

    let queued = build(Mood::Queued, &["stable"]);
    let said = queued.check(&["--timeout=1"]);
    let line = said.failed("no worker of the cluster takes");
    assert!(line.contains("none has begun it within 1 s"), "{line}");

    let dying = build(Mood::Dying, &["stable", "restless", "user"]);
    let start = Instant::now();
    let said = dying.check(&[]);
    assert!(
        said.failed("the cluster at grpc://")
            .contains("went away in the middle"),
        "{said:?}"
    );
    assert!(start.elapsed() < Duration::from_secs(60));
    let left = std::fs::read_dir(dying.workspace.path("base/svhcheck")).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["lock"], "nothing is left behind");
    let calls = std::fs::read_to_string(dying.workspace.path("calls")).unwrap();
    assert!(
        calls.lines().last().unwrap().ends_with("shutdown"),
        "{calls}"
    );
}
