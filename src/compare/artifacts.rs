//! Two artifacts, compared: the verdict first, then everything that differs.

use super::{Difference, archive, metadata, object, roots};
use crate::artifact::{
    Artifact, ArtifactError, CrateDep, CrateRoot, Kind, Member, Metadata, Names, Svh,
};

/// What the comparison comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The same bytes.
    Identical,
    /// The same SVH; dependents cannot tell them apart.
    SameSvh,
    /// The SVH differs, and so do those of dependencies.
    Dependency {
        /// Their names, in the order of the table: what the crate names itself stands before what that
        /// loads.
        names: Vec<String>,
        /// Whether nothing else in the metadata differs.
        alone: bool,
    },
    /// The SVH differs though all dependencies have theirs.
    Own {
        /// Whether nothing else in the metadata differs: a compiler option, or code that is not
        /// part of the metadata.
        alone: bool,
    },
    /// Written by another compiler.
    Compiler,
    /// Another crate, or another instance of it.
    Crate,
    /// Other bytes, in files without crate metadata.
    Bytes,
}

/// A dependency whose entry differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DepChange {
    /// Its name.
    pub name: String,
    /// Its entry on the left, if there is one.
    pub left: Option<CrateDep>,
    /// Its entry on the right.
    pub right: Option<CrateDep>,
}

/// All that differs between two artifacts.
#[derive(Debug)]
pub struct Comparison<'a> {
    /// What it comes to.
    pub verdict: Verdict,
    /// The crates, if the files hold metadata.
    pub roots: (Option<CrateRoot>, Option<CrateRoot>),
    /// Fields of header and root that differ.
    pub fields: Vec<Difference>,
    /// Dependencies that differ, joined by name.
    pub deps: Vec<DepChange>,
    /// How many dependencies are equal.
    pub deps_equal: usize,
    /// The metadata; nothing if it is equal or missing.
    pub metadata: Option<metadata::Changes>,
    /// The members; nothing for anything but two archives.
    pub members: Option<archive::Changes<'a>>,
    /// The objects; nothing if they are equal or none.
    pub objects: Option<object::Changes>,
    /// How much was compared.
    pub depth: Depth,
    /// What could not be read.
    pub problems: Vec<String>,
}

impl Comparison<'_> {
    /// Whether both have one SVH; equal bytes do, whatever they are.
    pub fn same_svh(&self) -> bool {
        matches!(self.verdict, Verdict::Identical | Verdict::SameSvh)
    }
}

/// How much is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Roots and dependency tables.
    Roots,
    /// What the verdict needs, and no more.
    Verdict,
    /// Everything.
    Everything,
}

/// Compares two artifacts, with what `names` knows of the names that metadata leaves out.
pub fn compare<'a>(
    left: &'a Artifact,
    right: &'a Artifact,
    names: &Names,
    depth: Depth,
) -> Comparison<'a> {
    let mut comparison = Comparison {
        verdict: Verdict::Identical,
        roots: (None, None),
        fields: Vec::new(),
        deps: Vec::new(),
        deps_equal: 0,
        metadata: None,
        members: None,
        objects: None,
        depth,
        problems: Vec::new(),
    };
    let same = left.bytes() == right.bytes();
    let blobs = (blob(left, &mut comparison), blob(right, &mut comparison));
    let read = |artifact: &Artifact| artifact.root().ok();
    comparison.roots = (read(left), read(right));
    for root in [&mut comparison.roots.0, &mut comparison.roots.1] {
        root.as_mut().map(|root| names.resolve(root));
    }
    if same {
        return comparison;
    }
    if let (Some(a), Some(b)) = (&comparison.roots.0, &comparison.roots.1) {
        comparison.fields = fields(a, b);
        comparison.deps = deps(a, b);
        let both = comparison.deps.iter().filter(|dep| dep.left.is_some());
        comparison.deps_equal = a.deps.len() - both.count();
    }
    let blobs = blobs.0.as_ref().zip(blobs.1.as_ref());
    let blobs = blobs.filter(|(a, b)| a.bytes() != b.bytes());
    let alone = match depth {
        Depth::Roots => false,
        Depth::Verdict => blobs.is_some_and(|(a, b)| metadata::is_svh_alone(a, b)),
        Depth::Everything => {
            comparison.metadata = blobs.map(|(a, b)| metadata::compare(a, b));
            let changes = comparison.metadata.as_ref();
            changes.is_some_and(|changes| changes.svh_alone)
        }
    };
    comparison.verdict = verdict(&comparison, alone);
    // An SVH that differs for itself alone may be that of other code.
    if depth == Depth::Everything || comparison.verdict == (Verdict::Own { alone: true }) {
        contents(left, right, &mut comparison);
    }
    comparison
}

/// The metadata of a file; that a file has none is no problem here.
fn blob<'a>(artifact: &'a Artifact, comparison: &mut Comparison) -> Option<Metadata<'a>> {
    let result = artifact.metadata();
    // A root that cannot be read is told of as well.
    let problem = match &result {
        Ok(_) => artifact.root().err(),
        Err(_) => None,
    };
    match (result, problem) {
        (Ok(metadata), problem) => {
            comparison
                .problems
                .extend(problem.map(|problem| problem.to_string()));
            Some(metadata)
        }
        (
            Err(
                ArtifactError::NoMetadata { .. }
                | ArtifactError::Empty { .. }
                | ArtifactError::Unrecognized { .. },
            ),
            _,
        ) => None,
        (Err(problem), _) => {
            comparison.problems.push(problem.to_string());
            None
        }
    }
}

/// How a field is got at.
type Value = fn(&CrateRoot) -> Option<&dyn ToString>;

/// [`roots`] without the dependencies, and with the fields that it leaves to this more detailed
/// comparison.
fn fields(left: &CrateRoot, right: &CrateRoot) -> Vec<Difference> {
    let mut found = roots(left, right);
    found.retain(|difference| !difference.key.starts_with("rmeta.deps."));
    let mut field = |key: &str, left: String, right: String| {
        if left != right {
            let key = key.to_owned();
            found.push(Difference { key, left, right });
        }
    };
    let text = |value: Option<&dyn ToString>| value.map(ToString::to_string).unwrap_or_default();
    let version = |root: &CrateRoot| root.metadata_version.to_string();
    field("rmeta.version", version(left), version(right));
    field(
        "rmeta.root.name",
        left.name.to_string(),
        right.name.to_string(),
    );
    let rows: [(&str, Value); 7] = [
        ("extra-filename", |root| Some(root.extra_filename.as_ref()?)),
        ("target-json", |root| Some(root.target_json.as_ref()?)),
        ("is-proc-macro", |root| Some(root.is_proc_macro.as_ref()?)),
        ("edition", |root| Some(root.edition.as_ref()?)),
        ("panic-strategy", |root| Some(root.panic_strategy.as_ref()?)),
        ("panic-in-drop", |root| Some(root.panic_in_drop.as_ref()?)),
        ("symbol-mangling", |root| {
            Some(root.symbol_mangling.as_ref()?)
        }),
    ];
    for (key, value) in rows {
        field(
            &format!("rmeta.root.{key}"),
            text(value(left)),
            text(value(right)),
        );
    }
    let stub = |root: &CrateRoot| root.is_stub.to_string();
    field("rmeta.root.is-stub", stub(left), stub(right));
    let flags = left.flags.keys().chain(right.flags.keys());
    for flag in flags.collect::<std::collections::BTreeSet<_>>() {
        let value = |root: &CrateRoot| root.flags.get(flag).map(ToString::to_string);
        let key = format!("rmeta.root.{}", flag.to_string().replace('_', "-"));
        field(
            &key,
            value(left).unwrap_or_default(),
            value(right).unwrap_or_default(),
        );
    }
    found
}

/// Dependencies that are not the same on both sides, in the order of the tables.
fn deps(left: &CrateRoot, right: &CrateRoot) -> Vec<DepChange> {
    let mut changes = Vec::new();
    let mut taken = vec![false; right.deps.len()];
    let mut partner = vec![None; left.deps.len()];
    // A crate may be there in two versions: its file name tells them apart, if it is the same.
    let exact: fn(&CrateDep, &CrateDep) -> bool =
        |a, b| a.name == b.name && a.extra_filename == b.extra_filename;
    let by_name: fn(&CrateDep, &CrateDep) -> bool = |a, b| a.name == b.name;
    for same in [exact, by_name] {
        for (index, dep) in left.deps.iter().enumerate() {
            if partner[index].is_none()
                && let Some(other) =
                    (0..taken.len()).find(|o| !taken[*o] && same(dep, &right.deps[*o]))
            {
                partner[index] = Some(other);
                taken[other] = true;
            }
        }
    }
    let change = |left: Option<&CrateDep>, right: Option<&CrateDep>| DepChange {
        name: left
            .or(right)
            .map(|dep| dep.name.to_string())
            .unwrap_or_default(),
        left: left.cloned(),
        right: right.cloned(),
    };
    for (dep, partner) in left.deps.iter().zip(partner) {
        let other = partner.map(|other: usize| &right.deps[other]);
        if other != Some(dep) {
            changes.push(change(Some(dep), other));
        }
    }
    let left_over = right.deps.iter().zip(taken).filter(|(_, taken)| !taken);
    changes.extend(left_over.map(|(dep, _)| change(None, Some(dep))));
    changes
}

/// Compares members and objects.
fn contents<'a>(left: &'a Artifact, right: &'a Artifact, comparison: &mut Comparison<'a>) {
    let mut objects = (Vec::new(), Vec::new());
    if left.kind() == Kind::Archive && right.kind() == Kind::Archive {
        let members = archive::compare(
            &members(left, &mut comparison.problems),
            &members(right, &mut comparison.problems),
        );
        let changed = |side: fn(&(Member<'a>, Member<'a>)) -> Member<'a>, alone: &[Member<'a>]| {
            let changed = members.changed.iter().map(side);
            let all = changed.chain(alone.iter().copied());
            let objects = all.filter(|member| is_object(member.name));
            objects
                .map(|member| {
                    (
                        String::from_utf8_lossy(member.name).into_owned(),
                        member.data,
                    )
                })
                .collect::<Vec<_>>()
        };
        objects.0 = changed(|pair| pair.0, &members.removed);
        objects.1 = changed(|pair| pair.1, &members.added);
        comparison.members = Some(members);
    } else if let (Kind::Object(_), Kind::Object(_)) = (left.kind(), right.kind()) {
        let object = |artifact: &'a Artifact| {
            let name = artifact.path().to_string_lossy().into_owned();
            vec![(name, artifact.bytes())]
        };
        objects = (object(left), object(right));
    }
    if !objects.0.is_empty() || !objects.1.is_empty() {
        comparison.objects = Some(object::compare(&objects.0, &objects.1));
    }
}

/// Members that rustc or a C compiler made; metadata in its wrapper is none.
fn is_object(name: &[u8]) -> bool {
    !name.starts_with(b"lib.rmeta") && name != b"rust.metadata.bin"
}

fn members<'a>(artifact: &'a Artifact, problems: &mut Vec<String>) -> Vec<Member<'a>> {
    let mut found = Vec::new();
    for member in artifact.members() {
        match member {
            Ok(member) => found.push(member),
            Err(problem) => problems.push(problem.to_string()),
        }
    }
    found
}

fn verdict(comparison: &Comparison, alone: bool) -> Verdict {
    let (Some(left), Some(right)) = (&comparison.roots.0, &comparison.roots.1) else {
        return Verdict::Bytes;
    };
    if left.rustc != right.rustc {
        return Verdict::Compiler;
    }
    let ids = left.stable_crate_id.zip(right.stable_crate_id);
    if left.name != right.name || ids.is_some_and(|(a, b)| a != b) {
        return Verdict::Crate;
    }
    if left.svh == right.svh {
        return Verdict::SameSvh;
    }
    let svh = |dep: &Option<CrateDep>| -> Option<Svh> { Some(dep.as_ref()?.svh) };
    let changed = comparison.deps.iter().filter(|dep| {
        // One that is new or gone is the crate's own doing.
        svh(&dep.left)
            .zip(svh(&dep.right))
            .is_some_and(|(a, b)| a != b)
    });
    let names: Vec<String> = changed.map(|dep| dep.name.clone()).collect();
    if names.is_empty() {
        Verdict::Own { alone }
    } else {
        Verdict::Dependency { names, alone }
    }
}
