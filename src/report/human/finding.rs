//! One finding, in the shape of a compiler error.

use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use annotate_snippets::{Annotation, AnnotationKind, Level as Said, Renderer, Snippet};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

use super::{GREEN, NARROWEST, PLAIN, RED, Screen, escaped, hanging, wrapped};
use crate::lint::{Culprit, CulpritKind, Excerpt, Finding, Grade, Hint, Level};

/// Writes it, and an empty line.
pub(super) fn write(out: &mut String, finding: &Finding, screen: &Screen) -> std::fmt::Result {
    let width = screen.width;
    let level = match finding.level {
        Level::Deny => Said::ERROR,
        Level::Warn => Said::WARNING,
        Level::Allow => return Ok(()),
    };
    let title = format!("{}: {}", escaped(&finding.krate), escaped(&finding.message));
    let mut group = level
        .primary_title(title)
        .id(escaped(&finding.lint))
        .elements(snippets(finding, screen));
    // The renderer sets ` = LABEL: ` before a text, behind the line numbers of the snippets, and
    // continues it in the same column.
    let numbers = digits(finding);
    let fit = |label: &str, text: &str| {
        let lead = numbers + " = : ".len() + label.len();
        wrapped(text, width.saturating_sub(lead).max(NARROWEST / 2))
    };
    for (label, text) in notes(finding, screen) {
        let text = match label {
            WRITES => text,
            _ => fit(label, &text),
        };
        group = group.element(Said::NOTE.with_name(label).message(text));
    }
    let help = fit("help", &escaped(&finding.help));
    group = group.element(Said::HELP.message(help));
    if let Some(source) = finding.chosen_level() {
        let source = fit("level", &escaped(source));
        group = group.element(Said::NOTE.with_name("level").message(source));
    }
    let renderer = Renderer::styled().term_width(width);
    let text = renderer.render(&[group]);
    // The renderer would continue a title behind the lint's name, with little room.
    let (title, rest) = text.split_once('\n').unwrap_or((&text, ""));
    let title = hanging(title, width, "    ");
    writeln!(out, "{title}\n{rest}\n")
}

/// What stays as it is in a link's path and host. All else could end the escape sequence.
const IN_LINK: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The name of a file, as a link to it (OSC 8) where there are links. The host tells the terminal
/// whether the file is on its own machine.
fn link(name: &str, file: Option<&Path>, screen: &Screen) -> String {
    let name = escaped(name);
    let Some((host, file)) = screen.links.as_ref().zip(file) else {
        return name;
    };
    let host = percent_encode(host.as_bytes(), IN_LINK);
    let path = percent_encode(file.as_os_str().as_bytes(), IN_LINK);
    format!("\x1b]8;;file://{host}{path}\x1b\\{name}\x1b]8;;\x1b\\")
}

/// The invocation and the line of the macro that asked, where their sources could be read.
fn snippets<'a>(finding: &'a Finding, screen: &Screen) -> Vec<Snippet<'a, Annotation<'a>>> {
    let numbers = digits(finding);
    let show = |excerpt: &Excerpt, kind: AnnotationKind| {
        // A saved report may hold anything.
        let boundary = |at: usize| {
            let mut all = excerpt.text.char_indices().map(|(at, _)| at);
            all.rfind(|own| *own <= at).unwrap_or(0)
        };
        let end = |at: usize| {
            if at < excerpt.text.len() {
                boundary(at)
            } else {
                excerpt.text.len()
            }
        };
        let (start, end) = (boundary(excerpt.span[0]), end(excerpt.span[1]));
        let end = end.max(start);
        let label = escaped(&excerpt.label);
        let columns = textwrap::core::display_width;
        let needed = numbers + " |  ".len() + columns(&excerpt.text[..end]) + columns(&label);
        let source = excerpt.text.replace(char::is_control, " ");
        let mut snippet = Snippet::source(source).line_start(excerpt.line);
        snippet = snippet.path(link(&excerpt.path, excerpt.file.as_deref(), screen));
        snippet = snippet.annotation(kind.span(start..end).label(label));
        // A label stands behind what it is about, but below it if something else is marked there.
        if needed >= screen.width {
            snippet = snippet.annotation(kind.span(boundary(end.saturating_sub(1))..end));
        }
        snippet
    };
    let kinds = [AnnotationKind::Primary, AnnotationKind::Context];
    let excerpts = excerpts(finding).zip(kinds);
    excerpts.map(|(own, kind)| show(own, kind)).collect()
}

/// How long the longest number of a line is that is shown of sources.
fn digits(finding: &Finding) -> usize {
    let last = excerpts(finding).map(|own| own.line).max();
    last.map_or(0, |own| own.to_string().len())
}

/// What is shown of sources: the invocation, then the culprit.
fn excerpts(finding: &Finding) -> impl Iterator<Item = &Excerpt> {
    let invocation = finding.expansion.as_ref();
    let invocation = invocation.and_then(|own| own.source.as_ref());
    let culprit = finding.culprit.as_ref().and_then(|own| own.source.as_ref());
    invocation.into_iter().chain(culprit)
}

/// The label of lines that are shown as they are.
const WRITES: &str = "writes";

/// What stands below the title, label and text.
fn notes(finding: &Finding, screen: &Screen) -> Vec<(&'static str, String)> {
    let mut notes = Vec::new();
    // An infected crate's message has said whose fault it is.
    let culprit = finding
        .culprit
        .as_ref()
        .filter(|_| finding.lint != "svh-infected");
    if let Some(culprit) = culprit {
        notes.push(("culprit", escaped(&who(culprit))));
    }
    if let Some(expanded) = &finding.expansion {
        let place = expanded.location.as_deref().unwrap_or_default();
        let invocation = expanded.invocation.as_ref();
        // Else the source line stands above.
        if let Some(invocation) = invocation.filter(|_| expanded.source.is_none()) {
            notes.push(("where", escaped(&format!("{invocation}, {place}"))));
        }
        if !expanded.diff.is_empty() {
            let lines: Vec<String> = expanded.diff.iter().map(|line| diff_line(line)).collect();
            notes.push((WRITES, lines.join("\n")));
        }
    }
    // That the SVHs are unequal stands in the line before, as numbers.
    let seen = finding.evidence.iter();
    let seen = seen.filter(|text| *text != "unequal: rmeta.root.svh");
    notes.extend(seen.map(|text| ("seen", escaped(text))));
    // What stands above as a line of source needs no mention.
    let shown = |hint: &&Hint| {
        excerpts(finding).any(|own| hint.location == format!("{}:{}", own.path, own.line))
    };
    let hints = finding.hints.iter().filter(|own| !shown(own));
    notes.extend(hints.map(|own| {
        let place = link(&own.location, own.file.as_deref(), screen);
        ("look here", format!("{place} {}", escaped(&own.what)))
    }));
    match finding.grade {
        Grade::Confirmed => {}
        Grade::Hazard => notes.push(("grade", "not confirmed by a run of its own".to_owned())),
        Grade::Harmless => notes.push(("grade", "harmless so far".to_owned())),
    }
    notes
}

fn who(culprit: &Culprit) -> String {
    let kind = match culprit.kind {
        CulpritKind::ProcMacro => "proc macro",
        CulpritKind::BuildScript => "build script of",
        CulpritKind::Source => "source of",
        CulpritKind::Flags => "the build rules",
        CulpritKind::Rustc => "rustc",
    };
    let package = culprit.package.as_deref().unwrap_or_default();
    let mut text = format!("{kind} {package}").trim().to_owned();
    if culprit.package.is_none() && culprit.kind == CulpritKind::ProcMacro {
        text.push_str(", which one was not told");
    }
    let place = culprit
        .location
        .as_ref()
        .filter(|_| culprit.source.is_none());
    for more in [culprit.function.as_ref(), place].into_iter().flatten() {
        text.push_str(", ");
        text.push_str(more);
    }
    text
}

fn diff_line(line: &str) -> String {
    let color = match line.as_bytes().first() {
        Some(b'-') => RED,
        Some(b'+') => GREEN,
        _ => "",
    };
    format!("{color}{}{PLAIN}", escaped(line))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::lint::Expanded;

    fn finding(text: &str) -> Finding {
        let source = Excerpt {
            path: text.to_owned(),
            line: 3,
            text: text.to_owned(),
            span: [1, 9_000],
            label: text.to_owned(),
            file: Some(PathBuf::from("/").join(text)),
        };
        Finding {
            lint: "svh-unstable".to_owned(),
            level: Level::Deny,
            grade: Grade::Hazard,
            krate: text.to_owned(),
            culprit: Some(Culprit {
                package: Some(text.to_owned()),
                kind: CulpritKind::ProcMacro,
                function: Some(text.to_owned()),
                location: Some(text.to_owned()),
                source: Some(source.clone()),
            }),
            factor: None,
            names: Vec::new(),
            message: text.to_owned(),
            expansion: Some(Expanded {
                invocation: Some(text.to_owned()),
                location: Some(text.to_owned()),
                source: Some(source),
                kind: None,
                diff: vec![text.to_owned()],
            }),
            evidence: vec![text.to_owned()],
            help: text.to_owned(),
            trace: Vec::new(),
            level_source: text.to_owned(),
            accepted: None,
            hints: vec![Hint {
                location: text.to_owned(),
                what: text.to_owned(),
                file: Some(PathBuf::from(text)),
            }],
            aside: None,
        }
    }

    #[test]
    fn no_text_from_a_build_steers_the_terminal() {
        for text in [
            "\x1b]0;title\x07",
            "a\nb\r\x1b[2J",
            "\u{202e}\u{9b}31m",
            &"é".repeat(3000),
            "",
        ] {
            let mut out = String::new();
            let screen = Screen {
                links: Some(text.to_owned()),
                ..Screen::default()
            };
            write(&mut out, &finding(text), &screen).unwrap();
            // Links are ours: `ESC ] 8 ; ; URI ESC \`, with URIs of plain characters.
            let mut links = out.split("\x1b]8;;");
            let mut plain = links.next().unwrap().to_owned();
            for part in links {
                let (uri, rest) = part.split_once("\x1b\\").expect("a link ends");
                let safe = |c: char| c.is_ascii_alphanumeric() || "%/-._~:".contains(c);
                assert!(uri.chars().all(safe), "{text:?}: {uri:?}");
                plain += rest;
            }
            // Colours are ours: `ESC [ digits m`.
            for part in plain.split('\x1b').skip(1) {
                let rest = part.strip_prefix('[').expect("only colours");
                let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';');
                assert!(rest.starts_with('m'), "{text:?}: {part:?}");
            }
            let bad =
                |c: char| c.is_control() && !"\n\x1b".contains(c) || "\u{202e}\u{9b}".contains(c);
            assert!(!out.contains(bad), "{text:?}: {out:?}");
        }
    }
    fn shown(finding: &Finding, screen: &Screen) -> String {
        let mut out = String::new();
        write(&mut out, finding, screen).unwrap();
        out
    }

    fn macro_fault() -> Finding {
        let mut finding = finding("");
        finding.krate = "//consumer:consumer".to_owned();
        finding.message = "its SVH depends on `text.txt`, which it does not declare".to_owned();
        finding.expansion = None;
        let culprit = finding.culprit.as_mut().unwrap();
        culprit.source = Some(Excerpt {
            path: "a b/src/lib.rs".to_owned(),
            line: 16,
            text: "    std::fs::read_to_string(format!(\"{package}/text.txt\")).unwrap()"
                .to_owned(),
            span: [4, 67],
            label: "`fixture_macro::read_text` reads `text.txt` here".to_owned(),
            file: Some(PathBuf::from("/home/me/a b/src/lib.rs")),
        });
        finding
    }

    #[test]
    fn files_are_links_where_the_terminal_has_them() {
        let mut screen = Screen::default();
        assert!(!shown(&macro_fault(), &screen).contains("\x1b]"));
        screen.links = Some("host".to_owned());
        let text = shown(&macro_fault(), &screen);
        let link =
            "\x1b]8;;file://host/home/me/a%20b/src/lib.rs\x1b\\a b/src/lib.rs\x1b]8;;\x1b\\:16:5";
        assert!(text.contains(link), "{text:?}");
        let mut several = macro_fault();
        several.hints = vec![Hint {
            location: "a b/src/lib.rs:20".to_owned(),
            what: "reads a file".to_owned(),
            file: Some(PathBuf::from("/home/me/a b/src/lib.rs")),
        }];
        let text = shown(&several, &screen);
        let link = "\x1b]8;;file://host/home/me/a%20b/src/lib.rs\x1b\\a b/src/lib.rs:20\x1b]8;;\x1b\\ reads";
        assert!(text.contains(link), "{text:?}");
        // A saved report may have come from another machine.
        let mut saved = macro_fault();
        saved.hints[0].file = None;
        saved
            .culprit
            .as_mut()
            .unwrap()
            .source
            .as_mut()
            .unwrap()
            .file = None;
        assert!(!shown(&saved, &screen).contains("\x1b]"));
    }

    #[test]
    fn titles_and_labels_fit_where_there_is_room_for_the_source() {
        let screen = Screen {
            width: 80,
            links: Some("host".to_owned()),
        };
        let text = shown(&macro_fault(), &screen);
        let text = anstream::adapter::strip_str(&text).to_string();
        let expected = "\
error[svh-unstable]: //consumer:consumer: its SVH depends on `text.txt`, which
    it does not declare
  --> a b/src/lib.rs:16:5
   |
16 |     std::fs::read_to_string(format!(\"{package}/text.txt\")).unwrap()
   |     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
   |     |
   |     `fixture_macro::read_text` reads `text.txt` here
";
        assert!(text.starts_with(expected), "{text}");
    }
}
