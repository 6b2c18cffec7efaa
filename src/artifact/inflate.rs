//! Metadata that is compressed, as dylibs and proc macros had it before rustc 1.73.

use std::io::Read as _;

/// How a blob is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    /// As it is.
    Plain,
    /// Raw deflate, up to rustc 1.47.
    Deflate,
    /// The snappy frame format, from rustc 1.48 to 1.72.
    Snappy,
}

/// Unpacks to no more than `limit` bytes: a few bytes can claim to be gigabytes.
pub(super) fn inflate(packing: Packing, bytes: &[u8], limit: usize) -> Result<Vec<u8>, String> {
    let too_large = || format!("it inflates to more than {limit} bytes");
    match packing {
        Packing::Plain => Ok(bytes.to_vec()),
        Packing::Deflate => {
            use miniz_oxide::inflate::{TINFLStatus, decompress_to_vec_with_limit};
            decompress_to_vec_with_limit(bytes, limit).map_err(|error| match error.status {
                TINFLStatus::HasMoreOutput => too_large(),
                _ => format!("not deflate: {error}"),
            })
        }
        Packing::Snappy => {
            let mut blob = Vec::new();
            let mut stream = snap::read::FrameDecoder::new(bytes);
            // One byte more than allowed tells a blob of the allowed size from a larger one.
            let most = limit as u64 + 1;
            let read = stream.by_ref().take(most).read_to_end(&mut blob);
            read.map_err(|error| format!("not snappy: {error}"))?;
            if blob.len() > limit {
                return Err(too_large());
            }
            Ok(blob)
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn both_formats_are_read_and_bounded() {
        let blob = b"rust metadata ".repeat(1000);
        let mut snappy = snap::write::FrameEncoder::new(Vec::new());
        snappy.write_all(&blob).unwrap();
        let packed = [
            (Packing::Snappy, snappy.into_inner().unwrap()),
            (
                Packing::Deflate,
                miniz_oxide::deflate::compress_to_vec(&blob, 6),
            ),
        ];
        for (packing, packed) in packed {
            assert!(packed.len() < blob.len() / 4);
            assert_eq!(inflate(packing, &packed, blob.len()).as_ref(), Ok(&blob));
            let error = inflate(packing, &packed, blob.len() - 1).unwrap_err();
            assert!(error.contains("inflates to more than"), "{error}");
            assert!(inflate(packing, &packed[..packed.len() / 2], blob.len()).is_err());
            assert!(inflate(packing, b"nonsense that is neither", 1 << 20).is_err());
        }
    }
}
