//! Looks through one JSON body for the few members that decide, strictly and within bounds.
//!
//! The scan builds no tree. It refuses whatever two parsers could read differently: a member named
//! twice, a deciding member in another case, a lone surrogate, a number no double can hold, bytes
//! after the value, a byte order mark, nesting deeper than [`MAX_DEPTH`]. A body that passes is read
//! by every conforming parser as it was read here, so it is forwarded byte for byte; the one change
//! ever made is [`Document::with_number`], which writes a missing bound into it.
//!
//! The way in is [`scan`].

use std::borrow::Cow;

use crate::profile::Pointer;

mod scanner;

/// The deepest nesting that is read.
pub const MAX_DEPTH: usize = 64;
/// The most members one document may have, over all its objects.
pub const MAX_MEMBERS: usize = 65_536;
/// The longest number, in characters.
pub const MAX_NUMBER: usize = 128;
/// The most pointers one scan looks for.
pub const MAX_POINTERS: usize = 32;

/// Why a body is not one that every parser reads alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScanError {
    /// Longer than the caller allows.
    #[error("the body is longer than {0} bytes")]
    TooLong(usize),
    /// Not UTF-8.
    #[error("the body is not UTF-8 at byte {0}")]
    Encoding(usize),
    /// Not JSON (RFC 8259).
    #[error("the body is not JSON at byte {0}")]
    Syntax(usize),
    /// Nested too deeply.
    #[error("the body is nested deeper than {MAX_DEPTH} levels at byte {0}")]
    Depth(usize),
    /// More members than are counted.
    #[error("the body has more than {MAX_MEMBERS} members")]
    Members,
    /// A member named twice in one object.
    #[error("an object that ends at byte {0} has two members of the same name")]
    Duplicate(usize),
    /// A deciding member, written in another case; some parsers would take it for the real one.
    #[error("the member at byte {0} differs from a deciding one only by case")]
    CaseVariant(usize),
    /// A number that is too long or that no double can hold.
    #[error("the number at byte {0} is out of range")]
    Number(usize),
    /// An escape that names half of a surrogate pair.
    #[error("the text at byte {0} holds half of a surrogate pair")]
    Surrogate(usize),
    /// The outermost value is not an object.
    #[error("the body is not a JSON object")]
    NotAnObject,
    /// More than [`MAX_POINTERS`] pointers were asked for.
    #[error("more than {MAX_POINTERS} members were asked for")]
    Pointers,
}

/// The form of a value that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `null`
    Null,
    /// `true` or `false`
    Boolean,
    /// A number.
    Number,
    /// A text.
    Text,
    /// An array.
    Array,
    /// An object.
    Object,
}

/// A deciding member that is there: its form, and where its value stands in the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    form: Form,
    start: usize,
    end: usize,
}

/// A member that is there but not of the form it must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a deciding member has another form than it must have")]
pub struct WrongForm;

/// What a member says, when it must be a count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// Absent, or `null`.
    Absent,
    /// This many.
    Of(u64),
    /// Below zero, which servers read as "no bound", or more than 64 bits hold.
    Unbounded,
}

/// What the scan learned about one pointer.
#[derive(Clone, Copy, Debug, Default)]
struct Sought {
    found: Option<Found>,
    parent: Option<Parent>,
}

/// The deepest object on a pointer's way that is there.
#[derive(Clone, Copy, Debug)]
struct Parent {
    /// Just after its opening brace.
    inside: usize,
    /// How many segments of the pointer lead to it.
    depth: usize,
    /// It has no member.
    empty: bool,
    /// The next segment is there, and is no object: nothing can be written below it.
    blocked: bool,
}

/// A body that was scanned, and what was found in it.
#[derive(Clone, Debug)]
pub struct Document<'b> {
    body: &'b str,
    sought: Vec<Sought>,
}

/// Scans `body`, at most `max_bytes` long, for the members at `pointers`.
///
/// # Errors
/// When the body is not a JSON object that every parser reads alike; see [`ScanError`].
pub fn scan<'b>(
    body: &'b [u8],
    pointers: &[&Pointer],
    max_bytes: usize,
) -> Result<Document<'b>, ScanError> {
    if body.len() > max_bytes {
        return Err(ScanError::TooLong(max_bytes));
    }
    if pointers.len() > MAX_POINTERS {
        return Err(ScanError::Pointers);
    }
    let text =
        std::str::from_utf8(body).map_err(|error| ScanError::Encoding(error.valid_up_to()))?;
    let sought = scanner::Scanner::new(text, pointers).document()?;
    Ok(Document { body: text, sought })
}

impl<'b> Document<'b> {
    /// Whether the member of the pointer number `index` is there, and in which form.
    #[must_use]
    pub fn form(&self, index: usize) -> Option<Form> {
        self.at(index).map(|found| found.form)
    }

    /// The text of the member of the pointer number `index`; `None` when it is absent.
    ///
    /// # Errors
    /// When it is there and is no text.
    pub fn text(&self, index: usize) -> Result<Option<Cow<'b, str>>, WrongForm> {
        let Some(found) = self.at(index) else {
            return Ok(None);
        };
        let inner = found
            .end
            .checked_sub(1)
            .and_then(|end| self.body.get(found.start + 1..end));
        match (found.form, inner) {
            (Form::Text, Some(inner)) if !inner.contains('\\') => Ok(Some(Cow::Borrowed(inner))),
            (Form::Text, Some(inner)) => scanner::unescape(inner)
                .map(|text| Some(Cow::Owned(text)))
                .ok_or(WrongForm),
            _ => Err(WrongForm),
        }
    }

    /// The truth of the member of the pointer number `index`; `None` when absent or `null`.
    ///
    /// # Errors
    /// When it is there and is neither `true`, `false` nor `null`.
    pub fn truth(&self, index: usize) -> Result<Option<bool>, WrongForm> {
        let Some(found) = self.at(index) else {
            return Ok(None);
        };
        match found.form {
            Form::Null => Ok(None),
            Form::Boolean => Ok(Some(self.raw(found) == "true")),
            Form::Number | Form::Text | Form::Array | Form::Object => Err(WrongForm),
        }
    }

    /// The count in the member of the pointer number `index`.
    ///
    /// # Errors
    /// When it is there and is not a whole number in plain digits: `256.0` and `1e3` are read
    /// differently from server to server.
    pub fn count(&self, index: usize) -> Result<Count, WrongForm> {
        let Some(found) = self.at(index) else {
            return Ok(Count::Absent);
        };
        match found.form {
            Form::Null => Ok(Count::Absent),
            Form::Number => {
                let digits = self.raw(found);
                let (negative, digits) = digits
                    .strip_prefix('-')
                    .map_or((false, digits), |rest| (true, rest));
                if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                    return Err(WrongForm);
                }
                match digits.parse::<u64>() {
                    Ok(count) if !negative => Ok(Count::Of(count)),
                    Ok(_) | Err(_) => Ok(Count::Unbounded),
                }
            }
            Form::Boolean | Form::Text | Form::Array | Form::Object => Err(WrongForm),
        }
    }

    /// Whether the member of the pointer number `index` is one text, or one list of numbers, or absent. A
    /// list that begins with anything else may hold several of whatever the member is.
    #[must_use]
    pub fn is_single(&self, index: usize) -> bool {
        let Some(found) = self.at(index) else {
            return true;
        };
        match found.form {
            Form::Null | Form::Text => true,
            Form::Array => {
                let inner = self.raw(found).get(1..).unwrap_or_default();
                let first = inner.trim_ascii_start().bytes().next();
                first.is_some_and(|byte| byte == b'-' || byte.is_ascii_digit())
            }
            Form::Boolean | Form::Number | Form::Object => false,
        }
    }

    /// The body with the member at `pointer`, the one that had number `index`, set to `value`. It must
    /// be absent or `null`; the objects on its way are made when they are missing.
    ///
    /// # Errors
    /// When it is there already, or something that is no object stands in its way.
    pub fn with_number(
        &self,
        index: usize,
        pointer: &Pointer,
        value: u32,
    ) -> Result<Vec<u8>, WrongForm> {
        let (from, to, text) = match (
            self.at(index),
            self.sought.get(index).and_then(|sought| sought.parent),
        ) {
            (Some(found), _) if found.form == Form::Null => {
                (found.start, found.end, value.to_string())
            }
            (None, Some(parent)) if !parent.blocked => {
                let missing = pointer.members().skip(parent.depth);
                let names: Vec<_> = missing.map(|name| format!("\"{name}\":")).collect();
                let mut text = names.join("{") + &value.to_string();
                text.extend(names.iter().skip(1).map(|_| '}'));
                if !parent.empty {
                    text.push(',');
                }
                (parent.inside, parent.inside, text)
            }
            (Some(_) | None, _) => return Err(WrongForm),
        };
        let before = self.body.get(..from).ok_or(WrongForm)?;
        let after = self.body.get(to..).ok_or(WrongForm)?;
        Ok([before, &text, after].concat().into_bytes())
    }

    fn at(&self, index: usize) -> Option<Found> {
        self.sought.get(index).and_then(|sought| sought.found)
    }

    fn raw(&self, found: Found) -> &'b str {
        self.body.get(found.start..found.end).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
