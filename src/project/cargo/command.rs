//! Calls of cargo: in which environment, with which arguments.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cargo_metadata::{Message, MetadataCommand};
use fs_err as fs;

use super::{CargoError, Request};
use crate::interrupt::{Ending, Interrupt};

/// `cargo`, in the scrubbed environment. The one on PATH: `CARGO` may name an outer cargo that
/// runs us, for another workspace and toolchain. Without the user's wrappers, which `cargo
/// metadata` runs too: an empty variable overrides the configuration.
pub(super) fn cargo(env: &BTreeMap<OsString, OsString>, folder: &Path) -> Command {
    let mut command = Command::new("cargo");
    command.env_clear().envs(env).current_dir(folder);
    command
        .env("RUSTC_WRAPPER", "")
        .env("RUSTC_WORKSPACE_WRAPPER", "");
    command
}

/// The environment without what an outer cargo (`cargo run`, `cargo test`) or rustup set, and
/// without what would change the recording.
pub(super) fn scrubbed(mut env: BTreeMap<OsString, OsString>) -> BTreeMap<OsString, OsString> {
    const PREFIXES: &[&str] = &[
        "CARGO_PKG_",
        "CARGO_MANIFEST_",
        "CARGO_BIN_",
        "SVHCHECK_RECORD",
    ];
    const NAMES: &[&str] = &[
        "CARGO",
        "CARGO_CRATE_NAME",
        "CARGO_INCREMENTAL",
        "CARGO_MAKEFLAGS",
        "CARGO_PRIMARY_PACKAGE",
        "CARGO_RUSTC_CURRENT_DIR",
        "CARGO_TARGET_TMPDIR",
        "MAKEFLAGS",
        "MFLAGS",
        "OUT_DIR",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTC_WRAPPER",
        "RUST_RECURSION_COUNT",
    ];
    // rustup's proxy passes on the toolchain that it chose for another folder; only one that the
    // user named (`+nightly`, the variable itself) holds here too.
    let source = env.remove(OsStr::new("RUSTUP_TOOLCHAIN_SOURCE"));
    if source.is_some_and(|source| source != "cli" && source != "environment" && source != "env") {
        env.remove(OsStr::new("RUSTUP_TOOLCHAIN"));
    }
    env.retain(|name, _| {
        let name = name.to_string_lossy();
        !NAMES.contains(&&*name) && !PREFIXES.iter().any(|prefix| name.starts_with(prefix))
    });
    env
}

pub(super) fn reject_reserved(args: &[OsString]) -> Result<(), CargoError> {
    let reserved = [
        "--message-format",
        "--target-dir",
        "--build-plan",
        "--unit-graph",
    ];
    let found = args.iter().map(|arg| arg.to_string_lossy()).find(|arg| {
        reserved.iter().any(|name| {
            arg.strip_prefix(name)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
        })
    });
    found.map_or(Ok(()), |arg| Err(CargoError::Reserved(arg.into_owned())))
}

/// Whether the user's own arguments say which packages to build.
pub(super) fn chooses_packages(args: &[OsString]) -> bool {
    args.iter().map(|arg| arg.to_string_lossy()).any(|arg| {
        ["-p", "--package", "--workspace", "--all", "--exclude"].contains(&&*arg)
            || arg.starts_with("--package=")
            || arg.starts_with("--exclude=")
            || (arg.starts_with("-p") && !arg.starts_with("--"))
    })
}

/// The arguments that `cargo metadata` understands, with their values.
fn metadata_args(args: &[OsString]) -> Vec<String> {
    const ALONE: &[&str] = &[
        "--offline",
        "--locked",
        "--frozen",
        "--all-features",
        "--no-default-features",
    ];
    const VALUED: &[&str] = &[
        "--manifest-path",
        "--config",
        "--features",
        "-F",
        "-Z",
        "--lockfile-path",
    ];
    let mut found = Vec::new();
    let mut args = args.iter().map(|arg| arg.to_string_lossy().into_owned());
    while let Some(arg) = args.next() {
        if VALUED.contains(&arg.as_str()) {
            found.push(arg);
            found.extend(args.next());
        } else if ALONE.contains(&arg.as_str())
            || VALUED.iter().any(|name| {
                arg.strip_prefix(name)
                    .is_some_and(|rest| rest.starts_with('='))
            })
        {
            found.push(arg);
        }
    }
    found
}

pub(super) fn metadata(
    request: &Request,
    env: &BTreeMap<OsString, OsString>,
    interrupt: &Interrupt,
) -> Result<cargo_metadata::Metadata, CargoError> {
    let mut command = cargo(env, &request.folder);
    command
        .args(["metadata", "--format-version", "1"])
        .args(metadata_args(&request.cargo_args))
        .stdin(Stdio::null());
    // It may wait long, for the network or for another cargo's lock.
    let output = interrupt
        .output(&mut command, Ending::Kill)
        .map_err(CargoError::Start)?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        let message = stderr.trim().trim_start_matches("error: ");
        let message = message.split("\n\n").next().unwrap_or_default();
        return Err(CargoError::NoWorkspace(message.replace('\n', " ")));
    }
    Ok(MetadataCommand::parse(String::from_utf8_lossy(
        &output.stdout,
    ))?)
}

/// A wrapper that the user has (sccache, clippy-driver) would answer from a cache or run another
/// compiler; the recording goes without it and says so.
///
/// Cargo reads configuration in the folder where it runs, in all above it, and in its home.
pub(super) fn wrappers_switched_off(
    folder: &Path,
    env: &BTreeMap<OsString, OsString>,
) -> Vec<String> {
    const KEYS: [(&str, &str); 2] = [
        ("RUSTC_WRAPPER", "rustc-wrapper"),
        ("RUSTC_WORKSPACE_WRAPPER", "rustc-workspace-wrapper"),
    ];
    let path = |name: &str| env.get(OsStr::new(name)).map(PathBuf::from);
    let home = path("CARGO_HOME").or_else(|| Some(path("HOME")?.join(".cargo")));
    let above = folder.ancestors().map(|folder| folder.join(".cargo"));
    let mut folders: Vec<PathBuf> = above.collect();
    folders.extend(home.filter(|home| !folders.contains(home)));
    let mut found = Vec::new();
    for (variable, key) in KEYS {
        for variable in [variable.to_owned(), format!("CARGO_BUILD_{variable}")] {
            if let Some(value) = std::env::var_os(&variable).filter(|value| !value.is_empty()) {
                found.push(format!(
                    "{variable}={} is switched off for the recording",
                    value.display()
                ));
            }
        }
        for folder in &folders {
            for name in ["config.toml", "config"] {
                let path = folder.join(name);
                let Ok(text) = fs::read_to_string(&path) else {
                    continue;
                };
                let value = text
                    .parse::<toml::Table>()
                    .ok()
                    .and_then(|table| Some(table.get("build")?.get(key)?.as_str()?.to_owned()));
                if let Some(value) = value {
                    let path = path.display();
                    found.push(format!(
                        "build.{key} = \"{value}\" ({path}) is switched off for the recording"
                    ));
                }
            }
        }
    }
    found
}

/// Runs cargo, its standard error shown to the user, and returns its messages.
pub(super) fn run(
    command: &mut Command,
    interrupt: &Interrupt,
    bootstrap: bool,
) -> Result<Vec<Message>, CargoError> {
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut running = interrupt
        .spawn(command, Ending::Kill)
        .map_err(CargoError::Start)?;
    let mut messages = Vec::new();
    if let Some(stdout) = running.child.stdout.take() {
        for message in Message::parse_stream(BufReader::new(stdout)) {
            messages.push(message?);
        }
    }
    if running.wait()?.success() {
        return Ok(messages);
    }
    Err(build_fails(bootstrap))
}

/// Says that the user's build fails.
pub(super) fn build_fails(bootstrap: bool) -> CargoError {
    let hint = if bootstrap {
        "; if a plain `cargo build` passes, a crate does not stand RUSTC_BOOTSTRAP=1, which `hollow` needs: try `--strategies full,quit-on-rmeta`"
    } else {
        ""
    };
    CargoError::BuildFails { hint }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_outer_cargo_set_is_scrubbed() {
        let names = [
            ("CARGO", "x"),
            ("CARGO_HOME", "x"),
            ("CARGO_PKG_NAME", "x"),
            ("CARGO_PROFILE_DEV_DEBUG", "0"),
            ("RUSTUP_TOOLCHAIN", "stable"),
            ("RUSTUP_TOOLCHAIN_SOURCE", "default"),
            ("RUSTC_WRAPPER", "sccache"),
            ("PATH", "/bin"),
        ];
        let env = names
            .iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        let left: Vec<OsString> = scrubbed(env).into_keys().collect();
        assert_eq!(left, ["CARGO_HOME", "CARGO_PROFILE_DEV_DEBUG", "PATH"]);
    }

    #[test]
    fn cargo_metadata_gets_what_it_understands() {
        let args: Vec<OsString> = [
            "--release",
            "--manifest-path",
            "a/Cargo.toml",
            "--features=x",
            "--offline",
        ]
        .map(Into::into)
        .into();
        assert_eq!(
            metadata_args(&args),
            [
                "--manifest-path",
                "a/Cargo.toml",
                "--features=x",
                "--offline"
            ]
        );
        assert!(reject_reserved(&args).is_ok());
        assert!(reject_reserved(&["--target-dir=x".into()]).is_err());
    }
}
