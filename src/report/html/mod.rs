//! One page for a browser: complete in itself, readable without JavaScript, and closed to whatever
//! a crate's name may hold.
//!
//! Three walls stand behind each other: text from the build is made harmless in `view`; the
//! template escapes all that it is given (minijinja, by the template's name); and the page's own
//! policy lets a browser run and load nothing but the one script and the one style sheet in it, by
//! their hashes (Content Security Policy Level 3, 2.3.1).

mod spread;
mod view;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use minijinja::value::{Serde, Value};
use minijinja::{AutoEscape, Environment, HtmlEscape, UndefinedBehavior, context};

use super::Report;
use crate::digest::Digest;
use view::View;

const TEMPLATE: &str = include_str!("report.html");
const STYLE: &str = include_str!("report.css");
const SCRIPT: &str = include_str!("report.js");

/// The page.
pub fn render(report: &Report) -> String {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.add_filter("ticks", ticks);
    let page = context! {
        css => Value::from_safe_string(STYLE.to_owned()),
        js => Value::from_safe_string(SCRIPT.to_owned()),
        policy => policy(),
        version => env!("CARGO_PKG_VERSION"),
        ..Value::from(Serde(View::of(report)))
    };
    let template = environment.template_from_named_str("report.html", TEMPLATE);
    let html = template.and_then(|template| template.render(page));
    html.expect("the template is fixed, and a test renders all its parts") + "\n"
}

/// What the page lets a browser do: nothing but what is in it.
fn policy() -> String {
    let hash = |text: &str| STANDARD.encode(Digest::of(text.as_bytes()).as_bytes());
    format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; base-uri 'none'; form-action 'none'",
        hash(STYLE),
        hash(SCRIPT)
    )
}

/// Words between backticks become `<code>`; all is escaped.
fn ticks(text: &str) -> Value {
    let pieces: Vec<&str> = text.split('`').collect();
    // With an odd number of backticks, the last has no partner.
    let paired = pieces.len() - 1 + pieces.len() % 2;
    let html = pieces.iter().enumerate().map(|(at, piece)| {
        let piece = HtmlEscape(piece);
        match at {
            at if at >= paired => format!("`{piece}"),
            at if at % 2 == 1 => format!("<code>{piece}</code>"),
            _ => piece.to_string(),
        }
    });
    Value::from_safe_string(html.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backticks_become_code_and_nothing_else_does() {
        let html = |text| ticks(text).to_string();
        assert_eq!(
            html("reads `a<b>` & c"),
            "reads <code>a&lt;b&gt;</code> &amp; c"
        );
        assert_eq!(html("odd ` one"), "odd ` one");
        assert_eq!(html("`a` and `b"), "<code>a</code> and `b");
        assert_eq!(html(""), "");
    }
}
