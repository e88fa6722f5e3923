//! Where things stand in a text: lines, columns, what is inside brackets.

/// The first byte of the line with the byte `at`.
pub(super) fn line_start(text: &str, at: usize) -> usize {
    let before = text.get(..at).unwrap_or(text);
    before.rfind('\n').map_or(0, |newline| newline + 1)
}

/// The byte after the line with the byte `at`, its line end included.
pub(super) fn line_end(text: &str, at: usize) -> usize {
    let rest = text.get(at..).unwrap_or("");
    rest.find('\n')
        .map_or(text.len(), |newline| at + newline + 1)
}

/// How lines end here.
pub(super) fn newline(text: &str) -> &'static str {
    if text
        .find('\n')
        .is_some_and(|at| at > 0 && text.as_bytes().get(at - 1) == Some(&b'\r'))
    {
        "\r\n"
    } else {
        "\n"
    }
}

/// The column of the byte `at`, in characters from 0; none when a tab stands before it.
pub(super) fn column(text: &str, at: usize) -> Option<usize> {
    let before = text.get(line_start(text, at)..at)?;
    (!before.contains('\t')).then(|| {
        before
            .chars()
            .filter(|character| *character != '\u{feff}')
            .count()
    })
}

/// How far this file indents: the most frequent step from a line to a deeper one.
pub(super) fn indentation(text: &str) -> usize {
    let mut counts = [0_usize; 9];
    let mut last = 0;
    for line in text.lines().take(MOST_LINES) {
        let content = line.trim_start_matches(' ');
        if content.trim().is_empty() || content.starts_with(['#', '-']) {
            continue;
        }
        let depth = line.len() - content.len();
        if let Some(count) = counts.get_mut(depth.saturating_sub(last)) {
            *count += 1;
        }
        last = depth;
    }
    // Step 0 is no step, and `- ` makes an odd one out of four.
    (1..counts.len())
        .max_by_key(|step| {
            (
                counts.get(*step).copied().unwrap_or(0),
                usize::from(*step == 2),
            )
        })
        .filter(|step| counts.get(*step).is_some_and(|count| *count > 0))
        .unwrap_or(2)
}

/// Where the value itself begins, behind an anchor and a tag.
pub(super) fn behind_properties(text: &str, start: usize) -> usize {
    let mut at = start;
    while let Some(rest) = text.get(at..) {
        if !rest.starts_with(['&', '!']) {
            break;
        }
        let word = rest.find(char::is_whitespace).unwrap_or(rest.len());
        at += word;
        at = skip_blank(text, at);
    }
    at
}

/// Whether the value at `start` has an anchor that an alias stands for: other values would change with it.
pub(super) fn is_shared(text: &str, start: usize) -> bool {
    let properties = text
        .get(start..behind_properties(text, start))
        .unwrap_or("");
    let mut words = properties.split_whitespace();
    words
        .find_map(|word| word.strip_prefix('&'))
        .is_some_and(|name| text.contains(&format!("*{name}")))
}

/// The next byte that is neither blank nor in a comment.
pub(super) fn skip_blank(text: &str, start: usize) -> usize {
    let mut at = start;
    loop {
        let rest = text.get(at..).unwrap_or("");
        let content = rest.trim_start_matches([' ', '\t', '\r', '\n']);
        at += rest.len() - content.len();
        if !content.starts_with('#') {
            return at;
        }
        at += content.find('\n').unwrap_or(content.len());
    }
}

/// Inside the brackets that open at `start`: the byte after the last word before the closing one, and whether
/// that word is a comma. None when they do not close.
pub(super) fn last_inside(text: &str, start: usize) -> Option<(usize, char)> {
    let mut depth = 0_usize;
    let mut last = (start + 1, '[');
    let mut quote: Option<char> = None;
    let mut before = ' ';
    let mut characters = text.get(start..)?.char_indices().peekable();
    while let Some((offset, character)) = characters.next() {
        let at = start + offset;
        match (quote, character) {
            (Some('"'), '\\') => {
                characters.next();
            }
            (Some(open), _) if open == character => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') if !before.is_alphanumeric() => quote = Some(character),
            (None, '#') if before.is_whitespace() => {
                while characters.next_if(|next| next.1 != '\n').is_some() {}
                before = ' ';
                continue;
            }
            (None, '[' | '{') => depth += 1,
            (None, ']' | '}') => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(last);
                }
            }
            (None, _) => {}
        }
        if depth > 0 && at > start && !character.is_whitespace() {
            last = (at + character.len_utf8(), character);
        }
        before = character;
    }
    None
}

const MOST_LINES: usize = 10_000;
