//! What compilers answered, kept on disk: a file for each compiler and table.
//!
//! The name of the file is a digest of all that the answer depends on, so there is nothing to
//! expire. What cannot be read is as good as absent.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use fs_err as fs;

use super::{ProbeError, Probed, probe, table};
use crate::digest::Digest;
use crate::interrupt::Interrupt;
use crate::rustc::toolchain::Toolchain;

/// Version of the file's form and of how compiles are made.
const FORM: u32 = 1;

/// The answer of a compiler: the kept one, or a new one, which is then kept in `folder`. A folder
/// that cannot be written to only costs the time of asking again.
pub fn kept_or_probed(
    folder: Option<&Path>,
    toolchain: &Toolchain,
    jobs: usize,
    interrupt: &Interrupt,
) -> Result<Probed, ProbeError> {
    let Some(file) = folder.and_then(|folder| Some(folder.join(name(toolchain)?))) else {
        return probe(toolchain, jobs, interrupt);
    };
    if let Some(kept) = read(&file, toolchain) {
        return Ok(kept);
    }
    let probed = probe(toolchain, jobs, interrupt)?;
    let _ = write(&file, &probed);
    Ok(probed)
}

/// The file for a compiler: by what it says of itself, and by its bytes.
fn name(toolchain: &Toolchain) -> Option<PathBuf> {
    let digest = Digest::of_file(&toolchain.rustc).ok()?;
    let (about, sysroot) = (&toolchain.about, toolchain.sysroot.display());
    let (table, source) = (table::TABLE, table::SOURCE);
    let key = format!("{FORM}\n{about}\n{sysroot}\n{digest}\n{table:?}\n{source}");
    Some(format!("{}.json", Digest::of(key.as_bytes())).into())
}

fn read(file: &Path, toolchain: &Toolchain) -> Option<Probed> {
    let bytes = std::fs::read(file).ok()?;
    let probed: Probed = serde_json::from_slice(&bytes).ok()?;
    let names = probed.rows.iter().map(|row| row.name.as_str());
    let whole = names.eq(table::TABLE.iter().map(|row| row.name));
    (whole && probed.rustc == toolchain.version).then_some(probed)
}

fn write(file: &Path, probed: &Probed) -> io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut new = tempfile::NamedTempFile::new_in(folder)?;
    serde_json::to_writer(&mut new, probed)?;
    new.persist(file).map_err(|error| error.error)?;
    Ok(())
}

/// Where answers are kept: below `XDG_CACHE_HOME`, else where the system keeps caches.
pub fn folder(env: &BTreeMap<std::ffi::OsString, std::ffi::OsString>) -> Option<PathBuf> {
    let var = |name: &str| {
        let value = env.get(std::ffi::OsStr::new(name)).map(PathBuf::from);
        value.filter(|path| path.is_absolute())
    };
    let system = if cfg!(target_os = "macos") {
        "Library/Caches"
    } else {
        ".cache"
    };
    let caches = var("XDG_CACHE_HOME").or_else(|| Some(var("HOME")?.join(system)));
    Some(caches?.join("svhcheck").join("probe"))
}
