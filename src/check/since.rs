//! `--since`: which crates' compiles can have changed since a git revision.
//!
//! A crate is left out only if all that its compile declares is as it was: its sources (dep-info),
//! the manifests above it, what its build script is made of and watches, the lock file's word about
//! what comes from elsewhere, and all that it depends on. What nobody declares is not seen here: a
//! macro that reads such a file is a finding of its own (`undeclared-file`) when its crate is checked.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use fs_err as fs;

use super::{CheckError, Settings, Since as Wish};
use crate::bytes::Escaped;
use crate::interrupt::Interrupt;
use crate::project::cargo;
use crate::project::cargo::lock::{Key, Lock, LockChanges};
use crate::project::git::{Changes, GitError, Revision, State};
use crate::project::{Action, Build, Package, RecordingError, Request};
use crate::report::{Reached, Since};

/// A revision that is there, and for what it is asked.
pub(super) struct Scope {
    revision: Revision,
    /// Where the user stands: Cargo reads its configuration from there upwards.
    folder: PathBuf,
    configuration: Option<PathBuf>,
}

/// What was left to check.
pub(super) struct Narrowed {
    pub(super) report: Since,
    /// Ids of crates that were left out, sorted.
    pub(super) skipped: Vec<String>,
}

impl Narrowed {
    /// Why it is sound to leave them out.
    pub(super) fn why_skipped(&self) -> String {
        format!(
            "no input changed since {}: sources, manifests, build scripts, locked versions and dependencies are the same, so it compiles to what it compiled to then",
            Escaped(self.report.revision.as_bytes())
        )
    }
}

impl Scope {
    pub(super) fn open(
        request: &Request,
        wish: &Wish,
        interrupt: &Interrupt,
    ) -> Result<Self, CheckError> {
        let Request::Cargo(request) = request else {
            return Err(CheckError::SinceCargo);
        };
        let root = cargo::root(request, interrupt).map_err(RecordingError::from)?;
        Ok(Self {
            revision: Revision::find(&root, &wish.revision, interrupt)?,
            folder: request.folder.clone(),
            configuration: wish.configuration.clone(),
        })
    }

    /// Takes out of `build` what cannot have changed.
    pub(super) fn narrow(
        self,
        build: &mut Build,
        settings: &Settings,
        interrupt: &Interrupt,
    ) -> Result<Narrowed, CheckError> {
        let changes = self.revision.changes(interrupt)?;
        let mut report = Since {
            revision: changes.revision().name.clone(),
            commit: changes.revision().commit.clone(),
            ..Since::default()
        };
        let configuration = self.configuration.as_deref();
        let locks = Locks::read(&build.root, &changes, interrupt)?;
        let all = changed_for_all(&build.root, &self.folder, configuration, &changes);
        report.all_because = all.or_else(|| locks.unknown.clone());
        if report.all_because.is_some() {
            let skipped = Vec::new();
            return Ok(Narrowed { report, skipped });
        }
        let view = View {
            build,
            changes: &changes,
            locks: &locks,
            pinned: pinned_roots(build, &locks.now),
        };
        let mut reasons = view.reasons(settings, interrupt)?;
        spread(build, &mut reasons);
        let mut skipped = Vec::new();
        for action in build.actions.iter_mut().filter(|own| own.wanted) {
            let krate = action.id.clone();
            if let Some(because) = reasons.remove(&action.id) {
                report.reached.push(Reached { krate, because });
            } else {
                action.wanted = false;
                skipped.push(krate);
            }
        }
        report.skipped = skipped.len();
        Ok(Narrowed { report, skipped })
    }
}

/// Why every compile may be another one, if a file changed that all of them depend on.
fn changed_for_all(
    root: &Path,
    folder: &Path,
    configuration: Option<&Path>,
    changes: &Changes,
) -> Option<String> {
    // What is gone has no place of its own any more to which a link could lead.
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let (root, folder) = (real(root), real(folder));
    let mut files = vec![root.join("Cargo.toml")];
    files.extend(configuration.map(Path::to_path_buf));
    for place in root.ancestors().chain(folder.ancestors()) {
        let names = [
            ".cargo/config.toml",
            ".cargo/config",
            "rust-toolchain.toml",
            "rust-toolchain",
        ];
        files.extend(names.map(|name| place.join(name)));
    }
    let is_other = |file: &&PathBuf| changes.state(file) == State::Changed;
    let found = files.iter().find(is_other)?;
    Some(format!("`{}` changed", shown(changes, found)))
}

fn shown(changes: &Changes, path: &Path) -> String {
    Escaped::os(changes.shown(path)).to_string()
}

/// The lock files of both times.
struct Locks {
    now: Lock,
    then: Lock,
    changes: LockChanges,
    /// Why they cannot be compared.
    unknown: Option<String>,
}

impl Locks {
    fn read(root: &Path, changes: &Changes, interrupt: &Interrupt) -> Result<Self, CheckError> {
        let path = root.join("Cargo.lock");
        let now = fs::read(&path).ok().and_then(|text| Lock::parse(&text));
        let then = match changes.state(&path) {
            State::Same => now.clone(),
            _ => changes
                .before(&path, interrupt)?
                .and_then(|text| Lock::parse(&text)),
        };
        let name = shown(changes, &path);
        let unknown = match (&now, &then) {
            (Some(_), Some(_)) => None,
            (None, _) => Some(format!("`{name}` cannot be read")),
            (_, None) => Some(format!(
                "`{name}` is not in {}, so nothing tells which dependencies changed",
                Escaped(changes.revision().name.as_bytes())
            )),
        };
        let (now, then) = (now.unwrap_or_default(), then.unwrap_or_default());
        Ok(Self {
            changes: now.changes(&then),
            now,
            then,
            unknown,
        })
    }
}

fn key(package: &Package) -> Key {
    (package.name.clone(), package.version.clone())
}

/// The folders of packages that the lock file pins.
fn pinned_roots(build: &Build, lock: &Lock) -> BTreeSet<PathBuf> {
    let packages = build.actions.iter().map(|own| &own.package);
    let pinned = packages.filter(|own| lock.pins(&key(own)));
    pinned.map(|own| own.root.clone()).collect()
}

/// All that tells why a crate's own compile can have changed.
struct View<'a> {
    build: &'a Build,
    changes: &'a Changes,
    locks: &'a Locks,
    pinned: BTreeSet<PathBuf>,
}

impl View<'_> {
    /// Ids of crates that can have changed by themselves, with the reason.
    fn reasons(
        &self,
        settings: &Settings,
        interrupt: &Interrupt,
    ) -> Result<BTreeMap<String, String>, GitError> {
        let mut found = BTreeMap::new();
        let mut asked: BTreeMap<Key, String> = BTreeMap::new();
        for action in &self.build.actions {
            let package = &action.package;
            let own = if self.is_pinned(package) {
                self.locked(package)
            } else {
                if let Some(manifest) = self.manifest(package)
                    && self.asks_otherwise(&manifest, interrupt)?
                {
                    let keys = [key(package)].into();
                    let below = self.locks.now.below(&keys);
                    for other in below.into_iter().chain(self.locks.then.below(&keys)) {
                        asked.entry(other).or_insert_with(|| package.name.clone());
                    }
                }
                self.own(action, settings)
            };
            found.extend(own.map(|own| (action.id.clone(), own)));
        }
        for action in &self.build.actions {
            if let Some(by) = asked.get(&key(&action.package)) {
                let why = format!(
                    "the dependencies of `{}` changed, so it may be asked for other features",
                    Escaped(by.as_bytes())
                );
                found.entry(action.id.clone()).or_insert(why);
            }
        }
        Ok(found)
    }

    fn is_pinned(&self, package: &Package) -> bool {
        self.pinned.contains(&package.root)
    }

    /// What the lock file says of a package from elsewhere: Cargo holds its files to it.
    fn locked(&self, package: &Package) -> Option<String> {
        let (key, changes) = (key(package), &self.locks.changes);
        if changes.replaced.contains(&key) {
            Some("`Cargo.lock` has another version, source or dependency for it".to_owned())
        } else {
            let why = "a package that depends on it changed in `Cargo.lock` and may ask for other features";
            changes.asked.contains(&key).then(|| why.to_owned())
        }
    }

    /// What changed of a package that lies here.
    fn own(&self, action: &Action, settings: &Settings) -> Option<String> {
        let package = &action.package;
        if self.changes.state(&package.root) == State::Outside {
            return Some("it lies outside the repository, and nothing pins it".to_owned());
        }
        if let Some(manifest) = self.manifest(package) {
            return Some(format!("`{}` changed", shown(self.changes, &manifest)));
        }
        let declared = settings.inputs_of(&action.id).cloned();
        let files = action.declared_files().into_iter().chain(declared);
        if let Some(why) = self.any_changed(files) {
            return Some(why);
        }
        let same = |own: &&Action| own.package == *package;
        let mut scripts = self.build.script_compiles.iter().filter(same);
        let compile = scripts.find_map(|own| self.any_changed(own.declared_files()));
        let run = self.build.scripts.iter().find(|own| own.id == action.id);
        let run = match run {
            Some(run) => self.any_changed(run.declared_files()),
            // Nobody saw what it watches.
            None if action.out_dir.is_some() => self.any_changed([package.root.clone()]),
            None => None,
        };
        if let Some(why) = compile.or(run) {
            return Some(format!("{why}, which its build script depends on"));
        }
        // A file that is gone is nobody's input any more: it may have been the build script.
        let is_code = |path: &PathBuf| path.extension().is_some_and(|own| own == "rs");
        let mut gone = self.changes.gone().filter(is_code);
        let gone = gone.find(|path| self.nearest(path) == Some(&package.root));
        let gone = gone.map(|path| format!("`{}` is gone", shown(self.changes, &path)));
        gone.or_else(|| self.locked(package))
    }

    /// The package in whose folder a file lies, the innermost.
    fn nearest(&self, path: &Path) -> Option<&PathBuf> {
        let roots = self.build.actions.iter().map(|own| &own.package.root);
        let around = roots.filter(|root| path.starts_with(root));
        around.max_by_key(|root| root.as_os_str().len())
    }

    /// The changed manifest of a package, or one above it, from which it may inherit.
    fn manifest(&self, package: &Package) -> Option<PathBuf> {
        let manifests = package.root.ancestors().map(|own| own.join("Cargo.toml"));
        let mut here = manifests.filter(|own| self.changes.state(own) == State::Changed);
        here.next()
    }

    /// Whether a changed manifest asks for other dependencies or features than before.
    fn asks_otherwise(&self, path: &Path, interrupt: &Interrupt) -> Result<bool, GitError> {
        let before = self.changes.before(path, interrupt)?.unwrap_or_default();
        let now = fs::read(path).unwrap_or_default();
        let asks = |text: &[u8]| -> Option<toml::Table> {
            let mut table: toml::Table = std::str::from_utf8(text).ok()?.parse().ok()?;
            // What says nothing of dependencies. Editions do: they choose the resolver.
            for key in ["badges", "bench", "bin", "example", "lib", "lints", "test"] {
                table.remove(key);
            }
            if let Some(toml::Value::Table(package)) = table.get_mut("package") {
                package.retain(|key, _| ["edition", "resolver", "links"].contains(&key));
            }
            Some(table)
        };
        Ok(match (asks(&before), asks(&now)) {
            (Some(before), Some(now)) => before != now,
            _ => true,
        })
    }

    /// The first of these that changed, or of which nobody knows.
    fn any_changed(&self, files: impl IntoIterator<Item = PathBuf>) -> Option<String> {
        // What svhcheck's own build made follows from the rest.
        let area = self.build.scratch.path().parent();
        let made = |path: &Path| area.is_some_and(|area| path.starts_with(area));
        let pinned = |path: &Path| path.ancestors().any(|own| self.pinned.contains(own));
        files.into_iter().find_map(|path| {
            if made(&path) || pinned(&path) {
                return None;
            }
            let name = shown(self.changes, &path);
            match self.changes.state(&path) {
                State::Same => None,
                State::Changed => Some(format!("`{name}` changed")),
                State::Outside => Some(format!("it reads `{name}`, outside the repository")),
            }
        })
    }
}

/// Adds every crate that depends on one of these: where an SVH moves, those that load it are other
/// compiles, and where a macro or a build script changes, those that use it.
fn spread(build: &Build, reasons: &mut BTreeMap<String, String>) {
    let mut makers: BTreeMap<&std::ffi::OsStr, &str> = BTreeMap::new();
    for action in &build.actions {
        let stems = action.outputs.iter().filter_map(|own| own.file_stem());
        makers.extend(stems.map(|stem| (stem, action.id.as_str())));
    }
    let mut users: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for action in &build.actions {
        let scripts = build.script_compiles.iter();
        let scripts = scripts.filter(|own| own.package == action.package);
        for compile in scripts.chain([action]) {
            for (_, path) in compile.args.externs() {
                if let Some(id) = path.file_stem().and_then(|stem| makers.get(stem)) {
                    users.entry(id).or_default().insert(&action.id);
                }
            }
        }
    }
    let mut open: Vec<String> = reasons.keys().cloned().collect();
    while let Some(id) = open.pop() {
        for user in users.get(id.as_str()).into_iter().flatten() {
            if !reasons.contains_key(*user) {
                let why = format!("it depends on `{}`", Escaped(id.as_bytes()));
                reasons.insert((*user).to_owned(), why);
                open.push((*user).to_owned());
            }
        }
    }
}
