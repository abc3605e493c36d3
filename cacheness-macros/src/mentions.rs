//! Which names an expression mentions, by its tokens.

use proc_macro2::{TokenStream, TokenTree};
use syn::ext::IdentExt;

/// Whether the tokens mention one of the names: as a word that is no field, method or part of a path, or captured by a
/// format string.
pub(crate) fn mentions(tokens: TokenStream, is_name: &dyn Fn(&str) -> bool) -> bool {
    let trees: Vec<TokenTree> = tokens.into_iter().collect();
    trees.iter().enumerate().any(|(at, tree)| match tree {
        TokenTree::Group(group) => mentions(group.stream(), is_name),
        TokenTree::Ident(word) => is_name(&word.unraw().to_string()) && !belongs_to_another(&trees, at),
        TokenTree::Literal(literal) => captures(&literal.to_string()).iter().any(|name| is_name(name)),
        TokenTree::Punct(_) => false,
    })
}

/// Whether the word at `at` is a field, a method, or the rest of a path.
fn belongs_to_another(trees: &[TokenTree], at: usize) -> bool {
    let is = |at: Option<usize>, c: char| {
        at.is_some_and(|at| matches!(&trees[at], TokenTree::Punct(punct) if punct.as_char() == c))
    };
    let (one, two) = (at.checked_sub(1), at.checked_sub(2));
    is(one, '.') && !is(two, '.') || is(one, ':') && is(two, ':')
}

/// The names that a format string captures.
pub(crate) fn captures(text: &str) -> Vec<String> {
    let text = text.replace("{{", "");
    let holes = text.split('{').skip(1).filter_map(|rest| rest.split_once('}'));
    let names = holes.map(|(hole, _)| hole.split(':').next().unwrap_or_default().trim());
    names.filter(|name| is_word(name)).map(str::to_owned).collect()
}

fn is_word(name: &str) -> bool {
    name.starts_with(|c: char| c.is_alphabetic() || c == '_') && name.chars().all(|c| c.is_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_captures_are_mentions_and_fields_and_paths_are_not() {
        let mentions_id = |text: &str| mentions(text.parse().unwrap(), &|name| name == "id");
        for text in ["id", "&id", "id.len()", "f(x, id)", "0..id", "format!(\"{id}\")", "\"a{id:>3}\"", "r#id", "&*id"]
        {
            assert!(mentions_id(text), "{text}");
        }
        for text in ["1", "\"id\"", "OTHER.id", "a::id", "\"{{id}}\"", "\"{}\"", "u32", "\"{id\"", "idx"] {
            assert!(!mentions_id(text), "{text}");
        }
    }
}
