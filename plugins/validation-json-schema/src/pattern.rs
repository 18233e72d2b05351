//! This is regular expressions as ECMA-262 writes them, made into such as take time that is
//! linear in the text: what needs more than that, looking around and back references, is refused.

use regex_automata::nfa::thompson::pikevm::{Cache, PikeVM};
use regex_automata::nfa::thompson::{Config, NFA, WhichCaptures};
use regex_automata::util::syntax;
use std::cell::RefCell;
use std::fmt::Write as _;

/// How much memory one compiled pattern may take.
const PATTERN_BYTES_MAX: usize = 512 << 10;
/// How deep groups may be nested.
const NESTING_MAX: u32 = 64;

const SPACES: &str = concat!(
    r"\t\n\x0B\x0C\r \u{A0}\u{1680}\u{2000}-\u{200A}",
    r"\u{2028}\u{2029}\u{202F}\u{205F}\u{3000}\u{FEFF}"
);
const WORD: &str = "0-9A-Za-z_";

/// A pattern, and what matching it needs.
#[derive(Debug)]
pub(crate) struct Pattern {
    machine: PikeVM,
    cache: RefCell<Cache>,
}

impl Pattern {
    pub(crate) fn is_match(&self, text: &str) -> bool {
        self.machine.is_match(&mut self.cache.borrow_mut(), text)
    }
}

/// The pattern that is written as `text`.
///
/// # Errors
/// Why it is none.
pub(crate) fn compile(text: &str) -> Result<Pattern, String> {
    let mut translation = Translation {
        rest: text,
        made: String::with_capacity(text.len() * 2),
    };
    translation.run()?;
    let config = Config::new()
        .nfa_size_limit(Some(PATTERN_BYTES_MAX))
        .which_captures(WhichCaptures::None)
        .utf8(false);
    let syntax = syntax::Config::new().nest_limit(NESTING_MAX).utf8(false);
    let built = NFA::compiler()
        .configure(config)
        .syntax(syntax)
        .build(&translation.made)
        .and_then(PikeVM::new_from_nfa);
    let machine = built.map_err(|error| {
        let cause: &dyn std::error::Error = &error;
        let reason = cause.source().unwrap_or(cause).to_string();
        let last = reason.lines().last().unwrap_or_default();
        format!("`{text}`: {}", last.trim_start_matches("error: "))
    })?;
    let cache = RefCell::new(machine.create_cache());
    Ok(Pattern { machine, cache })
}

struct Translation<'a> {
    rest: &'a str,
    made: String,
}

/// What stands at one place of a class, or behind a `\`.
enum Item {
    Char(char),
    /// Several characters, as a class of their own.
    Class(String),
}

impl Translation<'_> {
    fn run(&mut self) -> Result<(), String> {
        while let Some(next) = self.take() {
            match next {
                '\\' => self.escape()?,
                '[' => self.class()?,
                '(' => self.group()?,
                '.' => self.made.push_str(r"[^\n\r\u{2028}\u{2029}]"),
                '{' if !self.is_count() => self.made.push_str(r"\{"),
                '}' | ']' => self.put(Item::Char(next)),
                '{' => {
                    let end = self.rest.find('}').unwrap_or(0);
                    self.made.push('{');
                    self.made.push_str(&self.rest[..=end]);
                    self.rest = &self.rest[end + 1..];
                }
                '^' | '$' | '|' | '*' | '+' | '?' | ')' => self.made.push(next),
                other => self.put(Item::Char(other)),
            }
        }
        Ok(())
    }

    fn take(&mut self) -> Option<char> {
        let next = self.rest.chars().next()?;
        self.rest = &self.rest[next.len_utf8()..];
        Some(next)
    }

    fn takes(&mut self, prefix: &str) -> bool {
        let rest = self.rest.strip_prefix(prefix);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn put(&mut self, item: Item) {
        match item {
            Item::Char(char) => push_literal(&mut self.made, char),
            Item::Class(class) => self.made.push_str(&class),
        }
    }

    /// Whether what follows a `{` makes it a number of repetitions.
    fn is_count(&self) -> bool {
        let Some((inner, _)) = self.rest.split_once('}') else {
            return false;
        };
        let (least, most) = inner.split_once(',').unwrap_or((inner, "0"));
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        !least.is_empty() && is_number(least) && is_number(most)
    }

    fn group(&mut self) -> Result<(), String> {
        const LINEAR: &str = "is not taken: patterns take linear time";
        self.made.push_str("(?:");
        if !self.takes("?") || self.takes(":") {
            return Ok(());
        }
        if ["=", "!", "<=", "<!"].iter().any(|kind| self.takes(kind)) {
            return Err(format!("looking ahead or behind {LINEAR}"));
        }
        let is_name = |text: &str| {
            !text.is_empty()
                && text
                    .chars()
                    .all(|char| char.is_alphanumeric() || "_$".contains(char))
        };
        let name = self
            .rest
            .strip_prefix('<')
            .and_then(|rest| rest.split_once('>'));
        match name {
            Some((name, rest)) if is_name(name) => {
                self.rest = rest;
                Ok(())
            }
            _ => Err("`(?` begins a group of no known kind".to_owned()),
        }
    }

    /// What stands behind a `\` outside of classes.
    fn escape(&mut self) -> Result<(), String> {
        if self.takes("b") {
            self.made.push_str(r"(?-u:\b)");
        } else if self.takes("B") {
            self.made.push_str(r"(?-u:\B)");
        } else if self
            .rest
            .starts_with(|next| ('1'..='9').contains(&next) || next == 'k')
        {
            let reason = "a back reference is not taken: patterns take linear time";
            return Err(reason.to_owned());
        } else {
            let item = self.escaped()?;
            self.put(item);
        }
        Ok(())
    }

    fn escaped(&mut self) -> Result<Item, String> {
        let Some(next) = self.take() else {
            return Err("nothing follows the last `\\`".to_owned());
        };
        let class = |not: &str, inner: &str| Ok(Item::Class(format!("[{not}{inner}]")));
        let char = match next {
            'd' => return class("", "0-9"),
            'D' => return class("^", "0-9"),
            'w' => return class("", WORD),
            'W' => return class("^", WORD),
            's' => return class("", SPACES),
            'S' => return class("^", SPACES),
            'p' | 'P' => return self.property(next),
            't' => '\t',
            'n' => '\n',
            'v' => '\u{b}',
            'f' => '\u{c}',
            'r' => '\r',
            '0' if !self.rest.starts_with(|next: char| next.is_ascii_digit()) => '\0',
            'c' => self.control()?,
            'x' => self.hex(2)?,
            'u' => self.unicode()?,
            '^' | '$' | '\\' | '.' | '*' | '+' | '?' | '(' | ')' | '[' | ']' | '{' | '}' | '|'
            | '/' | '-' => next,
            // Not letters: what they mean may change.
            other if !other.is_alphanumeric() => other,
            other => return Err(format!("`\\{other}` means nothing")),
        };
        Ok(Item::Char(char))
    }

    fn property(&mut self, kind: char) -> Result<Item, String> {
        let name = self
            .rest
            .strip_prefix('{')
            .and_then(|rest| rest.split_once('}'));
        let Some((name, rest)) = name else {
            return Err(format!("`\\{kind}` needs the name of a property in braces"));
        };
        self.rest = rest;
        Ok(Item::Class(format!("\\{kind}{{{name}}}")))
    }

    fn control(&mut self) -> Result<char, String> {
        match self.take() {
            Some(letter) if letter.is_ascii_alphabetic() => Ok(char::from(letter as u8 % 32)),
            _ => Err("`\\c` needs a letter".to_owned()),
        }
    }

    fn hex(&mut self, digits: usize) -> Result<char, String> {
        let code = self.code(digits)?;
        char::from_u32(code).ok_or_else(|| format!("{code:x} is no character"))
    }

    fn code(&mut self, digits: usize) -> Result<u32, String> {
        let digits = self
            .rest
            .get(..digits)
            .filter(|text| !text.starts_with('+'));
        let code = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        let (Some(digits), Some(code)) = (digits, code) else {
            return Err("hexadecimal digits are missing".to_owned());
        };
        self.rest = &self.rest[digits.len()..];
        Ok(code)
    }

    fn unicode(&mut self) -> Result<char, String> {
        if self.takes("{") {
            let end = self.rest.find('}').unwrap_or(0);
            let char = self.hex(end)?;
            self.takes("}");
            return Ok(char);
        }
        let high = self.code(4)?;
        let is_high = (0xd800..0xdc00).contains(&high);
        if !is_high || !self.takes("\\u") {
            return char::from_u32(high).ok_or_else(|| format!("{high:x} is no character"));
        }
        let low = self.code(4)?;
        let code = 0x10000 + ((high - 0xd800) << 10) + low.wrapping_sub(0xdc00);
        let is_low = (0xdc00..0xe000).contains(&low);
        let char = char::from_u32(code).filter(|_| is_low);
        char.ok_or_else(|| format!("{low:x} is no second half of a character"))
    }

    fn class(&mut self) -> Result<(), String> {
        let is_negative = self.takes("^");
        if self.takes("]") {
            let class = if is_negative {
                "(?s:.)"
            } else {
                r"[^\x00-\u{10FFFF}]"
            };
            self.made.push_str(class);
            return Ok(());
        }
        self.made.push_str(if is_negative { "[^" } else { "[" });
        while !self.takes("]") {
            let first = self.item()?;
            let is_range = self.rest.starts_with('-') && !self.rest.starts_with("-]");
            let (Item::Char(_), true) = (&first, is_range) else {
                self.put(first);
                continue;
            };
            self.takes("-");
            let last = self.item()?;
            self.put(first);
            let dash = if matches!(last, Item::Char(_)) {
                "-"
            } else {
                r"\-"
            };
            self.made.push_str(dash);
            self.put(last);
        }
        self.made.push(']');
        Ok(())
    }

    fn item(&mut self) -> Result<Item, String> {
        if self.takes("\\b") {
            return Ok(Item::Char('\u{8}'));
        }
        match self.take() {
            Some('\\') => self.escaped(),
            Some(char) => Ok(Item::Char(char)),
            None => Err("a `[` is not closed".to_owned()),
        }
    }
}

/// A character that stands for itself, wherever it is put.
fn push_literal(made: &mut String, char: char) {
    if char.is_alphanumeric() || !char.is_ascii() {
        made.push(char);
    } else {
        // A string takes all that is written to it.
        let _ = write!(made, "\\x{:02X}", u32::from(char));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, matches: &[&str], differs: &[&str]) {
        let regex = compile(pattern).expect(pattern);
        for text in matches {
            assert!(regex.is_match(text), "{pattern} on {text:?}");
        }
        for text in differs {
            assert!(!regex.is_match(text), "{pattern} on {text:?}");
        }
    }

    #[test]
    fn means_what_the_standard_says() {
        check("^a$", &["a"], &["a\n", "A"]);
        check(r"^\d\w\s\S\D\W$", &["1_\u{feff}x-é"], &["١_ x-é"]);
        check(r"^[\w-]+$", &["a-b"], &["a b"]);
        check("^[a-c-]$", &["-", "b"], &["d"]);
        check(r"^[&&~~\]\[.^]+$", &["&~][.^"], &["x", "\\"]);
        check("^a{2}{$", &["aa{"], &["aa"]);
        check("^a{,2}$", &["a{,2}"], &["aa"]);
        check("^(?<name>a|b)(c)$", &["ac", "bc"], &["c"]);
        check("^[]$", &[], &["", "a"]);
        check("^[^]$", &["\n", "é"], &[""]);
        check(r"^\uD83D\uDC32\u{1F432}\x41\cA\0$", &["🐲🐲A\u{1}\0"], &[]);
        check(r"\bé", &["aé"], &["é", "é a"]);
        check(r"^\p{Letter}+\p{Script=Greek}$", &["éλ"], &["1λ", "éa"]);
        check("^.$", &["é"], &["\r", "\u{2028}"]);
        check(r"^\/\-$", &["/-"], &[]);
    }

    #[test]
    fn refuses_what_it_cannot_do_in_linear_time() {
        for pattern in ["(?=a)", "(?<!a)", r"(a)\1", r"(?<n>a)\k<n>"] {
            let reason = compile(pattern).expect_err(pattern);
            assert!(reason.contains("linear"), "{pattern}: {reason}");
        }
    }

    #[test]
    fn says_what_is_wrong() {
        for pattern in [
            "(",
            "[a",
            r"\a",
            "*",
            r"\u12",
            r"\p{Nothing}",
            "(?i:a)",
            "\\",
        ] {
            compile(pattern).expect_err(pattern);
        }
        let reason = compile("a{1000}{1000}").expect_err("a million of them");
        assert!(reason.contains("limit"), "{reason}");
        compile(&"(".repeat(1000)).expect_err("a thousand groups");
    }
}
