//! Types inside of types: how deep they go and what is among them.

use arrow_schema::{DataType, Schema};

use crate::codec::handler::HandlerError;

/// The deepest type of a column. Readers of Arrow's schemas give up at twice that, so that no file lets them run out of stack.
pub(crate) const DEEPEST: usize = 24;

/// The types that a type is made of.
pub(super) fn children(data_type: &DataType) -> Vec<&DataType> {
    match data_type {
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::ListView(field)
        | DataType::LargeListView(field)
        | DataType::FixedSizeList(field, _)
        | DataType::Map(field, _) => vec![field.data_type()],
        DataType::Struct(fields) => fields.iter().map(|field| field.data_type()).collect(),
        DataType::Union(fields, _) => fields.iter().map(|(_, field)| field.data_type()).collect(),
        DataType::Dictionary(_, values) => vec![values],
        DataType::RunEndEncoded(_, values) => vec![values.data_type()],
        _ => Vec::new(),
    }
}

/// Whether it is of lists of any length.
pub(super) fn is_list(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::List(_)
            | DataType::LargeList(_)
            | DataType::ListView(_)
            | DataType::LargeListView(_)
            | DataType::Map(..)
    )
}

/// Whether a type, or one that it is made of, is of this kind.
pub(super) fn any(data_type: &DataType, kind: &impl Fn(&DataType) -> bool) -> bool {
    kind(data_type) || children(data_type).into_iter().any(|child| any(child, kind))
}

fn depth(data_type: &DataType) -> usize {
    1 + children(data_type).into_iter().map(depth).max().unwrap_or_default()
}

/// # Errors
/// A column that is nested too deeply to be read back.
pub(super) fn check(schema: &Schema) -> Result<(), HandlerError> {
    match schema.fields().iter().find(|field| depth(field.data_type()) > DEEPEST) {
        None => Ok(()),
        Some(field) => Err(format!("the column `{}` is nested deeper than {DEEPEST} types", field.name()).into()),
    }
}
