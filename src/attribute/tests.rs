//! Attribution against imagined crates: functions from a trial to an SVH.

use std::cell::Cell;
use std::convert::Infallible;

use super::*;
use crate::plan::Stop;
use crate::rustc::args::Args;
use crate::trace::Steer;

fn trial(args: &str) -> Trial {
    let args = Args::new(args.split(' ').map(OsString::from).collect());
    let command = CommandLine {
        args,
        env: std::iter::empty().collect(),
    };
    Trial {
        command,
        stop: Stop::End,
        changes: Vec::new(),
        incremental: false,
    }
}

fn svh(value: u64) -> Answer {
    Answer::Svh(Svh::new(value.into()))
}

const VARY: &[Variation] = &[
    Variation::Randomness,
    Variation::Time,
    Variation::Env,
    Variation::Aslr,
];

/// A world of four variations; the environment has seven variables.
fn change(variation: Variation, setting: Setting) -> Option<Change> {
    match variation {
        Variation::Randomness | Variation::Time => {
            let steer = Steer::Randomness(setting.0.into());
            Some(Change::Steer(variation, steer, None))
        }
        Variation::Aslr => (setting == Setting::PINNED).then_some(Change::NoAslr),
        Variation::Env if setting != Setting::PINNED => {
            let names = ["A", "B", "C", "D", "E", "F", "G"];
            let edits = names.map(|name| (name.into(), Some("x".into())));
            Some(Change::Env(variation, edits.into()))
        }
        _ => None,
    }
}

/// The seed that the code `module` is answered with; a new one each time where nothing steers.
fn seed(trial: &Trial, variation: Variation, module: &str) -> u64 {
    let steers = || {
        trial.changes.iter().filter_map(|own| match own {
            Change::Steer(own, Steer::Randomness(seed), who) if *own == variation => {
                Some((*seed, who))
            }
            _ => None,
        })
    };
    let for_module =
        |who: &Option<Vec<PathBuf>>| who.as_ref().is_some_and(|who| who.contains(&module.into()));
    let limited = steers().find(|(_, who)| for_module(who));
    let chosen = limited.or_else(|| steers().find(|(_, who)| who.is_none()));
    chosen.map_or_else(free, |(seed, _)| seed)
}

thread_local! {
    static FREE: Cell<u64> = const { Cell::new(1000) };
}

fn free() -> u64 {
    FREE.set(FREE.get() + 1);
    FREE.get()
}

fn touched(trial: &Trial, name: &str) -> u64 {
    let names = trial.changes.iter().filter_map(|own| match own {
        Change::Env(_, edits) => Some(edits),
        _ => None,
    });
    u64::from(names.flatten().any(|(own, _)| own == name))
}

/// Explains the difference that the imagined crate `compile` shows between two trials, the first of
/// them in a varied world.
fn explain(
    left: &Trial,
    right: &Trial,
    suspects: &[(Variation, &str)],
    compile: impl Fn(&Trial) -> u64,
) -> Vec<Cause> {
    let world = World {
        vary: VARY,
        change: &change,
    };
    let mut seen = Suspects::new();
    for (variation, module) in suspects {
        seen.entry(*variation).or_default().push(module.into());
    }
    let left = left.with(world.all(Setting(1)));
    let left = Observed {
        answer: svh(compile(&left)),
        trial: left,
    };
    let right = Observed {
        answer: svh(compile(right)),
        trial: right.clone(),
    };
    let mut run = |trial: &Trial| Ok::<_, Infallible>(svh(compile(trial)));
    super::explain(&left, &right, &seen, &world, &mut run).unwrap()
}

fn faults(causes: &[Cause]) -> Vec<Fault> {
    causes.iter().map(|cause| cause.fault.clone()).collect()
}

/// A compile that a busy machine made too slow differs from no other.
#[test]
fn what_was_ended_accuses_nobody() {
    let ended = || Answer::Ended("it took too long".to_owned());
    let world = World {
        vary: VARY,
        change: &change,
    };
    let observed = |answer| Observed {
        answer,
        trial: trial("x.rs"),
    };
    let open = [Fault::Fails("it took too long".to_owned())];
    let none = Suspects::new();
    let mut run = |_: &Trial| Ok::<_, Infallible>(svh(1));
    for (one, other) in [(ended(), svh(1)), (svh(1), ended()), (ended(), ended())] {
        let sides = [observed(one), observed(other)];
        let causes = super::explain(&sides[0], &sides[1], &none, &world, &mut run).unwrap();
        assert_eq!(faults(&causes), open);
    }
    // Sides that differ, and every third compile ended.
    let mut count = 0;
    let mut run = |_: &Trial| {
        count += 1;
        Ok::<_, Infallible>(if count % 3 == 0 { ended() } else { svh(1) })
    };
    let sides = [observed(svh(1)), observed(svh(2))];
    let causes = super::explain(&sides[0], &sides[1], &none, &world, &mut run).unwrap();
    assert_eq!(faults(&causes), open);
}

#[test]
fn a_counter_is_chance() {
    let base = trial("x.rs");
    let causes = explain(&base, &base, &[], |_| free());
    assert_eq!(faults(&causes), [Fault::Chance]);
}

#[test]
fn an_address_is_blamed_on_aslr() {
    let base = trial("x.rs");
    let causes = explain(&base, &base, &[], |trial| {
        if trial.changes.contains(&Change::NoAslr) {
            0
        } else {
            free()
        }
    });
    assert_eq!(faults(&causes), [Fault::World(Variation::Aslr, vec![])]);
}

#[test]
fn of_two_macros_that_ask_the_one_that_uses_the_answer_is_named() {
    let base = trial("x.rs");
    let suspects = [
        (Variation::Randomness, "innocent.so"),
        (Variation::Randomness, "guilty.so"),
    ];
    let causes = explain(&base, &base, &suspects, |trial| {
        seed(trial, Variation::Randomness, "guilty.so")
    });
    assert_eq!(
        faults(&causes),
        [Fault::World(Variation::Randomness, vec![])]
    );
    assert_eq!(causes[0].modules, [PathBuf::from("guilty.so")]);
}

#[test]
fn two_guilty_macros_are_both_named() {
    let base = trial("x.rs");
    let suspects = [
        (Variation::Randomness, "one.so"),
        (Variation::Randomness, "innocent.so"),
        (Variation::Randomness, "two.so"),
    ];
    let causes = explain(&base, &base, &suspects, |trial| {
        let seed = |module| seed(trial, Variation::Randomness, module);
        seed("one.so") * 1000 + seed("two.so")
    });
    assert_eq!(causes[0].modules, ["one.so", "two.so"].map(PathBuf::from));
}

#[test]
fn two_factors_are_two_causes() {
    let base = trial("x.rs");
    let suspects = [(Variation::Randomness, "a.so"), (Variation::Time, "b.so")];
    let causes = explain(&base, &base, &suspects, |trial| {
        seed(trial, Variation::Randomness, "a.so") * 1000 + seed(trial, Variation::Time, "b.so")
    });
    let modules: Vec<_> = causes.iter().flat_map(|own| own.modules.clone()).collect();
    assert_eq!(modules, ["a.so", "b.so"].map(PathBuf::from));
}

#[test]
fn variables_that_matter_are_named_among_many() {
    let base = trial("x.rs");
    let causes = explain(&base, &base, &[], |trial| {
        touched(trial, "E") + 2 * touched(trial, "B")
    });
    let names = vec!["B".into(), "E".into()];
    assert_eq!(faults(&causes), [Fault::World(Variation::Env, names)]);
}

#[test]
fn the_argument_that_parts_the_sides_is_named() {
    let left = trial("x.rs -Zno-codegen -Copt-level=3");
    let causes = explain(&left, &trial("x.rs"), &[], |trial| {
        u64::from(trial.command.args.codegen("opt-level").is_some())
    });
    let edit = Edit::Remove(vec!["-Copt-level=3".into()]);
    assert_eq!(faults(&causes), [Fault::Flags(vec![edit])]);
}

#[test]
fn two_arguments_that_part_the_sides_only_together_are_both_named() {
    let left = trial("x.rs -Zno-codegen -Copt-level=3 -Cpanic=abort");
    let causes = explain(&left, &trial("x.rs"), &[], |trial| {
        let has = |key: &str| u64::from(trial.command.args.codegen(key).is_some());
        has("opt-level") + 2 * has("panic")
    });
    let [Fault::Flags(edits)] = &faults(&causes)[..] else {
        panic!("{causes:?}")
    };
    assert_eq!(edits.len(), 2);
}

#[test]
fn a_fair_coin_is_rarely_blamed_on_anything() {
    let mut blamed = 0;
    for seed in 0..4096_u64 {
        let state = Cell::new(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let causes = explain(&trial("x.rs -Zno-codegen"), &trial("x.rs"), &[], |_| {
            let mut x = state.get();
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            state.set(x);
            u64::from(x.count_ones() & 1)
        });
        blamed += usize::from(faults(&causes) != [Fault::Chance]);
    }
    // A quarter passes the repeats; what follows leaves a few per cent.
    assert!(blamed < 4096 / 8, "{blamed} of 4096");
}

#[test]
fn a_date_that_has_passed_is_told_from_chance() {
    let world = World {
        vary: VARY,
        change: &change,
    };
    let observed = |value| Observed {
        trial: trial("x.rs"),
        answer: svh(value),
    };
    let mut run = |_: &Trial| Ok::<_, Infallible>(svh(2));
    let causes = super::explain(
        &observed(2),
        &observed(1),
        &Suspects::new(),
        &world,
        &mut run,
    )
    .unwrap();
    assert_eq!(faults(&causes), [Fault::SinceRecorded]);
}

#[test]
fn a_map_of_two_entries_is_found_by_its_expansion_and_confirmed() {
    let world = World {
        vary: VARY,
        change: &change,
    };
    // Only every third seed orders it differently.
    let mut run = |trial: &Trial| {
        let order = seed(trial, Variation::Randomness, "m.so").is_multiple_of(3);
        Ok::<_, Infallible>(if trial.stop == Stop::Expansion {
            Answer::Expansion(order.to_string())
        } else {
            svh(order.into())
        })
    };
    let expansion = Trial {
        stop: Stop::Expansion,
        ..trial("x.rs")
    };
    let suspects = Suspects::from([(Variation::Randomness, vec!["m.so".into()])]);
    let probed = probe(&expansion, &trial("x.rs"), 0, &suspects, &world, &mut run).unwrap();
    let fault = Fault::World(Variation::Randomness, vec![]);
    assert_eq!(faults(&probed.causes), [fault]);
    assert!(probed.harmless.is_empty());

    let mut sorted = |_: &Trial| Ok::<_, Infallible>(Answer::Expansion(String::new()));
    let probed = probe(
        &expansion,
        &trial("x.rs"),
        0,
        &suspects,
        &world,
        &mut sorted,
    )
    .unwrap();
    assert!(probed.causes.is_empty());
    let seeds = Variation::Randomness.settings();
    assert_eq!(
        probed.harmless,
        BTreeMap::from([(Variation::Randomness, seeds)])
    );
}

#[test]
fn eight_files_of_one_macro_are_enough_and_another_macros_is_still_tried() {
    let file = |name: &str, module: &str| {
        let path = PathBuf::from(name);
        let undeclared = Undeclared {
            tries: vec![(Change::Hide(path.clone()), "hidden".to_owned())],
            failing_counts: true,
            modules: vec![module.into()],
        };
        (Fault::File(path), undeclared)
    };
    let many = (0..20).map(|nth| file(&nth.to_string(), "a.so"));
    let list: Vec<_> = many.chain([file("last", "b.so")]).collect();
    let world = World {
        vary: &[],
        change: &|_, _| None,
    };
    // Whatever is hidden shows.
    let found = probe_undeclared(&trial("a.rs"), &list, &world, &mut |trial| {
        Ok::<_, Infallible>(svh(trial.changes.is_empty().into()))
    });
    let Ok(found) = found;
    assert_eq!(found.len(), 9);
    assert_eq!(found[8].fault, Fault::File("last".into()));
}
