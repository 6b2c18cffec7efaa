//! Compressed metadata: the first byte chooses deflate or snappy, the rest is the stream, in the smallest
//! ELF file that has a `.rustc` section.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use svhcheck::artifact;

fuzz_target!(|data: &[u8]| {
    let Some((form, stream)) = data.split_first() else { return };
    let head: &[u8] = match form % 3 {
        0 => b"\0\0\0\0rust\0\0\0\x04",
        1 => b"rust\0\0\0\x05",
        _ => b"rust\0\0\0\x06\xff\x06\0\0sNaPpY",
    };
    let artifact = artifact::from_bytes(Path::new("fuzzed"), elf(&[head, stream].concat()));
    let _ = artifact.root();
});

/// An ELF file of three sections: nothing, `.rustc`, and the names.
fn elf(section: &[u8]) -> Vec<u8> {
    const NAMES: &[u8] = b"\0.rustc\0.shstrtab\0";
    let (at, names_at) = (64, 64 + section.len() as u64);
    let table = names_at + NAMES.len() as u64;
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0\x01\0\0\0".to_vec();
    for word in [0, 0, table] {
        file.extend(u64::to_le_bytes(word));
    }
    file.extend([0, 0, 0, 0, 64, 0, 56, 0, 0, 0, 64, 0, 3, 0, 2, 0]);
    file.extend(section);
    file.extend(NAMES);
    file.extend([0; 64]);
    for (name, kind, offset, size) in [
        (1u32, 1u32, at, section.len() as u64),
        (8, 3, names_at, NAMES.len() as u64),
    ] {
        file.extend(name.to_le_bytes());
        file.extend(kind.to_le_bytes());
        for word in [0, 0, offset, size, 0, 1, 0] {
            file.extend(u64::to_le_bytes(word));
        }
    }
    file
}
