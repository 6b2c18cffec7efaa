//! Recorded action graphs become plans, and large ones do not blow up.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::actions::Planned;
use super::aquery::Graph;
use super::aquery::tests::generated;
use super::command::Places;
use super::events::Events;
use crate::project::{Build, TargetKind};

/// An execution root in which the commands of the recorded graphs find the files that they name.
fn root(files: &[(&str, &str)]) -> (tempfile::TempDir, Places) {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = folder.path().join("execroot/_main").join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let places = Places {
        execution_root: folder.path().join("execroot/_main"),
        output_base: folder.path().to_path_buf(),
        workspace: "/workspace".into(),
    };
    (folder, places)
}

fn graph(name: &str) -> Graph {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/_aquery");
    let stream = std::fs::read(fixtures.join(name)).unwrap();
    Graph::read(stream.as_slice()).unwrap()
}

fn build(places: &Places, planned: Planned) -> Build {
    let scratch = tempfile::tempdir().unwrap();
    let lock = std::fs::File::create(scratch.path().join("lock")).unwrap();
    let mut build = Build::empty(places.workspace.clone(), scratch, lock);
    planned.hand_over(&mut build, |_| true).unwrap();
    build
}

const ARGUMENTS: &str = "bazel-out/k8-fastbuild/bin/bs/build_script.linksearchpaths";
const RLIB: &str = "bazel-out/k8-fastbuild/bin/app/libapp_lib-158130337.rlib";
const RMETA: &str = "bazel-out/k8-fastbuild/bin/app/libapp_lib-158130337.rmeta";

#[test]
fn a_pipelined_library_is_one_crate_made_by_two_processes() {
    let (folder, places) = root(&[
        (ARGUMENTS, "-Lnative=${pwd}/x\n"),
        (RLIB, "12"),
        (RMETA, "1"),
    ]);
    let scratch = folder.path().join("scratch");
    let planned = Planned::read(&graph("pipe.app_lib.pb"), &places, &scratch).unwrap();
    let build = build(&places, planned);
    let [action] = build.actions.as_slice() else {
        panic!("{:?} {:?}", build.actions, build.without_metadata);
    };
    assert_eq!(action.id, "//app:app_lib");
    assert_eq!(action.kind, TargetKind::Lib);
    assert_eq!(action.outputs, [places.execution_root.join(RLIB)]);
    let metadata = action.metadata.as_ref().unwrap();
    assert_eq!(metadata.output, places.execution_root.join(RMETA));
    assert_eq!(metadata.args, action.args);
    let manifest = &action.env[OsStr::new("CARGO_MANIFEST_DIR")];
    assert_eq!(Path::new(manifest), action.cwd.join("app"));
    let paths = action.args.values("--library-path");
    let own = format!("native={}/x", action.cwd.display());
    assert!(paths.iter().any(|path| *path == own.as_str()), "{paths:?}");
    assert!(action.inputs.contains(Path::new("app/lib.rs")));
    assert!(
        action
            .opt_out
            .as_ref()
            .unwrap()
            .paste
            .contains("app/BUILD.bazel")
    );
}

#[test]
fn a_plain_library_has_no_second_process_and_a_macro_is_one_for_tools_too() {
    let (folder, places) = root(&[(ARGUMENTS, ""), (RLIB, "1")]);
    let planned = Planned::read(&graph("plain.app_lib.pb"), &places, folder.path()).unwrap();
    assert!(build(&places, planned).actions[0].metadata.is_none());
    let planned = Planned::read(&graph("pipe.pm.pb"), &places, folder.path()).unwrap();
    let build = build(&places, planned);
    let kinds: BTreeSet<TargetKind> = build.actions.iter().map(|own| own.kind).collect();
    assert_eq!(kinds, [TargetKind::ProcMacro].into());
}

#[test]
fn what_failed_takes_with_it_what_needs_it() {
    let (folder, places) = root(&[]);
    let stream = generated(4, 3);
    let graph = Graph::read(stream.as_slice()).unwrap();
    let mut planned = Planned::read(&graph, &places, folder.path()).unwrap();
    for n in 0..4 {
        let path = places
            .execution_root
            .join(format!("bazel-out/k8/bin/libc{n}.rlib"));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "1").unwrap();
    }
    let events = Events {
        failed: [PathBuf::from("bazel-out/k8/bin/libc1.rlib")].into(),
        ..Events::default()
    };
    planned.drop_unmade(&events);
    let build = build(&places, planned);
    let ids: Vec<&str> = build.actions.iter().map(|own| own.id.as_str()).collect();
    assert_eq!(ids, ["//:c0"]);
    assert_eq!(build.without_metadata.len(), 3);
}

/// As large as the workspaces that teams have; `tests/bench/bazel.rs` measures a real one.
#[test]
fn three_hundred_crates_are_planned() {
    let folder = tempfile::tempdir().unwrap();
    let stream = generated(300, 150);
    let graph = Graph::read(stream.as_slice()).unwrap();
    let build = super::plan(&graph, folder.path(), folder.path()).unwrap();
    assert_eq!(build.actions.len(), 300);
    let largest = build.actions.iter().map(|own| own.inputs.len()).max();
    assert_eq!(largest, Some(150 + 299 + 1));
}
