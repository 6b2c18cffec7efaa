//! Against what rustc 1.95 really printed; each test changes one output as another run did.
//!
//! `rustc --crate-type proc-macro m.rs`, then `RUSTC_BOOTSTRAP=1 rustc --crate-type lib --extern
//! m=libm.so -Zunpretty=expanded lib.rs`, in `fixtures/_expansions`, prints it with other values.

use super::*;

/// The root of a crate that uses the macro crate `m` in every way.
const ROOT: &str = include_str!("../../../fixtures/_expansions/lib.rs");

/// Its module `sub`.
const SUB: &str = include_str!("../../../fixtures/_expansions/sub.rs");

/// Its expansion.
const FIRST: &str = include_str!("../../../fixtures/_expansions/expanded.txt");

const NONE: Suspect<'_> = Suspect {
    package: None,
    import: None,
    functions: &[],
};

fn run(edits: &[(&str, &str)], suspect: &Suspect<'_>) -> Expansion {
    let mut second = FIRST.to_owned();
    for (old, new) in edits {
        assert_eq!(second.matches(old).count(), 1, "{old}");
        second = second.replace(old, new);
    }
    let sources = [("src/lib.rs", ROOT), ("src/sub.rs", SUB)];
    let sources = sources.map(|(path, text)| Source {
        path: Path::new(path),
        text,
    });
    compare(FIRST, &second, &sources, suspect)
}

fn shown(invocation: &Invocation) -> String {
    let Invocation {
        text, file, line, ..
    } = invocation;
    format!("{}:{line}: {text}", file.display())
}

/// What one edit leads to, which must be the same with and without a suspect.
fn told(old: &str, new: &str, function: &str) -> String {
    let functions = [format!("m::{function}")];
    let suspect = Suspect {
        package: Some("m"),
        import: None,
        functions: &functions,
    };
    let [known, unknown] = [suspect, NONE].map(|suspect| {
        let found = run(&[(old, new)], &suspect);
        assert!(found.differs);
        assert_eq!((found.removed, found.added), (1, 1));
        match &found.invocation {
            Some(invocation) => shown(invocation),
            None => format!(
                "one of {:?}",
                found.candidates.iter().map(shown).collect::<Vec<_>>()
            ),
        }
    });
    assert_eq!(known, unknown);
    known
}

#[test]
fn each_output_leads_to_its_invocation() {
    for (old, new, function, expected) in [
        (
            "[2, 0, 1, 3, 4]",
            "[2, 3, 4, 5, 1]",
            "five",
            "src/lib.rs:16: five!()",
        ),
        (
            "&[2, 3, 5, 0, 4, 1]",
            "&[2, 1, 3, 0, 4, 5]",
            "derive_fields",
            "src/lib.rs:8: #[derive(Fields)] on struct A",
        ),
        (
            "&[1, 2, 5, 0, 4, 3]",
            "&[4, 5, 0, 1, 2, 3]",
            "derive_fields",
            "src/sub.rs:2: #[derive(m::Fields)] on struct A",
        ),
        (
            "0xfd172a453357dac1",
            "0x14517d89b318b8c4",
            "random",
            "src/sub.rs:4: m::random!()",
        ),
        (
            "__f_9e6a057b06263fc4 = 1",
            "__f_ae3a47c1d52e83c6 = 1",
            "derive_ser",
            "src/lib.rs:11: #[derive(m::Ser)] on enum B",
        ),
        (
            "5070246102291998959",
            "5371999082631411493",
            "traced",
            "src/lib.rs:13: #[watch] on fn go",
        ),
        (
            "2768344161896688654",
            "17964654175728383850",
            "traced",
            "src/lib.rs:17: #[m::traced] on fn other",
        ),
        (
            "pub fn abc_4() -> u32 { 4 }",
            "pub fn abc_1() -> u32 { 1 }",
            "items",
            "src/lib.rs:19: m::items!(abc)",
        ),
        ("7u64;", "8u64;", "opt", "src/lib.rs:20: m::opt!(no)"),
        (
            "0x8f845c7407c64160u64",
            "0xba13139d3cd60dedu64",
            "opt",
            "src/lib.rs:21: m::opt!(yes)",
        ),
        // What the user wrote there, not the body of the rule.
        (
            "[2, 4, 1, 3, 5]",
            "[5, 2, 0, 3, 4]",
            "five",
            "src/lib.rs:23: local!(hidden)",
        ),
        (
            "12:00:56.141447813Z",
            "12:00:56.167176408Z",
            "now",
            "src/lib.rs:24: m::now!()",
        ),
        (
            "pub fn inner_2() -> u32 { 2 }",
            "pub fn inner_3() -> u32 { 3 }",
            "items",
            "src/lib.rs:26: m::items!(inner)",
        ),
        (
            "&[4, 1, 0, 3, 5, 2]",
            "&[0, 4, 1, 2, 3, 5]",
            "derive_fields",
            "src/lib.rs:27: #[derive(Fields)] on struct Local",
        ),
        (
            "0x579317bae289582b",
            "0x8b97e2746c41a63f",
            "random",
            "src/lib.rs:28: m::random!()",
        ),
        (
            "0x5722c7bb933bb39b",
            "0x01a8be1d4299917e",
            "random",
            "src/lib.rs:29: m::random!()",
        ),
    ] {
        assert_eq!(told(old, new, function), expected, "{old}");
    }
}

#[test]
fn what_no_macro_wrote_is_nobodys() {
    for (old, new) in [
        ("pub x: u32,", "pub x: u64,"),
        ("extern crate std;", "extern crate core;"),
        ("-> Vec<u32>;", "-> Vec<u64>;"),
        ("pub struct A;", "pub struct Z;"),
    ] {
        let found = run(&[(old, new)], &NONE);
        assert_eq!((found.differs, found.invocation), (true, None), "{old}");
    }
    assert_eq!(run(&[], &NONE), Expansion::default());
}

#[test]
fn the_suspects_own_piece_is_shown_first() {
    let edits = [
        ("__f_9e6a057b06263fc4 = 1", "__f_ae3a47c1d52e83c6 = 1"),
        ("[2, 0, 1, 3, 4]", "[2, 3, 4, 5, 1]"),
        ("[2, 4, 1, 3, 5]", "[5, 2, 0, 3, 4]"),
    ];
    let functions = ["m::five".to_owned()];
    let suspect = Suspect {
        package: Some("m"),
        functions: &functions,
        ..NONE
    };
    let found = run(&edits, &suspect);
    assert_eq!(
        found.invocation.as_ref().map(shown).unwrap(),
        "src/lib.rs:16: five!()"
    );
    assert_eq!(found.excerpt.len(), 2);
    assert!(
        found.excerpt[0].text.contains("[2, 0, 1, 3, 4]"),
        "{found:?}"
    );
    assert!(found.also.is_empty(), "others do not fit as well");
    let found = run(&edits, &NONE);
    assert_eq!(found.also.len(), 2);
}

#[test]
fn two_macros_that_write_side_by_side_are_told_by_name_or_not_at_all() {
    let source = "#[derive(a::One, b::Two)] struct S;\n";
    let first = "struct S;\nconst _: u8 = 1;\nconst _: u8 = 2;\n";
    let second = "struct S;\nconst _: u8 = 1;\nconst _: u8 = 3;\n";
    let sources = [Source {
        path: Path::new("lib.rs"),
        text: source,
    }];
    let found = compare(first, second, &sources, &NONE);
    assert_eq!((found.invocation, found.candidates.len()), (None, 2));
    let suspect = Suspect {
        package: Some("b-derive"),
        import: Some("b"),
        ..NONE
    };
    let found = compare(first, second, &sources, &suspect);
    assert_eq!(
        found.invocation.unwrap().text,
        "#[derive(b::Two)] on struct S"
    );
}

#[test]
fn the_environment_is_a_cause_where_no_macro_is_suspected() {
    let sources = [Source {
        path: Path::new("lib.rs"),
        text: "const H: &str = concat!(\"a\", env!(\"HOST\"));\ninclude!(concat!(env!(\"OUT_DIR\"), \"/g.rs\"));\n",
    }];
    let first = "const H: &str = \"a/h/one\";\nfn a() {}\n";
    let line = |second: &str| {
        let found = compare(first, second, &sources, &NONE);
        shown(&found.invocation.unwrap())
    };
    assert_eq!(
        line("const H: &str = \"a/h/two\";\nfn a() {}\n"),
        "lib.rs:1: env!(\"HOST\")"
    );
    assert_eq!(
        line("const H: &str = \"a/h/one\";\nfn b() {}\n"),
        "lib.rs:2: include!(concat!(env!(\"OUT_DIR\"), \"/g.rs\"))"
    );
}

#[test]
fn hostile_texts_end() {
    let deep = "mod a { #[a] fn f((".repeat(2_000);
    let texts = [
        deep.as_str(),
        "#[derive(A)]",
        "m!(",
        "\"",
        "\u{feff}\0\u{202e}",
        "#[path = \"lib.rs\"] mod lib; mod lib; m!{}",
    ];
    for first in texts {
        for second in texts {
            let source = |path: &'static str, text| Source {
                path: Path::new(path),
                text,
            };
            let sources = [
                source("lib.rs", first),
                source("", second),
                source("/..", "x!{}"),
            ];
            compare(first, second, &sources, &NONE);
        }
    }
}
