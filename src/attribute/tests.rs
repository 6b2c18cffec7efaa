//! Attribution against imagined crates: functions from a trial to an SVH.

use std::cell::Cell;
use std::convert::Infallible;

use super::*;
use crate::plan::Stop;
use crate::rustc::args::Args;

fn trial(args: &str, changes: Vec<Change>) -> Trial {
    let args = Args::new(args.split(' ').map(OsString::from).collect());
    let command = CommandLine {
        args,
        env: std::iter::empty().collect(),
    };
    Trial {
        command,
        stop: Stop::End,
        changes,
        incremental: false,
    }
}

fn svh(value: u128) -> Answer {
    Answer::Svh(Svh::new(value))
}

/// Explains the difference that the imagined crate `compile` shows between two trials.
fn explain(left: Trial, right: &Trial, compile: impl Fn(&Trial) -> u128) -> Cause {
    let left = Observed {
        answer: svh(compile(&left)),
        trial: left,
    };
    let right = Observed {
        answer: svh(compile(right)),
        trial: right.clone(),
    };
    let mut run = |trial: &Trial| Ok::<_, Infallible>(svh(compile(trial)));
    super::explain(&left, &right, &mut run).unwrap()
}

fn env(names: &[&str]) -> Change {
    let edits = names
        .iter()
        .map(|name| (OsString::from(name), Some("x".into())));
    Change::Env(Variation::Env, edits.collect())
}

#[test]
fn a_counter_is_chance_without_a_factor() {
    let count = Cell::new(0);
    let cause = explain(trial("x.rs", vec![]), &trial("x.rs", vec![]), |_| {
        count.set(count.get() + 1);
        count.get()
    });
    assert_eq!(cause.fault, Fault::Chance(None));
}

#[test]
fn an_address_is_chance_that_aslr_explains() {
    let count = Cell::new(0);
    let cause = explain(trial("x.rs", vec![]), &trial("x.rs", vec![]), |trial| {
        count.set(count.get() + 1);
        if trial.changes.contains(&Change::NoAslr) {
            0
        } else {
            count.get()
        }
    });
    assert_eq!(cause.fault, Fault::Chance(Some(Variation::Aslr)));
}

#[test]
fn one_variable_among_many_is_named() {
    let names = ["A", "B", "C", "D", "E", "F", "G"];
    let changes = vec![Change::NoAslr, env(&names), Change::Umask(0)];
    let cause = explain(trial("x.rs", changes), &trial("x.rs", vec![]), |trial| {
        let touched = |name: &str| {
            trial.changes.iter().any(|change| match change {
                Change::Env(_, edits) => edits.iter().any(|(own, _)| own == name),
                _ => false,
            })
        };
        u128::from(touched("E")) + 2 * u128::from(touched("B"))
    });
    assert_eq!(
        cause.fault,
        Fault::World(vec![(Variation::Env, vec!["B".into(), "E".into()])])
    );
    assert!(
        cause
            .evidence
            .last()
            .unwrap()
            .contains("all other variations together moved nothing")
    );
}

#[test]
fn the_argument_that_parts_the_sides_is_named() {
    let left = trial("x.rs -Zno-codegen -Copt-level=3", vec![]);
    let cause = explain(left, &trial("x.rs", vec![]), |trial| {
        u128::from(trial.command.args.codegen("opt-level").is_some())
    });
    assert_eq!(
        cause.fault,
        Fault::Flags(vec![Edit::Remove(vec!["-Copt-level=3".into()])])
    );
}

#[test]
fn two_arguments_that_part_the_sides_only_together_are_both_named() {
    let left = trial("x.rs -Zno-codegen -Copt-level=3 -Cpanic=abort", vec![]);
    let cause = explain(left, &trial("x.rs", vec![]), |trial| {
        let has = |key: &str| u128::from(trial.command.args.codegen(key).is_some());
        has("opt-level") + 2 * has("panic")
    });
    let Fault::Flags(edits) = cause.fault else {
        panic!("{cause:?}")
    };
    assert_eq!(edits.len(), 2);
}

#[test]
fn a_map_of_two_entries_is_never_blamed_on_a_flag() {
    // Every sequence of coin flips that a short explanation can meet.
    let mut blamed = 0;
    for seed in 0..4096_u64 {
        let state = Cell::new(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let flip = |_: &Trial| {
            let mut x = state.get();
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            state.set(x);
            u128::from(x.count_ones() & 1)
        };
        let left = Observed {
            trial: trial("x.rs -Zno-codegen", vec![]),
            answer: svh(0),
        };
        let right = Observed {
            trial: trial("x.rs", vec![]),
            answer: svh(1),
        };
        let mut run = |trial: &Trial| Ok::<_, Infallible>(svh(flip(trial)));
        let cause = super::explain(&left, &right, &mut run).unwrap();
        blamed += usize::from(!matches!(
            cause.fault,
            Fault::Chance(_) | Fault::SinceRecorded
        ));
    }
    // By chance alone: 2^-(REPEATS-1) for each side, half of those with different answers.
    assert!(blamed < 4096 / 100, "{blamed} of 4096");
}

#[test]
fn a_date_that_has_passed_is_told_from_chance() {
    let left = Observed {
        trial: trial("x.rs", vec![]),
        answer: svh(2),
    };
    let right = Observed {
        trial: trial("x.rs", vec![]),
        answer: svh(1),
    };
    let mut run = |_: &Trial| Ok::<_, Infallible>(svh(2));
    let cause = super::explain(&left, &right, &mut run).unwrap();
    assert_eq!(cause.fault, Fault::SinceRecorded);
}
