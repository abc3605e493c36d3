//! Times written in an attribute.

use proc_macro2::Span;
use syn::{BinOp, Error, Expr, ExprBinary, ExprUnary, Lit, Result, UnOp};

use super::literal::{self, bare};
use super::spans::{self, Wrong};

const NANOS_PER_MICRO: f64 = 1e3;
const NANOS_PER_SECOND: f64 = 1e9;
const FORMS: &str =
    "write a number of seconds, a text like \"90s\", \"1h30m\" or \"10 mins\", or an expression of type `Duration`";

/// What a literal, or a calculation with literals, stands for.
enum Amount {
    /// A number without a unit.
    Number(f64),
    /// A time with one, in nanoseconds.
    Span(f64),
}

/// The microseconds of a time written as a literal; `None` if it is an expression to be evaluated at run time.
pub(super) fn literal(expr: &Expr) -> Result<Option<u64>> {
    let span = syn::spanned::Spanned::span(expr);
    if let Expr::Lit(literal) = bare(expr)
        && let Lit::Str(text) = &literal.lit
    {
        let text = literal::text("ttl", text)?;
        return whole(of_text(&text, span)?, span).map(Some);
    }
    match amount(expr)? {
        None => Ok(None),
        Some(Amount::Number(seconds)) => whole(seconds * NANOS_PER_SECOND, span).map(Some),
        Some(Amount::Span(nanos)) => whole(nanos, span).map(Some),
    }
}

fn of_text(text: &str, span: Span) -> Result<f64> {
    spans::nanos(text).map(|nanos| nanos as f64).map_err(|wrong| {
        let message = match wrong {
            Wrong::Form => format!("`ttl` is not a time: {FORMS}"),
            Wrong::NoUnit => format!("`ttl` has a number without a unit: {FORMS}"),
            Wrong::Unit(unit) => format!("`{unit}` is no unit of time: {FORMS}"),
            Wrong::TooLong => TOO_LONG.to_owned(),
        };
        Error::new(span, message)
    })
}

fn amount(expr: &Expr) -> Result<Option<Amount>> {
    Ok(match bare(expr) {
        Expr::Lit(literal) => match &literal.lit {
            Lit::Int(int) => Some(of_number(int.base10_digits(), int.suffix(), int.span())?),
            Lit::Float(float) => Some(of_number(float.base10_digits(), float.suffix(), float.span())?),
            // A text may be part of an expression: `TEXT.parse().unwrap_or("..")`.
            Lit::Str(_) => None,
            other => return Err(Error::new_spanned(other, format!("`ttl` is not a time: {FORMS}"))),
        },
        Expr::Unary(ExprUnary { op: UnOp::Neg(_), expr, .. }) => amount(expr)?.map(|amount| match amount {
            Amount::Number(number) => Amount::Number(-number),
            Amount::Span(nanos) => Amount::Span(-nanos),
        }),
        Expr::Binary(ExprBinary { left, op: op @ (BinOp::Mul(_) | BinOp::Add(_)), right, .. }) => {
            let (Some(left), Some(right)) = (amount(left)?, amount(right)?) else { return Ok(None) };
            let sum = matches!(op, BinOp::Add(_));
            Some(match (left, right) {
                (Amount::Number(left), Amount::Number(right)) if sum => Amount::Number(left + right),
                (Amount::Number(left), Amount::Number(right)) => Amount::Number(left * right),
                (Amount::Span(left), Amount::Span(right)) if sum => Amount::Span(left + right),
                (Amount::Span(span), Amount::Number(number)) | (Amount::Number(number), Amount::Span(span)) if !sum => {
                    Amount::Span(span * number)
                }
                _ => return Err(Error::new_spanned(expr, format!("`ttl` mixes units of time: {FORMS}"))),
            })
        }
        _ => None,
    })
}

/// A number, or a time whose unit is the suffix of its literal: `1h`, `1.5h`, `1h30m`.
fn of_number(digits: &str, suffix: &str, span: Span) -> Result<Amount> {
    if literal::is_numeric_type(suffix) {
        let number = digits.parse().map_err(|_| Error::new(span, TOO_LONG))?;
        return Ok(Amount::Number(number));
    }
    of_text(&format!("{digits}{suffix}"), span).map(Amount::Span)
}

const TOO_LONG: &str = "`ttl` is too long: leave it out to keep results for ever";

fn whole(nanos: f64, span: Span) -> Result<u64> {
    let micros = (nanos / NANOS_PER_MICRO).round();
    if nanos <= 0.0 {
        let message = "`ttl` must be more than zero: leave it out to keep results for ever, or remove the attribute";
        Err(Error::new(span, message))
    } else if nanos < NANOS_PER_MICRO {
        Err(Error::new(span, "`ttl` must be at least a microsecond: points in time are kept in microseconds"))
    } else if micros > i64::MAX as f64 {
        Err(Error::new(span, TOO_LONG))
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
        assert_eq!(micros("\"1 year\""), Some(31_557_600_000_000));
        assert_eq!(micros("\"10mins\""), Some(600_000_000));
        assert_eq!(micros("TTL"), None);
        assert_eq!(micros("Duration::from_secs(3)"), None);
        assert_eq!(micros("60 * MINUTES"), None);
    }

    #[test]
    fn a_suffix_means_what_it_says() {
        assert_eq!(micros("1h"), Some(3_600_000_000));
        assert_eq!(micros("500ms"), Some(500_000));
        assert_eq!(micros("1.5h"), Some(5_400_000_000));
        assert_eq!(micros("1h30m"), Some(5_400_000_000));
        assert_eq!(micros("1_000us"), Some(1_000));
        assert_eq!(micros("2min"), Some(120_000_000));
        assert_eq!(micros("1h + 30m"), Some(5_400_000_000));
        assert_eq!(micros("2 * 1d"), Some(172_800_000_000));
        assert_eq!(micros("0x10"), Some(16_000_000));
    }

    #[test]
    fn the_suffix_of_a_numeric_type_leaves_a_number_of_seconds() {
        for text in ["60u64", "60_u8", "60i32", "60usize", "60f64", "60.0f32", "6e1", "6e1_f64"] {
            assert_eq!(micros(text), Some(60_000_000), "{text}");
        }
    }

    #[test]
    fn times_that_cannot_be_meant_are_refused() {
        for text in [
            "0",
            "-1",
            "0.0",
            "\"0s\"",
            "\"\"",
            "\"24\"",
            "\"h\"",
            "\"1 fortnight\"",
            "1e30",
            "\"1.2.3s\"",
            "0h",
            "-1h",
            "500ns",
            "1x",
            "1H",
            "1hh",
            "1h30",
            "1e3s",
            "1u64h",
            "1h + 30",
            "1h * 1h",
            "b\"1h\"",
            "c\"1h\"",
            "b'1'",
            "'1'",
            "true",
            "\"1h\"x",
            "-\"1h\"",
            "9e999",
            "999999999999999999999999999999999999999999y",
        ] {
            let read = literal(&syn::parse_str(text).unwrap());
            assert!(read.is_err() || text.starts_with("-\""), "{text}");
        }
    }
}
