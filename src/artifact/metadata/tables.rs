//! The tables of the root: one for each property, each with an element for each definition.
//!
//! There are some eighty, and their number and order change with the release. They stand back to back, and
//! the distance from one to the next is the size of the one before: that chain checks itself, so the
//! tables are *found*. What each is for is told by orders that compilers are known to have, of which
//! those count that the content does not contradict; where two of these disagree, nothing is said.

use super::Places;
use super::items::Property;
use crate::bytes::Cursor;

/// A shorter chain could be chance.
const MIN_TABLES: usize = 40;

/// More definitions than the largest crates have.
pub(super) const MAX_ITEMS: usize = 1 << 20;

/// A table: position in the blob, bytes of an element, number of elements.
#[derive(Debug, Clone, Copy)]
pub(super) struct Table {
    pub(super) at: usize,
    pub(super) width: usize,
    pub(super) count: usize,
}

/// All tables, and the positions of the arrays that stand before them.
#[derive(Debug)]
pub(super) struct Tables {
    pub(super) all: Vec<Table>,
    pub(super) arrays: Vec<usize>,
}

/// What the elements of a table are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// The position of a value.
    Value,
    /// Position and length of a list, their bytes alternating.
    Array,
    /// The value itself, one byte.
    Byte,
    /// Anything else, or it is not known.
    Unknown,
}

/// What a table is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) property: Property,
    pub(super) form: Form,
    /// So many tables before it is one that has elements for the very same definitions.
    like: Option<usize>,
}

const fn value(property: Property) -> Column {
    let form = Form::Value;
    let like = None;
    Column {
        property,
        form,
        like,
    }
}

const fn array(property: Property) -> Column {
    let form = Form::Array;
    let like = None;
    Column {
        property,
        form,
        like,
    }
}

const fn byte(property: Property) -> Column {
    let form = Form::Byte;
    let like = None;
    Column {
        property,
        form,
        like,
    }
}

/// A value for the definitions that the table `distance` places before has one for.
const fn like(property: Property, distance: usize) -> Column {
    Column {
        property,
        form: Form::Value,
        like: Some(distance),
    }
}

impl Column {
    /// Of the table of keys, which is told by its content.
    pub(super) fn of_paths() -> Self {
        value(Property::Path)
    }
}

const UNKNOWN: Column = Column {
    property: Property::Other,
    form: Form::Unknown,
    like: None,
};

use Property as P;

/// Orders of the tables between that of path hashes and that of attributes, the oldest first.
///
/// Read in rustc's `rmeta/mod.rs` (`define_tables!`, "defaulted") as of 1.87, 1.91 and after 1.98, and held
/// against the artifacts of 1.78, 1.85 and 1.95 to 1.98.
const BEFORE: &[&[Column]] = &[
    // 1.78
    &[
        array(P::Generics), // explicit_item_bounds
        array(P::Generics), // inferred_outlives_of
        array(P::Children), // inherent_impls
        UNKNOWN,
        UNKNOWN,
        UNKNOWN,
        array(P::Children), // module_children_reexports
        byte(P::Inlining),  // cross_crate_inlinable
    ],
    // 1.85 to 1.91
    &[
        array(P::Generics),
        array(P::Generics), // explicit_item_self_bounds
        array(P::Generics),
        array(P::Generics), // explicit_super_predicates_of
        array(P::Generics), // explicit_implied_predicates_of
        array(P::Generics), // explicit_implied_const_bounds
        array(P::Children),
        UNKNOWN,
        UNKNOWN,
        array(P::Children),
        byte(P::Inlining),
    ],
    // 1.95 to 1.98
    &[
        array(P::Generics),
        array(P::Generics),
        array(P::Generics),
        array(P::Generics),
        array(P::Generics),
        array(P::Generics),
        array(P::Children),
        UNKNOWN,
        array(P::Children),
        array(P::Children), // ambig_module_children
        byte(P::Inlining),
        byte(P::Asyncness),
        byte(P::Constness),
        byte(P::Safety),
        byte(P::Defaultness),
    ],
    // Later: one more.
    &[
        array(P::Generics),
        array(P::Generics),
        array(P::Generics),
        array(P::Generics),
        array(P::Generics),
        array(P::Generics),
        array(P::Children),
        UNKNOWN,
        array(P::Children),
        array(P::Children),
        byte(P::Inlining),
        byte(P::Asyncness),
        byte(P::Constness),
        byte(P::Safety),
        byte(P::Defaultness),
        UNKNOWN, // impl_is_fully_generic_for_reflection
    ],
];

/// The three tables before that of kinds, that one, and the next, in all releases from 1.76 on.
const CORE: [Column; 5] = [
    array(P::Attributes),
    array(P::Children),
    array(P::Children),
    byte(P::Kind),
    value(P::Visibility),
];

/// How many of [`CORE`] stand before the table of kinds.
const CORE_BEFORE: usize = 3;

/// Orders of the tables behind [`CORE`], the oldest first, as far as they tell something; from the same
/// sources ("optional").
const AFTER: &[&[Column]] = &[
    // 1.78
    &[
        value(P::Span), // def_span
        value(P::Span), // def_ident_span
        value(P::Stability),
        value(P::Stability),
        value(P::Stability),
        value(P::Stability), // lookup_deprecation_entry
        value(P::Generics),  // explicit_predicates_of
        like(P::Generics, 1),
        value(P::Generics), // super_predicates_of
        value(P::Generics), // implied_predicates_of
        value(P::Type),
        array(P::Generics), // variances_of
        value(P::Signature),
        value(P::Codegen),
        value(P::Implements),
        value(P::Generics), // const_param_default
        value(P::Generics), // object_lifetime_default
        value(P::Mir),      // optimized_mir
        value(P::Mir),      // mir_for_ctfe
        like(P::Mir, 2),    // closure_saved_names_of_captured_variables
        value(P::Mir),      // mir_coroutine_witnesses
        value(P::Mir),      // promoted_mir
        value(P::Mir),      // thir_abstract_const
        UNKNOWN,            // impl_parent
        byte(P::Constness),
        byte(P::Defaultness),
        UNKNOWN,            // coerce_unsized_info
        value(P::Constant), // mir_const_qualif
        like(P::Constant, 1),
        byte(P::Asyncness),
        array(P::Signature), // fn_arg_names
    ],
    // 1.85 to 1.91
    &[
        byte(P::Safety),
        value(P::Span),
        value(P::Span),
        value(P::Stability),
        value(P::Stability),
        value(P::Stability),
        value(P::Stability),
        value(P::Generics),
        like(P::Generics, 1),
        value(P::Type),
        array(P::Generics),
        value(P::Signature),
        value(P::Codegen),
        value(P::Implements),
        value(P::Generics),
        value(P::Generics),
        value(P::Mir),
        value(P::Mir),
        like(P::Mir, 2),
        value(P::Mir),
        value(P::Mir),
        value(P::Mir),
        UNKNOWN,
        byte(P::Constness),
        value(P::Generics), // const_conditions
        byte(P::Defaultness),
        UNKNOWN,
        value(P::Constant),
        like(P::Constant, 1),
        array(P::Generics), // rendered_precise_capturing_args
        byte(P::Asyncness),
        array(P::Signature),
    ],
    // 1.95 and later
    &[
        value(P::Span),
        value(P::Span),
        value(P::Stability),
        value(P::Stability),
        value(P::Stability),
        value(P::Stability),
        value(P::Generics),
        like(P::Generics, 1),
        value(P::Type),
        array(P::Generics),
        value(P::Signature),
        value(P::Codegen),
        value(P::Implements),
        value(P::Generics),
        value(P::Generics),
        value(P::Mir),
        value(P::Mir),
        value(P::Constant), // trivial_const
        like(P::Mir, 3),
        value(P::Mir),
        value(P::Mir),
        value(P::Mir),
        UNKNOWN,
        value(P::Generics),
        UNKNOWN,
        value(P::Constant),
        like(P::Constant, 1),
        array(P::Generics),
        array(P::Signature),
    ],
];

/// Finds the tables of `blob`.
pub(super) fn find(blob: &[u8], places: &Places) -> Option<Tables> {
    let (chain, distances) = chain(blob, places)?;
    let (start, arrays) = first_table(blob, places, chain, distances[0].2)?;
    let mut at = start;
    let mut all = Vec::with_capacity(distances.len());
    for (width, count, _) in distances {
        all.push(Table { at, width, count });
        at = at.checked_add(width * count)?;
    }
    (at <= places.root.start).then_some(Tables { all, arrays })
}

/// The longest chain of tables that the root holds, and where it begins.
#[expect(clippy::type_complexity, reason = "three numbers, in one place")]
fn chain(blob: &[u8], places: &Places) -> Option<(usize, Vec<(usize, usize, usize)>)> {
    let mut best: Vec<(usize, usize, usize)> = Vec::new();
    let mut best_at = 0;
    let end = places.root.end.min(blob.len());
    for start in places.root.start..end {
        let Ok(mut cursor) = Cursor::at(blob.get(..end)?, start) else {
            break;
        };
        let mut rows: Vec<(usize, usize, usize)> = Vec::new();
        let mut row = || -> Option<(usize, usize, usize)> {
            Some((
                cursor.leb_usize().ok()?,
                cursor.leb_usize().ok()?,
                cursor.leb_usize().ok()?,
            ))
        };
        while let Some((width, count, distance)) = row() {
            let size = rows.last().map(|(width, count, _)| width * count);
            if width > 16 || count > MAX_ITEMS || size.is_some_and(|size| size != distance) {
                break;
            }
            rows.push((width, count, distance));
        }
        if rows.len() > best.len() {
            best = rows;
            best_at = start;
        }
        // The chain is the longest by far; what begins inside of it is only shorter.
        if best.len() >= MIN_TABLES && start > best_at + 3 {
            break;
        }
    }
    (best.len() >= MIN_TABLES).then_some((best_at, best))
}

/// Where the first table stands: its distance is counted from the last of the arrays before it, so
/// those are read over. There may be no proc macros between, whose list is not described here.
fn first_table(
    blob: &[u8],
    places: &Places,
    chain: usize,
    distance: usize,
) -> Option<(usize, Vec<usize>)> {
    let (at, mut previous) = places.lists?;
    let mut cursor = Cursor::at(blob, at).ok()?;
    let mut arrays = Vec::new();
    while cursor.offset() + 1 < chain {
        if cursor.leb_usize().ok()? > 0 {
            previous = previous.checked_add(cursor.leb_usize().ok()?)?;
            arrays.push(previous);
        }
    }
    let none = cursor.offset() + 1 == chain && cursor.u8().ok()? == 0;
    let first = none.then(|| previous.checked_add(distance))??;
    Some((first, arrays))
}

impl Tables {
    /// What each table is for, as far as it is known; `hashes` and `kinds` are the indexes of two
    /// tables that were told by their content.
    pub(super) fn columns(
        &self,
        blob: &[u8],
        places: &Places,
        hashes: usize,
        kinds: usize,
    ) -> Vec<Column> {
        let mut columns = vec![UNKNOWN; self.all.len()];
        let Some(core) = kinds.checked_sub(CORE_BEFORE).filter(|core| *core > hashes) else {
            return columns;
        };
        let mut set = |start: usize, orders: &[&[Column]]| {
            let fitting: Vec<&[Column]> = orders
                .iter()
                .copied()
                .filter(|order| self.fits(blob, places, start, order))
                .collect();
            for (offset, column) in columns.iter_mut().skip(start).enumerate() {
                let mut said = fitting.iter().filter_map(|order| order.get(offset));
                if let Some(one) = said.next()
                    && said.all(|other| one.property == other.property && one.form == other.form)
                {
                    *column = *one;
                }
            }
        };
        set(core, &[&CORE]);
        set(core + CORE.len(), AFTER);
        // Between two known places, the number of tables chooses the order.
        let between = core - hashes - 1;
        let before = BEFORE.iter().filter(|order| order.len() == between);
        set(hashes + 1, &before.copied().collect::<Vec<_>>());
        columns
    }

    /// Whether the content of the tables from `start` on is what `order` says.
    fn fits(&self, blob: &[u8], places: &Places, start: usize, order: &[Column]) -> bool {
        let tables = self.all.get(start..).unwrap_or_default();
        tables.len() >= order.len()
            && tables
                .iter()
                .zip(order)
                .enumerate()
                .all(|(index, (table, column))| {
                    let same = column.like.is_none_or(|distance| {
                        let other = &tables[index - distance];
                        present(blob, table).eq(present(blob, other))
                    });
                    same && table.fits(blob, places, column.form)
                })
    }
}

/// The definitions that have an element that is not zero.
fn present<'a>(blob: &'a [u8], table: &'a Table) -> impl Iterator<Item = usize> + 'a {
    (0..table.count).filter(move |index| {
        let element = table.element(blob, *index);
        element.is_some_and(|bytes| bytes.iter().any(|byte| *byte != 0))
    })
}

impl Table {
    /// The bytes of an element.
    pub(super) fn element<'a>(&self, blob: &'a [u8], index: usize) -> Option<&'a [u8]> {
        let at = self.at.checked_add(index.checked_mul(self.width)?)?;
        blob.get(at..at.checked_add(self.width)?)
    }

    fn fits(&self, blob: &[u8], places: &Places, form: Form) -> bool {
        match form {
            Form::Unknown => true,
            Form::Byte => self.width <= 1,
            Form::Value | Form::Array => self.positions(blob, places, form).all(|p| p.is_some()),
        }
    }

    /// The positions that the elements give, with their indexes; nothing in the place of what cannot
    /// be one.
    pub(super) fn positions<'a>(
        &'a self,
        blob: &'a [u8],
        places: &'a Places,
        form: Form,
    ) -> impl Iterator<Item = Option<(u32, u32)>> + 'a {
        let step = if form == Form::Array { 2 } else { 1 };
        (0..self.count).filter_map(move |index| {
            let Some(bytes) = self.element(blob, index) else {
                return Some(None);
            };
            let position = number(bytes.iter().step_by(step));
            let length = number(bytes.iter().skip(1).step_by(2));
            // An empty list has a position, but nothing stands there.
            if bytes.iter().all(|byte| *byte == 0) || (step == 2 && length == 0) {
                return None;
            }
            let inside = position >= places.header.end && position < self.at;
            let found = u32::try_from(position).ok().zip(u32::try_from(index).ok());
            Some(found.filter(|_| inside))
        })
    }
}

fn number<'a>(bytes: impl DoubleEndedIterator<Item = &'a u8>) -> usize {
    bytes
        .rev()
        .fold(0, |value, byte| (value << 8) | usize::from(*byte))
}
