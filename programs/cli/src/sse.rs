//! Server-sent events (WHATWG HTML, section 9.2.6), one at a time and bounded.

/// One event: its name, `message` when it has none, and its data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) name: String,
    pub(crate) data: String,
}

/// An event that is longer than any answer has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event of the answer is longer than {MAX_EVENT} bytes")]
pub(crate) struct EventTooLong;

/// Puts events together from pieces of any size.
#[derive(Debug, Default)]
pub(crate) struct Events {
    line: Vec<u8>,
    name: String,
    data: String,
    has_data: bool,
    after_return: bool,
}

impl Events {
    /// Takes the next bytes and gives the events that they end.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Result<Vec<Event>, EventTooLong> {
        let mut events = Vec::new();
        for byte in bytes {
            // A line ends with LF, CR, or both.
            let after_return = std::mem::replace(&mut self.after_return, *byte == b'\r');
            match byte {
                b'\n' if after_return => {}
                b'\n' | b'\r' => events.extend(self.end_line()),
                _ => self.line.push(*byte),
            }
            if self.line.len().saturating_add(self.data.len()) > MAX_EVENT {
                return Err(EventTooLong);
            }
        }
        Ok(events)
    }

    fn end_line(&mut self) -> Option<Event> {
        let line = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&line);
        if line.is_empty() {
            let name = std::mem::take(&mut self.name);
            let data = std::mem::take(&mut self.data);
            let name = if name.is_empty() {
                "message".to_owned()
            } else {
                name
            };
            return std::mem::take(&mut self.has_data).then_some(Event { name, data });
        }
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.name),
            "data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.data.push('\n');
                }
                self.data.push_str(value);
            }
            // Comments, ids, retry times and whatever comes later mean nothing here.
            _ => {}
        }
        None
    }
}

const MAX_EVENT: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str, data: &str) -> Event {
        Event {
            name: name.to_owned(),
            data: data.to_owned(),
        }
    }

    #[test]
    fn events_come_out_the_same_whatever_the_pieces() {
        let text = "data: a\n\n: comment\r\nevent: x\r\ndata: b\r\ndata:c\r\n\r\nid: 1\n\ndata\r\rdata: cut";
        let expected = [
            event("message", "a"),
            event("x", "b\nc"),
            event("message", ""),
        ];
        for size in 1..text.len() {
            let mut events = Events::default();
            let mut seen = Vec::new();
            for piece in text.as_bytes().chunks(size) {
                seen.extend(events.take(piece).expect("is short"));
            }
            assert_eq!(seen, expected, "pieces of {size}");
        }
    }

    #[test]
    fn an_event_without_end_is_refused() {
        let mut events = Events::default();
        let piece = vec![b'x'; 64 * 1024];
        let refused = (0..64).find_map(|_| events.take(&piece).err());
        assert_eq!(refused, Some(EventTooLong));
    }
}
