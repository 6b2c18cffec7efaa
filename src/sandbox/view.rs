//! From the paths of a policy to what must be there for each of them to lead to the same file.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::io;
use std::path::{Component, Path, PathBuf};

use fs_err as fs;

use super::{Policy, SandboxError};

/// What is at a path of the sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Item {
    /// The file or tree that is there outside.
    Tree { write: bool, directory: bool },
    /// A symbolic link that says this.
    Link(PathBuf),
    /// A folder that is empty and its own.
    Fresh,
}

/// Everything to be seen, by real path: an item lies in a tree exactly if it follows it in this
/// order and has its path as a prefix.
pub(super) type View = BTreeMap<PathBuf, Item>;

/// Most symbolic links in one path (`path_resolution(7)`).
const MOST_LINKS: usize = 40;

/// The view of a policy. What may be read need not be there, what may be written must.
pub(super) fn view(policy: &Policy) -> Result<View, SandboxError> {
    let mut view = View::new();
    for path in &policy.read {
        add(&mut view, path, false)?;
    }
    for path in &policy.write {
        add(&mut view, path, true)?;
    }
    if policy.private_tmp {
        view.entry(PathBuf::from("/tmp")).or_insert(Item::Fresh);
    }
    if let Some(temp) = &policy.temp {
        add_temp(&mut view, temp)?;
    }
    // What its tree shows anyhow; from the start, so that only trees which stay are compared with.
    let mut kept = View::new();
    for (path, item) in view {
        let around = around(&kept, &path);
        let shown = match (&item, around) {
            (Item::Link(_), Some(_)) => true,
            (Item::Tree { write, .. }, Some(around)) => *write == around,
            (Item::Fresh, _) | (_, None) => false,
        };
        if !shown {
            kept.insert(path, item);
        }
    }
    Ok(kept)
}

/// Whether the tree around a path may be written; `None` if it lies in none, or in an empty folder.
pub(super) fn around(view: &View, path: &Path) -> Option<bool> {
    path.ancestors()
        .skip(1)
        .find_map(|folder| match view.get(folder) {
            Some(Item::Tree { write, .. }) => Some(Some(*write)),
            Some(Item::Fresh) => Some(None),
            _ => None,
        })
        .flatten()
}

fn add_temp(view: &mut View, path: &Path) -> Result<(), SandboxError> {
    if !path.is_absolute() || !path.is_dir() || is_systems(path) {
        return Ok(());
    }
    let mut links = Vec::new();
    let real = follow(path, |link, says| links.push((link, says)));
    let real = real.map_err(|source| SandboxError::Path {
        path: path.to_path_buf(),
        source,
    })?;
    if real == Path::new("/") {
        return Ok(());
    }
    view.extend(
        links
            .into_iter()
            .map(|(link, says)| (link, Item::Link(says))),
    );
    // A folder that may be written anyway stays that.
    let written = matches!(view.get(&real), Some(Item::Tree { write: true, .. }));
    if !written && around(view, &real) != Some(true) {
        view.insert(real, Item::Fresh);
    }
    Ok(())
}

fn add(view: &mut View, path: &Path, write: bool) -> Result<(), SandboxError> {
    let failed = |source| SandboxError::Path {
        path: path.to_path_buf(),
        source,
    };
    let absolute = std::path::absolute(path).map_err(failed)?;
    let real = match follow(&absolute, |link, says| {
        if !is_systems(&link) {
            view.insert(link, Item::Link(says));
        }
    }) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && !write => return Ok(()),
        result => result.map_err(failed)?,
    };
    if real == Path::new("/") {
        let whole = io::Error::other("the whole file system cannot be shown: name folders in it");
        return Err(failed(whole));
    }
    if is_systems(&real) {
        return Ok(());
    }
    let metadata = match fs::symlink_metadata(&real) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && !write => return Ok(()),
        metadata => metadata.map_err(failed)?,
    };
    let before = matches!(view.get(&real), Some(Item::Tree { write: true, .. }));
    let item = Item::Tree {
        write: write || before,
        directory: metadata.is_dir(),
    };
    view.insert(real, item);
    Ok(())
}

/// True for what a policy cannot show: the sandbox has a `/proc` of its own, and `/sys` tells of
/// the machine.
fn is_systems(path: &Path) -> bool {
    ["/proc", "/sys"].iter().any(|own| path.starts_with(own))
}

/// Resolves an absolute path, and shows each symbolic link on the way.
fn follow(path: &Path, mut link: impl FnMut(PathBuf, PathBuf)) -> io::Result<PathBuf> {
    let parts = |path: &Path| -> Vec<OsString> {
        let parts = path.components().filter_map(|part| match part {
            Component::Normal(_) | Component::ParentDir => Some(part.as_os_str().to_owned()),
            _ => None,
        });
        parts.collect()
    };
    let mut real = PathBuf::from("/");
    let mut rest = VecDeque::from(parts(path));
    let mut links = 0;
    while let Some(part) = rest.pop_front() {
        if part == ".." {
            real.pop();
            continue;
        }
        let next = real.join(&part);
        if !fs::symlink_metadata(&next)?.is_symlink() {
            real = next;
            continue;
        }
        links += 1;
        if links > MOST_LINKS {
            return Err(io::Error::from_raw_os_error(nix::libc::ELOOP));
        }
        let says = fs::read_link(&next)?;
        if says.is_absolute() {
            real = PathBuf::from("/");
        }
        for part in parts(&says).into_iter().rev() {
            rest.push_front(part);
        }
        link(next, says);
    }
    Ok(real)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn tree(write: bool, directory: bool) -> Item {
        Item::Tree { write, directory }
    }

    #[test]
    fn links_on_the_way_are_kept_and_inner_trees_are_not_doubled() {
        let folder = tempfile::tempdir().expect("a place to write");
        let base = folder.path().canonicalize().expect("it was just made");
        fs::create_dir_all(base.join("real/sub/out")).expect("a new folder");
        fs::write(base.join("real/sub/file"), "").expect("a new file");
        symlink("real/sub", base.join("link")).expect("a new link");
        symlink(base.join("link/file"), base.join("second")).expect("a new link");
        let policy = Policy {
            read: vec![
                base.join("second"),
                base.join("link"),
                base.join("missing"),
                base.join("real/sub/../sub"),
            ],
            write: vec![base.join("link/out")],
            ..Policy::default()
        };
        let view = view(&policy).expect("all is there");
        let expected = View::from([
            (base.join("link"), Item::Link("real/sub".into())),
            (base.join("second"), Item::Link(base.join("link/file"))),
            (base.join("real/sub"), tree(false, true)),
            (base.join("real/sub/out"), tree(true, true)),
        ]);
        assert_eq!(view, expected);
    }

    #[test]
    fn a_temporary_folder_is_empty_but_for_what_is_named_in_it() {
        let folder = tempfile::tempdir().expect("a place to write");
        let base = folder.path().canonicalize().expect("it was just made");
        fs::create_dir_all(base.join("tmp/own")).expect("a new folder");
        fs::create_dir(base.join("written")).expect("a new folder");
        let policy = |temp: &str| Policy {
            read: vec![base.clone(), base.join("tmp/own")],
            write: vec![base.join("written")],
            temp: Some(base.join(temp)),
            ..Policy::default()
        };
        let inside = view(&policy("tmp")).expect("all is there");
        assert_eq!(inside.get(&base.join("tmp")), Some(&Item::Fresh));
        assert_eq!(inside.get(&base.join("tmp/own")), Some(&tree(false, true)));
        assert_eq!(around(&inside, &base.join("tmp/own")), None);
        for other in ["written", "missing"] {
            let view = view(&policy(other)).expect("all is there");
            assert!(!view.values().any(|item| *item == Item::Fresh), "{other}");
        }
    }

    #[test]
    fn what_cannot_be_shown_is_an_error() {
        let read = |path: &str| Policy {
            read: vec![path.into()],
            ..Policy::default()
        };
        assert!(view(&read("/")).is_err());
        assert!(view(&read("/proc/self")).expect("left out").is_empty());
        let write = Policy {
            write: vec!["/no/such/place".into()],
            ..Policy::default()
        };
        assert!(view(&write).is_err());
    }
}
