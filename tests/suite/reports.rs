//! Reports to render: saved ones, one with 2,000 crates, and one in which every text is hostile.

use std::fs;

use serde_json::{Value, json};
use svhcheck::report::{Report, json as form};

use crate::support;

/// The strategies of the large report.
pub(crate) const STRATEGIES: [&str; 7] = [
    "full",
    "pipelined",
    "quit-on-rmeta",
    "hollow",
    "check",
    "incremental",
    "worker",
];

/// A report from its JSON.
pub(crate) fn read(value: &Value) -> Report {
    form::read(value.to_string().as_bytes()).unwrap()
}

/// Every report of `tests/data/reports`, by name.
pub(crate) fn saved() -> Vec<(String, Value)> {
    let folder = support::root().join("tests/data/reports");
    let mut found: Vec<(String, Value)> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (
                name,
                serde_json::from_slice(&fs::read(path).unwrap()).unwrap(),
            )
        })
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(!found.is_empty());
    found
}

/// One of them.
pub(crate) fn example() -> Value {
    let mut saved = saved().into_iter();
    saved.find(|(name, _)| name == "example").unwrap().1
}

/// All that the tests render.
pub(crate) fn all() -> Vec<(String, Value)> {
    let mut all = saved();
    all.push(("large".to_owned(), large(400)));
    all.push(("hostile".to_owned(), hostile()));
    all
}

/// A report of `count` crates, of which every 160th is guilty; each loads a few before it.
pub(crate) fn large(count: usize) -> Value {
    let words = [
        "tokio", "serde", "hyper", "ring", "regex", "rand", "time", "http", "bytes", "futures",
    ];
    let name = |at: usize| match at {
        at if at % 9 == 8 => format!(
            "//services/{}-{at:04}:{}_{at:04}",
            words[at % 10],
            words[at % 10]
        ),
        at => format!("{}-part-{at:04}@1.{}.{}", words[at % 10], at % 23, at % 7),
    };
    // A generator of the plainest kind: the report must be the same at every run.
    let mut state = 1_u64;
    let mut random = |below: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        usize::try_from(state >> 40).unwrap() % below
    };
    let mut crates = Vec::new();
    let mut findings = Vec::new();
    let mut infected_by: Vec<Vec<String>> = Vec::new();
    for at in 0..count {
        let mut loads: Vec<usize> = (0..random(4).min(at)).map(|_| random(at)).collect();
        loads.sort_unstable();
        loads.dedup();
        let guilty = at % 160 == 42;
        let mut by: Vec<String> = loads
            .iter()
            .flat_map(|dep| infected_by[*dep].iter().cloned())
            .collect();
        by.extend(
            loads
                .iter()
                .filter(|dep| *dep % 160 == 42)
                .map(|dep| name(*dep)),
        );
        by.sort();
        by.dedup();
        let verdict = match (guilty, by.is_empty(), at % 611) {
            (true, ..) if at % 3 == 0 => "flag-mismatch",
            (true, ..) => "nondeterministic",
            (_, false, _) => "infected",
            (_, _, 600) => "inconclusive",
            _ => "safe",
        };
        let svh = |side: usize| {
            let moved = usize::from(guilty) * side;
            format!(
                "{:032x}",
                (at as u128 + 1 + moved as u128) * 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced
            )
        };
        let own = |strategy: &&str| {
            let spared = guilty && *strategy == "pipelined";
            let verdict = if spared { "safe" } else { verdict };
            let pair = if spared {
                [svh(0), svh(0)]
            } else {
                [svh(0), svh(1)]
            };
            (
                (*strategy).to_owned(),
                json!({ "verdict": verdict, "svh": pair }),
            )
        };
        let strategies: serde_json::Map<String, Value> = STRATEGIES.iter().map(own).collect();
        let member = name(at).starts_with("//");
        let package = format!("{}-{at:04}", words[at % 10]);
        crates.push(json!({
            "id": name(at), "package": package, "version": "1.0.0", "target": package,
            "kind": if at % 13 == 5 { "proc-macro" } else { "lib" },
            "verdict": verdict, "strategies": strategies, "infected_by": by,
            "hermeticity": "hermetic",
            "manifest": member.then(|| format!("services/{package}/Cargo.toml")),
            "loads": loads.iter().map(|dep| name(*dep)).collect::<Vec<_>>(),
        }));
        match verdict {
            "infected" => findings.push(json!({
                "lint": "svh-infected", "level": "warn", "grade": "hazard", "crate": name(at),
                "culprit": null, "factor": null, "names": by, "expansion": null, "evidence": [],
                "message": "stable by itself, but it loads crates whose SVH moves",
                "help": "nothing is wrong here: fix them",
            })),
            "flag-mismatch" | "nondeterministic" => findings.push(guilty_finding(&name(at), at)),
            _ => {}
        }
        // What infects this one infects those that load it.
        infected_by.push(by);
    }
    let unchecked: Vec<Value> = (0..count / 10)
        .map(|at| json!({ "what": format!("//tools/bin-{at:03}:bin_{at:03}"), "why": "bin: nothing reads metadata of it, so it has no SVH to compare" }))
        .collect();
    json!({
        "version": 1, "rustc": "rustc 1.95.0 (59807616e 2026-04-14)",
        "strategies": STRATEGIES, "sandbox": {"mechanism": "landlock", "why": "user name spaces are not allowed"},
        "variations": ["randomness", "time", "dir-order", "env"],
        "crates": crates, "findings": findings, "not_checked": unchecked,
        "summary": { "crates": count, "verdicts": {}, "strategies": {}, "interrupted": false },
        "command": { "patterns": ["//..."], "options": [format!("--strategies={}", STRATEGIES.join(","))], "cargo": ["--release"] },
    })
}

fn guilty_finding(id: &str, at: usize) -> Value {
    let flags = at.is_multiple_of(3);
    json!({
        "lint": if flags { "svh-flag-mismatch" } else { "svh-unstable" },
        "level": "deny", "grade": "confirmed", "crate": id,
        "culprit": if flags {
            json!({ "package": null, "kind": "flags", "function": null, "location": null })
        } else {
            json!({ "package": "phf-codegen-like 0.4.1", "kind": "proc-macro", "function": "phf_codegen_like::generate", "location": "src/lib.rs:88" })
        },
        "factor": if flags { "-Cdebug-assertions=on" } else { "randomness" },
        "names": if flags { json!(["-Cdebug-assertions=on"]) } else { json!([]) },
        "message": if flags {
            "`-Cdebug-assertions=on` differs between the two sides of `full` and moves the SVH"
        } else {
            "its SVH depends on randomness"
        },
        "expansion": if flags { Value::Null } else {
            json!({ "invocation": "#[derive(Dispatch)] on enum Message", "location": "src/message.rs:17", "kind": "order",
                "diff": ["-        0u32 => Message::Open,", "-        1u32 => Message::Close,", "+        0u32 => Message::Close,", "+        1u32 => Message::Open,"] })
        },
        "evidence": ["unequal: rmeta.root.svh", "with all else held still, another `randomness` gives another SVH, and the first `randomness` the first SVH again"],
        "help": if flags { "pass it on both sides, or on neither" } else { "let `phf-codegen-like 0.4.1` iterate a BTreeMap or sort, where it iterates a HashMap or HashSet" },
        "trace": if flags { json!([]) } else {
            json!([{ "asks": "asks for random bytes", "package": "phf-codegen-like 0.4.1", "function": "phf_codegen_like::generate", "location": "src/lib.rs:88", "program": null }])
        },
    })
}

/// What a crate's name, a path or a text might hold to do harm.
pub(crate) fn payload() -> String {
    let parts = [
        "<script>harm()</script>",
        "</style></script><img src=x onerror=harm()>",
        "\" onload=\"harm()\" '",
        "\u{1b}[31m\u{1b}]0;title\u{7}\u{9b}2J",
        "line\r\n::error file=x,line=1::forged\n::set-output name=x::y",
        "]]><evil/>&amp;%0A",
        "`` ` ``` [link](https://evil.example) ![image](https://evil.example/x.png) @everyone #1 | a | b |",
        "\u{202e}sdrawkcab\u{2028}\u{200b}",
        "{{ 7 * 7 }}{% raw %}",
        "\u{0}\u{ffff}\u{fffe}",
    ];
    parts.join(" ") + &"A".repeat(4096)
}

/// The example, with the payload in every text that is not one of svhcheck's own words.
pub(crate) fn hostile() -> Value {
    let mut report = example();
    let own = [
        "verdict",
        "svh",
        "level",
        "grade",
        "lint",
        "strategies",
        "variations",
    ];
    poison(&mut report, &own);
    // The kind of a culprit is a word of ours, that of a crate or an expansion is text.
    for finding in report["findings"].as_array_mut().unwrap() {
        finding["culprit"]["kind"] = "proc-macro".into();
        finding["expansion"] = json!({
            "invocation": payload(), "location": format!("{}:3", payload()), "kind": payload(),
            "diff": [format!("+{}", payload()), payload()],
        });
    }
    // Unlike texts, of which the lists still have one for each crate.
    for (at, krate) in report["crates"]
        .as_array_mut()
        .unwrap()
        .iter_mut()
        .enumerate()
    {
        krate["id"] = format!("{at}{}", payload()).into();
        krate["manifest"] = format!("{at}{}/Cargo.toml", payload()).into();
    }
    let guilty = report["crates"][1]["id"].clone();
    report["crates"][3]["infected_by"] = json!([guilty]);
    report["crates"][3]["loads"] = json!([guilty]);
    report["findings"][0]["crate"] = guilty;
    report["findings"][1]["crate"] = report["crates"][3]["id"].clone();
    report
}

fn poison(value: &mut Value, own: &[&str]) {
    match value {
        Value::String(text) => *text = payload(),
        Value::Array(list) => list.iter_mut().for_each(|value| poison(value, own)),
        Value::Object(object) => object
            .iter_mut()
            .filter(|(name, _)| !own.contains(&name.as_str()))
            .for_each(|(_, value)| poison(value, own)),
        _ => {}
    }
}
