//! Lines of source that a report shows, and how it names their files.

use std::path::Path;

use crate::lint::Excerpt;
use crate::project::Build;

/// Largest source file that is read for a line of it, in bytes.
pub(super) const MAX_SOURCE: u64 = 4 << 20;

/// Source that debug information names, `PATH:LINE`: as the report names it, and the line itself
/// where its file can be read.
pub(super) fn located(build: &Build, location: &str, label: String) -> (String, Option<Excerpt>) {
    let (path, number) = split(location);
    let excerpt = number.and_then(|number| line(build, Path::new(path), number, label));
    (place(build, location), excerpt)
}

/// A line of a source file, if that can be read.
pub(super) fn line(build: &Build, path: &Path, number: usize, label: String) -> Option<Excerpt> {
    let small = fs_err::metadata(path).is_ok_and(|own| own.is_file() && own.len() <= MAX_SOURCE);
    let text = small.then(|| fs_err::read_to_string(path).ok()).flatten()?;
    let excerpt = Excerpt::line(named(build, path), &text, number, label)?;
    Some(Excerpt {
        file: fs_err::canonicalize(path).ok(),
        ..excerpt
    })
}

/// Where debug information says that code stands, as the report names it.
pub(super) fn place(build: &Build, location: &str) -> String {
    let (path, number) = split(location);
    let name = named(build, Path::new(path));
    number.map_or_else(|| name.clone(), |line| format!("{name}:{line}"))
}

fn split(location: &str) -> (&str, Option<usize>) {
    let (path, number) = location.rsplit_once(':').unwrap_or((location, ""));
    (path, number.parse().ok())
}

/// A source file, named the same on every machine: by its place in the workspace, or in its package
/// with that folder's name (`serde-1.0.0/src/lib.rs`).
pub(super) fn named(build: &Build, path: &Path) -> String {
    // A folder of ours is laid out as the workspace is.
    let mut laid = build.actions.iter().filter(|own| own.layout.is_some());
    let inside = laid.find_map(|own| path.strip_prefix(&own.cwd).ok());
    let path = inside.map_or_else(|| path.to_owned(), |inside| build.root.join(inside));
    let packages = build.actions.iter().map(|own| own.package.root.as_path());
    name_in(&build.root, packages, &path)
}

fn name_in<'a>(root: &Path, mut packages: impl Iterator<Item = &'a Path>, path: &Path) -> String {
    let inside = path.strip_prefix(root).ok();
    let of_package = || {
        let package = packages.find(|own| path.starts_with(own))?;
        path.strip_prefix(package.parent()?).ok()
    };
    let bare = || {
        path.is_absolute()
            .then(|| path.file_name().map(Path::new))?
    };
    let shown = inside.or_else(of_package).or_else(bare).unwrap_or(path);
    shown.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_alike_on_every_machine() {
        let packages = ["/work/a/b", "/home/me/registry/b-1.0.0"].map(Path::new);
        let shown =
            |path: &str| name_in(Path::new("/work/a"), packages.into_iter(), Path::new(path));
        assert_eq!(shown("/work/a/b/src/lib.rs"), "b/src/lib.rs");
        assert_eq!(
            shown("/home/me/registry/b-1.0.0/src/lib.rs"),
            "b-1.0.0/src/lib.rs"
        );
        assert_eq!(shown("/elsewhere/c.rs"), "c.rs");
        assert_eq!(shown("src/lib.rs"), "src/lib.rs");
    }
}
