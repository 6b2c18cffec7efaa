//! Bytes of a traced program as text: nothing that it chose reaches a terminal unescaped.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;

use crate::trace::{Outcome, Status};

/// `text` with control characters and invalid UTF-8 as `\xNN`.
pub(super) fn escape(text: impl AsRef<OsStr>) -> String {
    let mut shown = String::new();
    for chunk in text.as_ref().as_bytes().utf8_chunks() {
        for c in chunk.valid().chars() {
            // Beside controls: what can turn the direction of text or hide in it.
            let hidden = matches!(
                c,
                '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
            );
            match c {
                '\n' => shown.push_str("\\n"),
                '\t' => shown.push_str("\\t"),
                '\\' => shown.push_str("\\\\"),
                c if c.is_control() && c.is_ascii() => {
                    let _ = write!(shown, "\\x{:02x}", u32::from(c));
                }
                c if c.is_control() || hidden => {
                    let _ = write!(shown, "\\u{{{:x}}}", u32::from(c));
                }
                c => shown.push(c),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(shown, "\\x{byte:02x}");
        }
    }
    shown
}

/// The same in double quotes.
pub(super) fn quote(text: impl AsRef<OsStr>) -> String {
    format!("\"{}\"", escape(text).replace('"', "\\\""))
}

/// A word of a command line, quoted where it would not stay one word.
pub(super) fn word(text: &OsStr) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_./=,:+@%".contains(byte);
    let bytes = text.as_bytes();
    if !bytes.is_empty() && bytes.iter().all(plain) {
        escape(text)
    } else {
        format!("'{}'", escape(text).replace('\'', "'\\''"))
    }
}

/// The name of an error number.
pub(super) fn errno(number: i32) -> String {
    format!("{:?}", Errno::from_raw(number))
}

/// How a process ended.
pub(super) fn status(status: Status) -> String {
    match status {
        Status::Exited(code) => format!("exited with status {code}"),
        Status::Signaled(number) => match nix::sys::signal::Signal::try_from(number) {
            Ok(signal) => format!("was ended by {signal}"),
            Err(_) => format!("was ended by signal {number}"),
        },
    }
}

/// How a call ended, if that is worth saying.
pub(super) fn outcome(outcome: Outcome) -> Option<String> {
    match outcome {
        Outcome::Failed(number) => Some(errno(number)),
        Outcome::Unfinished => Some("did not end".to_owned()),
        Outcome::Done(_) | Outcome::Unwatched => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_chosen_by_a_program_moves_the_cursor() {
        let evil = OsStr::from_bytes(b"a\x1b[2Jb\nc\xff\xe2\x80\xaed");
        assert_eq!(escape(evil), "a\\x1b[2Jb\\nc\\xff\\u{202e}d");
        assert_eq!(quote("say \"x\""), "\"say \\\"x\\\"\"");
        assert_eq!(word(OsStr::new("a b'c")), "'a b'\\''c'");
        assert_eq!(word(OsStr::new("--cap-lints=warn")), "--cap-lints=warn");
        assert_eq!(word(OsStr::new("")), "''");
    }
}
