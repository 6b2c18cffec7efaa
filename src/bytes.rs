//! Bytes that somebody else wrote: a bounds-checked [`Cursor`] to read them, and [`Escaped`] to show
//! them.

use std::fmt::{self, Write as _};

/// A read that the bytes do not support, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{reason} at offset {offset:#x}")]
pub struct ReadError {
    /// Where the read began, from the start of the bytes given to [`Cursor::new`].
    pub offset: usize,
    /// What is wrong there.
    pub reason: ReadReason,
}

/// Why a read failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReadReason {
    /// More bytes were asked for than are left.
    #[error("{wanted} bytes expected but {left} left")]
    TooShort {
        /// How many were asked for.
        wanted: usize,
        /// How many there are.
        left: usize,
    },
    /// A position beyond the end.
    #[error("position beyond the end, which is {end:#x}")]
    Beyond {
        /// The length of the bytes.
        end: usize,
    },
    /// A LEB128 number of more bits than its type has.
    #[error("number too large")]
    Overflow,
}

/// Reads forward through borrowed bytes. Every read is checked, none allocates.
#[derive(Debug, Clone)]
pub struct Cursor<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Cursor<'a> {
    /// A cursor at the first of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, offset: 0 }
    }

    /// A cursor that stands at `offset` of `bytes`; the end itself is allowed.
    pub fn at(bytes: &'a [u8], offset: usize) -> Result<Self, ReadError> {
        if offset > bytes.len() {
            let end = bytes.len();
            let reason = ReadReason::Beyond { end };
            return Err(ReadError { offset, reason });
        }
        Ok(Self { bytes, offset })
    }

    /// Where the next read begins.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// The bytes not read yet.
    pub fn rest(&self) -> &'a [u8] {
        // `offset` never passes the end; an empty rest is the safe answer all the same.
        self.bytes.get(self.offset..).unwrap_or_default()
    }

    /// The next `count` bytes.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], ReadError> {
        let rest = self.rest();
        match rest.get(..count) {
            Some(taken) => {
                self.offset += count;
                Ok(taken)
            }
            None => Err(ReadError {
                offset: self.offset,
                reason: ReadReason::TooShort {
                    wanted: count,
                    left: rest.len(),
                },
            }),
        }
    }

    /// The next `N` bytes as an array.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], ReadError> {
        let taken = self.take(N)?;
        Ok(taken.try_into().expect("take returned N bytes"))
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8, ReadError> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// Four bytes, most significant first.
    pub fn u32_be(&mut self) -> Result<u32, ReadError> {
        self.array().map(u32::from_be_bytes)
    }

    /// Eight bytes, least significant first.
    pub fn u64_le(&mut self) -> Result<u64, ReadError> {
        self.array().map(u64::from_le_bytes)
    }

    /// Sixteen bytes, least significant first.
    pub fn u128_le(&mut self) -> Result<u128, ReadError> {
        self.array().map(u128::from_le_bytes)
    }

    /// An unsigned LEB128 number: seven bits a byte, least significant first.
    pub fn leb_u64(&mut self) -> Result<u64, ReadError> {
        let start = self.offset;
        let mut value = 0u64;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            // The tenth byte has room for a single bit.
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        let reason = ReadReason::Overflow;
        Err(ReadError {
            offset: start,
            reason,
        })
    }

    /// A LEB128 number that is a count or a position in memory.
    pub fn leb_usize(&mut self) -> Result<usize, ReadError> {
        let start = self.offset;
        usize::try_from(self.leb_u64()?).map_err(|_| ReadError {
            offset: start,
            reason: ReadReason::Overflow,
        })
    }
}

/// Shows bytes from outside as text that cannot act on a terminal: control characters, bidirectional
/// overrides, line separators and what is not UTF-8 appear as escapes (`\x1b`, `\u{202e}`, `\xff`).
#[derive(Debug, Clone, Copy)]
pub struct Escaped<'a>(pub &'a [u8]);

impl<'a> Escaped<'a> {
    /// The same for a path or an argument of the operating system.
    pub fn os(text: &'a (impl AsRef<std::ffi::OsStr> + ?Sized)) -> Self {
        Self(text.as_ref().as_encoded_bytes())
    }
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = String::new();
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                match c {
                    c if c.is_ascii_control() => write!(line, "\\x{:02x}", c as u32)?,
                    c if acts_on_terminals(c) => line.extend(c.escape_unicode()),
                    c => line.push(c),
                }
            }
            for byte in chunk.invalid() {
                write!(line, "\\x{byte:02x}")?;
            }
        }
        f.pad(&line) // so that columns can be aligned
    }
}

fn acts_on_terminals(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_in_order_and_stops_at_the_end() {
        let mut cursor = Cursor::new(&[1, 0, 0, 1, 2, 0xff]);
        assert_eq!(cursor.u8(), Ok(1));
        assert_eq!(cursor.u32_be(), Ok(0x0000_0102));
        assert_eq!(cursor.rest(), [0xff]);
        let fault = cursor.u64_le().unwrap_err();
        assert_eq!(
            fault.to_string(),
            "8 bytes expected but 1 left at offset 0x5"
        );
        assert_eq!(cursor.u8(), Ok(0xff), "a failed read moves nothing");
        assert_eq!(cursor.take(0), Ok(&[][..]));
        assert!(cursor.take(usize::MAX).is_err());
    }

    #[test]
    fn stands_at_the_end_but_not_beyond() {
        assert!(Cursor::at(&[1, 2], 2).unwrap().rest().is_empty());
        let fault = Cursor::at(&[1, 2], 3).unwrap_err();
        assert_eq!(fault.reason, ReadReason::Beyond { end: 2 });
    }

    #[test]
    fn leb128_takes_exactly_64_bits() {
        let read = |bytes: &[u8]| Cursor::new(bytes).leb_u64();
        assert_eq!(read(&[0x7f]), Ok(127));
        assert_eq!(read(&[0x83, 0x00]), Ok(3), "padding is legal");
        assert_eq!(read(&[0xd3, 0x06]), Ok(851));
        let mut most = [0xff; 10];
        most[9] = 1;
        assert_eq!(read(&most), Ok(u64::MAX));
        most[9] = 2;
        let reason = ReadReason::Overflow;
        assert_eq!(read(&most), Err(ReadError { offset: 0, reason }));
        assert_eq!(read(&[0xff; 64]), Err(ReadError { offset: 0, reason }));
        let cut = read(&[0x80, 0x80]).unwrap_err();
        assert_eq!((cut.offset, cut.reason), {
            let (wanted, left) = (1, 0);
            (2, ReadReason::TooShort { wanted, left })
        });
    }

    #[test]
    fn what_is_shown_cannot_act_on_a_terminal() {
        let shown = |bytes: &[u8]| Escaped(bytes).to_string();
        assert_eq!(shown(b"a\x1b[2Jb\n\x7f"), "a\\x1b[2Jb\\x0a\\x7f");
        assert_eq!(shown("é \u{9b}31m".as_bytes()), "é \\u{9b}31m");
        assert_eq!(shown("a\u{202e}b".as_bytes()), "a\\u{202e}b");
        assert_eq!(shown(b"\xff\xfeok"), "\\xff\\xfeok");
        assert_eq!(format!("{:4}|", Escaped(b"ab")), "ab  |");
    }
}
