//! Two files: everything that `diff` does. The first two bytes say where the rest is cut in two.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use svhcheck::artifact::{self, Names};
use svhcheck::compare::artifacts::{self, Depth};

fuzz_target!(|data: &[u8]| {
    let Some((cut, files)) = data.split_first_chunk() else { return };
    let cut = usize::from(u16::from_le_bytes(*cut)).min(files.len());
    let (left, right) = files.split_at(cut);
    let left = artifact::from_bytes(Path::new("left"), left.to_vec());
    let right = artifact::from_bytes(Path::new("right"), right.to_vec());
    let _ = artifacts::compare(&left, &right, &Names::default(), Depth::Everything);
});
