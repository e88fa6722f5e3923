//! The grammar of an HTTP/1.1 request, kept to the letter: what it takes, every parser reads alike.
//!
//! hyper is lenient where the specification lets it be: it resolves a length beside chunks, folds
//! repeated lengths into one, takes a bare line feed. Each is a place where two parsers may part, so
//! here each is refused, before hyper sees a byte. [`check`] looks at one complete head;
//! [`Chunks`] follows a chunked body.

use casemate_core::admission::Refusal;
use casemate_core::route::PathError;

/// How a request's body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// This many bytes; none when the head says nothing.
    Length(u64),
    /// In chunks.
    Chunked,
}

/// Where the head at the start of `bytes` ends, just after its empty line, looking from `from` on.
#[must_use]
pub fn end(bytes: &[u8], from: usize) -> Option<usize> {
    // Step back over a line end that may be split between two reads.
    let from = from.saturating_sub(3);
    let window = bytes.get(from..)?;
    window
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .map(|at| from + at + 4)
}

/// Checks one complete head, with its empty line, and says how its body is framed.
///
/// # Errors
/// What to answer instead.
pub fn check(head: &[u8], max_fields: usize) -> Result<Framing, Refusal> {
    let lines = head.strip_suffix(b"\r\n\r\n").ok_or(BARE_LINE_END)?;
    let mut lines = Lines(Some(lines));
    check_request_line(lines.next().ok_or(BARE_LINE_END)??)?;
    let mut seen = Seen::default();
    let mut count = 0;
    for line in lines {
        count += 1;
        if count > max_fields {
            return Err(Refusal::HeadersTooLarge);
        }
        seen.field(line?)?;
    }
    seen.framing()
}

/// Splits at each CR LF, and refuses a CR or LF that stands alone.
struct Lines<'a>(Option<&'a [u8]>);

impl<'a> Iterator for Lines<'a> {
    type Item = Result<&'a [u8], Refusal>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.0?;
        match rest
            .iter()
            .position(|byte| matches!(byte, b'\r' | b'\n' | 0))
        {
            None => {
                self.0 = None;
                Some(Ok(rest))
            }
            Some(at) if rest.get(at..at + 2) == Some(b"\r\n") => {
                self.0 = rest.get(at + 2..);
                Some(rest.get(..at).ok_or(BARE_LINE_END))
            }
            Some(_) => {
                self.0 = None;
                Some(Err(BARE_LINE_END))
            }
        }
    }
}

fn check_request_line(line: &[u8]) -> Result<(), Refusal> {
    let mut parts = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Refusal::RequestMalformed(
            "the request line has not exactly three parts",
        ));
    };
    if !(1..=16).contains(&method.len()) || !method.iter().all(u8::is_ascii_uppercase) {
        return Err(Refusal::RequestMalformed(
            "the method is not a word in capitals",
        ));
    }
    if version != b"HTTP/1.1" {
        return Err(Refusal::RequestMalformed("the version is not HTTP/1.1"));
    }
    if target.first() != Some(&b'/') {
        return Err(Refusal::PathNotCanonical(PathError::NotAPath));
    }
    // What no URI has would be refused by hyper in words of its own.
    let uri =
        |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~:/?[]@!$&'()*+,;=%\\|^`{}".contains(byte);
    if target.iter().all(uri) {
        Ok(())
    } else {
        Err(Refusal::PathNotCanonical(PathError::Character))
    }
}

/// What the fields said so far.
#[derive(Default)]
struct Seen {
    length: Option<u64>,
    chunked: bool,
    host: bool,
    once: u8,
}

impl Seen {
    fn field(&mut self, line: &[u8]) -> Result<(), Refusal> {
        let colon = line.iter().position(|byte| *byte == b':');
        let colon = colon.ok_or(Refusal::RequestMalformed("a field has no colon"))?;
        let (name, value) = line.split_at_checked(colon).unwrap_or_default();
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        // A line that goes on the one before starts with a space, which no name has.
        if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) {
            return Err(Refusal::RequestMalformed("a field's name is not a token"));
        }
        if !value.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~')) {
            return Err(Refusal::RequestMalformed(
                "a field's value has a character that is not plain",
            ));
        }
        let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
        if is("content-length") {
            self.content_length(value)
        } else if is("transfer-encoding") {
            self.transfer_encoding(value)
        } else if is("host") {
            self.host_field(value)
        } else if is("connection") {
            let plain = |token: &[u8]| {
                let token = token.trim_ascii();
                token.eq_ignore_ascii_case(b"close") || token.eq_ignore_ascii_case(b"keep-alive")
            };
            if value.split(|byte| *byte == b',').all(plain) {
                Ok(())
            } else {
                Err(Refusal::RequestMalformed(
                    "`connection` asks for more than `close` or `keep-alive`",
                ))
            }
        } else if is("upgrade") || is("http2-settings") || is("trailer") || is("te") {
            Err(Refusal::RequestMalformed("no upgrade, no trailers"))
        } else if is("expect") {
            if value.eq_ignore_ascii_case(b"100-continue") {
                Ok(())
            } else {
                Err(Refusal::RequestMalformed("`expect` is not `100-continue`"))
            }
        } else {
            self.only_once(name)
        }
    }

    fn content_length(&mut self, value: &[u8]) -> Result<(), Refusal> {
        // Eighteen digits always fit.
        let digits = (1..=18).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
        let number = std::str::from_utf8(value)
            .ok()
            .and_then(|text| text.parse().ok());
        match number {
            Some(number) if digits && self.length.replace(number).is_none() => Ok(()),
            Some(_) | None => Err(Refusal::RequestMalformed(
                "`content-length` is not one plain number",
            )),
        }
    }

    fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if !value.eq_ignore_ascii_case(b"chunked") || std::mem::replace(&mut self.chunked, true) {
            return Err(Refusal::RequestMalformed(
                "`transfer-encoding` is not one `chunked`",
            ));
        }
        Ok(())
    }

    fn host_field(&mut self, value: &[u8]) -> Result<(), Refusal> {
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(byte);
        let sound = (1..=255).contains(&value.len()) && value.iter().all(plain);
        if !sound || std::mem::replace(&mut self.host, true) {
            return Err(Refusal::RequestMalformed("`host` is not one plain name"));
        }
        Ok(())
    }

    fn only_once(&mut self, name: &[u8]) -> Result<(), Refusal> {
        let known = ONCE
            .iter()
            .position(|known| name.eq_ignore_ascii_case(known.as_bytes()));
        let Some(bit) = known.map(|index| 1_u8 << index) else {
            return Ok(());
        };
        if self.once & bit != 0 {
            return Err(TWICE);
        }
        self.once |= bit;
        Ok(())
    }

    const fn framing(self) -> Result<Framing, Refusal> {
        match (self.host, self.chunked, self.length) {
            (false, ..) => Err(Refusal::RequestMalformed("`host` is missing")),
            (true, true, Some(_)) => Err(Refusal::RequestMalformed(
                "both `content-length` and `transfer-encoding`",
            )),
            (true, true, None) => Ok(Framing::Chunked),
            (true, false, Some(length)) => Ok(Framing::Length(length)),
            (true, false, None) => Ok(Framing::Length(0)),
        }
    }
}

/// Fields that decide, of which there may be only one; the same list guards HTTP/2 in `serve`.
pub const ONCE: [&str; 8] = [
    "authorization",
    "txn-token",
    "casemate-transaction",
    "content-type",
    "content-encoding",
    "accept",
    "expect",
    "host",
];

const TWICE: Refusal = Refusal::RequestMalformed("a field that decides is given twice");
const BARE_LINE_END: Refusal = Refusal::RequestMalformed("a line does not end with CR LF");

const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

/// Follows a chunked body: sizes in one to eight hexadecimal digits, no extension, no trailer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chunks {
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In the size, of which this many digits were read.
    Size { digits: u8, size: u64 },
    /// After the CR of the size line.
    SizeEnd { size: u64 },
    /// In the data, of which this many bytes are left.
    Data { left: u64 },
    /// After the data, before its CR.
    DataCr,
    /// After the data's CR.
    DataLf,
    /// After the last size line, before the CR of the empty line.
    LastCr,
    /// After that CR.
    LastLf,
}

impl Default for Place {
    fn default() -> Self {
        Self::Size { digits: 0, size: 0 }
    }
}

/// A chunked body that breaks the grammar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrokenChunks;

impl Chunks {
    /// Follows `bytes`, and says where the body ends in them, if it does.
    ///
    /// # Errors
    /// When the grammar is broken.
    pub fn follow(&mut self, bytes: &[u8]) -> Result<Option<usize>, BrokenChunks> {
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            if let Place::Data { left } = self.place {
                let here = (bytes.len() - at).min(usize::try_from(left).unwrap_or(usize::MAX));
                at += here;
                let left = left - here as u64;
                self.place = if left == 0 {
                    Place::DataCr
                } else {
                    Place::Data { left }
                };
                continue;
            }
            at += 1;
            self.place = match (self.place, byte) {
                (Place::Size { digits, size }, digit)
                    if digit.is_ascii_hexdigit() && digits < 8 =>
                {
                    let digit = char::from(*digit).to_digit(16).ok_or(BrokenChunks)?;
                    Place::Size {
                        digits: digits + 1,
                        size: size * 16 + u64::from(digit),
                    }
                }
                (Place::Size { digits: 1.., size }, b'\r') => Place::SizeEnd { size },
                (Place::SizeEnd { size: 0 }, b'\n') => Place::LastCr,
                (Place::SizeEnd { size }, b'\n') => Place::Data { left: size },
                (Place::DataCr, b'\r') => Place::DataLf,
                (Place::DataLf, b'\n') => Place::default(),
                (Place::LastCr, b'\r') => Place::LastLf,
                (Place::LastLf, b'\n') => return Ok(Some(at)),
                _ => return Err(BrokenChunks),
            };
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests;
