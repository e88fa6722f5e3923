//! The interpreter's pickle machine, with marks, stack and memo, that makes nothing and calls nothing.

use std::collections::{BTreeSet, HashMap};

use crate::model::bytes::Cursor;

/// How a pickle ended.
pub(super) enum End<'bytes> {
    /// At its `STOP`.
    Stopped {
        /// What stands behind it.
        rest: &'bytes [u8],
    },
    /// Where nobody can follow it further.
    Broken(String),
}

/// What a value on the stack is, as far as it matters.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Item {
    Mark,
    /// A text: it may become the name of what is imported.
    Text(String),
    /// What was imported: a class or a function, not what a call of it gave.
    Import,
    Other,
}

pub(super) struct Machine<'bytes> {
    code: Cursor<'bytes>,
    total: usize,
    stack: Vec<Item>,
    memo: HashMap<u64, Item>,
    frame_end: Option<usize>,
    /// Every module and name that was imported.
    pub(super) imports: BTreeSet<(String, String)>,
    /// What is wrong beside names.
    pub(super) faults: Vec<String>,
    /// The last long number, for the magic number of old files.
    pub(super) last_long: Option<Vec<u8>>,
}

type Step<T> = Result<T, String>;

impl<'bytes> Machine<'bytes> {
    pub(super) fn new(bytes: &'bytes [u8]) -> Self {
        Self {
            code: Cursor::new(bytes),
            total: bytes.len(),
            stack: Vec::new(),
            memo: HashMap::new(),
            frame_end: None,
            imports: BTreeSet::new(),
            faults: Vec::new(),
            last_long: None,
        }
    }

    /// Goes to the end.
    pub(super) fn run(&mut self) -> End<'bytes> {
        loop {
            let start = self.at();
            if self.frame_end.is_some_and(|end| start >= end) {
                self.frame_end = None;
            }
            let frame = self.frame_end;
            match self.step() {
                Ok(true) => {
                    return End::Stopped {
                        rest: self.code.rest(),
                    };
                }
                Ok(false) => {}
                Err(why) => return End::Broken(why),
            }
            // Loaders disagree about what a value is that goes on behind its frame.
            if frame.is_some_and(|end| self.at() > end) {
                return End::Broken(format!("a value at byte {start} goes on behind its frame"));
            }
            if self.stack.len() > MAX_ITEMS || self.memo.len() > MAX_ITEMS {
                return End::Broken(format!("more than {MAX_ITEMS} values at once"));
            }
        }
    }

    fn at(&self) -> usize {
        self.total - self.code.rest().len()
    }

    /// One instruction; whether it was `STOP`.
    fn step(&mut self) -> Step<bool> {
        let at = self.at();
        let code = self.bytes(1)?.first().copied().unwrap_or(0);
        match code {
            b'.' => {
                self.pop()?;
                return Ok(true);
            }
            // PROTO
            0x80 => {
                let version = self.small()?;
                if version > 5 {
                    return Err(format!("protocol {version} is not known"));
                }
            }
            // FRAME
            0x95 => {
                let length = self.long_length()?;
                let end = self.at().saturating_add(length);
                if self.frame_end.is_some() || end > self.total {
                    return Err("a frame does not fit".to_owned());
                }
                self.frame_end = Some(end);
            }
            b'(' => self.stack.push(Item::Mark),
            b'0' => {
                self.pop()?;
            }
            b'1' => self.pop_mark()?,
            b'2' => {
                let top = self.stack.last().cloned().ok_or_else(underflow)?;
                self.stack.push(top);
            }
            b'N' | 0x88 | 0x89 | b']' | b')' | b'}' | 0x8f => self.other(),
            // Numbers as text.
            b'I' | b'F' | b'L' => {
                self.raw_line()?;
                self.other();
            }
            b'J' => self.skip_other(4)?,
            b'K' => self.skip_other(1)?,
            b'M' => self.skip_other(2)?,
            b'G' => self.skip_other(8)?,
            0x8a => {
                let length = usize::from(self.small()?);
                self.last_long = Some(self.bytes(length)?.to_vec());
                self.other();
            }
            0x8b => {
                let length = self.length()?;
                self.last_long = Some(self.bytes(length.min(self.total))?.to_vec());
                self.other();
            }
            // Texts.
            b'S' | b'V' => {
                let line = self.raw_line()?;
                let text = std::str::from_utf8(line)
                    .unwrap_or("\\")
                    .trim_end_matches('\r');
                let text = if code == b'S' {
                    text.trim().trim_matches(['\'', '"'])
                } else {
                    text
                };
                // Escapes may spell a name that is not seen here: then it is no known text.
                let item = if text.contains('\\') || text.len() > MAX_TEXT {
                    Item::Other
                } else {
                    Item::Text(text.to_owned())
                };
                self.stack.push(item);
            }
            b'U' | 0x8c => {
                let length = usize::from(self.small()?);
                self.text(length)?;
            }
            b'T' | b'X' => {
                let length = self.length()?;
                self.text(length)?;
            }
            0x8d => {
                let length = self.long_length()?;
                self.text(length)?;
            }
            // Bytes.
            b'C' => {
                let length = usize::from(self.small()?);
                self.skip_other(length)?;
            }
            b'B' => {
                let length = self.length()?;
                self.skip_other(length)?;
            }
            0x8e | 0x96 => {
                let length = self.long_length()?;
                self.skip_other(length)?;
            }
            // Buffers that come from elsewhere.
            0x97 => self.other(),
            0x98 => {
                self.stack.last().ok_or_else(underflow)?;
            }
            // Containers.
            b'a' => {
                self.pop()?;
                self.changed(at)?;
            }
            b's' => {
                self.pop()?;
                self.pop()?;
                self.changed(at)?;
            }
            b'e' | b'u' | 0x90 => {
                self.pop_mark()?;
                self.changed(at)?;
            }
            b'l' | b't' | b'd' | 0x91 => {
                self.pop_mark()?;
                self.other();
            }
            0x85 => self.call(1)?,
            0x86 => self.call(2)?,
            0x87 => self.call(3)?,
            // Memo.
            b'p' => {
                let key = self.line()?;
                let key = key
                    .trim()
                    .parse()
                    .map_err(|_| "a memo key that is no number".to_owned())?;
                self.remember(key)?;
            }
            b'q' => {
                let key = u64::from(self.small()?);
                self.remember(key)?;
            }
            b'r' => {
                let key = self.length()? as u64;
                self.remember(key)?;
            }
            0x94 => {
                let key = self.memo.len() as u64;
                self.remember(key)?;
            }
            b'g' => {
                let key = self.line()?;
                let key = key
                    .trim()
                    .parse()
                    .map_err(|_| "a memo key that is no number".to_owned())?;
                self.recall(key)?;
            }
            b'h' => {
                let key = u64::from(self.small()?);
                self.recall(key)?;
            }
            b'j' => {
                let key = self.length()? as u64;
                self.recall(key)?;
            }
            // Imports.
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.import(module, name);
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                match (module, name) {
                    (Item::Text(module), Item::Text(name)) => self.import(module, name),
                    _ => {
                        return Err(format!(
                            "the name of what is imported at byte {at} is not known before it runs"
                        ));
                    }
                }
            }
            b'i' => {
                let (module, name) = (self.line()?, self.line()?);
                self.pop_mark()?;
                self.imports.insert((module, name));
                self.other();
            }
            0x82..=0x84 => {
                return Err(
                    "it imports by a number of a registry that is not in the file".to_owned(),
                );
            }
            b'P' => {
                self.line()?;
                self.other();
            }
            b'Q' => self.call(1)?,
            // Calls.
            b'R' | 0x81 => self.call(2)?,
            0x92 => self.call(3)?,
            b'o' => {
                self.pop_mark()?;
                self.other();
            }
            // BUILD
            b'b' => {
                self.pop()?;
                self.changed(at)?;
            }
            _ => return Err(format!("byte {at} is no instruction: {code:#04x}")),
        }
        Ok(false)
    }

    fn import(&mut self, module: String, name: String) {
        self.imports.insert((module, name));
        self.stack.push(Item::Import);
    }

    /// What is changed must be a value; a class or function that is changed acts on everything that uses it.
    fn changed(&mut self, at: usize) -> Step<()> {
        match self.stack.last() {
            Some(Item::Import) => {
                self.faults.push(format!(
                    "byte {at} changes a class or function of the loading program"
                ));
                Ok(())
            }
            Some(Item::Mark) | None => Err(underflow()),
            Some(Item::Text(_) | Item::Other) => Ok(()),
        }
    }

    /// Takes `count` values and puts what they make.
    fn call(&mut self, count: usize) -> Step<()> {
        for _ in 0..count {
            self.pop()?;
        }
        self.other();
        Ok(())
    }

    fn remember(&mut self, key: u64) -> Step<()> {
        let top = self.stack.last().cloned().ok_or_else(underflow)?;
        if key > MAX_KEY {
            return Err("a memo key that takes all memory".to_owned());
        }
        self.memo.insert(key, top);
        Ok(())
    }

    fn recall(&mut self, key: u64) -> Step<()> {
        let item = self
            .memo
            .get(&key)
            .cloned()
            .ok_or("a memo key that was never put")?;
        self.stack.push(item);
        Ok(())
    }

    fn pop(&mut self) -> Step<Item> {
        match self.stack.pop() {
            None | Some(Item::Mark) => Err(underflow()),
            Some(item) => Ok(item),
        }
    }

    fn pop_mark(&mut self) -> Step<()> {
        let mark = self
            .stack
            .iter()
            .rposition(|item| *item == Item::Mark)
            .ok_or_else(underflow)?;
        self.stack.truncate(mark);
        Ok(())
    }

    fn other(&mut self) {
        self.stack.push(Item::Other);
    }

    fn skip_other(&mut self, length: usize) -> Step<()> {
        self.bytes(length)?;
        self.other();
        Ok(())
    }

    fn text(&mut self, length: usize) -> Step<()> {
        let bytes = self.bytes(length)?;
        // Long texts are no names; to keep them would cost memory for each copy in the memo.
        let item = match std::str::from_utf8(bytes) {
            Ok(text) if length <= MAX_TEXT => Item::Text(text.to_owned()),
            _ => Item::Other,
        };
        self.stack.push(item);
        Ok(())
    }

    /// A line that holds a name or a number.
    fn line(&mut self) -> Step<String> {
        let line = self.raw_line()?;
        if line.len() > MAX_TEXT {
            return Err(format!("a name of more than {MAX_TEXT} bytes"));
        }
        String::from_utf8(line.to_vec()).map_err(|_| "a name that is not UTF-8".to_owned())
    }

    fn raw_line(&mut self) -> Step<&'bytes [u8]> {
        let rest = self.code.rest();
        let end = rest
            .iter()
            .position(|byte| *byte == b'\n')
            .ok_or_else(cut)?;
        let line = self.bytes(end)?;
        self.bytes(1)?;
        Ok(line)
    }

    fn bytes(&mut self, length: usize) -> Step<&'bytes [u8]> {
        self.code.take(length).ok_or_else(cut)
    }

    fn small(&mut self) -> Step<u8> {
        Ok(self.bytes(1)?.first().copied().unwrap_or(0))
    }

    fn length(&mut self) -> Step<usize> {
        let length = self.code.u32().ok_or_else(cut)?;
        usize::try_from(length).map_err(|_| cut())
    }

    fn long_length(&mut self) -> Step<usize> {
        let length = self.code.u64().ok_or_else(cut)?;
        usize::try_from(length).map_err(|_| cut())
    }
}

fn underflow() -> String {
    "it takes a value that is not there".to_owned()
}

fn cut() -> String {
    "it ends in the middle".to_owned()
}

const MAX_ITEMS: usize = 4_000_000;
const MAX_KEY: u64 = 1 << 31;
const MAX_TEXT: usize = 4096;
