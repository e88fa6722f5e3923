//! Chat templates: code in the model's files that many servers run for each request.
//!
//! Only what stands in `{{ }}` and `{% %}` is code. What is looked for are the ways out of a template's sandbox:
//! attributes with two underscores, objects from which the interpreter can be reached, and other files.

/// What in a template reaches beyond the conversation, each with where it starts.
pub(crate) fn gadgets(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some((start, end)) = next_tag(text, at) {
        let code = text.get(start..end).unwrap_or("");
        if let Some((offset, what)) = gadget(code) {
            found.push((start + offset, what));
        }
        at = end;
        if found.len() >= MAX_FOUND {
            break;
        }
    }
    found
}

/// The next piece of code from `from` on: from behind its opening to its closing, or to the end of the text.
fn next_tag(text: &str, from: usize) -> Option<(usize, usize)> {
    let mut at = from;
    loop {
        let rest = text.get(at..)?;
        let open = rest.find('{')?;
        let start = at + open;
        let closing = match rest.as_bytes().get(open + 1) {
            Some(b'{') => "}}",
            Some(b'%') => "%}",
            Some(b'#') => {
                let end = text
                    .get(start..)?
                    .find("#}")
                    .map_or(text.len(), |end| start + end + 2);
                at = end;
                continue;
            }
            _ => {
                at = start + 1;
                continue;
            }
        };
        let code = start + 2;
        let end = text
            .get(code..)?
            .find(closing)
            .map_or(text.len(), |end| code + end);
        return Some((code, end));
    }
}

fn gadget(code: &str) -> Option<(usize, String)> {
    let mut words = Words { code, at: 0 };
    let mut before: Option<Word<'_>> = None;
    let mut first = true;
    while let Some(word) = words.next() {
        let opens_tag = std::mem::replace(&mut first, false);
        let what = match word {
            Word::Name(at, name) if is_inner(name) => Some((at, format!("attribute `{name}`"))),
            Word::Text(at, text)
                if is_inner(text) || text.contains("\\x5f") || text.contains("\\u005f") =>
            {
                Some((at, format!("attribute `{}` by its name", short(text))))
            }
            Word::Name(at, name @ ("attr" | "map" | "selectattr"))
                if matches!(before, Some(Word::Sign(_, '|'))) =>
            {
                // `map(attribute='role')` is common; what `attr` takes can be put together at run time.
                (name == "attr").then(|| {
                    (
                        at,
                        "filter `attr`, which takes names made at run time".to_owned(),
                    )
                })
            }
            Word::Name(
                at,
                name @ ("cycler"
                | "joiner"
                | "lipsum"
                | "self"
                | "request"
                | "get_flashed_messages"),
            ) => {
                let free = !matches!(before, Some(Word::Sign(_, '.')));
                let used = words
                    .code
                    .get(words.at..)
                    .is_some_and(|rest| rest.trim_start().starts_with(['.', '[', '|']));
                (free && used).then(|| {
                    (
                        at,
                        format!("object `{name}`, from which the interpreter can be reached"),
                    )
                })
            }
            Word::Name(at, name @ ("include" | "import" | "extends" | "from")) if opens_tag => {
                Some((at, format!("`{name}` of another file")))
            }
            Word::Name(at, name @ ("popen" | "mro" | "func_globals" | "gi_frame" | "tb_frame")) => {
                matches!(before, Some(Word::Sign(_, '.')))
                    .then(|| (at, format!("attribute `{name}`")))
            }
            Word::Name(..) | Word::Text(..) | Word::Sign(..) => None,
        };
        if what.is_some() {
            return what;
        }
        before = Some(word);
    }
    None
}

/// `__class__` and the like.
fn is_inner(name: &str) -> bool {
    name.len() > 4
        && name.starts_with("__")
        && name.ends_with("__")
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn short(text: &str) -> String {
    text.chars().take(24).collect()
}

/// A word of template code with where it starts.
#[derive(Clone, Copy)]
enum Word<'code> {
    Name(usize, &'code str),
    /// The inside of a quoted text.
    Text(usize, &'code str),
    Sign(
        #[expect(dead_code, reason = "every word has its place")] usize,
        char,
    ),
}

struct Words<'code> {
    code: &'code str,
    at: usize,
}

impl<'code> Words<'code> {
    fn next(&mut self) -> Option<Word<'code>> {
        let rest = self.code.get(self.at..)?;
        let start = self.at
            + (rest.len()
                - rest
                    .trim_start_matches(|one: char| one.is_whitespace() || one == '-')
                    .len());
        let rest = self.code.get(start..)?;
        let character = rest.chars().next()?;
        if character == '\'' || character == '"' {
            let inside = rest.get(1..)?;
            let length = closing(inside, character);
            self.at = start + 1 + length + 1;
            return Some(Word::Text(start, inside.get(..length)?));
        }
        let is_name = |one: char| one.is_alphanumeric() || one == '_';
        if is_name(character) {
            let length = rest.find(|one| !is_name(one)).unwrap_or(rest.len());
            self.at = start + length;
            return Some(Word::Name(start, rest.get(..length)?));
        }
        self.at = start + character.len_utf8();
        Some(Word::Sign(start, character))
    }
}

/// How long a quoted text is up to its closing quote.
fn closing(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if character == quote => return at,
            _ => {}
        }
    }
    text.len()
}

const MAX_FOUND: usize = 8;

#[cfg(test)]
mod tests;
