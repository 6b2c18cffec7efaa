//! A metadata blob of any version: the input is what follows the magic.

#![no_main]

use libfuzzer_sys::fuzz_target;
use svhcheck::artifact::Metadata;

fuzz_target!(|data: &[u8]| {
    let magics: [&[u8]; 2] = [b"rust\0\0\0", b"\0\0\0\0rust\0\0\0"];
    for magic in magics {
        let blob = [magic, data].concat();
        if let Ok(metadata) = Metadata::parse(&blob) {
            let _ = metadata.root();
            let _ = metadata.places();
            if let Some(items) = metadata.items() {
                let _ = (items.paths().count(), items.values().count());
            }
        }
    }
});
