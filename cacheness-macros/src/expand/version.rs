//! What changes with the tokens of a function, and not with its place, its layout or its comments.

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};
use quote::ToTokens;
use syn::Signature;

/// The version of a body.
pub(super) fn of(body: &Group) -> String {
    let mut hash = Fnv::new();
    hash.stream(body.stream());
    format!("auto-{:016x}", hash.0)
}

/// The hash that stands for a function among others of its path: of its signature and its body.
pub(super) fn tokens_of(sig: &Signature, body: &Group) -> u64 {
    let mut hash = Fnv::new();
    hash.stream(sig.to_token_stream());
    hash.group(body);
    hash.0
}

/// FNV-1a: the same in every compiler, and no more is asked of it.
struct Fnv(u64);

impl Fnv {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn word(&mut self, tag: u8, word: &str) {
        let bytes = [tag].into_iter().chain(word.bytes()).chain([0xff]);
        self.0 = bytes.fold(self.0, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    }

    fn stream(&mut self, tokens: TokenStream) {
        for tree in tokens {
            match tree {
                TokenTree::Ident(ident) => self.word(b'i', &ident.to_string()),
                TokenTree::Punct(punct) => self.word(b'p', punct.as_char().encode_utf8(&mut [0; 4])),
                TokenTree::Literal(literal) => self.word(b'l', &literal.to_string()),
                TokenTree::Group(group) => self.group(&group),
            }
        }
    }

    fn group(&mut self, group: &Group) {
        let (open, close) = match group.delimiter() {
            Delimiter::Parenthesis => ("(", ")"),
            Delimiter::Brace => ("{", "}"),
            Delimiter::Bracket => ("[", "]"),
            // Invisible groups come and go with the macro that the body went through.
            Delimiter::None => return self.stream(group.stream()),
        };
        self.word(b'g', open);
        self.stream(group.stream());
        self.word(b'g', close);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> String {
        of(&Group::new(Delimiter::Brace, text.parse().unwrap()))
    }

    #[test]
    fn layout_and_comments_do_not_matter_and_tokens_do() {
        assert_eq!(version("a + b(1)"), version("a\n  + b ( 1 ) // and so on"));
        for other in ["a - b(1)", "a + b(2)", "a + b[1]", "ab + (1)", "\"a\" + b(1)"] {
            assert_ne!(version("a + b(1)"), version(other), "{other}");
        }
    }

    #[test]
    fn the_version_is_the_same_in_every_build() {
        assert_eq!(version("x * 2"), "auto-fc5f36e459fdcdcb");
    }

    #[test]
    fn signature_and_body_both_stand_for_a_function() {
        let tokens = |text: &str| {
            let function: crate::parse::Function = syn::parse_str(text).unwrap();
            tokens_of(&function.sig, &function.body.0)
        };
        assert_eq!(tokens("fn f(n: u32) -> u32 { n * 2 }"), tokens("fn f(n:u32)->u32{\n n*2 /* twice */ }"));
        for other in ["fn f(n: u32) -> u32 { n * 3 }", "fn f(n: u16) -> u32 { n * 2 }", "fn f(n: u32) -> u64 { n * 2 }"]
        {
            assert_ne!(tokens("fn f(n: u32) -> u32 { n * 2 }"), tokens(other), "{other}");
        }
        assert_eq!(tokens("fn f(n: u32) -> u32 { n * 2 }"), 15_829_104_575_283_376_324, "the same in every build");
    }
}
