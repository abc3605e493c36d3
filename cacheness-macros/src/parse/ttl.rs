//! Times written in an attribute.

use proc_macro2::Span;
use syn::{BinOp, Error, Expr, ExprBinary, ExprUnary, Lit, Result, UnOp};

const UNITS: [(&str, f64); 7] =
    [("us", 1.0), ("ms", 1e3), ("s", 1e6), ("m", 60e6), ("h", 3600e6), ("d", 86_400e6), ("w", 604_800e6)];

/// The microseconds of a time written as a literal; `None` if it is an expression to be evaluated at run time.
pub(super) fn literal(expr: &Expr) -> Result<Option<u64>> {
    let span = syn::spanned::Spanned::span(expr);
    if let Expr::Lit(literal) = bare(expr)
        && let Lit::Str(text) = &literal.lit
    {
        let micros = text_micros(&text.value()).ok_or_else(|| {
            Error::new(
                span,
                "`ttl` is not a time: write a number and a unit of us, ms, s, m, h, d, w, like \"90s\" or \"24h\"",
            )
        })?;
        return whole(micros, span).map(Some);
    }
    seconds(expr).map(|seconds| whole(seconds * 1e6, span)).transpose()
}

/// The number that a literal, or a calculation with literals, stands for.
fn seconds(expr: &Expr) -> Option<f64> {
    match bare(expr) {
        Expr::Lit(literal) => match &literal.lit {
            Lit::Int(int) => int.base10_parse().ok(),
            Lit::Float(float) => float.base10_parse().ok(),
            _ => None,
        },
        Expr::Unary(ExprUnary { op: UnOp::Neg(_), expr, .. }) => seconds(expr).map(|value| -value),
        Expr::Binary(ExprBinary { left, op, right, .. }) => match op {
            BinOp::Mul(_) => Some(seconds(left)? * seconds(right)?),
            BinOp::Add(_) => Some(seconds(left)? + seconds(right)?),
            _ => None,
        },
        _ => None,
    }
}

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

fn text_micros(text: &str) -> Option<f64> {
    let mut total = 0.0;
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let (number, tail) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit() && c != '.')?);
        let tail = tail.trim_start();
        let (unit, tail) = tail.split_at(tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len()));
        let (_, micros) = UNITS.iter().find(|(name, _)| *name == unit)?;
        total += number.parse::<f64>().ok()? * micros;
        rest = tail.trim_start();
    }
    Some(total)
}

fn whole(micros: f64, span: Span) -> Result<u64> {
    let micros = micros.round();
    if micros < 1.0 {
        let message = "`ttl` must be more than zero: leave it out to keep results for ever, or remove the attribute";
        Err(Error::new(span, message))
    } else if micros > i64::MAX as f64 {
        Err(Error::new(span, "`ttl` is too long: leave it out to keep results for ever"))
    } else {
        Ok(micros as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(text: &str) -> Option<u64> {
        literal(&syn::parse_str(text).unwrap()).unwrap()
    }

    #[test]
    fn numbers_are_seconds_and_texts_have_units() {
        assert_eq!(micros("86_400"), Some(86_400_000_000));
        assert_eq!(micros("0.5"), Some(500_000));
        assert_eq!(micros("60 * (60 + 1)"), Some(3_660_000_000));
        assert_eq!(micros("\"1h 30m\""), Some(5_400_000_000));
        assert_eq!(micros("\"1.5 d\""), Some(129_600_000_000));
        assert_eq!(micros("\"250ms\""), Some(250_000));
        assert_eq!(micros("TTL"), None);
        assert_eq!(micros("Duration::from_secs(3)"), None);
    }

    #[test]
    fn times_that_cannot_be_meant_are_refused() {
        for text in ["0", "-1", "0.0", "\"0s\"", "\"\"", "\"24\"", "\"h\"", "\"1 year\"", "1e30", "\"1.2.3s\""] {
            assert!(literal(&syn::parse_str(text).unwrap()).is_err(), "{text}");
        }
    }
}
