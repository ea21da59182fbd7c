//! Values of constant expressions, as far as the ABI uses them.

use std::collections::HashMap;

use syn::{BinOp, Expr, Lit, UnOp};

use super::Value;

/// Constants seen so far, by their Rust names.
pub type Names = HashMap<String, Value>;

/// The value of `expression`; `None`: it is of a kind that is not known here.
pub fn evaluate(expression: &Expr, names: &Names) -> Option<Value> {
    match expression {
        Expr::Lit(literal) => match &literal.lit {
            Lit::Int(number) => number.base10_parse().ok().map(Value::Number),
            Lit::ByteStr(bytes) => Some(Value::Bytes(bytes.value())),
            _ => None,
        },
        Expr::Paren(inner) => evaluate(&inner.expr, names),
        Expr::Cast(cast) => evaluate(&cast.expr, names),
        Expr::Unary(unary) => match (&unary.op, evaluate(&unary.expr, names)?) {
            (UnOp::Neg(_), Value::Number(number)) => Some(Value::Number(-number)),
            (UnOp::Deref(_), value) => Some(value),
            _ => None,
        },
        Expr::Binary(binary) => {
            let (left, right) = (number(&binary.left, names)?, number(&binary.right, names)?);
            let value = match binary.op {
                BinOp::Add(_) => left.checked_add(right)?,
                BinOp::Sub(_) => left.checked_sub(right)?,
                BinOp::Mul(_) => left.checked_mul(right)?,
                BinOp::Div(_) => left.checked_div(right)?,
                BinOp::Shl(_) => left.checked_shl(u32::try_from(right).ok()?)?,
                BinOp::BitOr(_) => left | right,
                _ => return None,
            };
            Some(Value::Number(value))
        }
        Expr::Path(path) => names.get(&path.path.segments.last()?.ident.to_string()).cloned(),
        Expr::Call(call) => from_bytes(call, names),
        _ => None,
    }
}

/// The value of an expression that is a number.
pub fn number(expression: &Expr, names: &Names) -> Option<i128> {
    match evaluate(expression, names)? {
        Value::Number(number) => Some(number),
        Value::Bytes(_) => None,
    }
}

/// `u64::from_le_bytes(*b"…")`.
fn from_bytes(call: &syn::ExprCall, names: &Names) -> Option<Value> {
    let Expr::Path(function) = &*call.func else { return None };
    if function.path.segments.last()?.ident != "from_le_bytes" {
        return None;
    }
    match evaluate(call.args.first()?, names)? {
        Value::Bytes(bytes) if bytes.len() <= 8 => {
            Some(Value::Number(bytes.iter().rev().fold(0, |number, byte| number << 8 | i128::from(*byte))))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Option<Value> {
        let names = Names::from([("WORDS".to_owned(), Value::Number(64))]);
        evaluate(&syn::parse_str(text).unwrap(), &names)
    }

    #[test]
    fn expressions_have_the_values_that_rust_gives_them() {
        assert_eq!(value("1 << 9 | 3"), Some(Value::Number(0x203)));
        assert_eq!(value("-8"), Some(Value::Number(-8)));
        assert_eq!(value("layout::WORDS / 2 as u64"), Some(Value::Number(32)));
        assert_eq!(
            value("u64::from_le_bytes(*b\"AB\\0\\0\\0\\0\\0\\x01\")"),
            Some(Value::Number(0x0100_0000_0000_4241))
        );
    }

    #[test]
    fn what_is_not_understood_has_no_value() {
        for text in ["UNKNOWN", "f(1)", "1 / 0", "\"text\"", "if true { 1 } else { 2 }"] {
            assert_eq!(value(text), None, "{text}");
        }
    }
}
