//! Values in columns of PostgreSQL, which have types, and tests on them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio_postgres::types::{ToSql, Type};

use crate::index::columns::{self, Column, PLACE};
use crate::query::{ColumnType, Test, like_prefix, successor};
use crate::value::Value;

/// Longer texts have no place in a column with an index, in bytes.
pub(super) const LONGEST_INDEXED: usize = 2000;
/// The first time that PostgreSQL has, in 4714 BC, in microseconds since 1970. The last one is behind all of ours.
const FIRST_TIME: i64 = -210_866_803_200_000_000;

type Condition = columns::Condition<Bound>;

/// A value as it stands in a column, or in a condition.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Bound {
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Time(SystemTime),
}

impl Bound {
    pub(super) fn sql_type(&self) -> Type {
        match self {
            Self::Bool(_) => Type::BOOL,
            Self::Int(_) => Type::INT8,
            Self::Float(_) => Type::FLOAT8,
            Self::Text(_) => Type::TEXT,
            Self::Time(_) => Type::TIMESTAMPTZ,
        }
    }

    pub(super) fn into_sql(self) -> Box<dyn ToSql + Send + Sync> {
        match self {
            Self::Bool(value) => Box::new(value),
            Self::Int(value) => Box::new(value),
            Self::Float(value) => Box::new(value),
            Self::Text(value) => Box::new(value),
            Self::Time(value) => Box::new(value),
        }
    }
}

/// How a column for values of this type is declared.
pub(super) fn sql_type(column_type: ColumnType) -> &'static str {
    match column_type {
        ColumnType::Bool => "boolean",
        ColumnType::Integer | ColumnType::Duration => "bigint",
        ColumnType::Float => "double precision",
        // Ordered by bytes, as the engine does.
        ColumnType::Text => "text COLLATE \"C\"",
        ColumnType::Timestamp => "timestamptz",
    }
}

/// Values of one column as an array.
pub(super) fn array(column_type: ColumnType, values: Vec<Option<Bound>>) -> (Box<dyn ToSql + Send + Sync>, Type) {
    fn of<T: ToSql + Send + Sync + 'static>(
        values: Vec<Option<Bound>>,
        value: impl Fn(Bound) -> Option<T>,
    ) -> Box<dyn ToSql + Send + Sync> {
        Box::new(values.into_iter().map(|bound| bound.and_then(&value)).collect::<Vec<Option<T>>>())
    }
    match column_type {
        ColumnType::Bool => {
            (of(values, |bound| if let Bound::Bool(value) = bound { Some(value) } else { None }), Type::BOOL_ARRAY)
        }
        ColumnType::Integer | ColumnType::Duration => {
            (of(values, |bound| if let Bound::Int(value) = bound { Some(value) } else { None }), Type::INT8_ARRAY)
        }
        ColumnType::Float => {
            (of(values, |bound| if let Bound::Float(value) = bound { Some(value) } else { None }), Type::FLOAT8_ARRAY)
        }
        ColumnType::Text => {
            (of(values, |bound| if let Bound::Text(value) = bound { Some(value) } else { None }), Type::TEXT_ARRAY)
        }
        ColumnType::Timestamp => (
            of(values, |bound| if let Bound::Time(value) = bound { Some(value) } else { None }),
            Type::TIMESTAMPTZ_ARRAY,
        ),
    }
}

/// How a value stands in a column of this type; `None` if it has no place there.
pub(super) fn placed(value: &Value, column_type: ColumnType, indexed: bool) -> Option<Bound> {
    let bound = bound(value, column_type)?;
    match &bound {
        Bound::Text(text) if indexed && text.len() > LONGEST_INDEXED => None,
        _ => Some(bound),
    }
}

/// A value as PostgreSQL compares it with those of a column of this type; `None` if there is none that is equal to it.
fn bound(value: &Value, column_type: ColumnType) -> Option<Bound> {
    Some(match (column_type, value) {
        (ColumnType::Bool, Value::Bool(value)) => Bound::Bool(*value),
        (ColumnType::Integer, Value::Int(number)) => Bound::Int(*number),
        (ColumnType::Integer, Value::UInt(number)) => Bound::Int(i64::try_from(*number).ok()?),
        (ColumnType::Float, Value::Float(number)) if !number.is_nan() => Bound::Float(*number),
        (ColumnType::Float, Value::Int(number)) => Bound::Float(exactly(i128::from(*number))?),
        (ColumnType::Float, Value::UInt(number)) => Bound::Float(exactly(i128::from(*number))?),
        (ColumnType::Text, Value::Text(text)) if !text.contains('\0') => Bound::Text(text.clone()),
        (ColumnType::Timestamp, Value::Timestamp(time)) => Bound::Time(time_of(time.as_micros())?),
        (ColumnType::Duration, Value::Duration(time)) => Bound::Int(i64::try_from(time.as_nanos()).ok()?),
        _ => return None,
    })
}

fn time_of(micros: i64) -> Option<SystemTime> {
    let distance = Duration::from_micros(micros.unsigned_abs());
    (micros >= FIRST_TIME)
        .then(|| if micros < 0 { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) })?
}

/// A whole number as a float, if there is one that is equal to it.
fn exactly(number: i128) -> Option<f64> {
    let float = number as f64;
    (float as i128 == number).then_some(float)
}

/// Whether the engine compares a value with those of a column of this type.
fn is_comparable(value: &Value, column_type: ColumnType) -> bool {
    let is_number = |column_type| matches!(column_type, ColumnType::Integer | ColumnType::Float);
    match (ColumnType::of(value), value) {
        (_, Value::Float(number)) if number.is_nan() => false,
        (Some(of), _) => of == column_type || is_number(of) && is_number(column_type),
        (None, _) => false,
    }
}

/// A test on the values of a column that are in the table.
pub(super) fn on_placed(test: &Test, name: &str, column: &Column) -> Condition {
    let Some(column_type) = column.column_type else { return Condition::unknown() };
    let compared = |value: &Value, sign: Sign| compare(value, sign, name, column_type);
    let is_text = column_type == ColumnType::Text;
    // What is no text may have one in its own way: that is left to the engine.
    let of_text = |condition: Condition| if is_text { condition } else { Condition::new("FALSE", Vec::new(), false) };
    match test {
        Test::Eq(value) => compared(value, Sign::Eq),
        Test::Ne(value) => {
            match bound(value, column_type) {
                Some(value) => Condition::new(format!("{name} <> {PLACE}"), vec![value], true),
                // Of all that is there, nothing is equal to it.
                None => Condition::present(name, !is_comparable(value, column_type)),
            }
        }
        Test::Lt(value) => compared(value, Sign::Lt),
        Test::Le(value) => compared(value, Sign::Le),
        Test::Gt(value) => compared(value, Sign::Gt),
        Test::Ge(value) => compared(value, Sign::Ge),
        Test::In(values) => {
            Condition::joined(values.iter().map(|value| compared(value, Sign::Eq)).collect(), " OR ", "FALSE")
        }
        Test::StartsWith(start) => of_text(beginning_with(start, name, true)),
        Test::Like(pattern) => of_text(beginning_with(&like_prefix(pattern), name, false)),
        Test::Contains(part) if part.contains('\0') => of_text(Condition::never()),
        Test::Contains(part) => {
            let bound = vec![Bound::Text(part.clone())];
            of_text(Condition::new(format!("strpos({name}, {PLACE}) > 0"), bound, true))
        }
        Test::Present => Condition::present(name, true),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    Eq,
    Lt,
    Le,
    Gt,
    Ge,
}

fn compare(value: &Value, sign: Sign, name: &str, column_type: ColumnType) -> Condition {
    if !is_comparable(value, column_type) {
        return Condition::never();
    }
    if let (ColumnType::Integer, Value::Float(number)) = (column_type, value) {
        return with_fraction(*number, sign, name);
    }
    let sql = match sign {
        Sign::Eq => "=",
        Sign::Lt => "<",
        Sign::Le => "<=",
        Sign::Gt => ">",
        Sign::Ge => ">=",
    };
    match bound(value, column_type) {
        Some(value) => Condition::new(format!("{name} {sql} {PLACE}"), vec![value], true),
        None if sign == Sign::Eq => Condition::never(),
        None => Condition::present(name, false),
    }
}

/// Whole numbers compared with one that may have a fraction, as exactly as the engine does.
fn with_fraction(number: f64, sign: Sign, name: &str) -> Condition {
    let whole = |number: f64, sql: &str| {
        // Every float from here to there is a whole number of 64 bits, once it has no fraction.
        let fits = (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&number);
        fits.then(|| Condition::new(format!("{name} {sql} {PLACE}"), vec![Bound::Int(number as i64)], true))
    };
    let is_above = number > 0.0;
    let beyond = |holds: bool| if holds { Condition::present(name, true) } else { Condition::never() };
    match sign {
        Sign::Eq if number.fract() != 0.0 => Condition::never(),
        Sign::Eq => whole(number, "=").unwrap_or_else(|| beyond(false)),
        Sign::Lt => whole(number.ceil(), "<").unwrap_or_else(|| beyond(is_above)),
        Sign::Le => whole(number.floor(), "<=").unwrap_or_else(|| beyond(is_above)),
        Sign::Gt => whole(number.floor(), ">").unwrap_or_else(|| beyond(!is_above)),
        Sign::Ge => whole(number.ceil(), ">=").unwrap_or_else(|| beyond(!is_above)),
    }
}

/// Texts are ordered by their bytes.
fn beginning_with(start: &str, name: &str, exact: bool) -> Condition {
    if let Some((before, _)) = start.split_once('\0') {
        // None in the table does.
        return if exact { Condition::never() } else { beginning_with(before, name, false) };
    }
    let bound = Bound::Text(start.to_owned());
    match successor(start) {
        Some(end) => {
            let bounds = vec![bound, Bound::Text(end)];
            Condition::new(format!("{name} >= {PLACE} AND {name} < {PLACE}"), bounds, exact)
        }
        None => Condition::new(format!("{name} >= {PLACE}"), vec![bound], exact && start.is_empty()),
    }
}
