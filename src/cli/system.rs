//! Whose the workspace is, and what a check of it rests on.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::{Args as ClapArgs, ValueEnum};

use crate::check;
use crate::project::detect::{self, System};
use crate::project::{Request, bazel, buck2, cargo};

/// What was typed about the build system.
#[derive(Debug, ClapArgs)]
pub(super) struct SystemArgs {
    /// Whose the workspace is [default: the nearest MODULE.bazel, WORKSPACE or .buckconfig above, else
    /// Cargo]
    #[arg(long, value_enum, value_name = "NAME")]
    build_system: Option<BuildSystem>,

    /// What verdicts rest on
    #[arg(long, value_enum, default_value_t = Engine::Local)]
    engine: Engine,

    /// The Bazel to run [default: bazel or bazelisk on PATH]
    #[arg(long, value_name = "PATH")]
    bazel: Option<PathBuf>,

    /// A flag for `bazel build`, such as --bazel-flag=--config=ci; once for each
    #[arg(long, value_name = "FLAG", allow_hyphen_values = true)]
    bazel_flag: Vec<OsString>,

    /// What a Buck2 build ran, as `buck2 log what-ran --format json` prints it; nothing is built then
    #[arg(long, value_name = "FILE")]
    what_ran: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum BuildSystem {
    Bazel,
    Buck2,
    Cargo,
}

impl From<System> for BuildSystem {
    fn from(system: System) -> Self {
        match system {
            System::Bazel => Self::Bazel,
            System::Buck2 => Self::Buck2,
            System::Cargo => Self::Cargo,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Engine {
    /// Compiles repeated here, in varied worlds
    Local,
    /// What a pipelined build of Bazel or Buck2 made twice by itself; nothing is compiled again
    Free,
    /// Compiles repeated by actions of the Bazel build itself, in its sandbox or on its cluster
    BazelAspect,
    /// Bazel's own actions, run again on the remote execution cluster of the build
    #[cfg_attr(not(feature = "remote"), value(hide = true))]
    Remote,
}

impl Engine {
    /// What verdicts rest on.
    pub(super) fn rests_on(self) -> check::Engine {
        match self {
            Self::Free => check::Engine::Free,
            _ => check::Engine::Local,
        }
    }

    /// Whether it can check a Cargo build.
    fn expect_cargo(self) -> anyhow::Result<()> {
        match self {
            Self::Local => Ok(()),
            Self::Free => bail!(
                "`--engine free` needs a pipelined Bazel build: Cargo makes metadata and library in one process"
            ),
            Self::BazelAspect => bail!("`--engine bazel-aspect` needs a Bazel workspace"),
            Self::Remote => {
                bail!("`--engine remote` needs a Bazel workspace: Cargo builds on no cluster")
            }
        }
    }
}

impl SystemArgs {
    /// What verdicts rest on.
    pub(super) fn engine(&self) -> Engine {
        self.engine
    }

    /// What was typed, but for defaults and what only this machine knows.
    pub(super) fn typed(&self) -> Vec<String> {
        let mut typed = Vec::new();
        let name = |own: Option<clap::builder::PossibleValue>| {
            own.map(|own| own.get_name().to_owned()).unwrap_or_default()
        };
        if let Some(system) = self.build_system {
            typed.push(format!(
                "--build-system={}",
                name(system.to_possible_value())
            ));
        }
        if self.engine != Engine::Local {
            typed.push(format!(
                "--engine={}",
                name(self.engine.to_possible_value())
            ));
        }
        let flags = self.bazel_flag.iter();
        typed.extend(flags.map(|flag| format!("--bazel-flag={}", flag.display())));
        typed
    }

    /// The build to record in `folder`; `cargo` is what it would be if it is Cargo's.
    pub(super) fn request(&self, folder: &Path, cargo: cargo::Request) -> anyhow::Result<Request> {
        let detected = || detect::detect(folder).map(|(system, _)| system.into());
        // Only Buck2 has such a log.
        let by_log = self.what_ran.as_ref().map(|_| BuildSystem::Buck2);
        let system = self.build_system.or(by_log).or_else(detected);
        Ok(match system.unwrap_or(BuildSystem::Cargo) {
            BuildSystem::Cargo => {
                self.engine.expect_cargo()?;
                Request::Cargo(cargo)
            }
            BuildSystem::Bazel => {
                if !cargo.cargo_args.is_empty() {
                    bail!(
                        "what stands behind `--` is for Cargo, and this is a Bazel workspace: use `--bazel-flag=FLAG`, or `--build-system cargo`"
                    );
                }
                Request::Bazel(bazel::Request {
                    folder: cargo.folder,
                    patterns: cargo.patterns,
                    bazel: self.bazel.clone(),
                    flags: self.bazel_flag.clone(),
                    deps: cargo.deps,
                    quiet: cargo.quiet,
                })
            }
            BuildSystem::Buck2 => {
                if !cargo.cargo_args.is_empty() {
                    bail!(
                        "what stands behind `--` is for Cargo, and this is a Buck2 project: `--build-system cargo` takes it for a workspace of Cargo"
                    );
                }
                Request::Buck2(buck2::Request {
                    folder: cargo.folder,
                    patterns: cargo.patterns,
                    what_ran: self.what_ran.clone(),
                    deps: cargo.deps,
                    quiet: cargo.quiet,
                })
            }
        })
    }
}
