//! One pass over a JSON text, by recursive descent that never goes deeper than [`MAX_DEPTH`].

use std::hash::{DefaultHasher, Hasher};

use super::{
    Form, Found, MAX_DEPTH, MAX_MEMBERS, MAX_NUMBER, MAX_POINTERS, Parent, ScanError, Sought,
};
use crate::control::{Control, in_force};
use crate::profile::Pointer;

pub(super) struct Scanner<'b, 'p> {
    text: &'b str,
    bytes: &'b [u8],
    at: usize,
    pointers: &'p [&'p Pointer],
    sought: Vec<Sought>,
    /// Hashes of the member names of the objects that are open, innermost last. The hash has no
    /// secret: whoever builds a collision gets only their own request refused.
    names: Vec<u64>,
    members: usize,
}

/// A set of pointers, one bit each, all of whose segments so far lead to where the scan stands.
type Leading = u32;
const _: () = assert!(MAX_POINTERS <= Leading::BITS as usize);

impl<'b, 'p> Scanner<'b, 'p> {
    pub(super) fn new(text: &'b str, pointers: &'p [&'p Pointer]) -> Self {
        Self {
            text,
            bytes: text.as_bytes(),
            at: 0,
            pointers,
            sought: vec![Sought::default(); pointers.len()],
            names: Vec::new(),
            members: 0,
        }
    }

    pub(super) fn document(mut self) -> Result<Vec<Sought>, ScanError> {
        self.space();
        if self.peek() != Some(b'{') {
            // A body that is not JSON at all says so, rather than that it is no object.
            return match self.value(0, 0) {
                Ok(_) => Err(ScanError::NotAnObject),
                Err(error) => Err(error),
            };
        }
        self.value(0, Leading::MAX)?;
        self.space();
        if self.at == self.bytes.len() {
            Ok(self.sought)
        } else {
            Err(ScanError::Syntax(self.at))
        }
    }

    /// One value; `depth` objects and arrays are open around it.
    fn value(&mut self, depth: usize, leading: Leading) -> Result<Form, ScanError> {
        match self.peek() {
            Some(b'{') => self.object(depth, leading).map(|()| Form::Object),
            Some(b'[') => self.array(depth).map(|()| Form::Array),
            Some(b'"') => self.string().map(|_| Form::Text),
            Some(b'-' | b'0'..=b'9') => self.number().map(|()| Form::Number),
            Some(b't') => self.word(b"true").map(|()| Form::Boolean),
            Some(b'f') => self.word(b"false").map(|()| Form::Boolean),
            Some(b'n') => self.word(b"null").map(|()| Form::Null),
            Some(_) | None => Err(ScanError::Syntax(self.at)),
        }
    }

    fn object(&mut self, depth: usize, leading: Leading) -> Result<(), ScanError> {
        self.open(depth)?;
        let first_name = self.names.len();
        let inside = self.at;
        self.space();
        let empty = self.peek() == Some(b'}');
        self.enter(depth, leading, inside, empty);
        if empty {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.space();
            let name_at = self.at;
            let name = self.string()?;
            let onward = self.name(name, name_at, depth, leading)?;
            self.space();
            self.expect(b':')?;
            self.space();
            let start = self.at;
            let form = self.value(depth + 1, onward)?;
            self.record(
                depth,
                onward,
                Found {
                    form,
                    start,
                    end: self.at,
                },
            );
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => break,
                Some(_) | None => return Err(ScanError::Syntax(self.at)),
            }
        }
        self.at += 1;
        let names = self.names.get_mut(first_name..).unwrap_or_default();
        names.sort_unstable();
        let twice = names.windows(2).any(|pair| pair.first() == pair.last());
        if twice && in_force(Control::OneReading) {
            return Err(ScanError::Duplicate(self.at));
        }
        self.names.truncate(first_name);
        Ok(())
    }

    /// Notes the member name, and says which pointers it leads on.
    fn name(
        &mut self,
        raw: &str,
        at: usize,
        depth: usize,
        leading: Leading,
    ) -> Result<Leading, ScanError> {
        self.members += 1;
        if self.members > MAX_MEMBERS {
            return Err(ScanError::Members);
        }
        let decoded;
        let name = if raw.contains('\\') {
            decoded = unescape(raw).ok_or(ScanError::Surrogate(at))?;
            decoded.as_str()
        } else {
            raw
        };
        let mut hasher = DefaultHasher::new();
        hasher.write(name.as_bytes());
        self.names.push(hasher.finish());

        let mut onward = 0;
        if leading != 0 {
            for (bit, segment) in self.segments(depth, leading) {
                if segment == name {
                    onward |= bit;
                } else if folds_to(name, segment) {
                    return Err(ScanError::CaseVariant(at));
                }
            }
        }
        Ok(onward)
    }

    /// The segments that the pointers in `leading` wait for at `depth`, with their pointers' bits.
    fn segments(
        &self,
        depth: usize,
        leading: Leading,
    ) -> impl Iterator<Item = (Leading, &'p str)> + use<'p> {
        let pointers = self.pointers;
        pointers
            .iter()
            .enumerate()
            .filter_map(move |(index, pointer)| {
                let bit = 1 << index;
                if leading & bit == 0 {
                    return None;
                }
                Some((bit, pointer.members().nth(depth)?))
            })
    }

    /// Notes that an object on the way of `leading` opened.
    fn enter(&mut self, depth: usize, leading: Leading, inside: usize, empty: bool) {
        for (bit, _) in self.segments(depth, leading) {
            if let Some(sought) = self.sought.get_mut(bit.trailing_zeros() as usize) {
                sought.parent = Some(Parent {
                    inside,
                    depth,
                    empty,
                    blocked: false,
                });
            }
        }
    }

    /// Notes the value that ends the way of some pointers in `onward`, or blocks it.
    fn record(&mut self, depth: usize, onward: Leading, value: Found) {
        let pointers = self.pointers.iter().zip(&mut self.sought).enumerate();
        for (index, (pointer, sought)) in pointers {
            if onward & (1 << index) == 0 {
                continue;
            }
            if pointer.members().count() == depth + 1 {
                sought.found = Some(value);
            } else if value.form != Form::Object
                && let Some(parent) = &mut sought.parent
            {
                parent.blocked = true;
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<(), ScanError> {
        self.open(depth)?;
        self.space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.space();
            self.value(depth + 1, 0)?;
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => break,
                Some(_) | None => return Err(ScanError::Syntax(self.at)),
            }
        }
        self.at += 1;
        Ok(())
    }

    const fn open(&mut self, depth: usize) -> Result<(), ScanError> {
        if depth >= MAX_DEPTH {
            return Err(ScanError::Depth(self.at));
        }
        self.at += 1;
        Ok(())
    }

    /// A text, from quote to quote; returns what is between them, still escaped.
    fn string(&mut self) -> Result<&'b str, ScanError> {
        self.expect(b'"')?;
        let start = self.at;
        loop {
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            let plain = rest
                .iter()
                .position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f));
            self.at += plain.unwrap_or(rest.len());
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => self.escape()?,
                Some(_) | None => return Err(ScanError::Syntax(self.at)),
            }
        }
        let inner = self
            .text
            .get(start..self.at)
            .ok_or(ScanError::Syntax(start))?;
        self.at += 1;
        Ok(inner)
    }

    fn escape(&mut self) -> Result<(), ScanError> {
        let start = self.at;
        match self.bytes.get(start + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
            Some(b'u') => {
                let unit = self.hex(start + 2)?;
                self.at += 6;
                match unit {
                    0xd800..=0xdbff => {
                        if self.bytes.get(start + 6..start + 8) != Some(b"\\u")
                            || !matches!(self.hex(start + 8)?, 0xdc00..=0xdfff)
                        {
                            return Err(ScanError::Surrogate(start));
                        }
                        self.at += 6;
                    }
                    0xdc00..=0xdfff => return Err(ScanError::Surrogate(start)),
                    _ => {}
                }
            }
            Some(_) | None => return Err(ScanError::Syntax(start)),
        }
        Ok(())
    }

    fn hex(&self, at: usize) -> Result<u32, ScanError> {
        hex_unit(self.bytes.get(at..at + 4)).ok_or(ScanError::Syntax(at))
    }

    fn number(&mut self) -> Result<(), ScanError> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        let mut plain = true;
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            plain = false;
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            plain = false;
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        let length = self.at - start;
        let finite = || {
            let text = self.text.get(start..self.at).unwrap_or_default();
            text.parse::<f64>().is_ok_and(f64::is_finite)
        };
        if length <= MAX_NUMBER && (plain || finite()) {
            Ok(())
        } else {
            Err(ScanError::Number(start))
        }
    }

    /// One digit or more.
    fn digits(&mut self) -> Result<(), ScanError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if count == 0 {
            return Err(ScanError::Syntax(self.at));
        }
        self.at += count;
        Ok(())
    }

    fn word(&mut self, word: &[u8]) -> Result<(), ScanError> {
        if self
            .bytes
            .get(self.at..)
            .is_some_and(|rest| rest.starts_with(word))
        {
            self.at += word.len();
            Ok(())
        } else {
            Err(ScanError::Syntax(self.at))
        }
    }

    fn expect(&mut self, byte: u8) -> Result<(), ScanError> {
        if self.peek() == Some(byte) {
            self.at += 1;
            Ok(())
        } else {
            Err(ScanError::Syntax(self.at))
        }
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }
}

/// The text that `raw`, the inside of a JSON string, stands for.
pub(super) fn unescape(raw: &str) -> Option<String> {
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((plain, escaped)) = rest.split_once('\\') {
        text.push_str(plain);
        let (mark, after) = (escaped.chars().next()?, escaped.get(1..)?);
        rest = after;
        match mark {
            '"' | '\\' | '/' => text.push(mark),
            'b' => text.push('\u{8}'),
            'f' => text.push('\u{c}'),
            'n' => text.push('\n'),
            'r' => text.push('\r'),
            't' => text.push('\t'),
            'u' => {
                let mut unit = hex_unit(rest.as_bytes().get(..4))?;
                rest = rest.get(4..)?;
                if (0xd800..=0xdbff).contains(&unit) {
                    let low = hex_unit(rest.strip_prefix("\\u")?.as_bytes().get(..4))?;
                    rest = rest.get(6..)?;
                    unit = 0x10000 + ((unit - 0xd800) << 10) + low.checked_sub(0xdc00)?;
                }
                text.push(char::from_u32(unit)?);
            }
            _ => return None,
        }
    }
    text.push_str(rest);
    Some(text)
}

fn hex_unit(digits: Option<&[u8]>) -> Option<u32> {
    digits?.iter().try_fold(0, |unit, digit| {
        Some(unit * 16 + char::from(*digit).to_digit(16)?)
    })
}

/// Whether a parser that ignores case would take `name` for `segment`, which is ASCII. Go's folds
/// the long s and the Kelvin sign too.
fn folds_to(name: &str, segment: &str) -> bool {
    let mut expected = segment.bytes();
    name.chars().all(|character| {
        let folded = match character {
            '\u{17f}' => 's',
            '\u{212a}' => 'k',
            other => other.to_ascii_lowercase(),
        };
        expected
            .next()
            .is_some_and(|byte| char::from(byte.to_ascii_lowercase()) == folded)
    }) && expected.next().is_none()
}
