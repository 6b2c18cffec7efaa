//! The crate graph around the guilty: what each infects, as a drawing and as lists by distance. The
//! rest of the graph says nothing and is left out, so that thousands of crates stay readable.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::report::words::{self, cut, shown};
use crate::report::{Report, Verdict};

/// Most guilty crates that are drawn.
const MAX_GUILTY: usize = 40;

/// With more, each is folded.
const MAX_OPEN: usize = 4;

/// Most crates and steps of a drawing.
const MAX_ROWS: usize = 8;
const MAX_COLUMNS: usize = 5;

/// Most crates in the list of one distance.
const MAX_LISTED: usize = 120;

/// Most characters of a label, and sizes in pixels for them: twelve-pixel type of fixed width is
/// about 7.3 pixels wide in the fonts of the page.
const MAX_LABEL: usize = 26;
const CHAR_WIDTH: usize = 74;
const NODE_HEIGHT: usize = 26;
const ROW: usize = 36;
const GAP: usize = 64;

/// What one guilty crate infects.
#[derive(Serialize)]
pub(super) struct Spread {
    /// Its id in the report, to be found by.
    #[serde(skip)]
    pub(super) of: String,
    pub(super) id: String,
    pub(super) count: String,
    krate: String,
    open: bool,
    levels: Vec<Step>,
    drawing: Drawing,
}

/// The crates at one distance.
#[derive(Serialize)]
struct Step {
    title: String,
    crates: Vec<String>,
    more: usize,
}

#[derive(Serialize)]
struct Drawing {
    width: usize,
    height: usize,
    nodes: Vec<Node>,
    edges: Vec<String>,
}

#[derive(Serialize)]
struct Node {
    class: &'static str,
    label: String,
    x: usize,
    y: usize,
    width: usize,
    height: usize,
    text_x: usize,
    text_y: usize,
}

/// Every guilty crate that infects others, the one that infects most first, and how many more there
/// are than are drawn.
pub(super) fn all(report: &Report) -> (Vec<Spread>, usize) {
    let mut infected: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    // Who loads a crate, for walking from the guilty outwards.
    let mut users: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for krate in &report.crates {
        for by in &krate.infected_by {
            if krate.verdict == Verdict::Infected {
                infected.entry(by).or_default().insert(&krate.id);
            }
        }
        for loaded in &krate.loads {
            users.entry(loaded).or_default().push(&krate.id);
        }
    }
    let mut guilty: Vec<(&str, BTreeSet<&str>)> = infected.into_iter().collect();
    guilty.sort_by(|a, b| b.1.len().cmp(&a.1.len()).then_with(|| a.0.cmp(b.0)));
    let more = guilty.len().saturating_sub(MAX_GUILTY);
    let open = guilty.len() <= MAX_OPEN;
    let drawn = guilty.into_iter().take(MAX_GUILTY).enumerate();
    let spreads = drawn.map(|(at, (id, infected))| {
        let levels = levels(id, &infected, &users);
        Spread {
            of: id.to_owned(),
            id: format!("spread-{}", at + 1),
            count: words::crates(infected.len()),
            krate: shown(id),
            open,
            drawing: draw(id, &levels, &users),
            levels: levels.iter().enumerate().map(step).collect(),
        }
    });
    (spreads.collect(), more)
}

/// The infected by distance: those that load the guilty crate, those that load these, and so on. At
/// the end those that only unjudged crates lead to.
fn levels<'a>(
    guilty: &'a str,
    infected: &BTreeSet<&'a str>,
    users: &BTreeMap<&'a str, Vec<&'a str>>,
) -> Vec<Vec<&'a str>> {
    let mut left = infected.clone();
    let mut levels = Vec::new();
    let mut last = vec![guilty];
    loop {
        let next: BTreeSet<&str> = last
            .iter()
            .flat_map(|id| users.get(id).into_iter().flatten())
            .copied()
            .filter(|id| left.contains(id))
            .collect();
        if next.is_empty() {
            break;
        }
        left.retain(|id| !next.contains(id));
        last = next.into_iter().collect();
        levels.push(last.clone());
    }
    if !left.is_empty() {
        levels.push(left.into_iter().collect());
    }
    levels
}

fn step((at, crates): (usize, &Vec<&str>)) -> Step {
    let title = match at {
        0 => "directly".to_owned(),
        at => format!("{} steps away", at + 1),
    };
    let count = crates.len();
    Step {
        title: format!("{title}: {}", words::crates(count)),
        crates: crates
            .iter()
            .take(MAX_LISTED)
            .map(|own| shown(own))
            .collect(),
        more: count.saturating_sub(MAX_LISTED),
    }
}

/// Columns from left to right, arrows from a crate to those that load it.
fn draw(guilty: &str, levels: &[Vec<&str>], users: &BTreeMap<&str, Vec<&str>>) -> Drawing {
    let own = [vec![guilty]];
    let columns = own.iter().chain(levels).take(MAX_COLUMNS + 1);
    let rows = |column: &Vec<&str>| column.len().min(MAX_ROWS + 1);
    let highest = columns.clone().map(rows).max().unwrap_or(1);
    let mut drawing = Drawing {
        width: 0,
        height: highest * ROW,
        nodes: Vec::new(),
        edges: Vec::new(),
    };
    // Where a crate stands: the middle of its left side, and of its right side.
    let mut places: BTreeMap<&str, [(usize, usize); 2]> = BTreeMap::new();
    let mut x = 1;
    for (at, column) in columns.enumerate() {
        let more = column.len().saturating_sub(MAX_ROWS);
        let mut labels: Vec<(Option<&str>, String)> = column
            .iter()
            .take(MAX_ROWS)
            .map(|id| (Some(*id), label(id)))
            .collect();
        if more > 0 {
            labels.push((None, format!("+ {more} more")));
        }
        let longest = labels.iter().map(|(_, own)| own.chars().count()).max();
        let width = longest.unwrap_or(0) * CHAR_WIDTH / 10 + 20;
        let top = (highest - labels.len()) * ROW / 2 + (ROW - NODE_HEIGHT) / 2;
        for (row, (id, label)) in labels.into_iter().enumerate() {
            let y = top + row * ROW;
            let middle = y + NODE_HEIGHT / 2;
            if let Some(id) = id {
                places.insert(id, [(x, middle), (x + width, middle)]);
            }
            drawing.nodes.push(Node {
                class: match (at, id) {
                    (_, None) => "more",
                    (0, _) => "guilty",
                    _ => "infected",
                },
                label,
                x,
                y,
                width,
                height: NODE_HEIGHT,
                text_x: x + 10,
                text_y: middle + 4,
            });
        }
        x += width + GAP;
    }
    drawing.width = x - GAP + 1;
    for (id, [_, (from_x, from_y)]) in &places {
        for user in users.get(id).into_iter().flatten() {
            // What leads to the same or an earlier column would only tangle the drawing.
            let Some([(to_x, to_y), _]) = places.get(user).filter(|to| to[0].0 > *from_x) else {
                continue;
            };
            let bend = (from_x + GAP / 2).min(*to_x);
            let back = to_x.saturating_sub(GAP / 2).max(bend);
            drawing.edges.push(format!(
                "M{from_x} {from_y}C{bend} {from_y} {back} {to_y} {to_x} {to_y}"
            ));
        }
    }
    drawing
}

/// A crate's id, from its end: that tells crates apart.
fn label(id: &str) -> String {
    let text = shown(id);
    let count = text.chars().count();
    if count <= MAX_LABEL {
        return text;
    }
    if id.starts_with("//") {
        let tail: String = text.chars().skip(count - MAX_LABEL + 1).collect();
        return format!("…{tail}");
    }
    cut(&text, MAX_LABEL - 1)
}
