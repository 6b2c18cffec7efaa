//! Any file: archives, object wrappers, shared libraries, and the metadata in them.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use svhcheck::artifact::{self, Names};

fuzz_target!(|data: &[u8]| {
    let artifact = artifact::from_bytes(Path::new("fuzzed"), data.to_vec());
    let _ = artifact.members().count();
    let _ = artifact.sections();
    if let Ok(mut root) = artifact.root() {
        let mut names = Names::default();
        names.learn(&artifact, &root);
        names.resolve(&mut root);
    }
});
