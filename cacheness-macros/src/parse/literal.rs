//! Literals of options. A suffix is never dropped: it means something, or it is an error.

use syn::{Error, Expr, Lit, LitStr, Result};

/// The expression without parentheses and without the invisible groups that `macro_rules!` puts around arguments.
pub(crate) fn bare(mut expr: &Expr) -> &Expr {
    loop {
        expr = match expr {
            Expr::Group(group) => &group.expr,
            Expr::Paren(paren) => &paren.expr,
            _ => return expr,
        };
    }
}

/// The literal that an expression is, if it is one.
pub(super) fn of(expr: &Expr) -> Option<&Lit> {
    match bare(expr) {
        Expr::Lit(literal) => Some(&literal.lit),
        _ => None,
    }
}

/// Whether this is no suffix, or one that names the type of a number.
pub(super) fn is_numeric_type(suffix: &str) -> bool {
    const TYPES: [&str; 15] =
        ["", "u8", "u16", "u32", "u64", "u128", "usize", "i8", "i16", "i32", "i64", "i128", "isize", "f32", "f64"];
    TYPES.contains(&suffix)
}

/// The text of a literal.
pub(crate) fn text(option: &str, literal: &LitStr) -> Result<String> {
    match literal.suffix() {
        "" => Ok(literal.value()),
        suffix => {
            let message = format!("`{option}` has the suffix `{suffix}` behind its text: write it inside the quotes");
            Err(Error::new(literal.span(), message))
        }
    }
}

/// The digits of a number, as a text; `None` if it is no number.
pub(super) fn number(option: &str, literal: &Lit) -> Result<Option<String>> {
    let (digits, suffix) = match literal {
        Lit::Int(int) => (int.base10_digits(), int.suffix()),
        Lit::Float(float) => (float.base10_digits(), float.suffix()),
        _ => return Ok(None),
    };
    if is_numeric_type(suffix) {
        return Ok(Some(digits.to_owned()));
    }
    let message = format!("`{digits}{suffix}` is no number: write it as a text, `{option} = \"{digits}{suffix}\"`");
    Err(Error::new(literal.span(), message))
}
