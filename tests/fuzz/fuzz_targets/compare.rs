//! Two files, the input cut in two: everything that `diff` does.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use svhcheck::artifact::{self, Names};
use svhcheck::compare::artifacts::{self, Depth};

fuzz_target!(|data: (&[u8], &[u8])| {
    let left = artifact::from_bytes(Path::new("left"), data.0.to_vec());
    let right = artifact::from_bytes(Path::new("right"), data.1.to_vec());
    let _ = artifacts::compare(&left, &right, &Names::default(), Depth::Everything);
});
